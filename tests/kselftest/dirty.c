// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking: no write through any mapping of the node is lost, whoever writes and
 * however the mapping was made.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "kvm.h"

#define PAGES 256

static struct fixture f;

/*
 * A page that is new, or was moved between LRU lists, is held for some time by the processor
 * that did it, and reported for that. mbind() has all of them let go.
 */
static void drain(void)
{
	static unsigned char *page;

	if (!page)
		page = mmap(NULL, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (syscall(SYS_mbind, page, page_size, MPOL_DEFAULT, NULL, 0, MPOL_MF_MOVE) &&
	    !write_file("/proc/sys/vm", "drop_caches", "1"))
		tap_bail("drop_caches");
}

static int start_tracking(void)
{
	drain();
	return track(f.pager, true);
}

/* Reads and clears the bits of the whole region; returns how many are set. */
static long collect(uint64_t *bits)
{
	long set;

	drain();
	set = get_bitmap(f.pager, YAB_IOC_DIRTY, 0, f.pages, bits);

	if (set < 0)
		tap_bail("YAB_IOC_DIRTY");
	return set;
}

static bool is_set(const uint64_t *bits, uint64_t page)
{
	return bits[page / 64] >> page % 64 & 1;
}

/* Is @page written since the last call? What else was written is forgotten. */
static bool was_written(uint64_t page)
{
	uint64_t bits[PAGES / 64];

	collect(bits);
	return is_set(bits, page);
}

static bool nothing_written(void)
{
	uint64_t bits[PAGES / 64];

	return collect(bits) == 0;
}

static void read_all(const unsigned char *map)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		(void)*(const volatile unsigned char *)(map + i * page_size);
}

static void open_tracked(void)
{
	fixture_open(&f, PAGES);
	declare(f.pager, 0, PAGES);
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
}

/* --- the calls ------------------------------------------------------------------ */

static int track_flags(uint32_t flags, uint32_t reserved)
{
	struct yab_track request = { .flags = flags, .reserved = reserved };

	return ioctl(f.pager, YAB_IOC_TRACK, &request);
}

static void check_calls(void)
{
	uint64_t bits[PAGES / 64];

	fixture_open(&f, PAGES);
	tap_ok(get_bitmap(f.pager, YAB_IOC_DIRTY, 0, PAGES, bits) < 0 && errno == EINVAL,
	       "nothing is tracked at first: EINVAL");
	tap_ok(track(f.pager, false) < 0 && errno == EALREADY, "what is not on cannot stop: EALREADY");
	tap_ok(track_flags(2, 0) < 0 && errno == EINVAL, "an unknown flag: EINVAL");
	tap_ok(track_flags(YAB_TRACK_ON, 1) < 0 && errno == EINVAL, "a reserved field set: EINVAL");
	tap_ok(ioctl(f.pager, YAB_IOC_TRACK, NULL) < 0 && errno == EFAULT, "NULL: EFAULT");
	tap_ok(attribute_is(&f, "tracking", "0") && !(get_status(&f).flags & YAB_STATUS_TRACKING),
	       "status and sysfs say that it is off");
	tap_ok(!start_tracking(), "tracking begins");
	tap_ok(track(f.pager, true) < 0 && errno == EALREADY, "it cannot begin twice: EALREADY");
	tap_ok(attribute_is(&f, "tracking", "1") && get_status(&f).flags & YAB_STATUS_TRACKING,
	       "status and sysfs say that it is on");
	tap_ok(nothing_written(), "nothing is written yet");
	tap_ok(get_bitmap(f.pager, YAB_IOC_DIRTY, 1, 64, bits) < 0 && errno == EINVAL,
	       "a first page that is no multiple of 64: EINVAL");
	tap_ok(get_bitmap(f.pager, YAB_IOC_DIRTY, 0, 0, bits) < 0 && errno == EINVAL,
	       "no pages: EINVAL");
	tap_ok(get_bitmap(f.pager, YAB_IOC_DIRTY, 64, PAGES - 63, bits) < 0 && errno == ERANGE,
	       "pages outside the region: ERANGE");
	tap_ok(!track(f.pager, false), "tracking stops");
	tap_ok(get_bitmap(f.pager, YAB_IOC_DIRTY, 0, PAGES, bits) < 0 && errno == EINVAL,
	       "and cannot be asked any more: EINVAL");
	fixture_close(&f);
}

