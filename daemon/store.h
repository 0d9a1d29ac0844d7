/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the pages of one region go: its memory file, what is known of each page, and
 * what is whole but not declared yet.
 *
 * Why a page that is declared is never overwritten
 *
 * Pages are received into a buffer and written to the memory file. A page may arrive
 * twice: it was on its way on a bulk connection when somebody touched it, so it was
 * asked for on the urgent one as well. Once it is declared, the guest writes to it, and
 * the second copy must not undo that.
 *
 * 1. Whether a page is present is known from the pagemap, and only this (single)
 *    thread changes that: when a declaration has succeeded.
 * 2. yab_store_write() looks it up for every page before it writes, also for a page of
 *    which half has arrived, and leaves out the bytes of a page that is present. Nothing
 *    is declared while it writes.
 * 3. So the place of a page is written to only while the page is not present, and
 *    a page is never not present again. (1, 2)
 * 4. A page that is not present when its last byte has been received was not present
 *    before either, so all its bytes went to its place: it is whole and can be
 *    declared. That another connection wrote some of the same bytes in between does no
 *    harm, for the source's memory stands still.
 *
 * Why not straight into a mapping of the file: there each new page would be cleared
 * before it is overwritten, and cost a fault, which together take twice as long as the
 * copy out of a buffer that is in the processor's cache (docs/measurements.md). Nor are
 * there page tables of the size of the guest, or stores that find no memory.
 *
 * Zero pages follow the same rule: only pages that are not present are cleared.
 */
#ifndef YAB_DAEMON_STORE_H
#define YAB_DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/yabusame.h>

#include "checksum.h"
#include "histogram.h"
#include "pagemap.h"
#include "touch.h"
#include "wire.h"

/* What one recvmsg() takes at most: well within a processor's second cache. */
#define YAB_STORE_BUFFER	(32 * YAB_WIRE_PAGE_SIZE)

/* Counted since the process began, but for @present. */
struct yab_store_statistics {
	uint64_t bytes;			/* payload of PAGES and PACKED frames */
	uint64_t zero_pages;		/* arrived as ZERO */
	uint64_t data_pages;		/* arrived in PAGES or PACKED */
	uint64_t packed_pages;		/* arrived in PACKED */
	uint64_t packed_bytes;		/* payload of PACKED frames */
	uint64_t present;
	uint64_t faults;
	uint64_t urgent_pages;		/* arrived on the urgent connection */
	uint64_t bulk_pages;		/* arrived on a bulk connection */
	uint64_t duplicate_pages;	/* arrived when they were present already */
	uint64_t prefetched_pages;	/* asked for because of a touch nearby, and those */
	uint64_t wasted_pages;		/* that no touch bore out: see policy.h */
	uint64_t hinted_pages;		/* asked for because the source had a hint */
	/* When all pages were compared with the source's, if that was asked for: see checksum.h. */
	uint64_t verified_chunks;
	uint64_t unverifiable_chunks;
	uint64_t different_chunks;
	uint64_t different_page;	/* where the first of these begins */
};

/* As yab_region_declare() and yab_region_present() do it. 0, or -1 with errno. */
typedef int (*yab_store_declare_cb)(int pager_fd, struct yab_range *ranges, size_t count);
typedef int (*yab_store_present_cb)(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits);

struct yab_store {
	int memory_fd;
	int pager_fd;		/* -1: nobody touches the memory before it is complete */
	yab_store_declare_cb declare;
	struct yab_pagemap map;
	struct yab_checksums *checksums;	/* NULL: nobody asked for them */

	/* Whole in place, not declared yet. */
	struct yab_range ranges[YAB_RANGES_MAX];
	size_t range_count;

	struct yab_touches touches;
	struct yab_histogram waits[YAB_WAITS];
	struct yab_store_statistics statistics;
	uint8_t buffer[YAB_STORE_BUFFER];	/* between a recvmsg() and its write */
};

/*
 * Borrows both descriptors; the memory file must be open for reading and writing. Pages
 * that the region has already are taken over. 0, or -1 with errno; all memory is
 * allocated here.
 */
int yab_store_init(struct yab_store *store, int memory_fd, int pager_fd, uint64_t pages,
		   yab_store_declare_cb declare, yab_store_present_cb present);
void yab_store_release(struct yab_store *store);
/* What is stored is also added to @checksums, which are borrowed. Before anything is stored. */
void yab_store_sum(struct yab_store *store, struct yab_checksums *checksums);

/* May another frame's pages be settled? If not, declare first. */
bool yab_store_has_room(const struct yab_store *store);

/*
 * Puts the first @size bytes of the buffer into place, which begins with byte @at of the
 * region, but for those of pages that are present. 0, or -1 with errno.
 */
int yab_store_write(struct yab_store *store, uint64_t at, size_t size);
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
