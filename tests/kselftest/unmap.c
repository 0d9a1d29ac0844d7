// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping goes while somebody waits for one of its pages: that wait ends, in user
 * mode and in the middle of a system call, and nobody else's does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 16

/* How a wait can end. */
enum outcome {
	GOT,		/* with the page */
	SEGV,
	BUS,
	FAULT,		/* of a system call: EFAULT */
	OTHER,
};

enum way {
	READ,		/* user mode */
	WRITE,
	COPY_FROM,	/* write() to a pipe */
	COPY_TO,	/* read() from a pipe */
	PIN,		/* vmsplice() */
};

static const char *const way_names[] = {
	[READ] = "a read in user mode",
	[WRITE] = "a write in user mode",
	[COPY_FROM] = "a copy from the page in a system call",
	[COPY_TO] = "a copy into the page in a system call",
	[PIN] = "pinning the page",
};

struct waiter {
	pthread_t thread;
	unsigned char *at;
	enum way way;
	atomic_int tid;
	unsigned char value;
	enum outcome outcome;
};

static struct fixture f;
static __thread sigjmp_buf *escape;

static void on_signal(int signal)
{
	if (!escape)
		_exit(100 + signal);
	siglongjmp(*escape, signal);
}

static enum outcome waiter_touch(struct waiter *w)
{
	sigjmp_buf jump;
	int signal = sigsetjmp(jump, 1);

	if (signal) {
		escape = NULL;
		return signal == SIGSEGV ? SEGV : BUS;
	}
	escape = &jump;
	if (w->way == WRITE)
		*(volatile unsigned char *)w->at = w->value;
	else
		w->value = *(volatile unsigned char *)w->at;
	escape = NULL;
	return GOT;
}

static enum outcome waiter_copy(struct waiter *w)
{
	struct iovec part = { .iov_base = w->at, .iov_len = 8 };
	int fds[2], error;
	ssize_t n;

	if (pipe(fds))
		tap_bail("pipe");
	switch (w->way) {
	case COPY_FROM:
		n = write(fds[1], w->at, 8);
		break;
	case COPY_TO:
		if (write(fds[1], "abcdefgh", 8) != 8)
			tap_bail("write");
		n = read(fds[0], w->at, 8);
		break;
	default:
		n = vmsplice(fds[1], &part, 1, 0);
		break;
	}
	error = errno;
	if (n == 8 && w->way != COPY_TO && read(fds[0], &w->value, 1) != 1)
		tap_bail("read");
	close(fds[0]);
	close(fds[1]);
	if (n == 8)
		return GOT;
	return n < 0 && error == EFAULT ? FAULT : OTHER;
}

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;

	atomic_store(&w->tid, gettid());
	w->outcome = w->way <= WRITE ? waiter_touch(w) : waiter_copy(w);
	return NULL;
}

static void waiter_start(struct waiter *w, unsigned char *at, enum way way)
{
	*w = (struct waiter){ .at = at, .way = way };
	thread_start(&w->thread, waiter_run, w);
}

static void waiter_join(struct waiter *w)
{
	pthread_join(w->thread, NULL);
}

/* Until it sleeps: what it sleeps for was seen in the queue, or cannot be seen. */
static void waiter_settle(struct waiter *w)
{
	while (!atomic_load(&w->tid))
		sched_yield();
	wait_until_asleep(atomic_load(&w->tid));
}

/* At a missing page; returns when it waits, and its fault is read. */
static void waiter_asks(struct waiter *w, uint64_t page, enum way way)
{
	waiter_start(w, page_of(&f, page), way);
	next_fault(&f);
	waiter_settle(w);
}

static enum outcome expected(enum way way)
{
	return way <= WRITE ? SEGV : FAULT;
}

/* One page of a region goes, with its waiter; its neighbours stay. */
static void check_munmap(enum way way, bool orphaned)
{
	struct waiter w;

	fixture_open(&f, PAGES);
	provide_page(&f, 2);
	provide_page(&f, 4);
	waiter_asks(&w, 3, way);
	if (orphaned)
		fixture_orphan(&f);
	waiter_settle(&w);
	munmap(page_of(&f, 3), page_size);
	waiter_join(&w);
	tap_ok(w.outcome == expected(way), "munmap() ends %s%s", way_names[way],
	       orphaned ? ", in an orphaned region, too" : "");
	tap_ok(page_is_filled(page_of(&f, 2), 2) && page_is_filled(page_of(&f, 4), 4),
	       "and its neighbours are as they were");
	fixture_close(&f);
}

