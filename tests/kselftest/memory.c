// SPDX-License-Identifier: GPL-2.0
/*
 * Less memory than the region has pages: they go out to swap and come back as they were,
 * and who is killed for want of memory takes nobody else's pages along.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#include "harness.h"

#define MIB (1UL << 20)
/* More than the group may have, so that much of it goes to swap. */
#define REGION (24 * MIB)
#define LIMIT "16M"
#define ROOT "/sys/fs/cgroup"
#define POINTS 17

static char group[64];
static char swap_device[32];

static void must_put(const char *file, const char *text)
{
	if (!write_file(group, file, text))
		tap_bail("%s/%s", group, file);
}

static bool make_group(void)
{
	snprintf(group, sizeof(group), ROOT "/memory-%d", getpid());
	return write_file(ROOT, "cgroup.subtree_control", "+memory") && !mkdir(group, 0755);
}

/* --- swap ------------------------------------------------------------------------ */

/* A swap area's header: one page, as swapon() expects it. */
static bool format_swap(const char *path, size_t size)
{
	unsigned char *page = calloc(1, page_size);
	uint32_t *words = (uint32_t *)(page + 1024);
	int fd = open(path, O_RDWR);
	bool ok;

	words[0] = 1;				/* version */
	words[1] = size / page_size - 1;	/* the last page */
	memcpy(page + page_size - 10, "SWAPSPACE2", 10);
	ok = fd >= 0 && pwrite(fd, page, page_size, 0) == (ssize_t)page_size && !fsync(fd);
	close(fd);
	free(page);
	return ok;
}

static bool zram_device(size_t size)
{
	char text[32];

	(void)!system("modprobe -q zram 2>/dev/null");
	snprintf(text, sizeof(text), "%zu", size);
	if (!write_file("/sys/block/zram0", "disksize", text))
		return false;
	snprintf(swap_device, sizeof(swap_device), "/dev/zram0");
	return true;
}

/* Over a file whose pages are all there: writing to it must not take new ones. */
static bool loop_device(size_t size)
{
	char path[] = "/tmp/swap.XXXXXX";
	int control, file = mkstemp(path), loop;

	unlink(path);
	(void)!system("modprobe -q loop 2>/dev/null");
	control = open("/dev/loop-control", O_RDWR);
	if (control < 0 || posix_fallocate(file, 0, size)) {
		close(file);
		return false;
	}
	snprintf(swap_device, sizeof(swap_device), "/dev/loop%d",
		 ioctl(control, LOOP_CTL_GET_FREE));
	close(control);
	loop = open(swap_device, O_RDWR);
	if (loop < 0 || ioctl(loop, LOOP_SET_FD, file))
		return false;
	/* The file stays with the device, and the device with the machine. */
	close(file);
	close(loop);
	return true;
}

static bool swap_on(size_t size)
{
	return (zram_device(size) || loop_device(size)) && format_swap(swap_device, size) &&
	       !swapon(swap_device, 0);
}

/* --- swapping ---------------------------------------------------------------------- */

/* Pushes out what it can. */
static bool reclaim(void)
{
	/* EAGAIN: less than that could go. */
	return write_file(group, "memory.reclaim", "64M") || errno == EAGAIN;
}

static size_t wrong_pages(const unsigned char *at, size_t first, size_t count, size_t shift)
{
	size_t page, wrong = 0;

	for (page = first; page < first + count; page++)
		wrong += !page_is_filled(at + page * page_size, page + shift);
	return wrong;
}

static void check_swapping(struct fixture *f)
{
	size_t page, wrong;

	/* Filled as a pager does it: page by page, in pieces that are declared at once. */
	for (page = 0; page < f->pages; page++) {
		fill_page(f->view + page * page_size, page);
		if (page % 64 == 63)
			declare(f->pager, page - 63, 64);
	}
	tap_ok(read_number(group, "memory.swap.current") > 4 * MIB,
	       "a region of 24 MiB is filled with memory for 16: some of it is swapped out");
	wrong = wrong_pages(f->map, 0, f->pages, 0);
	tap_ok(!wrong, "read through the node, %zu pages are wrong", wrong);
	tap_ok(no_fault(f), "no page is asked for again");
	for (page = 0; page < f->pages; page++)
		fill_page(f->map + page * page_size, page + 1000);
	wrong = wrong_pages(f->map, 0, f->pages, 1000);
	tap_ok(!wrong, "written and read again, %zu pages are wrong", wrong);
	if (!reclaim()) {
		tap_skip("all of it is swapped out: no memory.reclaim in this kernel");
		tap_skip("and comes back");
		return;
	}
	wrong = wrong_pages(f->map, 0, f->pages, 1000);
	tap_ok(!wrong, "swapped out at once and read again, %zu pages are wrong", wrong);
	wrong = wrong_pages(f->view, 0, f->pages, 1000);
	tap_ok(!wrong, "and through the pager's view %zu", wrong);
}

