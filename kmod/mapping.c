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
 * in the memory file, which would uncover missing neighbours where an empty PMD is
 * filled with it. Collapsing pages, here or in another mapping, can make a huge page
 * and empty a PMD at any moment. It needs the locks of all pages there, the huge page's
 * included, until it is done. So where not all of the 2 MiB (the extent) are present,
 *
 * - fault-around, which may fill an empty PMD, runs only while a page of the extent is
 *   locked that is not huge: there can be no huge page then;
 * - a page of a huge page is handed out only after its lock was taken and a page
 *   table put into the PMD; the lock is kept until it is mapped. Where the kernel would
 *   map all of a large folio into the page table, too, the handler maps the one page;
 * - VM_DONTEXPAND keeps khugepaged and MADV_COLLAPSE from installing a huge page in these
 *   mappings directly. Complete regions need none of this.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>

#include "compat.h"
#include "mapping.h"
#include "memory.h"
#include "region.h"

/* Pages that one fault maps at most where not all is present: as the kernel's default. */
#define YAB_MAPPING_AROUND	16

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
	struct yab_waiter waiter = {
		.page = vmf->pgoff,
		.mm = vmf->vma->vm_mm,
		.address = vmf->address,
		.since_ns = ktime_get_ns(),
	};
	unsigned int task_state;
	vm_fault_t ret;

	/*
	 * A task that exits or dumps core gets no signal any more (or should not pull
	 * all of a guest's memory for its dump): it does without, as with userfaultfd.
	 */
	if (current->flags & (PF_EXITING | PF_DUMPCORE))
		return VM_FAULT_SIGBUS;
	ret = yab_region_refusal(region, waiter.page);
	if (ret)
		return ret;

	yab_region_want(region, waiter.page, yab_mapping_fault_flags(vmf), waiter.since_ns);

	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY)) {
		/*
		 * ptrace and /proc/PID/mem come this way. They have no way to
		 * drop the lock, as for a page that a slow disk has to deliver.
		 */
		yab_waiters_enter(&region->waiters, &waiter);
		if (!yab_region_wait(region, &waiter, TASK_KILLABLE))
			return VM_FAULT_SIGBUS;
		if (yab_pagemap_is_present(&region->pagemap, waiter.page))
			return 0;
		return yab_region_refusal(region, waiter.page) ?: VM_FAULT_SIGBUS;
	}
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;

	task_state = yab_mapping_task_state(vmf);
	/* In kernel mode there may be locks that others need to freeze. */
	if (vmf->flags & FAULT_FLAG_USER)
		task_state |= TASK_FREEZABLE;
	get_file(node);
	yab_waiters_enter(&region->waiters, &waiter);
	yab_fault_unlock(vmf);
	/* From here on neither vmf->vma nor what it refers to may be there. */
	yab_region_wait(region, &waiter, task_state);
	fput(node);
	/* Major, as for a page from a disk: the next try knows that it is not the first. */
	return VM_FAULT_RETRY | VM_FAULT_MAJOR;
}

static bool yab_mapping_is_tracked(const struct vm_area_struct *vma)
{
	return vma->vm_ops->page_mkwrite;
}

/* A huge folio's pages are those of an extent. */
static bool yab_mapping_folio_is_present(const struct yab_region *region, struct folio *folio)
{
	pgoff_t end = min_t(u64, folio_next_index(folio), region->pagemap.pages);

	return yab_pagemap_are_present(&region->pagemap, folio->index, end);
}

/*
 * Puts a page table into an empty PMD, which would be filled with the whole huge page that
 * @vmf->page may be part of. 0, and as the page is locked collapsing does not empty the
 * PMD after this. (MADV_DONTNEED can, where the kernel reclaims page tables: there, from 6.17
 * on, the page is mapped without looking at the PMD again.)
 *
 * VM_FAULT_NOPAGE if there is a huge page already (for reading, of a page that is tracked): it
 * can go at any moment, without a lock of ours, and is split by trying again.
 */
static vm_fault_t yab_mapping_add_table(struct vm_fault *vmf)
{
	pmd_t pmd = READ_ONCE(*vmf->pmd);

	if (!pmd_none(pmd))
		return pmd_leaf(pmd) ? VM_FAULT_NOPAGE : 0;
	/* Without a function to call this only allocates the page table. */
	switch (apply_to_page_range(vmf->vma->vm_mm, vmf->address & PAGE_MASK, PAGE_SIZE, NULL,
				    NULL)) {
	case 0:
		return 0;
	case -ENOMEM:
		return VM_FAULT_OOM;
	default:
		return VM_FAULT_NOPAGE;
	}
}

/* What becomes of a fault that does without the page that shmem has locked for it. */
static vm_fault_t yab_mapping_drop_page(struct vm_fault *vmf, vm_fault_t ret)
{
	folio_unlock(page_folio(vmf->page));
	put_page(vmf->page);
	vmf->page = NULL;
	return ret;
}

