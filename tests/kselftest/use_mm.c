// SPDX-License-Identifier: GPL-2.0
/*
 * A kernel thread that touches the memory of a process, as vhost's does: it gets no
 * signal, so it must not be left waiting where nobody will bring the page.
 *
 * Needs the module in use_mm/, which `tests/kselftest/use_mm/build VERSION` builds for a
 * kernel of the lab. YAB_USE_MM names another file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "use_mm/yab_use_mm.h"

#define PAGES 16
#define POINTS 27

static struct fixture f;

/* True if its device is there now. */
static bool load(void)
{
	const char *root = getenv("YAB_ROOT"), *kernel = getenv("YAB_LAB_KERNEL");
	const char *given = getenv("YAB_USE_MM");
	char path[512];
	int fd;

	if (!access("/dev/yab_use_mm", R_OK | W_OK))
		return true;
	if (given)
		snprintf(path, sizeof(path), "%s", given);
	else if (root && kernel)
		snprintf(path, sizeof(path), "%s/build/lab/kernels/%s/use_mm/yab_use_mm.ko", root,
			 kernel);
	else
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		tap_bail("%s", path);
	close(fd);
	return !access("/dev/yab_use_mm", R_OK | W_OK);
}

/* Has a kernel thread begin; the file is the handle on it. */
static int start(unsigned char *at, uint32_t operation, uint32_t length)
{
	struct use_mm_job job = {
		.address = (uintptr_t)at,
		.operation = operation,
		.length = length,
	};
	int fd = open("/dev/yab_use_mm", O_RDWR | O_CLOEXEC);

	if (fd < 0 || write(fd, &job, sizeof(job)) != sizeof(job))
		tap_bail("/dev/yab_use_mm");
	return fd;
}

/* At a page that is missing; its fault is read. */
static int start_missing(unsigned char *at, uint32_t operation, uint32_t length)
{
	int fd = start(at, operation, length);

	next_fault(&f);
	return fd;
}

static bool is_done(int fd)
{
	struct use_mm_result result;

	return read(fd, &result, sizeof(result)) == sizeof(result);
}

/* What has become of it; waits for that. */
static struct use_mm_result finish(int fd)
{
	struct use_mm_result result;

	while (read(fd, &result, sizeof(result)) != sizeof(result)) {
		if (errno != EAGAIN)
			tap_bail("read from /dev/yab_use_mm");
		sched_yield();
	}
	close(fd);
	return result;
}

/* A process that is killed while a kernel thread waits for a page on its behalf. */
static pid_t child_killed(uint64_t page, uint32_t operation)
{
	pid_t pid = fork();

	if (!pid) {
		close(f.pager);
		start(page_of(&f, page), operation, 8);
		pause();
	}
	next_fault(&f);
	kill(pid, SIGKILL);
	wait_until_state(pid, "DZ");
	return pid;
}

static void check_content(void)
{
	struct use_mm_result result;
	struct yab_fault fault;
	int fd;

	fixture_open(&f, PAGES);
	fd = start(page_of(&f, 3), USE_MM_READ, 64);
	fault = next_fault(&f);
	tap_ok(fault.page == 3 && !fault.flags, "a kernel thread reads a missing page: asked for");
	tap_ok(!is_done(fd), "and waits");
	provide_page(&f, 3);
	result = finish(fd);
	tap_ok(!result.error && !memcmp(result.data, page_of(&f, 3), 64), "until the content is there");
	fd = start(page_of(&f, 4) + 9, USE_MM_WRITE, 5);
	fault = next_fault(&f);
	tap_ok(fault.page == 4 && fault.flags == YAB_FAULT_WRITE, "it writes to a missing page");
	provide_page(&f, 4);
	result = finish(fd);
	tap_ok(!result.error && !memcmp(page_of(&f, 4) + 9, "wwwww", 5) &&
	       !memcmp(page_of(&f, 4), f.view + 4 * page_size, page_size), "on top of the content");
	fd = start_missing(page_of(&f, 5) + 1, USE_MM_GET, 1);
	provide_page(&f, 5);
	result = finish(fd);
	tap_ok(!result.error && result.data[0] == page_of(&f, 5)[1], "get_user() gets its byte");
	fd = start(page_of(&f, 7) - 8, USE_MM_READ, 16);
	tap_ok(next_fault(&f).page == 6, "a copy across two missing pages asks for the first");
	provide_page(&f, 6);
	tap_ok(next_fault(&f).page == 7, "and then for the second");
	provide_page(&f, 7);
	result = finish(fd);
	tap_ok(!result.error && !memcmp(result.data, page_of(&f, 7) - 8, 16), "and has both");
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and nothing is left");
}

