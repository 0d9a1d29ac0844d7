// SPDX-License-Identifier: GPL-2.0
/*
 * Counters under locks, one a page of a region, that threads of several processes
 * count up at random, while a pager for each of two queues answers their faults and a
 * filler declares pages in its own order. Each round's region begins with the content that
 * the last one ended with, so that a page that is lost, comes twice or comes too early
 * shows in the sums. $YAB_STRESS_SECONDS bounds it (default 10).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 4096
#define QUEUES 2
#define PROCESSES 2	/* besides this one */
#define BATCH 16	/* pages that the filler declares at once, at most */

/* What a round's number says, a bit each: how it is done. */
#define MODE_SEQUENTIAL 1	/* workers race through the pages in order, not at random */
#define MODE_BACKWARD 2		/* the filler goes from the end, not at random */
#define MODE_SLOW 4		/* the filler lets others go first */

/* The head of each page; the rest of it is a pattern that never changes. */
struct counter {
	pthread_mutex_t lock;
	uint64_t count;
	uint64_t page;
};

/* The last word of a page: the count once more, inverted. */
static uint64_t *inverse(unsigned char *page)
{
	return (uint64_t *)(page + page_size) - 1;
}

/* Shared by all processes. */
struct shared {
	atomic_bool stop;
	atomic_ulong wrong;
	atomic_ulong increments;
	atomic_uint counted[PAGES];	/* this round */
};

static struct shared *shared;
static struct fixture f;
static unsigned char *content;		/* where the next round begins */
static uint64_t counts[PAGES];		/* what it has to be */
static atomic_uchar claimed[PAGES];	/* who fills the page: the first to ask */
static unsigned int mode;

static uint64_t pattern(uint64_t page, size_t word)
{
	return (page + 1) * 0x9e3779b97f4a7c15ULL + word;
}

static size_t pattern_start(void)
{
	return (sizeof(struct counter) + 7) / 8;
}

static void make_content(void)
{
	pthread_mutexattr_t attr;
	uint64_t page;
	size_t i;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	for (page = 0; page < PAGES; page++) {
		unsigned char *at = content + page * page_size;
		struct counter *counter = (struct counter *)at;

		for (i = pattern_start(); i < page_size / 8 - 1; i++)
			((uint64_t *)at)[i] = pattern(page, i);
		pthread_mutex_init(&counter->lock, &attr);
		counter->page = page;
		*inverse(at) = ~0ULL;
	}
}

static void increment(unsigned char *at, uint64_t page, uint64_t *seed)
{
	struct counter *counter = (struct counter *)at;
	size_t words = page_size / 8 - 1 - pattern_start();
	size_t word = pattern_start() + next_random(seed) % words;

	pthread_mutex_lock(&counter->lock);
	if (counter->page != page || *inverse(at) != ~counter->count ||
	    ((volatile uint64_t *)at)[word] != pattern(page, word))
		atomic_fetch_add(&shared->wrong, 1);
	counter->count++;
	*inverse(at) = ~counter->count;
	pthread_mutex_unlock(&counter->lock);
	atomic_fetch_add(&shared->counted[page], 1);
}

struct worker {
	pthread_t thread;
	unsigned char *map;
	uint64_t seed;
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	unsigned long done = 0;
	uint64_t page = 0;

	while (!atomic_load(&shared->stop)) {
		if (mode & MODE_SEQUENTIAL)
			page = (page + 1) % PAGES;
		else
			page = next_random(&w->seed) % PAGES;
		increment(w->map + page * page_size, page, &w->seed);
		done++;
	}
	atomic_fetch_add(&shared->increments, done);
	return NULL;
}

static void workers_start(struct worker *workers, size_t count, unsigned char *map, uint64_t seed)
{
	size_t i;

	for (i = 0; i < count; i++) {
		workers[i] = (struct worker){ .map = map, .seed = seed * 100 + i + 1 };
		thread_start(&workers[i].thread, worker_run, &workers[i]);
	}
}

static void workers_join(struct worker *workers, size_t count)
{
	while (count--)
		pthread_join(workers++->thread, NULL);
}

