/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_BITMAP_H
#define YAB_BITMAP_H

#include <linux/types.h>

struct yab_region;

/* Where the bits of a range come from; @page is a multiple of 64. */
struct yab_bitmap_source {
	int (*fetch)(struct yab_region *region, u64 page, u64 *bits, u64 count);
	/* Called for bits that did not reach the caller; may be NULL. */
	void (*put_back)(struct yab_region *region, u64 page, const u64 *bits, u64 count);
};

extern const struct yab_bitmap_source yab_bitmap_present;

long yab_bitmap_ioctl(struct yab_region *region, void __user *arg, size_t size,
		      const struct yab_bitmap_source *source);

#endif /* YAB_BITMAP_H */
