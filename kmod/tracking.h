/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_TRACKING_H
#define YAB_TRACKING_H

#include <linux/types.h>

struct yab_region;

int yab_tracking_fetch(struct yab_region *region, u64 page, u64 *bits, u64 count);
long yab_tracking_ioctl(struct yab_region *region, void __user *arg, size_t size);

#endif /* YAB_TRACKING_H */
