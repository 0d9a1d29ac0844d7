// SPDX-License-Identifier: GPL-2.0-or-later
/* Processes of a supervisor before, and what becomes of what it has left. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/adoption.h"
#include "../../daemon/child.h"
#include "../../daemon/incoming_state.h"
#include "../../daemon/memory.h"
#include "../../daemon/outgoing.h"
#include "../../daemon/region.h"
#include "script.h"
#include "supervisor.h"

#define TOKEN	"00112233445566778899aabbccddeeff"
#define ROUTE	"ffeeddccbbaa99887766554433221100"
#define OTHER	"0123456789abcdef0123456789abcdef"

/* A process with @argument that waits until the end of *@hold, or of us. */
static pid_t bystander(const char *argument, int *hold)
{
	int ends[2];
	pid_t pid;

	ck_assert(!pipe(ends));
	pid = fork();
	if (!pid) {
		dup2(ends[0], 0);
		close(ends[0]);
		close(ends[1]);
		execl("/bin/sh", "sh", "-c", "read line", argument, NULL);
		_exit(127);
	}
	close(ends[0]);
	*hold = ends[1];
	ck_assert_int_gt(pid, 0);
	return pid;
}

/* Whoever looks sees it, and when it is taken up it has ended. */
static bool just_ended;

static void until_ended(pid_t pid)
{
	siginfo_t info;

	/* It stays a zombie. */
	ck_assert(!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
}

bool __wrap_yab_process_lives(const struct yab_process *process);
bool __wrap_yab_process_lives(const struct yab_process *process)
{
	return just_ended || (process->pid && yab_process_of(process->pid).start == process->start);
}

/* --- processes --------------------------------------------------------------------- */

START_TEST(processes)
{
	struct yab_process process;
	int hold, fd;
	pid_t pid;

	pid = bystander("x", &hold);
	process = yab_process_of(pid);
	ck_assert_int_eq(process.pid, pid);
	ck_assert_uint_gt(process.start, 0);
	ck_assert(yab_process_lives(&process));
	fd = yab_process_open(&process);
	ck_assert_int_ge(fd, 0);
	close(fd);
	/* Its number, and another start: it was used again. */
	process.start--;
	ck_assert(!yab_process_lives(&process));
	ck_assert_int_eq(yab_process_open(&process), -1);
	ck_assert_int_eq(errno, ESRCH);
	ck_assert_int_eq(yab_process_kill(&process), -1);
	ck_assert_int_eq(errno, ESRCH);
	process.start++;
	ck_assert(yab_process_lives(&process));
	ck_assert(!yab_process_kill(&process));
	until_ended(pid);
	ck_assert(!yab_process_lives(&process));
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(yab_process_of(pid).pid, 0);
	ck_assert_int_eq(yab_process_of(0).pid, 0);
	ck_assert_int_eq(yab_process_kill(&(struct yab_process){ .pid = 0 }), -1);
	close(hold);
}
END_TEST

START_TEST(arguments)
{
	char name[64];
	int hold;
	pid_t pid;

	snprintf(name, sizeof(name), "unix:/tmp/%ld.qmp,server=on", (long)getpid());
	ck_assert_int_eq(yab_process_find(name).pid, 0);
	pid = bystander(name, &hold);
	/* Until its exec() it is called as we are. */
	while (!yab_process_find(name).pid && !waitpid(pid, NULL, WNOHANG))
		;
	ck_assert_int_eq(yab_process_find(name).pid, pid);
	close(hold);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(yab_process_find(name).pid, 0);
}
END_TEST

static int exits;
static int exit_status;

static void exited(int status, void *arg)
{
	(void)arg;
	exits++;
	exit_status = status;
}

START_TEST(adopted_child)
{
	struct event_base *base = event_base_new();
	struct yab_process process;
	struct yab_child *child;
	char text[64];
	int hold;
	pid_t pid;

	pid = bystander("x", &hold);
	process = yab_process_of(pid);
	process.start++;
	ck_assert_ptr_null(yab_child_adopt(base, &process, exited, NULL));
	ck_assert_int_eq(errno, ESRCH);
	process.start--;
	child = yab_child_adopt(base, &process, exited, NULL);
	ck_assert_ptr_nonnull(child);
	yab_child_kill(child);
	while (!exits)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(exit_status, YAB_CHILD_STATUS_UNKNOWN);
	yab_child_describe(exit_status, text, sizeof(text));
	ck_assert_str_eq(text, YAB_CHILD_UNSEEN);
	/* Somebody else's: it was not reaped. */
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), pid);
	close(hold);
	event_base_free(base);
}
END_TEST

