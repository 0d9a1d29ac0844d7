// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking: which pages were written through mappings of the node.
 *
 * While it is on, all mappings have operations with page_mkwrite(), so that the
 * kernel maps pages read-only until their first write, which marks the page. A round
 * takes the marks and unmaps the marked pages, and the next write marks them again.
 *
 * A write must not slip through between. page_mkwrite() marks the page with its folio
 * locked, and the folio stays locked until the page is mapped writable. A round first
 * takes the mark, then the folio's lock once, then unmaps. Either the fault had the
 * lock before: it has mapped the page, which is unmapped now, and its mark was taken
 * with this round or was set after that and is there for the next. Or it gets the lock
 * later, and marks the page for the next round.
 *
 * Who holds the page may write to it without a fault: O_DIRECT, VFIO, /proc/PID/mem between
 * its look-up and its copy. Such a page keeps its mark, round after round, until nobody does.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "argument.h"
#include "compat.h"
#include "mappings.h"
#include "region.h"
#include "tracking.h"

/* Folios that are unmapped in one go. */
#define YAB_TRACKING_BATCH	16

/* Words of bits that are gone through in one go; bounded by the stack. */
#define YAB_TRACKING_WORDS	64

struct yab_tracking_batch {
	unsigned int count;
	struct {
		struct folio *folio;
		u64 mask;	/* its pages among the 64 at hand */
	} entries[YAB_TRACKING_BATCH];
};

/* The folios of the pages from @page on that @left says, as many as fit; returns the rest. */
static u64 yab_tracking_gather(struct address_space *mapping, u64 page, u64 left,
			       struct yab_tracking_batch *batch)
{
	batch->count = 0;
	while (left && batch->count < YAB_TRACKING_BATCH) {
		u64 first = __ffs64(left), mask = BIT_ULL(first);
		struct folio *folio = yab_get_folio(mapping, page + first);

		/* What is swapped out is not mapped. */
		if (folio) {
			u64 next;

			folio_lock(folio);
			next = folio_next_index(folio) - page;
			folio_unlock(folio);
			if (next > first)
				mask = (next < 64 ? BIT_ULL(next) - 1 : ~0ULL) & left;
			batch->entries[batch->count].folio = folio;
			batch->entries[batch->count].mask = mask;
			batch->count++;
		}
		left &= ~mask;
	}
	return left;
}

/* Each run of pages by itself: their neighbours were not written, and may be read. */
static void yab_tracking_unmap(struct address_space *mapping, u64 page, u64 which)
{
	while (which) {
		unsigned int first = __ffs64(which);
		u64 rest = ~(which >> first);
		unsigned int count = rest ? __ffs64(rest) : 64 - first;

		unmap_mapping_pages(mapping, page + first, count, false);
		which &= count + first < 64 ? ~0ULL << (first + count) : 0;
	}
}

/*
 * May somebody who holds the folio write to it? Not all who do pin it, so every reference
 * counts besides the page cache's and the caller's. It is unmapped. A page on its way to an LRU
 * list has one more for some time: it is reported once too often.
 */
static bool yab_tracking_is_held(struct folio *folio)
{
	return folio_ref_count(folio) > folio_nr_pages(folio) + 1;
}

/* All of a large folio, since each of its pages that is mapped is a reference. */
static void yab_tracking_unmap_large(struct address_space *mapping, struct folio *folio)
{
	if (folio_test_large(folio))
		unmap_mapping_pages(mapping, folio->index, folio_nr_pages(folio), false);
}

/* Has the next write to each of these of 64 pages noticed. */
static void yab_tracking_protect(struct yab_region *region, u64 page, u64 dirty)
{
	struct address_space *mapping = region->memory->f_mapping;
	struct yab_tracking_batch batch;

	while (dirty) {
		u64 left = yab_tracking_gather(mapping, page, dirty, &batch);
		u64 now = dirty & ~left;
		unsigned int i;

		yab_tracking_unmap(mapping, page, now);
		for (i = 0; i < batch.count; i++) {
			struct folio *folio = batch.entries[i].folio;
			u64 mask;

			yab_tracking_unmap_large(mapping, folio);
			mask = yab_tracking_is_held(folio) ? batch.entries[i].mask : 0;
			for (; mask; mask &= mask - 1)
				yab_pagemap_mark(&region->pagemap, page + __ffs64(mask));
			folio_put(folio);
		}
		dirty = left;
	}
}

