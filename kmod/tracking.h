/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_TRACKING_H
#define YAB_TRACKING_H

#include <linux/types.h>

#include "bitmap.h"

struct yab_region;

extern const struct yab_bitmap_source yab_tracking_dirty;

long yab_tracking_ioctl(struct yab_region *region, void __user *arg, size_t size);

#endif /* YAB_TRACKING_H */