/* Writes, swapping and tracking: a page that comes back from swap is as clean as it was. */
static void check_tracking(struct fixture *f)
{
	size_t words = f->pages / 64, page;
	uint64_t *bits = calloc(words, sizeof(*bits));
	bool all = true;

	if (track(f->pager, true))
		tap_bail("YAB_IOC_TRACK");
	for (page = 0; page < f->pages; page += 5)
		f->map[page * page_size] ^= 1;
	reclaim();
	if (get_bitmap(f->pager, YAB_IOC_DIRTY, 0, f->pages, bits) < 0)
		tap_bail("YAB_IOC_DIRTY");
	for (page = 0; page < f->pages; page += 5)
		all = all && bits[page / 64] >> page % 64 & 1;
	tap_ok(all, "writes are reported although their pages went out to swap");
	reclaim();
	for (page = 0; page < f->pages; page++)
		(void)*(volatile unsigned char *)(f->map + page * page_size);
	for (page = 0; page < f->pages; page += 7)
		f->map[page * page_size] ^= 1;
	reclaim();
	if (get_bitmap(f->pager, YAB_IOC_DIRTY, 0, f->pages, bits) < 0)
		tap_bail("YAB_IOC_DIRTY");
	for (page = 0, all = true; page < f->pages; page += 7)
		all = all && bits[page / 64] >> page % 64 & 1;
	tap_ok(all, "and those to pages that came back from it");
	track(f->pager, false);
	free(bits);
}

/* MADV_PAGEOUT on both mappings, with missing pages in between. */
static void check_pageout(void)
{
	struct fixture f;
	struct toucher t;
	size_t page, wrong = 0;

	fixture_open(&f, 1024);
	fill_pages(&f);
	for (page = 0; page < 1024; page += 2)
		declare(f.pager, page, 1);
	for (page = 0; page < 1024; page += 2)
		wrong += !page_is_filled(f.map + page * page_size, page);
	tap_ok(!wrong, "every other page is present: %zu are wrong", wrong);
	madvise(f.map, 1024 * page_size, MADV_PAGEOUT);
	madvise(f.view, 1024 * page_size, MADV_PAGEOUT);
	for (page = 0; page < 1024; page += 2)
		wrong += !page_is_filled(f.map + page * page_size, page);
	tap_ok(!wrong && no_fault(&f), "after MADV_PAGEOUT %zu are", wrong);
	madvise(f.map, 1024 * page_size, MADV_PAGEOUT);
	madvise(f.view, 1024 * page_size, MADV_PAGEOUT);
	toucher_start(&t, f.map + 501 * page_size, false, 0);
	tap_ok(next_fault(&f).page == 501, "a missing page that was swapped out still traps");
	declare(f.pager, 501, 1);
	toucher_join(&t);
	tap_ok(page_is_filled(f.map + 501 * page_size, 501), "and comes back when it is declared");
	fixture_close(&f);
}

/* --- no memory ---------------------------------------------------------------------- */

/* The children's memory is limited; the pages are zero, and allocated by who touches them. */
static void check_killed(void)
{
	struct fixture f;
	struct toucher t;
	size_t page, wrong = 0;
	pid_t pid;

	fixture_open(&f, REGION / page_size);
	declare(f.pager, 1, f.pages - 1);
	must_put("memory.swap.max", "0");
	must_put("memory.max", LIMIT);
	pid = fork();
	if (!pid) {
		if (!write_file(group, "cgroup.procs", "0"))
			_exit(1);
		for (page = 1; page < f.pages; page++)
			f.map[page * page_size] = page;
		_exit(0);
	}
	tap_ok(ending(pid) == -SIGKILL, "a process that touches more than it may have is killed");
	for (page = 1; page < f.pages; page++) {
		unsigned char value = f.map[page * page_size];

		wrong += value && value != (unsigned char)page;
	}
	tap_ok(!wrong, "what it wrote is there: %zu pages are wrong", wrong);
	toucher_start(&t, f.map, false, 0);
	tap_ok(next_fault(&f).page == 0, "the region works on: a missing page is asked for");
	f.view[0] = 3;
	declare(f.pager, 0, 1);
	toucher_join(&t);
	tap_ok(t.value == 3 && attribute_is(&f, "state", "complete"), "and comes");
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and nothing is left");
}

int main(void)
{
	struct fixture f;
	int i;

	tap_start(POINTS, 300);
	if (!make_group()) {
		for (i = 0; i < POINTS; i++)
			tap_skip("no memory controller of cgroup v2 here");
		return tap_end();
	}
	if (swap_on(3 * REGION)) {
		must_put("memory.max", LIMIT);
		must_put("cgroup.procs", "0");
		fixture_open(&f, REGION / page_size);
		check_swapping(&f);
		check_tracking(&f);
		fixture_close(&f);
		check_pageout();
		write_file(ROOT, "cgroup.procs", "0");
		/* What the region had is still charged there. */
		reclaim();
		swapoff(swap_device);
	} else {
		for (i = 0; i < 12; i++)
			tap_skip("swap: neither zram nor a loop device here");
	}
	check_killed();
	rmdir(group);
	return tap_end();
}