/* What could not be handed over must not be lost. */
static void check_bad_buffer(void)
{
	uint64_t *bad = mmap(NULL, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	open_tracked();
	page_of(&f, 70)[0] = 1;
	tap_ok(get_bitmap(f.pager, YAB_IOC_DIRTY, 0, PAGES, bad) < 0 && errno == EFAULT,
	       "a bad buffer: EFAULT");
	tap_ok(was_written(70), "and the write is still there to be asked for");
	page_of(&f, 3)[0] = 1;
	page_of(&f, 70)[0] = 1;
	page_of(&f, 130)[0] = 1;
	{
		uint64_t bits[2] = { 0 };
		long set = get_bitmap(f.pager, YAB_IOC_DIRTY, 64, 60, bits);

		tap_ok(set == 1 && bits[0] == 1ULL << 6, "a part of the region is asked for");
		tap_ok(!nothing_written(), "which leaves the rest as it was");
	}
	munmap(bad, page_size);
	fixture_close(&f);
}

/* --- who writes ------------------------------------------------------------------ */

static void check_plain(void)
{
	uint64_t bits[PAGES / 64];
	long set;

	open_tracked();
	read_all(f.map);
	tap_ok(nothing_written(), "reads are no writes");
	page_of(&f, 5)[10] = 1;
	page_of(&f, 200)[0] = 2;
	set = collect(bits);
	tap_ok(set == 2 && is_set(bits, 5) && is_set(bits, 200), "two pages are written, and reported");
	tap_ok(nothing_written(), "once");
	read_all(f.map);
	tap_ok(nothing_written(), "reads after that are no writes");
	page_of(&f, 5)[11] = 1;
	tap_ok(was_written(5), "another write to a page that was reported is seen");
	f.view[7 * page_size] = 1;
	tap_ok(!was_written(7), "the pager's own writes are not");
	fixture_close(&f);
}

static int in_child(void (*run)(unsigned char *), unsigned char *at)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		tap_bail("fork");
	if (!pid) {
		run(at);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void run_store(unsigned char *at)
{
	*(volatile unsigned char *)at = 9;
}

/* As another process would: it opens and maps the node by itself. */
static void run_map_and_store(unsigned char *at)
{
	int fd = open(f.path, O_RDWR);
	unsigned char *map = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				  at - f.map);

	if (map == MAP_FAILED)
		_exit(1);
	*map = 9;
}

static void check_processes(void)
{
	open_tracked();
	in_child(run_store, page_of(&f, 1));
	tap_ok(was_written(1) && page_of(&f, 1)[0] == 9, "a child writes to the mapping it inherited");
	read_all(f.map);
	in_child(run_store, page_of(&f, 2));
	tap_ok(was_written(2), "to a page that its parent has read");
	page_of(&f, 3)[0] = 1;
	nothing_written();
	in_child(run_store, page_of(&f, 3));
	tap_ok(was_written(3), "and to one that its parent has written before");
	in_child(run_map_and_store, page_of(&f, 4));
	tap_ok(was_written(4), "another process writes to a mapping of its own");
	fixture_close(&f);
}

static void check_kernel(void)
{
	struct iovec local = { .iov_base = "abc", .iov_len = 3 }, remote;
	char path[32];
	int fds[2], fd;
	pid_t pid;

	open_tracked();
	if (pipe(fds) || write(fds[1], "abc", 3) != 3 || read(fds[0], page_of(&f, 1), 3) != 3)
		tap_bail("pipe");
	tap_ok(was_written(1), "read() into a page is a write");
	if (write(fds[1], page_of(&f, 2), 3) != 3)
		tap_bail("pipe");
	tap_ok(nothing_written(), "write() from a page is none");
	pid = child_idle();
	remote = (struct iovec){ .iov_base = page_of(&f, 3), .iov_len = 3 };
	if (process_vm_writev(pid, &local, 1, &remote, 1, 0) == 3)
		tap_ok(was_written(3), "process_vm_writev() to another process is a write");
	else
		tap_skip("process_vm_writev(): not in this kernel");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	if (pwrite(fd, "abc", 3, (off_t)(uintptr_t)page_of(&f, 4)) != 3)
		tap_bail("%s", path);
	tap_ok(was_written(4), "so is writing to /proc/PID/mem");
	close(fd);
	child_kill(pid);
	close(fds[0]);
	close(fds[1]);
	fixture_close(&f);
}

static void check_kvm(void)
{
	struct vm vm;
	bool seen;

	if (access("/dev/kvm", R_OK | W_OK)) {
		tap_skip("KVM: not here");
		tap_skip("KVM after a round");
		tap_skip("KVM, reading");
		tap_skip("KVM, mapped before tracking began");
		return;
	}
	open_tracked();
	if (!vm_open(&vm, f.map, PAGES * page_size, false))
		tap_bail("KVM");
	vm_prepare(&vm, page_size, true, 5);
	if (vm_run(&vm) < 0)
		tap_bail("KVM_RUN");
	tap_ok(was_written(1) && page_of(&f, 1)[0] == 5, "a KVM guest's write is seen");
	vm_prepare(&vm, page_size, true, 6);
	vm_run(&vm);
	tap_ok(was_written(1) && page_of(&f, 1)[0] == 6, "and again after it was reported");
	vm_prepare(&vm, 2 * page_size, false, 0);
	vm_run(&vm);
	tap_ok(page_of(&f, 2)[0] == 0, "a guest reads");
	track(f.pager, false);
	vm_prepare(&vm, 3 * page_size, true, 7);
	vm_run(&vm);
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
	vm_prepare(&vm, 3 * page_size, true, 8);
	vm_run(&vm);
	seen = was_written(3);
	tap_ok(seen, "a guest's write to what it wrote before tracking began is seen");
	vm_close(&vm);
	fixture_close(&f);
}

/*
 * Pinned memory is written without a fault: once reported, it is reported as long as
 * it is pinned.
 */
static void check_pinned(void)
{
	struct io_uring_params params = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1, &params), i;
	struct iovec buffer;

	fixture_open(&f, PAGES);
	declare(f.pager, 0, PAGES);
	buffer = (struct iovec){ .iov_base = page_of(&f, 9), .iov_len = page_size };
	/* 6.1 knows shmem by its vm_ops: EOPNOTSUPP. */
	if (ring < 0 ||
	    (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) &&
	     errno == EOPNOTSUPP)) {
		for (i = 0; i < 3; i++)
			tap_skip("pinned pages: io_uring pins no mappings of files here");
		close(ring);
		fixture_close(&f);
		return;
	}
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
	page_of(&f, 9)[0] = 1;
	tap_ok(was_written(9), "a page that is pinned is written");
	tap_ok(was_written(9) && was_written(9), "and counts as written again and again");
	syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
	was_written(9);
	tap_ok(!was_written(9), "until it is let go");
	close(ring);
	fixture_close(&f);
}

