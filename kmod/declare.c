// SPDX-License-Identifier: GPL-2.0
/* YAB_IOC_DECLARE: what the pager says of ranges of pages. */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "argument.h"
#include "declare.h"
#include "memory.h"
#include "region.h"
#include "trace.h"

/* Pages that are declared before others may run: a quarter of a million atomics at most. */
#define YAB_DECLARE_STRETCH	BIT_ULL(24)

/* The same where no other declaration can go on meanwhile. */
#define YAB_DECLARE_ALONE_STRETCH	BIT_ULL(18)

/* Pages of a range that is nothing beside the call; an array of them is 64 Ki pages. */
#define YAB_DECLARE_SHORT	64

static int yab_declare_check(const struct yab_region *region, const struct yab_range *range)
{
	if (range->state > YAB_RANGE_DISCARDED || range->reserved)
		return -EINVAL;
	return yab_pagemap_has(&region->pagemap, range->page, range->count) ? 0 : -ERANGE;
}

static int yab_declare_present(struct yab_region *region, u64 page, u64 count, u64 *fresh)
{
	/* down_read() alone would let whoever was woken last run first. */
	if (!down_read_trylock(&region->declare_lock))
		down_read(&region->declare_lock);
	*fresh = yab_region_declare(region, page, count);
	up_read(&region->declare_lock);
	return 0;
}

/*
 * Only missing pages: a present one is the guest's. Each run of them by itself, lest other
 * declarations wait for many.
 */
static int yab_declare_zero(struct yab_region *region, u64 page, u64 count, u64 *fresh)
{
	const struct yab_pagemap *map = &region->pagemap;
	u64 end = page + count;
	int ret = 0;

	while (!ret && page < end) {
		if (fatal_signal_pending(current))
			return -EINTR;
		down_write(&region->declare_lock);
		page = yab_pagemap_next_missing(map, page, end);
		count = yab_pagemap_next_present(map, page, end) - page;
		if (count)
			ret = yab_memory_drop(region->memory, page, count);
		if (count && !ret)
			*fresh += yab_region_declare(region, page, count);
		up_write(&region->declare_lock);
		page += count;
	}
	return ret;
}

static int yab_declare_discarded(struct yab_region *region, u64 page, u64 count, u64 *fresh)
{
	u64 i;
	int ret;

	down_write(&region->declare_lock);
	ret = yab_memory_drop(region->memory, page, count);
	if (!ret) {
		*fresh = yab_region_declare(region, page, count);
		if (READ_ONCE(region->tracking) != YAB_TRACKING_OFF)
			for (i = 0; i < count; i++)
				yab_pagemap_mark(&region->pagemap, page + i);
	}
	up_write(&region->declare_lock);
	return ret;
}

/* Only missing pages here, too. No declaration may come between a page and its mark. */
static int yab_declare_failed(struct yab_region *region, u64 page, u64 count, u64 *fresh)
{
	const struct yab_pagemap *map = &region->pagemap;
	u64 end = page + count;
	int ret = 0;

	down_write(&region->declare_lock);
	while ((page = yab_pagemap_next_missing(map, page, end)) < end) {
		u64 some;

		count = yab_pagemap_next_present(map, page, end) - page;
		ret = yab_region_declare_failed(region, page, count, &some);
		if (ret)
			break;
		*fresh += some;
		page += count;
	}
	up_write(&region->declare_lock);
	return ret;
}

static int yab_declare_stretch(struct yab_region *region, u32 state, u64 page, u64 count,
			       u64 *fresh)
{
	switch (state) {
	case YAB_RANGE_PRESENT:
		return yab_declare_present(region, page, count, fresh);
	case YAB_RANGE_ZERO:
		return yab_declare_zero(region, page, count, fresh);
	case YAB_RANGE_DISCARDED:
		return yab_declare_discarded(region, page, count, fresh);
	case YAB_RANGE_FAILED:
		return yab_declare_failed(region, page, count, fresh);
	default:
		return -EINVAL;
	}
}

/*
 * A long range takes its time: others get theirs, and the caller can be killed. Not after
 * short ones: whoever has just been woken would run, and leave the rest of the array waiting.
 */
static int yab_declare_apply(struct yab_region *region, struct yab_range *range)
{
	u64 stretch = range->state == YAB_RANGE_PRESENT ? YAB_DECLARE_STRETCH :
							  YAB_DECLARE_ALONE_STRETCH;
	u64 page = range->page, left = range->count;
	int ret = 0;

	range->fresh = 0;
	while (left && !ret) {
		u64 count = min(left, stretch), fresh = 0;

		if (fatal_signal_pending(current))
			return -EINTR;
		if (yab_region_state(region) == YAB_STATE_FAILED)
			return -EIO;
		ret = yab_declare_stretch(region, range->state, page, count, &fresh);
		range->fresh += fresh;
		page += count;
		left -= count;
		if (count > YAB_DECLARE_SHORT)
			cond_resched();
	}
	trace_yabusame_present(yab_region_name(region), range->page, range->count, range->fresh,
			       range->state);
	return ret;
}

static int yab_declare_fetch(struct yab_range *range, const struct yab_range __user *from)
{
	if (!user_read_access_begin(from, sizeof(*from)))
		return -EFAULT;
	unsafe_get_user(range->page, &from->page, err_fault);
	unsafe_get_user(range->count, &from->count, err_fault);
	unsafe_get_user(range->state, &from->state, err_fault);
	unsafe_get_user(range->reserved, &from->reserved, err_fault);
	user_read_access_end();
	return 0;

err_fault:
	user_read_access_end();
	return -EFAULT;
}

/*
 * Goes through the caller's array in place, so that nothing is allocated while
 * somebody waits for these pages. Called twice: to check the whole array and to
 * apply it. The second time checks again, because the caller may have changed the array
 * meanwhile.
 */
static int yab_declare_walk(struct yab_region *region, struct yab_range __user *ranges, u32 count,
			    bool apply)
{
	struct yab_range range;
	u32 i;
	int ret;

	for (i = 0; i < count; i++) {
		ret = yab_declare_fetch(&range, &ranges[i]);
		if (!ret)
			ret = yab_declare_check(region, &range);
		if (ret)
			return ret;
		if (!apply)
			continue;
		ret = yab_declare_apply(region, &range);
		if (put_user(range.fresh, &ranges[i].fresh))
			return -EFAULT;
		if (ret)
			return ret;
	}
	return 0;
}

long yab_declare_ioctl(struct yab_region *region, void __user *arg, size_t size)
{
	struct yab_range __user *ranges;
	struct yab_declare declare;
	int ret;

	ret = yab_argument_fetch(&declare, sizeof(declare), arg, size);
	if (ret)
		return ret;
	if (declare.flags || !declare.count || declare.count > YAB_RANGES_MAX)
		return -EINVAL;
	ranges = u64_to_user_ptr(declare.ranges);
	ret = yab_declare_walk(region, ranges, declare.count, false);
	if (ret)
		return ret;
	return yab_declare_walk(region, ranges, declare.count, true);
}
