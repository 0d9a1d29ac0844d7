// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include "soft_dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "wire.h"

/*
 * 16 GiB. Clearing walks all of the process's page tables, 14 million instructions a GiB of 4 KiB
 * pages (docs/measurements.md), and the guest stands still meanwhile: less than 0.1 s for this.
 */
#define YAB_SOFT_DIRTY_LIMIT	(16ULL << (30 - 12))
/* Of one memory file: one, or some if QEMU binds parts of it to nodes. */
#define YAB_SOFT_DIRTY_MAPPINGS	64
/* Entries of pagemap that are read at once. */
#define YAB_SOFT_DIRTY_ENTRIES	512
/* Of such an entry. */
#define YAB_SOFT_DIRTY_BIT	0x0080000000000000ULL

struct yab_soft_dirty_mapping {
	uint64_t address;	/* in pages */
	uint64_t page;		/* of the memory file */
	uint64_t count;
};

struct yab_soft_dirty {
	int pagemap_fd;
	unsigned int mapping_count;
	struct yab_soft_dirty_mapping mappings[YAB_SOFT_DIRTY_MAPPINGS];
};

/* -1 with one line in @error. */
static int yab_soft_dirty_open(const char *folder, const char *name, int flags, char *error,
			       size_t error_size)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
	return fd;
}

bool yab_soft_dirty_is_there(void)
{
	char error[256];
	uint64_t entry = 0;
	void *page;
	int fd;

	fd = yab_soft_dirty_open("/proc/self", "pagemap", O_RDONLY, error, sizeof(error));
	if (fd < 0)
		return false;
	/* All of a new mapping is soft-dirty, where anything ever is. */
	page = mmap(NULL, YAB_WIRE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (page != MAP_FAILED) {
		if (pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / YAB_WIRE_PAGE_SIZE *
							     sizeof(entry))) != sizeof(entry))
			entry = 0;
		munmap(page, YAB_WIRE_PAGE_SIZE);
	}
	close(fd);
	return entry & YAB_SOFT_DIRTY_BIT;
}

/* A line of maps: "START-END rwxs OFFSET MAJOR:MINOR INODE PATH", all but INODE in hex. */
static void yab_soft_dirty_take(struct yab_soft_dirty *soft, const char *line,
				const struct stat *st, uint64_t pages)
{
	struct yab_soft_dirty_mapping *mapping = &soft->mappings[soft->mapping_count];
	unsigned long start, end, offset, inode;
	unsigned int major_number, minor_number;
	char mode[5];

	if (soft->mapping_count == YAB_SOFT_DIRTY_MAPPINGS ||
	    sscanf(line, "%lx-%lx %4s %lx %x:%x %lu", &start, &end, mode, &offset, &major_number,
		   &minor_number, &inode) != 7 ||
	    makedev(major_number, minor_number) != st->st_dev || inode != st->st_ino ||
	    mode[1] != 'w' || mode[3] != 's' || start >= end)
		return;
	mapping->address = start / YAB_WIRE_PAGE_SIZE;
	mapping->page = offset / YAB_WIRE_PAGE_SIZE;
	mapping->count = (end - start) / YAB_WIRE_PAGE_SIZE;
	if (mapping->page >= pages)
		return;
	if (mapping->count > pages - mapping->page)
		mapping->count = pages - mapping->page;
	soft->mapping_count++;
}

/* Where the process maps the memory file. 0, or -1 with one line in @error. */
static int yab_soft_dirty_find(struct yab_soft_dirty *soft, const char *folder, int memory_fd,
			       uint64_t pages, char *error, size_t error_size)
{
	char *line = NULL;
	size_t size = 0;
	struct stat st;
	FILE *maps;
	int fd;

	fd = yab_soft_dirty_open(folder, "maps", O_RDONLY, error, error_size);
	if (fd < 0)
		return -1;
	maps = fdopen(fd, "r");
	if (!maps || fstat(memory_fd, &st) < 0) {
		snprintf(error, error_size, "%s", strerror(errno));
		goto err_maps;
	}
	while (getline(&line, &size, maps) >= 0)
		yab_soft_dirty_take(soft, line, &st, pages);
	free(line);
	fclose(maps);
	if (soft->mapping_count)
		return 0;
	snprintf(error, error_size, "%s does not map the memory", folder);
	return -1;

err_maps:
	if (maps)
		fclose(maps);
	else
		close(fd);
	return -1;
}

