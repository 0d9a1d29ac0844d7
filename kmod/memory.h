/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_MEMORY_H
#define YAB_MEMORY_H

#include <linux/types.h>

struct file;

int yab_memory_check(struct file *memory, u64 size);
bool yab_memory_is_write_sealed(struct file *memory);
bool yab_memory_is_exact(struct file *memory, u64 size);
int yab_memory_drop(struct file *memory, u64 page, u64 count);
struct file *yab_memory_shadow(struct file *memory);

#endif /* YAB_MEMORY_H */
