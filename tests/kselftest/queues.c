// SPDX-License-Identifier: GPL-2.0
/* Several request queues: each page has its own, and none has to do with another. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"

#define QUEUE_SIZE 1024	/* the module's YAB_QUEUE_SIZE */
#define QUEUES 4
#define STRIPES 10
#define PAGES (STRIPES * YAB_QUEUE_STRIPE - 5)

static void open_with_queues(struct fixture *f, size_t pages, unsigned int queues)
{
	struct yab_create wish = { .queues = queues };

	fixture_open_with(f, pages, &wish);
}

static int get_queue(int pager, uint32_t index, uint32_t flags)
{
	struct yab_queue_select select = { .index = index, .flags = flags };

	return ioctl(pager, YAB_IOC_QUEUE, &select);
}

static void get_queues(const struct fixture *f, int *fds, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		fds[i] = get_queue(f->pager, i, 0);
		if (fds[i] < 0)
			tap_bail("YAB_IOC_QUEUE %zu", i);
	}
}

/* A region of PAGES pages with QUEUES queues, of which @fds are files. */
static void open_queues(struct fixture *f, int *fds)
{
	open_with_queues(f, PAGES, QUEUES);
	get_queues(f, fds, QUEUES);
}

static void close_queues(struct fixture *f, const int *fds, size_t count)
{
	while (count--)
		close(*fds++);
	fixture_close(f);
}

static bool has_fault(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	return poll(&poller, 1, 0) == 1 && poller.revents == POLLIN;
}

static int try_create(unsigned int queues)
{
	int memory = make_memory(page_size), control = open_control(), pager, error;
	struct yab_create request = make_request("kselftest-queues", page_size, memory);

	request.queues = queues;
	pager = ioctl(control, YAB_IOC_CREATE, &request);
	error = errno;
	close(memory);
	close(control);
	errno = error;
	return pager;
}

static void check_create(void)
{
	struct yab_queue_select select = { 0 };
	struct {
		struct yab_queue_select known;
		uint64_t unknown;
	} larger = { .unknown = 0 };
	int pager, queue;
	struct fixture f;

	tap_ok(try_create(YAB_QUEUES_MAX + 1) < 0 && errno == EINVAL, "too many queues: EINVAL");
	pager = try_create(YAB_QUEUES_MAX);
	queue = get_queue(pager, YAB_QUEUES_MAX - 1, 0);
	tap_ok(pager >= 0 && queue >= 0, "as many queues as can be, and the last of them");
	tap_ok(get_queue(pager, YAB_QUEUES_MAX, 0) < 0 && errno == EINVAL, "but none after it");
	close(queue);
	close(pager);

	open_with_queues(&f, 4, 0);
	tap_ok(get_status(&f).queues == 1 && attribute_is(&f, "queues", "1"),
	       "none asked for: one queue");
	tap_ok(get_queue(f.pager, 1, 0) < 0 && errno == EINVAL, "which has index 0 only");
	fixture_close(&f);

	open_with_queues(&f, 4, 2);
	tap_ok(get_status(&f).queues == 2, "two asked for: two queues");
	queue = get_queue(f.pager, 1, 0);
	tap_ok(queue >= 0 && fcntl(queue, F_GETFD) == FD_CLOEXEC,
	       "the fd of a queue is closed on exec");
	close(queue);
	tap_ok(get_queue(f.pager, -1, 0) < 0 && errno == EINVAL, "a bad index: EINVAL");
	tap_ok(get_queue(f.pager, 0, 1) < 0 && errno == EINVAL, "an unknown flag: EINVAL");
	queue = ioctl(f.pager, _IOW(YAB_IOC_MAGIC, 0x23, larger), &larger);
	tap_ok(queue >= 0, "a longer structure");
	close(queue);
	larger.unknown = 1;
	tap_ok(ioctl(f.pager, _IOW(YAB_IOC_MAGIC, 0x23, larger), &larger) < 0 && errno == E2BIG,
	       "its end set: E2BIG");
	tap_ok(ioctl(f.pager, _IOW(YAB_IOC_MAGIC, 0x23, uint32_t), &select) < 0 &&
	       errno == EINVAL, "a shorter structure: EINVAL");
	tap_ok(ioctl(f.pager, YAB_IOC_QUEUE, NULL) < 0 && errno == EFAULT, "NULL: EFAULT");
	fixture_close(&f);
}

