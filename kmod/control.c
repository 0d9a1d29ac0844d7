// SPDX-License-Identifier: GPL-2.0
/* /dev/yabusame/control: makes regions. Whoever may open it may do so. */
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "argument.h"
#include "control.h"
#include "memory.h"
#include "pager.h"
#include "region.h"

#define YAB_CONTROL_NAME	"control"

static long yab_control_info(void __user *arg, size_t size)
{
	struct yab_info info = {
		.version = YAB_ABI_VERSION,
		.page_size = PAGE_SIZE,
		.features = YAB_FEATURES,
	};

	return yab_argument_answer(arg, size, &info, sizeof(info));
}

/* The name becomes that of a file in /dev and in sysfs. */
static bool yab_control_name_ok(const char name[YAB_NAME_SIZE])
{
	size_t length = strnlen(name, YAB_NAME_SIZE);
	size_t i;

	if (!length || length == YAB_NAME_SIZE || name[0] == '.' ||
	    !strcmp(name, YAB_CONTROL_NAME))
		return false;
	for (i = 0; i < length; i++)
		if (!isascii(name[i]) || (!isalnum(name[i]) && !strchr("._-", name[i])))
			return false;
	return !memchr_inv(name + length, 0, YAB_NAME_SIZE - length);
}

static long yab_control_create(void __user *arg, size_t size)
{
	struct yab_region_params params;
	struct yab_create create;
	struct yab_pager_fd pager;
	struct yab_region *region;
	int ret;

	ret = yab_argument_fetch(&create, sizeof(create), arg, size);
	if (ret)
		return ret;
	params = (struct yab_region_params){
		.name = create.name,
		.size = create.size,
		.mode = create.mode,
		.uid = make_kuid(current_user_ns(), create.uid),
		.gid = make_kgid(current_user_ns(), create.gid),
		.orphan_limit_ms = create.orphan_limit_ms,
		.queues = create.queues ?: 1,
		.keep = create.flags & YAB_CREATE_KEEP,
	};
	if (create.flags & ~YAB_CREATE_KEEP || create.queues > YAB_QUEUES_MAX)
		return -EINVAL;
	if (!create.mode || create.mode & ~0777 || !uid_valid(params.uid) ||
	    !gid_valid(params.gid) || !create.size || create.size & ~PAGE_MASK ||
	    !yab_control_name_ok(create.name))
		return -EINVAL;
	if (create.size >> PAGE_SHIFT > YAB_PAGES_MAX)
		return -EFBIG;

	params.memory = fget(create.memory_fd);
	if (!params.memory)
		return -EBADF;
	ret = yab_memory_check(params.memory, create.size);
	if (!ret)
		ret = yab_pager_prepare(&pager);
	if (ret)
		goto out_put_memory;
	region = yab_region_create(&params);
	if (IS_ERR(region)) {
		yab_pager_cancel(&pager);
		ret = PTR_ERR(region);
		goto out_put_memory;
	}
	ret = yab_pager_install(&pager, region);
out_put_memory:
	fput(params.memory);
	return ret;
}

static long yab_control_attach(const char *name)
{
	struct yab_pager_fd pager;
	struct yab_region *region;
	int ret;

	ret = yab_pager_prepare(&pager);
	if (ret)
		return ret;
	region = yab_region_attach(name);
	if (IS_ERR(region)) {
		yab_pager_cancel(&pager);
		return PTR_ERR(region);
	}
	return yab_pager_install(&pager, region);
}

static long yab_control_target(unsigned int call, void __user *arg, size_t size)
{
	u64 allowed = call == _IOC_NR(YAB_IOC_REMOVE) ? YAB_REMOVE_FORCE : 0;
	struct yab_target target;
	int ret;

	ret = yab_argument_fetch(&target, sizeof(target), arg, size);
	if (ret)
		return ret;
	if (target.flags & ~allowed || !yab_control_name_ok(target.name))
		return -EINVAL;
	switch (call) {
	case _IOC_NR(YAB_IOC_ATTACH):
		return yab_control_attach(target.name);
	case _IOC_NR(YAB_IOC_FAIL):
		return yab_region_fail(target.name);
	default:
		return yab_region_remove(target.name, target.flags & YAB_REMOVE_FORCE);
	}
}

static long yab_control_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	if (_IOC_TYPE(cmd) != YAB_IOC_MAGIC)
		return -ENOTTY;
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(YAB_IOC_INFO):
		return yab_control_info(user, _IOC_SIZE(cmd));
	case _IOC_NR(YAB_IOC_CREATE):
		return yab_control_create(user, _IOC_SIZE(cmd));
	case _IOC_NR(YAB_IOC_ATTACH):
	case _IOC_NR(YAB_IOC_FAIL):
	case _IOC_NR(YAB_IOC_REMOVE):
		return yab_control_target(_IOC_NR(cmd), user, _IOC_SIZE(cmd));
	default:
		return -ENOTTY;
	}
}

static const struct file_operations yab_control_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.unlocked_ioctl = yab_control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice yab_control_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "yabusame",
	.nodename = "yabusame/" YAB_CONTROL_NAME,
	.fops = &yab_control_fops,
	.mode = 0600,
};

int yab_control_init(void)
{
	return misc_register(&yab_control_device);
}

void yab_control_exit(void)
{
	misc_deregister(&yab_control_device);
}
