// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "store.h"

/*
 * A PAGES frame names at most YAB_WIRE_PAGES_MAX pages, every second of which may be
 * present: so many ranges must be free before more is received.
 */
#define YAB_STORE_SPARE		(YAB_WIRE_PAGES_MAX / 2 + 1)
/* Pages whose presence is asked for at once. */
#define YAB_STORE_PRESENT	(64 * 1024)

#if YAB_STORE_SPARE > YAB_RANGES_MAX
#error "a frame does not fit into a declaration"
#endif

/* A worker before this one may have brought pages. */
static int yab_store_adopt(struct yab_store *store, yab_store_present_cb present)
{
	uint64_t bits[YAB_STORE_PRESENT / 64];
	struct yab_pagemap *map = &store->map;

	for (uint64_t page = 0; page < map->pages; page += YAB_STORE_PRESENT) {
		const uint64_t left = map->pages - page;
		const uint64_t count = left < YAB_STORE_PRESENT ? left : YAB_STORE_PRESENT;

		if (present(store->pager_fd, page, count, bits) < 0)
			return -1;
		yab_pagemap_load_present(map, page, bits, count);
	}
	store->statistics.present = map->present;
	return 0;
}

int yab_store_init(struct yab_store *store, int memory_fd, int pager_fd, uint64_t pages,
		   yab_store_declare_cb declare, yab_store_present_cb present)
{
	const int flags = fcntl(memory_fd, F_GETFL);
	struct stat st;
	int error;

	memset(store, 0, sizeof(*store));
	if (flags < 0 || fstat(memory_fd, &st) < 0)
		return -1;
	if ((flags & O_ACCMODE) != O_RDWR) {
		errno = EACCES;
		return -1;
	}
	if (!pages || st.st_size < 0 || pages > (uint64_t)st.st_size / YAB_WIRE_PAGE_SIZE) {
		errno = EINVAL;
		return -1;
	}
	store->memory_fd = memory_fd;
	store->pager_fd = pager_fd;
	store->declare = declare;
	if (yab_pagemap_init(&store->map, pages) < 0)
		return -1;
	if (pager_fd >= 0 && yab_store_adopt(store, present) < 0)
		goto release_map;
	return 0;

release_map:
	error = errno;
	yab_pagemap_release(&store->map);
	errno = error;
	return -1;
}

void yab_store_release(struct yab_store *store)
{
	yab_pagemap_release(&store->map);
}

void yab_store_sum(struct yab_store *store, struct yab_checksums *checksums)
{
	uint64_t page = 0, run, missing;

	store->checksums = checksums;
	for (; yab_pagemap_next_missing(&store->map, page, store->map.pages, &run, &missing);
	     page = run + missing)
		yab_checksums_doubt(checksums, run, missing);
}

bool yab_store_has_room(const struct yab_store *store)
{
	return store->range_count + YAB_STORE_SPARE <= YAB_RANGES_MAX;
}

int yab_store_write(struct yab_store *store, uint64_t at, size_t size)
{
	size_t from = 0, to = 0;

	/* [from, to) is looked at and to be written. */
	while (to < size) {
		const uint64_t next = at + to;
		size_t length = YAB_WIRE_PAGE_SIZE - next % YAB_WIRE_PAGE_SIZE;

		if (length > size - to)
			length = size - to;
		to += length;
		if (!yab_pagemap_is_present(&store->map, next / YAB_WIRE_PAGE_SIZE))
			continue;
		if (yab_memory_write(store->memory_fd, store->buffer + from, to - length - from,
				     at + from) < 0)
			return -1;
		from = to;
	}
	return yab_memory_write(store->memory_fd, store->buffer + from, to - from, at + from);
}

static void yab_store_count(struct yab_store *store, uint64_t pages, enum yab_wire_role role)
{
	if (role == YAB_WIRE_URGENT)
		store->statistics.urgent_pages += pages;
	else
		store->statistics.bulk_pages += pages;
}

/* [page, page + count) are whole and not present. */
static void yab_store_add(struct yab_store *store, uint64_t page, uint64_t count)
{
	struct yab_range *last = store->range_count ? &store->ranges[store->range_count - 1] : NULL;

	if (last && last->page + last->count == page) {
		last->count += count;
		return;
	}
	store->ranges[store->range_count++] = (struct yab_range){
		.page = page,
		.count = count,
		.state = YAB_RANGE_PRESENT,
	};
}

void yab_store_settle(struct yab_store *store, uint64_t page, enum yab_wire_role role)
{
	store->statistics.data_pages++;
	yab_store_count(store, 1, role);
	if (yab_pagemap_is_present(&store->map, page))
		store->statistics.duplicate_pages++;
	else
		yab_store_add(store, page, 1);
}

/*
 * Makes [page, page + count) zero, none of which is present. Nearly always they
 * are holes and that is that. A page that a lost connection, another connection or
 * a worker before this one left half received is not a hole: the file is asked,
 * nobody's memory of it. 0, or -1 with errno.
 */
static int yab_store_empty(struct yab_store *store, uint64_t page, uint64_t count)
{
	const off_t data = lseek(store->memory_fd, (off_t)(page * YAB_WIRE_PAGE_SIZE), SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? 0 : -1;
	if ((uint64_t)data / YAB_WIRE_PAGE_SIZE >= page + count)
		return 0;
	return yab_memory_punch(store->memory_fd, page, count);
}

int yab_store_clear(struct yab_store *store, uint64_t page, uint64_t count,
		    enum yab_wire_role role, uint64_t *done)
{
	const uint64_t first = page, end = page + count;
	uint64_t run, missing;
	int result = 0;

	while (page < end) {
		if (!yab_pagemap_next_missing(&store->map, page, end, &run, &missing)) {
			store->statistics.duplicate_pages += end - page;
			page = end;
			break;
		}
		if (store->range_count == YAB_RANGES_MAX)
			break;
		result = yab_store_empty(store, run, missing);
		if (result < 0)
			break;
		store->statistics.duplicate_pages += run - page;
		yab_store_add(store, run, missing);
		page = run + missing;
	}
	*done = page - first;
	store->statistics.zero_pages += *done;
	yab_store_count(store, *done, role);
	return result;
}

int yab_store_flush(struct yab_store *store)
{
	/* Whole, in place, and not the guest's yet. */
	for (size_t i = 0; store->checksums && i < store->range_count; i++)
		yab_checksums_add(store->checksums, store->memory_fd, store->ranges[i].page,
				  store->ranges[i].count);
	if (store->range_count && store->pager_fd >= 0 &&
	    store->declare(store->pager_fd, store->ranges, store->range_count) < 0)
		return -1;
	for (size_t i = 0; i < store->range_count; i++) {
		const struct yab_range *range = &store->ranges[i];

		yab_pagemap_mark_present(&store->map, range->page, range->count);
		yab_touches_end(&store->touches, range->page, range->count, store->waits);
	}
	store->range_count = 0;
	store->statistics.present = store->map.present;
	return 0;
}