/* True if the fault of @page shows at queue @index, and nowhere else, as @page's. */
static bool shows_only_at(const struct fixture *f, const int *fds, uint64_t page, size_t index)
{
	struct pollfd poller = { .fd = fds[index], .events = POLLIN };
	struct yab_fault fault = { 0 };
	bool right = true;
	struct toucher t;
	size_t i;

	toucher_start(&t, f->map + page * page_size, false, 0);
	poll(&poller, 1, -1);
	for (i = 0; i < QUEUES; i++)
		right = right && has_fault(fds[i]) == (i == index);
	right = right && has_fault(f->pager) == (index == 0);
	/* The pager's own fd is one for queue 0. */
	right = right && read(index ? fds[index] : f->pager, &fault, sizeof(fault)) ==
		sizeof(fault) && fault.page == page && !fault.flags;
	for (i = 0; i < QUEUES; i++)
		right = right && !has_fault(fds[i]);
	declare(f->pager, page, 1);
	toucher_join(&t);
	return right;
}

static void check_sharding(void)
{
	int fds[QUEUES];
	bool first = true, last = true;
	struct fixture f;
	size_t i;

	open_queues(&f, fds);
	for (i = 0; i < STRIPES; i++) {
		uint64_t start = i * YAB_QUEUE_STRIPE, end = start + YAB_QUEUE_STRIPE;

		first = first && shows_only_at(&f, fds, start, i % QUEUES);
		last = last && shows_only_at(&f, fds, (end < PAGES ? end : PAGES) - 1, i % QUEUES);
	}
	tap_ok(first, "the first page of every stripe shows at its queue only");
	tap_ok(last, "and so does the last");
	tap_ok(get_status(&f).faults == 2 * STRIPES, "the counter of faults is that of all queues");
	close_queues(&f, fds, QUEUES);
}

struct server {
	pthread_t thread;
	struct fixture *f;
	int fd;
	size_t index;
	size_t answered;
	size_t strange;		/* faults that are another queue's */
};

static void *server_run(void *arg)
{
	struct server *s = arg;
	struct yab_fault faults[8];
	ssize_t n, i;

	while ((n = read(s->fd, faults, sizeof(faults))) > 0)
		for (i = 0; i < n / (ssize_t)sizeof(faults[0]); i++) {
			uint64_t page = faults[i].page;

			s->strange += page / YAB_QUEUE_STRIPE % QUEUES != s->index;
			fill_page(s->f->view + page * page_size, page);
			declare(s->f->pager, page, 1);
			s->answered++;
			/* The last page of each queue's first stripe is read at the end. */
			if (page == (s->index + 1) * YAB_QUEUE_STRIPE - 1)
				return NULL;
		}
	return NULL;
}

struct walker {
	pthread_t thread;
	struct fixture *f;
	size_t number;
	size_t wrong;
};

static void *walker_run(void *arg)
{
	/* None has a divisor in common with PAGES: each visits every page once. */
	static const unsigned int strides[] = { 7, 13, 1009, 2003 };
	struct walker *w = arg;
	uint64_t i;

	for (i = 0; i < PAGES; i++) {
		uint64_t page = (i * strides[w->number] + w->number * 999) % PAGES;

		if (page % YAB_QUEUE_STRIPE == YAB_QUEUE_STRIPE - 1 &&
		    page < QUEUES * YAB_QUEUE_STRIPE)
			continue;
		w->wrong += !page_is_filled(w->f->map + page * page_size, page);
	}
	return NULL;
}

static void walkers_start(struct walker *walkers, size_t count, struct fixture *f)
{
	size_t i;

	for (i = 0; i < count; i++) {
		walkers[i] = (struct walker){ .f = f, .number = i };
		thread_start(&walkers[i].thread, walker_run, &walkers[i]);
	}
}

