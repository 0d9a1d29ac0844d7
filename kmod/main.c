// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>

#include "control.h"
#include "region.h"

static int __init yab_init(void)
{
	int ret;

	ret = yab_region_init();
	if (ret)
		return ret;
	ret = yab_control_init();
	if (ret)
		goto err_region_exit;
	return 0;

err_region_exit:
	yab_region_exit();
	return ret;
}

/* No file of ours is open and nothing is mapped, or the module would be in use. */
static void __exit yab_exit(void)
{
	yab_control_exit();
	yab_region_exit();
}

module_init(yab_init);
module_exit(yab_exit);

MODULE_DESCRIPTION("Memory regions that a process fills in when they are touched");
MODULE_AUTHOR("The yabusame developers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1");
