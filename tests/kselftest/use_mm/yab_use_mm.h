/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_USE_MM_H
#define YAB_USE_MM_H

#include <linux/types.h>

#define USE_MM_READ	0	/* copy_from_user() */
#define USE_MM_WRITE	1	/* copy_to_user() of 'w' */
#define USE_MM_GET	2	/* get_user() of one byte */
#define USE_MM_LENGTH	64

/* What is written to /dev/yab_use_mm: a kernel thread does it in the writer's memory. */
struct use_mm_job {
	__u64 address;
	__u32 operation;
	__u32 length;		/* 1 to USE_MM_LENGTH */
};

/* What can be read when it has ended; EAGAIN before. */
struct use_mm_result {
	__s32 error;		/* 0 or EFAULT */
	__u8 data[USE_MM_LENGTH];
};

#endif /* YAB_USE_MM_H */
