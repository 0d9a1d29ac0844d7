/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_PAGER_H
#define YAB_PAGER_H

struct file;
struct yab_region;

/* A file descriptor and a pager's file, before they belong to a region or anybody else. */
struct yab_pager_fd {
	int fd;
	struct file *file;
};

int yab_pager_prepare(struct yab_pager_fd *pager);
int yab_pager_install(struct yab_pager_fd *pager, struct yab_region *region);
void yab_pager_cancel(struct yab_pager_fd *pager);

#endif /* YAB_PAGER_H */