/* --- how it is mapped -------------------------------------------------------------- */

static void check_before(void)
{
	unsigned char *reader;
	size_t i;
	bool all = true;

	fixture_open(&f, PAGES);
	declare(f.pager, 0, PAGES);
	for (i = 0; i < PAGES; i++)
		page_of(&f, i)[0] = i;
	reader = mmap(NULL, PAGES * page_size, PROT_READ, MAP_SHARED, f.node, 0);
	read_all(reader);
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
	tap_ok(nothing_written(), "pages that were written before count as clean");
	for (i = 0; i < PAGES; i += 3)
		page_of(&f, i)[1] = i;
	{
		uint64_t bits[PAGES / 64];

		collect(bits);
		for (i = 0; i < PAGES; i += 3)
			all = all && is_set(bits, i);
		tap_ok(all, "writes to pages that were mapped writable before it began are seen");
	}
	mprotect(reader, PAGES * page_size, PROT_READ | PROT_WRITE);
	reader[100 * page_size] = 1;
	tap_ok(was_written(100), "mprotect() makes a mapping writable: its write is seen");
	mprotect(f.map, PAGES * page_size, PROT_READ);
	mprotect(f.map, PAGES * page_size, PROT_READ | PROT_WRITE);
	page_of(&f, 100)[0] = 1;
	tap_ok(was_written(100), "and back and forth, too");
	munmap(reader, PAGES * page_size);
	fixture_close(&f);
}

