// SPDX-License-Identifier: GPL-2.0
/* /dev/yabusame/NAME: what a VMM opens and maps. */
#include <linux/mm.h>
#include <linux/module.h>

#include "mapping.h"
#include "node.h"
#include "region.h"

static int yab_node_open(struct inode *inode, struct file *file)
{
	struct yab_region *region = container_of(inode->i_cdev, struct yab_region, cdev);

	file->private_data = region;
	return yab_region_get(region);
}

static int yab_node_release(struct inode *inode, struct file *file)
{
	yab_region_put(file->private_data);
	return 0;
}

/* SEEK_END tells the size, which is how QEMU asks for it. */
static loff_t yab_node_llseek(struct file *file, loff_t offset, int whence)
{
	struct yab_region *region = file->private_data;

	return fixed_size_llseek(file, offset, whence, region->size);
}

const struct file_operations yab_node_fops = {
	.owner = THIS_MODULE,
	.open = yab_node_open,
	.release = yab_node_release,
	.llseek = yab_node_llseek,
	.mmap = yab_mapping_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
};
