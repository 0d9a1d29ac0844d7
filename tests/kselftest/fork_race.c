// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking begins and ends while processes that map the region fork, and the fork fails
 * or is killed in the middle: what it leaves behind is half a copy, with VMAs of its parent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 64
#define COPIES 4	/* mappings of a process that forks */

static struct fixture f;

static struct counts {
	atomic_ulong failed, done;	/* forks */
} *counts;				/* shared with all processes */

/* Mappings with page tables that a fork has to copy, from @at on, or anywhere. */
static void map_copies(unsigned char *at)
{
	size_t length = PAGES * page_size;
	unsigned int i;

	for (i = 0; i < COPIES; i++) {
		/* Two neighbours with the same pages are two VMAs. */
		unsigned char *map = mmap(at ? at + i * length : NULL, length,
					  PROT_READ | PROT_WRITE,
					  MAP_SHARED | (at ? MAP_FIXED : 0), f.node, 0);

		if (map == MAP_FAILED)
			_exit(2);
		*(volatile unsigned char *)map = i;
	}
}

static void fork_on(void)
{
	for (;;) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		atomic_fetch_add(pid < 0 ? &counts->failed : &counts->done, 1);
		while (pid > 0 && waitpid(pid, NULL, 0) < 0)
			;
	}
}

/*
 * A VMA that the kernel would not let anybody have, for want of memory, grown from parts that
 * it does: to copy it fails, every time.
 */
static unsigned char *map_too_much(void)
{
	struct sysinfo info;
	size_t part = 256UL << 20, size, at;
	unsigned char *map;

	sysinfo(&info);
	size = (info.totalram + info.totalswap) * info.mem_unit / part * part + 2 * part;
	/* With room for COPIES mappings above. */
	map = mmap(NULL, size + COPIES * PAGES * page_size, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		_exit(2);
	for (at = 0; at < size; at += part)
		if (mmap(map + at, part, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			_exit(2);
	return map + size;
}

static void keep_to(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	/* Without it the test only sees less. */
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * Goes before the thread that forks, on the same processor. If it comes to wait for the lock
 * of the address space, it takes the processor in the moment when fork() has given that up,
 * and the half copy stays for a while.
 */
static void *run_hold_up(void *arg)
{
	struct sched_param first = { .sched_priority = 1 };
	unsigned char *scratch = arg;
	uint64_t random = getpid();
	bool writable = false;

	keep_to(0);
	sched_setscheduler(0, SCHED_FIFO, &first);
	for (;;) {
		double until;

		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		usleep((random >> 33) % 3000);
		mprotect(scratch, page_size, writable ? PROT_READ : PROT_READ | PROT_WRITE);
		writable = !writable;
		for (until = seconds() + 0.001; seconds() < until;)
			;
	}
	return NULL;
}

/* One whose forks fail in the middle of its mappings, or go on until it is killed. */
static pid_t start_forker(bool failing)
{
	pid_t pid = fork();
	pthread_t thread;

	if (pid < 0)
		tap_bail("fork");
	if (pid)
		return pid;
	if (failing) {
		unsigned char *above = map_too_much();

		keep_to(0);
		map_copies(above);
		if (pthread_create(&thread, NULL, run_hold_up,
				   mmap(NULL, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
					0)))
			_exit(2);
	}
	map_copies(NULL);
	fork_on();
	_exit(0);
}

/* Begins or ends tracking: one try, which may fail while somebody forks. */
static unsigned long toggle(bool *on)
{
	struct yab_track request = { .flags = *on ? 0 : YAB_TRACK_ON };

	if (ioctl(f.pager, YAB_IOC_TRACK, &request)) {
		if (errno != EAGAIN)
			tap_bail("YAB_IOC_TRACK");
		return 0;
	}
	*on = !*on;
	return 1;
}

static unsigned long forks(void)
{
	return atomic_load(&counts->failed) + atomic_load(&counts->done);
}

/* Only this process maps the region again, and tracking works. */
static void check_after(bool on)
{
	uint64_t bits[PAGES / 64] = {};

	wait_until_attribute(&f, "mappings", "1");
	if (!on && track(f.pager, true))
		tap_bail("YAB_IOC_TRACK");
	get_bitmap(f.pager, YAB_IOC_DIRTY, 0, PAGES, bits);
	f.map[7 * page_size] = 1;
	tap_ok(get_bitmap(f.pager, YAB_IOC_DIRTY, 0, PAGES, bits) >= 1 && bits[0] >> 7 & 1,
	       "nothing of it is left, and a write is seen");
	if (track(f.pager, false))
		tap_bail("YAB_IOC_TRACK");
}

static void check_failing(double length)
{
	double end = seconds() + length;
	unsigned long toggled = 0;
	bool on = false;
	cpu_set_t all;
	pid_t pid;

	atomic_store(&counts->failed, 0);
	atomic_store(&counts->done, 0);
	sched_getaffinity(0, sizeof(all), &all);
	pid = start_forker(true);
	keep_to(1);
	while (!forks())
		sched_yield();
	do
		toggled += toggle(&on);
	while (seconds() < end);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	sched_setaffinity(0, sizeof(all), &all);
	tap_ok(toggled && atomic_load(&counts->failed) && !atomic_load(&counts->done),
	       "tracking begins and ends (%lu) while forks fail in the middle (%lu)", toggled,
	       atomic_load(&counts->failed));
	check_after(on);
}

static void check_killed(double length)
{
	double end = seconds() + length;
	unsigned long toggled = 0, killed = 0;
	uint64_t random = 3;
	bool on = false;

	atomic_store(&counts->done, 0);
	do {
		unsigned long before = forks();
		pid_t pid = start_forker(false);
		unsigned int turns;

		while (forks() == before)
			toggled += toggle(&on);
		/* So that it is somewhere else each time. */
		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		for (turns = (random >> 33) % 8; turns; turns--)
			toggled += toggle(&on);
		kill(pid, SIGKILL);
		for (turns = 0; turns < 4; turns++)
			toggled += toggle(&on);
		waitpid(pid, NULL, 0);
		killed++;
	} while (seconds() < end);
	tap_ok(toggled && atomic_load(&counts->done),
	       "tracking begins and ends (%lu) while %lu processes are killed as they fork (%lu)",
	       toggled, killed, atomic_load(&counts->done));
	check_after(on);
}

int main(void)
{
	tap_start(4, 60 + stress_seconds());
	counts = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fixture_open(&f, PAGES);
	declare(f.pager, 0, PAGES);
	check_failing(stress_seconds() / 2.0);
	check_killed(stress_seconds() / 2.0);
	fixture_close(&f);
	return tap_end();
}
