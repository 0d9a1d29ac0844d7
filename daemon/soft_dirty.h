/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process writes to a memory file that it maps shared, as its page tables tell:
 * the soft-dirty bits of proc(5). KVM writes through the same page tables, so a guest's
 * writes are among QEMU's. What other processes write is not seen.
 *
 * The process is held up while they are cleared (see the limit in soft_dirty.c), and all that it
 * has mapped is write-protected then, so that its next write to each page faults.
 */
#ifndef YAB_DAEMON_SOFT_DIRTY_H
#define YAB_DAEMON_SOFT_DIRTY_H

#include <stddef.h>
#include <stdint.h>

#include "dirty.h"

struct yab_soft_dirty;

/* Does this kernel have them? */
bool yab_soft_dirty_is_there(void);
/*
 * Clears the bits of the process whose folder in /proc is @folder. Pages are those of
 * @memory_fd. NULL with one line in @error.
 */
struct yab_soft_dirty *yab_soft_dirty_new(const char *folder, int memory_fd, uint64_t pages,
					  char *error, size_t error_size);
void yab_soft_dirty_free(struct yab_soft_dirty *soft);
/*
 * Which of @count pages from @page on, a multiple of 64, were written since: bit N % 64 of
 * word N / 64 for page @page + N. 0, or -1 with errno: ESRCH if the process is gone.
 */
int yab_soft_dirty_read(struct yab_soft_dirty *soft, uint64_t page, uint64_t count,
			uint64_t *bits);

extern const struct yab_dirty_kind yab_soft_dirty_kind;

#endif /* YAB_DAEMON_SOFT_DIRTY_H */
