/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the destination has stored, in sums: for each chunk of YAB_WIRE_CHUNK_PAGES pages the
 * sum (modulo 2^64) of its pages' hashes. A hash is XXH3, seeded with the page's number, so
 * pages that were swapped are seen; one of nothing but zeros is 0, so nobody reads a hole.
 * They tell of mistakes and bad memory, not of a source that lies: that has the memory.
 *
 * The sums are of pages as they are read back from the memory file, right before they are
 * declared (the guest may write to them from then on). Not of the buffer that was written
 * from: a page comes in pieces, through it or through another connection's turn with it,
 * and what the guest will see is in the file.
 *
 * They are in a memory file of their own that the supervisor keeps and gives to each
 * worker of the migration: 80 bytes a chunk, 40 MiB for a region of 1 TiB, all of which
 * is allocated when it is made, for a store that finds no memory would be a signal.
 *
 * What a worker leaves that is killed
 *
 * 1. A page's bit is set along with the sum. Before that its chunk is noted as the one that is
 *    being added to, and after it no more: where a worker ended in between, the next one
 *    doubts that chunk.
 * 2. A page that has its bit but was not declared is fetched and stored again. Nobody hashes it
 *    again: so the next worker doubts its chunk, before anything comes.
 * 3. A page that was declared without its bit (present before the first worker, or
 *    discarded by the guest) leaves its chunk without that bit.
 * 4. A chunk that is doubted, or not all bits of which are set, says nothing. It is never taken for
 *    a chunk that differs.
 *
 * The stores of a process that is killed are seen by others as far as it came in the program's
 * order, which is therefore kept (against the compiler; there is nobody beside it).
 */
#ifndef YAB_DAEMON_CHECKSUM_H
#define YAB_DAEMON_CHECKSUM_H

#include <stdint.h>

#include "wire.h"

struct yab_checksums;

enum yab_checksum_verdict {
	YAB_CHECKSUM_SAME,
	YAB_CHECKSUM_DIFFERENT,
	YAB_CHECKSUM_UNKNOWN,	/* not all of the chunk is in the sum, or not once */
};

/* The hash of @page, which holds these YAB_WIRE_PAGE_SIZE @bytes. */
uint64_t yab_checksum_page(uint64_t page, const uint8_t *bytes);

/* The memory file for the sums of a region of @vm, which has @pages. -1 with errno. */
int yab_checksums_make(const char *vm, uint64_t pages);

/* Of such a file, which is borrowed and may be closed after it. NULL with errno. */
struct yab_checksums *yab_checksums_open(int fd, uint64_t pages);
void yab_checksums_close(struct yab_checksums *checksums);

/*
 * [page, page + count) are not present: whatever of them a worker before this one has added
 * is stored again. For all such pages, before anything is added.
 */
void yab_checksums_doubt(struct yab_checksums *checksums, uint64_t page, uint64_t count);
/*
 * [page, page + count) are in @memory_fd and about to be declared. Those that were added before
 * are left out, so this may be called again. What cannot be read is not added.
 */
void yab_checksums_add(struct yab_checksums *checksums, int memory_fd, uint64_t page,
		       uint64_t count);

/* The source has @sum for @chunk. */
enum yab_checksum_verdict yab_checksums_compare(const struct yab_checksums *checksums,
						uint64_t chunk, uint64_t sum);

#endif /* YAB_DAEMON_CHECKSUM_H */
