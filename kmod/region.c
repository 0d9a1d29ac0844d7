// SPDX-License-Identifier: GPL-2.0
#include <linux/file.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "attributes.h"
#include "compat.h"
#include "mappings.h"
#include "memory.h"
#include "node.h"
#include "region.h"
#include "trace.h"

static dev_t yab_region_devt;
static DEFINE_IDA(yab_region_minors);

/*
 * The table of regions. Making and removing nodes waits for devtmpfs, which somebody who reads
 * /dev can hold up: that goes on outside of this lock, or nobody could help.
 */
static DEFINE_SPINLOCK(yab_region_table_lock);
static LIST_HEAD(yab_region_table);

static const char *const yab_region_state_names[] = {
	[YAB_STATE_FILLING] = "filling",
	[YAB_STATE_ORPHANED] = "orphaned",
	[YAB_STATE_COMPLETE] = "complete",
	[YAB_STATE_FAILED] = "failed",
};

static const bool yab_region_transitions[][YAB_STATE_FAILED + 1] = {
	[YAB_STATE_FILLING] = {
		[YAB_STATE_ORPHANED] = true,
		[YAB_STATE_COMPLETE] = true,
		[YAB_STATE_FAILED] = true,
	},
	[YAB_STATE_ORPHANED] = {
		[YAB_STATE_FILLING] = true,
		[YAB_STATE_FAILED] = true,
	},
	[YAB_STATE_COMPLETE] = {},
	[YAB_STATE_FAILED] = {},
};

/* False, and nothing changes, if the region cannot go from where it is to @state. */
static bool yab_region_set_state(struct yab_region *region, u32 state)
{
	lockdep_assert_held(&region->lock);
	if (!yab_region_transitions[region->state][state])
		return false;
	trace_yabusame_state(yab_region_name(region), yab_region_state_names[region->state],
			     yab_region_state_names[state]);
	WRITE_ONCE(region->state, state);
	return true;
}

u32 yab_region_state(const struct yab_region *region)
{
	return READ_ONCE(region->state);
}

const char *yab_region_state_name(const struct yab_region *region)
{
	return yab_region_state_names[yab_region_state(region)];
}

const char *yab_region_name(const struct yab_region *region)
{
	return dev_name(&region->dev);
}

u64 yab_region_faults(struct yab_region *region)
{
	u64 total = 0;
	unsigned int i;

	for (i = 0; i < region->queue_count; i++)
		total += yab_queue_total(&region->queues[i]);
	return total;
}

static bool yab_region_break(struct yab_region *region)
{
	bool broken;
	unsigned int i;

	spin_lock(&region->lock);
	broken = yab_region_set_state(region, YAB_STATE_FAILED);
	spin_unlock(&region->lock);
	if (!broken)
		return false;
	pr_warn("yabusame: %s: failed with %lld of %llu pages present\n", yab_region_name(region),
		atomic64_read(&region->pagemap.present_count), region->pagemap.pages);
	for (i = 0; i < region->queue_count; i++)
		yab_queue_close(&region->queues[i]);
	yab_waiters_wake_all(&region->waiters);
	return true;
}

static void yab_region_orphan_work(struct work_struct *work)
{
	struct yab_region *region = container_of(to_delayed_work(work), struct yab_region,
						 orphan_work);
	bool due;

	/* A pager may have come and gone meanwhile: then a later deadline counts. */
	spin_lock(&region->lock);
	due = region->state == YAB_STATE_ORPHANED && region->orphan_limit_ms &&
	      time_after_eq(jiffies, region->orphan_deadline);
	spin_unlock(&region->lock);
	if (due)
		yab_region_break(region);
}

static void yab_region_arm_orphan_limit(struct yab_region *region)
{
	unsigned long delay = msecs_to_jiffies(region->orphan_limit_ms);

	lockdep_assert_held(&region->lock);
	if (region->state != YAB_STATE_ORPHANED || !region->orphan_limit_ms)
		return;
	region->orphan_deadline = jiffies + delay;
	mod_delayed_work(system_freezable_wq, &region->orphan_work, delay);
}

