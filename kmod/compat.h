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

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define YAB_ASSIGN_STR(field, string)	__assign_str(field, string)
#else
#define YAB_ASSIGN_STR(field, string)	__assign_str(field)
#endif

/* The kernel has none since 6.5; mmap_write_unlock() is its counterpart. */
static inline bool yab_mmap_write_trylock(struct mm_struct *mm)
{
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	mm_lock_seqcount_begin(mm);
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
