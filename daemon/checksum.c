// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <linux/yabusame.h>

#include "checksum.h"
#include "memory.h"

/* Pages that are read at once; what was just written is in the processor's cache. */
#define YAB_CHECKSUM_BLOCK	16
#define YAB_CHECKSUM_WORDS	(YAB_WIRE_CHUNK_PAGES / 64)

#if YAB_WIRE_CHUNK_PAGES % 64
#error "a chunk has no whole words of bits"
#endif

struct yab_checksum_chunk {
	uint64_t sum;
	uint64_t doubted;			/* 0 or 1 */
	uint64_t bits[YAB_CHECKSUM_WORDS];	/* by page: it is in the sum */
};

/* The file. Nothing of it is believed: the worker that wrote it had to do with other hosts. */
struct yab_checksum_file {
	uint64_t used;		/* 0: no worker has had it yet */
	uint64_t busy;		/* the chunk that is being added to, + 1; 0: none is */
	struct yab_checksum_chunk chunks[];
};

struct yab_checksums {
	struct yab_checksum_file *file;
	uint64_t pages;
	bool resumed;		/* from a worker before this one */
	uint8_t block[YAB_CHECKSUM_BLOCK * YAB_WIRE_PAGE_SIZE];
};

uint64_t yab_checksum_page(uint64_t page, const uint8_t *bytes)
{
	static const uint8_t zeros[YAB_WIRE_PAGE_SIZE];

	return memcmp(bytes, zeros, sizeof(zeros)) ?
		XXH3_64bits_withSeed(bytes, YAB_WIRE_PAGE_SIZE, page) : 0;
}

static size_t yab_checksums_size(uint64_t pages)
{
	return sizeof(struct yab_checksum_file) +
	       yab_wire_chunks(pages) * sizeof(struct yab_checksum_chunk);
}

int yab_checksums_make(const char *vm, uint64_t pages)
{
	const size_t size = yab_checksums_size(pages);
	char label[YAB_NAME_SIZE + 32];
	int error, fd;

	snprintf(label, sizeof(label), "yabusame-checksums:%s", vm);
	fd = yab_memory_make(label, size);
	if (fd < 0)
		return -1;
	do {
		error = fallocate(fd, 0, 0, (off_t)size) < 0 ? errno : 0;
	} while (error == EINTR);
	if (!error)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

struct yab_checksums *yab_checksums_open(int fd, uint64_t pages)
{
	const size_t size = yab_checksums_size(pages);
	struct yab_checksums *checksums;
	struct yab_checksum_file *file;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return NULL;
	if (st.st_size < 0 || (uint64_t)st.st_size != size) {
		errno = EINVAL;
		return NULL;
	}
	checksums = calloc(1, sizeof(*checksums));
	if (!checksums)
		return NULL;
	file = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED) {
		free(checksums);
		errno = ENOMEM;
		return NULL;
	}
	checksums->file = file;
	checksums->pages = pages;
	checksums->resumed = file->used;
	file->used = 1;
	if (file->busy && file->busy <= yab_wire_chunks(pages))
		file->chunks[file->busy - 1].doubted = 1;
	file->busy = 0;
	return checksums;
}

void yab_checksums_close(struct yab_checksums *checksums)
{
	if (!checksums)
		return;
	munmap(checksums->file, yab_checksums_size(checksums->pages));
	free(checksums);
}

static struct yab_checksum_chunk *yab_checksums_chunk(const struct yab_checksums *checksums,
						      uint64_t page)
{
	return &checksums->file->chunks[page / YAB_WIRE_CHUNK_PAGES];
}

/* How many of @count pages from @page on are in the chunk of @page. */
static uint64_t yab_checksums_within(uint64_t page, uint64_t count)
{
	const uint64_t left = YAB_WIRE_CHUNK_PAGES - page % YAB_WIRE_CHUNK_PAGES;

	return count < left ? count : left;
}

/* Those of word @word of a chunk's bits that stand for its pages [first, first + count). */
static uint64_t yab_checksums_mask(unsigned int word, uint64_t first, uint64_t count)
{
	const uint64_t from = word * 64ULL, end = first + count;
	uint64_t mask = ~0ULL;

	if (end <= from || first >= from + 64)
		return 0;
	if (first > from)
		mask &= ~0ULL << (first - from);
	if (end < from + 64)
		mask &= ~(~0ULL << (end - from));
	return mask;
}

