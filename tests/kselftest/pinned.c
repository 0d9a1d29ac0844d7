// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking of pages that somebody reads into for a long time without a fault: they are
 * reported as long as that goes on, and once more when it has ended, whether the pages are
 * pinned for it or only referred to.
 *
 * A file in a FUSE file system answers reads when the test says so. Direct reads from it come
 * to the pages by FUSE itself, direct reads from a loop device over it by the block layer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/loop.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 64
#define PAGE 9
#define FILE_PAGES 64

static struct fixture f;
static int fuse;
static char path[32] = "/tmp/pinned.XXXXXX";

/* --- a file system of one file ----------------------------------------------------------- */

struct request {
	struct fuse_in_header header;
	unsigned char rest[256 * 1024];
};

static struct request request;

/* What the kernel waits for: an answer to @unique. */
static void answer(uint64_t unique, int error, const void *data, size_t length)
{
	struct fuse_out_header header = {
		.len = sizeof(header) + length,
		.error = -error,
		.unique = unique,
	};
	struct iovec parts[] = {
		{ .iov_base = &header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)data, .iov_len = length },
	};

	if (writev(fuse, parts, 2) != header.len)
		tap_bail("answer to FUSE request %u", request.header.opcode);
}

static void answer_init(void)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_write = 4096,
		.max_readahead = 16384,
	};

	answer(request.header.unique, 0, &out, sizeof(out));
}

static void answer_attributes(void)
{
	struct fuse_attr_out out = {
		.attr_valid = 1000000,
		.attr = {
			.ino = 1,
			.size = FILE_PAGES * page_size,
			.mode = S_IFREG | 0600,
			.nlink = 1,
		},
	};

	answer(request.header.unique, 0, &out, sizeof(out));
}

static void answer_open(void)
{
	struct fuse_open_out out = { .fh = 1 };

	answer(request.header.unique, 0, &out, sizeof(out));
}

/* What is in the file: other bytes than in the region. */
static void answer_read(void)
{
	static const unsigned char content[256 * 1024] = { [0 ... 256 * 1024 - 1] = 0xb5 };
	const struct fuse_read_in *in = (const void *)request.rest;

	answer(request.header.unique, 0, content, in->size);
}

/* Does the request ask for the page that goes to the region? */
static bool is_awaited(void)
{
	const struct fuse_read_in *in = (const void *)request.rest;
	uint64_t at = PAGE * page_size;

	return request.header.opcode == FUSE_READ && in->offset <= at && at < in->offset + in->size;
}

static void serve(void)
{
	switch (request.header.opcode) {
	case FUSE_INIT:
		answer_init();
		break;
	case FUSE_GETATTR:
		answer_attributes();
		break;
	case FUSE_OPEN:
		answer_open();
		break;
	case FUSE_READ:
		answer_read();
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		answer(request.header.unique, 0, NULL, 0);
		break;
	default:
		answer(request.header.unique, ENOSYS, NULL, 0);
		break;
	}
}

/*
 * Serves requests until the one that is awaited comes, which is left unanswered: true. False
 * if the process @reader (a pidfd) is gone first.
 */
static bool serve_until_read(int reader)
{
	struct pollfd pollers[] = {
		{ .fd = fuse, .events = POLLIN },
		{ .fd = reader, .events = POLLIN },
	};

	for (;;) {
		if (poll(pollers, 2, -1) < 0)
			tap_bail("poll");
		if (!(pollers[0].revents & POLLIN)) {
			if (pollers[1].revents & POLLIN)
				return false;
			continue;
		}
		if (read(fuse, &request, sizeof(request)) < (ssize_t)sizeof(request.header))
			continue; /* it was withdrawn */
		if (is_awaited())
			return true;
		serve();
	}
}

/* The root of the file system is its file. */
static bool mount_file(void)
{
	char options[100];
	int file;

	(void)!system("modprobe -q fuse 2>/dev/null");
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		return false;
	file = mkstemp(path);
	close(file);
	snprintf(options, sizeof(options), "fd=%d,rootmode=%o,user_id=0,group_id=0", fuse,
		 S_IFREG | 0600);
	return file >= 0 && !mount("kselftest", path, "fuse", MS_NOSUID | MS_NODEV, options);
}

/* --- readers ------------------------------------------------------------------------------- */

static int open_file(void)
{
	return open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
}

static int loop = -1;

static int open_loop(void)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	char device[32];

	if (file < 0)
		return -1;
	loop = loop_open(file, O_RDONLY, device, sizeof(device));
	close(file);
	if (loop < 0)
		return -1;
	return open(device, O_RDONLY | O_DIRECT | O_CLOEXEC);
}

/* In a process of its own, since the file system is this one's. */
static pid_t start_reader(int (*open_source)(void))
{
	pid_t pid = fork();
	unsigned char *at = f.map + PAGE * page_size;
	int source;
	bool right;

	if (pid < 0)
		tap_bail("fork");
	if (pid)
		return pid;
	close(fuse);
	source = open_source();
	if (source < 0)
		_exit(2);
	right = pread(source, at, page_size, PAGE * page_size) == (ssize_t)page_size;
	if (loop >= 0)
		ioctl(loop, LOOP_CLR_FD);
	_exit(!right);
}

/* Is @page reported in a round? */
static bool is_reported(uint64_t page)
{
	uint64_t bits[PAGES / 64];

	if (get_bitmap(f.pager, YAB_IOC_DIRTY, 0, PAGES, bits) < 0)
		tap_bail("YAB_IOC_DIRTY");
	return bits[page / 64] >> page % 64 & 1;
}

static void check(int (*open_source)(void), const char *what)
{
	int status, reader, round, times = 0;
	pid_t pid;

	fixture_open(&f, PAGES);
	declare(f.pager, 0, PAGES);
	if (track(f.pager, true))
		tap_bail("YAB_IOC_TRACK");
	pid = start_reader(open_source);
	reader = syscall(SYS_pidfd_open, pid, 0);
	if (reader < 0)
		tap_bail("pidfd_open");
	if (!serve_until_read(reader)) {
		waitpid(pid, &status, 0);
		tap_skip("%s into a page: not to be had here", what);
		tap_skip("its end");
		goto out;
	}
	for (round = 0; round < 5; round++)
		times += is_reported(PAGE);
	tap_ok(times == round, "%s into a page, under way: reported by %d of %d rounds", what,
	       times, round);
	answer_read();
	serve_until_read(reader);
	waitpid(pid, &status, 0);
	tap_ok(WIFEXITED(status) && !WEXITSTATUS(status) &&
	       f.view[PAGE * page_size] == 0xb5 && is_reported(PAGE),
	       "and once more after its end");
out:
	close(reader);
	fixture_close(&f);
}

int main(void)
{
	tap_start(4, 60);
	if (!mount_file()) {
		tap_skip("a direct read of a file: no FUSE here");
		tap_skip("its end");
		tap_skip("a direct read of a disk: no FUSE here");
		tap_skip("its end");
		return tap_end();
	}
	check(open_file, "a direct read of a file");
	check(open_loop, "a direct read of a disk");
	umount2(path, MNT_DETACH);
	close(fuse);
	unlink(path);
	return tap_end();
}
