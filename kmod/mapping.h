/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_MAPPING_H
#define YAB_MAPPING_H

#include <linux/mm_types.h>

struct file;
struct yab_region;

int yab_mapping_mmap(struct file *node, struct vm_area_struct *vma);
bool yab_mapping_is_of(const struct vm_area_struct *vma, const struct yab_region *region);
bool yab_mapping_is_current(const struct vm_area_struct *vma);
void yab_mapping_update(struct vm_area_struct *vma);

#endif /* YAB_MAPPING_H */
