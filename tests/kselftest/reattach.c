// SPDX-License-Identifier: GPL-2.0
/*
 * Pagers that are killed at any moment, one after the other, over regions in use: each knows
 * nothing but the region's name, and finds in the region what is there already.
 * $YAB_REATTACHES: how many attach in all (default 100). $YAB_SEED: another course.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 4096
#define QUEUES 2
#define TOUCHERS 2	/* processes ... */
#define THREADS 3	/* ... with so many threads */
#define BATCH 64	/* pages that are filled and declared at once, at most */

/* Shared by all processes. */
struct shared {
	atomic_ulong attaches;
	atomic_ulong busy;		/* attempts while the one before was still there */
	atomic_ulong faults;		/* that were read */
	atomic_ulong repeats;
	atomic_ulong lost;		/* pages that a killed pager had stored, not declared */
	atomic_ulong wrong;
	atomic_ulong errors;		/* calls that failed and should not have */
};

static struct shared *shared;
static struct fixture f;
static uint64_t generation;	/* of the region */
static uint64_t seed = 1;

static void error(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	atomic_fetch_add(&shared->errors, 1);
}

/* Every region has other content, so that no page of an old one can pass. */
static uint64_t value(uint64_t page, size_t word)
{
	return (generation * PAGES + page + 1) * 0x9e3779b97f4a7c15ULL + word;
}

static bool is_zero(uint64_t page)
{
	return (generation + page) % 16 == 3;
}

static bool is_right(const unsigned char *at, uint64_t page)
{
	const volatile uint64_t *word = (const volatile uint64_t *)at;
	size_t i;

	for (i = 0; i < page_size / 8; i++)
		if (word[i] != (is_zero(page) ? 0 : value(page, i)))
			return false;
	return true;
}

/* The pager: a process with a thread that answers and one that fills. */
struct pager {
	int fd;
	int queues[QUEUES];
	unsigned char *view;
	atomic_uchar claimed[PAGES];
	atomic_ulong steps;	/* until it kills itself; never if 0 */
};

static struct pager pager;

/* Somewhere in its work a pager may end itself as hard as anybody could. */
static void step(void)
{
	if (atomic_load(&pager.steps) && atomic_fetch_sub(&pager.steps, 1) == 1)
		kill(getpid(), SIGKILL);
}

/*
 * Stores the page's content, or what is to become zero. First comes what must never be seen, so
 * that whoever is let in too early cannot take it for right.
 */
static void store(uint64_t page)
{
	uint64_t *word = (uint64_t *)(pager.view + page * page_size);
	size_t i;

	if (word[0])
		atomic_fetch_add(&shared->lost, 1);
	for (i = 0; i < page_size / 8; i++)
		word[i] = ~value(page, i);
	step();
	if (!is_zero(page))
		for (i = 0; i < page_size / 8; i++)
			word[i] = value(page, i);
}

static void declare_ranges(struct yab_range *ranges, uint32_t count)
{
	struct yab_declare request = { .ranges = (uintptr_t)ranges, .count = count };

	if (!count)
		return;
	step();
	if (ioctl(pager.fd, YAB_IOC_DECLARE, &request))
		error("YAB_IOC_DECLARE");
	step();
}

/* Adds a page to ranges, in a row with the last one if it can be. */
static uint32_t add(struct yab_range *ranges, uint32_t count, uint64_t page)
{
	uint32_t state = is_zero(page) ? YAB_RANGE_ZERO : YAB_RANGE_PRESENT;
	struct yab_range *last = ranges + count - 1;

	if (count && last->page + last->count == page && last->state == state) {
		last->count++;
		return count;
	}
	ranges[count] = (struct yab_range){ .page = page, .count = 1, .state = state };
	return count + 1;
}

static uint32_t provide(struct yab_range *ranges, uint32_t count, uint64_t page)
{
	if (atomic_exchange(&pager.claimed[page], 1))
		return count;
	store(page);
	return add(ranges, count, page);
}

