/* SPDX-License-Identifier: GPL-2.0 */
/* Everything that differs between the kernels this module builds for. */
#ifndef YAB_COMPAT_H
#define YAB_COMPAT_H

#include <linux/device.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define YAB_DEVNODE_CONST
#else
#define YAB_DEVNODE_CONST const
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/* Defines a vm_operations_struct.get_policy that asks the operations @ops_of(vma). */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
#define YAB_DEFINE_GET_POLICY(name, ops_of)						\
static struct mempolicy *name(struct vm_area_struct *vma, unsigned long address)	\
{											\
	return ops_of(vma)->get_policy(vma, address);					\
}
#else
#define YAB_DEFINE_GET_POLICY(name, ops_of)						\
static struct mempolicy *name(struct vm_area_struct *vma, unsigned long address,	\
			      pgoff_t *ilx)						\
{											\
	return ops_of(vma)->get_policy(vma, address, ilx);				\
}
#endif

/* The folio of a file's page with a reference, or NULL if it is not in memory. */
static inline struct folio *yab_get_folio(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	return IS_ERR(folio) ? NULL : folio; /* an error instead of NULL from 6.4 on */
}

/* Can a PMD map all of it? */
static inline bool yab_folio_is_huge(struct folio *folio)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	return folio_test_large(folio) && folio_order(folio) >= HPAGE_PMD_ORDER;
#else
	return folio_test_pmd_mappable(folio);
#endif
}

/*
 * May a fault map more of the folio than the page that it returned? If its PMD is empty, a
 * huge page; from 6.17 on the PTEs of any large folio.
 */
static inline bool yab_folio_comes_whole(struct folio *folio)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
	return yab_folio_is_huge(folio);
#else
	return folio_test_large(folio);
#endif
}

/*
 * For a fault handler that has found a page, locked, and put a page table into its PMD. False:
 * it can return the page, and that will be mapped alone. Else it is mapped already, or has to
 * be faulted in again. A page that is tracked is not made writable here.
 */
static inline bool yab_fault_map_alone(struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
	return false;
#else
	/* A private copy is no part of the folio. */
	if ((vmf->flags & FAULT_FLAG_WRITE && !(vmf->vma->vm_flags & VM_SHARED)) ||
	    PageHWPoison(vmf->page))
		return false;
	/* As writable as vm_page_prot says. It fails for want of memory only. */
	vmf_insert_page_mkwrite(vmf, vmf->page, false);
	return true;
#endif
}

/*
 * Maps those of the pages around @vmf->page that are in memory, and no others: from 6.17 on
 * map_pages() maps all of a large folio. @vmf->page is locked and has a page table.
 */
static inline void yab_fault_map_around(struct vm_fault *vmf,
					const struct vm_operations_struct *ops, pgoff_t first,
					pgoff_t last)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
	rcu_read_lock();
	ops->map_pages(vmf, first, last);
	rcu_read_unlock();
#else
	struct address_space *mapping = vmf->vma->vm_file->f_mapping;
	pgoff_t page;

	for (page = first; page <= last; page++) {
		struct folio *folio = yab_get_folio(mapping, page);

		if (!folio)
			continue;
		/* Fails for that of @vmf->page, too. */
		if (folio_trylock(folio)) {
			struct page *it = folio_file_page(folio, page);
			struct vm_fault one = {
				.vma = vmf->vma,
				.address = vmf->address + (page - vmf->pgoff) * PAGE_SIZE,
			};

			if (folio->mapping == mapping && folio_contains(folio, page) &&
			    folio_test_uptodate(folio) && !PageHWPoison(it))
				vmf_insert_page_mkwrite(&one, it, false);
			folio_unlock(folio);
		}
		folio_put(folio);
	}
#endif
}

/* Has @file, which is shmem's, set up a VMA that exists already. */
static inline int yab_file_mmap(struct file *file, struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
	return call_mmap(file, vma);
#else
	return vfs_mmap(file, vma);
#endif
}

/* Files with these operations, which were shmem's, cannot be mapped. */
static inline void yab_fops_forbid_mmap(struct file_operations *fops)
{
	fops->mmap = NULL;
	/* shmem's own is for files with shmem's own operations. mremap() asks it. */
	fops->get_unmapped_area = thp_get_unmapped_area;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
	fops->mmap_prepare = NULL;
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define YAB_ASSIGN_STR(field, string)	__assign_str(field, string)
#else
#define YAB_ASSIGN_STR(field, string)	__assign_str(field)
#endif

/*
 * What mmap_write_lock() does; newer kernels have no such thing. mmap_write_unlock() is the
 * counterpart. The count came with 6.14 and with a stable release of 6.12, so it is known by
 * its type.
 */
static inline bool yab_mmap_write_trylock(struct mm_struct *mm)
{
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
#ifdef CONFIG_PER_VMA_LOCK
	if (__same_type(mm->mm_lock_seq, seqcount_t))
		do_raw_write_seqcount_begin((seqcount_t *)&mm->mm_lock_seq);
#endif
	return true;
}

/* Gives up the lock under which a fault came in. The VMA may be gone after it. */
static inline void yab_fault_unlock(struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	mmap_read_unlock(vmf->vma->vm_mm);
#else
	release_fault_lock(vmf);
#endif
}

#endif /* YAB_COMPAT_H */