void yab_region_set_orphan_limit(struct yab_region *region, u32 limit_ms)
{
	spin_lock(&region->lock);
	WRITE_ONCE(region->orphan_limit_ms, limit_ms);
	yab_region_arm_orphan_limit(region);
	spin_unlock(&region->lock);
}

/* The pager is gone. Tasks wait on; a complete region needs no pager. */
void yab_region_detach(struct yab_region *region)
{
	spin_lock(&region->lock);
	region->paged = false;
	if (yab_region_set_state(region, YAB_STATE_ORPHANED))
		yab_region_arm_orphan_limit(region);
	trace_yabusame_attach(yab_region_name(region), false);
	spin_unlock(&region->lock);
	/* For those that are without hope now; the others go back to sleep. */
	yab_waiters_wake_all(&region->waiters);
}

/*
 * Why there is no use in waiting for a missing page; 0 if there is.
 *
 * In an orphaned region kernel threads do not wait: one that works for KVM or vhost gets
 * no signal, and whoever wants to end the VM waits for it.
 */
vm_fault_t yab_region_refusal(struct yab_region *region, u64 page)
{
	u32 state = yab_region_state(region);

	if (unlikely(state == YAB_STATE_FAILED))
		return VM_FAULT_SIGBUS;
	if (unlikely(state == YAB_STATE_ORPHANED) && current->flags & PF_KTHREAD)
		return VM_FAULT_SIGBUS;
	if (unlikely(yab_failed_has(&region->failed, page)))
		return VM_FAULT_HWPOISON;
	return 0;
}

static void yab_region_wake(void *arg, u64 page)
{
	struct yab_region *region = arg;

	yab_waiters_wake(&region->waiters, page);
}

/* The caller holds the declare lock: for reading, unless it has dropped the content. */
u64 yab_region_declare(struct yab_region *region, u64 page, u64 count)
{
	bool tracking = READ_ONCE(region->tracking) != YAB_TRACKING_OFF;
	bool complete = false;
	u64 fresh;

	lockdep_assert_held(&region->declare_lock);
	fresh = yab_pagemap_declare(&region->pagemap, page, count, tracking, yab_region_wake,
				    region);
	if (fresh && yab_pagemap_is_complete(&region->pagemap)) {
		spin_lock(&region->lock);
		complete = yab_region_set_state(region, YAB_STATE_COMPLETE);
		spin_unlock(&region->lock);
	}
	if (complete)
		yab_mappings_update_later(region);
	return fresh;
}

/*
 * The pages are missing, and the caller holds the declare lock for writing. -ENOSPC if there
 * are too many failed ranges.
 */
int yab_region_declare_failed(struct yab_region *region, u64 page, u64 count, u64 *fresh)
{
	struct yab_pagemap *map = &region->pagemap;
	u64 end = page + count;
	int ret;

	lockdep_assert_held_write(&region->declare_lock);
	ret = yab_failed_add(&region->failed, page, count, fresh);
	if (ret)
		return ret;
	/*
	 * As in a declaration: a fault marks its page before it looks whether that has failed,
	 * so either it sees that or its mark is seen here.
	 */
	smp_mb();
	while ((page = yab_pagemap_next_wanted(map, page, end)) < end) {
		yab_pagemap_forget(map, page);
		yab_waiters_wake(&region->waiters, page++);
	}
	return 0;
}

/* Has the pager told that somebody wants @page, if it was not yet. */
void yab_region_want(struct yab_region *region, u64 page, u32 flags, u64 now)
{
	struct yab_queue *queue;

	if (!yab_pagemap_want(&region->pagemap, page))
		return;
	trace_yabusame_fault(yab_region_name(region), page, flags);
	queue = &region->queues[yab_queue_of(page, region->queue_count)];
	yab_queue_push(queue, page, flags, now);
}

static bool yab_region_is_answered(void *arg, u64 page)
{
	struct yab_region *region = arg;

	return yab_pagemap_is_present(&region->pagemap, page) || yab_region_refusal(region, page);
}

/*
 * Sleeps until the page is present, or will never be, or its mapping goes: true. False if
 * a signal came first.
 */
