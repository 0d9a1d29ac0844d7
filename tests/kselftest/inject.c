// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation that the module makes, or has made for it, and each copy from or to
 * user space fails once: the call says ENOMEM or EFAULT or gets by without, and nothing
 * is left behind.
 *
 * The kernel has the Nth of these of a task fail (/proc/thread-self/fail-nth), and its
 * filter by stack trace counts only those below the module's text.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define POINTS 16
#define PAGES 64
#define NTH_MAX 500
/* Large enough that a lost bitmap (1 MiB) shows in the machine's memory. */
#define LARGE (32ULL << 30)

#define DEBUGFS "/sys/kernel/debug"

/* What can fail; fail_usercopy is not in every kernel. */
static const char *const sources[] = { "failslab", "fail_page_alloc", "fail_usercopy" };

static struct fixture f;
static int control;
static int nth_fd;
static char name[YAB_NAME_SIZE];

/* From /proc/meminfo, in KiB. */
static unsigned long meminfo(const char *key)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long value = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			value = strtoul(line + strlen(key), NULL, 10);
	fclose(file);
	return value;
}

static unsigned int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* Which callers' failures count: those below the addresses from @start to @end. */
static bool filter(const char *source, unsigned long start, unsigned long end)
{
	char folder[300], from[32], to[32];

	snprintf(folder, sizeof(folder), DEBUGFS "/%s", source);
	snprintf(from, sizeof(from), "%#lx", start);
	snprintf(to, sizeof(to), "%#lx", end);
	/* Some have the one file, some the other. */
	write_file(folder, "ignore-gfp-wait", "N");
	write_file(folder, "ignore-gfp-highmem", "N");
	write_file(folder, "min-order", "0");
	return write_file(folder, "require-start", from) && write_file(folder, "require-end", to) &&
	       write_file(folder, "stacktrace-depth", "32") && write_file(folder, "verbose", "0");
}

static bool is_source(const char *folder)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sources); i++)
		if (!strcmp(folder, sources[i]))
			return true;
	return false;
}

/* What else can fail must not count. */
static void filter_others(void)
{
	DIR *dir = opendir(DEBUGFS);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "fail", 4) && !is_source(entry->d_name))
			filter(entry->d_name, 1, 2);
	closedir(dir);
}

/* Only what is called from the module fails; else why that cannot be. */
static const char *set_filter(void)
{
	unsigned long start, end;

	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth_fd < 0 || access(DEBUGFS "/failslab", F_OK))
		return "no fault injection in this kernel";
	start = read_number("/sys/module/yabusame/sections", ".text");
	end = start + read_number("/sys/module/yabusame", "coresize");
	if (!start)
		return "the module's address is not to be had";
	if (!filter("failslab", start, end))
		return "no filter by stack trace in this kernel";
	filter("fail_page_alloc", start, end);
	filter("fail_usercopy", start, end);
	filter_others();
	return NULL;
}

static void set_nth(unsigned int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nth);
	if (pwrite(nth_fd, text, strlen(text), 0) < 0)
		tap_bail("fail-nth");
}

/* Has there been an Nth time? */
static bool has_failed(void)
{
	char text[16] = { 0 };

	if (pread(nth_fd, text, sizeof(text) - 1, 0) <= 0)
		tap_bail("fail-nth");
	return !strtoul(text, NULL, 10);
}

/*
 * @run with the first thing failing that can, then the second, and so on until there is no
 * more. It returns what its call does; @undo takes back a success.
 */
static void inject(const char *what, int (*run)(void), void (*undo)(int ret))
{
	unsigned int files = open_files(), strange = 0, refused = 0, nth;
	unsigned long users = module_refcnt();
	bool failed = true;

	for (nth = 1; failed && nth < NTH_MAX; nth++) {
		int ret, error;

		set_nth(nth);
		ret = run();
		error = errno;
		failed = has_failed();
		set_nth(0);
		if (ret >= 0 && undo)
			undo(ret);
		if (ret < 0 && (error == ENOMEM || error == EFAULT))
			refused++;
		else if (ret < 0 && strange++ == 0)
			printf("# failure %u: %s\n", nth, strerror(error));
	}
	if (open_files() != files || module_refcnt() != users)
		printf("# %u files open, were %u; module used %lu times, was %lu\n", open_files(),
		       files, module_refcnt(), users);
	tap_ok(!strange && nth < NTH_MAX && open_files() == files && module_refcnt() == users,
	       "%s: %u things fail, %u times the call does, nothing stays open", what, nth - 2,
	       refused);
}

static void undo_close(int fd)
{
	close(fd);
}

/* --- what is done --------------------------------------------------------------------- */

static int large_memory;