/* Pages on both sides go and the mapping is split: the wait must not notice. */
static void check_neighbours(enum way way)
{
	struct waiter w;

	fixture_open(&f, PAGES);
	waiter_asks(&w, 3, way);
	munmap(page_of(&f, 2), page_size);
	munmap(page_of(&f, 4), page_size);
	munmap(page_of(&f, 8), 4 * page_size);
	waiter_settle(&w);
	tap_ok(no_fault(&f), "neighbours go: %s waits on and asks nothing twice", way_names[way]);
	provide_page(&f, 3);
	waiter_join(&w);
	tap_ok(w.outcome == GOT, "and gets its page");
	fixture_close(&f);
}

static void check_all_gone(void)
{
	struct waiter w[2];

	fixture_open(&f, PAGES);
	waiter_asks(&w[0], 3, READ);
	waiter_asks(&w[1], 5, COPY_FROM);
	munmap(f.map, PAGES * page_size);
	waiter_join(&w[0]);
	waiter_join(&w[1]);
	tap_ok(w[0].outcome == SEGV && w[1].outcome == FAULT,
	       "munmap() of the whole mapping ends all waits");
	tap_ok(attribute_is(&f, "mappings", "0"), "no mapping is counted any more");
	close(f.node);
	close(f.pager);
	tap_ok(!node_exists(&f), "and nothing holds the region");
	munmap(f.view, PAGES * page_size);
	close(f.memory);
}

