// SPDX-License-Identifier: GPL-2.0-or-later
/* What is made of figures that the other host has said. */
#include <string.h>

#include "../../daemon/finding.h"
#include "../../daemon/wire.h"
#include "script.h"

#define CHUNKS	100
#define PAGES	(CHUNKS * (uint64_t)YAB_WIRE_CHUNK_PAGES - 1)

static struct yab_finding finding;
static char text[256];

static json_t *statistics(json_int_t verified, json_int_t unverifiable, json_int_t different)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "verified_chunks", verified,
			 "unverifiable_chunks", unverifiable, "different_chunks", different,
			 "different_page", (json_int_t)4096);
}

static void take(json_t *json, bool expected)
{
	yab_finding_read(json, PAGES, &finding);
	if (expected)
		yab_finding_expect(json, PAGES, &finding);
}

START_TEST(nobody_asked)
{
	take(NULL, false);
	ck_assert(!yab_finding_tell(&finding, text, sizeof(text)));
	ck_assert_uint_eq(finding.verified, 0);
}
END_TEST

START_TEST(all_right)
{
	json_t *json = statistics(CHUNKS, 0, 0);

	take(json, _i);
	ck_assert(!yab_finding_tell(&finding, text, sizeof(text)));
	ck_assert_uint_eq(finding.verified, CHUNKS);
	json_decref(json);
}
END_TEST

START_TEST(some_differ)
{
	json_t *json = statistics(CHUNKS - 3, 1, 2);

	take(json, _i);
	ck_assert(yab_finding_tell(&finding, text, sizeof(text)));
	ck_assert_str_eq(text, "verify: 2 of 100 chunks of 512 pages differ, first at page 4096");
	ck_assert_uint_eq(finding.different, 2);
	ck_assert_uint_eq(finding.unverifiable, 1);
	json_decref(json);
}
END_TEST

/* A supervisor that knows nothing of it any more says 0, or nothing. */
START_TEST(nothing_was_compared)
{
	json_t *json = _i ? statistics(0, 0, 0) : json_object();

	take(json, true);
	ck_assert(yab_finding_tell(&finding, text, sizeof(text)));
	ck_assert_ptr_nonnull(strstr(text, "100 of 100 chunks of 512 pages could not be compared"));
	ck_assert_int_eq(json_integer_value(json_object_get(json, "unverifiable_chunks")), CHUNKS);
	json_decref(json);
	take(NULL, true);
	ck_assert_uint_eq(finding.unverifiable, CHUNKS);
}
END_TEST

/* Figures that cannot be: what differs is never made less by the others. */
START_TEST(nonsense)
{
	static const json_int_t cases[][6] = {
		/* said: verified, unverifiable, different; taken */
		{ INT64_MAX, INT64_MAX, INT64_MAX, 0, 0, CHUNKS },
		{ INT64_MAX, INT64_MAX, 1, 0, CHUNKS - 1, 1 },
		{ INT64_MAX, 0, 1, CHUNKS - 1, 0, 1 },
		{ -1, INT64_MIN, -5, 0, CHUNKS, 0 },
		{ CHUNKS + 1, 0, 0, CHUNKS, 0, 0 },
	};
	const json_int_t *values = cases[_i];
	json_t *json = statistics(values[0], values[1], values[2]);

	take(json, true);
	ck_assert_uint_eq(finding.verified, (uint64_t)values[3]);
	ck_assert_uint_eq(finding.unverifiable, (uint64_t)values[4]);
	ck_assert_uint_eq(finding.different, (uint64_t)values[5]);
	json_decref(json);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("finding");
	TCase *tcase = tcase_create("finding");

	tcase_add_test(tcase, nobody_asked);
	tcase_add_loop_test(tcase, all_right, 0, 2);
	tcase_add_loop_test(tcase, some_differ, 0, 2);
	tcase_add_loop_test(tcase, nothing_was_compared, 0, 2);
	tcase_add_loop_test(tcase, nonsense, 0, 5);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
