// SPDX-License-Identifier: GPL-2.0
/* The calls by name: a new pager takes over, regions that are kept, regions that are removed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 1003

static const struct yab_create kept = { .flags = YAB_CREATE_KEEP };

/* Writes the page's second byte and exits with its first. */
static pid_t child_writes(const struct fixture *f, uint64_t page)
{
	pid_t pid = child_start();

	if (!pid) {
		volatile unsigned char *at = page_of(f, page);

		at[1] = 1;
		_exit(*at);
	}
	return pid;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* All that the old pager had goes. */
static void pager_goes(struct fixture *f)
{
	munmap(f->view, f->pages * page_size);
	close(f->memory);
	close(f->pager);
	f->pager = -1;
}

/* A new pager: its files and its view, from the name alone. */
static void pager_comes(struct fixture *f)
{
	f->pager = attach(f->name);
	if (f->pager < 0)
		tap_bail("YAB_IOC_ATTACH to %s", f->name);
	f->memory = ioctl(f->pager, YAB_IOC_MEMORY);
	if (f->memory < 0)
		tap_bail("YAB_IOC_MEMORY");
	f->view = mmap(NULL, f->pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       f->memory, 0);
	if (f->view == MAP_FAILED)
		tap_bail("mmap of the memory file");
}

/* Reads until nothing is queued. Returns how many there were. */
static size_t read_all(int pager, struct yab_fault *faults, size_t max)
{
	size_t count = 0;
	ssize_t n;

	fcntl(pager, F_SETFL, O_NONBLOCK);
	while (count < max &&
	       (n = read(pager, faults + count, (max - count) * sizeof(*faults))) > 0)
		count += n / sizeof(*faults);
	fcntl(pager, F_SETFL, 0);
	return count;
}

static size_t times(const struct yab_fault *faults, size_t count, uint64_t page)
{
	size_t found = 0;

	while (count--)
		found += faults++->page == page;
	return found;
}

static void check_memory_fd(struct fixture *f)
{
	struct stat st;

	tap_ok(fcntl(f->memory, F_GETFD) == FD_CLOEXEC, "the memory fd is closed on exec");
	tap_ok((fcntl(f->memory, F_GETFL) & O_ACCMODE) == O_RDWR,
	       "it is open for reading and writing");
	tap_ok(!fstat(f->memory, &st) && (size_t)st.st_size == f->pages * page_size,
	       "it has the region's size");
	tap_ok(page_is_filled(f->view + 5 * page_size, 5), "and its content");
	tap_ok(page_is_filled(f->view + 6 * page_size, 6),
	       "and what was stored in it but not declared");
}

/* Faults in all stages when the pager goes. */
static void check_takeover(void)
{
	struct yab_fault faults[32];
	uint64_t before;
	struct fixture f;
	pid_t pids[5];
	bool right;
	size_t n, i;

	fixture_open(&f, PAGES);
	fill_page(f.view + 5 * page_size, 5);
	fill_page(f.view + 6 * page_size, 6);
	declare(f.pager, 5, 1);
	pids[0] = child_reads(&f, 50);
	next_fault(&f);
	declare(f.pager, 50, 1);
	pids[1] = child_reads(&f, 100);
	next_fault(&f);
	pids[2] = child_writes(&f, 1000);
	wait_until_faults(&f, 3);
	pager_goes(&f);
	pids[3] = child_reads(&f, 300);
	wait_until_asleep(pids[3]);
	tap_ok(attribute_is(&f, "state", "orphaned") && attribute_is(&f, "pager", "0"),
	       "the pager goes: one fault is read, one is queued, one comes later");
	tap_ok(page_is_filled(f.map + 5 * page_size, 5), "what is present works");

	before = now_ns();
	pager_comes(&f);
	tap_ok(fcntl(f.pager, F_GETFD) == FD_CLOEXEC, "the new pager's fd is closed on exec");
	tap_ok(attribute_is(&f, "state", "filling") && attribute_is(&f, "pager", "1") &&
	       get_status(&f).state == YAB_STATE_FILLING, "with it the region is filling");
	check_memory_fd(&f);
	tap_ok(get_status(&f).present == 2, "what was present is present");
	tap_ok(!no_fault(&f), "poll() says that there are faults");
	n = read_all(f.pager, faults, ARRAY_SIZE(faults));
	tap_ok(n == 3 && times(faults, n, 100) == 1, "the fault that was read comes again, once");
	tap_ok(times(faults, n, 1000) == 1, "the fault that was queued comes, once");
	tap_ok(times(faults, n, 300) == 1, "the fault without a pager comes, once");
	right = true;
	for (i = 0; i < n; i++)
		right = right && faults[i].flags == YAB_FAULT_REPEAT && !faults[i].reserved &&
			faults[i].time_ns >= before && faults[i].time_ns <= now_ns();
	tap_ok(right, "each says that it is a repeat, and has the time of the report");
	tap_ok(no_fault(&f), "no other is queued");
	tap_ok(get_status(&f).faults == 4, "they are not counted again");

	pids[4] = child_writes(&f, 400);
	faults[0] = next_fault(&f);
	tap_ok(faults[0].page == 400 && faults[0].flags == YAB_FAULT_WRITE,
	       "a new fault is reported as ever");
	f.view[100 * page_size] = 100;
	f.view[1000 * page_size] = 101;
	f.view[300 * page_size] = 102;
	f.view[400 * page_size] = 103;
	declare(f.pager, 51, PAGES - 51);
	tap_ok(ending(pids[0]) == 0 && ending(pids[1]) == 100 && ending(pids[2]) == 101 &&
	       ending(pids[3]) == 102 && ending(pids[4]) == 103,
	       "everybody is woken to the right content");
	tap_ok(page_is_filled(f.map + 5 * page_size, 5), "and what was present stayed so");
	fixture_close(&f);
	tap_ok(!node_exists(&f), "nothing is left");
}

static bool bitmap_fails(int pager, struct yab_bitmap request, int expected)
{
	return ioctl(pager, YAB_IOC_PRESENT, &request) < 0 && errno == expected;
}

static bool bit(const uint64_t *bits, uint64_t n)
{
	return bits[n / 64] >> n % 64 & 1;
}

static void check_bitmap(void)
{
	uint64_t bits[18], first;
	struct fixture f;
	size_t i, set;
	bool right;
	char *edge;

	fixture_open(&f, PAGES);
	for (i = 0; i < PAGES; i++)
		if (i % 3 == 0 || (i >= 128 && i < 256))
			declare(f.pager, i, 1);
	pager_goes(&f);
	pager_comes(&f);

	memset(bits, 0xaa, sizeof(bits));
	set = get_bitmap(f.pager, YAB_IOC_PRESENT, 0, PAGES, bits);
	right = true;
	for (i = 0; i < PAGES; i++)
		right = right && bit(bits, i) == (i % 3 == 0 || (i >= 128 && i < 256));
	tap_ok(right, "the bitmap of %d pages has the bits of those that are present", PAGES);
	for (i = PAGES; i < 1024; i++)
		right = right && !bit(bits, i);
	tap_ok(right, "the rest of its last word is zero");
	tap_ok(bits[16] == 0xaaaaaaaaaaaaaaaaULL, "what lies beyond is left alone");
	tap_ok(set == get_status(&f).present, "the bits that are set are counted");

	memset(bits, 0xaa, sizeof(bits));
	set = get_bitmap(f.pager, YAB_IOC_PRESENT, 192, 70, bits);
	tap_ok(set == 64 + 2 && bits[0] == ~0ULL && bits[1] == 0x24 &&
	       bits[2] == 0xaaaaaaaaaaaaaaaaULL, "seventy pages in the middle");
	first = 5;
	set = get_bitmap(f.pager, YAB_IOC_PRESENT, 0, 1, &first);
	tap_ok(set == 1 && first == 1, "one page");
	set = get_bitmap(f.pager, YAB_IOC_PRESENT, 960, PAGES - 960, &first);
	tap_ok(set == 15 && !(first >> 43), "the last pages");

	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .page = 1, .count = 10,
			    .bits = (uintptr_t)bits }, EINVAL),
	       "a first page that is no multiple of 64: EINVAL");
	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .count = 0, .bits = (uintptr_t)bits },
			    EINVAL), "no pages: EINVAL");
	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .count = 1, .flags = 1,
			    .bits = (uintptr_t)bits }, EINVAL), "unknown flag: EINVAL");
	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .count = PAGES + 1,
			    .bits = (uintptr_t)bits }, ERANGE), "a page beyond the end: ERANGE");
	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .page = 1024, .count = 1,
			    .bits = (uintptr_t)bits }, ERANGE), "all beyond the end: ERANGE");
	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .page = 64, .count = -64ULL,
			    .bits = (uintptr_t)bits }, ERANGE), "count that overflows: ERANGE");
	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .page = -64ULL, .count = 128,
			    .bits = (uintptr_t)bits }, ERANGE), "page that overflows: ERANGE");
	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .count = 1 }, EFAULT),
	       "bits at NULL: EFAULT");
	edge = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	mprotect(edge + page_size, page_size, PROT_NONE);
	tap_ok(bitmap_fails(f.pager, (struct yab_bitmap){ .count = 128,
			    .bits = (uintptr_t)edge + page_size - 8 }, EFAULT),
	       "bits that end where nothing is mapped: EFAULT");
	tap_ok(get_bitmap(f.pager, YAB_IOC_PRESENT, 0, 64,
			  (uint64_t *)(edge + page_size - 8)) == 22, "and just before: fine");
	tap_ok(get_bitmap(f.pager, YAB_IOC_DIRTY, 0, 64, bits) < 0 && errno == EINVAL,
	       "dirty pages without tracking: EINVAL");
	munmap(edge, 2 * page_size);
	fixture_close(&f);
}