/* Returns how many pages were wrong. */
static size_t walkers_join(struct walker *walkers, size_t count)
{
	size_t wrong = 0;

	for (; count--; walkers++) {
		pthread_join(walkers->thread, NULL);
		wrong += walkers->wrong;
	}
	return wrong;
}

static void check_threads(void)
{
	struct server servers[QUEUES];
	struct walker walkers[4];
	size_t i, strange = 0, answered = 0, wrong;
	int fds[QUEUES];
	struct fixture f;

	open_queues(&f, fds);
	for (i = 0; i < QUEUES; i++) {
		servers[i] = (struct server){ .f = &f, .fd = fds[i], .index = i };
		thread_start(&servers[i].thread, server_run, &servers[i]);
	}
	walkers_start(walkers, ARRAY_SIZE(walkers), &f);
	wrong = walkers_join(walkers, ARRAY_SIZE(walkers));
	for (i = 0; i < QUEUES; i++) {
		uint64_t page = (i + 1) * YAB_QUEUE_STRIPE - 1;

		wrong += !page_is_filled(f.map + page * page_size, page);
		pthread_join(servers[i].thread, NULL);
		strange += servers[i].strange;
		answered += servers[i].answered;
	}
	tap_ok(!wrong, "a thread a queue answers four threads that go through the region");
	tap_ok(!strange, "each sees pages of its queue only");
	tap_ok(answered == PAGES && get_status(&f).state == YAB_STATE_COMPLETE,
	       "and every page once");
	close_queues(&f, fds, QUEUES);
}

struct reader {
	pthread_t thread;
	struct fixture *f;
	int fd;
	bool told;	/* that the region has failed */
};

static atomic_uchar reports[PAGES];

static void *reader_run(void *arg)
{
	struct reader *r = arg;
	struct yab_fault faults[3];
	ssize_t n, i;

	while ((n = read(r->fd, faults, sizeof(faults))) > 0)
		for (i = 0; i < n / (ssize_t)sizeof(faults[0]); i++) {
			uint64_t page = faults[i].page;

			atomic_fetch_add(&reports[page], 1);
			fill_page(r->f->view + page * page_size, page);
			declare(r->f->pager, page, 1);
		}
	r->told = n < 0 && errno == EIO;
	return NULL;
}

/* Several threads at one queue, by two of its files. */
static void check_readers(void)
{
	struct walker walkers[4];
	struct reader readers[4];
	size_t i, once = 0, wrong;
	bool told = true;
	struct fixture f;
	int fd;

	open_with_queues(&f, PAGES, 1);
	fd = get_queue(f.pager, 0, 0);
	for (i = 0; i < ARRAY_SIZE(readers); i++) {
		readers[i] = (struct reader){ .f = &f, .fd = i % 2 ? fd : f.pager };
		thread_start(&readers[i].thread, reader_run, &readers[i]);
	}
	walkers_start(walkers, ARRAY_SIZE(walkers), &f);
	wrong = walkers_join(walkers, ARRAY_SIZE(walkers));
	/* The pages that walkers leave out are missing still. */
	fail(f.name);
	for (i = 0; i < ARRAY_SIZE(readers); i++) {
		pthread_join(readers[i].thread, NULL);
		told = told && readers[i].told;
	}
	for (i = 0; i < PAGES; i++)
		once += atomic_load(&reports[i]) == 1;
	tap_ok(!wrong, "four threads read one queue: everybody is answered");
	tap_ok(once == PAGES - QUEUES && get_status(&f).faults == once, "each page by one of them");
	tap_ok(told, "and all are told when the region fails");
	close(fd);
	fixture_close(&f);
}

static void *touch_run(void *arg)
{
	return (void *)(uintptr_t)*(volatile unsigned char *)arg;
}

/* Every other stripe is queue 1's: how its page number @n lies in the region. */
static uint64_t crowded_page(size_t n)
{
	return (2 * (n / YAB_QUEUE_STRIPE) + 1) * YAB_QUEUE_STRIPE + n % YAB_QUEUE_STRIPE;
}

#define CROWD (QUEUE_SIZE + 200)
#define FEW 50

