/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_REGION_H
#define YAB_REGION_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/mm_types.h>
#include <linux/rwsem.h>
#include <linux/workqueue.h>
#include <linux/yabusame.h>

#include "failed.h"
#include "latency.h"
#include "pagemap.h"
#include "queue.h"
#include "waiters.h"

/* Regions at a time: each holds a minor number and at least 54 KiB. */
#define YAB_REGIONS_MAX		1024

/* Pages in a region: 16 TiB. The bitmaps then take 1 GiB. */
#define YAB_PAGES_MAX		BIT_ULL(32)

struct yab_region_params {
	const char *name;
	u64 size;		/* bytes */
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
	u32 orphan_limit_ms;
	unsigned int queues;
	bool keep;
	struct file *memory;	/* borrowed */
};

/* What the table of regions has of one. */
enum yab_listing {
	YAB_LISTING_NONE,
	YAB_LISTING_NAME,	/* the name is taken: the node is being made or removed */
	YAB_LISTING_WHOLE,	/* there for whoever knows the name */
};

enum yab_tracking {
	YAB_TRACKING_OFF,
	YAB_TRACKING_STARTING,	/* new mappings trap writes, not all old ones do */
	YAB_TRACKING_ON,
};

/*
 * A region is in use by its pager's files and by every open file of its node; a
 * mapping keeps the node's file that it was made through. When the last of them
 * goes, the node goes: nothing is left behind by anybody who dies. The memory
 * of this structure follows the device's reference count.
 */
struct yab_region {
	struct device dev;
	struct cdev cdev;
	struct list_head link;		/* this and below: guarded by the table's lock */
	enum yab_listing listing;
	unsigned int users;		/* files, and the table if it is kept */
	bool kept;

	umode_t mode;			/* this and below: set once, before the node is there */
	kuid_t uid;
	kgid_t gid;
	u64 size;
	struct file *memory;
	struct file *shadow;		/* the memory file as VMAs hold it */
	/* shmem's own, the same for each mapping; set by the first. */
	const struct vm_operations_struct *memory_ops;

	struct yab_pagemap pagemap;
	struct yab_failed failed;
	struct yab_waiters waiters;
	struct yab_latency latency;
	struct yab_queue *queues;
	unsigned int queue_count;	/* set once */

	/*
	 * Held for reading while pages become present with what the memory file holds. For
	 * writing while what it holds is dropped, lest a page that just became present
	 * lose it, and while marks are cleared (see struct yab_pagemap).
	 */
	struct rw_semaphore declare_lock;
	struct mutex tracking_lock;	/* one start or stop at a time */

	spinlock_t lock;		/* guards all below */
	u32 state;			/* YAB_STATE_* */
	bool paged;			/* a pager's file is open */
	bool removed;			/* cannot be mapped any more */
	enum yab_tracking tracking;
	unsigned long mappings;		/* VMAs */
	u32 orphan_limit_ms;		/* 0: none */
	unsigned long orphan_deadline;	/* jiffies; valid while orphaned with a limit */

	struct delayed_work orphan_work;	/* fails the region at its deadline */
	struct delayed_work update_work;	/* yab_mappings_update(), until it succeeds */
};

int yab_region_init(void);
void yab_region_exit(void);

struct yab_region *yab_region_create(const struct yab_region_params *params);
struct yab_region *yab_region_attach(const char *name);
void yab_region_detach(struct yab_region *region);
int yab_region_fail(const char *name);
int yab_region_remove(const char *name, bool force);
int yab_region_get(struct yab_region *region);
void yab_region_put(struct yab_region *region);

u32 yab_region_state(const struct yab_region *region);
const char *yab_region_state_name(const struct yab_region *region);
const char *yab_region_name(const struct yab_region *region);
u64 yab_region_faults(struct yab_region *region);
void yab_region_set_orphan_limit(struct yab_region *region, u32 limit_ms);

u64 yab_region_declare(struct yab_region *region, u64 page, u64 count);
int yab_region_declare_failed(struct yab_region *region, u64 page, u64 count, u64 *fresh);
vm_fault_t yab_region_refusal(struct yab_region *region, u64 page);
void yab_region_want(struct yab_region *region, u64 page, u32 flags, u64 now);
bool yab_region_wait(struct yab_region *region, struct yab_waiter *waiter,
		     unsigned int task_state);

#endif /* YAB_REGION_H */