bool yab_region_wait(struct yab_region *region, struct yab_waiter *waiter,
		     unsigned int task_state)
{
	bool answered;
	u64 waited;

	answered = yab_waiters_sleep(&region->waiters, waiter, task_state,
				     yab_region_is_answered, region);
	waited = ktime_get_ns() - waiter->since_ns;
	if (answered)
		yab_latency_add(&region->latency, waited);
	trace_yabusame_wake(yab_region_name(region), waiter->page, waited);
	return answered;
}

static struct class yab_region_class = {
	.name = "yabusame",
};

static char *yab_region_devnode(YAB_DEVNODE_CONST struct device *dev, umode_t *mode,
				kuid_t *uid, kgid_t *gid)
{
	const struct yab_region *region = container_of(dev, struct yab_region, dev);

	/* Some callers want only the name. */
	if (mode)
		*mode = region->mode;
	if (uid)
		*uid = region->uid;
	if (gid)
		*gid = region->gid;
	return kasprintf(GFP_KERNEL, "yabusame/%s", dev_name(dev));
}

static void yab_region_destroy_queues(struct yab_region *region)
{
	while (region->queue_count)
		yab_queue_destroy(&region->queues[--region->queue_count]);
	kvfree(region->queues);
}

static int yab_region_init_queues(struct yab_region *region, unsigned int count)
{
	int ret;

	region->queues = kvcalloc(count, sizeof(*region->queues), GFP_KERNEL_ACCOUNT);
	if (!region->queues)
		return -ENOMEM;
	for (; region->queue_count < count; region->queue_count++) {
		ret = yab_queue_init(&region->queues[region->queue_count], region->queue_count,
				     count);
		if (ret) {
			yab_region_destroy_queues(region);
			return ret;
		}
	}
	return 0;
}

static void yab_region_release(struct device *dev)
{
	struct yab_region *region = container_of(dev, struct yab_region, dev);

	ida_free(&yab_region_minors, MINOR(dev->devt));
	fput(region->shadow);
	fput(region->memory);
	yab_region_destroy_queues(region);
	yab_waiters_destroy(&region->waiters);
	yab_failed_destroy(&region->failed);
	yab_pagemap_destroy(&region->pagemap);
	kfree(region);
}

static const struct device_type yab_region_type = {
	.name = "yabusame",
	.groups = yab_attributes_groups,
	.devnode = yab_region_devnode,
	.release = yab_region_release,
};

static struct yab_region *yab_region_find(const char *name)
{
	struct yab_region *region;

	lockdep_assert_held(&yab_region_table_lock);
	list_for_each_entry(region, &yab_region_table, link)
		if (!strcmp(dev_name(&region->dev), name))
			return region;
	return NULL;
}

/* Takes the name, which is the device's. */
static int yab_region_list(struct yab_region *region)
{
	int ret = -EEXIST;

	spin_lock(&yab_region_table_lock);
	if (!yab_region_find(yab_region_name(region))) {
		list_add_tail(&region->link, &yab_region_table);
		region->listing = YAB_LISTING_NAME;
		ret = 0;
	}
	spin_unlock(&yab_region_table_lock);
	return ret;
}

static void yab_region_unlist(struct yab_region *region)
{
	spin_lock(&yab_region_table_lock);
	list_del(&region->link);
	region->listing = YAB_LISTING_NONE;
	spin_unlock(&yab_region_table_lock);
}

/* A further user of a region that has some, or is in the table. */
static void yab_region_hold(struct yab_region *region)
{
	lockdep_assert_held(&yab_region_table_lock);
	region->users++;
	get_device(&region->dev);
}

/*
 * Makes a region and its node. The caller, the pager's file, is its first user.
 */
