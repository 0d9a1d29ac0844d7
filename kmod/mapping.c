// SPDX-License-Identifier: GPL-2.0
/*
 * The trap: a mapping of a node is a mapping of the memory file whose
 * operations ask first whether the page is present.
 *
 * After vma_set_file() the VMA holds the memory file and nothing of this module.
 * So vm_private_data holds the node's file, with its own reference a VMA, and
 * that in turn holds the region and the module. Dropping it is an fput(), whose
 * release runs later and outside of all mmap locks.
 *
 * A present page is handed out by shmem's own handlers, one page table entry at
 * a time and never as a huge page: a huge page would uncover its missing
 * neighbours. Three things see to that. VM_DONTEXPAND keeps khugepaged and
 * MADV_COLLAPSE away from these mappings. A page table is put in place
 * before shmem's fault handler runs, since only an empty PMD is filled with a
 * huge page. And fault-around, which could fill one too, waits until the page table is
 * there.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "compat.h"
#include "mapping.h"
#include "region.h"

static struct yab_region *yab_mapping_region(const struct vm_area_struct *vma)
{
	const struct file *node = vma->vm_private_data;

	return node->private_data;
}

/* shmem's, as they would be without the trap. */
static const struct vm_operations_struct *yab_mapping_memory_ops(const struct vm_area_struct *vma)
{
	return READ_ONCE(yab_mapping_region(vma)->memory_ops);
}

static u32 yab_mapping_fault_flags(const struct vm_fault *vmf)
{
	u32 flags = 0;

	if (vmf->flags & FAULT_FLAG_WRITE)
		flags |= YAB_FAULT_WRITE;
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		flags |= YAB_FAULT_NOWAIT;
	return flags;
}

/*
 * Which signals end the wait. An access by the kernel itself (copy_to_user())
 * cannot be broken off by a mere signal: it would fault again at once, round and
 * round. The first wait may still be interrupted, since get_user_pages() on
 * behalf of KVM looks the same and can be broken off.
 */
static unsigned int yab_mapping_task_state(const struct vm_fault *vmf)
{
	bool user = vmf->flags & FAULT_FLAG_USER;
	bool tried = vmf->flags & FAULT_FLAG_TRIED;

	if (vmf->flags & FAULT_FLAG_INTERRUPTIBLE && (user || !tried))
		return TASK_INTERRUPTIBLE;
	if (vmf->flags & FAULT_FLAG_KILLABLE)
		return TASK_KILLABLE;
	return TASK_UNINTERRUPTIBLE;
}

/*
 * Waits for a missing page. 0: it has come, and the lock is still held. Else what
 * the fault handler has to return; with VM_FAULT_RETRY the lock has been
 * dropped, unless the caller asked not to wait.
 */
static vm_fault_t yab_mapping_wait(struct vm_fault *vmf, struct yab_region *region)
{
	struct file *node = vmf->vma->vm_private_data;
	pgoff_t page = vmf->pgoff;
	unsigned int task_state;

	if (yab_pagemap_want(&region->pagemap, page))
		yab_queue_push(&region->queue, page, yab_mapping_fault_flags(vmf));

	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY)) {
		/*
		 * ptrace and /proc/PID/mem come this way. They have no way to
		 * drop the lock, as for a page that a slow disk has to deliver.
		 */
		return yab_region_wait(region, page, TASK_KILLABLE) ? 0 : VM_FAULT_SIGBUS;
	}
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;

	task_state = yab_mapping_task_state(vmf) | TASK_FREEZABLE;
	get_file(node);
	yab_fault_unlock(vmf);
	/* From here on neither vmf->vma nor what it refers to may be there. */
	yab_region_wait(region, page, task_state);
	fput(node);
	return VM_FAULT_RETRY;
}

static vm_fault_t yab_mapping_fault(struct vm_fault *vmf)
{
	struct yab_region *region = yab_mapping_region(vmf->vma);
	vm_fault_t ret;

	if (unlikely(vmf->pgoff >= region->pagemap.pages))
		return VM_FAULT_SIGBUS;
	if (!yab_pagemap_is_present(&region->pagemap, vmf->pgoff)) {
		ret = yab_mapping_wait(vmf, region);
		if (ret)
			return ret;
	}
	/* Without a function to call this only allocates the page table. */
	if (pmd_none(*vmf->pmd) &&
	    apply_to_page_range(vmf->vma->vm_mm, vmf->address & PAGE_MASK, PAGE_SIZE, NULL, NULL))
		return VM_FAULT_OOM;
	return yab_mapping_memory_ops(vmf->vma)->fault(vmf);
}

static vm_fault_t yab_mapping_map_pages(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	struct yab_region *region = yab_mapping_region(vmf->vma);
	u64 start = first, end = last;

	if (pmd_none(*vmf->pmd) || vmf->pgoff >= region->pagemap.pages ||
	    !yab_pagemap_is_present(&region->pagemap, vmf->pgoff))
		return 0;
	yab_pagemap_clip(&region->pagemap, vmf->pgoff, &start, &end);
	return yab_mapping_memory_ops(vmf->vma)->map_pages(vmf, start, end);
}

static void yab_mapping_open(struct vm_area_struct *vma)
{
	get_file((struct file *)vma->vm_private_data);
}

static void yab_mapping_close(struct vm_area_struct *vma)
{
	fput(vma->vm_private_data);
}

#ifdef CONFIG_NUMA
/* The policy belongs to the memory file, and so it rules what the pager allocates. */
static int yab_mapping_set_policy(struct vm_area_struct *vma, struct mempolicy *policy)
{
	return yab_mapping_memory_ops(vma)->set_policy(vma, policy);
}

YAB_DEFINE_GET_POLICY(yab_mapping_get_policy, yab_mapping_memory_ops)
#endif

static const struct vm_operations_struct yab_mapping_ops = {
	.open = yab_mapping_open,
	.close = yab_mapping_close,
	.fault = yab_mapping_fault,
	.map_pages = yab_mapping_map_pages,
#ifdef CONFIG_NUMA
	.set_policy = yab_mapping_set_policy,
	.get_policy = yab_mapping_get_policy,
#endif
};

int yab_mapping_mmap(struct file *node, struct vm_area_struct *vma)
{
	struct yab_region *region = node->private_data;
	u64 first = vma->vm_pgoff;
	int ret;

	if (first >= region->pagemap.pages || vma_pages(vma) > region->pagemap.pages - first)
		return -ENXIO;

	vma_set_file(vma, region->memory);
	ret = region->memory->f_op->mmap(region->memory, vma);
	if (ret)
		return ret;
	WRITE_ONCE(region->memory_ops, vma->vm_ops);
	vma->vm_ops = &yab_mapping_ops;
	vma->vm_private_data = get_file(node);
	vm_flags_set(vma, VM_DONTEXPAND);
	return 0;
}
