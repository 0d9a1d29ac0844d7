// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backing_file.h"
#include "memory.h"

struct yab_backing_of_file {
	struct yab_backing common;
	int fd;
	/*
	 * A mapping that nobody can touch, for mincore(), which needs no page tables. NULL:
	 * an image, of which no part may be in memory at all.
	 */
	void *memory;
	bool no_holes;		/* the file system cannot tell them */
	/* Whose it is, and who may write to it: see yab_backing_memory_is_told(). */
	uid_t owner;
	mode_t mode;
};

static struct yab_backing_of_file *yab_backing_file(struct yab_backing *backing)
{
	return (struct yab_backing_of_file *)backing;
}

static bool yab_backing_file_is_whole(const struct yab_backing_of_file *file)
{
	/* Not by fstat(), which the sandbox does not let through. */
	const off_t size = lseek(file->fd, 0, SEEK_END);

	return size >= 0 && (uint64_t)size / YAB_WIRE_PAGE_SIZE >= file->common.pages;
}

/*
 * mincore() tells those who own the file or may write to it; to all others every page is
 * resident. Asked each time, for a worker that enters its sandbox becomes somebody else. A
 * group's right to write is no help.
 */
static bool yab_backing_memory_is_told(const struct yab_backing_of_file *file)
{
	const uid_t me = geteuid();

	return !me || me == file->owner || (file->mode & 0002);
}

/*
 * mincore() sorts out nearly all pages in one call. What it calls absent is a hole or
 * swapped out, which SEEK_DATA tells. (The other way round, by SEEK_HOLE, the kernel would
 * walk over all data of a shmem file up to the next hole.)
 */
static void yab_backing_memory_look(struct yab_backing *backing, uint64_t page, uint64_t count,
				    uint8_t *absent)
{
	const struct yab_backing_of_file *file = yab_backing_file(backing);
	uint8_t *memory = file->memory;

	if (!yab_backing_memory_is_told(file) ||
	    mincore(memory + page * YAB_WIRE_PAGE_SIZE, count * YAB_WIRE_PAGE_SIZE, absent) < 0) {
		memset(absent, 1, count);
		return;
	}
	for (uint64_t i = 0; i < count; i++)
		absent[i] = !(absent[i] & 1);
}

/* File systems know extents, and tell where one ends without looking at the data. */
static void yab_backing_image_look(struct yab_backing *backing, uint64_t page, uint64_t count,
				   uint8_t *absent)
{
	struct yab_backing_of_file *file = yab_backing_file(backing);
	uint64_t at = page;

	memset(absent, 0, count);
	while (at < page + count && !file->no_holes) {
		const off_t data = lseek(file->fd, (off_t)(at * YAB_WIRE_PAGE_SIZE), SEEK_DATA);
		uint64_t next = page + count;
		off_t hole;

		if (data < 0 && errno != ENXIO) {
			file->no_holes = true;
			return;
		}
		if (data >= 0 && (uint64_t)data / YAB_WIRE_PAGE_SIZE < next)
			next = (uint64_t)data / YAB_WIRE_PAGE_SIZE;
		memset(absent + (at - page), 1, next - at);
		if (data < 0 || next == page + count)
			return;
		/* A page of which a part is data is no hole. */
		hole = lseek(file->fd, data, SEEK_HOLE);
		if (hole < 0)
			return;
		at = ((uint64_t)hole + YAB_WIRE_PAGE_SIZE - 1) / YAB_WIRE_PAGE_SIZE;
		if (at <= next)
			at = next + 1;
	}
}