static void same_file(int a, int b)
{
	struct stat one, other;

	ck_assert(!fstat(a, &one) && !fstat(b, &other));
	ck_assert_uint_eq(one.st_ino, other.st_ino);
	ck_assert_uint_eq(one.st_dev, other.st_dev);
}

/* As a QEMU has it: open, or only mapped. */
START_TEST(memory)
{
	struct yab_process self = yab_process_of(getpid());
	const uint64_t size = 16 * SCRIPT_PAGE;
	void *map;
	int fd, found;

	ck_assert_int_eq(yab_memory_find(&self, "vm1", size), -1);
	fd = yab_region_memory("vm1", size);
	ck_assert_int_ge(fd, 0);
	found = yab_memory_find(&self, "vm1", size);
	ck_assert_int_ge(found, 0);
	same_file(fd, found);
	ck_assert(!yab_memory_write(found, "x", 1, 0));
	close(found);
	ck_assert_int_eq(yab_memory_find(&self, "vm", size), -1);
	ck_assert_int_eq(yab_memory_find(&self, "vm1", 2 * size), -1);
	/* Another one had our number. */
	self.start--;
	ck_assert_int_eq(yab_memory_find(&self, "vm1", size), -1);
	self.start++;
	if (geteuid())
		return;
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	close(fd);
	found = yab_memory_find(&self, "vm1", size);
	ck_assert_int_ge(found, 0);
	munmap(map, size);
	close(found);
}
END_TEST

/* --- what becomes of it -------------------------------------------------------------- */

static const struct {
	enum yab_record_state state;
	enum yab_adoption runs, ended;
} decisions[] = {
	{ YAB_RECORD_NONE, YAB_ADOPTION_WATCH, YAB_ADOPTION_DROP },
	{ YAB_RECORD_LEAVING, YAB_ADOPTION_GIVE_BACK, YAB_ADOPTION_DROP },
	{ YAB_RECORD_ASKED, YAB_ADOPTION_ASK, YAB_ADOPTION_ASK },
	{ YAB_RECORD_LEFT, YAB_ADOPTION_SERVE, YAB_ADOPTION_SERVE },
	{ YAB_RECORD_ARRIVING, YAB_ADOPTION_UNDO, YAB_ADOPTION_UNDO },
	{ YAB_RECORD_COMMITTED, YAB_ADOPTION_CONTINUE, YAB_ADOPTION_MOURN },
	{ YAB_RECORD_ARRIVED, YAB_ADOPTION_PULL, YAB_ADOPTION_MOURN },
	{ YAB_RECORD_COMPLETE, YAB_ADOPTION_KEEP, YAB_ADOPTION_KEEP },
	{ YAB_RECORD_GONE, YAB_ADOPTION_KEEP, YAB_ADOPTION_KEEP },
};

START_TEST(decide)
{
	struct yab_record record = { .migration.state = decisions[_i].state };

	ck_assert_int_eq(decisions[_i].state, _i);
	ck_assert_int_eq(yab_adoption_decide(&record, true), decisions[_i].runs);
	ck_assert_int_eq(yab_adoption_decide(&record, false), decisions[_i].ended);
	ck_assert_ptr_nonnull(yab_adoption_text(decisions[_i].runs));
	ck_assert_ptr_nonnull(yab_adoption_text(decisions[_i].ended));
}
END_TEST

static struct yab_supervisor supervisor;
static char folder[SCRIPT_FOLDER_SIZE], error[512];

static void set_up(void)
{
	script_folder_make(folder);
	supervisor_begin(&supervisor, folder, folder);
}

