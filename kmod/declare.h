/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_DECLARE_H
#define YAB_DECLARE_H

#include <linux/types.h>

struct yab_region;

long yab_declare_ioctl(struct yab_region *region, void __user *arg, size_t size);

#endif /* YAB_DECLARE_H */
