/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dirty log: which pages a guest wrote between a moment while it runs and the one at
 * which it is stopped. The destination asks for them first, for they are likely to be
 * needed first.
 *
 * It is of use, and no more than that: where nothing can be learnt there are no hints, and
 * a line in the debug log. Nothing of it is done while the guest is stopped and
 * somebody waits:
 *
 * 1. Starting takes time in proportion to the memory, in which the guest (and this daemon)
 *    stands still, and every page that it touches after that costs it one more fault. That
 *    is before the switchover, and there is a limit to the size of the memory.
 * 2. Reading comes after the call of Finish, in slices, with other events between them.
 */
#ifndef YAB_DAEMON_DIRTY_H
#define YAB_DAEMON_DIRTY_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hints.h"

/*
 * What is read in one turn of the event loop: 8 MiB of the guest. That takes some 70 us
 * from the page tables, and 1 ms from the module if all of it was written
 * (docs/measurements.md). A multiple of 64.
 */
#define YAB_DIRTY_SLICE	2048

struct yab_dirty_target {
	const char *vm;
	bool on_region;		/* its memory is the region of its name, not just a file */
	int memory_fd;		/* that file, or the one below the region */
	uint64_t pages;
	pid_t pid;		/* QEMU's */
};

/* A way to learn what is written. */
struct yab_dirty_kind {
	const char *name;
	uint64_t limit;		/* pages; with more it would hold the guest up too long */
	/* Begins. What the others are given, or NULL with one line in @error. */
	void *(*start)(const struct yab_dirty_target *target, char *error, size_t error_size);
	/*
	 * Which of these pages (from a multiple of 64 on) were written since: whole words.
	 * Asked once for each page. 0, or -1 with errno.
	 */
	int (*read)(void *object, uint64_t page, uint64_t count, uint64_t *bits);
	void (*stop)(void *object);
};

struct yab_dirty_log;

typedef void (*yab_dirty_cb)(const struct yab_hints *hints, void *arg);

/* The ways there are, best first; ends with NULL. */
extern const struct yab_dirty_kind *const yab_dirty_kinds[];

/*
 * Starts the first of @kinds that works; NULL if none does. Each that does not is a line in
 * the debug log.
 */
struct yab_dirty_log *yab_dirty_log_new(struct event_base *base,
					const struct yab_dirty_target *target,
					const struct yab_dirty_kind *const *kinds,
					yab_dirty_cb cb, void *arg);
/*
 * The guest is stopped for good. @cb is called from the event loop once all is read, if
 * there is anything to tell. NULL: does nothing.
 */
void yab_dirty_log_read(struct yab_dirty_log *log);
/* Ends it; also from within @cb. */
void yab_dirty_log_free(struct yab_dirty_log *log);

#endif /* YAB_DAEMON_DIRTY_H */
