// SPDX-License-Identifier: GPL-2.0
/* The memory file: what it must be, and the file through which VMAs hold it. */
#include <linux/cred.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/shmem_fs.h>
#include <uapi/linux/fcntl.h>

#include "compat.h"
#include "memory.h"

static unsigned int yab_memory_seals(struct file *memory)
{
	return READ_ONCE(SHMEM_I(file_inode(memory))->seals);
}

/*
 * Only shmem has what the trap builds on, and only a file that cannot shrink
 * keeps a present page from turning into a SIGBUS.
 */
int yab_memory_check(struct file *memory, u64 size)
{
	struct inode *inode = file_inode(memory);

	if (!(memory->f_mode & FMODE_READ) || !(memory->f_mode & FMODE_WRITE))
		return -EBADF;
	if (!S_ISREG(inode->i_mode) || inode->i_sb->s_magic != TMPFS_MAGIC)
		return -EMEDIUMTYPE;
	if (!(yab_memory_seals(memory) & F_SEAL_SHRINK))
		return -EPERM;
	if (size > i_size_read(inode))
		return -ERANGE;
	return 0;
}

/* mmap() of the node would not notice: it looks at the node's own file. */
bool yab_memory_is_write_sealed(struct file *memory)
{
	return yab_memory_seals(memory) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

/* A file that is exactly the region, and stays so: no page of it is out of bounds. */
bool yab_memory_is_exact(struct file *memory, u64 size)
{
	return yab_memory_seals(memory) & F_SEAL_GROW && size == i_size_read(file_inode(memory));
}

/* Pages become holes, which read as zero; whoever has them mapped faults again. */
int yab_memory_drop(struct file *memory, u64 page, u64 count)
{
	return vfs_fallocate(memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     page << PAGE_SHIFT, count << PAGE_SHIFT);
}

/*
 * shmem's operations without mmap. remap_file_pages() maps the file of a VMA once
 * more, and from the memory file itself that would be a mapping without the trap.
 */
static struct file_operations yab_memory_fops;
static DEFINE_MUTEX(yab_memory_fops_lock);	/* guards that they are set once */

static const struct file_operations *yab_memory_get_fops(struct file *memory)
{
	mutex_lock(&yab_memory_fops_lock);
	if (!yab_memory_fops.owner) {
		yab_memory_fops = *memory->f_op;
		yab_fops_forbid_mmap(&yab_memory_fops);
		yab_memory_fops.owner = THIS_MODULE;
	}
	mutex_unlock(&yab_memory_fops_lock);
	return &yab_memory_fops;
}

/*
 * Another open file of the memory file, which can be mapped by this module only.
 * It holds the module, like any file with our operations.
 */
struct file *yab_memory_shadow(struct file *memory)
{
	struct file *shadow;

	shadow = dentry_open(&memory->f_path, O_RDWR | O_LARGEFILE, current_cred());
	if (IS_ERR(shadow))
		return shadow;
	__module_get(THIS_MODULE);
	shadow->f_op = yab_memory_get_fops(memory);
	return shadow;
}
