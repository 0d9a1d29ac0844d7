// SPDX-License-Identifier: GPL-2.0-or-later
/* Text from elsewhere that people get to see. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "../../daemon/job.h"
#include "../../daemon/text.h"
#include "script.h"

START_TEST(tame)
{
	char text[] = "a\tb\r\nc \x1b[2J\x7f\xc3\xa9~";

	yab_text_tame(text);
	ck_assert_str_eq(text, "a b  c ?[2J???~");
}
END_TEST

/* Cut in the middle of a character: without taming there would be no JSON. */
START_TEST(job_error)
{
	struct yab_jobs *jobs = yab_jobs_new();
	struct yab_job *job = yab_job_start(jobs, "vm1", YAB_JOB_INCOMING, "host1", 1);
	char error[1024] = "x";
	json_t *json;

	ck_assert_ptr_nonnull(job);
	for (size_t i = 1; i < sizeof(error) - 2; i += 2)
		memcpy(error + i, "\xc3\xa9", 3);
	yab_job_end(job, error);
	json = yab_job_json(job);
	ck_assert_ptr_nonnull(json);
	ck_assert_ptr_nonnull(json_object_get(json, "error"));
	ck_assert_int_eq(json_string_value(json_object_get(json, "error"))[1], '?');
	json_decref(json);
	yab_jobs_free(jobs);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("text");
	TCase *tcase = tcase_create("text");

	tcase_add_test(tcase, tame);
	tcase_add_test(tcase, job_error);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