/* More than the kernel copies at once. */
static void check_long_bitmap(void)
{
	static uint64_t bits[500];
	const uint64_t pages = 20011, from = 320;
	struct fixture f;
	uint64_t i, set;
	bool right = true;

	fixture_open(&f, pages);
	for (i = 0; i < pages; i += 997)
		declare(f.pager, i, i + 300 < pages ? 300 : pages - i);
	set = get_bitmap(f.pager, YAB_IOC_PRESENT, from, pages - from, bits);
	for (i = from; i < pages; i++) {
		right = right && bit(bits, i - from) == (i % 997 < 300);
		set -= i % 997 < 300;
	}
	tap_ok(right && !set, "the bitmap of %d pages", (int)(pages - from));
	fixture_close(&f);
}

static bool attach_fails(const struct fixture *f, int expected)
{
	int fd = attach(f->name);

	if (fd >= 0)
		close(fd);
	return fd < 0 && errno == expected;
}

static void check_busy(void)
{
	struct yab_queue_select select = { 0 };
	int copy, queue, fds[2];
	struct fixture f;
	struct toucher t;
	pid_t pid;

	fixture_open(&f, PAGES);
	tap_ok(attach_fails(&f, EBUSY), "a second pager while there is one: EBUSY");
	copy = dup(f.pager);
	close(f.pager);
	tap_ok(attach_fails(&f, EBUSY) && attribute_is(&f, "state", "filling"),
	       "while a copy of its fd is open: EBUSY");
	f.pager = copy;
	queue = ioctl(f.pager, YAB_IOC_QUEUE, &select);
	if (queue < 0)
		tap_bail("YAB_IOC_QUEUE");
	close(f.pager);
	tap_ok(attach_fails(&f, EBUSY) && attribute_is(&f, "pager", "1"),
	       "while the fd of a queue is open: EBUSY");
	close(queue);
	f.pager = attach(f.name);
	tap_ok(f.pager >= 0, "after that it can attach");
	tap_ok(attach_fails(&f, EBUSY), "and then is the one: EBUSY");

	/* A child is the pager as well, and goes on alone. */
	if (pipe(fds))
		tap_bail("pipe");
	pid = fork();
	if (!pid) {
		char go;

		close(fds[1]);
		if (next_fault(&f).page != 3)
			_exit(1);
		f.view[3 * page_size] = 33;
		if (declare(f.pager, 3, 1) != 1)
			_exit(2);
		_exit(read(fds[0], &go, 1) != 0);
	}
	close(fds[0]);
	close(f.pager);
	toucher_start(&t, f.map + 3 * page_size, false, 0);
	toucher_join(&t);
	tap_ok(t.value == 33, "a child that inherited the fd answers faults");
	tap_ok(attach_fails(&f, EBUSY), "and is the pager: EBUSY");
	close(fds[1]);
	tap_ok(!ending(pid) && attribute_is(&f, "state", "orphaned"),
	       "when it ends, the region is orphaned");
	f.pager = attach(f.name);
	tap_ok(f.pager >= 0, "and takes a new pager");
	fixture_close(&f);
}

