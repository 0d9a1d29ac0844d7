// SPDX-License-Identifier: GPL-2.0
/*
 * Every way to touch a page: each waits for the page that is missing, asks for it once,
 * and goes on with its content.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 128

static struct fixture f;

/* Is @data what the page at @at was filled with? */
static bool same(const void *data, const unsigned char *at, size_t length)
{
	unsigned char page[4096];

	fill_page(page, (at - f.map) / page_size);
	return !memcmp(data, page, length);
}

/* Has @run work with @count missing pages in a thread, and answers in their order. */
static void answer(unsigned int count, void *(*run)(void *), const char *what)
{
	uint64_t first = fresh_pages(&f, count), page;
	bool right = true;
	pthread_t thread;
	void *result;

	thread_start(&thread, run, page_of(&f, first));
	for (page = first; page < first + count; page++) {
		right = next_fault(&f).page == page && right;
		provide_page(&f, page);
	}
	pthread_join(thread, &result);
	tap_ok(right && result && no_fault(&f), "%s", what);
}

static int scratch_file(const void *data, size_t length)
{
	char path[] = "/tmp/kinds.XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	if (fd < 0 || pwrite(fd, data, length, 0) != (ssize_t)length)
		tap_bail("scratch file");
	return fd;
}

/* --- mappings ------------------------------------------------------------------ */

static void check_private(void)
{
	uint64_t page = fresh_pages(&f, 1);
	unsigned char *map = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, f.node,
				  page * page_size);
	struct yab_fault fault;
	struct toucher t;

	if (map == MAP_FAILED)
		tap_bail("private mapping");
	toucher_start(&t, map, false, 0);
	fault = next_fault(&f);
	tap_ok(fault.page == page && !fault.flags, "a read of a private mapping is a read fault");
	provide_page(&f, page);
	toucher_join(&t);
	tap_ok(page_is_filled(map, page), "and sees the content");
	map[7] = (unsigned char)~map[7];
	tap_ok(page_is_filled(f.view + page * page_size, page) &&
	       page_is_filled(page_of(&f, page), page) && !page_is_filled(map, page),
	       "a write after that copies: file and shared mapping do not change");
	munmap(map, page_size);
}

static void *run_populate(void *at)
{
	off_t offset = (unsigned char *)at - f.map;
	unsigned char *map = mmap(NULL, 3 * page_size, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_POPULATE, f.node, offset);
	bool ok = map != MAP_FAILED && is_mapped(map) && is_mapped(map + page_size) &&
		  is_mapped(map + 2 * page_size) && same(map, at, page_size);

	munmap(map, 3 * page_size);
	return ok ? at : NULL;
}

static void *run_populate_read(void *at)
{
	return !madvise(at, 3 * page_size, MADV_POPULATE_READ) &&
	       is_mapped((unsigned char *)at + page_size) ? at : NULL;
}

static void *run_mlock2(void *at)
{
	return mlock(at, 3 * page_size) || munlock(at, 3 * page_size) ||
	       !same(at, at, page_size) ? NULL : at;
}

/* In a child that has only these two pages of the region, now and later. */
static void *run_mlockall(void *at)
{
	off_t offset = (unsigned char *)at - f.map;
	pid_t pid = fork();

	if (!pid) {
		munmap(f.map, PAGES * page_size);
		if (mmap(at, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f.node,
			 offset) == MAP_FAILED || mlockall(MCL_CURRENT) || !is_mapped(at))
			_exit(1);
		at = (unsigned char *)at + page_size;
		if (mlockall(MCL_FUTURE) ||
		    mmap(at, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f.node,
			 offset + page_size) == MAP_FAILED || !is_mapped(at))
			_exit(2);
		_exit(0);
	}
	return !ending(pid) ? at : NULL;
}

static void *run_code(void *at)
{
	int (*function)(void) = (int (*)(void))(uintptr_t)at;

	return function() == 42 ? at : NULL;
}