static void tear_down(void)
{
	supervisor_end(&supervisor);
	script_folder_drop(folder);
}

/* A record with a QEMU whose number is ours now, and a worker of which that is so, too. */
static void leave_record(enum yab_record_state state)
{
	static const enum yab_record_state ways[YAB_RECORD_STATES][3] = {
		[YAB_RECORD_LEAVING] = { YAB_RECORD_LEAVING },
		[YAB_RECORD_ARRIVING] = { YAB_RECORD_ARRIVING },
		[YAB_RECORD_COMMITTED] = { YAB_RECORD_ARRIVING, YAB_RECORD_COMMITTED },
		[YAB_RECORD_ARRIVED] = { YAB_RECORD_ARRIVING, YAB_RECORD_COMMITTED,
					 YAB_RECORD_ARRIVED },
	};
	struct yab_process process = yab_process_of(getpid());
	struct yab_record_qemu qemu = { .monitor = "/nowhere.qmp", .description = "d" };
	struct yab_record_migration migration = {
		.token = TOKEN, .route = ROUTE, .instance = OTHER, .peer = "h", .connections = 1,
	};

	process.start--;
	qemu.process = process;
	migration.worker = process;
	ck_assert(!yab_journal_promise_qemu(supervisor.journal, "vm1", 4096, &qemu, error,
					    sizeof(error)));
	for (int i = 0; i < 3 && ways[state][i]; i++) {
		migration.state = ways[state][i];
		ck_assert(!yab_journal_promise_migration(supervisor.journal, "vm1", 4096,
							 &migration, error, sizeof(error)));
	}
}

/* All that is on the disk, without lock and instance. */
static unsigned int records(void)
{
	struct yab_record *list;
	size_t count;

	supervisor_end(&supervisor);
	supervisor_begin(&supervisor, folder, folder);
	list = yab_journal_list(supervisor.journal, &count);
	free(list);
	return (unsigned int)count;
}

static const struct {
	enum yab_record_state state;
	bool ours;
} gone[] = {
	{ YAB_RECORD_NONE, false },
	{ YAB_RECORD_LEAVING, false },
	{ YAB_RECORD_ARRIVING, false },
	{ YAB_RECORD_COMMITTED, true },
	{ YAB_RECORD_ARRIVED, true },
};

/*
 * That nobody is killed is that we are still here. A guest that is lost stays known as such,
 * so that nothing becomes untrue of any session: those that were only arriving, too. Its name
 * is free.
 */
START_TEST(ended_qemu)
{
	struct yab_record_migration other = {
		.state = YAB_RECORD_ARRIVING, .token = OTHER, .route = OTHER, .instance = OTHER,
		.peer = "h",
	};
	char was[YAB_TOKEN_TEXT_SIZE];

	leave_record(gone[_i].state);
	memcpy(was, supervisor.instance, sizeof(was));
	for (int i = 0; i < 2; i++) {
		yab_adopt_all(&supervisor);
		ck_assert_str_eq(supervisor.instance, was);
		ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
		ck_assert_int_eq(!yab_incomings_find(supervisor.incomings, TOKEN), !gone[_i].ours);
		ck_assert_int_eq(yab_journal_knows(supervisor.journal, TOKEN), gone[_i].ours);
		ck_assert_uint_eq(records(), gone[_i].ours);
		ck_assert_str_eq(supervisor.instance, was);
	}
	ck_assert_msg(!yab_journal_promise_migration(supervisor.journal, "vm1", 4096, &other, error,
						     sizeof(error)), "%s", error);
}
END_TEST

/* Each adoption has an end, and the VM's name is free then. */
START_TEST(ended_meanwhile)
{
	struct yab_incoming *incoming;
	struct yab_job *job;

	leave_record(gone[_i].state);
	just_ended = true;
	yab_adopt_all(&supervisor);
	while (yab_vms_find(supervisor.vms, "vm1"))
		supervisor_turn(&supervisor);
	just_ended = false;
	incoming = yab_incomings_find(supervisor.incomings, TOKEN);
	ck_assert_int_eq(!incoming, !gone[_i].ours);
	job = yab_jobs_find(supervisor.jobs, "vm1");
	/* Where pages are fetched the region has to tell. */
	ck_assert_int_eq(job && yab_job_active(job), gone[_i].state == YAB_RECORD_ARRIVED);
	ck_assert_uint_eq(records(), gone[_i].ours);
}
END_TEST