struct contender {
	pthread_t thread;
	pthread_barrier_t *barrier;
	const struct fixture *f;
	int fd;
	int error;
};

static void *contender_run(void *arg)
{
	struct contender *c = arg;

	pthread_barrier_wait(c->barrier);
	c->fd = attach(c->f->name);
	c->error = errno;
	return NULL;
}

/* Who attaches at the same time. */
static void check_contest(void)
{
	struct contender c[4];
	pthread_barrier_t barrier;
	bool right = true;
	unsigned int round;
	struct fixture f;
	size_t i, won;

	fixture_open(&f, PAGES);
	pthread_barrier_init(&barrier, NULL, ARRAY_SIZE(c));
	close(f.pager);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			c[i] = (struct contender){ .barrier = &barrier, .f = &f };
			thread_start(&c[i].thread, contender_run, &c[i]);
		}
		won = 0;
		for (i = 0; i < ARRAY_SIZE(c); i++) {
			pthread_join(c[i].thread, NULL);
			won += c[i].fd >= 0;
			right = right && (c[i].fd >= 0 || c[i].error == EBUSY);
		}
		right = right && won == 1;
		for (i = 0; i < ARRAY_SIZE(c); i++)
			if (c[i].fd >= 0)
				close(c[i].fd);
	}
	tap_ok(right, "of four that attach at once one does, and the others are told EBUSY");
	f.pager = attach(f.name);
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and nothing is left");
}