static void check_after(void)
{
	unsigned char *map, *away;

	open_tracked();
	map = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f.node, 0);
	map[20 * page_size] = 1;
	tap_ok(was_written(20), "a mapping that is made meanwhile is tracked");
	map[20 * page_size] = 2;
	tap_ok(was_written(20), "round after round");
	away = mremap(map, PAGES * page_size, PAGES * page_size, MREMAP_MAYMOVE | MREMAP_FIXED,
		      mmap(NULL, PAGES * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	away[20 * page_size] = 3;
	tap_ok(was_written(20), "so is one that was moved");
	away[21 * page_size] = 3;
	munmap(away, PAGES * page_size);
	tap_ok(was_written(21), "a write whose mapping is gone is still reported");
	page_of(&f, 22)[0] = 1;
	madvise(f.map, PAGES * page_size, MADV_DONTNEED);
	tap_ok(was_written(22) && page_of(&f, 22)[0] == 1, "as is one that was dropped from the mapping");
	map = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, f.node, 0);
	map[23 * page_size] = 1;
	page_of(&f, 24)[0] = 1;
	tap_ok(was_written(24) && page_of(&f, 23)[0] == 0, "a private mapping does no harm");
	munmap(map, PAGES * page_size);
	fixture_close(&f);
}

/* A process that has just forked and a mapping that is populated for writing. */
static void check_populate(void)
{
	open_tracked();
	madvise(page_of(&f, 40), 8 * page_size, MADV_POPULATE_WRITE);
	page_of(&f, 41)[0] = 1;
	tap_ok(was_written(41), "MADV_POPULATE_WRITE hides no write");
	page_of(&f, 41)[0] = 2;
	tap_ok(was_written(41), "not even after it was reported");
	mlock(page_of(&f, 40), 8 * page_size);
	was_written(0);
	page_of(&f, 42)[0] = 2;
	tap_ok(was_written(42), "nor does mlock()");
	fixture_close(&f);
}

/* The memory file holds a huge page. */
static void check_huge(void)
{
	size_t pages = HUGE_SIZE / page_size, page;
	uint64_t bits[HUGE_SIZE / 4096 / 64];

	fixture_open_aligned(&f, pages);
	fill_pages(&f);
	declare(f.pager, 0, pages);
	if (madvise(f.view, HUGE_SIZE, MADV_COLLAPSE)) {
		tap_skip("a huge page, mapped before: no MADV_COLLAPSE here");
		tap_skip("a huge page, in a second round");
		tap_skip("a huge page that is made meanwhile");
		fixture_close(&f);
		return;
	}
	for (page = 0; page < pages; page++)
		f.map[page * page_size] ^= 1;
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
	page_of(&f, 100)[0] ^= 1;
	collect(bits);
	tap_ok(is_set(bits, 100), "a write to a huge page, mapped as such before it began, is seen");
	page_of(&f, 101)[0] ^= 1;
	page_of(&f, 100)[0] ^= 1;
	collect(bits);
	tap_ok(is_set(bits, 100) && is_set(bits, 101), "and those of the next round");
	madvise(f.view, HUGE_SIZE, MADV_COLLAPSE);
	madvise(f.map, HUGE_SIZE, MADV_COLLAPSE);
	page_of(&f, 102)[0] ^= 1;
	madvise(f.view, HUGE_SIZE, MADV_COLLAPSE);
	page_of(&f, 103)[0] ^= 1;
	collect(bits);
	tap_ok(is_set(bits, 102) && is_set(bits, 103), "collapsing meanwhile hides nothing");
	fixture_close(&f);
}

/* --- while pages are missing --------------------------------------------------------- */

