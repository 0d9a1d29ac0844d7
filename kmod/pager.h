/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_PAGER_H
#define YAB_PAGER_H

struct file;
struct yab_region;

struct file *yab_pager_file(struct yab_region *region);

#endif /* YAB_PAGER_H */
