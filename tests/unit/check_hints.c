// SPDX-License-Identifier: GPL-2.0-or-later
#include <jansson.h>
#include <string.h>

#include "../../daemon/hints.h"
#include "../../daemon/wire.h"
#include "script.h"

#define PAGES	1000

static struct yab_hints hints;

static int parse(const char *text)
{
	json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
	int result;

	ck_assert_ptr_nonnull(json);
	memset(&hints, 0xff, sizeof(hints));
	result = yab_hints_parse(&hints, json, PAGES);
	json_decref(json);
	return result;
}

START_TEST(ranges)
{
	ck_assert_int_eq(parse("[[999, 1], [0, 1000], [5, 7], [5, 7]]"), 0);
	ck_assert_uint_eq(hints.count, 4);
	ck_assert_uint_eq(hints.ranges[0].page, 999);
	ck_assert_uint_eq(hints.ranges[0].count, 1);
	ck_assert_uint_eq(hints.ranges[1].page, 0);
	ck_assert_uint_eq(hints.ranges[1].count, 1000);
	ck_assert_uint_eq(hints.ranges[3].page, 5);
	ck_assert_uint_eq(hints.ranges[3].count, 7);
	ck_assert_int_eq(parse("[]"), 0);
	ck_assert_uint_eq(hints.count, 0);
}
END_TEST

/* What another host may say: nothing of it is taken. */
START_TEST(hostile)
{
	static const char *const cases[] = {
		"7", "null", "{}", "\"ranges\"", "{\"0\": [0, 1]}",
		"[0, 1]", "[[]]", "[[0]]", "[[0, 1, 2]]", "[{}]", "[null]",
		"[[0, \"1\"]]", "[[\"0\", 1]]", "[[0, true]]", "[[0.0, 1]]", "[[0, 1e3]]",
		"[[0, 0]]", "[[0, -1]]", "[[-1, 1]]", "[[-1, 2]]",
		"[[1000, 1]]", "[[999, 2]]", "[[0, 1001]]",
		"[[9223372036854775807, 1]]", "[[1, 9223372036854775807]]",
		"[[-9223372036854775808, 1]]",
		"[[9223372036854775807, 9223372036854775807]]",
		"[[0, 1], [999, 2]]", "[[0, 1], 7]",
	};

	ck_assert_int_eq(parse(cases[_i]), -1);
	ck_assert_uint_eq(hints.count, 0);
}
END_TEST

START_TEST(nothing_at_all)
{
	ck_assert_int_eq(yab_hints_parse(&hints, NULL, PAGES), -1);
}
END_TEST

/* As many as there may be, of numbers as long as they may be: it fits. */
START_TEST(the_most)
{
	static struct yab_hints before;
	json_t *json, *call;
	char *text;

	before.count = YAB_HINTS_MAX;
	for (unsigned int i = 0; i < YAB_HINTS_MAX; i++) {
		before.ranges[i].page = (1ULL << 62) + i;
		before.ranges[i].count = (1ULL << 61) + i;
	}
	json = yab_hints_json(&before, UINT64_MAX);
	ck_assert_ptr_nonnull(json);
	ck_assert_int_eq(yab_hints_parse(&hints, json, 1ULL << 63), 0);
	ck_assert_mem_eq(&hints, &before, sizeof(hints));
	call = json_pack("{s:s, s:s, s:O}", "call", "dirty", "token",
			 "00112233445566778899aabbccddeeff", "ranges", json);
	text = json_dumps(call, JSON_COMPACT);
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_le(strlen(text), YAB_WIRE_JSON_MAX);
	free(text);
	json_decref(call);
	/* One more is too many. */
	json_array_append_new(json, json_pack("[i, i]", 0, 1));
	ck_assert_int_eq(yab_hints_parse(&hints, json, 1ULL << 63), -1);
	ck_assert_uint_eq(hints.count, 0);
	json_decref(json);
}
END_TEST

/* The other side may take fewer. */
START_TEST(the_first_ones)
{
	struct yab_hints three = { .ranges = { { 7, 1 }, { 3, 2 }, { 9, 9 } }, .count = 3 };
	json_t *json = yab_hints_json(&three, 2);

	ck_assert_int_eq(yab_hints_parse(&hints, json, PAGES), 0);
	ck_assert_uint_eq(hints.count, 2);
	ck_assert_uint_eq(hints.ranges[1].page, 3);
	json_decref(json);
	json = yab_hints_json(&three, 0);
	ck_assert_uint_eq(json_array_size(json), 0);
	json_decref(json);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hints");
	TCase *tcase = tcase_create("hints");

	tcase_add_test(tcase, ranges);
	tcase_add_loop_test(tcase, hostile, 0, 29);
	tcase_add_test(tcase, nothing_at_all);
	tcase_add_test(tcase, the_most);
	tcase_add_test(tcase, the_first_ones);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
