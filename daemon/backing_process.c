// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backing_process.h"

/* Of an entry of /proc/PID/pagemap: the page is in memory, or swapped out. */
#define YAB_PAGEMAP_THERE	(3ULL << 62)
/* Entries that are read at once. */
#define YAB_PAGEMAP_ENTRIES	512

struct yab_backing_of_process {
	struct yab_backing common;
	int pidfd;
	int pagemap_fd;		/* -1: it cannot be read, and every page is */
	size_t count;
	struct yab_backing_span spans[YAB_BACKING_SPANS_MAX];
	/* Anonymous memory: what was never touched is zero. Else it may be in a file. */
	bool anonymous[YAB_BACKING_SPANS_MAX];
};

static struct yab_backing_of_process *yab_backing_of(struct yab_backing *backing)
{
	return (struct yab_backing_of_process *)backing;
}

/*
 * Asked after each look by number: a process that is not reaped by then had its number
 * all the time, so what was seen is its own and not that of one that came after it.
 */
static int yab_backing_process_check(const struct yab_backing_of_process *process)
{
	struct pollfd end = { .fd = process->pidfd, .events = POLLIN };
	int n;

	do {
		n = poll(&end, 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n)
		errno = ESRCH;
	return n ? -1 : 0;
}

/* The span that @page is in. */
static size_t yab_backing_span_of(const struct yab_backing_of_process *process, uint64_t page)
{
	size_t i = process->count - 1;

	while (process->spans[i].page > page)
		i--;
	return i;
}

static uint64_t yab_backing_span_end(const struct yab_backing_span *span)
{
	return span->page + span->length / YAB_WIRE_PAGE_SIZE;
}

/*
 * absent[] for pages of one span, as few as one read brings. Returns how many. Where nothing
 * can be told, none is.
 */
static uint64_t yab_backing_process_scan(const struct yab_backing_of_process *process,
					 uint64_t page, uint64_t count, uint8_t *absent)
{
	const size_t which = yab_backing_span_of(process, page);
	const struct yab_backing_span *span = &process->spans[which];
	uint64_t entries[YAB_PAGEMAP_ENTRIES], number;
	ssize_t n;

	if (count > YAB_PAGEMAP_ENTRIES)
		count = YAB_PAGEMAP_ENTRIES;
	if (count > yab_backing_span_end(span) - page)
		count = yab_backing_span_end(span) - page;
	memset(absent, 0, count);
	if (process->pagemap_fd < 0 || !process->anonymous[which])
		return count;
	number = span->address / YAB_WIRE_PAGE_SIZE + (page - span->page);
	/* Of a process that is gone, or has become another program, there are none. */
	n = pread(process->pagemap_fd, entries, count * sizeof(entries[0]),
		  (off_t)(number * sizeof(entries[0])));
	for (ssize_t i = 0; i < n / (ssize_t)sizeof(entries[0]); i++)
		absent[i] = !(entries[i] & YAB_PAGEMAP_THERE);
	return count;
}

static void yab_backing_process_look(struct yab_backing *backing, uint64_t page, uint64_t count,
				     uint8_t *absent)
{
	const struct yab_backing_of_process *process = yab_backing_of(backing);

	for (uint64_t done = 0; done < count;)
		done += yab_backing_process_scan(process, page + done, count - done, absent + done);
}

/* As far as one scan sees. */
static int yab_backing_process_hole_end(struct yab_backing *backing, uint64_t page, uint64_t *end)
{
	const struct yab_backing_of_process *process = yab_backing_of(backing);
	uint8_t absent[YAB_PAGEMAP_ENTRIES];
	uint64_t count;

	count = yab_backing_process_scan(process, page, backing->pages - page, absent);
	*end = page;
	while (*end < page + count && absent[*end - page])
		(*end)++;
	return yab_backing_process_check(process);
}

static int yab_backing_process_read(struct yab_backing *backing, uint8_t *bytes, uint64_t at,
				    size_t size)
{
	const struct yab_backing_of_process *process = yab_backing_of(backing);

	while (size) {
		const struct yab_backing_span *span = &process->spans[yab_backing_span_of(process,
							at / YAB_WIRE_PAGE_SIZE)];
		const uint64_t offset = at - span->page * YAB_WIRE_PAGE_SIZE;
		struct iovec here = { .iov_base = bytes, .iov_len = size };
		struct iovec there = { .iov_base = (void *)(uintptr_t)(span->address + offset) };
		ssize_t n;

		if (here.iov_len > span->length - offset)
			here.iov_len = span->length - offset;
		there.iov_len = here.iov_len;
		n = process_vm_readv(process->common.process, &here, 1, &there, 1, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			const int error = n < 0 ? errno : EFAULT;

			/* Whatever it says: that it is gone is the better reason. */
			if (yab_backing_process_check(process) == 0)
				errno = error;
			return -1;
		}
		bytes += n;
		at += (uint64_t)n;
		size -= (size_t)n;
	}
	return yab_backing_process_check(process);
}

static void yab_backing_process_free(struct yab_backing *backing)
{
	struct yab_backing_of_process *process = yab_backing_of(backing);

	if (process->pagemap_fd >= 0)
		close(process->pagemap_fd);
	free(process);
}

static const struct yab_backing_ops yab_backing_process_ops = {
	.look = yab_backing_process_look,
	.hole_end = yab_backing_process_hole_end,
	.read = yab_backing_process_read,
	.free = yab_backing_process_free,
	.gone = "the process that has the guest's memory is gone: its pages are lost",
};

/* The number of the process, from the descriptor itself: a number alone may be another's by now. */
static pid_t yab_backing_pid_of(int pidfd)
{
	char path[64], line[128];
	pid_t pid = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, "Pid:", 4))
			pid = (pid_t)strtol(line + 4, NULL, 10);
	fclose(file);
	if (pid > 0)
		return pid;
	/* Below 0 once it has ended; without such a line it is no pidfd. */
	errno = pid < 0 ? ESRCH : EBADF;
	return -1;
}