static void check_code(void)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* return 42 */
	uint64_t page = fresh_pages(&f, 1);
	struct yab_fault fault;
	pthread_t thread;
	void *result;

	if (mprotect(page_of(&f, page), page_size, PROT_READ | PROT_WRITE | PROT_EXEC)) {
		tap_skip("code in a missing page: nothing is executed from this /dev");
		return;
	}
	thread_start(&thread, run_code, page_of(&f, page));
	fault = next_fault(&f);
	memcpy(f.view + page * page_size, code, sizeof(code));
	declare(f.pager, page, 1);
	pthread_join(thread, &result);
	tap_ok(fault.page == page && !fault.flags && result, "code in a missing page");
}

static void check_mappings(void)
{
	check_private();
	answer(3, run_populate, "MAP_POPULATE brings every page in");
	answer(3, run_populate_read, "MADV_POPULATE_READ, too");
	answer(3, run_mlock2, "mlock() of three pages, too");
	answer(2, run_mlockall, "mlockall() of what is mapped, and of what will be, too");
	check_code();
}

/* --- other processes ----------------------------------------------------------- */

static void *run_vm_readv(void *at)
{
	char buffer[200];
	struct iovec local = { .iov_base = buffer, .iov_len = sizeof(buffer) };
	struct iovec remote = { .iov_base = at, .iov_len = sizeof(buffer) };
	pid_t pid = child_idle();
	bool ok = process_vm_readv(pid, &local, 1, &remote, 1, 0) == sizeof(buffer) &&
		  same(buffer, at, sizeof(buffer));

	child_kill(pid);
	return ok ? at : NULL;
}

/* The last byte of the first page and the first of the second. */
static void *run_vm_writev(void *at)
{
	unsigned char *edge = (unsigned char *)at + page_size;
	struct iovec local = { .iov_base = "ab", .iov_len = 2 };
	struct iovec remote = { .iov_base = edge - 1, .iov_len = 2 };
	pid_t pid = child_idle();
	bool ok = process_vm_writev(pid, &local, 1, &remote, 1, 0) == 2 && edge[-1] == 'a' &&
		  edge[0] == 'b' && same(at, at, page_size - 1);

	child_kill(pid);
	return ok ? at : NULL;
}

/* A word of the first page is read, one of the second is written. */
static void *run_ptrace(void *at)
{
	unsigned char *second = (unsigned char *)at + page_size;
	pid_t pid = fork();
	bool ok = false;
	long word;

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, at, NULL);
	if (!errno && same(&word, at, sizeof(word)))
		ok = !ptrace(PTRACE_POKEDATA, pid, second, 0x6162636465666768L) &&
		     *(long *)second == 0x6162636465666768L;
	child_kill(pid);
	return ok ? at : NULL;
}

static void *run_proc_mem(void *at)
{
	pid_t pid = child_idle();
	char path[32], buffer[100];
	bool ok = false;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	if (pread(fd, buffer, 100, (off_t)(uintptr_t)at) == 100 && same(buffer, at, 100))
		ok = pwrite(fd, "new", 3, (off_t)(uintptr_t)at + page_size) == 3 &&
		     !memcmp((char *)at + page_size, "new", 3);
	close(fd);
	child_kill(pid);
	return ok ? at : NULL;
}

/* This one waits with the lock of the other's address space: it must be possible to kill it. */
static void check_proc_mem_killed(void)
{
	uint64_t page = fresh_pages(&f, 1);
	pid_t target = child_idle(), pid;

	pid = fork();
	if (!pid) {
		char path[32], byte;

		snprintf(path, sizeof(path), "/proc/%d/mem", target);
		_exit(pread(open(path, O_RDONLY), &byte, 1, (off_t)(uintptr_t)page_of(&f, page)));
	}
	next_fault(&f);
	wait_until_state(pid, "D");
	kill(pid, SIGKILL);
	tap_ok(ending(pid) < 0, "whoever waits at /proc/PID/mem can be killed");
	child_kill(target);
	tap_ok(true, "and so can the process that it reads");
	provide_page(&f, page);
}