static void check_filling(void)
{
	struct toucher t;

	fixture_open(&f, PAGES);
	declare(f.pager, 0, 10);
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
	toucher_start(&t, page_of(&f, 20), true, 8);
	next_fault(&f);
	tap_ok(!was_written(20), "a missing page that is to be written is not written yet");
	provide_page(&f, 20);
	toucher_join(&t);
	tap_ok(was_written(20) && page_of(&f, 20)[0] == 8, "but as soon as it has come");
	toucher_start(&t, page_of(&f, 21), false, 0);
	next_fault(&f);
	declare(f.pager, 21, 1);
	toucher_join(&t);
	tap_ok(!was_written(21), "one that is only read is not");
	page_of(&f, 21)[0] = 1;
	tap_ok(was_written(21), "until it is written");
	declare_as(f.pager, 3, 2, YAB_RANGE_DISCARDED);
	{
		uint64_t bits[PAGES / 64];

		collect(bits);
		tap_ok(is_set(bits, 3) && is_set(bits, 4), "pages that are discarded count as written");
	}
	fixture_close(&f);
}

static void check_handover(void)
{
	struct yab_status status;

	open_tracked();
	page_of(&f, 6)[0] = 1;
	close(f.pager);
	wait_until_attribute(&f, "pager", "0");
	page_of(&f, 7)[0] = 1;
	tap_ok(attribute_is(&f, "tracking", "1"), "tracking outlives the pager");
	f.pager = attach(f.name);
	if (f.pager < 0)
		tap_bail("attach");
	status = get_status(&f);
	tap_ok(status.flags & YAB_STATUS_TRACKING, "the new one is told");
	{
		uint64_t bits[PAGES / 64];

		collect(bits);
		tap_ok(is_set(bits, 6) && is_set(bits, 7),
		       "and gets what was written before and between");
	}
	page_of(&f, 6)[0] = 2;
	tap_ok(was_written(6), "and after");
	fixture_close(&f);
}

/* --- what it costs ---------------------------------------------------------------- */

