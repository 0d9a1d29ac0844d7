/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_REGION_H
#define YAB_REGION_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/yabusame.h>

#include "pagemap.h"
#include "queue.h"
#include "waiters.h"

/* Regions at a time: each holds a minor number and at least 40 KiB. */
#define YAB_REGIONS_MAX		1024

/* Pages in a region: 16 TiB. The bitmaps then take 1 GiB. */
#define YAB_PAGES_MAX		BIT_ULL(32)

struct yab_region_params {
	const char *name;
	u64 size;		/* bytes */
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
	struct file *memory;	/* borrowed */
};

/*
 * A region is in use by its pager's file and by every open file of its node; a
 * mapping keeps the node's file that it was made through. When the last of them
 * goes, the node goes: nothing is left behind by anybody who dies. The memory
 * of this structure follows the device's reference count.
 */
struct yab_region {
	struct device dev;
	struct cdev cdev;
	struct list_head link;		/* in the table; guarded by the table's lock */
	unsigned int users;		/* files; guarded by the table's lock */

	umode_t mode;			/* this and below: set once, before the node is there */
	kuid_t uid;
	kgid_t gid;
	u64 size;
	struct file *memory;
	struct file *shadow;		/* the memory file as VMAs hold it */
	/* shmem's own, the same for each mapping; set by the first. */
	const struct vm_operations_struct *memory_ops;

	struct yab_pagemap pagemap;
	struct yab_waiters waiters;
	struct yab_queue queue;

	spinlock_t lock;		/* guards changes of state */
	u32 state;			/* YAB_STATE_* */
};

int yab_region_init(void);
void yab_region_exit(void);

struct yab_region *yab_region_create(const struct yab_region_params *params);
int yab_region_get(struct yab_region *region);
void yab_region_put(struct yab_region *region);

u32 yab_region_state(struct yab_region *region);
void yab_region_orphan(struct yab_region *region);
u64 yab_region_declare(struct yab_region *region, u64 page, u64 count);
bool yab_region_is_hopeless(struct yab_region *region);
bool yab_region_wait(struct yab_region *region, u64 page, unsigned int task_state);

#endif /* YAB_REGION_H */
