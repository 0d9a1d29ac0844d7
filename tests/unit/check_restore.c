// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The start of a VM from files: all of the daemon but its main(), workers of its own, and a
 * kernel and a QEMU that are played. This program is its own worker, and the QEMU.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/adoption.h"
#include "../../daemon/image.h"
#include "../../daemon/incoming_state.h"
#include "../../daemon/outgoing.h"
#include "../../daemon/region.h"
#include "../../daemon/rescue.h"
#include "../../daemon/restore.h"
#include "../../daemon/save.h"
#include "../../daemon/worker.h"
#include "machine.h"
#include "script.h"
#include "supervisor.h"

#define PAGES		4096
#define SEED		7
/* Of this variable workers know it. */
#define PRESENT_FILE	"CHECK_RESTORE_PRESENT"	/* a byte a page, as the kernel's bit */

static char folder[SCRIPT_FOLDER_SIZE];
static struct yab_supervisor supervisor;
static int present = -1;		/* PRESENT_FILE */
static int kernel = -1, memory = -1;	/* of the region */
static int told;
static char said[512];

/* --- the kernel ------------------------------------------------------------------------ */

/* A pager's descriptor, which never has a fault to tell. */
static int pager(void)
{
	int ours, theirs;

	if (kernel >= 0)
		close(kernel);
	script_pair(&ours, &theirs);
	kernel = ours;
	return theirs;
}

int __wrap_yab_region_create(const char *name, uint64_t size, int memory_fd, uid_t uid, gid_t gid,
			     char *error, size_t error_size);
int __wrap_yab_region_create(const char *name, uint64_t size, int memory_fd, uid_t uid, gid_t gid,
			     char *error, size_t error_size)
{
	(void)uid;
	(void)gid;
	(void)error;
	(void)error_size;
	ck_assert_str_eq(name, "vm1");
	ck_assert_uint_eq(size, PAGES * SCRIPT_PAGE);
	memory = dup(memory_fd);
	return pager();
}

int __wrap_yab_region_attach(const char *name, int *memory_fd, char *error, size_t error_size);
int __wrap_yab_region_attach(const char *name, int *memory_fd, char *error, size_t error_size)
{
	(void)name;
	(void)error;
	(void)error_size;
	*memory_fd = dup(memory);
	return pager();
}

int __wrap_yab_region_fail(const char *name, char *error, size_t error_size);
int __wrap_yab_region_fail(const char *name, char *error, size_t error_size)
{
	(void)name;
	(void)error;
	(void)error_size;
	return 0;
}

int __wrap_yab_region_declare(int pager_fd, struct yab_range *ranges, size_t count);
int __wrap_yab_region_declare(int pager_fd, struct yab_range *ranges, size_t count)
{
	uint8_t ones[PAGES];

	(void)pager_fd;
	memset(ones, 1, sizeof(ones));
	for (size_t i = 0; i < count; i++)
		if (pwrite(present, ones, ranges[i].count, (off_t)ranges[i].page) !=
		    (ssize_t)ranges[i].count)
			abort();
	return 0;
}

int __wrap_yab_region_present(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits);
int __wrap_yab_region_present(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits)
{
	uint8_t bytes[PAGES];

	(void)pager_fd;
	if (pread(present, bytes, count, (off_t)page) != (ssize_t)count)
		abort();
	memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
	for (uint64_t i = 0; i < count; i++)
		bits[i / 64] |= (uint64_t)bytes[i] << i % 64;
	return 0;
}

/* --- the supervisor -------------------------------------------------------------------- */

static const char *path(const char *name)
{
	return script_path(folder, name);
}

static void begin_supervisor(void)
{
	supervisor_begin(&supervisor, folder, path("state"));
}

static void write_file(const char *name, const void *bytes, size_t size)
{
	script_file_write(path(name), bytes, size);
}

