// SPDX-License-Identifier: GPL-2.0
/* The pager's file: read() gives faults, ioctl() declares pages. */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "pager.h"
#include "region.h"

/* Ranges that are taken over from user space in one copy; bounded by the stack. */
#define YAB_PAGER_BATCH		16

/* Pages that are declared before others may run: a quarter of a million atomics at most. */
#define YAB_PAGER_STRETCH	BIT_ULL(24)

static ssize_t yab_pager_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	struct yab_fault __user *faults = (struct yab_fault __user *)buffer;
	struct yab_region *region = file->private_data;
	size_t count = size / sizeof(*faults);
	ssize_t n;
	int ret;

	if (!count)
		return -EINVAL;
	for (;;) {
		n = yab_queue_read(&region->queue, &region->pagemap, faults, count);
		if (n)
			return n < 0 ? n : n * sizeof(*faults);
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		/* A repeat that a signal has stopped still counts as something to read. */
		if (signal_pending(current))
			return -ERESTARTSYS;
		ret = wait_event_interruptible(region->queue.readers,
					       yab_queue_has_some(&region->queue));
		if (ret)
			return ret;
	}
}

static __poll_t yab_pager_poll(struct file *file, poll_table *wait)
{
	struct yab_region *region = file->private_data;

	poll_wait(file, &region->queue.readers, wait);
	return yab_queue_has_some(&region->queue) ? EPOLLIN | EPOLLRDNORM : 0;
}

static int yab_pager_check_range(const struct yab_region *region, const struct yab_range *range)
{
	u64 pages = region->pagemap.pages;

	if (range->state != YAB_RANGE_PRESENT || range->reserved)
		return -EINVAL;
	if (!range->count || range->page >= pages || range->count > pages - range->page)
		return -ERANGE;
	return 0;
}

/* A long range takes its time: others get theirs, and the caller can be killed. */
static int yab_pager_apply(struct yab_region *region, struct yab_range *range)
{
	u64 page = range->page, left = range->count;

	range->fresh = 0;
	while (left) {
		u64 count = min(left, YAB_PAGER_STRETCH);

		if (fatal_signal_pending(current))
			return -EINTR;
		range->fresh += yab_region_declare(region, page, count);
		page += count;
		left -= count;
		cond_resched();
	}
	return 0;
}

/*
 * Goes through the caller's array a batch at a time, so that nothing is
 * allocated while somebody waits for these pages. Called twice: to check the whole
 * array and to apply it. The second time checks again, because the caller
 * may have changed the array meanwhile.
 */
static int yab_pager_walk(struct yab_region *region, struct yab_range __user *from, u32 count,
			  bool apply)
{
	struct yab_range ranges[YAB_PAGER_BATCH];

	while (count) {
		u32 batch = min_t(u32, count, YAB_PAGER_BATCH);
		u32 i;

		if (copy_from_user(ranges, from, batch * sizeof(*ranges)))
			return -EFAULT;
		for (i = 0; i < batch; i++) {
			int ret = yab_pager_check_range(region, &ranges[i]);

			if (!ret && apply)
				ret = yab_pager_apply(region, &ranges[i]);
			if (ret)
				return ret;
		}
		if (apply && copy_to_user(from, ranges, batch * sizeof(*ranges)))
			return -EFAULT;
		from += batch;
		count -= batch;
	}
	return 0;
}

static long yab_pager_declare(struct yab_region *region, void __user *arg, size_t size)
{
	struct yab_range __user *ranges;
	struct yab_declare declare;
	int ret;

	if (size < sizeof(declare))
		return -EINVAL;
	ret = copy_struct_from_user(&declare, sizeof(declare), arg, size);
	if (ret)
		return ret;
	if (declare.flags || !declare.count || declare.count > YAB_RANGES_MAX)
		return -EINVAL;
	ranges = u64_to_user_ptr(declare.ranges);
	ret = yab_pager_walk(region, ranges, declare.count, false);
	if (ret)
		return ret;
	return yab_pager_walk(region, ranges, declare.count, true);
}

static long yab_pager_status(struct yab_region *region, void __user *arg, size_t size)
{
	struct yab_status status = {
		.pages = region->pagemap.pages,
		.present = atomic64_read(&region->pagemap.present_count),
		.faults = yab_queue_total(&region->queue),
		.state = yab_region_state(region),
	};

	if (size < sizeof(status))
		return -EINVAL;
	if (copy_to_user(arg, &status, sizeof(status)) ||
	    clear_user(arg + sizeof(status), size - sizeof(status)))
		return -EFAULT;
	return 0;
}

static long yab_pager_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct yab_region *region = file->private_data;
	void __user *user = (void __user *)arg;

	if (_IOC_TYPE(cmd) != YAB_IOC_MAGIC)
		return -ENOTTY;
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(YAB_IOC_DECLARE):
		return yab_pager_declare(region, user, _IOC_SIZE(cmd));
	case _IOC_NR(YAB_IOC_STATUS):
		return yab_pager_status(region, user, _IOC_SIZE(cmd));
	default:
		return -ENOTTY;
	}
}

static int yab_pager_release(struct inode *inode, struct file *file)
{
	struct yab_region *region = file->private_data;

	yab_region_orphan(region);
	yab_region_put(region);
	return 0;
}

static const struct file_operations yab_pager_fops = {
	.owner = THIS_MODULE,
	.read = yab_pager_read,
	.poll = yab_pager_poll,
	.unlocked_ioctl = yab_pager_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = yab_pager_release,
	.llseek = noop_llseek,
};

/* Takes over the caller's use of @region; on failure it stays the caller's. */
struct file *yab_pager_file(struct yab_region *region)
{
	return anon_inode_getfile("[yabusame]", &yab_pager_fops, region, O_RDWR | O_CLOEXEC);
}
