/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_PAGER_H
#define YAB_PAGER_H

struct yab_region;

int yab_pager_open(struct yab_region *region);

#endif /* YAB_PAGER_H */
