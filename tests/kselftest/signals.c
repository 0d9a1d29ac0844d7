// SPDX-License-Identifier: GPL-2.0
/*
 * What befalls a task while it waits for a page: signals and their handlers, stopping, a core
 * dump, freezing, suspend.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 32

static struct fixture f;

/* --- signals ---------------------------------------------------------------------- */

static atomic_int handled;
static unsigned char *volatile handler_at;
static sigjmp_buf handler_jump;

static void on_signal(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

/* Touches a missing page itself. */
static void on_signal_touch(int signal)
{
	(void)signal;
	if (*(volatile unsigned char *)handler_at)
		atomic_fetch_add(&handled, 1);
	else
		atomic_fetch_add(&handled, 1);
}

static void on_signal_jump(int signal)
{
	(void)signal;
	siglongjmp(handler_jump, 1);
}

static void handle(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	atomic_store(&handled, 0);
	sigaction(signal, &action, NULL);
}

static void check_handler(void)
{
	uint64_t page = fresh_pages(&f, 1);
	struct toucher t;
	int round;

	handle(SIGUSR1, on_signal, 0);
	toucher_start(&t, page_of(&f, page), false, 0);
	next_fault(&f);
	for (round = 1; round <= 3; round++) {
		pthread_kill(t.thread, SIGUSR1);
		while (atomic_load(&handled) < round)
			sched_yield();
	}
	tap_ok(no_fault(&f), "handlers run while a fault waits, and it is not asked for again");
	provide_page(&f, page);
	toucher_join(&t);
	tap_ok(t.value == page_of(&f, page)[0], "and the access ends as it should");
}

static void check_handler_faults(void)
{
	uint64_t page = fresh_pages(&f, 2);
	struct toucher t;

	handler_at = page_of(&f, page + 1);
	handle(SIGUSR1, on_signal_touch, 0);
	toucher_start(&t, page_of(&f, page), false, 0);
	next_fault(&f);
	pthread_kill(t.thread, SIGUSR1);
	tap_ok(next_fault(&f).page == page + 1, "a handler that runs meanwhile faults itself");
	provide_page(&f, page + 1);
	while (!atomic_load(&handled))
		sched_yield();
	provide_page(&f, page);
	toucher_join(&t);
	tap_ok(t.value == page_of(&f, page)[0], "and both accesses end as they should");
}

static void check_jump(void)
{
	uint64_t page = fresh_pages(&f, 1);
	pid_t pid = fork();

	if (!pid) {
		handle(SIGUSR1, on_signal_jump, 0);
		if (!sigsetjmp(handler_jump, 1))
			_exit(*(volatile unsigned char *)page_of(&f, page) & 1);
		_exit(33);
	}
	next_fault(&f);
	wait_until_asleep(pid);
	kill(pid, SIGUSR1);
	tap_ok(ending(pid) == 33, "a handler can jump out of a fault");
	provide_page(&f, page);
}

static void check_stop(void)
{
	uint64_t page = fresh_pages(&f, 1);
	pid_t pid = child_touch(page_of(&f, page));

	next_fault(&f);
	wait_until_asleep(pid);
	kill(pid, SIGSTOP);
	wait_until_state(pid, "T");
	provide_page(&f, page);
	kill(pid, SIGCONT);
	tap_ok(ending(pid) == page_of(&f, page)[0],
	       "a process that waits can be stopped, and continued when the page has come");
}

/* The copy goes on, the handler runs after it, and the call is not begun again. */
static void check_restart(int flags, const char *what)
{
	uint64_t page = fresh_pages(&f, 1);
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		tap_bail("pipe");
	pid = fork();
	if (!pid) {
		handle(SIGUSR1, on_signal, flags);
		_exit(!(read(fds[0], page_of(&f, page), 100) == 100 && atomic_load(&handled) == 1));
	}
	if (write(fds[1], page_of(&f, 0), 100) != 100)
		tap_bail("write");
	next_fault(&f);
	wait_until_asleep(pid);
	kill(pid, SIGUSR1);
	wait_until_state(pid, "D");
	provide_page(&f, page);
	tap_ok(!ending(pid) && no_fault(&f),
	       "a read() that waits in the copy gets a signal %s: it ends whole", what);
	close(fds[0]);
	close(fds[1]);
}

/* The kernel itself writes the handler's stack frame into missing pages. */
static void check_stack(void)
{
	uint64_t page = fresh_pages(&f, 4);
	struct yab_fault fault;
	pid_t pid = fork();

	if (!pid) {
		stack_t stack = { .ss_sp = page_of(&f, page), .ss_size = 4 * page_size };

		handle(SIGUSR1, on_signal, SA_ONSTACK);
		if (sigaltstack(&stack, NULL))
			_exit(2);
		raise(SIGUSR1);
		_exit(atomic_load(&handled) != 1);
	}
	fault = next_fault(&f);
	declare(f.pager, page, 4);
	tap_ok(fault.page >= page && fault.page < page + 4 && !ending(pid),
	       "a signal handler's stack is missing");
}

static void check_signals(void)
{
	check_handler();
	check_handler_faults();
	check_jump();
	check_stop();
	check_restart(SA_RESTART, "with SA_RESTART");
	check_restart(0, "without SA_RESTART");
	check_stack();
}

/* --- core dumps ------------------------------------------------------------------- */

/* The content of @at in a core file: true if it is there. */
static bool core_read(int core, unsigned char *at, void *data)
{
	uintptr_t address = (uintptr_t)at;
	Elf64_Ehdr header;
	Elf64_Phdr part;
	unsigned int i;

	if (pread(core, &header, sizeof(header), 0) != sizeof(header))
		return false;
	for (i = 0; i < header.e_phnum; i++) {
		if (pread(core, &part, sizeof(part), header.e_phoff + i * sizeof(part)) !=
		    sizeof(part))
			return false;
		if (part.p_type == PT_LOAD && address >= part.p_vaddr &&
		    address + page_size <= part.p_vaddr + part.p_filesz)
			return pread(core, data, page_size, part.p_offset + address -
				     part.p_vaddr) == (ssize_t)page_size;
	}
	return false;
}

static void set_core_pattern(const char *pattern, char *old, size_t size)
{
	int fd = open("/proc/sys/kernel/core_pattern", O_RDWR);

	if (fd < 0 || (old && read(fd, old, size) <= 0) ||
	    pwrite(fd, pattern, strlen(pattern), 0) < 0)
		tap_bail("core_pattern");
	close(fd);
}

static void check_core(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	unsigned char data[4096], zeros[4096] = { 0 };
	uint64_t page = fresh_pages(&f, 3);
	char old[128] = { 0 };
	bool right;
	int status, core;
	pid_t pid;

	provide_page(&f, page);
	set_core_pattern("/tmp/signals.core", old, sizeof(old) - 1);
	pid = fork();
	if (!pid) {
		struct toucher t;

		setrlimit(RLIMIT_CORE, &limit);
		toucher_start(&t, page_of(&f, page + 1), false, 0);
		while (no_fault(&f))
			sched_yield();
		abort();
	}
	waitpid(pid, &status, 0);
	set_core_pattern(old, NULL, 0);
	tap_ok(WIFSIGNALED(status) && WCOREDUMP(status),
	       "a process dumps core while one of its threads waits");
	tap_ok(next_fault(&f).page == page + 1 && no_fault(&f), "which asks for nothing more");
	core = open("/tmp/signals.core", O_RDONLY);
	unlink("/tmp/signals.core");
	right = core >= 0 && core_read(core, page_of(&f, page), data) &&
		!memcmp(data, f.view + page * page_size, page_size);
	tap_ok(right, "the dump holds the pages that are present");
	tap_ok(right && core_read(core, page_of(&f, page + 2), data) &&
	       !memcmp(data, zeros, page_size), "and zeros for those that are missing");
	close(core);
	provide_page(&f, page + 1);
}

/* --- freezing --------------------------------------------------------------------- */

static char group[64];

/* Polls, but as the state changes and not by the clock. */
static void wait_until_frozen(bool frozen)
{
	char path[96], text[128];

	snprintf(path, sizeof(path), "%s/cgroup.events", group);
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		close(fd);
		if (n <= 0)
			tap_bail("cgroup.events");
		text[n] = '\0';
		if (strstr(text, frozen ? "frozen 1" : "frozen 0"))
			return;
		sched_yield();
	}
}