static bool call_fails(unsigned long call, const void *target, int expected)
{
	int control = open_control();
	bool failed = ioctl(control, call, target) < 0 && errno == expected;

	close(control);
	return failed;
}

/* Everything that the three calls by name refuse alike. */
static void check_name(const char *what, unsigned int nr)
{
	unsigned long call = _IOW(YAB_IOC_MAGIC, nr, struct yab_target);
	static const char * const bad[] = { "", "a/b", ".hidden", "a b", "control", "a\xff" };
	struct {
		struct yab_target known;
		uint64_t unknown;
	} larger = { .known.name = "kselftest-none" };
	struct yab_target target = { 0 };
	bool all = true;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(target.name, 0, sizeof(target.name));
		memcpy(target.name, bad[i], strlen(bad[i]));
		all = all && call_fails(call, &target, EINVAL);
	}
	tap_ok(all, "%s of what is no name: EINVAL", what);
	memset(target.name, 'x', sizeof(target.name));
	tap_ok(call_fails(call, &target, EINVAL), "%s of a name without its NUL: EINVAL", what);
	target = (struct yab_target){ .name = "kselftest-none\0x" };
	tap_ok(call_fails(call, &target, EINVAL), "%s of a name that is padded: EINVAL", what);
	target = (struct yab_target){ .name = "kselftest-none", .flags = 1ULL << 40 };
	tap_ok(call_fails(call, &target, EINVAL), "%s with an unknown flag: EINVAL", what);
	target.flags = 0;
	tap_ok(call_fails(call, &target, ENOENT), "%s of a region that is not there: ENOENT", what);
	tap_ok(call_fails(call, NULL, EFAULT), "%s of NULL: EFAULT", what);
	tap_ok(call_fails(_IOW(YAB_IOC_MAGIC, nr, larger), &larger, ENOENT),
	       "%s with a longer structure: as ever", what);
	larger.unknown = 1;
	tap_ok(call_fails(_IOW(YAB_IOC_MAGIC, nr, larger), &larger, E2BIG),
	       "%s with a longer structure, its end set: E2BIG", what);
	tap_ok(call_fails(_IOW(YAB_IOC_MAGIC, nr, uint64_t), &target, EINVAL),
	       "%s with a shorter structure: EINVAL", what);
}