static int run_create(void)
{
	struct yab_create request = make_request(name, LARGE, large_memory);

	request.queues = 3;
	return ioctl(control, YAB_IOC_CREATE, &request);
}

static int run_attach(void)
{
	struct yab_target target = { 0 };

	memcpy(target.name, f.name, sizeof(target.name));
	return ioctl(control, YAB_IOC_ATTACH, &target);
}

static int run_queue(void)
{
	struct yab_queue_select select = { .index = 1 };

	return ioctl(f.pager, YAB_IOC_QUEUE, &select);
}

static int run_memory(void)
{
	return ioctl(f.pager, YAB_IOC_MEMORY);
}

static int run_open(void)
{
	return open(f.path, O_RDWR | O_CLOEXEC);
}

static int run_map(void)
{
	void *map = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f.node, 0);

	if (map == MAP_FAILED)
		return -1;
	munmap(map, PAGES * page_size);
	return 0;
}

static int run_zero(void)
{
	return declare_as(f.pager, 0, 8, YAB_RANGE_ZERO) < 0 ? -1 : 0;
}

static int run_discarded(void)
{
	return declare_as(f.pager, 8, 8, YAB_RANGE_DISCARDED) < 0 ? -1 : 0;
}

static int run_failed(void)
{
	static uint64_t page = 16;

	return declare_as(f.pager, page++ % 16 + 16, 1, YAB_RANGE_FAILED) < 0 ? -1 : 0;
}

static int run_declare(void)
{
	return declare(f.pager, 16, 48) < 0 ? -1 : 0;
}

static int run_track(void)
{
	return track(f.pager, true);
}

static void undo_track(int ret)
{
	(void)ret;
	track(f.pager, false);
}

static int run_bitmap(void)
{
	uint64_t bits;

	return get_bitmap(f.pager, YAB_IOC_PRESENT, 0, PAGES, &bits) < 0 ? -1 : 0;
}

/* The memory file has nothing there: it is allocated in the fault. */
static int run_touch(void)
{
	madvise(f.view, PAGES * page_size, MADV_REMOVE);
	f.map[40 * page_size] = 40;
	return f.map[40 * page_size] == 40 && !f.map[41 * page_size] ? 0 : -1;
}

static int run_sysfs(void)
{
	return attribute_is(&f, "state", "complete") ? 0 : -1;
}

/* --- all of it ------------------------------------------------------------------------- */

/* A region whose pages hold 16 MiB: where they go, everything has gone. */
static void check_memory(void)
{
	size_t size = 16 << 20;
	unsigned long before = meminfo("Shmem:"), available;
	unsigned char *view;
	unsigned int i;

	large_memory = make_memory(LARGE);
	view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, large_memory, 0);
	if (view == MAP_FAILED)
		tap_bail("mmap");
	memset(view, 1, size);
	munmap(view, size);
	snprintf(name, sizeof(name), "inject-%d", getpid());
	inject("create", run_create, undo_close);
	available = meminfo("MemAvailable:");
	for (i = 0; i < 60; i++) {
		set_nth(1 + i);
		close(run_create());
		set_nth(0);
	}
	tap_ok(meminfo("MemAvailable:") + 24 * 1024 > available,
	       "and again: no bitmap is lost (%ld KiB less)",
	       (long)(available - meminfo("MemAvailable:")));
	close(large_memory);
	tap_ok(meminfo("Shmem:") < before + size / 1024 / 2, "nobody holds the memory file any more");
}

int main(void)
{
	static const struct yab_create wish = { .flags = YAB_CREATE_KEEP, .queues = 2 };
	const char *why;
	unsigned int i;

	tap_start(POINTS, 300);
	control = open_control();
	why = set_filter();
	if (why) {
		for (i = 0; i < POINTS; i++)
			tap_skip("%s", why);
		return tap_end();
	}
	check_memory();
	fixture_open_with(&f, PAGES, &wish);
	close(f.pager);
	inject("attach", run_attach, undo_close);
	f.pager = attach(f.name);
	inject("queue", run_queue, undo_close);
	inject("memory", run_memory, undo_close);
	inject("open of the node", run_open, undo_close);
	inject("mmap", run_map, NULL);
	inject("zero pages", run_zero, NULL);
	inject("discarded pages", run_discarded, NULL);
	inject("failed pages", run_failed, NULL);
	inject("present pages", run_declare, NULL);
	inject("presence bits", run_bitmap, NULL);
	inject("tracking", run_track, undo_track);
	inject("a touch that has to allocate", run_touch, NULL);
	inject("sysfs", run_sysfs, NULL);
	fixture_close(&f);
	remove_region(f.name, 0);
	close(control);
	return tap_end();
}