static void check_many(void)
{
	uint64_t page = fresh_pages(&f, 1);
	pid_t pids[6];
	bool all = true;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		/* The first half through what they have inherited, the others by themselves. */
		if (i >= ARRAY_SIZE(pids) / 2) {
			int fd = open(f.path, O_RDWR);

			munmap(f.map, PAGES * page_size);
			f.map = mmap(NULL, PAGES * page_size, PROT_READ, i % 2 ? MAP_SHARED :
				     MAP_PRIVATE, fd, 0);
			close(fd);
		}
		_exit(!page_is_filled(page_of(&f, page), page));
	}
	tap_ok(next_fault(&f).page == page, "six processes touch a page");
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		wait_until_asleep(pids[i]);
	tap_ok(no_fault(&f), "which is asked for once");
	provide_page(&f, page);
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		all = !ending(pids[i]) && all;
	tap_ok(all, "and all of them go on with its content");
}

static void check_processes(void)
{
	if (process_vm_readv(getpid(), NULL, 0, NULL, 0, 0) < 0 && errno == ENOSYS) {
		tap_skip("process_vm_readv() in another process: not in this kernel");
		tap_skip("process_vm_writev() in another process: not in this kernel");
	} else {
		answer(1, run_vm_readv, "process_vm_readv() in another process");
		answer(2, run_vm_writev, "process_vm_writev() in another process, across two pages");
	}
	answer(2, run_ptrace, "PTRACE_PEEKDATA and PTRACE_POKEDATA");
	answer(2, run_proc_mem, "/proc/PID/mem of another process, read and written");
	check_proc_mem_killed();
	check_many();
}

/* --- copies by the kernel -------------------------------------------------------- */

static void *run_file_read(void *at)
{
	unsigned char *edge = (unsigned char *)at + page_size;
	char data[200];
	bool ok;
	int fd;

	memset(data, 'r', sizeof(data));
	fd = scratch_file(data, sizeof(data));
	ok = pread(fd, edge - 100, sizeof(data), 0) == sizeof(data) &&
	     !memcmp(edge - 100, data, sizeof(data)) && same(at, at, page_size - 100);
	close(fd);
	return ok ? at : NULL;
}

static void *run_file_write(void *at)
{
	unsigned char back[4096];
	int fd = scratch_file("", 0);
	bool ok = pwrite(fd, at, page_size, 0) == (ssize_t)page_size &&
		  pread(fd, back, page_size, 0) == (ssize_t)page_size && same(back, at, page_size);

	close(fd);
	return ok ? at : NULL;
}

static void *run_pipe_read(void *at)
{
	int fds[2];
	bool ok;

	if (pipe(fds) || write(fds[1], "pipe", 4) != 4)
		return NULL;
	ok = read(fds[0], at, page_size) == 4 && !memcmp(at, "pipe", 4);
	close(fds[0]);
	close(fds[1]);
	return ok ? at : NULL;
}

/* A present page, then the missing one. */
static void *run_writev(void *at)
{
	char here[10] = "present", back[110];
	struct iovec parts[2] = {
		{ .iov_base = here, .iov_len = sizeof(here) },
		{ .iov_base = at, .iov_len = 100 },
	};
	int fds[2];
	bool ok;

	if (pipe(fds))
		return NULL;
	ok = writev(fds[1], parts, 2) == 110 && read(fds[0], back, 110) == 110 &&
	     !memcmp(back, here, 10) && same(back + 10, at, 100);
	close(fds[0]);
	close(fds[1]);
	return ok ? at : NULL;
}

static void *run_vmsplice(void *at)
{
	struct iovec part = { .iov_base = at, .iov_len = page_size };
	unsigned char back[4096];
	int fds[2];
	bool ok;

	if (pipe(fds))
		return NULL;
	ok = vmsplice(fds[1], &part, 1, 0) == (ssize_t)page_size &&
	     read(fds[0], back, page_size) == (ssize_t)page_size && same(back, at, page_size);
	close(fds[0]);
	close(fds[1]);
	return ok ? at : NULL;
}

/* Sends the first page and receives into the second. */
static bool through(int from, int to, unsigned char *at)
{
	return send(from, at, 1000, 0) == 1000 &&
	       recv(to, at + page_size, 1000, MSG_WAITALL) == 1000 &&
	       same(at + page_size, at, 1000);
}

static void *run_unix(void *at)
{
	int fds[2];
	bool ok;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return NULL;
	ok = through(fds[0], fds[1], at);
	close(fds[0]);
	close(fds[1]);
	return ok ? at : NULL;
}