static void check_names(void)
{
	struct yab_target target = { .flags = YAB_REMOVE_FORCE };
	struct fixture f;

	check_name("ATTACH", 0x02);
	check_name("FAIL", 0x03);
	check_name("REMOVE", 0x04);
	fixture_open(&f, 1);
	memcpy(target.name, f.name, sizeof(target.name));
	tap_ok(call_fails(YAB_IOC_ATTACH, &target, EINVAL) &&
	       call_fails(YAB_IOC_FAIL, &target, EINVAL), "only REMOVE can be forced: EINVAL");
	tap_ok(attribute_is(&f, "state", "filling"), "and nothing happened");
	fixture_close(&f);
}

static void check_failed(void)
{
	struct fixture f;

	fixture_open(&f, PAGES);
	fail(f.name);
	close(f.pager);
	tap_ok(attach_fails(&f, EIO), "a failed region takes no pager: EIO");
	f.pager = -1;
	fixture_close(&f);
}

static void check_complete(void)
{
	uint64_t bits[16] = { 0 };
	struct yab_fault fault;
	struct fixture f;

	fixture_open(&f, PAGES);
	memset(f.view, 6, PAGES * page_size);
	declare(f.pager, 0, PAGES);
	pager_goes(&f);
	pager_comes(&f);
	tap_ok(get_status(&f).state == YAB_STATE_COMPLETE && attribute_is(&f, "pager", "1"),
	       "a complete region takes a pager");
	tap_ok(get_bitmap(f.pager, YAB_IOC_PRESENT, 0, PAGES, bits) == PAGES,
	       "to which all pages are present");
	tap_ok(declare(f.pager, 0, PAGES) == 0 && f.map[9 * page_size] == 6,
	       "and which cannot change that");
	tap_ok(read_all(f.pager, &fault, 1) == 0 && no_fault(&f), "and which has nothing to do");
	fixture_close(&f);
}

static void check_kept(void)
{
	unsigned long users = module_refcnt();
	uint64_t bits[16];
	struct fixture f;
	pid_t pid;

	fixture_open_with(&f, PAGES, &kept);
	fill_page(f.view, 0);
	fill_page(f.view + 700 * page_size, 700);
	declare(f.pager, 0, 1);
	declare(f.pager, 700, 1);
	fixture_close(&f);
	tap_ok(node_exists(&f), "a kept region stays without any user");
	tap_ok(attribute_is(&f, "state", "orphaned") && attribute_is(&f, "mappings", "0"),
	       "as an orphan without mappings");
	tap_ok(module_refcnt() > users, "and holds the module");
	pager_comes(&f);
	tap_ok(get_bitmap(f.pager, YAB_IOC_PRESENT, 0, PAGES, bits) == 2 && bit(bits, 0) &&
	       bit(bits, 700), "a new pager finds what is present");
	tap_ok(page_is_filled(f.view, 0) && page_is_filled(f.view + 700 * page_size, 700),
	       "and the content");
	f.node = open(f.path, O_RDWR | O_CLOEXEC);
	f.map = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f.node, 0);
	if (f.map == MAP_FAILED)
		tap_bail("mmap %s", f.path);
	tap_ok(page_is_filled(f.map + 700 * page_size, 700), "which shows through the node");
	pid = child_reads(&f, 9);
	tap_ok(next_fault(&f).page == 9, "where missing pages are asked for");
	f.view[9 * page_size] = 99;
	declare(f.pager, 9, 1);
	tap_ok(ending(pid) == 99, "and come");
	fixture_close(&f);
	tap_ok(node_exists(&f), "again it stays without users");
	pager_comes(&f);
	declare(f.pager, 0, PAGES);
	pager_goes(&f);
	tap_ok(node_exists(&f) && attribute_is(&f, "state", "complete"), "complete, too");
	tap_ok(!remove_region(f.name, 0), "it can be removed");
	tap_ok(!node_exists(&f), "and is gone");
	tap_ok(module_refcnt() == users, "nor holds the module any more");

	fixture_open_with(&f, PAGES, &kept);
	fail(f.name);
	fixture_close(&f);
	tap_ok(node_exists(&f) && attribute_is(&f, "state", "failed"),
	       "a failed region is kept as well");
	tap_ok(!remove_region(f.name, YAB_REMOVE_FORCE) && !node_exists(&f),
	       "and can be removed, force or not");
	tap_ok(module_refcnt() == users, "and leaves nothing");
}

