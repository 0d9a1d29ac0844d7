// SPDX-License-Identifier: GPL-2.0
/* Whoever goes, in whatever order: nothing hangs that could be killed, nothing is left. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

static void check_killed_waiter(void)
{
	struct fixture f;
	struct toucher t;
	pid_t pid;

	fixture_open(&f, 4);
	pid = child_touch(f.map + page_size);
	tap_ok(next_fault(&f).page == 1, "a child waits for a page");
	kill(pid, SIGKILL);
	tap_ok(ending(pid) == -SIGKILL, "it can be killed");
	declare(f.pager, 1, 1);
	tap_ok(f.map[page_size] == 0, "the page can be completed after that");

	pid = child_touch(f.map + 2 * page_size);
	next_fault(&f);
	wait_until_asleep(pid);
	kill(pid, SIGTERM);
	tap_ok(ending(pid) == -SIGTERM, "a plain signal reaches a user-mode waiter, too");
	toucher_start(&t, f.map + 2 * page_size, false, 0);
	declare(f.pager, 2, 1);
	toucher_join(&t);
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and nothing is left");
}

/* The mapping goes while a fault on it waits with its lock dropped. */
static void check_unmap(void)
{
	struct fixture f;
	int fds[2];
	pid_t pid;

	fixture_open(&f, 4);
	if (pipe(fds))
		tap_bail("pipe");
	pid = fork();
	if (!pid) {
		struct toucher t;
		char go;

		signal(SIGSEGV, SIG_DFL);
		toucher_start(&t, f.map + page_size, false, 0);
		if (read(fds[0], &go, 1) != 1)
			_exit(1);
		munmap(f.map, 4 * page_size);
		close(f.node);
		close(f.pager);
		if (write(fds[1], "", 1) != 1)
			_exit(1);
		toucher_join(&t);
		_exit(0);
	}
	next_fault(&f);
	munmap(f.map, 4 * page_size);
	close(f.node);
	(void)!write(fds[1], "", 1);
	tap_ok(ending(pid) == -SIGSEGV, "the waiter wakes to a mapping that is gone: SIGSEGV");
	tap_ok(node_exists(&f), "unmapped by all the region is its pager's");
	close(f.pager);
	tap_ok(!node_exists(&f), "and nothing is left");
	close(f.memory);
	munmap(f.view, 4 * page_size);
}

static void check_orphan(void)
{
	struct fixture f;
	pid_t pid;

	fixture_open(&f, 4);
	f.view[0] = 5;
	declare(f.pager, 0, 1);
	tap_ok(attribute_is(&f, "state", "filling"), "sysfs: state filling");
	tap_ok(attribute_is(&f, "present", "1"), "sysfs: one page present");
	pid = child_touch(f.map + page_size);
	next_fault(&f);
	child_kill(pid);
	close(f.pager);
	tap_ok(attribute_is(&f, "state", "orphaned"), "the pager goes: orphaned");
	tap_ok(f.map[0] == 5, "present pages still work");
	pid = child_touch(f.map + page_size);
	wait_until_asleep(pid);
	kill(pid, SIGKILL);
	tap_ok(ending(pid) < 0, "missing ones wait, and the waiter can be killed");
	munmap(f.map, 4 * page_size);
	close(f.node);
	tap_ok(!node_exists(&f), "without users an orphan goes");
	close(f.memory);
	munmap(f.view, 4 * page_size);
}

static void check_complete(void)
{
	struct fixture f;

	fixture_open(&f, 4);
	memset(f.view, 3, 4 * page_size);
	declare(f.pager, 0, 4);
	tap_ok(attribute_is(&f, "state", "complete"), "sysfs: state complete");
	close(f.pager);
	close(f.memory);
	munmap(f.view, 4 * page_size);
	tap_ok(f.map[0] == 3 && f.map[3 * page_size] == 3,
	       "complete, the region works without pager and memory fd");
	munmap(f.map, 4 * page_size);
	close(f.node);
	tap_ok(!node_exists(&f), "and goes with its last user");
}

/* fork() and mremap() make VMAs that hold the region, too. */
static void check_copies(void)
{
	unsigned char *moved;
	struct fixture f;
	pid_t pid;

	fixture_open(&f, 4);
	moved = mremap(f.map, 4 * page_size, 4 * page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
		       mmap(NULL, 4 * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	tap_ok(moved != MAP_FAILED, "mremap() moves the mapping");
	f.map = moved;
	tap_ok(mremap(f.map, 4 * page_size, 5 * page_size, MREMAP_MAYMOVE) == MAP_FAILED,
	       "but does not grow it");
	munmap(f.map + page_size, page_size);
	declare(f.pager, 0, 3);
	tap_ok(f.map[0] == 0 && f.map[2 * page_size] == 0, "a split mapping works on");
	pid = child_touch(f.map + 3 * page_size);
	tap_ok(next_fault(&f).page == 3, "and a child's copy traps");
	f.view[3 * page_size] = 33;
	declare(f.pager, 3, 1);
	tap_ok(ending(pid) == 33, "and sees the content");
	fixture_close(&f);
	tap_ok(!node_exists(&f), "nothing is left");
}

/*
 * A task that exits looks at its robust futexes, and no signal reaches it any more: it
 * must not wait for the page that they are on.
 */
static void check_exit(void)
{
	struct fixture f;
	pid_t pid;

	fixture_open(&f, 4);
	pid = fork();
	if (!pid) {
		syscall(SYS_set_robust_list, f.map + page_size, 24);
		_exit(3);
	}
	tap_ok(ending(pid) == 3, "a robust list in a missing page does not hold up an exit");
	pid = fork();
	if (!pid) {
		struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

		setrlimit(RLIMIT_CORE, &limit);
		if (chdir("/tmp"))
			_exit(1);
		abort();
	}
	tap_ok(ending(pid) == -SIGABRT, "a core dump does not wait for missing pages");
	tap_ok(no_fault(&f), "and asks for none");
	fixture_close(&f);
}

static void check_module(void)
{
	struct fixture f;

	fixture_open(&f, 1);
	declare(f.pager, 0, 1);
	close(f.node);
	close(f.pager);
	tap_ok(module_refcnt() >= 1, "a mapping alone keeps the module");
	munmap(f.map, page_size);
	tap_ok(module_refcnt() == 0, "and without it nobody does");
}

int main(void)
{
	tap_start(5 + 3 + 6 + 3 + 6 + 3 + 2, 60);
	check_killed_waiter();
	check_unmap();
	check_orphan();
	check_complete();
	check_copies();
	check_exit();
	check_module();
	return tap_end();
}