static int yab_backing_file_hole_end(struct yab_backing *backing, uint64_t page, uint64_t *end)
{
	struct yab_backing_of_file *file = yab_backing_file(backing);
	/* The offset is shared with nobody who uses it: QEMU maps its memory. */
	const off_t data = lseek(file->fd, (off_t)(page * YAB_WIRE_PAGE_SIZE), SEEK_DATA);

	*end = page;
	if (data >= 0) {
		*end = (uint64_t)data / YAB_WIRE_PAGE_SIZE;
	} else if (errno == ENXIO) {
		/* No data up to the end, or the end is not where it was: those are no zeros. */
		if (!yab_backing_file_is_whole(file)) {
			errno = ENODATA;
			return -1;
		}
		*end = backing->pages;
	}
	if (*end > backing->pages)
		*end = backing->pages;
	return 0;
}

/* A disk that fails is not the connection's failure, and people will want to know where. */
static void yab_backing_file_note(struct yab_backing *backing, uint64_t at)
{
	if (errno != EIO)
		return;
	snprintf(backing->unread, sizeof(backing->unread),
		 "the disk cannot read the pages from %llu on (Input/output error)",
		 (unsigned long long)(at / YAB_WIRE_PAGE_SIZE));
}

static int yab_backing_file_read(struct yab_backing *backing, uint8_t *bytes, uint64_t at,
				 size_t size)
{
	const struct yab_backing_of_file *file = yab_backing_file(backing);

	if (!yab_memory_read(file->fd, bytes, size, &at))
		return 0;
	yab_backing_file_note(backing, at);
	return -1;
}

/* The pages go from the page cache to the socket by reference. */
static ssize_t yab_backing_file_send(struct yab_backing *backing, struct yab_socket *socket,
				     uint64_t at, size_t size)
{
	const int fd = yab_backing_file(backing)->fd;
	const ssize_t n = yab_socket_send_file(socket, fd, (off_t)at, size);

	if (n < 0)
		yab_backing_file_note(backing, at);
	return n;
}

static void yab_backing_file_free(struct yab_backing *backing)
{
	struct yab_backing_of_file *file = yab_backing_file(backing);

	if (file->memory)
		munmap(file->memory, backing->pages * YAB_WIRE_PAGE_SIZE);
	free(file);
}

static const struct yab_backing_ops yab_backing_memory_ops = {
	.look = yab_backing_memory_look,
	.hole_end = yab_backing_file_hole_end,
	.read = yab_backing_file_read,
	.send = yab_backing_file_send,
	.free = yab_backing_file_free,
	.gone = "the guest's memory file was truncated: its pages are lost",
};

static const struct yab_backing_ops yab_backing_image_ops = {
	.look = yab_backing_image_look,
	.hole_end = yab_backing_file_hole_end,
	.read = yab_backing_file_read,
	.send = yab_backing_file_send,
	.free = yab_backing_file_free,
	.gone = "the image was truncated: its pages are lost",
};

static struct yab_backing *yab_backing_file_new(int fd, uint64_t pages,
						const struct yab_backing_ops *ops)
{
	struct yab_backing_of_file *file = calloc(1, sizeof(*file));
	struct stat st;

	if (!file)
		return NULL;
	file->common.ops = ops;
	file->common.pages = pages;
	file->fd = fd;
	if (!pages || !yab_backing_file_is_whole(file) || fstat(fd, &st) < 0) {
		free(file);
		errno = EINVAL;
		return NULL;
	}
	file->owner = st.st_uid;
	file->mode = st.st_mode;
	return &file->common;
}

struct yab_backing *yab_backing_memory(int fd, uint64_t pages)
{
	struct yab_backing *backing = yab_backing_file_new(fd, pages, &yab_backing_memory_ops);
	void *memory;
	int error;

	if (!backing)
		return NULL;
	memory = mmap(NULL, pages * YAB_WIRE_PAGE_SIZE, PROT_NONE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		error = errno;
		free(backing);
		errno = error;
		return NULL;
	}
	yab_backing_file(backing)->memory = memory;
	return backing;
}

struct yab_backing *yab_backing_image(int fd, uint64_t pages)
{
	return yab_backing_file_new(fd, pages, &yab_backing_image_ops);
}
