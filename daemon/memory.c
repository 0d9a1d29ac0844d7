// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/yabusame.h>

#include "memory.h"
#include "wire.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL		0x0008U
#endif

int yab_memory_make(const char *label, uint64_t size)
{
	int error;
	int fd;

	if (!size || size > INT64_MAX) {
		errno = EINVAL;
		return -1;
	}
	/* Linux 6.3 and later log a warning when nothing is said about execution. */
	fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size) < 0)
		goto close_memory;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		goto close_memory;
	return fd;

close_memory:
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

int yab_memory_read(int fd, void *bytes, size_t size, uint64_t *at)
{
	uint8_t *next = bytes;

	while (size) {
		const ssize_t n = pread(fd, next, size, (off_t)*at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!n)
				errno = ENODATA;
			return -1;
		}
		next += n;
		size -= (size_t)n;
		*at += (uint64_t)n;
	}
	return 0;
}

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

/* Is the link @name in @folder the memory file @label of @size bytes? It, opened, or -1. */
static int yab_memory_open_link(int folder, const char *name, const char *label, uint64_t size)
{
	struct stat status;
	char target[300];
	ssize_t length;
	int fd;

	length = readlinkat(folder, name, target, sizeof(target) - 1);
	if (length < 0)
		return -1;
	target[length] = '\0';
	if (strcmp(target, label))
		return -1;
	fd = openat(folder, name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (!fstat(fd, &status) && S_ISREG(status.st_mode) && (uint64_t)status.st_size == size)
		return fd;
	close(fd);
	return -1;
}

static int yab_memory_search(pid_t pid, const char *links, const char *label, uint64_t size)
{
	struct dirent *entry;
	char path[64];
	DIR *folder;
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, links);
	folder = opendir(path);
	while (folder && fd < 0 && (entry = readdir(folder)))
		fd = yab_memory_open_link(dirfd(folder), entry->d_name, label, size);
	if (folder)
		closedir(folder);
	return fd;
}

int yab_memory_find(const struct yab_process *process, const char *name, uint64_t size)
{
	char label[YAB_NAME_SIZE + 64];
	int fd;

	snprintf(label, sizeof(label), "/memfd:" YAB_MEMORY_LABEL "%s (deleted)", name);
	fd = yab_memory_search(process->pid, "fd", label, size);
	/* A QEMU that maps a region has no descriptor of what is behind it. */
	if (fd < 0)
		fd = yab_memory_search(process->pid, "map_files", label, size);
	/* If it lives now it did all the time: what was found is its own, whoever may claim so. */
	if (fd >= 0 && yab_process_lives(process))
		return fd;
	if (fd >= 0)
		close(fd);
	errno = ENOENT;
	return -1;
}
