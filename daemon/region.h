/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel module's calls, with errors as text. */
#ifndef YAB_DAEMON_REGION_H
#define YAB_DAEMON_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/yabusame.h>

#define YAB_REGION_CONTROL	"/dev/yabusame/control"
#define YAB_REGION_FOLDER	"/dev/yabusame"

/*
 * A memfd of @size bytes, sealed against shrinking. -1 with errno.
 */
int yab_region_memory(const char *name, uint64_t size);

/*
 * Makes the region @name of @size bytes over @memory_fd; the node belongs to
 * @uid and @gid with mode 0600. Returns the pager fd (non-blocking), or -1 with
 * one line in @error that says what to do (module not loaded, no permission, name in
 * use, other ABI version, ...).
 */
int yab_region_create(const char *name, uint64_t size, int memory_fd, uid_t uid, gid_t gid,
		      char *error, size_t error_size);

/*
 * Becomes the pager of the region @name, whose pager is gone. Returns the pager fd
 * (non-blocking) and the memory file in *memory_fd, or -1 with one line in @error and
 * errno: ENOENT (there is no such region) and EIO (it has failed) are for good.
 */
int yab_region_attach(const char *name, int *memory_fd, char *error, size_t error_size);

/*
 * Fails the region: who waits for its missing pages, or touches one, gets SIGBUS. 0, also if
 * it is gone or has failed, or -1 with one line in @error.
 */
int yab_region_fail(const char *name, char *error, size_t error_size);

/* Declares @count ranges present. 0, or -1 with errno. */
int yab_region_declare(int pager_fd, struct yab_range *ranges, size_t count);

/*
 * Which of @count pages from @page on, a multiple of 64, are present: bit N % 64 of word
 * N / 64 for page @page + N. 0, or -1 with errno.
 */
int yab_region_present(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits);

/* Begins or ends dirty tracking. 0, or -1 with errno (docs/kernel-abi.md). */
int yab_region_track(int pager_fd, bool on);

/*
 * Which of @count pages from @page on were written since tracking began or the last call;
 * else as yab_region_present().
 */
int yab_region_dirty(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits);

#endif /* YAB_DAEMON_REGION_H */