static bool is_frozen(void)
{
	char path[96], text[128] = { 0 };
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.events", group);
	fd = open(path, O_RDONLY);
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	return strstr(text, "frozen 1");
}

static pid_t grouped_child(uint64_t page, bool copy)
{
	pid_t pid = fork();
	int fds[2];

	if (pid)
		return pid;
	if (!write_file(group, "cgroup.procs", "0") || pipe(fds))
		_exit(99);
	if (copy)
		_exit(write(fds[1], page_of(&f, page), 100) != 100);
	_exit(!page_is_filled(page_of(&f, page), page));
}

static void check_freeze_user(void)
{
	uint64_t page = fresh_pages(&f, 1);
	pid_t pid = grouped_child(page, false);

	next_fault(&f);
	wait_until_asleep(pid);
	write_file(group, "cgroup.freeze", "1");
	wait_until_frozen(true);
	tap_ok(true, "a task that waits can be frozen");
	write_file(group, "cgroup.freeze", "0");
	wait_until_frozen(false);
	tap_ok(no_fault(&f), "thawed, it waits on and asks for nothing twice");
	write_file(group, "cgroup.freeze", "1");
	wait_until_frozen(true);
	provide_page(&f, page);
	write_file(group, "cgroup.freeze", "0");
	tap_ok(!ending(pid), "frozen again while the page comes, it finds it when thawed");
}

