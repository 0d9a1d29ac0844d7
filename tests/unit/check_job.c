// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs: one a VM, phases only forward. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "../../daemon/job.h"
#include "script.h"

static const enum yab_job_phase outgoing[] = {
	YAB_JOB_NONE, YAB_JOB_BEGIN, YAB_JOB_PREPARE, YAB_JOB_PERFORM, YAB_JOB_FINISH,
	YAB_JOB_CONFIRM,
};

static const enum yab_job_phase incoming[] = {
	YAB_JOB_NONE, YAB_JOB_PREPARE, YAB_JOB_FINISH,
};

static int place(const enum yab_job_phase *phases, int count, enum yab_job_phase phase)
{
	for (int i = 0; i < count; i++)
		if (phases[i] == phase)
			return i;
	return -1;
}

/* Exactly the steps from one place of the list to the next are allowed. */
START_TEST(every_transition)
{
	enum yab_job_direction direction = _i;
	const enum yab_job_phase *phases = direction == YAB_JOB_OUTGOING ? outgoing : incoming;
	int count = direction == YAB_JOB_OUTGOING ? 6 : 3;

	for (int from = 0; from < YAB_JOB_PHASES; from++) {
		for (int to = 0; to < YAB_JOB_PHASES; to++) {
			int a = place(phases, count, from), b = place(phases, count, to);

			ck_assert_int_eq(yab_job_may_enter(direction, from, to),
					 a >= 0 && b == a + 1);
		}
	}
}
END_TEST

/* Those that it was in, in turn; together they are all the time but that before the first. */
static void expect_phases(json_t *json, const char *names)
{
	json_t *phases = json_object_get(json, "phases_us"), *us;
	json_int_t sum = 0;
	char text[128] = "";
	const char *name;

	json_object_foreach(phases, name, us) {
		strcat(strcat(text, name), " ");
		ck_assert_int_ge(json_integer_value(us), 0);
		sum += json_integer_value(us);
	}
	ck_assert_str_eq(text, names);
	ck_assert_int_le(sum, json_integer_value(json_object_get(json, "total_us")));
}

START_TEST(life)
{
	struct yab_jobs *jobs = yab_jobs_new();
	json_t *statistics = json_pack("{s:i}", "present", 7), *json;
	struct yab_job *job;

	ck_assert_ptr_null(yab_jobs_find(jobs, "vm1"));
	job = yab_job_start(jobs, "vm1", YAB_JOB_OUTGOING, "host2:7655", 100);
	ck_assert_ptr_nonnull(job);
	ck_assert_ptr_eq(yab_jobs_find(jobs, "vm1"), job);
	ck_assert(yab_job_active(job));
	for (int i = 1; i < 6; i++) {
		yab_job_enter(job, outgoing[i]);
		ck_assert_int_eq(yab_job_phase(job), outgoing[i]);
		/* One at a time, in every phase; another VM's is no matter. */
		errno = 0;
		ck_assert_ptr_null(yab_job_start(jobs, "vm1", YAB_JOB_INCOMING, "x", 1));
		ck_assert_int_eq(errno, EBUSY);
	}
	ck_assert_ptr_nonnull(yab_job_start(jobs, "vm2", YAB_JOB_INCOMING, "x", 1));
	yab_job_statistics(job, YAB_JOB_DESTINATION, statistics);
	yab_job_switched(job, 42);
	yab_job_end(job, NULL);

	/* The last one stays readable. */
	json = yab_job_json(yab_jobs_find(jobs, "vm1"));
	ck_assert_str_eq(json_string_value(json_object_get(json, "state")), "completed");
	ck_assert_str_eq(json_string_value(json_object_get(json, "phase")), "confirm");
	ck_assert_int_eq(json_integer_value(json_object_get(json, "downtime_us")), 42);
	ck_assert_ptr_eq(json_object_get(json, "destination"), statistics);
	expect_phases(json, "begin prepare perform finish confirm ");
	ck_assert_ptr_null(json_object_get(json, "error"));
	json_decref(json);

	/* Until the next one takes its place. */
	job = yab_job_start(jobs, "vm1", YAB_JOB_INCOMING, "host3:1", 5);
	ck_assert_ptr_nonnull(job);
	json = yab_job_json(job);
	expect_phases(json, "");
	json_decref(json);
	yab_job_enter(job, YAB_JOB_PREPARE);
	yab_job_end(job, "no luck");
	json = yab_job_json(yab_jobs_find(jobs, "vm1"));
	ck_assert_str_eq(json_string_value(json_object_get(json, "state")), "failed");
	ck_assert_str_eq(json_string_value(json_object_get(json, "error")), "no luck");
	ck_assert_ptr_null(json_object_get(json, "downtime_us"));
	json_decref(json);
	json_decref(statistics);
	yab_jobs_free(jobs);
}
END_TEST

/* What an image has to do with has no other host, and says so. */
static const struct {
	enum yab_job_direction direction;
	const char *peer, *kind, *shown, *told;
} kinds[] = {
	{ YAB_JOB_OUTGOING, "h:7655", "migration", "h:7655", "is on its way to h:7655" },
	{ YAB_JOB_INCOMING, "h#1.2", "migration", "h#1.2", "is arriving from h#1.2" },
	{ YAB_JOB_OUTGOING, "/a#1.2", "save", "/a#1.2", "is being saved to /a#1.2" },
	{ YAB_JOB_INCOMING, "/a#b#1.2", "start", "/a#b", "is being started from /a#b" },
};

START_TEST(kind)
{
	struct yab_jobs *jobs = yab_jobs_new();
	struct yab_job *job = yab_job_start(jobs, "v", kinds[_i].direction, kinds[_i].peer, 1);
	json_t *json = yab_job_json(job);
	char told[100];

	ck_assert_str_eq(json_string_value(json_object_get(json, "kind")), kinds[_i].kind);
	ck_assert_str_eq(json_string_value(json_object_get(json, "peer")), kinds[_i].shown);
	ck_assert_str_eq(yab_job_peer(job), kinds[_i].peer);
	yab_job_tell(job, told, sizeof(told));
	ck_assert_str_eq(told, kinds[_i].told);
	json_decref(json);
	yab_jobs_free(jobs);
}
END_TEST

START_TEST(asserts_back)
{
	struct yab_job *job = yab_job_start(yab_jobs_new(), "v", YAB_JOB_OUTGOING, "x", 1);

	yab_job_enter(job, YAB_JOB_BEGIN);
	yab_job_enter(job, YAB_JOB_PREPARE);
	yab_job_enter(job, YAB_JOB_BEGIN);
}
END_TEST

START_TEST(asserts_ended)
{
	struct yab_job *job = yab_job_start(yab_jobs_new(), "v", YAB_JOB_OUTGOING, "x", 1);

	yab_job_end(job, "early");
	yab_job_enter(job, YAB_JOB_BEGIN);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("job");
	TCase *tcase = tcase_create("job");

	tcase_add_loop_test(tcase, every_transition, 0, YAB_JOB_DIRECTIONS);
	tcase_add_test(tcase, life);
	tcase_add_loop_test(tcase, kind, 0, sizeof(kinds) / sizeof(*kinds));
	tcase_add_test_raise_signal(tcase, asserts_back, SIGABRT);
	tcase_add_test_raise_signal(tcase, asserts_ended, SIGABRT);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