static size_t processors(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

/* A process with threads of its own: on an inherited mapping, or one that it makes. */
static pid_t process_start(size_t number, uint64_t seed)
{
	size_t count = processors(), size = PAGES * page_size;
	pid_t pid = child_start();

	if (!pid) {
		struct worker workers[count];
		unsigned char *map = f.map;

		if (number % 2) {
			int node = open(f.path, O_RDWR);

			map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, node, 0);
			if (map == MAP_FAILED)
				_exit(1);
			munmap(f.map, size);
			close(node);
		}
		workers_start(workers, count, map, seed);
		workers_join(workers, count);
		_exit(0);
	}
	return pid;
}

/* True if the page is the caller's to declare. */
static bool provide(uint64_t page)
{
	if (atomic_exchange(&claimed[page], 1))
		return false;
	memcpy(f.view + page * page_size, content + page * page_size, page_size);
	return true;
}

struct pager {
	pthread_t thread;
	int fd;
	int stop;		/* an eventfd */
	size_t number;
	unsigned long answered;
	unsigned long read;
};

static void *pager_run(void *arg)
{
	struct pager *p = arg;
	struct pollfd fds[] = {
		{ .fd = p->fd, .events = POLLIN },
		{ .fd = p->stop, .events = POLLIN },
	};
	struct yab_fault faults[8];
	ssize_t n, i;

	for (;;) {
		if (poll(fds, 2, -1) < 0 || fds[1].revents)
			return NULL;
		n = read(p->fd, faults, sizeof(faults));
		/* What is queued may have come before it is read. */
		if (n < 0 && errno != EAGAIN)
			atomic_fetch_add(&shared->wrong, 1);
		for (i = 0; i < n / (ssize_t)sizeof(faults[0]); i++) {
			uint64_t page = faults[i].page;

			if (page / YAB_QUEUE_STRIPE % QUEUES != p->number)
				atomic_fetch_add(&shared->wrong, 1);
			p->read++;
			if (!provide(page))
				continue;
			p->answered++;
			if (declare(f.pager, page, 1) != 1)
				atomic_fetch_add(&shared->wrong, 1);
		}
	}
}

static void pagers_start(struct pager *pagers)
{
	size_t i;

	for (i = 0; i < QUEUES; i++) {
		struct yab_queue_select select = { .index = i };

		pagers[i] = (struct pager){
			.fd = ioctl(f.pager, YAB_IOC_QUEUE, &select),
			.stop = eventfd(0, 0),
			.number = i,
		};
		if (pagers[i].fd < 0 || fcntl(pagers[i].fd, F_SETFL, O_NONBLOCK))
			tap_bail("YAB_IOC_QUEUE");
		thread_start(&pagers[i].thread, pager_run, &pagers[i]);
	}
}

static void pagers_join(struct pager *pagers)
{
	uint64_t one = 1;
	size_t i;

	for (i = 0; i < QUEUES; i++) {
		if (write(pagers[i].stop, &one, sizeof(one)) != sizeof(one))
			tap_bail("eventfd");
		pthread_join(pagers[i].thread, NULL);
		close(pagers[i].stop);
		close(pagers[i].fd);
	}
}

/* Declares what is claimed; a range a page, for they are not in a row. */
static void filler_declare(struct yab_range *ranges, uint32_t count)
{
	struct yab_declare request = { .ranges = (uintptr_t)ranges, .count = count };
	uint32_t i;

	if (count && ioctl(f.pager, YAB_IOC_DECLARE, &request))
		atomic_fetch_add(&shared->wrong, 1);
	for (i = 0; i < count; i++)
		if (ranges[i].fresh != 1)
			atomic_fetch_add(&shared->wrong, 1);
}

