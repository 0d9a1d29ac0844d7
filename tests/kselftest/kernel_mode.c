// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that the kernel touches on somebody's behalf: copies in system calls,
 * accesses from other processes, and faults that may not wait or not let go of the lock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"

static struct fixture f;

/* Answers one fault of the work that @run does in a thread. */
static void answer(uint64_t page, void *(*run)(void *), const char *what)
{
	struct yab_fault fault;
	pthread_t thread;
	void *result;

	thread_start(&thread, run, f.map + page * page_size);
	fault = next_fault(&f);
	memset(f.view + page * page_size, 'x', page_size);
	declare(f.pager, page, 1);
	pthread_join(thread, &result);
	tap_ok(fault.page == page && result, "%s", what);
}

static void *run_read(void *at)
{
	int fd = open("/dev/zero", O_RDONLY);
	bool ok = read(fd, at, 100) == 100 && !((char *)at)[99] && ((char *)at)[100] == 'x';

	close(fd);
	return ok ? at : NULL;
}

static void *run_write(void *at)
{
	char buffer[100];
	int fds[2];
	bool ok;

	if (pipe(fds))
		return NULL;
	ok = write(fds[1], at, 100) == 100 && read(fds[0], buffer, 100) == 100 &&
	     buffer[99] == 'x';
	close(fds[0]);
	close(fds[1]);
	return ok ? at : NULL;
}

static void *run_vm_readv(void *at)
{
	char buffer[100];
	struct iovec local = { .iov_base = buffer, .iov_len = sizeof(buffer) };
	struct iovec remote = { .iov_base = at, .iov_len = sizeof(buffer) };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == sizeof(buffer) &&
	       buffer[99] == 'x' ? at : NULL;
}

/* Comes without FAULT_FLAG_ALLOW_RETRY. */
static void *run_proc_mem(void *at)
{
	int fd = open("/proc/self/mem", O_RDONLY);
	char buffer[100];
	bool ok = pread(fd, buffer, sizeof(buffer), (off_t)(uintptr_t)at) == sizeof(buffer) &&
		  buffer[99] == 'x';

	close(fd);
	return ok ? at : NULL;
}

static void *run_populate(void *at)
{
	return madvise(at, page_size, MADV_POPULATE_WRITE) ? NULL : at;
}

static void *run_mlock(void *at)
{
	return mlock(at, page_size) ? NULL : at;
}

/*
 * A kernel copy cannot be broken off by a signal, and must not spin either while
 * one is pending. Both show in the same way: the copy ends, and ends whole.
 */
static void on_signal(int signal)
{
	(void)signal;
}

static void check_signal(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	char *at = (char *)f.map + 7 * page_size;
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		tap_bail("pipe");
	sigaction(SIGUSR1, &action, NULL);
	pid = fork();
	if (!pid) {
		char buffer[100];

		_exit(!(write(fds[1], at, 100) == 100 && read(fds[0], buffer, 100) == 100 &&
			buffer[99] == 'x'));
	}
	tap_ok(next_fault(&f).page == 7, "write() from a missing page waits");
	wait_until_asleep(pid);
	kill(pid, SIGUSR1);
	/* State D: killable. A task that spins has S for moments, but never D. */
	wait_until_state(pid, "D");
	tap_ok(no_fault(&f), "and goes on waiting, not spinning, with a signal pending");
	memset(f.view + 7 * page_size, 'x', page_size);
	declare(f.pager, 7, 1);
	tap_ok(!ending(pid), "and ends whole");
}

int main(void)
{
	tap_start(6 + 3, 60);
	fixture_open(&f, 16);
	answer(1, run_read, "read() into a missing page");
	answer(2, run_write, "write() from a missing page");
	if (process_vm_readv(getpid(), NULL, 0, NULL, 0, 0) < 0 && errno == ENOSYS)
		tap_skip("process_vm_readv() of a missing page: not in this kernel");
	else
		answer(3, run_vm_readv, "process_vm_readv() of a missing page");
	answer(4, run_proc_mem, "/proc/PID/mem of a missing page");
	answer(5, run_populate, "MADV_POPULATE_WRITE of a missing page");
	answer(6, run_mlock, "mlock() of a missing page");
	check_signal();
	fixture_close(&f);
	return tap_end();
}
