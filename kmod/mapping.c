// SPDX-License-Identifier: GPL-2.0
/*
 * The trap: a mapping of a node is a mapping of the memory file whose
 * operations ask first whether the page is present.
 *
 * After vma_set_file() the VMA holds the memory file and no region.
 * So vm_private_data holds the node's file, with its own reference a VMA, and
 * that in turn holds the region and the module. Dropping it is an fput(), whose
 * release runs later and outside of all mmap locks.
 *
 * A present page is handed out by shmem's own handlers, and the danger is a huge page
 * in the memory file, which would uncover missing neighbours. Collapsing pages can
 * empty a PMD at any moment, and the next fault may fill it with the huge page. So
 * the fault handler puts a page table there while it holds the page's lock, which
 * collapsing needs, too; and fault-around runs only where the 2 MiB around are wholly
 * present. VM_DONTEXPAND keeps khugepaged and MADV_COLLAPSE from doing it to these
 * mappings directly.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>

#include "compat.h"
#include "mapping.h"
#include "memory.h"
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

	/*
	 * A task that exits or dumps core gets no signal any more (or should not pull
	 * all of a guest's memory for its dump): it does without, as with userfaultfd.
	 */
	if (current->flags & (PF_EXITING | PF_DUMPCORE) || yab_region_is_hopeless(region))
		return VM_FAULT_SIGBUS;

	if (yab_pagemap_want(&region->pagemap, page))
		yab_queue_push(&region->queue, page, yab_mapping_fault_flags(vmf));

	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY)) {
		/*
		 * ptrace and /proc/PID/mem come this way. They have no way to
		 * drop the lock, as for a page that a slow disk has to deliver.
		 */
		if (!yab_region_wait(region, page, TASK_KILLABLE) || yab_region_is_hopeless(region))
			return VM_FAULT_SIGBUS;
		return 0;
	}
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;

	task_state = yab_mapping_task_state(vmf);
	/* In kernel mode there may be locks that others need to freeze. */
	if (vmf->flags & FAULT_FLAG_USER)
		task_state |= TASK_FREEZABLE;
	get_file(node);
	yab_fault_unlock(vmf);
	/* From here on neither vmf->vma nor what it refers to may be there. */
	yab_region_wait(region, page, task_state);
	fput(node);
	return VM_FAULT_RETRY;
}

/*
 * An empty PMD would be filled with the whole huge page that vmf->page may be part of.
 * @ret is what shmem returned; the page is locked, so nobody empties the PMD after this.
 */
static vm_fault_t yab_mapping_add_table(struct vm_fault *vmf, vm_fault_t ret)
{
	/* Without a function to call this only allocates the page table. */
	if (!apply_to_page_range(vmf->vma->vm_mm, vmf->address & PAGE_MASK, PAGE_SIZE, NULL, NULL))
		return ret;
	/* No memory, or emptied before the page was locked: the access is tried again. */
	folio_unlock(page_folio(vmf->page));
	put_page(vmf->page);
	vmf->page = NULL;
	return VM_FAULT_NOPAGE;
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
	ret = yab_mapping_memory_ops(vmf->vma)->fault(vmf);
	if (ret & VM_FAULT_LOCKED && pmd_none(*vmf->pmd))
		ret = yab_mapping_add_table(vmf, ret);
	return ret;
}

/* Fault-around, which may map a huge page: where that uncovers nothing. */
static vm_fault_t yab_mapping_map_pages(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	struct yab_region *region = yab_mapping_region(vmf->vma);
	pgoff_t start = round_down(vmf->pgoff, PTRS_PER_PTE);
	pgoff_t end = min_t(u64, start + PTRS_PER_PTE, region->pagemap.pages);

	if (vmf->pgoff >= end || !yab_pagemap_are_present(&region->pagemap, start, end))
		return 0;
	first = max(first, start);
	last = min(last, end - 1);
	return yab_mapping_memory_ops(vmf->vma)->map_pages(vmf, first, last);
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

	if ((vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE) &&
	    yab_memory_is_write_sealed(region->memory))
		return -EPERM;

	vma_set_file(vma, region->shadow);
	ret = region->memory->f_op->mmap(region->memory, vma);
	if (ret)
		return ret;
	WRITE_ONCE(region->memory_ops, vma->vm_ops);
	vma->vm_ops = &yab_mapping_ops;
	vma->vm_private_data = get_file(node);
	vm_flags_set(vma, VM_DONTEXPAND);
	return 0;
}