static void check_move(void)
{
	unsigned char *away = mmap(NULL, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct waiter w, moved;

	fixture_open(&f, PAGES);
	waiter_asks(&w, 3, READ);
	if (mremap(page_of(&f, 3), page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, away) !=
	    away)
		tap_bail("mremap");
	waiter_join(&w);
	tap_ok(w.outcome == SEGV, "the page moves away by mremap(): the wait ends");
	waiter_start(&moved, away, READ);
	waiter_settle(&moved);
	tap_ok(no_fault(&f), "where it is now it is waited for, and not asked for twice");
	provide_page(&f, 3);
	waiter_join(&moved);
	tap_ok(moved.outcome == GOT && page_is_filled(away, 3), "and comes");
	munmap(away, page_size);
	fixture_close(&f);
}

/* Something else takes the page's place: the access meets that. */
static void check_replace(enum way way)
{
	struct waiter w;

	fixture_open(&f, PAGES);
	waiter_asks(&w, 3, way);
	if (mmap(page_of(&f, 3), page_size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		tap_bail("mmap");
	waiter_join(&w);
	tap_ok(w.outcome == GOT && w.value == 0,
	       "another mapping in its place: %s goes on with that", way_names[way]);
	fixture_close(&f);
}

static void check_dontneed(enum way way)
{
	struct waiter w;

	fixture_open(&f, PAGES);
	provide_page(&f, 2);
	tap_ok(page_is_filled(page_of(&f, 2), 2), "a page is there");
	waiter_asks(&w, 3, way);
	madvise(f.map, PAGES * page_size, MADV_DONTNEED);
	waiter_settle(&w);
	tap_ok(page_is_filled(page_of(&f, 2), 2) && no_fault(&f),
	       "MADV_DONTNEED drops no content, and asks for nothing twice");
	provide_page(&f, 3);
	waiter_join(&w);
	tap_ok(w.outcome == GOT, "%s waits on and gets its page", way_names[way]);
	fixture_close(&f);
}

/* Who waits for the same page elsewhere, in this process and in another. */
static void check_others(bool orphaned)
{
	struct waiter w, copy, other;
	unsigned char *second;
	pid_t pid;

	fixture_open(&f, PAGES);
	second = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f.node, 0);
	if (second == MAP_FAILED)
		tap_bail("mmap");
	pid = fork();
	if (!pid) {
		close(f.pager);
		_exit(*(volatile unsigned char *)page_of(&f, 3));
	}
	next_fault(&f);
	waiter_start(&w, page_of(&f, 3), READ);
	waiter_start(&copy, page_of(&f, 3), COPY_FROM);
	waiter_start(&other, second + 3 * page_size, COPY_FROM);
	if (orphaned)
		fixture_orphan(&f);
	wait_until_asleep(pid);
	waiter_settle(&w);
	waiter_settle(&copy);
	waiter_settle(&other);
	munmap(f.map, PAGES * page_size);
	waiter_join(&w);
	waiter_join(&copy);
	tap_ok(w.outcome == SEGV && copy.outcome == FAULT,
	       "munmap() ends the waits at one mapping%s", orphaned ? " of an orphan" : "");
	waiter_settle(&other);
	wait_until_asleep(pid);
	if (orphaned) {
		f.pager = attach(f.name);
		if (f.pager < 0)
			tap_bail("attach");
	}
	provide_page(&f, 3);
	waiter_join(&other);
	tap_ok(other.outcome == GOT && other.value == f.view[3 * page_size],
	       "at another mapping of this process the page is waited for, and comes");
	tap_ok(ending(pid) == f.view[3 * page_size], "in another process, too");
	munmap(second, PAGES * page_size);
	f.map = MAP_FAILED;
	fixture_close(&f);
}

/*
 * Another process reads this one's page: its wait is at a mapping that is not in
 * its own address space.
 */
static void check_remote(bool orphaned)
{
	struct iovec remote;
	char byte;
	struct iovec local = { .iov_base = &byte, .iov_len = 1 };
	pid_t target = getpid();
	pid_t pid;

	if (process_vm_readv(target, NULL, 0, NULL, 0, 0) < 0 && errno == ENOSYS) {
		tap_skip("a wait of process_vm_readv(): not in this kernel");
		return;
	}
	fixture_open(&f, PAGES);
	remote = (struct iovec){ .iov_base = page_of(&f, 3), .iov_len = 1 };
	pid = fork();
	if (!pid) {
		munmap(f.map, PAGES * page_size);
		close(f.pager);
		_exit(!(process_vm_readv(target, &local, 1, &remote, 1, 0) < 0 &&
			errno == EFAULT));
	}
	next_fault(&f);
	if (orphaned)
		fixture_orphan(&f);
	wait_until_asleep(pid);
	munmap(page_of(&f, 3), page_size);
	tap_ok(!ending(pid), "munmap() ends the wait of who reads from another process%s",
	       orphaned ? ", in an orphaned region, too" : "");
	fixture_close(&f);
}

/* A process ends, by itself or by execve(), while its threads wait. */
static void check_exit(bool orphaned, bool exec)
{
	int fds[2];
	char go;
	pid_t pid;

	fixture_open(&f, PAGES);
	if (pipe2(fds, O_CLOEXEC))
		tap_bail("pipe");
	pid = fork();
	if (!pid) {
		struct waiter w[3];

		close(f.pager);
		waiter_start(&w[0], page_of(&f, 3), WRITE);
		waiter_start(&w[1], page_of(&f, 4), COPY_FROM);
		waiter_start(&w[2], page_of(&f, 5), PIN);
		if (read(fds[0], &go, 1) != 1)
			_exit(1);
		waiter_settle(&w[0]);
		waiter_settle(&w[1]);
		waiter_settle(&w[2]);
		if (exec)
			execl("/bin/sh", "sh", "-c", "exit 7", NULL);
		exit(7);
	}
	next_fault(&f);
	next_fault(&f);
	next_fault(&f);
	if (orphaned)
		fixture_orphan(&f);
	(void)!write(fds[1], "", 1);
	tap_ok(ending(pid) == 7, "a process can %s while its threads wait%s",
	       exec ? "execute another program" : "exit", orphaned ? " at an orphan" : "");
	close(fds[0]);
	close(fds[1]);
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and keeps nothing");
}

#define ROUNDS 200

static atomic_bool racing;

static void *run_answers(void *arg)
{
	(void)arg;
	while (atomic_load(&racing)) {
		declare(f.pager, 3, 1);
		sched_yield();
	}
	return NULL;
}

/* The page comes and the mapping goes at the same time: either may be first. */
static void check_race(void)
{
	unsigned int round, strange = 0;
	pthread_t answers;

	for (round = 0; round < ROUNDS; round++) {
		struct waiter w[4];
		size_t i;

		fixture_open(&f, PAGES);
		for (i = 0; i < ARRAY_SIZE(w); i++)
			waiter_start(&w[i], page_of(&f, 3), i % 2 ? COPY_FROM : READ);
		if (round % 2)
			next_fault(&f);
		atomic_store(&racing, true);
		thread_start(&answers, run_answers, NULL);
		if (round % 3)
			sched_yield();
		munmap(page_of(&f, 3), page_size);
		for (i = 0; i < ARRAY_SIZE(w); i++) {
			waiter_join(&w[i]);
			strange += w[i].outcome != GOT && w[i].outcome != expected(w[i].way);
		}
		atomic_store(&racing, false);
		pthread_join(answers, NULL);
		fixture_close(&f);
	}
	tap_ok(!strange, "%u times, the page comes as its mapping goes: every wait ends", ROUNDS);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	enum way way;

	tap_start(5 * 4 + 3 * 2 + 3 + 3 + 2 + 2 * 3 + 2 * 3 + 2 + 2 * 4 + 1, 180);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	for (way = READ; way <= PIN; way++) {
		check_munmap(way, false);
		check_munmap(way, true);
	}
	check_neighbours(READ);
	check_neighbours(COPY_FROM);
	check_neighbours(PIN);
	check_all_gone();
	check_move();
	check_replace(READ);
	check_replace(COPY_FROM);
	check_dontneed(READ);
	check_dontneed(COPY_FROM);
	check_others(false);
	check_others(true);
	check_remote(false);
	check_remote(true);
	check_exit(false, false);
	check_exit(true, false);
	check_exit(false, true);
	check_exit(true, true);
	check_race();
	return tap_end();
}