static bool remove_fails(const struct fixture *f, uint64_t flags, int expected)
{
	return remove_region(f->name, flags) < 0 && errno == expected;
}

static bool map_fails(int node, int expected)
{
	void *map = mmap(NULL, page_size, PROT_READ, MAP_SHARED, node, 0);

	if (map != MAP_FAILED)
		munmap(map, page_size);
	return map == MAP_FAILED && errno == expected;
}

static void check_remove(void)
{
	unsigned long users = module_refcnt();
	int control, old;
	struct yab_create request;
	struct fixture f;
	char path[160];

	fixture_open_with(&f, PAGES, &kept);
	tap_ok(remove_fails(&f, 0, EBUSY), "a region that is mapped and paged: EBUSY");
	munmap(f.map, PAGES * page_size);
	tap_ok(remove_fails(&f, 0, EBUSY), "one that has a pager: EBUSY");
	f.map = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f.node, 0);
	pager_goes(&f);
	tap_ok(remove_fails(&f, 0, EBUSY), "one that is mapped: EBUSY");
	munmap(f.map, PAGES * page_size);
	tap_ok(!remove_region(f.name, 0), "one whose node is merely open is removed");
	snprintf(path, sizeof(path), "/sys/class/yabusame/%s", f.name);
	tap_ok(!node_exists(&f) && access(path, F_OK), "its node and its attributes are gone");
	tap_ok(map_fails(f.node, ENXIO), "and the open node cannot be mapped: ENXIO");
	tap_ok(remove_fails(&f, 0, ENOENT), "to remove it again: ENOENT");
	tap_ok(attach_fails(&f, ENOENT) && fail(f.name) < 0 && errno == ENOENT,
	       "to attach to it or fail it: ENOENT");

	old = f.node;
	f.memory = make_memory(page_size);
	request = make_request(f.name, page_size, f.memory);
	control = open_control();
	f.pager = ioctl(control, YAB_IOC_CREATE, &request);
	close(control);
	f.node = open(f.path, O_RDWR);
	tap_ok(f.pager >= 0 && f.node >= 0, "the name is free at once");
	tap_ok(map_fails(old, ENXIO) && !map_fails(f.node, ENXIO),
	       "the old node is not the new one");
	close(old);
	tap_ok(node_exists(&f) && attribute_is(&f, "pages", "1") &&
	       declare(f.pager, 0, 1) == 1, "nor takes it along when it is closed");
	close(f.node);
	close(f.pager);
	close(f.memory);
	tap_ok(!node_exists(&f) && module_refcnt() == users, "nothing is left of either");

	/* Without KEEP there is hardly a moment for it, but an open node is one. */
	fixture_open(&f, PAGES);
	munmap(f.map, PAGES * page_size);
	pager_goes(&f);
	tap_ok(!remove_region(f.name, 0) && !node_exists(&f), "nobody has to keep it for that");
	close(f.node);
	tap_ok(module_refcnt() == users, "nothing is left of it");
}

