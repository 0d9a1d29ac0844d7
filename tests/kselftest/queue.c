// SPDX-License-Identifier: GPL-2.0
/*
 * The fault queue: poll, batches, and more faults at once than the queue holds,
 * none of which may be forgotten.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define QUEUE_SIZE 1024	/* the module's YAB_QUEUE_SIZE */
#define PAGES (QUEUE_SIZE + 300)
/* The touched pages come so late in the region that going through the marks takes a while. */
#define BASE (1UL << 28)

static void check_poll(struct fixture *f)
{
	struct pollfd poller = { .fd = f->pager, .events = POLLIN };
	void *bad = mmap(NULL, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct yab_fault fault;
	struct toucher t;

	fcntl(f->pager, F_SETFL, O_NONBLOCK);
	tap_ok(read(f->pager, &fault, sizeof(fault)) < 0 && errno == EAGAIN,
	       "nothing queued, non-blocking: EAGAIN");
	tap_ok(poll(&poller, 1, 0) == 0, "and poll() says so");
	tap_ok(read(f->pager, &fault, sizeof(fault) - 1) < 0 && errno == EINVAL,
	       "room for less than one fault: EINVAL");
	toucher_start(&t, f->map, false, 0);
	tap_ok(poll(&poller, 1, -1) == 1 && poller.revents & POLLIN, "a fault wakes poll()");
	tap_ok(read(f->pager, bad, sizeof(fault)) < 0 && errno == EFAULT,
	       "a bad buffer: EFAULT");
	tap_ok(read(f->pager, &fault, sizeof(fault)) == sizeof(fault) && !fault.page,
	       "and the fault comes again");
	fcntl(f->pager, F_SETFL, 0);
	declare(f->pager, 0, 1);
	toucher_join(&t);
}

static void *touch_run(void *arg)
{
	return (void *)(uintptr_t)*(volatile unsigned char *)arg;
}

static void on_signal(int signal)
{
	(void)signal;
}

/* Signals all the time: a read that one interrupts must end, and lose nothing. */
static timer_t start_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec often = { .it_value.tv_nsec = 50000, .it_interval.tv_nsec = 50000 };
	timer_t timer;

	sigaction(SIGUSR1, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, NULL))
		tap_bail("timer");
	return timer;
}

/* More waiting threads than the queue has room for, all before the first read. */
static void check_overflow(void)
{
	static pthread_t threads[PAGES];
	static bool reported[PAGES];
	struct yab_fault faults[256];
	pthread_attr_t attr;
	size_t seen = 0, repeats = 0, i;
	bool right = true;
	struct fixture f;
	timer_t timer;
	void *value;

	fixture_open(&f, BASE + PAGES);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (i = 0; i < PAGES; i++) {
		errno = pthread_create(&threads[i], &attr, touch_run,
				       f.map + (BASE + i) * page_size);
		if (errno)
			tap_bail("thread %zu", i);
	}
	while (get_status(&f).faults < PAGES)
		sched_yield();

	timer = start_signals();
	while (seen < PAGES) {
		ssize_t n = read(f.pager, faults, sizeof(faults));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			tap_bail("read");
		for (i = 0; i < n / sizeof(faults[0]); i++) {
			uint64_t page = faults[i].page;

			repeats += !!(faults[i].flags & YAB_FAULT_REPEAT);
			if (page < BASE || page >= BASE + PAGES || reported[page - BASE])
				continue;
			reported[page - BASE] = true;
			seen++;
			f.view[page * page_size] = (page - BASE) % 251;
			declare(f.pager, page, 1);
		}
	}
	timer_delete(timer);
	tap_ok(true, "%d faults at once: every one is reported", PAGES);
	tap_ok(repeats >= PAGES - QUEUE_SIZE, "those that found no room with a mark");
	for (i = 0; i < PAGES; i++) {
		pthread_join(threads[i], &value);
		right = right && (uintptr_t)value == i % 251;
	}
	tap_ok(right, "and everybody is woken to the right content");
	tap_ok(no_fault(&f), "the queue is empty then");
	fixture_close(&f);
}

/* A page that comes unasked while its fault is queued needs no report. */
static void check_passed_over(struct fixture *f)
{
	struct toucher t;
	pid_t pid;

	pid = child_touch(f->map + 2 * page_size);
	while (no_fault(f))
		sched_yield();
	declare(f->pager, 2, 1);
	toucher_start(&t, f->map + 3 * page_size, false, 0);
	tap_ok(next_fault(f).page == 3, "the fault of a page that has come is passed over");
	declare(f->pager, 3, 1);
	toucher_join(&t);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	struct fixture f;

	tap_start(6 + 4 + 1, 120);
	fixture_open(&f, 4);
	check_poll(&f);
	check_overflow();
	check_passed_over(&f);
	fixture_close(&f);
	return tap_end();
}
