// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "child.h"
#include "memory.h"
#include "wire.h"

#define YAB_COPY_BLOCK	(64 * YAB_WIRE_PAGE_SIZE)

struct yab_copy {
	struct yab_child *child;
	int words;		/* the process's last ones come from here */
	yab_copy_cb cb;
	void *arg;
};

/* As read(), which signals do not interrupt. */
static ssize_t yab_copy_read(int fd, void *bytes, size_t size)
{
	ssize_t n;

	do {
		n = read(fd, bytes, size);
	} while (n < 0 && errno == EINTR);
	return n;
}

static int yab_copy_state(const struct yab_copy_files *files, uint8_t *block)
{
	uint64_t at = 0;
	ssize_t n;

	while ((n = yab_copy_read(files->socket, block, YAB_COPY_BLOCK)) > 0) {
		if (yab_memory_write(files->state, block, (size_t)n, at) < 0)
			return -1;
		at += (uint64_t)n;
	}
	if (!n && !at)
		errno = ENODATA;
	return n < 0 || !at ? -1 : fsync(files->state);
}

/* Those of the @size bytes that are not zero, page by page: the rest of the file is holes. */
static int yab_copy_block(int image, const uint8_t *block, size_t size, uint64_t at)
{
	static const uint8_t zeros[YAB_WIRE_PAGE_SIZE];
	size_t first = 0, next = 0;

	while (next < size) {
		for (; next < size; next += sizeof(zeros))
			if (!memcmp(block + next, zeros, sizeof(zeros)))
				break;
		if (next > first &&
		    yab_memory_write(image, block + first, next - first, at + first) < 0)
			return -1;
		next += sizeof(zeros);
		first = next;
	}
	return 0;
}

/* The data from byte *@at up to a hole or the end; *@at becomes where that begins. */
static int yab_copy_extent(const struct yab_copy_files *files, uint8_t *block, uint64_t *at,
			   uint64_t end)
{
	while (*at < end) {
		const size_t size = end - *at < YAB_COPY_BLOCK ? end - *at : YAB_COPY_BLOCK;
		const uint64_t from = *at;

		if (yab_memory_read(files->memory, block, size, at) < 0 ||
		    yab_copy_block(files->image, block, size, from) < 0)
			return -1;
	}
	return 0;
}

static int yab_copy_memory(const struct yab_copy_files *files, uint8_t *block)
{
	uint64_t at = 0;
	off_t data, hole;

	if (ftruncate(files->image, (off_t)files->size) < 0)
		return -1;
	while (at < files->size) {
		data = lseek(files->memory, (off_t)at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? -1 : lseek(files->memory, data, SEEK_HOLE);
		if (hole < 0)
			return -1;
		/* Pages are data or holes as a whole, and the size is one of pages. */
		at = (uint64_t)data;
		if (yab_copy_extent(files, block, &at, (uint64_t)hole) < 0)
			return -1;
	}
	return fsync(files->image);
}

int yab_copy_run(const struct yab_copy_files *files, const char **what)
{
	uint8_t *block = malloc(YAB_COPY_BLOCK);
	int result;

	*what = "the device state";
	result = block ? yab_copy_state(files, block) : -1;
	if (!result) {
		*what = "the memory";
		result = yab_copy_memory(files, block);
	}
	free(block);
	return result;
}

static int yab_copy_compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/*
 * Nothing else is the process's: of locks, regions and sockets it would be one more owner.
 * What it calls of the C library is all right without exec(), for we are one thread.
 */
static void yab_copy_close_others(int *keep, size_t count)
{
	unsigned int first = 0;

	qsort(keep, count, sizeof(*keep), yab_copy_compare);
	for (size_t i = 0; i < count; i++) {
		if ((unsigned int)keep[i] > first)
			close_range(first, (unsigned int)keep[i] - 1, 0);
		first = (unsigned int)keep[i] + 1;
	}
	close_range(first, ~0U, 0);
}

static void __attribute__((noreturn)) yab_copy_child(const struct yab_copy_files *files,
						     int words, pid_t parent)
{
	int keep[] = { files->socket, files->state, files->memory, files->image, words };
	char text[256];
	const char *what;
	sigset_t none;
	int length;

	setsid();
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	/* A limit (ulimit -f) is an error, as it is for the supervisor. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_NAME, "yabusame-copy");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	yab_copy_close_others(keep, sizeof(keep) / sizeof(*keep));
	if (!yab_copy_run(files, &what))
		_exit(0);
	length = snprintf(text, sizeof(text), "%s cannot be written: %s", what, strerror(errno));
	if (write(words, text, (size_t)length) < 0)
		_exit(2);
	_exit(1);
}

static void yab_copy_exited(int status, void *arg)
{
	struct yab_copy *copy = arg;
	char text[256], ending[64];
	ssize_t n;

	copy->child = NULL;
	if (!status) {
		copy->cb(NULL, copy->arg);
		return;
	}
	n = yab_copy_read(copy->words, text, sizeof(text) - 1);
	if (n > 0) {
		text[n] = '\0';
	} else {
		yab_child_describe(status, ending, sizeof(ending));
		snprintf(text, sizeof(text), "the process that writes the files %s", ending);
	}
	copy->cb(text, copy->arg);
}

struct yab_copy *yab_copy_new(struct event_base *base, const struct yab_copy_files *files,
			      yab_copy_cb cb, void *arg)
{
	struct yab_copy *copy = calloc(1, sizeof(*copy));
	const pid_t parent = getpid();
	int ends[2], error;
	pid_t pid;

	if (!copy)
		return NULL;
	copy->cb = cb;
	copy->arg = arg;
	if (pipe2(ends, O_CLOEXEC) < 0)
		goto err_copy;
	copy->words = ends[0];
	pid = fork();
	if (!pid)
		yab_copy_child(files, ends[1], parent);
	error = errno;
	close(ends[1]);
	errno = error;
	if (pid > 0)
		copy->child = yab_child_watch(base, pid, yab_copy_exited, copy);
	if (copy->child)
		return copy;
	error = errno;
	close(ends[0]);
	errno = error;
err_copy:
	error = errno;
	free(copy);
	errno = error;
	return NULL;
}

void yab_copy_free(struct yab_copy *copy)
{
	if (!copy)
		return;
	if (copy->child)
		yab_child_disown(copy->child, 0);
	close(copy->words);
	free(copy);
}