/* 0, or -1 with one line in @error. */
static int yab_soft_dirty_clear(const char *folder, char *error, size_t error_size)
{
	const int fd = yab_soft_dirty_open(folder, "clear_refs", O_WRONLY, error, error_size);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, "4", 1);
	if (n != 1)
		snprintf(error, error_size, "%s/clear_refs: %s", folder, strerror(errno));
	close(fd);
	return n == 1 ? 0 : -1;
}

struct yab_soft_dirty *yab_soft_dirty_new(const char *folder, int memory_fd, uint64_t pages,
					  char *error, size_t error_size)
{
	struct yab_soft_dirty *soft = calloc(1, sizeof(*soft));

	if (!soft) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	soft->pagemap_fd = yab_soft_dirty_open(folder, "pagemap", O_RDONLY, error, error_size);
	if (soft->pagemap_fd < 0)
		goto err_soft;
	if (yab_soft_dirty_find(soft, folder, memory_fd, pages, error, error_size) < 0 ||
	    yab_soft_dirty_clear(folder, error, error_size) < 0)
		goto err_pagemap;
	return soft;

err_pagemap:
	close(soft->pagemap_fd);
err_soft:
	free(soft);
	return NULL;
}

void yab_soft_dirty_free(struct yab_soft_dirty *soft)
{
	close(soft->pagemap_fd);
	free(soft);
}

/* @count pages from @page on, all in @mapping; bit 0 of *bits is @base. 0, or -1 with errno. */
static int yab_soft_dirty_read_mapping(const struct yab_soft_dirty *soft,
				       const struct yab_soft_dirty_mapping *mapping,
				       uint64_t page, uint64_t count, uint64_t base,
				       uint64_t *bits)
{
	uint64_t entries[YAB_SOFT_DIRTY_ENTRIES];
	const uint64_t end = page + count;
	ssize_t n;

	while (page < end) {
		const uint64_t address = mapping->address + (page - mapping->page);
		size_t size = sizeof(entries);

		if (end - page < YAB_SOFT_DIRTY_ENTRIES)
			size = (end - page) * sizeof(entries[0]);
		n = pread(soft->pagemap_fd, entries, size, (off_t)(address * sizeof(entries[0])));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < (ssize_t)sizeof(entries[0])) {
			if (n >= 0)
				errno = ESRCH;
			return -1;
		}
		for (size_t i = 0; i < (size_t)n / sizeof(entries[0]); i++, page++)
			if (entries[i] & YAB_SOFT_DIRTY_BIT)
				bits[(page - base) / 64] |= 1ULL << (page - base) % 64;
	}
	return 0;
}

int yab_soft_dirty_read(struct yab_soft_dirty *soft, uint64_t page, uint64_t count,
			uint64_t *bits)
{
	const uint64_t end = page + count;

	memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
	for (unsigned int i = 0; i < soft->mapping_count; i++) {
		const struct yab_soft_dirty_mapping *mapping = &soft->mappings[i];
		const uint64_t mapping_end = mapping->page + mapping->count;
		const uint64_t from = page > mapping->page ? page : mapping->page;
		const uint64_t to = end < mapping_end ? end : mapping_end;

		if (from < to &&
		    yab_soft_dirty_read_mapping(soft, mapping, from, to - from, page, bits) < 0)
			return -1;
	}
	return 0;
}

static void *yab_soft_dirty_start(const struct yab_dirty_target *target, char *error,
				  size_t error_size)
{
	char folder[32];

	if (sysconf(_SC_PAGESIZE) != YAB_WIRE_PAGE_SIZE || !yab_soft_dirty_is_there()) {
		snprintf(error, error_size, "this kernel has none (CONFIG_MEM_SOFT_DIRTY)");
		return NULL;
	}
	snprintf(folder, sizeof(folder), "/proc/%ld", (long)target->pid);
	return yab_soft_dirty_new(folder, target->memory_fd, target->pages, error, error_size);
}

static int yab_soft_dirty_read_kind(void *object, uint64_t page, uint64_t count, uint64_t *bits)
{
	return yab_soft_dirty_read(object, page, count, bits);
}

static void yab_soft_dirty_stop(void *object)
{
	yab_soft_dirty_free(object);
}

const struct yab_dirty_kind yab_soft_dirty_kind = {
	.name = "soft-dirty bits",
	.limit = YAB_SOFT_DIRTY_LIMIT,
	.start = yab_soft_dirty_start,
	.read = yab_soft_dirty_read_kind,
	.stop = yab_soft_dirty_stop,
};