static long faults_so_far(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static void write_all(void)
{
	size_t i;

	for (i = 0; i < f.pages; i++)
		page_of(&f, i)[0]++;
}

static void check_cost(void)
{
	long faults;

	fixture_open(&f, PAGES);
	declare(f.pager, 0, PAGES);
	write_all();
	faults = faults_so_far();
	write_all();
	tap_ok(faults_so_far() == faults, "without tracking a second write costs no fault");
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
	write_all();
	faults = faults_so_far();
	write_all();
	tap_ok(faults_so_far() == faults, "with it a second write in a round costs none either");
	nothing_written();
	write_all();
	track(f.pager, false);
	write_all();
	faults = faults_so_far();
	write_all();
	tap_ok(faults_so_far() == faults, "when it has ended, nothing costs anything any more");
	fixture_close(&f);
}

/* --- the race --------------------------------------------------------------------- */

/*
 * Writers count up in all pages, each in words of its own, by all ways there are, while
 * rounds copy what was reported into a shadow. In the end, after one more round without
 * writers, the shadow must be the memory, byte by byte.
 */
#define WRITERS 6
#define RACE_PAGES 1024	/* at most */

static atomic_bool racing;
static unsigned char *second_map;	/* made after tracking began */

static uint64_t *word(unsigned char *map, uint64_t page, unsigned int writer)
{
	return (uint64_t *)(map + page * page_size) + writer * 64;
}

/* Stores by processor, through the one mapping or the other. */
static void *run_stores(void *arg)
{
	uintptr_t writer = (uintptr_t)arg;
	uint64_t random = writer + 1;

	while (atomic_load(&racing))
		++*word(writer % 2 ? second_map : f.map, next_random(&random) % f.pages, writer);
	return NULL;
}

/* Copies by the kernel. */
static void *run_copies(void *arg)
{
	uintptr_t writer = (uintptr_t)arg;
	uint64_t random = writer + 1, value = 0;
	int fds[2];

	if (pipe(fds))
		tap_bail("pipe");
	while (atomic_load(&racing)) {
		uint64_t *at = word(f.map, next_random(&random) % f.pages, writer);

		value++;
		if (write(fds[1], &value, 8) != 8 || read(fds[0], at, 8) != 8)
			tap_bail("copy");
	}
	close(fds[0]);
	close(fds[1]);
	return NULL;
}

/* Through pages that are pinned for a moment. */
static void *run_vm_writev(void *arg)
{
	uintptr_t writer = (uintptr_t)arg;
	uint64_t random = writer + 1, value = 0;

	while (atomic_load(&racing)) {
		struct iovec local = { .iov_base = &value, .iov_len = 8 };
		struct iovec remote = { .iov_len = 8 };

		remote.iov_base = word(f.map, next_random(&random) % f.pages, writer);
		value++;
		/* Some kernels have no such call. */
		if (process_vm_writev(getpid(), &local, 1, &remote, 1, 0) != 8)
			return NULL;
	}
	return NULL;
}

/* Empties and changes page tables under the others' feet. */
static void *run_disturb(void *arg)
{
	uint64_t random = 77;

	(void)arg;
	while (atomic_load(&racing)) {
		size_t some = f.pages / 16, length = some * page_size;
		uint64_t page = next_random(&random) % (f.pages - some);
		unsigned char *map = next_random(&random) % 2 ? f.map : second_map;
		void *copy;

		switch (next_random(&random) % 5) {
		case 0:
			madvise(map + page * page_size, length, MADV_DONTNEED);
			break;
		case 1:
			madvise(map + page * page_size, length, MADV_POPULATE_WRITE);
			break;
		case 2:
			madvise(f.view, f.pages * page_size, MADV_COLLAPSE);
			break;
		case 3:
			madvise(map + page * page_size, length, MADV_PAGEOUT);
			break;
		default:
			copy = mmap(NULL, length, PROT_READ, MAP_SHARED | MAP_POPULATE, f.node,
				    page * page_size);
			mprotect(copy, length, PROT_READ | PROT_WRITE);
			++*word(copy, next_random(&random) % some, WRITERS);
			munmap(copy, length);
			break;
		}
	}
	return NULL;
}

/* A process of its own, which ends with the test at the latest. */
static pid_t start_process(void)
{
	pid_t pid = fork();
	uint64_t random = 99;

	if (pid < 0)
		tap_bail("fork");
	if (!pid)
		for (;;)
			++*word(f.map, next_random(&random) % f.pages, WRITERS + 1);
	return pid;
}

static long copy_round(unsigned char *shadow)
{
	uint64_t bits[RACE_PAGES / 64], page;
	/* Without drain(): a page too much is copied, and rounds have to be many. */
	long set = get_bitmap(f.pager, YAB_IOC_DIRTY, 0, f.pages, bits);

	if (set < 0)
		tap_bail("YAB_IOC_DIRTY");
	for (page = 0; page < f.pages; page++)
		if (is_set(bits, page))
			memcpy(shadow + page * page_size, f.view + page * page_size, page_size);
	return set;
}

static uint64_t differences(const unsigned char *shadow)
{
	uint64_t page, count = 0;

	for (page = 0; page < f.pages; page++)
		count += !!memcmp(shadow + page * page_size, f.view + page * page_size, page_size);
	return count;
}

/* Many pages are disturbed more, few pages see more rounds. */
static void check_race(size_t pages, unsigned int length)
{
	unsigned char *shadow = malloc(pages * page_size);
	uint64_t rounds = 0, copied = 0, wrong;
	pthread_t threads[WRITERS + 1];
	double end;
	uintptr_t i;
	pid_t pid;

	fixture_open(&f, pages);
	declare(f.pager, 0, pages);
	write_all();
	pid = start_process();
	atomic_store(&racing, true);
	second_map = f.map;
	for (i = 0; i < WRITERS; i += 2)
		pthread_create(&threads[i], NULL, i == 4 ? run_copies : run_stores, (void *)i);
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
	/* From here on nothing is lost: the first copy is of all pages. */
	memcpy(shadow, f.view, pages * page_size);
	second_map = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f.node, 0);
	for (i = 1; i < WRITERS; i += 2)
		pthread_create(&threads[i], NULL, i == 5 ? run_vm_writev : run_stores, (void *)i);
	pthread_create(&threads[WRITERS], NULL, run_disturb, NULL);
	end = seconds() + length;
	/* The rounds are what counts here: they go before the writers. */
	setpriority(PRIO_PROCESS, 0, -15);
	do {
		copied += copy_round(shadow);
		rounds++;
	} while (seconds() < end);
	setpriority(PRIO_PROCESS, 0, 0);
	atomic_store(&racing, false);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	child_kill(pid);
	drain();
	copy_round(shadow);
	wrong = differences(shadow);
	tap_ok(!wrong, "writers to %zu pages race with %lu rounds that copy %lu: %lu miss a write",
	       pages, (unsigned long)rounds, (unsigned long)copied, (unsigned long)wrong);
	drain();
	tap_ok(!copy_round(shadow), "and nothing is reported when nobody writes");
	munmap(second_map, pages * page_size);
	fixture_close(&f);
	free(shadow);
}