/* In the middle of a system call there is no stopping: first the page, then the frost. */
static void check_freeze_copy(void)
{
	uint64_t page = fresh_pages(&f, 1);
	pid_t pid = grouped_child(page, true);

	next_fault(&f);
	wait_until_asleep(pid);
	write_file(group, "cgroup.freeze", "1");
	wait_until_state(pid, "D");
	tap_ok(!is_frozen(), "a task that waits in a system call is not frozen yet");
	provide_page(&f, page);
	wait_until_frozen(true);
	write_file(group, "cgroup.freeze", "0");
	tap_ok(!ending(pid), "but when the page has come");
}

static void check_freeze(void)
{
	snprintf(group, sizeof(group), "/sys/fs/cgroup/signals-%d", getpid());
	if (mkdir(group, 0755) || access("/sys/fs/cgroup/cgroup.procs", F_OK)) {
		int i;

		for (i = 0; i < 5; i++)
			tap_skip("freezing: no cgroup v2 here");
		return;
	}
	check_freeze_user();
	check_freeze_copy();
	rmdir(group);
}

/* The kernel's test of suspending up to the point where all tasks stand still. */
static void check_suspend(void)
{
	static const char what[] = "the machine's tasks are frozen for a suspend while one waits";
	uint64_t page = fresh_pages(&f, 1);
	bool ok;
	pid_t pid;

	if (!write_file("/sys/power", "pm_test", "freezer")) {
		tap_skip("%s: not in this kernel", what);
		tap_skip("and it finds its page afterwards");
		return;
	}
	write_file("/sys/power", "sync_on_suspend", "0");
	write_file("/sys/module/suspend/parameters", "pm_test_delay", "0");
	pid = child_touch(page_of(&f, page));
	next_fault(&f);
	wait_until_asleep(pid);
	ok = write_file("/sys/power", "state", "freeze");
	tap_ok(ok, "%s", what);
	write_file("/sys/power", "pm_test", "none");
	provide_page(&f, page);
	tap_ok(ending(pid) == page_of(&f, page)[0], "and it finds its page afterwards");
}

int main(void)
{
	tap_start(9 + 4 + 5 + 2, 180);
	fixture_open(&f, PAGES);
	check_signals();
	check_core();
	check_freeze();
	check_suspend();
	fixture_close(&f);
	if (node_exists(&f))
		tap_bail("%s is left", f.path);
	return tap_end();
}
