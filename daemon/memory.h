/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A region's memory file. It is written to by system calls: a store into a mapping of it
 * that finds no memory would be a signal, not an error.
 */
#ifndef YAB_DAEMON_MEMORY_H
#define YAB_DAEMON_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "process.h"

/* A memory file of this @label that keeps its @size. Its descriptor, or -1 with errno. */
int yab_memory_make(const char *label, uint64_t size);
/*
 * @size bytes from byte *@at on. *@at becomes the byte behind them; or -1 with errno, and it is the
 * first one that cannot be read. Of any file: ENODATA is one that ends before.
 */
int yab_memory_read(int fd, void *bytes, size_t size, uint64_t *at);
/* All of @bytes to byte @at. 0, or -1 with errno, and a part may be written then. */
int yab_memory_write(int fd, const void *bytes, size_t size, uint64_t at);
/* Makes @count pages a hole. 0, or -1 with errno. */
int yab_memory_punch(int fd, uint64_t page, uint64_t count);
/* Bytes of it that are in memory or swap; 0 where that cannot be known. */
uint64_t yab_memory_used(int fd);

/* Before the VM's name, in the name of the memory file. */
#define YAB_MEMORY_LABEL	"yabusame:"

/*
 * The memory file of @size bytes of the VM @name, which @process has open or maps:
 * opened anew, for reading and writing; or -1 with errno. Never one of another process that
 * has its number by now.
 */
int yab_memory_find(const struct yab_process *process, const char *name, uint64_t size);

#endif /* YAB_DAEMON_MEMORY_H */