static void yab_tracking_protect_words(struct yab_region *region, u64 page, const u64 *bits,
				       u64 count)
{
	u64 i;

	for (i = 0; i < DIV_ROUND_UP(count, 64); i++)
		yab_tracking_protect(region, page + i * 64, bits[i]);
}

int yab_tracking_fetch(struct yab_region *region, u64 page, u64 *bits, u64 count)
{
	down_write(&region->declare_lock);
	if (READ_ONCE(region->tracking) != YAB_TRACKING_ON) {
		up_write(&region->declare_lock);
		return -EINVAL;
	}
	yab_pagemap_take_marks(&region->pagemap, page, bits, count);
	up_write(&region->declare_lock);
	yab_tracking_protect_words(region, page, bits, count);
	return 0;
}

/* Old marks of present pages mean nothing; from now on they do. */
static void yab_tracking_clear(struct yab_region *region)
{
	u64 page, pages = region->pagemap.pages, bits[YAB_TRACKING_WORDS];

	/* Most of it at once: by pages alone, as below, it takes half as much again. */
	unmap_mapping_range(region->memory->f_mapping, 0, region->size, 0);
	for (page = 0; page < pages; page += sizeof(bits) * 8) {
		yab_pagemap_take_marks(&region->pagemap, page, bits,
				       min_t(u64, pages - page, sizeof(bits) * 8));
		cond_resched();
	}
}

/*
 * What is mapped writable from before, what is about to be, since its fault marked the page
 * before the marks were cleared, and what is held: as if all had been written.
 */
static int yab_tracking_protect_all(struct yab_region *region)
{
	u64 page, pages = region->pagemap.pages, bits[YAB_TRACKING_WORDS];

	/* Most of it at once: by pages alone, as below, it takes half as much again. */
	unmap_mapping_range(region->memory->f_mapping, 0, region->size, 0);
	for (page = 0; page < pages; page += sizeof(bits) * 8) {
		u64 count = min_t(u64, pages - page, sizeof(bits) * 8);

		if (fatal_signal_pending(current))
			return -EINTR;
		yab_pagemap_copy_present(&region->pagemap, page, bits, count);
		yab_tracking_protect_words(region, page, bits, count);
		cond_resched();
	}
	return 0;
}

static void yab_tracking_set(struct yab_region *region, enum yab_tracking tracking)
{
	lockdep_assert_held(&region->tracking_lock);
	spin_lock(&region->lock);
	WRITE_ONCE(region->tracking, tracking);
	spin_unlock(&region->lock);
}

/* After -EAGAIN it goes on from where it is with the next call. */
static int yab_tracking_start(struct yab_region *region)
{
	int ret;

	if (region->tracking == YAB_TRACKING_ON)
		return -EALREADY;
	yab_tracking_set(region, YAB_TRACKING_STARTING);
	/* A worker on the same way would look like a process that is busy. */
	flush_delayed_work(&region->update_work);
	ret = yab_mappings_update(region);
	if (ret)
		return ret;
	down_write(&region->declare_lock);
	yab_tracking_clear(region);
	yab_tracking_set(region, YAB_TRACKING_ON);
	up_write(&region->declare_lock);
	ret = yab_tracking_protect_all(region);
	if (ret)
		yab_tracking_set(region, YAB_TRACKING_STARTING);
	return ret;
}

static int yab_tracking_stop(struct yab_region *region)
{
	if (region->tracking == YAB_TRACKING_OFF)
		return -EALREADY;
	down_write(&region->declare_lock);
	yab_tracking_set(region, YAB_TRACKING_OFF);
	up_write(&region->declare_lock);
	/* It costs, but does no harm, as long as mappings are still tracked. */
	if (yab_mappings_update(region))
		yab_mappings_update_later(region);
	return 0;
}

long yab_tracking_ioctl(struct yab_region *region, void __user *arg, size_t size)
{
	struct yab_track track;
	int ret;

	ret = yab_argument_fetch(&track, sizeof(track), arg, size);
	if (ret)
		return ret;
	if (track.flags & ~YAB_TRACK_ON || track.reserved)
		return -EINVAL;
	ret = mutex_lock_killable(&region->tracking_lock);
	if (ret)
		return ret;
	ret = track.flags & YAB_TRACK_ON ? yab_tracking_start(region) : yab_tracking_stop(region);
	mutex_unlock(&region->tracking_lock);
	return ret;
}