/*
 * Maps the present neighbours of @vmf->page, as do_fault_around() would, in a window that
 * keeps to the VMA and to the page table. The page is locked and not huge.
 */
static void yab_mapping_around(struct vm_fault *vmf, struct yab_region *region)
{
	const struct yab_pagemap *map = &region->pagemap;
	struct vm_area_struct *vma = vmf->vma;
	pgoff_t page = vmf->pgoff, first, last, lowest, highest;
	pgoff_t slot = pte_index(vmf->address);

	lowest = max(page - min(page, slot % YAB_MAPPING_AROUND), vma->vm_pgoff);
	highest = min(page + YAB_MAPPING_AROUND - 1 - slot % YAB_MAPPING_AROUND,
		      vma->vm_pgoff + vma_pages(vma) - 1);
	highest = min_t(u64, highest, map->pages - 1);
	for (first = page; first > lowest; first--)
		if (!yab_pagemap_is_present(map, first - 1))
			break;
	for (last = page; last < highest; last++)
		if (!yab_pagemap_is_present(map, last + 1))
			break;
	if (first == last || yab_mapping_add_table(vmf))
		return;
	yab_fault_map_around(vmf, yab_mapping_memory_ops(vma), first, last);
}

static vm_fault_t yab_mapping_fault(struct vm_fault *vmf)
{
	struct yab_region *region = yab_mapping_region(vmf->vma);
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	vm_fault_t ret, no_table;

	if (unlikely(vmf->pgoff >= region->pagemap.pages))
		return VM_FAULT_SIGBUS;
	if (!yab_pagemap_is_present(&region->pagemap, vmf->pgoff)) {
		ret = yab_mapping_wait(vmf, region);
		if (ret)
			return ret;
	}
	ret = yab_mapping_memory_ops(vmf->vma)->fault(vmf);
	if (!(ret & VM_FAULT_LOCKED))
		return ret;
	if (!yab_folio_comes_whole(page_folio(vmf->page))) {
		/* Who has waited comes after its neighbours, which are mapped, or before them. */
		if (!write && !(vmf->flags & FAULT_FLAG_TRIED))
			yab_mapping_around(vmf, region);
		return ret;
	}
	/* Of a folio that is tracked only what is written may become writable. */
	if (yab_mapping_folio_is_present(region, page_folio(vmf->page)) &&
	    !(write && yab_mapping_is_tracked(vmf->vma)))
		return ret;
	no_table = yab_mapping_add_table(vmf);
	if (no_table)
		return yab_mapping_drop_page(vmf, no_table);
	return yab_fault_map_alone(vmf) ? yab_mapping_drop_page(vmf, VM_FAULT_NOPAGE) : ret;
}

/* Fault-around, which may map a huge page: where that uncovers nothing. */
static vm_fault_t yab_mapping_map_pages(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	struct yab_region *region = yab_mapping_region(vmf->vma);
	pgoff_t start = round_down(vmf->pgoff, PTRS_PER_PTE);
	pgoff_t end = min_t(u64, start + PTRS_PER_PTE, region->pagemap.pages);

	if (vmf->pgoff >= end || !yab_pagemap_is_present(&region->pagemap, vmf->pgoff) ||
	    !yab_pagemap_are_present(&region->pagemap, start, end))
		return 0;
	first = max(first, start);
	last = min(last, end - 1);
	return yab_mapping_memory_ops(vmf->vma)->map_pages(vmf, first, last);
}

/* The first write since the page was mapped or last asked about (see tracking.c). */
static vm_fault_t yab_mapping_page_mkwrite(struct vm_fault *vmf)
{
	struct yab_region *region = yab_mapping_region(vmf->vma);
	struct folio *folio = page_folio(vmf->page);
	vm_fault_t ret = 0;

	folio_lock(folio);
	if (folio->mapping != region->memory->f_mapping)
		ret = VM_FAULT_NOPAGE;
	else if (yab_folio_is_huge(folio))
		ret = yab_mapping_add_table(vmf);
	if (ret) {
		folio_unlock(folio);
		return ret;
	}
	yab_pagemap_mark(&region->pagemap, vmf->pgoff);
	return VM_FAULT_LOCKED;
}

static void yab_mapping_count(struct yab_region *region, int change)
{
	spin_lock(&region->lock);
	WRITE_ONCE(region->mappings, region->mappings + change);
	spin_unlock(&region->lock);
}

static void yab_mapping_open(struct vm_area_struct *vma)
{
	get_file((struct file *)vma->vm_private_data);
	yab_mapping_count(yab_mapping_region(vma), 1);
}

static void yab_mapping_close(struct vm_area_struct *vma)
{
	struct yab_region *region = yab_mapping_region(vma);

	/* Tasks that wait here would wait for a page that they can no longer reach. */
	yab_waiters_release(&region->waiters, vma->vm_mm, vma->vm_start, vma->vm_end);
	yab_mapping_count(region, -1);
	fput(vma->vm_private_data);
}

