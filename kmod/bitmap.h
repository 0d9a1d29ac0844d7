/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_BITMAP_H
#define YAB_BITMAP_H

#include <linux/types.h>

struct yab_region;

/* Where the bits of @count pages from @page, a multiple of 64, come from. */
typedef int (*yab_bitmap_fetch_fn)(struct yab_region *region, u64 page, u64 *bits, u64 count);

int yab_bitmap_fetch_present(struct yab_region *region, u64 page, u64 *bits, u64 count);

long yab_bitmap_ioctl(struct yab_region *region, void __user *arg, size_t size,
		      yab_bitmap_fetch_fn fetch);

#endif /* YAB_BITMAP_H */