static void check_force_waiters(void)
{
	unsigned long users = module_refcnt();
	struct fixture f, again;
	struct yab_fault fault;
	unsigned char *moved;
	pid_t first, second;

	fixture_open(&f, PAGES);
	fill_page(f.view + 4 * page_size, 4);
	fill_page(f.view + 5 * page_size, 5);
	declare(f.pager, 4, 2);
	f.map[4 * page_size + 9] = f.map[4 * page_size + 9];
	first = child_reads(&f, 1);
	second = child_writes(&f, 2);
	wait_until_faults(&f, 2);
	tap_ok(!remove_region(f.name, YAB_REMOVE_FORCE), "a region is removed by force");
	tap_ok(ending(first) == -SIGBUS && ending(second) == -SIGBUS, "who waits gets SIGBUS");
	tap_ok(!node_exists(&f), "the node is gone");
	tap_ok(get_status(&f).state == YAB_STATE_FAILED, "its pager finds it failed");
	tap_ok(read(f.pager, &fault, sizeof(fault)) < 0 && errno == EIO &&
	       declare(f.pager, 1, 1) < 0 && errno == EIO, "and cannot do anything: EIO");
	tap_ok(page_is_filled(f.map + 4 * page_size, 4) && page_is_filled(f.map + 5 * page_size, 5),
	       "in the mapping that stays, present pages work");
	tap_ok(ending(child_reads(&f, 3)) == -SIGBUS, "and missing ones are SIGBUS");
	moved = mremap(f.map, 4 * page_size, 4 * page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
		       mmap(NULL, 4 * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	tap_ok(moved != MAP_FAILED && !munmap(moved, 4 * page_size) && f.map[4 * page_size + 1] ==
	       f.view[4 * page_size + 1], "it can be moved and split");
	tap_ok(map_fails(f.node, ENXIO), "no other mapping can be made: ENXIO");
	tap_ok(module_refcnt() > users, "it holds the module");

	again = f;
	again.memory = make_memory(page_size);
	{
		struct yab_create request = make_request(f.name, page_size, again.memory);
		int control = open_control();

		again.pager = ioctl(control, YAB_IOC_CREATE, &request);
		close(control);
	}
	tap_ok(again.pager >= 0, "the name is free at once");
	fixture_close(&f);
	tap_ok(node_exists(&again), "the end of the old region is not that of the new one");
	close(again.pager);
	close(again.memory);
	tap_ok(!node_exists(&again) && module_refcnt() == users, "nothing is left of either");

	fixture_open_with(&f, PAGES, &kept);
	close(f.pager);
	first = child_reads(&f, 1);
	wait_until_asleep(first);
	tap_ok(!remove_region(f.name, YAB_REMOVE_FORCE) && ending(first) == -SIGBUS,
	       "an orphan is removed by force: SIGBUS for who waits");
	f.pager = -1;
	fixture_close(&f);
	tap_ok(!node_exists(&f) && module_refcnt() == users, "nothing is left of it");
}

static void check_force_complete(void)
{
	unsigned long users = module_refcnt();
	struct fixture f;

	fixture_open_with(&f, PAGES, &kept);
	memset(f.view, 1, PAGES * page_size);
	declare(f.pager, 0, PAGES);
	f.map[0] = 2;
	tap_ok(!remove_region(f.name, YAB_REMOVE_FORCE), "a complete region is removed by force");
	tap_ok(get_status(&f).state == YAB_STATE_COMPLETE, "it does not fail");
	close(f.pager);
	f.pager = -1;
	tap_ok(f.map[0] == 2 && f.map[900 * page_size] == 1,
	       "its mapping works, and what is touched for the first time, too");
	tap_ok(ending(child_writes(&f, 901)) == 1 && f.map[901 * page_size + 1] == 1,
	       "in a child as well");
	tap_ok(!node_exists(&f) && map_fails(f.node, ENXIO), "it cannot be mapped again: ENXIO");
	fixture_close(&f);
	tap_ok(module_refcnt() == users, "nothing is left of it");
}

int main(void)
{
	tap_start(21 + 18 + 1 + 9 + 2 + 3 * 9 + 2 + 1 + 4 + 16 + 14 + 15 + 6, 120);
	check_takeover();
	check_bitmap();
	check_long_bitmap();
	check_busy();
	check_contest();
	check_names();
	check_failed();
	check_complete();
	check_kept();
	check_remove();
	check_force_waiters();
	check_force_complete();
	return tap_end();
}