/* All pages, the last one included: then the round is over. */
static void *filler_run(void *arg)
{
	uint64_t seed = (uintptr_t)arg, order[PAGES], i;
	struct yab_range ranges[BATCH];
	uint32_t count = 0, limit = 1;

	for (i = 0; i < PAGES; i++)
		order[i] = PAGES - 1 - i;
	for (i = PAGES; !(mode & MODE_BACKWARD) && i > 1; i--) {
		uint64_t other = next_random(&seed) % i, page = order[i - 1];

		order[i - 1] = order[other];
		order[other] = page;
	}
	for (i = 0; i < PAGES; i++) {
		if (provide(order[i]))
			ranges[count++] = (struct yab_range){ .page = order[i], .count = 1 };
		if (count >= limit) {
			filler_declare(ranges, count);
			count = 0;
			limit = 1 + next_random(&seed) % BATCH;
		}
		if (mode & MODE_SLOW)
			sched_yield();
	}
	filler_declare(ranges, count);
	return NULL;
}

/* Every page through the node, as the next round will begin with it. */
static void verify(void)
{
	uint64_t page;
	size_t i;

	for (page = 0; page < PAGES; page++) {
		unsigned char *at = content + page * page_size;
		struct counter *counter = (struct counter *)at;

		memcpy(at, f.map + page * page_size, page_size);
		counts[page] += atomic_load(&shared->counted[page]);
		if (counter->page != page || counter->count != counts[page] ||
		    *inverse(at) != ~counts[page])
			atomic_fetch_add(&shared->wrong, 1);
		for (i = pattern_start(); i < page_size / 8 - 1; i++)
			if (((uint64_t *)at)[i] != pattern(page, i)) {
				atomic_fetch_add(&shared->wrong, 1);
				break;
			}
	}
}

/* What all rounds came to. */
static unsigned long rounds, incomplete, lost_children, answered[QUEUES], reports, faults_total;

static void round_run(void)
{
	static const struct yab_create wish = { .queues = QUEUES };
	size_t count = 2 * processors(), i;
	struct worker workers[count];
	struct pager pagers[QUEUES];
	struct yab_status status;
	pid_t pids[PROCESSES];
	pthread_t filler;

	mode = rounds;
	fixture_open_with(&f, PAGES, &wish);
	for (i = 0; i < PAGES; i++) {
		atomic_store(&claimed[i], 0);
		atomic_store(&shared->counted[i], 0);
	}
	atomic_store(&shared->stop, false);
	for (i = 0; i < PROCESSES; i++)
		pids[i] = process_start(i, rounds * 10 + i + 1);
	pagers_start(pagers);
	workers_start(workers, count, f.map, rounds * 10 + 9);
	thread_start(&filler, filler_run, (void *)(rounds + 1));
	pthread_join(filler, NULL);
	/* A page that a pager has claimed may still be on its way. */
	wait_until_attribute(&f, "state", "complete");
	atomic_store(&shared->stop, true);
	workers_join(workers, count);
	for (i = 0; i < PROCESSES; i++)
		lost_children += ending(pids[i]) != 0;
	pagers_join(pagers);
	verify();
	status = get_status(&f);
	incomplete += status.state != YAB_STATE_COMPLETE || status.present != PAGES;
	faults_total += status.faults;
	for (i = 0; i < QUEUES; i++) {
		answered[i] += pagers[i].answered;
		reports += pagers[i].read;
	}
	fixture_close(&f);
	rounds++;
}

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

int main(void)
{
	const char *wish = getenv("YAB_STRESS_SECONDS");
	unsigned int seconds = wish ? atoi(wish) : 10;
	time_t end;

	tap_start(6, seconds + 300);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	content = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || content == MAP_FAILED)
		tap_bail("mmap");
	make_content();
	end = now_s() + seconds;
	do
		round_run();
	while (now_s() < end || rounds < 2);

	tap_ok(!atomic_load(&shared->wrong), "%lu rounds, %lu increments: %lu wrong", rounds,
	       atomic_load(&shared->increments), atomic_load(&shared->wrong));
	tap_ok(!incomplete, "every round ends with a complete region");
	tap_ok(!lost_children, "every process ends well");
	tap_ok(answered[0] && answered[1], "both queues had work: %lu and %lu pages of %lu",
	       answered[0], answered[1], rounds * PAGES);
	tap_ok(faults_total, "pages were touched before they were there: %lu", faults_total);
	tap_ok(reports <= faults_total, "no page was reported twice: %lu reports", reports);
	return tap_end();
}
