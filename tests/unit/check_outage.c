// SPDX-License-Identifier: GPL-2.0-or-later
/* What is lost of a committed migration, and what its job says meanwhile. */
#include <stdlib.h>
#include <string.h>

#include "../../daemon/clock.h"
#include "../../daemon/outage.h"
#include "script.h"

static struct yab_jobs *jobs;
static struct yab_job *job;
static struct yab_outage outage;

static void setup(void)
{
	memset(&outage, 0, sizeof(outage));
	jobs = yab_jobs_new();
	job = yab_job_start(jobs, "vm1", YAB_JOB_OUTGOING, "host2:7655", 100);
	yab_job_enter(job, YAB_JOB_BEGIN);
}

static void teardown(void)
{
	yab_jobs_free(jobs);
}

static void expect_active(void)
{
	json_t *json = yab_job_json(job);

	ck_assert_str_eq(json_string_value(json_object_get(json, "state")), "active");
	ck_assert_ptr_null(json_object_get(json, "paused"));
	ck_assert(yab_job_active(job));
	json_decref(json);
}

/* How long until the next try is part of it, @tries: or there is none. */
static void expect_paused(const char *reason, bool tries)
{
	json_t *json = yab_job_json(job), *paused = json_object_get(json, "paused");

	ck_assert_str_eq(json_string_value(json_object_get(json, "state")), "paused");
	ck_assert_str_eq(json_string_value(json_object_get(paused, "reason")), reason);
	ck_assert_int_ge(json_integer_value(json_object_get(paused, "us")), 0);
	ck_assert_int_eq(json_is_integer(json_object_get(paused, "next_try_us")), tries);
	ck_assert(yab_job_active(job));
	json_decref(json);
}

/* Before the commit a loss is the end anyway; what is still lost then counts. */
START_TEST(before_the_commit)
{
	yab_outage_lost(&outage, YAB_OUTAGE_URGENT, "not made yet", 0);
	expect_active();
	if (_i)
		yab_outage_found(&outage, YAB_OUTAGE_URGENT);
	yab_outage_watch(&outage, "vm1", job);
	if (_i)
		expect_active();
	else
		expect_paused("no urgent connection: not made yet", false);
}
END_TEST

START_TEST(both)
{
	const int64_t now = yab_clock_us();
	json_t *json;

	yab_outage_watch(&outage, "vm1", job);
	expect_active();
	yab_outage_lost(&outage, YAB_OUTAGE_URGENT, "reset", now + 60000000);
	expect_paused("no urgent connection: reset", true);
	yab_outage_lost(&outage, YAB_OUTAGE_CONTROL, "refused", now + 600000000);
	expect_paused("no control connection: refused", true);
	/* The next try is that of whichever comes first. */
	json = yab_job_json(job);
	ck_assert_int_le(json_integer_value(json_object_get(json_object_get(json, "paused"),
							    "next_try_us")), 60000000);
	json_decref(json);
	/* Another reason, the same pause. */
	yab_outage_lost(&outage, YAB_OUTAGE_CONTROL, "no route", now);
	expect_paused("no control connection: no route", true);
	yab_outage_found(&outage, YAB_OUTAGE_CONTROL);
	expect_paused("no urgent connection: reset", true);
	ck_assert(yab_outage_is_lost(&outage, YAB_OUTAGE_URGENT));
	yab_outage_found(&outage, YAB_OUTAGE_URGENT);
	expect_active();
	/* And once more. */
	yab_outage_lost(&outage, YAB_OUTAGE_URGENT, "again\n", 0);
	expect_paused("no urgent connection: again ", false);
}
END_TEST

static void lose_both(void *arg)
{
	(void)arg;
	yab_outage_lost(&outage, YAB_OUTAGE_URGENT, "reset", 1);
	yab_outage_lost(&outage, YAB_OUTAGE_URGENT, "refused", 1);
	yab_outage_lost(&outage, YAB_OUTAGE_CONTROL, "reset, too", 1);
	yab_outage_lost(&outage, YAB_OUTAGE_CONTROL, "refused, too", 1);
}

/* One line for each that is lost, none for each try. */
START_TEST(told)
{
	char *text;

	yab_outage_watch(&outage, "vm1", job);
	text = script_logged(lose_both, NULL);
	ck_assert_ptr_nonnull(strstr(text, "paused, no urgent connection: reset;"));
	ck_assert_ptr_nonnull(strstr(text, "no control connection either now: reset, too\n"));
	ck_assert_ptr_null(strstr(text, "refused"));
	free(text);
}
END_TEST

/* What is lost at the end or after it says nothing of a job that may be gone. */
START_TEST(ended)
{
	yab_outage_watch(&outage, "vm1", job);
	yab_outage_lost(&outage, YAB_OUTAGE_URGENT, "reset", 0);
	yab_outage_end(&outage);
	expect_active();
	yab_job_end(job, NULL);
	yab_outage_lost(&outage, YAB_OUTAGE_CONTROL, "closed", 0);
	yab_outage_found(&outage, YAB_OUTAGE_URGENT);
	ck_assert(!yab_job_active(job));
	yab_outage_end(&outage);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("outage");
	TCase *tcase = tcase_create("outage");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, before_the_commit, 0, 2);
	tcase_add_test(tcase, both);
	tcase_add_test(tcase, told);
	tcase_add_test(tcase, ended);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