struct yab_region *yab_region_create(const struct yab_region_params *params)
{
	struct yab_region *region;
	int minor, ret;

	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return ERR_PTR(-ENOMEM);
	ret = yab_pagemap_init(&region->pagemap, params->size >> PAGE_SHIFT);
	if (ret)
		goto err_free_region;
	ret = yab_waiters_init(&region->waiters);
	if (ret)
		goto err_destroy_pagemap;
	ret = yab_failed_init(&region->failed);
	if (ret)
		goto err_destroy_waiters;
	ret = yab_region_init_queues(region, params->queues);
	if (ret)
		goto err_destroy_failed;
	region->shadow = yab_memory_shadow(params->memory);
	if (IS_ERR(region->shadow)) {
		ret = PTR_ERR(region->shadow);
		goto err_destroy_queues;
	}
	minor = ida_alloc_max(&yab_region_minors, YAB_REGIONS_MAX - 1, GFP_KERNEL);
	if (minor < 0) {
		ret = minor;
		goto err_put_shadow;
	}

	region->users = 1;
	region->mode = params->mode;
	region->uid = params->uid;
	region->gid = params->gid;
	region->size = params->size;
	region->memory = get_file(params->memory);
	region->state = YAB_STATE_FILLING;
	region->paged = true;
	region->orphan_limit_ms = params->orphan_limit_ms;
	INIT_LIST_HEAD(&region->link);
	spin_lock_init(&region->lock);
	init_rwsem(&region->declare_lock);
	mutex_init(&region->tracking_lock);
	INIT_DELAYED_WORK(&region->orphan_work, yab_region_orphan_work);
	INIT_DELAYED_WORK(&region->update_work, yab_mappings_update_work);

	device_initialize(&region->dev);
	region->dev.class = &yab_region_class;
	region->dev.type = &yab_region_type;
	region->dev.devt = MKDEV(MAJOR(yab_region_devt), minor);
	cdev_init(&region->cdev, &yab_node_fops);
	region->cdev.owner = THIS_MODULE;
	ret = dev_set_name(&region->dev, "%s", params->name);
	if (ret)
		goto err_put_device;

	ret = yab_region_list(region);
	if (ret)
		goto err_put_device;
	ret = cdev_device_add(&region->cdev, &region->dev);
	if (ret)
		goto err_unlist;

	spin_lock(&yab_region_table_lock);
	region->listing = YAB_LISTING_WHOLE;
	if (params->keep) {
		/* It needs no user. It stands for one itself, which holds the module. */
		region->kept = true;
		yab_region_hold(region);
		__module_get(THIS_MODULE);
	}
	spin_unlock(&yab_region_table_lock);
	return region;

err_unlist:
	/* For a moment it could be opened by its number. */
	spin_lock(&region->lock);
	region->removed = true;
	spin_unlock(&region->lock);
	yab_region_break(region);
	yab_region_unlist(region);
err_put_device:
	put_device(&region->dev); /* yab_region_release() undoes all the rest */
	return ERR_PTR(ret);
err_put_shadow:
	fput(region->shadow);
err_destroy_queues:
	yab_region_destroy_queues(region);
err_destroy_failed:
	yab_failed_destroy(&region->failed);
err_destroy_waiters:
	yab_waiters_destroy(&region->waiters);
err_destroy_pagemap:
	yab_pagemap_destroy(&region->pagemap);
err_free_region:
	kfree(region);
	return ERR_PTR(ret);
}

/* A further user. Fails if the last one has left, or the region was removed. */
int yab_region_get(struct yab_region *region)
{
	int ret = -ENXIO;

	spin_lock(&yab_region_table_lock);
	if (region->users && !READ_ONCE(region->removed)) {
		yab_region_hold(region);
		ret = 0;
	}
	spin_unlock(&yab_region_table_lock);
	return ret;
}

/* The region of this name with a further user, or NULL. */
static struct yab_region *yab_region_get_by_name(const char *name)
{
	struct yab_region *region;

	spin_lock(&yab_region_table_lock);
	region = yab_region_find(name);
	if (region && region->listing != YAB_LISTING_WHOLE)
		region = NULL;
	if (region)
		yab_region_hold(region);
	spin_unlock(&yab_region_table_lock);
	return region;
}

/* The name is taken until the node is gone. The caller has set the listing to that. */
static void yab_region_remove_node(struct yab_region *region)
{
	cdev_device_del(&region->cdev, &region->dev);
	yab_region_unlist(region);
}