static void *run_tcp(void *at)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), from = socket(AF_INET, SOCK_STREAM, 0), to;
	bool ok;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(from, (struct sockaddr *)&address, sizeof(address)))
		return NULL;
	to = accept(listener, NULL, NULL);
	ok = through(from, to, at);
	close(from);
	close(to);
	close(listener);
	return ok ? at : NULL;
}

/* The name is nonsense; what counts is that the kernel can read it. */
static void *run_path(void *at)
{
	return access(at, F_OK) < 0 && errno != EFAULT ? at : NULL;
}

static void *run_futex_wait(void *at)
{
	uint32_t expected;
	unsigned char page[4096];

	fill_page(page, ((unsigned char *)at - f.map) / page_size);
	memcpy(&expected, page, sizeof(expected));
	/* Another value than the content's would be EAGAIN. */
	return syscall(SYS_futex, at, FUTEX_WAIT, expected, NULL) ? NULL : at;
}

static void *run_futex_wake(void *at)
{
	return syscall(SYS_futex, at, FUTEX_WAKE, 1) ? NULL : at;
}

static void check_futex_wait(void)
{
	uint64_t page = fresh_pages(&f, 1);
	struct yab_fault fault;
	pthread_t thread;
	void *result;

	thread_start(&thread, run_futex_wait, page_of(&f, page));
	fault = next_fault(&f);
	provide_page(&f, page);
	/* Through the pager's mapping: to a futex it is the same memory. */
	while (syscall(SYS_futex, f.view + page * page_size, FUTEX_WAKE, 1) == 0)
		sched_yield();
	pthread_join(thread, &result);
	tap_ok(fault.page == page && result, "a futex in a missing page: wait and wake");
}

/* Pins the page, as devices and io_uring do. */
static void *run_uring(void *at)
{
	struct io_uring_params params = { 0 };
	struct iovec buffer = { .iov_base = at, .iov_len = page_size };
	int ring = syscall(SYS_io_uring_setup, 1, &params);
	bool ok = !syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1);

	if (!ok)
		printf("# io_uring: %s\n", strerror(errno));
	close(ring);
	return ok ? at : NULL;
}

static void check_uring(void)
{
	static const char what[] = "a missing page as a registered buffer of io_uring";
	struct io_uring_params params = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1, &params);
	struct iovec present;
	uint64_t page;

	if (ring < 0) {
		tap_skip("%s: no io_uring here", what);
		return;
	}
	page = fresh_pages(&f, 1);
	provide_page(&f, page);
	present = (struct iovec){ .iov_base = page_of(&f, page), .iov_len = page_size };
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &present, 1) &&
	    errno == EOPNOTSUPP) {
		/* 6.1 knows shmem by its vm_ops. */
		tap_skip("%s: this kernel pins no mappings of files", what);
		close(ring);
		return;
	}
	close(ring);
	answer(1, run_uring, what);
}

static char loop_path[32];

static void *run_direct_write(void *at)
{
	int fd = open(loop_path, O_RDWR | O_DIRECT);
	unsigned char *back = aligned_alloc(page_size, page_size);
	bool ok = pwrite(fd, at, page_size, 0) == (ssize_t)page_size &&
		  pread(fd, back, page_size, 0) == (ssize_t)page_size && same(back, at, page_size);

	close(fd);
	free(back);
	return ok ? at : NULL;
}

static void *run_direct_read(void *at)
{
	int fd = open(loop_path, O_RDWR | O_DIRECT);
	unsigned char *data = aligned_alloc(page_size, page_size);
	bool ok;

	memset(data, 'd', page_size);
	ok = pwrite(fd, data, page_size, page_size) == (ssize_t)page_size &&
	     pread(fd, at, page_size, page_size) == (ssize_t)page_size &&
	     !memcmp(at, data, page_size);
	close(fd);
	free(data);
	return ok ? at : NULL;
}

/* A disk for O_DIRECT: a loop device over a file. */
static int open_loop(void)
{
	int loop = -1, file = scratch_file("", 0);

	if (!ftruncate(file, 64 * page_size))
		loop = loop_open(file, O_RDWR, loop_path, sizeof(loop_path));
	close(file);
	return loop;
}

