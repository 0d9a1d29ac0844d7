// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: a kernel thread that works in a process's memory, as vhost's does. One
 * job an open file; the file's release waits for the thread, as vhost's does, too.
 */
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "yab_use_mm.h"

struct use_mm {
	struct mutex lock;		/* guards task */
	struct task_struct *task;
	struct mm_struct *mm;
	struct use_mm_job job;
	struct use_mm_result result;
	bool done;			/* result is there; released, acquired */
};

static bool use_mm_work(struct use_mm *use)
{
	void __user *at = u64_to_user_ptr(use->job.address);

	switch (use->job.operation) {
	case USE_MM_READ:
		return !copy_from_user(use->result.data, at, use->job.length);
	case USE_MM_WRITE:
		memset(use->result.data, 'w', use->job.length);
		return !copy_to_user(at, use->result.data, use->job.length);
	default:
		return !get_user(use->result.data[0], (u8 __user *)at);
	}
}

static int use_mm_thread(void *arg)
{
	struct use_mm *use = arg;

	kthread_use_mm(use->mm);
	use->result.error = use_mm_work(use) ? 0 : EFAULT;
	kthread_unuse_mm(use->mm);
	/* The result first: pairs with use_mm_read(). */
	smp_store_release(&use->done, true);
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static int use_mm_start(struct use_mm *use)
{
	struct task_struct *task;

	if (use->task)
		return -EBUSY;
	use->mm = get_task_mm(current);
	if (!use->mm)
		return -EINVAL;
	task = kthread_create(use_mm_thread, use, "yab_use_mm");
	if (IS_ERR(task)) {
		mmput(use->mm);
		return PTR_ERR(task);
	}
	use->task = task;
	wake_up_process(task);
	return 0;
}

static ssize_t use_mm_write(struct file *file, const char __user *from, size_t size, loff_t *offset)
{
	struct use_mm *use = file->private_data;
	struct use_mm_job job;
	int ret = -EBUSY;

	if (size != sizeof(job))
		return -EINVAL;
	if (copy_from_user(&job, from, sizeof(job)))
		return -EFAULT;
	if (!job.length || job.length > USE_MM_LENGTH || job.operation > USE_MM_GET)
		return -EINVAL;
	mutex_lock(&use->lock);
	if (!use->task) {
		use->job = job;
		ret = use_mm_start(use);
	}
	mutex_unlock(&use->lock);
	return ret ?: size;
}

static ssize_t use_mm_read(struct file *file, char __user *to, size_t size, loff_t *offset)
{
	struct use_mm *use = file->private_data;

	if (size != sizeof(use->result))
		return -EINVAL;
	/* Then the result is there: pairs with use_mm_thread(). */
	if (!smp_load_acquire(&use->done))
		return -EAGAIN;
	return copy_to_user(to, &use->result, size) ? -EFAULT : size;
}

static int use_mm_open(struct inode *inode, struct file *file)
{
	struct use_mm *use = kzalloc(sizeof(*use), GFP_KERNEL);

	if (!use)
		return -ENOMEM;
	mutex_init(&use->lock);
	file->private_data = use;
	return nonseekable_open(inode, file);
}

static int use_mm_release(struct inode *inode, struct file *file)
{
	struct use_mm *use = file->private_data;

	if (use->task) {
		kthread_stop(use->task);
		mmput(use->mm);
	}
	kfree(use);
	return 0;
}

static const struct file_operations use_mm_fops = {
	.owner = THIS_MODULE,
	.open = use_mm_open,
	.release = use_mm_release,
	.read = use_mm_read,
	.write = use_mm_write,
};

static struct miscdevice use_mm_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "yab_use_mm",
	.fops = &use_mm_fops,
	.mode = 0600,
};
module_misc_device(use_mm_device);

MODULE_DESCRIPTION("A kernel thread that touches a process's memory, for yabusame's tests");
MODULE_AUTHOR("The yabusame developers");
MODULE_LICENSE("GPL");