/* Every third page of the image is a hole. */
static void make_image(void)
{
	const int fd = open(path("image"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	uint8_t page[SCRIPT_PAGE];

	ck_assert_int_eq(ftruncate(fd, PAGES * SCRIPT_PAGE), 0);
	for (uint64_t i = 0; i < PAGES; i++) {
		script_fill(page, i, SEED);
		if (i % 3)
			ck_assert_int_eq(pwrite(fd, page, sizeof(page), (off_t)(i * SCRIPT_PAGE)),
					 SCRIPT_PAGE);
	}
	close(fd);
}

static void setup(void)
{
	static const uint8_t none[PAGES];
	char text[512];
	int length;

	script_folder_make(folder);
	ck_assert_int_eq(mkdir(path("state"), 0700), 0);
	length = snprintf(text, sizeof(text),
			  "{\"name\": \"vm1\", \"memory\": \"%dK\", \"qemu\": [\"/proc/self/exe\", \"--qemu\", \"${monitor}\", \"${memory}\", \"${incoming}\"]}",
			  PAGES * 4);
	write_file("vm1.json", text, (size_t)length);
	write_file("device", MACHINE_STATE, sizeof(MACHINE_STATE));
	write_file("present", none, sizeof(none));
	make_image();
	setenv(PRESENT_FILE, path("present"), 1);
	unsetenv(MACHINE_FAILS);
	unsetenv(MACHINE_HOLDS);
	unsetenv(MACHINE_HANGS_UP);
	present = open(path("present"), O_RDWR | O_CLOEXEC);
	told = 0;
	begin_supervisor();
}

static void on_destroyed(const char *error, void *arg)
{
	(void)error;
	(void)arg;
	told = -1;
}

static void teardown(void)
{
	struct yab_vm *vm = yab_vms_find(supervisor.vms, "vm1");
	char error[512];

	if (vm) {
		ck_assert_msg(!yab_vm_destroy(vm, on_destroyed, NULL, error, sizeof(error)), "%s",
			      error);
		while (told != -1)
			supervisor_turn(&supervisor);
	}
	supervisor_end(&supervisor);
	while (waitpid(-1, NULL, 0) > 0)
		;
	if (kernel >= 0)
		close(kernel);
	if (memory >= 0)
		close(memory);
	close(present);
	script_folder_drop(folder);
}

static void on_started(const char *error, void *arg)
{
	(void)arg;
	told++;
	snprintf(said, sizeof(said), "%s", error ? error : "");
}

static int start(const char *image, const char *state, uint64_t bandwidth)
{
	const struct yab_restore_options options = {
		.image = image,
		.state = state,
		.connections = 1,
		.bandwidth = bandwidth,
	};

	said[0] = '\0';
	return yab_restore_begin(&supervisor, "vm1", &options, on_started, NULL, said,
				 sizeof(said));
}

static void until_told(void)
{
	while (!told) {
		supervisor_turn(&supervisor);
		/* Any number of files may be started from. */
		ck_assert_uint_eq(supervisor.callers.count, 0);
	}
}

static bool job_is(const char *state)
{
	return !strcmp(supervisor_job_says(&supervisor, "state"), state);
}

/* Of the text that is called @what. */
static bool job_tells(const char *what, const char *part)
{
	return strstr(supervisor_job_says(&supervisor, what), part);
}

/* Every page is there, and so the session is nobody's any more. */
static void until_complete(void)
{
	uint8_t page[SCRIPT_PAGE], want[SCRIPT_PAGE];

	while (!LIST_EMPTY(&supervisor.incomings->all))
		supervisor_turn(&supervisor);
	ck_assert(job_is("completed"));
	for (uint64_t i = 0; i < PAGES; i++) {
		memset(want, 0, sizeof(want));
		if (i % 3)
			script_fill(want, i, SEED);
		ck_assert_int_eq(pread(memory, page, sizeof(page), (off_t)(i * SCRIPT_PAGE)),
				 SCRIPT_PAGE);
		ck_assert_mem_eq(page, want, sizeof(want));
	}
	script_settle(supervisor.base);
}

/* --- tests ----------------------------------------------------------------------------- */

START_TEST(starts)
{
	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	until_told();
	ck_assert_str_eq(said, "");
	ck_assert_int_eq(yab_vms_find(supervisor.vms, "vm1")->state, YAB_VM_RUNNING);
	until_complete();
	ck_assert_int_eq(told, 1);
}
END_TEST

/* Nothing is left, and the next one may try. */
START_TEST(not_loaded)
{
	if (_i)
		write_file("device", "another", 7);
	else
		setenv(MACHINE_FAILS, "1", 1);
	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	until_told();
	ck_assert_msg(strstr(said, "no such device"), "%s", said);
	ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
	ck_assert(LIST_EMPTY(&supervisor.incomings->all));
	ck_assert(job_is("failed"));
	ck_assert_int_eq(access(path("state/vm1.json"), F_OK), -1);
}
END_TEST

START_TEST(started_twice)
{
	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	until_told();
	told = 0;
	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	until_told();
	ck_assert_msg(strstr(said, "on this host already"), "%s", said);
	until_complete();
}
END_TEST

/* One page a second until a worker was killed, and another one has brought more. */
START_TEST(worker_killed)
{
	const char *name = _i ? "yabusame-source" : "yabusame-pager";
	json_t *none = json_integer(0);
	pid_t first, next;

	ck_assert_msg(!start(path("image"), path("device"), SCRIPT_PAGE), "%s", said);
	until_told();
	ck_assert_str_eq(said, "");
	first = script_child(name);
	ck_assert_int_gt(first, 0);
	kill(first, SIGKILL);
	do {
		supervisor_turn(&supervisor);
		next = script_child(name);
	} while (!next || next == first);
	ck_assert(!job_is("completed"));
	yab_incomings_limit(supervisor.incomings, "vm1", none);
	json_decref(none);
	until_complete();
}
END_TEST

/* Whoever comes next takes guest, image and what is present up where they were. */
START_TEST(supervisor_ended)
{
	json_t *none = json_integer(0);

	ck_assert_msg(!start(path("image"), path("device"), SCRIPT_PAGE), "%s", said);
	until_told();
	ck_assert_str_eq(said, "");
	supervisor_end(&supervisor);
	begin_supervisor();
	if (_i)
		ck_assert_int_eq(rename(path("image"), path("away")), 0);
	yab_adopt_all(&supervisor);
	ck_assert(!LIST_EMPTY(&supervisor.incomings->all));
	if (_i) {
		/* It is missed, and looked for once more. */
		while (!job_tells("warning", "No such file"))
			supervisor_turn(&supervisor);
		ck_assert(job_is("paused"));
		ck_assert_int_eq(rename(path("away"), path("image")), 0);
	}
	yab_incomings_limit(supervisor.incomings, "vm1", none);
	json_decref(none);
	until_complete();
	ck_assert_int_eq(yab_vms_find(supervisor.vms, "vm1")->state, YAB_VM_RUNNING);
}
END_TEST

/* Before the commit there is nothing to take up, and no guest was lost. */
START_TEST(supervisor_ended_early)
{
	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	while (!yab_vms_find(supervisor.vms, "vm1"))
		supervisor_turn(&supervisor);
	supervisor_end(&supervisor);
	begin_supervisor();
	yab_adopt_all(&supervisor);
	while (!LIST_EMPTY(&supervisor.incomings->all))
		supervisor_turn(&supervisor);
	ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
	ck_assert_int_eq(told, 0);
}
END_TEST

/* Nobody asks for it any more: it is as if it had not been. */
START_TEST(abandoned)
{
	char text[512];

	ck_assert_msg(!start(path("image"), path("device"), SCRIPT_PAGE), "%s", said);
	until_told();
	ck_assert_int_eq(yab_rescue_abandon(&supervisor, "vm1", false, text, sizeof(text)), -1);
	ck_assert_msg(!yab_rescue_abandon(&supervisor, "vm1", true, text, sizeof(text)), "%s",
		      text);
	while (!LIST_EMPTY(&supervisor.incomings->all) || yab_vms_find(supervisor.vms, "vm1"))
		supervisor_turn(&supervisor);
	ck_assert(job_is("failed"));
	ck_assert_int_eq(access(path("state/vm1.json"), F_OK), -1);
	/* And there is room for the next one. */
	ck_assert_int_eq(truncate(path("present"), 0), 0);
	ck_assert_int_eq(truncate(path("present"), PAGES), 0);
	told = 0;
	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	until_told();
	ck_assert_str_eq(said, "");
	until_complete();
}
END_TEST

/* The next supervisor finds no image, and then nobody who wants it. */
START_TEST(abandoned_without_image)
{
	char text[512];

	ck_assert_msg(!start(path("image"), path("device"), SCRIPT_PAGE), "%s", said);
	until_told();
	supervisor_end(&supervisor);
	begin_supervisor();
	ck_assert_int_eq(rename(path("image"), path("away")), 0);
	yab_adopt_all(&supervisor);
	while (!job_tells("warning", "No such file"))
		supervisor_turn(&supervisor);
	ck_assert_msg(!yab_rescue_abandon(&supervisor, "vm1", true, text, sizeof(text)), "%s",
		      text);
	while (!LIST_EMPTY(&supervisor.incomings->all) || yab_vms_find(supervisor.vms, "vm1"))
		supervisor_turn(&supervisor);
	ck_assert(job_tells("state", "failed"));
	ck_assert_int_eq(access(path("state/vm1.json"), F_OK), -1);
}
END_TEST

/* A page of the image is not there any more: its guest waits, and people know why. */
START_TEST(truncated)
{
	json_t *none = json_integer(0);

	ck_assert_msg(!start(path("image"), path("device"), SCRIPT_PAGE), "%s", said);
	until_told();
	ck_assert_int_eq(truncate(path("image"), SCRIPT_PAGE), 0);
	yab_incomings_limit(supervisor.incomings, "vm1", none);
	while (!job_tells("warning", "truncated"))
		supervisor_turn(&supervisor);
	ck_assert(!LIST_EMPTY(&supervisor.incomings->all));
	/* And it goes on when it is whole again. */
	make_image();
	json_decref(none);
	until_complete();
}
END_TEST

static const struct {
	const char *image;	/* in the folder, unless it is absolute */
	const char *state;
	const char *says;
} wrong[] = {
	{ "nosuch", "device", "No such file" },
	{ "image", "nosuch", "No such file" },
	{ "state", "device", "is no regular file" },
	{ "image", "state", "is no regular file" },
	{ "image", "/dev/null", "is no regular file" },
	{ "device", "device", "bytes and the VM" },
	{ "image", "empty", "is empty" },
};

START_TEST(wrong_files)
{
	write_file("empty", "", 0);
	ck_assert_int_eq(start(path(wrong[_i].image), *wrong[_i].state == '/' ? wrong[_i].state :
			       path(wrong[_i].state), 0), -1);
	ck_assert_msg(strstr(said, wrong[_i].says), "%s", said);
	ck_assert_ptr_null(yab_jobs_find(supervisor.jobs, "vm1"));
}
END_TEST

/* --- saving ---------------------------------------------------------------------------- */

/* A guest that has all its pages is saved to the files "memory" and "machine". */
static void start_saving(void)
{
	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	until_told();
	until_complete();
	told = 0;
	ck_assert_msg(!yab_save_begin(&supervisor, "vm1", path("memory"), path("machine"),
				      on_started, NULL, said, sizeof(said)), "%s", said);
}

/* The same bytes, and nothing under other names. */
static void expect_saved(void)
{
	char command[256];

	snprintf(command, sizeof(command), "cd %s && cmp image memory && cmp device machine && ! ls *.part 2>&-",
		 folder);
	ck_assert_int_eq(system(command), 0);
	ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
	ck_assert(job_is("completed"));
}

static void expect_not_saved(void)
{
	char command[256];

	snprintf(command, sizeof(command), "cd %s && ! ls memory* machine* 2>&-", folder);
	ck_assert_int_eq(system(command), 0);
	ck_assert(job_is("failed"));
}

static void on_status(json_t *result, const char *error, void *arg)
{
	const char *status = json_string_value(json_object_get(result, "status"));
	bool *written = arg;

	/* It may be asked once more when it ends. */
	if (!error)
		*written = !strcmp(status, "postmigrate");
}

START_TEST(saved)
{
	start_saving();
	until_told();
	ck_assert_str_eq(said, "");
	expect_saved();
}
END_TEST

START_TEST(saved_to_one_file)
{
	static const char * const states[] = { "memory", "./memory", "/memory" };

	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	until_told();
	until_complete();
	ck_assert_int_eq(yab_save_begin(&supervisor, "vm1", path("memory"), path(states[_i]),
					on_started, NULL, said, sizeof(said)), -1);
	ck_assert_msg(strstr(said, "need a file each"), "%s", said);
	ck_assert_int_eq(yab_vms_find(supervisor.vms, "vm1")->state, YAB_VM_RUNNING);
	ck_assert_int_eq(access(path("memory.vm1.part"), F_OK), -1);
}
END_TEST

/* QEMU has written all it had, but keeps the copy waiting. */
static struct yab_vm *hold_saving(void)
{
	static bool written;	/* an answer may come later */
	struct yab_vm *vm;

	written = false;
	setenv(MACHINE_HOLDS, "1", 1);
	start_saving();
	vm = yab_vms_find(supervisor.vms, "vm1");
	/* Before it says so there is an event. */
	while (!written) {
		struct yab_qmp *qmp = yab_vm_qmp(vm);

		ck_assert(!yab_qmp_call(qmp, "query-status", NULL, -1, on_status, &written));
		supervisor_turn(&supervisor);
	}
	return vm;
}

/* The copy goes on when it is told to. */
static pid_t end_qemu(struct yab_vm *vm)
{
	pid_t copy;

	/* It may not have taken its name yet. */
	while (!(copy = script_child("yabusame-copy")))
		;
	kill(copy, SIGSTOP);
	yab_qemu_kill(vm->qemu);
	while (vm->qemu)
		supervisor_turn(&supervisor);
	ck_assert_int_eq(told, 0);
	return copy;
}

/* QEMU ends when it has written all it had, while its memory is written, which is all there is. */
START_TEST(saved_without_qemu)
{
	const pid_t copy = end_qemu(hold_saving());

	ck_assert(yab_saves_give_up(supervisor.saves));
	kill(copy, _i ? SIGKILL : SIGCONT);
	until_told();
	if (_i) {
		ck_assert_msg(strstr(said, "the guest is lost"), "%s", said);
		expect_not_saved();
		ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
	} else {
		ck_assert_str_eq(said, "");
		expect_saved();
	}
	ck_assert_int_eq(access(path("state/vm1.json"), F_OK), -1);
}
END_TEST

/* Nobody hears that QEMU has written everything: that is as if it had not. */
START_TEST(saved_unheard)
{
	setenv(MACHINE_HANGS_UP, "1", 1);
	start_saving();
	until_told();
	ck_assert_msg(strstr(said, "monitor was lost (VM vm1 goes on)"), "%s", said);
	ck_assert_int_eq(yab_vms_find(supervisor.vms, "vm1")->state, YAB_VM_RUNNING);
	expect_not_saved();
}
END_TEST

/* At its beginning, while the files are written, and when there is nothing but them. */
START_TEST(saving_abandoned)
{
	const bool alone = _i == 2;
	struct yab_vm *vm = NULL;
	char text[512];

	ck_assert_int_eq(yab_rescue_abandon(&supervisor, "vm1", true, text, sizeof(text)), -1);
	ck_assert_msg(strstr(text, "is in no migration"), "%s", text);
	if (!_i)
		start_saving();
	else
		vm = hold_saving();
	if (alone) {
		end_qemu(vm);
		ck_assert_int_eq(yab_rescue_abandon(&supervisor, "vm1", false, text,
						    sizeof(text)), -1);
		ck_assert_msg(strstr(text, "--force"), "%s", text);
	}
	ck_assert_msg(!yab_rescue_abandon(&supervisor, "vm1", alone, text, sizeof(text)), "%s",
		      text);
	ck_assert_msg(strstr(text, alone ? "is lost" : "goes on"), "%s", text);
	until_told();
	ck_assert_msg(strstr(said, alone ? "is lost" : "goes on"), "%s", said);
	if (alone)
		ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
	else
		ck_assert_int_eq(yab_vms_find(supervisor.vms, "vm1")->state, YAB_VM_RUNNING);
	expect_not_saved();
}
END_TEST

/*
 * The supervisor was killed before QEMU was told to end. With _i the image never had its name, and
 * what has it is somebody else's.
 */
START_TEST(saved_and_given_back)
{
	struct yab_record_migration migration = { .state = YAB_RECORD_LEAVING, .running = true };
	char error[512];

	ck_assert_msg(!start(path("image"), path("device"), 0), "%s", said);
	until_told();
	until_complete();
	snprintf(migration.peer, sizeof(migration.peer), "%s", path("memory"));
	ck_assert_int_eq(yab_journal_promise_migration(supervisor.journal, "vm1",
						       PAGES * SCRIPT_PAGE, &migration, error,
						       sizeof(error)), 0);
	write_file("memory", "full", 4);
	if (_i)
		write_file("memory.vm1.part", "half", 4);
	supervisor_end(&supervisor);
	begin_supervisor();
	yab_adopt_all(&supervisor);
	while (yab_vms_find(supervisor.vms, "vm1")->state != YAB_VM_RUNNING)
		supervisor_turn(&supervisor);
	ck_assert(job_is("failed"));
	ck_assert(job_tells("error", "restarted before the guest was saved"));
	ck_assert_int_eq(job_tells("error", "memory.vm1.part, which is of no use"), !_i);
	ck_assert_int_eq(access(path("memory"), F_OK), _i ? 0 : -1);
	ck_assert_int_eq(access(path("memory.vm1.part"), F_OK), 0);
}
END_TEST

START_TEST(names)
{
	char name[YAB_IMAGE_NAME_SIZE], error[512], text[300];
	const uint64_t size = PAGES * SCRIPT_PAGE;
	int fd;

	fd = yab_image_open(path("image"), size, name, error, sizeof(error));
	ck_assert_msg(fd >= 0, "%s", error);
	ck_assert(yab_image_is_name(name));
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	fd = yab_image_open_again(name, size, error, sizeof(error));
	ck_assert_msg(fd >= 0, "%s", error);
	close(fd);
	/* What has other pages is another one, and so is another file of the same bytes. */
	ck_assert_int_eq(rename(path("image"), path("away")), 0);
	ck_assert_int_eq(yab_image_open_again(name, size, error, sizeof(error)), -1);
	make_image();
	ck_assert_int_eq(yab_image_open_again(name, size, error, sizeof(error)), -1);
	ck_assert_msg(strstr(error, "another file now"), "%s", error);
	ck_assert_int_eq(yab_image_open_again("nonsense", size, error, sizeof(error)), -1);
	memset(text, 'x', sizeof(text));
	text[0] = '/';
	text[sizeof(text) - 1] = '\0';
	ck_assert_int_eq(yab_image_path_check("image", text, error, sizeof(error)), -1);
	ck_assert_int_eq(yab_image_path_check("image", "/a\nb", error, sizeof(error)), -1);
	ck_assert_int_eq(yab_image_path_check("image", "a", error, sizeof(error)), -1);
	ck_assert_int_eq(yab_image_path_check("image", "", error, sizeof(error)), -1);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tcase;

	if (argc > 3 && !strcmp(argv[1], "--qemu"))
		return machine_run(argv[2], argv[3], PAGES);
	if (argc > 1 && !strcmp(argv[1], "--worker")) {
		present = open(getenv(PRESENT_FILE), O_RDWR | O_CLOEXEC);
		return yab_worker_main(true);
	}
	suite = suite_create("restore");
	tcase = tcase_create("restore");
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, starts);
	tcase_add_loop_test(tcase, not_loaded, 0, 2);
	tcase_add_test(tcase, started_twice);
	tcase_add_loop_test(tcase, worker_killed, 0, 2);
	tcase_add_loop_test(tcase, supervisor_ended, 0, 2);
	tcase_add_test(tcase, supervisor_ended_early);
	tcase_add_test(tcase, abandoned);
	tcase_add_test(tcase, abandoned_without_image);
	tcase_add_test(tcase, truncated);
	tcase_add_loop_test(tcase, wrong_files, 0, sizeof(wrong) / sizeof(*wrong));
	tcase_add_test(tcase, names);
	suite_add_tcase(suite, tcase);
	tcase = tcase_create("saving");
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, saved);
	tcase_add_loop_test(tcase, saved_to_one_file, 0, 3);
	tcase_add_loop_test(tcase, saved_without_qemu, 0, 2);
	tcase_add_test(tcase, saved_unheard);
	tcase_add_loop_test(tcase, saving_abandoned, 0, 3);
	tcase_add_loop_test(tcase, saved_and_given_back, 0, 2);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
