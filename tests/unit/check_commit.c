// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The destination's commit: QEMU is told to run, and its monitor or QEMU itself ends. QEMU is a
 * process that does nothing and a monitor that is played line by line.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/adoption.h"
#include "../../daemon/incoming_state.h"
#include "../../daemon/rescue.h"
#include "script.h"
#include "supervisor.h"

#define TOKEN	"00112233445566778899aabbccddeeff"
#define ROUTE	"ffeeddccbbaa99887766554433221100"
#define OTHER	"0123456789abcdef0123456789abcdef"
#define SIZE	4096

static struct yab_supervisor supervisor;
static struct yab_incoming *incoming;
static struct yab_record record;
static char folder[SCRIPT_FOLDER_SIZE], error[512];
static int listener, monitor, hold;
static pid_t qemu;
static int attach_errno;

/* As a QEMU that another supervisor has started: not ours to reap, but the test's. */
static void start_qemu(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int ends[2];

	ck_assert(!pipe(ends));
	qemu = fork();
	if (!qemu) {
		char byte;

		close(ends[1]);
		_exit(read(ends[0], &byte, 1) != 0);
	}
	ck_assert_int_gt(qemu, 0);
	close(ends[0]);
	hold = ends[1];
	snprintf(record.qemu.monitor, sizeof(record.qemu.monitor), "%s/vm1.qmp", folder);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/vm1.qmp", folder);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert(!bind(listener, (struct sockaddr *)&address, sizeof(address)));
	ck_assert(!listen(listener, 4));
	record.qemu.process = yab_process_of(qemu);
	monitor = -1;
}

int __wrap_yab_region_attach(const char *name, int *memory_fd, char *text, size_t text_size);
int __wrap_yab_region_attach(const char *name, int *memory_fd, char *text, size_t text_size)
{
	(void)memory_fd;
	snprintf(text, text_size, "no region %s", name);
	errno = attach_errno;
	return -1;
}

int __wrap_yab_region_fail(const char *name, char *text, size_t text_size);
int __wrap_yab_region_fail(const char *name, char *text, size_t text_size)
{
	(void)name;
	(void)text;
	(void)text_size;
	return 0;
}

static void set_up(void)
{
	script_folder_make(folder);
	supervisor_begin(&supervisor, folder, folder);
	attach_errno = ENODEV;
	record = (struct yab_record){
		.vm = "vm1",
		.memory = SIZE,
		.qemu.description = "d",
		.migration = { .state = YAB_RECORD_ARRIVING, .token = TOKEN, .route = ROUTE,
			       .instance = OTHER, .peer = "h", .running = true },
	};
	start_qemu();
}

static void tear_down(void)
{
	close(listener);
	close(hold);
	if (monitor >= 0)
		close(monitor);
	waitpid(qemu, NULL, 0);
	supervisor_end(&supervisor);
	script_folder_drop(folder);
}

