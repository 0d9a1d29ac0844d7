/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_ATTRIBUTES_H
#define YAB_ATTRIBUTES_H

#include <linux/sysfs.h>

extern const struct attribute_group *yab_attributes_groups[];

#endif /* YAB_ATTRIBUTES_H */
