/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a source's pages are: a memory file, another process, a raw image
 * (backing_file.h, backing_process.h make them). This is what is the same for all: which
 * pages are zero, their bytes, and getting them into a socket.
 *
 * What the pages hold must not change while they are read, so whatever was read once
 * stays true.
 *
 * The bytes are never looked at through a mapping: who else has the file may truncate it,
 * and the process would be killed (SIGBUS) where a read fails. All of it is read in blocks
 * that fit into a processor's second cache, which takes no longer than a mapping with its
 * faults (docs/measurements.md), and needs no page tables.
 */
#ifndef YAB_DAEMON_BACKING_H
#define YAB_DAEMON_BACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "socket.h"
#include "wire.h"

/* Pages that are read at once. */
#define YAB_BACKING_BLOCK_PAGES	16
#define YAB_BACKING_BLOCK	(YAB_BACKING_BLOCK_PAGES * YAB_WIRE_PAGE_SIZE)
/* Pages of data in a run: they are all read before the first is sent (50 us). */
#define YAB_BACKING_RUN		64
/* Pages among which holes are looked for in one call (30 us). */
#define YAB_BACKING_LOOK	512

struct yab_backing;

/* What a kind of backing does. 0, or -1 with errno. */
struct yab_backing_ops {
	/*
	 * absent[i] becomes 0 if page @page + i cannot be a hole, for @count pages, at most
	 * YAB_BACKING_LOOK. A first look that is cheap: hole_end() decides.
	 */
	void (*look)(struct yab_backing *backing, uint64_t page, uint64_t count, uint8_t *absent);
	/* *end becomes the end of the hole that @page is in, or @page if it is in none. */
	int (*hole_end)(struct yab_backing *backing, uint64_t page, uint64_t *end);
	/* All of the @size bytes from byte @at on, at most YAB_BACKING_BLOCK. */
	int (*read)(struct yab_backing *backing, uint8_t *bytes, uint64_t at, size_t size);
	/*
	 * As yab_socket_send() does it. NULL, or EOPNOTSUPP: there is no better way than to
	 * read.
	 */
	ssize_t (*send)(struct yab_backing *backing, struct yab_socket *socket, uint64_t at,
			size_t size);
	void (*free)(struct yab_backing *backing);
	/* What it means that the pages end before the region does, for people. */
	const char *gone;
};

/* The part that all kinds have. */
struct yab_backing {
	const struct yab_backing_ops *ops;
	uint64_t pages;
	pid_t process;		/* whose memory is read by process_vm_readv(), or 0 */
	char unread[96];	/* which pages gave EIO last; empty: none did */
	/* Bytes [at, at + size) of the memory, read last. */
	uint64_t at;
	size_t size;
	uint8_t block[YAB_BACKING_BLOCK];
};

/* What one connection has seen last. All zero: nothing. */
struct yab_backing_view {
	/* What is known of pages [first, end): perhaps a hole? */
	uint64_t first;
	uint64_t end;
	uint8_t absent[YAB_WIRE_PAGES_MAX];
	/* The last hole. */
	uint64_t hole;
	uint64_t hole_end;
	/* Pages [block, block_end) were read: bit N is set if page block + N is zero. */
	uint64_t block;
	uint64_t block_end;
	uint32_t zeros;
};

void yab_backing_free(struct yab_backing *backing);

/*
 * The pages from @page on, at most @count (not more than YAB_WIRE_PAGES_MAX), that are
 * alike: *zero says whether they hold nothing but zeros, *run how many they are, at most
 * @most if they are not zero.
 */
int yab_backing_run(struct yab_backing *backing, struct yab_backing_view *view, uint64_t page,
		    uint64_t count, uint64_t most, bool *zero, uint64_t *run);
/*
 * The first hole of @least pages or more in [*page, end), at most YAB_BACKING_LOOK pages:
 * moves *page to where it begins, or to @end. *hole_end becomes its end, which may be
 * behind @end, or *page if there is none.
 */
int yab_backing_seek_hole(struct yab_backing *backing, uint64_t *page, uint64_t end,
			  uint64_t least, uint64_t *hole_end);
/* The @size bytes from @at on, at most YAB_BACKING_BLOCK, until the next call. NULL with errno. */
const uint8_t *yab_backing_bytes(struct yab_backing *backing, uint64_t at, size_t size);
/* Like yab_socket_send(). Errors of reading come with errno as well. */
ssize_t yab_backing_send(struct yab_backing *backing, struct yab_socket *socket, uint64_t at,
			 size_t size);
/* Like yab_socket_reason(), also for what failed here. */
const char *yab_backing_reason(const struct yab_backing *backing, int error);
/*
 * Pages of data that a run should have at most that goes to @socket, for what is read need not
 * be read again.
 */
uint64_t yab_backing_best_run(const struct yab_backing *backing, const struct yab_socket *socket);

#endif /* YAB_DAEMON_BACKING_H */