/* More than one queue holds, while the other has some room left. */
static void check_overflow(void)
{
	static pthread_t threads[CROWD + FEW];
	static unsigned char seen[6 * YAB_QUEUE_STRIPE];
	struct yab_fault faults[64];
	size_t i, crowd = 0, repeats = 0, few = 0, strange = 0, twice = 0, marked = 0;
	pthread_attr_t attr;
	bool right = true;
	struct fixture f;
	int fds[2];
	void *value;
	ssize_t n;

	open_with_queues(&f, 6 * YAB_QUEUE_STRIPE, 2);
	get_queues(&f, fds, 2);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (i = 0; i < CROWD + FEW; i++) {
		uint64_t page = i < CROWD ? crowded_page(i) : 2 * YAB_QUEUE_STRIPE + i - CROWD;

		errno = pthread_create(&threads[i], &attr, touch_run, f.map + page * page_size);
		if (errno)
			tap_bail("thread %zu", i);
	}
	wait_until_faults(&f, CROWD + FEW);

	while (crowd < CROWD) {
		n = read(fds[1], faults, sizeof(faults));
		if (n <= 0)
			tap_bail("read of queue 1");
		for (i = 0; i < n / sizeof(faults[0]); i++) {
			uint64_t page = faults[i].page;

			repeats += faults[i].flags == YAB_FAULT_REPEAT;
			strange += page / YAB_QUEUE_STRIPE % 2 != 1;
			crowd += !seen[page]++;
		}
	}
	tap_ok(!strange, "%d faults in one queue: those that found no room come, no other queue's",
	       CROWD);
	tap_ok(repeats >= CROWD - QUEUE_SIZE, "they say that they are repeats");

	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	while ((n = read(fds[0], faults, sizeof(faults))) > 0)
		for (i = 0; i < n / sizeof(faults[0]); i++) {
			uint64_t page = faults[i].page;

			marked += faults[i].flags != 0;
			strange += page / YAB_QUEUE_STRIPE % 2 != 0;
			few += !seen[page];
			twice += !!seen[page]++;
		}
	tap_ok(n < 0 && errno == EAGAIN && few == FEW && !strange && !twice && !marked,
	       "the other queue has its %d, once each and unmarked", FEW);

	for (i = 0; i < f.pages; i++)
		f.view[i * page_size] = i % 251;
	declare(f.pager, 0, f.pages);
	for (i = 0; i < CROWD + FEW; i++) {
		uint64_t page = i < CROWD ? crowded_page(i) : 2 * YAB_QUEUE_STRIPE + i - CROWD;

		pthread_join(threads[i], &value);
		right = right && (uintptr_t)value == page % 251;
	}
	tap_ok(right, "everybody is woken to the right content");
	tap_ok(nothing_to_read(fds[1]), "and nothing is left in the queue");
	close_queues(&f, fds, 2);
}

static void check_epoll(void)
{
	struct epoll_event events[QUEUES + 1], event;
	int epoll = epoll_create1(EPOLL_CLOEXEC), fds[QUEUES], n;
	struct yab_fault fault;
	struct toucher t[2];
	struct fixture f;
	size_t i;

	open_queues(&f, fds);
	for (i = 0; i < QUEUES; i++) {
		event = (struct epoll_event){ .events = EPOLLIN, .data.u32 = i };
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event))
			tap_bail("epoll_ctl");
	}
	tap_ok(epoll_wait(epoll, events, ARRAY_SIZE(events), 0) == 0, "epoll: nothing yet");
	toucher_start(&t[0], f.map + 2 * YAB_QUEUE_STRIPE * page_size, false, 0);
	n = epoll_wait(epoll, events, ARRAY_SIZE(events), -1);
	tap_ok(n == 1 && events[0].data.u32 == 2 && events[0].events == EPOLLIN,
	       "epoll: a fault in queue 2 wakes for queue 2");
	toucher_start(&t[1], f.map + (3 * YAB_QUEUE_STRIPE + 7) * page_size, false, 0);
	while ((n = epoll_wait(epoll, events, ARRAY_SIZE(events), -1)) < 2)
		sched_yield();
	tap_ok(n == 2 && events[0].data.u32 + events[1].data.u32 == 5,
	       "epoll: with one in queue 3 it is both");
	tap_ok(read(fds[2], &fault, sizeof(fault)) == sizeof(fault) &&
	       fault.page == 2 * YAB_QUEUE_STRIPE, "queue 2 is read");
	n = epoll_wait(epoll, events, ARRAY_SIZE(events), -1);
	tap_ok(n == 1 && events[0].data.u32 == 3, "epoll: queue 3 is left");
	tap_ok(read(fds[3], &fault, sizeof(fault)) == sizeof(fault) &&
	       epoll_wait(epoll, events, ARRAY_SIZE(events), 0) == 0, "epoll: and then nothing");
	declare(f.pager, 0, PAGES);
	toucher_join(&t[0]);
	toucher_join(&t[1]);
	close(epoll);
	close_queues(&f, fds, QUEUES);
}