void yab_checksums_doubt(struct yab_checksums *checksums, uint64_t page, uint64_t count)
{
	uint64_t run;

	for (; checksums->resumed && count; page += run, count -= run) {
		struct yab_checksum_chunk *chunk = yab_checksums_chunk(checksums, page);

		run = yab_checksums_within(page, count);
		for (unsigned int i = 0; i < YAB_CHECKSUM_WORDS; i++)
			if (chunk->bits[i] &
			    yab_checksums_mask(i, page % YAB_WIRE_CHUNK_PAGES, run))
				chunk->doubted = 1;
	}
}

/* Pages [page, page + count) are zero: the sum stays as it is, and bits may be set again. */
static void yab_checksums_add_zeros(struct yab_checksums *checksums, uint64_t page, uint64_t count)
{
	uint64_t run;

	for (; count; page += run, count -= run) {
		struct yab_checksum_chunk *chunk = yab_checksums_chunk(checksums, page);

		run = yab_checksums_within(page, count);
		for (unsigned int i = 0; i < YAB_CHECKSUM_WORDS; i++)
			chunk->bits[i] |= yab_checksums_mask(i, page % YAB_WIRE_CHUNK_PAGES, run);
	}
}

/* The block has @count pages from @page on, all of one chunk. */
static void yab_checksums_add_block(struct yab_checksums *checksums, uint64_t page, uint64_t count)
{
	struct yab_checksum_chunk *chunk = yab_checksums_chunk(checksums, page);
	const uint64_t first = page % YAB_WIRE_CHUNK_PAGES;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++)
		if (!(chunk->bits[(first + i) / 64] >> (first + i) % 64 & 1))
			sum += yab_checksum_page(page + i,
						 checksums->block + i * YAB_WIRE_PAGE_SIZE);
	checksums->file->busy = page / YAB_WIRE_CHUNK_PAGES + 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	chunk->sum += sum;
	for (unsigned int i = 0; i < YAB_CHECKSUM_WORDS; i++)
		chunk->bits[i] |= yab_checksums_mask(i, first, count);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	checksums->file->busy = 0;
}

/* The first page in [page, end) that may be no hole; @end if there is none. */
static uint64_t yab_checksums_seek_data(int memory_fd, uint64_t page, uint64_t end)
{
	const off_t data = lseek(memory_fd, (off_t)(page * YAB_WIRE_PAGE_SIZE), SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? end : page;
	return (uint64_t)data / YAB_WIRE_PAGE_SIZE < end ? (uint64_t)data / YAB_WIRE_PAGE_SIZE :
							   end;
}

void yab_checksums_add(struct yab_checksums *checksums, int memory_fd, uint64_t page,
		       uint64_t count)
{
	const uint64_t end = page + count;
	uint64_t at, data, run;

	while (page < end) {
		data = yab_checksums_seek_data(memory_fd, page, end);
		yab_checksums_add_zeros(checksums, page, data - page);
		page = data;
		/* Where data ends is dear to know: a hole within the block reads as zeros. */
		run = yab_checksums_within(page, end - page);
		if (run > YAB_CHECKSUM_BLOCK)
			run = YAB_CHECKSUM_BLOCK;
		at = page * YAB_WIRE_PAGE_SIZE;
		if (run && !yab_memory_read(memory_fd, checksums->block, run * YAB_WIRE_PAGE_SIZE,
					    &at))
			yab_checksums_add_block(checksums, page, run);
		page += run;
	}
}

enum yab_checksum_verdict yab_checksums_compare(const struct yab_checksums *checksums,
						uint64_t chunk, uint64_t sum)
{
	const uint64_t page = chunk * YAB_WIRE_CHUNK_PAGES;
	const uint64_t count = yab_checksums_within(page, checksums->pages - page);
	const struct yab_checksum_chunk *ours = yab_checksums_chunk(checksums, page);

	for (unsigned int i = 0; i < YAB_CHECKSUM_WORDS; i++)
		if (~ours->bits[i] & yab_checksums_mask(i, 0, count))
			return YAB_CHECKSUM_UNKNOWN;
	if (ours->doubted)
		return YAB_CHECKSUM_UNKNOWN;
	return ours->sum == sum ? YAB_CHECKSUM_SAME : YAB_CHECKSUM_DIFFERENT;
}
