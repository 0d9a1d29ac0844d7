// SPDX-License-Identifier: GPL-2.0-or-later
/* What is said of a VM that has something to do already: in the words of what it does. */
#include <string.h>
#include <sys/stat.h>

#include "../../daemon/incoming.h"
#include "../../daemon/outgoing.h"
#include "../../daemon/rescue.h"
#include "../../daemon/save.h"
#include "script.h"
#include "supervisor.h"

#define DESCRIPTION	"{\"name\": \"vm1\", \"memory\": \"1M\", \"qemu\": [\"false\", \"${memory}\", " \
			"\"${incoming}\", \"${monitor}\"]}"

static struct yab_supervisor supervisor;
static char folder[SCRIPT_FOLDER_SIZE];

static void set_up(void)
{
	const char *path;
	char error[512];

	script_folder_make(folder);
	path = script_path(folder, "vm1.json");
	script_file_write(path, DESCRIPTION, strlen(DESCRIPTION));
	ck_assert_int_eq(chmod(path, 0600), 0);
	supervisor_begin(&supervisor, folder, NULL);
	ck_assert_msg(yab_vms_add(supervisor.vms, "vm1", YAB_VM_RUNNING, error, sizeof(error)),
		      "%s", error);
}

static void tear_down(void)
{
	supervisor_end(&supervisor);
	script_folder_drop(folder);
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
