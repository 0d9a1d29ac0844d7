// SPDX-License-Identifier: GPL-2.0
/* Calls that copy one bit a page to user space. */
#include <linux/bitops.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "argument.h"
#include "bitmap.h"
#include "region.h"

/* Words that are copied in one go; bounded by the stack. */
#define YAB_BITMAP_WORDS	64

static int yab_bitmap_check(const struct yab_region *region, const struct yab_bitmap *bitmap)
{
	if (bitmap->flags || bitmap->reserved || !bitmap->count || bitmap->page % 64)
		return -EINVAL;
	return yab_pagemap_has(&region->pagemap, bitmap->page, bitmap->count) ? 0 : -ERANGE;
}

static int yab_bitmap_copy(struct yab_region *region, struct yab_bitmap *bitmap,
			   yab_bitmap_fetch_fn fetch)
{
	u64 __user *to = u64_to_user_ptr(bitmap->bits);
	u64 page = bitmap->page, left = bitmap->count;
	u64 bits[YAB_BITMAP_WORDS];

	while (left) {
		u64 count = min_t(u64, left, YAB_BITMAP_WORDS * 64);
		size_t words = DIV_ROUND_UP(count, 64), i;
		int ret;

		if (fatal_signal_pending(current))
			return -EINTR;
		/* What is fetched may be gone from where it was: see first that it will arrive. */
		if (clear_user(to, words * sizeof(*bits)))
			return -EFAULT;
		ret = fetch(region, page, bits, count);
		if (ret)
			return ret;
		if (copy_to_user(to, bits, words * sizeof(*bits)))
			return -EFAULT;
		for (i = 0; i < words; i++)
			bitmap->set += hweight64(bits[i]);
		to += words;
		page += count;
		left -= count;
		cond_resched();
	}
	return 0;
}

long yab_bitmap_ioctl(struct yab_region *region, void __user *arg, size_t size,
		      yab_bitmap_fetch_fn fetch)
{
	struct yab_bitmap __user *user = arg;
	struct yab_bitmap bitmap;
	int ret;

	ret = yab_argument_fetch(&bitmap, sizeof(bitmap), arg, size);
	if (ret)
		return ret;
	ret = yab_bitmap_check(region, &bitmap);
	if (ret)
		return ret;
	bitmap.set = 0;
	ret = yab_bitmap_copy(region, &bitmap, fetch);
	if (ret)
		return ret;
	return put_user(bitmap.set, &user->set);
}

int yab_bitmap_fetch_present(struct yab_region *region, u64 page, u64 *bits, u64 count)
{
	yab_pagemap_copy_present(&region->pagemap, page, bits, count);
	return 0;
}
