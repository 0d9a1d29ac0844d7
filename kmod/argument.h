/* SPDX-License-Identifier: GPL-2.0 */
/* Arguments of calls: structures that can grow, as the uapi header promises. */
#ifndef YAB_ARGUMENT_H
#define YAB_ARGUMENT_H

#include <linux/uaccess.h>

/* @size is the caller's idea of the structure, @known this module's. */
static inline int yab_argument_fetch(void *to, size_t known, const void __user *arg, size_t size)
{
	if (size < known)
		return -EINVAL;
	return copy_struct_from_user(to, known, arg, size);
}

static inline int yab_argument_answer(void __user *arg, size_t size, const void *from, size_t known)
{
	if (size < known)
		return -EINVAL;
	if (copy_to_user(arg, from, known) || clear_user(arg + known, size - known))
		return -EFAULT;
	return 0;
}

#endif /* YAB_ARGUMENT_H */