static void say(const char *line)
{
	ck_assert_int_eq(send(monitor, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
}

/* The number of the next call, which is @command. */
static int until_asked(const char *command)
{
	char line[4096], name[64];
	size_t size = 0;
	json_t *json;
	int id;

	while (!size || line[size - 1] != '\n') {
		const ssize_t n = recv(monitor, line + size, sizeof(line) - size, MSG_DONTWAIT);

		ck_assert_int_ne(n, 0);
		if (n > 0)
			size += (size_t)n;
		else
			supervisor_turn(&supervisor);
	}
	json = json_loadb(line, size, 0, NULL);
	ck_assert_ptr_nonnull(json);
	snprintf(name, sizeof(name), "%s", json_string_value(json_object_get(json, "execute")));
	ck_assert_str_eq(name, command);
	id = (int)json_integer_value(json_object_get(json, "id"));
	json_decref(json);
	return id;
}

static void answer(int id, const char *member)
{
	char line[200];

	snprintf(line, sizeof(line), "{%s, \"id\": %d}\r\n", member, id);
	say(line);
}

/* QEMU's monitor is there (again), until the daemon may ask it. */
static void until_connected(void)
{
	if (monitor >= 0)
		close(monitor);
	do {
		supervisor_turn(&supervisor);
		monitor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (monitor < 0);
	say("{\"QMP\": {}}\r\n");
	answer(until_asked("qmp_capabilities"), "\"return\": {}");
}

static enum yab_record_state recorded(void)
{
	enum yab_record_state state = YAB_RECORD_NONE;
	struct yab_record *records;
	size_t count;

	records = yab_journal_list(supervisor.journal, &count);
	/* A session that is over has a record of its own, beside that of the VM. */
	for (size_t i = 0; i < count; i++)
		if (records[i].migration.state > state)
			state = records[i].migration.state;
	free(records);
	return state;
}

/* Everything is loaded, and QEMU is told to run. */
static int until_told(void)
{
	json_t *cookie = json_pack("{s:i}", "pages", 1);
	struct yab_vm *vm;

	ck_assert(!yab_journal_promise_qemu(supervisor.journal, "vm1", SIZE, &record.qemu, error,
					    sizeof(error)));
	vm = yab_vms_adopt(supervisor.vms, &record, YAB_VM_INCOMING, error, sizeof(error));
	ck_assert_ptr_nonnull(vm);
	incoming = yab_incoming_new(&supervisor, "vm1", SIZE, YAB_INCOMING_LOADED, error,
				    sizeof(error));
	yab_token_parse(TOKEN, incoming->token);
	yab_token_parse(ROUTE, incoming->route);
	memcpy(incoming->token_text, TOKEN, sizeof(TOKEN));
	incoming->job = yab_job_start(supervisor.jobs, "vm1", YAB_JOB_INCOMING, "h", 1);
	yab_job_enter(incoming->job, YAB_JOB_PREPARE);
	ck_assert(!yab_incoming_page_again(incoming));
	yab_incoming_own(incoming, vm);
	ck_assert(!yab_incoming_promise(incoming, YAB_RECORD_ARRIVING, error, sizeof(error)));
	until_connected();
	while (!yab_vm_qmp(vm))
		supervisor_turn(&supervisor);
	yab_incoming_finish(incoming, cookie);
	json_decref(cookie);
	ck_assert_int_eq(recorded(), YAB_RECORD_COMMITTED);
	return until_asked("cont");
}

static void expect_running(void)
{
	struct yab_vm *vm = yab_vms_find(supervisor.vms, "vm1");

	while (incoming->step != YAB_INCOMING_PULLING)
		supervisor_turn(&supervisor);
	ck_assert_int_eq(vm->state, YAB_VM_RUNNING);
	ck_assert_int_eq(recorded(), YAB_RECORD_ARRIVED);
	ck_assert_str_eq(supervisor_job_says(&supervisor, "warning"), "");
	ck_assert_int_eq(waitpid(qemu, NULL, WNOHANG), 0);
}

/* What QEMU does to its monitor while it lives. */
static void lose_monitor(int how)
{
	if (how)
		say("nonsense\r\n{\"event\": \"RESUME\"}\r\n");
	else
		shutdown(monitor, SHUT_RDWR);
}

/* Whoever does not know whether the guest has run does not kill it, nor give it back. */
START_TEST(monitor_lost)
{
	until_told();
	lose_monitor(_i);
	while (incoming->step == YAB_INCOMING_COMMITTING)
		supervisor_turn(&supervisor);
	ck_assert_int_eq(incoming->step, YAB_INCOMING_ADOPTING);
	ck_assert(yab_incoming_is_committed(incoming));
	ck_assert(strstr(supervisor_job_says(&supervisor, "warning"),
			 "whether it runs is not known"));
	ck_assert_int_eq(recorded(), YAB_RECORD_COMMITTED);
	until_connected();
	answer(until_asked("cont"), "\"return\": {}");
	expect_running();
}
END_TEST

/* It may have run, and it is no more. */
START_TEST(monitor_lost_then_qemu)
{
	until_told();
	lose_monitor(_i);
	while (incoming->step == YAB_INCOMING_COMMITTING)
		supervisor_turn(&supervisor);
	kill(qemu, SIGKILL);
	while (incoming->step == YAB_INCOMING_ADOPTING)
		supervisor_turn(&supervisor);
	ck_assert_int_eq(incoming->step, YAB_INCOMING_GONE);
	ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
	ck_assert_str_eq(supervisor_job_says(&supervisor, "state"), "failed");
	/* The source will be told, and the VM may come again. */
	ck_assert_int_eq(recorded(), YAB_RECORD_GONE);
	memcpy(record.migration.token, OTHER, sizeof(OTHER));
	memcpy(record.migration.route, OTHER, sizeof(OTHER));
	ck_assert_msg(!yab_journal_promise_migration(supervisor.journal, "vm1", SIZE,
						     &record.migration, error, sizeof(error)),
		      "%s", error);
}
END_TEST

/* Abandoned, and forgotten, while QEMU is told once more; then QEMU ends, or answers. */
START_TEST(forgotten_while_told)
{
	int id;

	until_told();
	lose_monitor(0);
	until_connected();
	id = until_asked("cont");
	ck_assert_int_eq(incoming->step, YAB_INCOMING_CONTINUING);
	ck_assert_msg(!yab_rescue_abandon(&supervisor, "vm1", true, error, sizeof(error)), "%s",
		      error);
	yab_incomings_forget(supervisor.incomings, TOKEN);
	ck_assert_int_eq(recorded(), YAB_RECORD_NONE);
	if (_i) {
		answer(id, "\"return\": {}");
		event_base_loop(supervisor.base, EVLOOP_NONBLOCK);
	}
	kill(qemu, SIGKILL);
	close(monitor);
	monitor = -1;
	while (yab_vms_find(supervisor.vms, "vm1"))
		supervisor_turn(&supervisor);
}
END_TEST

/* Every page has come, and the source that they are compared with never answers again. */
START_TEST(abandoned_when_whole)
{
	json_t *statistics = json_pack("{s:i}", "present", 1);
	struct yab_finding finding;

	answer(until_told(), "\"return\": {}");
	expect_running();
	incoming->verify = true;
	incoming->statistics = json_incref(statistics);
	yab_job_statistics(incoming->job, YAB_JOB_DESTINATION, statistics);
	ck_assert(!yab_rescue_permit(&supervisor, "vm1", false, error, sizeof(error)));
	ck_assert_msg(!yab_rescue_abandon(&supervisor, "vm1", false, error, sizeof(error)), "%s",
		      error);
	ck_assert_msg(strstr(error, "goes on here; 1 chunks"), "%s", error);
	ck_assert_int_eq(incoming->step, YAB_INCOMING_COMPLETE);
	ck_assert_int_eq(recorded(), YAB_RECORD_COMPLETE);
	yab_finding_read(incoming->statistics, 1, &finding);
	ck_assert_uint_eq(finding.unverifiable, 1);
	ck_assert_int_eq(yab_vms_find(supervisor.vms, "vm1")->state, YAB_VM_RUNNING);
	ck_assert_int_eq(waitpid(qemu, NULL, WNOHANG), 0);
	json_decref(statistics);
}
END_TEST

/* It was gone before it had said that it runs, which comes first: the source's. */
START_TEST(qemu_gone)
{
	siginfo_t info;

	until_told();
	if (_i)
		say("{\"event\": \"RESUME\"}\r\n");
	kill(qemu, SIGKILL);
	ck_assert(!waitid(P_PID, (id_t)qemu, &info, WEXITED | WNOWAIT));
	close(monitor);
	monitor = -1;
	while (yab_vms_find(supervisor.vms, "vm1"))
		supervisor_turn(&supervisor);
	if (_i) {
		ck_assert_ptr_eq(yab_incomings_find(supervisor.incomings, TOKEN), incoming);
		/* With QEMU its region goes. */
		attach_errno = ENOENT;
		while (incoming->step != YAB_INCOMING_GONE)
			supervisor_turn(&supervisor);
	} else {
		ck_assert_ptr_null(yab_incomings_find(supervisor.incomings, TOKEN));
		ck_assert_int_eq(recorded(), YAB_RECORD_NONE);
	}
}
END_TEST

/* QEMU says no, and is killed for it. */
START_TEST(refused)
{
	const int id = until_told();

	answer(id, "\"error\": {\"desc\": \"no\"}");
	while (waitpid(qemu, NULL, WNOHANG) != qemu)
		event_base_loop(supervisor.base, EVLOOP_NONBLOCK);
	close(monitor);
	monitor = -1;
	while (yab_vms_find(supervisor.vms, "vm1"))
		supervisor_turn(&supervisor);
	ck_assert_ptr_null(yab_incomings_find(supervisor.incomings, TOKEN));
	ck_assert_int_eq(recorded(), YAB_RECORD_NONE);
}
END_TEST

/* By a supervisor before this one: it is told until it does, and until then it does not run. */
START_TEST(adopted)
{
	struct yab_vm *vm;

	ck_assert(!yab_journal_promise_qemu(supervisor.journal, "vm1", SIZE, &record.qemu, error,
					    sizeof(error)));
	ck_assert(!yab_journal_promise_migration(supervisor.journal, "vm1", SIZE,
						 &record.migration, error, sizeof(error)));
	record.migration.state = YAB_RECORD_COMMITTED;
	ck_assert(!yab_journal_promise_migration(supervisor.journal, "vm1", SIZE,
						 &record.migration, error, sizeof(error)));
	yab_adopt_all(&supervisor);
	incoming = yab_incomings_find(supervisor.incomings, TOKEN);
	vm = yab_vms_find(supervisor.vms, "vm1");
	until_connected();
	answer(until_asked("cont"), "\"error\": {\"desc\": \"the image is locked\"}");
	while (incoming->step != YAB_INCOMING_ADOPTING ||
	       !supervisor_job_says(&supervisor, "warning")[0])
		supervisor_turn(&supervisor);
	ck_assert_int_eq(vm->state, YAB_VM_INCOMING);
	ck_assert(strstr(supervisor_job_says(&supervisor, "warning"), "the image is locked"));
	ck_assert_int_eq(recorded(), YAB_RECORD_COMMITTED);
	ck_assert(evtimer_pending(incoming->deadline, NULL));
	/* When its time has come. */
	event_active(incoming->deadline, EV_TIMEOUT, 0);
	answer(until_asked("cont"), "\"return\": {}");
	expect_running();
}
END_TEST

/* The region went while QEMU was awaited: it is not left waiting for pages. */
START_TEST(region_gone)
{
	const int id = until_told();

	attach_errno = ENOENT;
	while (!yab_demand_is_over(incoming->demand))
		supervisor_turn(&supervisor);
	ck_assert_int_eq(incoming->step, YAB_INCOMING_COMMITTING);
	answer(id, "\"return\": {}");
	while (incoming->step == YAB_INCOMING_COMMITTING)
		supervisor_turn(&supervisor);
	ck_assert_int_eq(incoming->step, YAB_INCOMING_GONE);
	ck_assert_str_eq(supervisor_job_says(&supervisor, "state"), "failed");
	ck_assert_int_eq(recorded(), YAB_RECORD_GONE);
}
END_TEST

START_TEST(region_gone_later)
{
	until_told();
	lose_monitor(0);
	attach_errno = ENOENT;
	while (incoming->step != YAB_INCOMING_GONE)
		supervisor_turn(&supervisor);
	ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
	ck_assert_int_eq(recorded(), YAB_RECORD_GONE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("commit");
	TCase *tcase = tcase_create("commit");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, monitor_lost, 0, 2);
	tcase_add_loop_test(tcase, monitor_lost_then_qemu, 0, 2);
	tcase_add_loop_test(tcase, forgotten_while_told, 0, 2);
	tcase_add_test(tcase, abandoned_when_whole);
	tcase_add_loop_test(tcase, qemu_gone, 0, 2);
	tcase_add_test(tcase, refused);
	tcase_add_test(tcase, adopted);
	tcase_add_test(tcase, region_gone);
	tcase_add_test(tcase, region_gone_later);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
