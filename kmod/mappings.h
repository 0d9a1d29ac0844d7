/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_MAPPINGS_H
#define YAB_MAPPINGS_H

struct work_struct;
struct yab_region;

int yab_mappings_update(struct yab_region *region);
void yab_mappings_update_later(struct yab_region *region);
void yab_mappings_update_work(struct work_struct *work);

#endif /* YAB_MAPPINGS_H */