static int yab_backing_spans_check(const struct yab_backing_span *spans, size_t count,
				   uint64_t pages)
{
	uint64_t next = 0;

	if (!count || count > YAB_BACKING_SPANS_MAX)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (spans[i].page != next || !spans[i].length ||
		    spans[i].address % YAB_WIRE_PAGE_SIZE || spans[i].length % YAB_WIRE_PAGE_SIZE ||
		    spans[i].length > UINT64_MAX - spans[i].address)
			return -1;
		next += spans[i].length / YAB_WIRE_PAGE_SIZE;
	}
	return next == pages ? 0 : -1;
}

/* Which spans are private and of no file, says /proc/PID/maps. */
static void yab_backing_find_anonymous(struct yab_backing_of_process *process)
{
	uint64_t covered[YAB_BACKING_SPANS_MAX] = { 0 };
	unsigned long long from, to, inode;
	char path[64], rights[5];
	char *line = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", process->common.process);
	file = fopen(path, "re");
	if (!file)
		return;
	while (getline(&line, &size, file) >= 0) {
		if (sscanf(line, "%llx-%llx %4s %*s %*s %llu", &from, &to, rights, &inode) != 4 ||
		    rights[3] != 'p' || inode)
			continue;
		for (size_t i = 0; i < process->count; i++) {
			const struct yab_backing_span *span = &process->spans[i];
			const uint64_t first = from > span->address ? from : span->address;
			const uint64_t end = to < span->address + span->length ? to :
					     span->address + span->length;

			if (first < end)
				covered[i] += end - first;
		}
	}
	for (size_t i = 0; i < process->count; i++)
		process->anonymous[i] = covered[i] == process->spans[i].length;
	free(line);
	fclose(file);
}

struct yab_backing *yab_backing_process(int pidfd, const struct yab_backing_span *spans,
					size_t count, uint64_t pages)
{
	struct yab_backing_of_process *process;
	char path[64];
	pid_t pid;

	if (yab_backing_spans_check(spans, count, pages) < 0) {
		errno = EINVAL;
		return NULL;
	}
	pid = yab_backing_pid_of(pidfd);
	if (pid < 0)
		return NULL;
	process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->common.ops = &yab_backing_process_ops;
	process->common.pages = pages;
	process->common.process = pid;
	process->pidfd = pidfd;
	process->count = count;
	memcpy(process->spans, spans, count * sizeof(*spans));
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	process->pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
	yab_backing_find_anonymous(process);
	if (yab_backing_process_check(process) < 0) {
		yab_backing_process_free(&process->common);
		errno = ESRCH;
		return NULL;
	}
	return &process->common;
}