/*
 * Callers are the release of files, which the kernel runs outside of mmap locks, and
 * calls on the control node. Both hold the module, on which the works depend.
 */
void yab_region_put(struct yab_region *region)
{
	bool last, listed;

	spin_lock(&yab_region_table_lock);
	last = !--region->users;
	listed = last && region->listing == YAB_LISTING_WHOLE;
	if (listed)
		region->listing = YAB_LISTING_NAME;
	spin_unlock(&yab_region_table_lock);
	if (listed)
		yab_region_remove_node(region);
	if (last) {
		cancel_delayed_work_sync(&region->orphan_work);
		cancel_delayed_work_sync(&region->update_work);
	}
	put_device(&region->dev);
}

/* Makes the caller the region's pager, and a user of it. */
struct yab_region *yab_region_attach(const char *name)
{
	struct yab_region *region = yab_region_get_by_name(name);
	unsigned int i;
	int ret = 0;

	if (!region)
		return ERR_PTR(-ENOENT);
	spin_lock(&region->lock);
	if (region->removed) {
		ret = -ENOENT;
	} else if (region->paged) {
		ret = -EBUSY;
	} else if (region->state == YAB_STATE_FAILED) {
		ret = -EIO;
	} else {
		region->paged = true;
		yab_region_set_state(region, YAB_STATE_FILLING);
		trace_yabusame_attach(yab_region_name(region), true);
	}
	spin_unlock(&region->lock);
	if (ret) {
		yab_region_put(region);
		return ERR_PTR(ret);
	}
	cancel_delayed_work(&region->orphan_work);
	for (i = 0; i < region->queue_count; i++)
		yab_queue_restart(&region->queues[i]);
	return region;
}

int yab_region_fail(const char *name)
{
	struct yab_region *region = yab_region_get_by_name(name);
	int ret;

	if (!region)
		return -ENOENT;
	ret = yab_region_break(region) ? 0 : -EALREADY;
	yab_region_put(region);
	return ret;
}

/* Marks a region of this name as removed, and returns it with a further user. */
static struct yab_region *yab_region_start_removal(const char *name, bool force, bool *kept)
{
	struct yab_region *region = yab_region_get_by_name(name);
	int ret = 0;

	if (!region)
		return ERR_PTR(-ENOENT);
	spin_lock(&yab_region_table_lock);
	spin_lock(&region->lock);
	if (region->removed) {
		ret = -ENOENT;
	} else if (!force && (region->paged || region->mappings)) {
		ret = -EBUSY;
	} else {
		region->removed = true;
		region->listing = YAB_LISTING_NAME;
		*kept = region->kept;
		region->kept = false;
	}
	spin_unlock(&region->lock);
	spin_unlock(&yab_region_table_lock);
	if (ret) {
		yab_region_put(region);
		return ERR_PTR(ret);
	}
	return region;
}

/* Takes the name and the node away; who has them open or mapped keeps the rest. */
int yab_region_remove(const char *name, bool force)
{
	struct yab_region *region;
	bool kept;

	region = yab_region_start_removal(name, force, &kept);
	if (IS_ERR(region))
		return PTR_ERR(region);
	/* First, since somebody who waits for a page may hold what the rest waits for. */
	yab_region_break(region);
	yab_region_remove_node(region);
	if (kept) {
		yab_region_put(region);
		module_put(THIS_MODULE);
	}
	yab_region_put(region);
	return 0;
}

int yab_region_init(void)
{
	int ret;

	ret = alloc_chrdev_region(&yab_region_devt, 0, YAB_REGIONS_MAX, "yabusame");
	if (ret)
		return ret;
	ret = class_register(&yab_region_class);
	if (ret)
		goto err_unregister_chrdev;
	return 0;

err_unregister_chrdev:
	unregister_chrdev_region(yab_region_devt, YAB_REGIONS_MAX);
	return ret;
}

void yab_region_exit(void)
{
	class_unregister(&yab_region_class);
	unregister_chrdev_region(yab_region_devt, YAB_REGIONS_MAX);
	ida_destroy(&yab_region_minors);
}