/*
 * One writer with one mapping: a write that is lost once stays lost, since nobody else
 * makes up for it.
 */
static void check_race_alone(unsigned int length)
{
	unsigned char *shadow = malloc(4 * page_size);
	uint64_t rounds = 0, copied = 0, wrong;
	pthread_t thread;
	double end;

	fixture_open(&f, 4);
	declare(f.pager, 0, 4);
	if (start_tracking())
		tap_bail("YAB_IOC_TRACK");
	memcpy(shadow, f.view, 4 * page_size);
	atomic_store(&racing, true);
	second_map = f.map;
	pthread_create(&thread, NULL, run_stores, NULL);
	end = seconds() + length;
	do {
		copied += copy_round(shadow);
		rounds++;
	} while (seconds() < end);
	atomic_store(&racing, false);
	pthread_join(thread, NULL);
	copy_round(shadow);
	wrong = differences(shadow);
	tap_ok(!wrong, "a single writer races with %lu rounds that copy %lu pages: %lu miss a write",
	       (unsigned long)rounds, (unsigned long)copied, (unsigned long)wrong);
	fixture_close(&f);
	free(shadow);
}

/* Tracking begins and ends while others write: a write after it began is never lost. */
static void check_race_start(void)
{
	unsigned char *shadow = malloc(RACE_PAGES * page_size);
	unsigned int round;
	uint64_t wrong = 0;

	fixture_open(&f, RACE_PAGES);
	declare(f.pager, 0, RACE_PAGES);
	for (round = 0; round < 20; round++) {
		pthread_t threads[2];
		uintptr_t i;

		second_map = f.map;
		atomic_store(&racing, true);
		for (i = 0; i < 2; i++)
			pthread_create(&threads[i], NULL, run_stores, (void *)i);
		if (start_tracking())
			tap_bail("YAB_IOC_TRACK");
		memcpy(shadow, f.view, RACE_PAGES * page_size);
		atomic_store(&racing, false);
		for (i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		copy_round(shadow);
		wrong += differences(shadow);
		if (track(f.pager, false))
			tap_bail("YAB_IOC_TRACK");
	}
	tap_ok(!wrong, "tracking begins twenty times under writers: %lu pages miss a write",
	       (unsigned long)wrong);
	fixture_close(&f);
	free(shadow);
}

int main(void)
{
	tap_start(15 + 4 + 6 + 4 + 4 + 4 + 3 + 4 + 6 + 3 + 3 + 5 + 4 + 3 + 2 * 2 + 1 + 1,
		  180 + stress_seconds());
	check_calls();
	check_bad_buffer();
	check_plain();
	check_processes();
	check_kernel();
	check_kvm();
	check_pinned();
	check_before();
	check_after();
	check_populate();
	check_huge();
	check_filling();
	check_handover();
	check_cost();
	check_race(RACE_PAGES, stress_seconds() / 3);
	check_race(32, stress_seconds() / 3);
	check_race_alone(stress_seconds() / 3);
	check_race_start();
	return tap_end();
}