static void answer(int queue)
{
	struct yab_range ranges[8];
	struct yab_fault faults[8];
	uint32_t count = 0;
	ssize_t n, i;

	n = read(queue, faults, sizeof(faults));
	if (n < 0 && errno != EAGAIN)
		error("read");
	step();
	for (i = 0; i < n / (ssize_t)sizeof(faults[0]); i++) {
		atomic_fetch_add(&shared->faults, 1);
		if (faults[i].flags & YAB_FAULT_REPEAT)
			atomic_fetch_add(&shared->repeats, 1);
		count = provide(ranges, count, faults[i].page);
	}
	declare_ranges(ranges, count);
}

static void *answer_run(void *arg)
{
	struct pollfd fds[QUEUES];
	size_t i;

	(void)arg;
	for (i = 0; i < QUEUES; i++)
		fds[i] = (struct pollfd){ .fd = pager.queues[i], .events = POLLIN };
	for (;;) {
		poll(fds, QUEUES, -1);
		for (i = 0; i < QUEUES; i++)
			if (fds[i].revents)
				answer(pager.queues[i]);
	}
	return NULL;
}

/* All pages that are missing, in stretches here and there. */
static void fill(uint64_t random)
{
	uint64_t start = next_random(&random) % PAGES, done = 0, count, i;
	struct yab_range ranges[BATCH];

	while (done < PAGES) {
		uint32_t ready = 0;

		count = 1 + next_random(&random) % BATCH;
		for (i = 0; i < count && done < PAGES; i++, done++)
			/* An odd factor: stretches of 16 pages, in another order. */
			ready = provide(ranges, ready,
					((done & ~15ULL) * 37 + (done & 15) + start) % PAGES);
		declare_ranges(ranges, ready);
		sched_yield();
	}
}

static void pager_attach(void)
{
	uint64_t bits[PAGES / 64], page;
	int memory;
	size_t i;

	while ((pager.fd = attach(f.name)) < 0 && errno == EBUSY) {
		atomic_fetch_add(&shared->busy, 1);
		sched_yield();
	}
	if (pager.fd < 0) {
		error("YAB_IOC_ATTACH");
		_exit(1);
	}
	atomic_fetch_add(&shared->attaches, 1);
	step();
	memory = ioctl(pager.fd, YAB_IOC_MEMORY);
	pager.view = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (memory < 0 || pager.view == MAP_FAILED) {
		error("YAB_IOC_MEMORY");
		_exit(1);
	}
	close(memory);
	for (i = 0; i < QUEUES; i++) {
		struct yab_queue_select select = { .index = i };

		pager.queues[i] = ioctl(pager.fd, YAB_IOC_QUEUE, &select);
		if (pager.queues[i] < 0)
			error("YAB_IOC_QUEUE");
		fcntl(pager.queues[i], F_SETFL, O_NONBLOCK);
	}
	if (get_bitmap(pager.fd, YAB_IOC_PRESENT, 0, PAGES, bits) < 0)
		error("YAB_IOC_PRESENT");
	for (page = 0; page < PAGES; page++)
		atomic_store(&pager.claimed[page], bits[page / 64] >> page % 64 & 1);
}

/* Attaches, and works until it is killed or all is there. */
static pid_t pager_start(uint64_t steps)
{
	uint64_t random = next_random(&seed);
	pthread_t thread;
	pid_t pid = child_start();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		munmap(f.map, PAGES * page_size);
		munmap(f.view, PAGES * page_size);
		atomic_store(&pager.steps, steps);
		pager_attach();
		pthread_create(&thread, NULL, answer_run, NULL);
		fill(random);
		/* The other thread may have claimed pages: they are not declared yet. */
		while (!attribute_is(&f, "state", "complete"))
			sched_yield();
		_exit(0);
	}
	return pid;
}