static void check_direct(void)
{
	int loop = open_loop();

	if (loop < 0) {
		tap_skip("O_DIRECT from a missing page: no loop device here");
		tap_skip("O_DIRECT into a missing page: no loop device here");
		return;
	}
	answer(1, run_direct_write, "O_DIRECT from a missing page");
	answer(1, run_direct_read, "O_DIRECT into a missing page");
	ioctl(loop, LOOP_CLR_FD);
	close(loop);
}

static void check_copies(void)
{
	answer(2, run_file_read, "a file is read across two missing pages");
	answer(1, run_file_write, "a file is written from a missing page");
	answer(1, run_pipe_read, "a pipe is read into a missing page");
	answer(1, run_writev, "writev() of what is there and a missing page");
	answer(1, run_vmsplice, "vmsplice() of a missing page");
	answer(2, run_unix, "a local socket: send from one missing page, receive into another");
	answer(2, run_tcp, "a TCP socket, too");
	answer(1, run_path, "a path in a missing page");
	check_futex_wait();
	answer(1, run_futex_wake, "a futex is woken in a missing page");
	check_uring();
	check_direct();
}

/* --- while faults wait ------------------------------------------------------------ */

static void check_fork(void)
{
	uint64_t page = fresh_pages(&f, 1);
	struct toucher t;
	pid_t pid;

	toucher_start(&t, page_of(&f, page), false, 0);
	next_fault(&f);
	pid = child_touch(page_of(&f, page));
	wait_until_asleep(pid);
	tap_ok(no_fault(&f), "fork while a fault waits; the child waits for the same page");
	provide_page(&f, page);
	toucher_join(&t);
	tap_ok(t.value == page_of(&f, page)[0] && ending(pid) == t.value, "and both get it");
}

/* The address space changes around the page, and that one stays where it is. */
static void check_mremap(void)
{
	uint64_t page = fresh_pages(&f, 3);
	unsigned char *away = mmap(NULL, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct toucher t;

	toucher_start(&t, page_of(&f, page + 1), true, 77);
	next_fault(&f);
	tap_ok(mremap(page_of(&f, page), page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
		      away) == away && !munmap(page_of(&f, page + 2), page_size),
	       "the pages beside one that is waited for move and go");
	provide_page(&f, page + 1);
	toucher_join(&t);
	tap_ok(page_of(&f, page + 1)[0] == 77, "and that one comes");
	toucher_start(&t, away, false, 0);
	tap_ok(next_fault(&f).page == page, "the moved one traps where it is now");
	provide_page(&f, page);
	toucher_join(&t);
	tap_ok(page_is_filled(away, page), "and comes there");
	munmap(away, page_size);
	/* As it was. */
	if (mmap(page_of(&f, page), 3 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 f.node, page * page_size) == MAP_FAILED)
		tap_bail("mmap");
}

/* mprotect() splits the mapping; the write waits on and then is not allowed any more. */
static void check_mprotect(void)
{
	uint64_t page = fresh_pages(&f, 1);
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		struct toucher t;

		toucher_start(&t, page_of(&f, page), true, 1);
		while (no_fault(&f))
			sched_yield();
		mprotect(page_of(&f, page), page_size, PROT_READ);
		/* Not missing for whoever has it declared: by the parent, after this. */
		raise(SIGSTOP);
		toucher_join(&t);
		_exit(0);
	}
	waitpid(pid, &status, WUNTRACED);
	next_fault(&f);
	provide_page(&f, page);
	kill(pid, SIGCONT);
	tap_ok(ending(pid) == -SIGSEGV && page_is_filled(page_of(&f, page), page),
	       "a write whose page became read-only while it waited: SIGSEGV, nothing written");
}

static void check_changes(void)
{
	check_fork();
	check_mremap();
	check_mprotect();
}

int main(void)
{
	tap_start(8 + 9 + 13 + 7 + 1, 180);
	fixture_open(&f, PAGES);
	check_mappings();
	check_processes();
	check_copies();
	check_changes();
	fixture_close(&f);
	tap_ok(!node_exists(&f), "nothing is left");
	return tap_end();
}
