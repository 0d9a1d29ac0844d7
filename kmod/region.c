// SPDX-License-Identifier: GPL-2.0
#include <linux/file.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "memory.h"
#include "node.h"
#include "region.h"

static dev_t yab_region_devt;
static DEFINE_IDA(yab_region_minors);

/* The table of regions that have a node. */
static DEFINE_MUTEX(yab_region_table_lock);
static LIST_HEAD(yab_region_table);

static const char *const yab_region_state_names[] = {
	[YAB_STATE_FILLING] = "filling",
	[YAB_STATE_ORPHANED] = "orphaned",
	[YAB_STATE_COMPLETE] = "complete",
};

static const bool yab_region_transitions[][YAB_STATE_COMPLETE + 1] = {
	[YAB_STATE_FILLING] = {
		[YAB_STATE_ORPHANED] = true,
		[YAB_STATE_COMPLETE] = true,
	},
	[YAB_STATE_ORPHANED] = {},
	[YAB_STATE_COMPLETE] = {},
};

static void yab_region_set_state(struct yab_region *region, u32 state)
{
	lockdep_assert_held(&region->lock);
	if (!WARN_ON_ONCE(!yab_region_transitions[region->state][state]))
		WRITE_ONCE(region->state, state);
}

u32 yab_region_state(struct yab_region *region)
{
	return READ_ONCE(region->state);
}

/*
 * Nobody will bring the page, and this task could wait for ever: a kernel thread that
 * works for KVM or vhost gets no signal, and whoever wants to end the VM waits for it.
 */
bool yab_region_is_hopeless(struct yab_region *region)
{
	return yab_region_state(region) == YAB_STATE_ORPHANED && current->flags & PF_KTHREAD;
}

/* The pager is gone. Tasks wait on; a complete region needs no pager. */
void yab_region_orphan(struct yab_region *region)
{
	spin_lock(&region->lock);
	if (region->state == YAB_STATE_FILLING)
		yab_region_set_state(region, YAB_STATE_ORPHANED);
	spin_unlock(&region->lock);
	/* For those that are without hope now; the others go back to sleep. */
	yab_waiters_wake_all(&region->waiters);
}

static void yab_region_wake(void *arg, u64 page)
{
	struct yab_region *region = arg;

	yab_waiters_wake(&region->waiters, page);
}

u64 yab_region_declare(struct yab_region *region, u64 page, u64 count)
{
	u64 fresh = yab_pagemap_declare(&region->pagemap, page, count, yab_region_wake, region);

	if (fresh && yab_pagemap_is_complete(&region->pagemap)) {
		spin_lock(&region->lock);
		if (region->state == YAB_STATE_FILLING)
			yab_region_set_state(region, YAB_STATE_COMPLETE);
		spin_unlock(&region->lock);
	}
	return fresh;
}

static bool yab_region_is_answered(void *arg, u64 page)
{
	struct yab_region *region = arg;

	return yab_pagemap_is_present(&region->pagemap, page) || yab_region_is_hopeless(region);
}

/* Sleeps until @page is present (or hopeless): true. False if a signal came first. */
bool yab_region_wait(struct yab_region *region, u64 page, unsigned int task_state)
{
	return yab_waiters_sleep(&region->waiters, page, task_state,
				 yab_region_is_answered, region);
}

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct yab_region *region = container_of(dev, struct yab_region, dev);

	return sysfs_emit(buf, "%s\n", yab_region_state_names[yab_region_state(region)]);
}
static DEVICE_ATTR_RO(state);

static ssize_t pages_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct yab_region *region = container_of(dev, struct yab_region, dev);

	return sysfs_emit(buf, "%llu\n", region->pagemap.pages);
}
static DEVICE_ATTR_RO(pages);

static ssize_t present_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct yab_region *region = container_of(dev, struct yab_region, dev);

	return sysfs_emit(buf, "%lld\n", atomic64_read(&region->pagemap.present_count));
}
static DEVICE_ATTR_RO(present);

static ssize_t faults_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct yab_region *region = container_of(dev, struct yab_region, dev);

	return sysfs_emit(buf, "%llu\n", yab_queue_total(&region->queue));
}
static DEVICE_ATTR_RO(faults);

static struct attribute *yab_region_attrs[] = {
	&dev_attr_state.attr,
	&dev_attr_pages.attr,
	&dev_attr_present.attr,
	&dev_attr_faults.attr,
	NULL,
};
ATTRIBUTE_GROUPS(yab_region);

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

static void yab_region_release(struct device *dev)
{
	struct yab_region *region = container_of(dev, struct yab_region, dev);

	ida_free(&yab_region_minors, MINOR(dev->devt));
	fput(region->shadow);
	fput(region->memory);
	yab_queue_destroy(&region->queue);
	yab_waiters_destroy(&region->waiters);
	yab_pagemap_destroy(&region->pagemap);
	kfree(region);
}

static const struct device_type yab_region_type = {
	.name = "yabusame",
	.groups = yab_region_groups,
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
	ret = yab_queue_init(&region->queue);
	if (ret)
		goto err_destroy_waiters;
	region->shadow = yab_memory_shadow(params->memory);
	if (IS_ERR(region->shadow)) {
		ret = PTR_ERR(region->shadow);
		goto err_destroy_queue;
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
	spin_lock_init(&region->lock);

	device_initialize(&region->dev);
	region->dev.class = &yab_region_class;
	region->dev.type = &yab_region_type;
	region->dev.devt = MKDEV(MAJOR(yab_region_devt), minor);
	cdev_init(&region->cdev, &yab_node_fops);
	region->cdev.owner = THIS_MODULE;
	ret = dev_set_name(&region->dev, "%s", params->name);
	if (ret)
		goto err_put_device;

	mutex_lock(&yab_region_table_lock);
	ret = -EEXIST;
	if (yab_region_find(params->name))
		goto err_unlock;
	ret = cdev_device_add(&region->cdev, &region->dev);
	if (ret)
		goto err_unlock;
	list_add_tail(&region->link, &yab_region_table);
	mutex_unlock(&yab_region_table_lock);
	return region;

err_unlock:
	mutex_unlock(&yab_region_table_lock);
err_put_device:
	put_device(&region->dev); /* yab_region_release() undoes all the rest */
	return ERR_PTR(ret);
err_put_shadow:
	fput(region->shadow);
err_destroy_queue:
	yab_queue_destroy(&region->queue);
err_destroy_waiters:
	yab_waiters_destroy(&region->waiters);
err_destroy_pagemap:
	yab_pagemap_destroy(&region->pagemap);
err_free_region:
	kfree(region);
	return ERR_PTR(ret);
}

/* A further user. Fails if the last one has left while the node was opened. */
int yab_region_get(struct yab_region *region)
{
	int ret = -ENXIO;

	mutex_lock(&yab_region_table_lock);
	if (region->users) {
		region->users++;
		get_device(&region->dev);
		ret = 0;
	}
	mutex_unlock(&yab_region_table_lock);
	return ret;
}

/*
 * The name is free again when the node is gone, so both go under the lock.
 * Every caller is a file's release, which the kernel runs outside of mmap locks.
 */
void yab_region_put(struct yab_region *region)
{
	mutex_lock(&yab_region_table_lock);
	if (!--region->users) {
		list_del(&region->link);
		cdev_device_del(&region->cdev, &region->dev);
	}
	mutex_unlock(&yab_region_table_lock);
	put_device(&region->dev);
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