/*
 * The source of a session that has all its pages is answered by the next supervisor, too, and
 * is told again what was found when they were compared.
 */
START_TEST(complete_session)
{
	const struct yab_record_migration migration = {
		.state = YAB_RECORD_COMPLETE,
		.token = TOKEN, .route = ROUTE, .instance = OTHER, .peer = "h",
		.finding = { .verified = 1, .different = 2, .page = 512 },
	};
	struct yab_incoming *incoming;
	struct yab_finding finding;

	yab_journal_keep(supervisor.journal, "vm1", 3 * 512 * 4096, &migration);
	yab_adopt_all(&supervisor);
	incoming = yab_incomings_find(supervisor.incomings, TOKEN);
	ck_assert_ptr_nonnull(incoming);
	yab_finding_read(incoming->statistics, 3 * 512, &finding);
	ck_assert_mem_eq(&finding, &migration.finding, sizeof(finding));
	ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
	ck_assert(!yab_incomings_give_up(supervisor.incomings));
	ck_assert_uint_eq(records(), 1);
}
END_TEST

/* A QEMU that nobody answers for is left alone, and found again. */
START_TEST(plain_vm)
{
	struct yab_record_qemu qemu = { .description = "d" };
	struct yab_vm *vm;
	char argument[200];
	int hold;
	pid_t pid;

	snprintf(qemu.monitor, sizeof(qemu.monitor), "%s/vm1.qmp", folder);
	snprintf(argument, sizeof(argument), "unix:%s,server=on,wait=off", qemu.monitor);
	pid = bystander(argument, &hold);
	while (!yab_process_find(argument).pid && !waitpid(pid, NULL, WNOHANG))
		;
	/* With and without the number: the supervisor may end before it knows it. */
	if (_i)
		qemu.process = yab_process_of(pid);
	ck_assert(!yab_journal_promise_qemu(supervisor.journal, "vm1", 4096, &qemu, error,
					    sizeof(error)));
	yab_adopt_all(&supervisor);
	vm = yab_vms_find(supervisor.vms, "vm1");
	ck_assert_ptr_nonnull(vm);
	ck_assert_int_eq(vm->state, YAB_VM_ADOPTED);
	ck_assert_int_eq(yab_qemu_process(vm->qemu)->pid, pid);
	ck_assert_int_eq(vm->memory_fd, -1);
	ck_assert_int_eq(yab_outgoing_begin(&supervisor, "vm1",
					    &(struct yab_outgoing_options){ .paused = false },
					    NULL, NULL, error, sizeof(error)), -1);
	ck_assert_uint_eq(records(), 1);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	yab_adopt_all(&supervisor);
	close(hold);
	while (yab_vms_find(supervisor.vms, "vm1"))
		supervisor_turn(&supervisor);
	ck_assert_uint_eq(records(), 0);
	waitpid(pid, NULL, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("adoption");
	TCase *processes_case = tcase_create("processes"), *adoption = tcase_create("adoption");

	tcase_add_test(processes_case, processes);
	tcase_add_test(processes_case, arguments);
	tcase_add_test(processes_case, adopted_child);
	tcase_add_test(processes_case, memory);
	tcase_add_loop_test(processes_case, decide, 0, YAB_RECORD_STATES);
	suite_add_tcase(suite, processes_case);
	tcase_set_timeout(adoption, 60);
	tcase_add_checked_fixture(adoption, set_up, tear_down);
	tcase_add_loop_test(adoption, ended_qemu, 0, sizeof(gone) / sizeof(*gone));
	tcase_add_loop_test(adoption, ended_meanwhile, 0, sizeof(gone) / sizeof(*gone));
	tcase_add_test(adoption, complete_session);
	tcase_add_loop_test(adoption, plain_vm, 0, 2);
	suite_add_tcase(suite, adoption);
	return script_run(suite);
}
