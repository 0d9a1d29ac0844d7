// SPDX-License-Identifier: GPL-2.0-or-later
/* What is made of figures that the other host has said. */
#include <stdio.h>
#include <string.h>

#include "../../daemon/finding.h"
#include "../../daemon/outgoing_state.h"
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

/* --- what the source does with it ------------------------------------------------------- */

static char ended[512];

static void on_ended(const char *error, void *arg)
{
	ck_assert_ptr_nonnull(error);
	ck_assert_ptr_null(arg);
	snprintf(ended, sizeof(ended), "%s", error);
}

static const struct yab_outgoing_ops outgoing_ops = { .ended = on_ended };

static const struct {
	json_int_t verified, unverifiable, different;
	bool asked, confirmed;
	json_int_t unknown;	/* chunks, in the job's figures */
} verdicts[] = {
	{ 0, 0, 0, false, true, 0 },
	{ CHUNKS, 0, 0, true, true, 0 },
	{ CHUNKS - 5, 5, 0, true, true, 5 },
	/* Restarted meanwhile: the destination, which knows nothing of it, or the source. */
	{ 0, 0, 0, true, true, CHUNKS },
	{ CHUNKS - 1, 0, 1, false, false, 0 },
	{ CHUNKS - 1, 0, 1, true, false, 0 },
	{ 0, CHUNKS - 1, 1, true, false, CHUNKS - 1 },
};

START_TEST(source_lets_go_or_not)
{
	const bool confirmed = verdicts[_i].confirmed;
	struct yab_security security = { .plain = true };
	struct event_base *base = script_base();
	struct yab_jobs *jobs = yab_jobs_new();
	struct yab_vm vm = { .name = "vm1", .pages = PAGES, .state = YAB_VM_OUTGOING };
	struct yab_outgoing outgoing = {
		.vm = &vm,
		.state = YAB_OUTGOING_PULLING,
		.options.destination.text = "host2",
		.options.verify = verdicts[_i].asked,
		.ops = &outgoing_ops,
	};
	json_t *json = statistics(verdicts[_i].verified, verdicts[_i].unverifiable,
				  verdicts[_i].different), *job;

	outgoing.deadline = evtimer_new(base, NULL, NULL);
	outgoing.contact = yab_contact_new(base, NULL, &outgoing.options.destination, &security,
					   NULL, NULL);
	ck_assert_ptr_nonnull(outgoing.contact);
	outgoing.job = yab_job_start(jobs, "vm1", YAB_JOB_OUTGOING, "host2", PAGES);
	yab_job_statistics(outgoing.job, YAB_JOB_DESTINATION, json);
	ck_assert_int_eq(yab_outgoing_verified(&outgoing, json), confirmed);
	ck_assert_int_eq(yab_job_active(outgoing.job), confirmed);
	ck_assert_int_eq(outgoing.state, confirmed ? YAB_OUTGOING_PULLING : YAB_OUTGOING_STRANDED);
	ck_assert_int_eq(vm.state, confirmed ? YAB_VM_OUTGOING : YAB_VM_PAUSED);
	if (!confirmed)
		ck_assert_str_eq(ended, "verify: 1 of 100 chunks of 512 pages differ, first at page 4096 on host2, where the guest runs: its memory stays here until 'yabctl abandon vm1'");
	job = yab_job_json(outgoing.job);
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(job, "destination"),
							    "unverifiable_chunks")),
			 verdicts[_i].unknown);
	json_decref(job);
	json_decref(json);
	yab_contact_free(outgoing.contact);
	event_free(outgoing.deadline);
	yab_jobs_free(jobs);
	event_base_free(base);
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
	tcase_add_loop_test(tcase, source_lets_go_or_not, 0, 7);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
