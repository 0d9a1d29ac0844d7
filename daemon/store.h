/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the pages of one region go: its memory file, what is known of each page, and
 * what is whole but not declared yet.
 *
 * Why a page that is declared is never overwritten
 *
 * Pages are received into their final place, without a buffer between. A page may
 * arrive twice: it was on its way on a bulk connection when somebody touched it,
 * so it was asked for on the urgent one as well. Once it is declared, the guest
 * writes to it, and the second copy must not undo that.
 *
 * 1. Whether a page is present is known from the pagemap, and only this (single)
 *    thread changes that: when a declaration has succeeded.
 * 2. Before each recvmsg() yab_store_place() looks it up anew for every page, also for
 *    a page of which half has arrived: bytes of a page that is present go to a
 *    scratch page. Nothing is declared during a recvmsg().
 * 3. So the place of a page is written to only while the page is not present, and
 *    a page is never not present again. (1, 2)
 * 4. A page that is not present when its last byte has been received was not present
 *    before either, so all its bytes went to its place, not to scratch: it is whole and
 *    can be declared. That another connection wrote some of the same bytes in
 *    between does no harm, for the source's memory stands still.
 *
 * Zero pages follow the same rule: only pages that are not present are cleared.
 */
#ifndef YAB_DAEMON_STORE_H
#define YAB_DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/yabusame.h>

#include "histogram.h"
#include "pagemap.h"
#include "touch.h"
#include "wire.h"

/* Counted since the process began, but for @present. */
struct yab_store_statistics {
	uint64_t bytes;			/* payload of PAGES frames */
	uint64_t zero_pages;		/* arrived as ZERO */
	uint64_t data_pages;		/* arrived in PAGES */
	uint64_t present;
	uint64_t faults;
	uint64_t urgent_pages;		/* arrived on the urgent connection */
	uint64_t bulk_pages;		/* arrived on a bulk connection */
	uint64_t duplicate_pages;	/* arrived when they were present already */
};

/* As yab_region_declare() and yab_region_present() do it. 0, or -1 with errno. */
typedef int (*yab_store_declare_cb)(int pager_fd, struct yab_range *ranges, size_t count);
typedef int (*yab_store_present_cb)(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits);

struct yab_store {
	int memory_fd;
	int pager_fd;		/* -1: nobody touches the memory before it is complete */
	uint8_t *memory;	/* the view that is not trapped */
	yab_store_declare_cb declare;
	struct yab_pagemap map;

	/* Whole in place, not declared yet. */
	struct yab_range ranges[YAB_RANGES_MAX];
	size_t range_count;

	struct yab_touches touches;
	struct yab_histogram latency;	/* from the first touch to the declaration */
	struct yab_store_statistics statistics;
	uint8_t scratch[YAB_WIRE_PAGE_SIZE];	/* written to, never read */
};

/*
 * Borrows both descriptors. Pages that the region has already are taken over.
 * 0, or -1 with errno; all memory is allocated here.
 */
int yab_store_init(struct yab_store *store, int memory_fd, int pager_fd, uint64_t pages,
		   yab_store_declare_cb declare, yab_store_present_cb present);
void yab_store_release(struct yab_store *store);

/* May another frame's pages be settled? If not, declare first. */
bool yab_store_has_room(const struct yab_store *store);

/* Where the next bytes of @page go. The answer holds for one recvmsg(). */
uint8_t *yab_store_place(struct yab_store *store, uint64_t page);
/* All bytes of @page have arrived, on a connection of @role. */
void yab_store_settle(struct yab_store *store, uint64_t page, enum yab_wire_role role);
/*
 * [page, page + count) are zero, says the source: clears and settles those that are not
 * present. *done is how many of the pages were dealt with: fewer than @count when there
 * is no room for more. 0, or -1 with errno.
 */
int yab_store_clear(struct yab_store *store, uint64_t page, uint64_t count,
		    enum yab_wire_role role, uint64_t *done);

/*
 * Declares what is whole. The content is in place before the call, which makes it
 * visible before anybody is woken; the pagemap learns of it after. 0, or -1 with
 * errno: nothing is known to be declared, and all of it is tried again next time.
 */
int yab_store_flush(struct yab_store *store);

#endif /* YAB_DAEMON_STORE_H */