/* Every page once, in an order of its own. */
static void *toucher_thread_run(void *arg)
{
	uintptr_t number = (uintptr_t)arg;
	uint64_t i;

	for (i = 0; i < PAGES; i++) {
		uint64_t page = (i * (2 * number + 1) * 37 + number * 1000 + generation) % PAGES;

		if (!is_right(f.map + page * page_size, page))
			atomic_fetch_add(&shared->wrong, 1);
	}
	return NULL;
}

static pid_t touchers_start(uintptr_t number)
{
	pthread_t threads[THREADS];
	pid_t pid = child_start();
	uintptr_t i;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		munmap(f.view, PAGES * page_size);
		for (i = 0; i < THREADS; i++)
			pthread_create(&threads[i], NULL, toucher_thread_run,
				       (void *)(number * THREADS + i));
		for (i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		_exit(0);
	}
	return pid;
}

static void pager_end(pid_t pid)
{
	if (!pid)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/*
 * A pager dies by its own hand in the middle of a step, or by ours at any moment, or when
 * the next one is there already and tries to take its place. The last one stays.
 */
static void pagers_run(unsigned long wanted)
{
	pid_t old = 0;

	while (!attribute_is(&f, "state", "complete")) {
		struct timespec life = { .tv_nsec = next_random(&seed) % 30000000 };
		bool last = atomic_load(&shared->attaches) >= wanted;
		unsigned int way = next_random(&seed) % 3;
		uint64_t steps = way || last ? 0 : 1 + next_random(&seed) % 400;
		pid_t pid = pager_start(steps);

		pager_end(old);
		old = pid;
		if (last || way == 0) {
			waitpid(old, NULL, 0);
			old = 0;
		} else if (way == 1) {
			nanosleep(&life, NULL);
		}
		if (atomic_load(&shared->errors))
			tap_bail("region %lu", (unsigned long)generation);
	}
	pager_end(old);
}

static unsigned long regions, incomplete, stuck;

static void region_run(unsigned long wanted)
{
	static const struct yab_create wish = { .queues = QUEUES, .flags = YAB_CREATE_KEEP };
	pid_t touchers[TOUCHERS];
	int status;
	size_t i;

	generation = ++regions;
	fixture_open_with(&f, PAGES, &wish);
	for (i = 0; i < TOUCHERS; i++)
		touchers[i] = touchers_start(i);
	close(f.pager);
	f.pager = -1;
	pagers_run(wanted);
	for (i = 0; i < TOUCHERS; i++) {
		waitpid(touchers[i], &status, 0);
		stuck += !WIFEXITED(status) || WEXITSTATUS(status);
	}
	incomplete += !attribute_is(&f, "state", "complete");
	for (i = 0; i < PAGES; i++)
		if (!is_right(f.view + i * page_size, i))
			atomic_fetch_add(&shared->wrong, 1);
	fixture_close(&f);
	if (remove_region(f.name, 0))
		error("YAB_IOC_REMOVE");
}

int main(void)
{
	const char *wish = getenv("YAB_REATTACHES"), *start = getenv("YAB_SEED");
	unsigned long wanted = wish ? strtoul(wish, NULL, 10) : 100;

	if (start)
		seed = strtoull(start, NULL, 10) | 1;
	tap_start(6, 120 + wanted);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		tap_bail("mmap");
	while (atomic_load(&shared->attaches) < wanted)
		region_run(wanted);

	tap_ok(atomic_load(&shared->attaches) >= wanted, "%lu pagers attached, to %lu regions",
	       atomic_load(&shared->attaches), regions);
	tap_ok(!atomic_load(&shared->wrong), "%lu wrong pages (%lu were stored and lost)",
	       atomic_load(&shared->wrong), atomic_load(&shared->lost));
	tap_ok(!incomplete, "every region was completed");
	tap_ok(!stuck, "everybody who touched it went on");
	tap_ok(!atomic_load(&shared->errors), "no call failed (%lu attaches had to wait)",
	       atomic_load(&shared->busy));
	tap_ok(atomic_load(&shared->repeats), "faults came again: %lu of %lu",
	       atomic_load(&shared->repeats), atomic_load(&shared->faults));
	return tap_end();
}
