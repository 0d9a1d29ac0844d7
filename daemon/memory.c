// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "wire.h"

int yab_memory_write(int fd, const void *bytes, size_t size, uint64_t at)
{
	const uint8_t *next = bytes;

	while (size) {
		const ssize_t n = pwrite(fd, next, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!n)
				errno = EIO;
			return -1;
		}
		next += n;
		size -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

int yab_memory_punch(int fd, uint64_t page, uint64_t count)
{
	int ret;

	do {
		ret = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)(page * YAB_WIRE_PAGE_SIZE),
				(off_t)(count * YAB_WIRE_PAGE_SIZE));
	} while (ret < 0 && errno == EINTR);
	return ret;
}

uint64_t yab_memory_used(int fd)
{
	struct stat st;

	/* Blocks of 512 bytes, whatever the file system's are; what is swapped out counts. */
	return fd < 0 || fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}
