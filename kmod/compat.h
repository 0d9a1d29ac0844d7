/* SPDX-License-Identifier: GPL-2.0 */
/* Everything that differs between the kernels this module builds for. */
#ifndef YAB_COMPAT_H
#define YAB_COMPAT_H

#include <linux/device.h>
#include <linux/fs.h>
#include <linux/mm.h>
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
