// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking of a huge page: it is mapped for reading as a whole, and becomes a page
 * table with the first write. Readers, writers, rounds and who takes the mapping away meet
 * in that moment, over and over, and no write may be lost in it.
 *
 * A write that is lost is made up for by the next one to its page that is seen. So this goes
 * in bouts, in which a writer comes once to each page, with a comparison at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 512
#define WRITERS 2

/* What else happens in a bout. All but the first bring the huge page back. */
static const struct disturbance {
	const char *name;
	bool rounds;		/* all the time */
	bool drop;		/* MADV_DONTNEED after each reading */
	bool collapse;		/* not mmap(), but MADV_COLLAPSE */
	unsigned int reads;	/* between that */
} disturbances[] = {
	{ "rounds and readers", .rounds = true, .reads = 1000 },
	{ "rounds, mmap() and MADV_DONTNEED", .rounds = true, .drop = true, .reads = 3 },
	{ "MADV_COLLAPSE and MADV_DONTNEED", .drop = true, .collapse = true, .reads = 3 },
};

static struct fixture f;
static unsigned char *shadow;
static pthread_barrier_t barrier;
static atomic_int writing;		/* writers that are not through with the bout */
static atomic_bool over;
static const struct disturbance *disturbance;

static void *run_writer(void *arg)
{
	uintptr_t writer = (uintptr_t)arg;
	uint64_t random = writer + 1;
	unsigned int i;

	for (;;) {
		/* An odd step comes to every page once. */
		uint64_t page = next_random(&random), step = next_random(&random) | 1;

		pthread_barrier_wait(&barrier);
		if (atomic_load(&over))
			return NULL;
		for (i = 0; i < PAGES; i++) {
			page = (page + step) % PAGES;
			++*(volatile uint64_t *)(f.map + page * page_size + writer * 512);
		}
		atomic_fetch_sub(&writing, 1);
		pthread_barrier_wait(&barrier);
	}
}

static void map_anew(void)
{
	if (mmap(f.map, HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f.node, 0) !=
	    f.map)
		tap_bail("mmap anew");
}

static void disturb(uint64_t *random)
{
	unsigned int i;

	if (disturbance->collapse)
		madvise(f.map, HUGE_SIZE, MADV_COLLAPSE);
	else
		map_anew();
	for (i = 0; i < disturbance->reads && atomic_load(&writing); i++) {
		uint64_t page = next_random(random) % PAGES;

		(void)*(volatile unsigned char *)(f.map + page * page_size);
		if (disturbance->drop)
			madvise(f.map, HUGE_SIZE, MADV_DONTNEED);
	}
}

static void *run_disturber(void *arg)
{
	uint64_t random = 77;

	(void)arg;
	for (;;) {
		pthread_barrier_wait(&barrier);
		if (atomic_load(&over))
			return NULL;
		while (atomic_load(&writing))
			disturb(&random);
		pthread_barrier_wait(&barrier);
	}
}

static void copy_round(void)
{
	uint64_t bits[PAGES / 64], page;

	if (get_bitmap(f.pager, YAB_IOC_DIRTY, 0, PAGES, bits) < 0)
		tap_bail("YAB_IOC_DIRTY");
	for (page = 0; page < PAGES; page++)
		if (bits[page / 64] >> page % 64 & 1)
			memcpy(shadow + page * page_size, f.view + page * page_size, page_size);
}

/* How many pages miss a write, which are then put right. */
static unsigned int differences(void)
{
	unsigned int page, count = 0;

	for (page = 0; page < PAGES; page++) {
		size_t at = page * page_size;

		if (!memcmp(shadow + at, f.view + at, page_size))
			continue;
		count++;
		memcpy(shadow + at, f.view + at, page_size);
	}
	return count;
}

/* Views and a complete region of one huge page. False if there are none here. */
static bool open_huge(void)
{
	fixture_open_aligned(&f, PAGES);
	/* Exactly the region for good: only then can its mappings be collapsed. */
	if (fcntl(f.memory, F_ADD_SEALS, F_SEAL_GROW))
		tap_bail("F_SEAL_GROW");
	fill_pages(&f);
	declare(f.pager, 0, PAGES);
	return !madvise(f.view, HUGE_SIZE, MADV_COLLAPSE);
}