/* Nobody brings the page, perhaps for ever. */
static void check_orphan(void)
{
	struct use_mm_result result;
	struct toucher t;
	int fd;

	fixture_open(&f, PAGES);
	provide_page(&f, 1);
	fd = start_missing(page_of(&f, 3), USE_MM_READ, 8);
	toucher_start(&t, page_of(&f, 3), false, 0);
	fixture_orphan(&f);
	tap_ok(finish(fd).error == EFAULT, "the pager goes while it waits: EFAULT");
	tap_ok(finish(start(page_of(&f, 4), USE_MM_WRITE, 8)).error == EFAULT,
	       "a missing page of an orphaned region: EFAULT at once");
	result = finish(start(page_of(&f, 1), USE_MM_READ, 8));
	tap_ok(!result.error && !memcmp(result.data, page_of(&f, 1), 8), "a present one works");
	f.pager = attach(f.name);
	if (f.pager < 0)
		tap_bail("attach");
	while (next_fault(&f).page != 3)
		;
	provide_page(&f, 3);
	toucher_join(&t);
	tap_ok(t.value == page_of(&f, 3)[0], "who is no kernel thread has waited for the next pager");
	fd = start(page_of(&f, 5), USE_MM_READ, 8);
	while (next_fault(&f).page != 5)
		;
	provide_page(&f, 5);
	tap_ok(!finish(fd).error, "with which kernel threads wait again, and get their page");
	fixture_close(&f);
}

static void check_failed(void)
{
	struct use_mm_result result;
	int fd;

	fixture_open(&f, PAGES);
	provide_page(&f, 1);
	fd = start_missing(page_of(&f, 3), USE_MM_READ, 8);
	declare_as(f.pager, 3, 1, YAB_RANGE_FAILED);
	tap_ok(finish(fd).error == EFAULT, "the page fails while it waits: EFAULT");
	fd = start_missing(page_of(&f, 4), USE_MM_WRITE, 8);
	fail(f.name);
	tap_ok(finish(fd).error == EFAULT, "the region fails: EFAULT");
	tap_ok(finish(start(page_of(&f, 5), USE_MM_GET, 1)).error == EFAULT, "and ever after");
	result = finish(start(page_of(&f, 1), USE_MM_READ, 8));
	tap_ok(!result.error && !memcmp(result.data, page_of(&f, 1), 8), "a present page works");
	fixture_close(&f);
}

static void check_unmap(void)
{
	struct toucher t;
	int fd;

	fixture_open(&f, PAGES);
	fd = start_missing(page_of(&f, 3), USE_MM_READ, 8);
	munmap(page_of(&f, 3), page_size);
	tap_ok(finish(fd).error == EFAULT, "the page is unmapped while it waits: EFAULT");
	fd = start_missing(page_of(&f, 4), USE_MM_READ, 8);
	munmap(page_of(&f, 5), page_size);
	tap_ok(!is_done(fd), "its neighbour is unmapped: it waits on");
	provide_page(&f, 4);
	tap_ok(!finish(fd).error, "and gets its page");
	toucher_start(&t, page_of(&f, 6), false, 0);
	next_fault(&f);
	provide_page(&f, 6);
	toucher_join(&t);
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and nothing is left");
}

/* The thread lives as long as the process's file, which waits for the thread. */
static void check_exit(void)
{
	pid_t pid;

	fixture_open(&f, PAGES);
	pid = child_killed(3, USE_MM_READ);
	provide_page(&f, 3);
	tap_ok(ending(pid) < 0, "the process is killed while it waits: gone when the page comes");
	pid = child_killed(4, USE_MM_WRITE);
	close(f.pager);
	tap_ok(ending(pid) < 0, "or when the pager goes");
	f.pager = attach(f.name);
	pid = fork();
	if (!pid) {
		close(f.pager);
		start(page_of(&f, 5), USE_MM_WRITE, 8);
		munmap(f.map, PAGES * page_size);
		_exit(0);
	}
	tap_ok(ending(pid) >= 0, "or at once, if it has unmapped the page");
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and nothing is left");
}

int main(void)
{
	int i;

	tap_start(POINTS, 120);
	if (!load()) {
		for (i = 0; i < POINTS; i++)
			tap_skip("kernel threads: run tests/kselftest/use_mm/build VERSION first");
		return tap_end();
	}
	check_content();
	check_orphan();
	check_failed();
	check_unmap();
	check_exit();
	/* In use as long as one of its files is, and there are none. */
	i = syscall(SYS_delete_module, "yab_use_mm", O_NONBLOCK);
	if (i)
		printf("# yab_use_mm stays loaded: %s\n", strerror(errno));
	return tap_end();
}
