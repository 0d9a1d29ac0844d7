// SPDX-License-Identifier: GPL-2.0-or-later
/* What is said of a VM that has something to do already: in the words of what it does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/incoming.h"
#include "../../daemon/outgoing.h"
#include "../../daemon/rescue.h"
#include "../../daemon/save.h"
#include "script.h"

#define DESCRIPTION	"{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"false\", \"${memory}\", " \
			"\"${incoming}\", \"${monitor}\"]}"

static struct yab_supervisor supervisor;
static char folder[64], path[80];

static void set_up(void)
{
	char error[512];
	FILE *file;

	snprintf(folder, sizeof(folder), "/tmp/check_busy.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/vm1.json", folder);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(DESCRIPTION, file);
	ck_assert_int_eq(fchmod(fileno(file), 0600), 0);
	ck_assert_int_eq(fclose(file), 0);
	supervisor.base = script_base();
	supervisor.run_dir = folder;
	supervisor.vms = yab_vms_new(supervisor.base, folder, folder);
	supervisor.jobs = yab_jobs_new();
	supervisor.incomings = yab_incomings_new(NULL);
	supervisor.outgoings = yab_outgoings_new();
	supervisor.saves = yab_saves_new();
	ck_assert_msg(yab_vms_add(supervisor.vms, "vm1", YAB_VM_RUNNING, error, sizeof(error)),
		      "%s", error);
}

static void tear_down(void)
{
	yab_saves_free(supervisor.saves);
	yab_outgoings_free(supervisor.outgoings);
	yab_incomings_free(supervisor.incomings);
	yab_jobs_free(supervisor.jobs);
	yab_vms_free(supervisor.vms);
	event_base_free(supervisor.base);
	unlink(path);
	rmdir(folder);
}

static const struct {
	enum yab_job_direction direction;
	const char *peer, *busy, *resumed;
} jobs[] = {
	{ YAB_JOB_OUTGOING, "/vm1.image", "VM vm1 is being saved to /vm1.image, which is still",
	  "VM vm1 is being saved to /vm1.image, which goes on by itself" },
	{ YAB_JOB_INCOMING, "/vm1.image#1.2",
	  "VM vm1 is being started from /vm1.image, which is still",
	  "VM vm1 is being started from /vm1.image, which goes on by itself" },
	{ YAB_JOB_INCOMING, "10.0.0.1:4444", "VM vm1 is arriving from 10.0.0.1:4444, which is",
	  "resume it on the source (10.0.0.1:4444)" },
	{ YAB_JOB_OUTGOING, "h:7655", "VM vm1 is on its way to h:7655, which is still",
	  "VM vm1 is in no migration" },
};

START_TEST(told)
{
	struct yab_job *job;
	char error[512];

	job = yab_job_start(supervisor.jobs, "vm1", jobs[_i].direction, jobs[_i].peer, 256);
	ck_assert_ptr_nonnull(job);
	ck_assert_ptr_null(yab_outgoing_candidate(&supervisor, "vm1", error, sizeof(error)));
	ck_assert_msg(strstr(error, jobs[_i].busy) == error, "%s", error);
	ck_assert_msg(strstr(error, "see yabctl jobinfo vm1"), "%s", error);
	ck_assert_int_eq(yab_rescue_resume(&supervisor, "vm1", NULL, error, sizeof(error)), -1);
	ck_assert_msg(strstr(error, jobs[_i].resumed), "%s", error);

	/* One that has ended is in nobody's way. */
	yab_job_end(job, "no luck");
	ck_assert_ptr_null(yab_outgoing_candidate(&supervisor, "vm1", error, sizeof(error)));
	ck_assert_msg(strstr(error, "cannot open the memory of VM vm1"), "%s", error);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("busy");
	TCase *tcase = tcase_create("busy");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, told, 0, sizeof(jobs) / sizeof(*jobs));
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
