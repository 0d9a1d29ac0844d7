// SPDX-License-Identifier: GPL-2.0
/*
 * Faults, declarations and a background filler racing over the same pages, round after
 * round. A reader that is let in before the content is complete sees a wrong page;
 * a wake-up that is lost ends in the alarm.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 4096
#define ROUNDS 6
#define READERS 4

static struct fixture f;
static atomic_uchar claimed[PAGES];	/* who fills the page: the first to ask */
static atomic_size_t filled;
static atomic_ulong wrong;

static void provide(uint64_t page)
{
	if (atomic_exchange(&claimed[page], 1))
		return;
	fill_page(f.view + page * page_size, page);
	if (declare(f.pager, page, 1) != 1)
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&filled, 1);
}

static void *run_pager(void *arg)
{
	struct yab_fault faults[8];
	ssize_t n, i;

	(void)arg;
	while ((n = read(f.pager, faults, sizeof(faults))) > 0)
		for (i = 0; i < n / (ssize_t)sizeof(faults[0]); i++) {
			provide(faults[i].page);
			if (faults[i].page == PAGES - 1)
				return NULL;
		}
	return NULL;
}

/* Goes through the pages from the other end than some of the readers. */
static void *run_filler(void *arg)
{
	uint64_t page;

	(void)arg;
	for (page = PAGES - 1; page-- > PAGES / 2;)
		provide(page);
	return NULL;
}

static void *run_reader(void *arg)
{
	uintptr_t reader = (uintptr_t)arg;
	uint64_t i;

	for (i = 0; i < PAGES; i++) {
		/* An odd factor visits every page once, in another order each reader. */
		uint64_t page = (i * (2 * reader + 1) * 37 + reader * 1000) % PAGES;

		if (page == PAGES - 1)
			continue;
		if (!page_is_filled(f.map + page * page_size, page))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

int main(void)
{
	pthread_t pager, filler, readers[READERS];
	unsigned int round;
	uintptr_t i;

	tap_start(ROUNDS, 300);
	for (round = 0; round < ROUNDS; round++) {
		fixture_open(&f, PAGES);
		for (i = 0; i < PAGES; i++)
			atomic_store(&claimed[i], 0);
		atomic_store(&filled, 0);
		pthread_create(&pager, NULL, run_pager, NULL);
		for (i = 0; i < READERS; i++)
			pthread_create(&readers[i], NULL, run_reader, (void *)i);
		pthread_create(&filler, NULL, run_filler, NULL);
		for (i = 0; i < READERS; i++)
			pthread_join(readers[i], NULL);
		pthread_join(filler, NULL);
		/* The last page is left for the end: touching it stops the pager thread. */
		if (!page_is_filled(f.map + (PAGES - 1) * page_size, PAGES - 1))
			atomic_fetch_add(&wrong, 1);
		pthread_join(pager, NULL);
		tap_ok(!atomic_load(&wrong) && get_status(&f).state == YAB_STATE_COMPLETE,
		       "round %u: %lu wrong pages", round, atomic_load(&wrong));
		fixture_close(&f);
	}
	return tap_end();
}