static void check_fail(void)
{
	struct blocked blocked[QUEUES];
	struct pollfd poller = { .events = POLLIN };
	bool told = true, polled = true;
	int fds[QUEUES];
	struct fixture f;
	size_t i;

	open_queues(&f, fds);
	for (i = 0; i < QUEUES; i++)
		blocked_start(&blocked[i], fds[i], false);
	tap_ok(!fail(f.name), "the region fails while a thread waits at every queue");
	for (i = 0; i < QUEUES; i++) {
		told = blocked_told(&blocked[i]) && told;
		poller.fd = fds[i];
		polled = polled && poll(&poller, 1, 0) == 1 && poller.revents & POLLERR;
	}
	tap_ok(told, "all are woken: EIO");
	tap_ok(polled, "poll() of each: POLLERR");
	close_queues(&f, fds, QUEUES);
}

static void check_outlives(void)
{
	struct yab_fault fault;
	int fds[QUEUES];
	struct fixture f;
	pid_t first, second;

	open_queues(&f, fds);
	close(f.pager);
	close(fds[0]);
	close(fds[2]);
	tap_ok(attribute_is(&f, "state", "filling") && attribute_is(&f, "pager", "1"),
	       "while queues are open, the closed pager fd is no orphan");
	first = child_reads(&f, YAB_QUEUE_STRIPE);
	tap_ok(read(fds[1], &fault, sizeof(fault)) == sizeof(fault) &&
	       fault.page == YAB_QUEUE_STRIPE, "and they are read");
	close(fds[1]);
	tap_ok(attribute_is(&f, "pager", "1"), "one is enough");
	second = child_reads(&f, 4 * YAB_QUEUE_STRIPE);
	wait_until_faults(&f, 2);
	close(fds[3]);
	tap_ok(attribute_is(&f, "state", "orphaned") && attribute_is(&f, "pager", "0"),
	       "with the last of them the pager is gone");

	f.pager = attach(f.name);
	tap_ok(f.pager >= 0, "a new one attaches");
	get_queues(&f, fds, QUEUES);
	tap_ok(read(fds[1], &fault, sizeof(fault)) == sizeof(fault) &&
	       fault.page == YAB_QUEUE_STRIPE && fault.flags == YAB_FAULT_REPEAT,
	       "and finds the fault that was read in its queue again");
	tap_ok(read(fds[0], &fault, sizeof(fault)) == sizeof(fault) &&
	       fault.page == 4 * YAB_QUEUE_STRIPE && fault.flags == YAB_FAULT_REPEAT,
	       "and the one that was not read in its own");
	tap_ok(nothing_to_read(fds[0]) && nothing_to_read(fds[1]) && nothing_to_read(fds[2]) &&
	       nothing_to_read(fds[3]), "and no other");
	memset(f.view, 3, PAGES * page_size);
	declare(f.pager, 0, PAGES);
	tap_ok(ending(first) == 3 && ending(second) == 3, "both are answered");
	close_queues(&f, fds, QUEUES);
	tap_ok(!node_exists(&f), "nothing is left");
}

int main(void)
{
	tap_start(13 + 3 + 3 + 3 + 5 + 6 + 3 + 10, 180);
	check_create();
	check_sharding();
	check_threads();
	check_readers();
	check_overflow();
	check_epoll();
	check_fail();
	check_outlives();
	return tap_end();
}
