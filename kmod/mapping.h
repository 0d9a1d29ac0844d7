/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_MAPPING_H
#define YAB_MAPPING_H

#include <linux/mm_types.h>

struct file;

int yab_mapping_mmap(struct file *node, struct vm_area_struct *vma);

#endif /* YAB_MAPPING_H */