#ifdef CONFIG_NUMA
/* The policy belongs to the memory file, and so it rules what the pager allocates. */
static int yab_mapping_set_policy(struct vm_area_struct *vma, struct mempolicy *policy)
{
	return yab_mapping_memory_ops(vma)->set_policy(vma, policy);
}

YAB_DEFINE_GET_POLICY(yab_mapping_get_policy, yab_mapping_memory_ops)

#define YAB_MAPPING_POLICY					\
	.set_policy = yab_mapping_set_policy,			\
	.get_policy = yab_mapping_get_policy,
#else
#define YAB_MAPPING_POLICY
#endif

static const struct vm_operations_struct yab_mapping_ops = {
	.open = yab_mapping_open,
	.close = yab_mapping_close,
	.fault = yab_mapping_fault,
	.map_pages = yab_mapping_map_pages,
	YAB_MAPPING_POLICY
};

/* The kernel maps pages read-only at first where there is a page_mkwrite(). */
static const struct vm_operations_struct yab_mapping_tracked_ops = {
	.open = yab_mapping_open,
	.close = yab_mapping_close,
	.fault = yab_mapping_fault,
	.map_pages = yab_mapping_map_pages,
	.page_mkwrite = yab_mapping_page_mkwrite,
	YAB_MAPPING_POLICY
};

bool yab_mapping_is_of(const struct vm_area_struct *vma, const struct yab_region *region)
{
	const struct vm_operations_struct *ops = READ_ONCE(vma->vm_ops);

	return (ops == &yab_mapping_ops || ops == &yab_mapping_tracked_ops) &&
	       yab_mapping_region(vma) == region;
}

/* What mappings of @region have at the moment. */
static const struct vm_operations_struct *yab_mapping_wanted_ops(const struct yab_region *region)
{
	return READ_ONCE(region->tracking) == YAB_TRACKING_OFF ? &yab_mapping_ops :
								 &yab_mapping_tracked_ops;
}

/* Nor could a mapping grow beyond the region while VM_DONTEXPAND is set. */
static unsigned long yab_mapping_wanted_flags(const struct yab_region *region)
{
	return yab_region_state(region) == YAB_STATE_COMPLETE &&
	       yab_memory_is_exact(region->memory, region->size) ? 0 : VM_DONTEXPAND;
}

/* Is it as mappings of its region have to be at the moment? */
bool yab_mapping_is_current(const struct vm_area_struct *vma)
{
	const struct yab_region *region = yab_mapping_region(vma);

	return READ_ONCE(vma->vm_ops) == yab_mapping_wanted_ops(region) &&
	       /* Without its lock, but nobody else changes this one. data_race() says so. */
	       (data_race(vma->vm_flags) & VM_DONTEXPAND) == yab_mapping_wanted_flags(region);
}

/* Makes it so. The caller holds the mmap lock for writing. */
void yab_mapping_update(struct vm_area_struct *vma)
{
	const struct yab_region *region = yab_mapping_region(vma);
	unsigned long prot_flags;

	mmap_assert_write_locked(vma->vm_mm);
	/* This also ends the faults that hold only the VMA's own lock. */
	if (yab_mapping_wanted_flags(region))
		vm_flags_set(vma, VM_DONTEXPAND);
	else
		vm_flags_clear(vma, VM_DONTEXPAND);
	WRITE_ONCE(vma->vm_ops, yab_mapping_wanted_ops(region));

	/* As vma_set_page_prot() does it, which modules cannot call. */
	prot_flags = vma->vm_flags;
	if ((prot_flags & (VM_SHARED | VM_WRITE)) == (VM_SHARED | VM_WRITE) &&
	    (yab_mapping_is_tracked(vma) ||
	     (IS_ENABLED(CONFIG_MEM_SOFT_DIRTY) && !(prot_flags & VM_SOFTDIRTY))))
		prot_flags &= ~VM_SHARED;
	WRITE_ONCE(vma->vm_page_prot, vm_get_page_prot(prot_flags));
}

int yab_mapping_mmap(struct file *node, struct vm_area_struct *vma)
{
	struct yab_region *region = node->private_data;
	int ret;

	if (!yab_pagemap_has(&region->pagemap, vma->vm_pgoff, vma_pages(vma)))
		return -ENXIO;

	if ((vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE) &&
	    yab_memory_is_write_sealed(region->memory))
		return -EPERM;

	/* Counted first: yab_mappings_update() knows by that of a mapping it cannot find yet. */
	spin_lock(&region->lock);
	if (region->removed) {
		spin_unlock(&region->lock);
		return -ENXIO;
	}
	WRITE_ONCE(region->mappings, region->mappings + 1);
	spin_unlock(&region->lock);

	vma_set_file(vma, region->shadow);
	ret = yab_file_mmap(region->memory, vma);
	if (ret) {
		yab_mapping_count(region, -1);
		return ret;
	}
	WRITE_ONCE(region->memory_ops, vma->vm_ops);
	vma->vm_ops = yab_mapping_wanted_ops(region);
	vma->vm_private_data = get_file(node);
	vm_flags_set(vma, yab_mapping_wanted_flags(region));
	return 0;
}
