// SPDX-License-Identifier: GPL-2.0
/*
 * The pager's files. The pager fd takes all calls and reads queue 0. Further ones each read
 * one queue, and hold the first: the pager is gone when the last of them is.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/poll.h>

#include "argument.h"
#include "bitmap.h"
#include "declare.h"
#include "pager.h"
#include "region.h"
#include "tracking.h"

static ssize_t yab_pager_read_queue(struct file *file, struct yab_region *region,
				    struct yab_queue *queue, char __user *buffer, size_t size)
{
	struct yab_fault __user *faults = (struct yab_fault __user *)buffer;
	size_t count = size / sizeof(*faults);
	ssize_t n;

	if (!count)
		return -EINVAL;
	n = yab_queue_read(queue, &region->pagemap, faults, count, !(file->f_flags & O_NONBLOCK));
	return n < 0 ? n : n * sizeof(*faults);
}

static __poll_t yab_pager_poll_queue(struct file *file, struct yab_queue *queue, poll_table *wait)
{
	poll_wait(file, &queue->readers, wait);
	return yab_queue_poll(queue);
}

/* What the private data of a queue's file is. */
struct yab_pager_queue {
	struct file *pager;		/* holds the region */
	struct yab_queue *queue;
};

static ssize_t yab_pager_queue_read(struct file *file, char __user *buffer, size_t size,
				    loff_t *offset)
{
	struct yab_pager_queue *this = file->private_data;

	return yab_pager_read_queue(file, this->pager->private_data, this->queue, buffer, size);
}

static __poll_t yab_pager_queue_poll(struct file *file, poll_table *wait)
{
	struct yab_pager_queue *this = file->private_data;

	return yab_pager_poll_queue(file, this->queue, wait);
}

static int yab_pager_queue_release(struct inode *inode, struct file *file)
{
	struct yab_pager_queue *this = file->private_data;

	fput(this->pager);
	kfree(this);
	return 0;
}

static const struct file_operations yab_pager_queue_fops = {
	.owner = THIS_MODULE,
	.read = yab_pager_queue_read,
	.poll = yab_pager_queue_poll,
	.release = yab_pager_queue_release,
	.llseek = noop_llseek,
};

static long yab_pager_open_queue(struct file *pager, void __user *arg, size_t size)
{
	struct yab_region *region = pager->private_data;
	struct yab_queue_select select;
	struct yab_pager_queue *this;
	int ret;

	ret = yab_argument_fetch(&select, sizeof(select), arg, size);
	if (ret)
		return ret;
	if (select.flags || select.index >= region->queue_count)
		return -EINVAL;
	this = kmalloc(sizeof(*this), GFP_KERNEL_ACCOUNT);
	if (!this)
		return -ENOMEM;
	*this = (struct yab_pager_queue){
		.pager = get_file(pager),
		.queue = &region->queues[select.index],
	};
	ret = anon_inode_getfd("[yabusame-queue]", &yab_pager_queue_fops, this,
			       O_RDWR | O_CLOEXEC);
	if (ret < 0) {
		fput(this->pager);
		kfree(this);
	}
	return ret;
}

static long yab_pager_open_memory(struct yab_region *region)
{
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd >= 0)
		fd_install(fd, get_file(region->memory));
	return fd;
}

static ssize_t yab_pager_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	struct yab_region *region = file->private_data;

	return yab_pager_read_queue(file, region, &region->queues[0], buffer, size);
}

static __poll_t yab_pager_poll(struct file *file, poll_table *wait)
{
	struct yab_region *region = file->private_data;

	return yab_pager_poll_queue(file, &region->queues[0], wait);
}

static long yab_pager_status(struct yab_region *region, void __user *arg, size_t size)
{
	struct yab_status status = {
		.pages = region->pagemap.pages,
		.present = atomic64_read(&region->pagemap.present_count),
		.faults = yab_region_faults(region),
		.failed = yab_failed_pages(&region->failed),
		.state = yab_region_state(region),
		.flags = READ_ONCE(region->tracking) == YAB_TRACKING_ON ? YAB_STATUS_TRACKING : 0,
		.queues = region->queue_count,
	};

	return yab_argument_answer(arg, size, &status, sizeof(status));
}

static long yab_pager_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct yab_region *region = file->private_data;
	void __user *user = (void __user *)arg;

	if (_IOC_TYPE(cmd) != YAB_IOC_MAGIC)
		return -ENOTTY;
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(YAB_IOC_DECLARE):
		return yab_declare_ioctl(region, user, _IOC_SIZE(cmd));
	case _IOC_NR(YAB_IOC_STATUS):
		return yab_pager_status(region, user, _IOC_SIZE(cmd));
	case _IOC_NR(YAB_IOC_MEMORY):
		return yab_pager_open_memory(region);
	case _IOC_NR(YAB_IOC_QUEUE):
		return yab_pager_open_queue(file, user, _IOC_SIZE(cmd));
	case _IOC_NR(YAB_IOC_PRESENT):
		return yab_bitmap_ioctl(region, user, _IOC_SIZE(cmd), yab_bitmap_fetch_present);
	case _IOC_NR(YAB_IOC_TRACK):
		return yab_tracking_ioctl(region, user, _IOC_SIZE(cmd));
	case _IOC_NR(YAB_IOC_DIRTY):
		return yab_bitmap_ioctl(region, user, _IOC_SIZE(cmd), yab_tracking_fetch);
	default:
		return -ENOTTY;
	}
}

static int yab_pager_release(struct inode *inode, struct file *file)
{
	struct yab_region *region = file->private_data;

	if (!region)
		return 0; /* cancelled */
	yab_region_detach(region);
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

/*
 * All that can fail comes before there is a region: then yab_pager_install() or
 * yab_pager_cancel().
 */
int yab_pager_prepare(struct yab_pager_fd *pager)
{
	pager->fd = get_unused_fd_flags(O_CLOEXEC);
	if (pager->fd < 0)
		return pager->fd;
	pager->file = anon_inode_getfile("[yabusame]", &yab_pager_fops, NULL, O_RDWR);
	if (IS_ERR(pager->file)) {
		put_unused_fd(pager->fd);
		return PTR_ERR(pager->file);
	}
	return 0;
}

/* Takes over the caller's use of @region. Returns the file descriptor. */
int yab_pager_install(struct yab_pager_fd *pager, struct yab_region *region)
{
	pager->file->private_data = region;
	fd_install(pager->fd, pager->file);
	return pager->fd;
}

void yab_pager_cancel(struct yab_pager_fd *pager)
{
	fput(pager->file);
	put_unused_fd(pager->fd);
}
