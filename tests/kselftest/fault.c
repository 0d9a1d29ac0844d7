// SPDX-License-Identifier: GPL-2.0
/* One fault: reported once with its kind, waits for the declaration, sees the content. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <time.h>

#include "harness.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void check_read(struct fixture *f)
{
	uint64_t before = now_ns();
	struct yab_fault fault;
	struct toucher t;

	toucher_start(&t, f->map + 3 * page_size, false, 0);
	fault = next_fault(f);
	tap_ok(fault.page == 3 && !fault.flags && !fault.reserved, "a read fault is reported");
	tap_ok(fault.time_ns >= before && fault.time_ns <= now_ns(), "with its time");
	f->view[3 * page_size] = 42;
	tap_ok(declare(f->pager, 3, 1) == 1, "the declaration counts one fresh page");
	toucher_join(&t);
	tap_ok(t.value == 42, "and the reader sees the content");
	tap_ok(no_fault(f), "nothing else was reported");
}

static void check_write(struct fixture *f)
{
	struct yab_fault fault;
	struct toucher t;

	toucher_start(&t, f->map + 4 * page_size + 1, true, 9);
	fault = next_fault(f);
	tap_ok(fault.page == 4 && fault.flags == YAB_FAULT_WRITE, "a write fault is reported");
	f->view[4 * page_size] = 8;
	declare(f->pager, 4, 1);
	toucher_join(&t);
	tap_ok(f->view[4 * page_size] == 8 && f->view[4 * page_size + 1] == 9,
	       "the write lands on top of the content");
}

/* Threads of this process, and another process, all at one page. */
static void check_shared(struct fixture *f)
{
	struct toucher t[8];
	bool all = true;
	pid_t pid;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(t); i++)
		toucher_start(&t[i], f->map + 5 * page_size, false, 0);
	tap_ok(next_fault(f).page == 5, "eight threads touch a page");
	pid = child_touch(f->map + 5 * page_size);
	wait_until_asleep(pid);
	tap_ok(no_fault(f), "and a process: reported once");
	f->view[5 * page_size] = 55;
	declare(f->pager, 5, 1);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		toucher_join(&t[i]);
		all = all && t[i].value == 55;
	}
	tap_ok(all, "all threads are woken and see the content");
	tap_ok(ending(pid) == 55, "and so is the process");
}

static void check_private(struct fixture *f)
{
	unsigned char *map = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, f->node,
				  6 * page_size);
	struct toucher t;

	if (map == MAP_FAILED)
		tap_bail("private mapping");
	toucher_start(&t, map + 1, true, 1);
	tap_ok(next_fault(f).page == 6, "a private mapping traps, too");
	f->view[6 * page_size] = 66;
	declare(f->pager, 6, 1);
	toucher_join(&t);
	tap_ok(map[0] == 66 && map[1] == 1 && f->view[6 * page_size + 1] == 0,
	       "and its write stays private");
	munmap(map, page_size);
}

static void check_present(struct fixture *f)
{
	f->view[7 * page_size] = 77;
	tap_ok(declare(f->pager, 7, 1) == 1, "a page can be declared before anybody asks");
	tap_ok(f->map[7 * page_size] == 77 && no_fault(f), "and then does not fault");
	tap_ok(declare(f->pager, 7, 1) == 0, "a second declaration is harmless");
	tap_ok(declare(f->pager, 8, 1) == 1 && f->map[8 * page_size] == 0,
	       "a page without content reads as zero");
}

int main(void)
{
	struct fixture f;

	tap_start(17, 60);
	fixture_open(&f, 16);
	check_read(&f);
	check_write(&f);
	check_shared(&f);
	check_private(&f);
	check_present(&f);
	fixture_close(&f);
	return tap_end();
}