static void check(double length)
{
	uint64_t bouts = 0, rounds = 0, lost = 0;
	double end = seconds() + length;

	do {
		atomic_store(&writing, WRITERS);
		pthread_barrier_wait(&barrier);
		while (disturbance->rounds && atomic_load(&writing)) {
			copy_round();
			rounds++;
		}
		pthread_barrier_wait(&barrier);
		copy_round();
		lost += differences();
		bouts++;
	} while (seconds() < end);
	tap_ok(!lost, "a huge page, %s: %lu bouts, %lu rounds, %lu pages miss a write",
	       disturbance->name, (unsigned long)bouts, (unsigned long)rounds,
	       (unsigned long)lost);
}

static void check_bouts(double length)
{
	pthread_t threads[WRITERS + 1];
	uintptr_t i;

	pthread_barrier_init(&barrier, NULL, ARRAY_SIZE(threads) + 1);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		thread_start(&threads[i], i < WRITERS ? run_writer : run_disturber, (void *)i);
	for (i = 0; i < ARRAY_SIZE(disturbances); i++) {
		disturbance = &disturbances[i];
		check(length / ARRAY_SIZE(disturbances));
	}
	atomic_store(&over, true);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
}

/* --- duels --------------------------------------------------------------------------- */

/*
 * One that writes and one that reads and takes away, from an empty PMD on: a write fault on
 * its way finds a huge page, which is gone when it comes to map its page.
 */
#define DUEL_WRITES 4
#define DUEL_DROPS 6

static atomic_ulong duel, duel_fought;	/* the number of the duel that goes on, is through */
static uint64_t duel_pages[DUEL_WRITES];

static void wait_for(atomic_ulong *counter, unsigned long value)
{
	unsigned int i;

	for (i = 1; atomic_load(counter) != value; i++)
		if (i % 1000 == 0)
			sched_yield();
}

/* For some moment, long or short. */
static void spin(uint64_t *random)
{
	uint64_t turns = next_random(random) % (1 << next_random(random) % 13);
	volatile uint64_t i;

	for (i = 0; i < turns; i++)
		;
}

static void *run_duellist(void *arg)
{
	unsigned long number;
	unsigned int i;

	(void)arg;
	for (number = 1;; number++) {
		wait_for(&duel, number);
		if (atomic_load(&over))
			return NULL;
		for (i = 0; i < DUEL_WRITES; i++)
			++*(volatile uint64_t *)(f.map + duel_pages[i] * page_size);
		atomic_store(&duel_fought, number);
	}
}

/* Is the write to the page in the shadow? */
static bool is_missing(uint64_t page)
{
	size_t at = page * page_size;
	bool missing = memcmp(shadow + at, f.view + at, page_size);

	memcpy(shadow + at, f.view + at, page_size);
	return missing;
}

static void check_duels(double length)
{
	unsigned long number = 0, lost = 0;
	double end = seconds() + length;
	uint64_t random = 5;
	pthread_t duellist;
	unsigned int i;

	atomic_store(&over, false);
	thread_start(&duellist, run_duellist, NULL);
	do {
		volatile unsigned char *map = f.map;

		map_anew();
		/* It may begin with the huge page or without. */
		if (next_random(&random) % 2)
			(void)*map;
		for (i = 0; i < DUEL_WRITES; i++)
			duel_pages[i] = next_random(&random) % PAGES;
		atomic_store(&duel, ++number);
		for (i = 0; i < DUEL_DROPS && atomic_load(&duel_fought) != number; i++) {
			spin(&random);
			(void)*map;
			spin(&random);
			if (next_random(&random) % 4)
				madvise(f.map, HUGE_SIZE, MADV_DONTNEED);
			else
				copy_round();
		}
		wait_for(&duel_fought, number);
		copy_round();
		for (i = 0; i < DUEL_WRITES; i++)
			lost += is_missing(duel_pages[i]);
	} while (seconds() < end);
	atomic_store(&over, true);
	atomic_store(&duel, number + 1);
	pthread_join(duellist, NULL);
	tap_ok(!lost, "%lu duels of a writer with one who reads and drops: %lu writes are lost",
	       number, lost);
}

int main(void)
{
	unsigned int i;

	tap_start(ARRAY_SIZE(disturbances) + 1, 120 + stress_seconds());
	if (!open_huge()) {
		for (i = 0; i <= ARRAY_SIZE(disturbances); i++)
			tap_skip("no MADV_COLLAPSE here");
		return tap_end();
	}
	if (track(f.pager, true))
		tap_bail("YAB_IOC_TRACK");
	shadow = malloc(HUGE_SIZE);
	memcpy(shadow, f.view, HUGE_SIZE);
	check_bouts(stress_seconds() / 3.0);
	check_duels(stress_seconds() / 1.5);
	fixture_close(&f);
	free(shadow);
	return tap_end();
}
