// SPDX-License-Identifier: GPL-2.0
/* What a declaration can say of a page: present, zero, given back, not to be had. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 2048
#define STALE 0x5a	/* what lies in the memory file of a page that is to be zero */

/* Exit status of a child whose page is as broken memory. */
#define BROKEN 200

static struct fixture f;

static int declare_all(struct yab_range *ranges, uint32_t count)
{
	struct yab_declare request = { .ranges = (uintptr_t)ranges, .count = count };

	return ioctl(f.pager, YAB_IOC_DECLARE, &request);
}

static void make_stale(uint64_t page, uint64_t count)
{
	memset(f.view + page * page_size, STALE, count * page_size);
}

static bool page_is(const unsigned char *map, uint64_t page, unsigned char value)
{
	const volatile unsigned char *at = map + page * page_size;
	size_t i;

	for (i = 0; i < page_size; i++)
		if (at[i] != value)
			return false;
	return true;
}

static bool pages_are(const unsigned char *map, uint64_t page, uint64_t count,
		      unsigned char value)
{
	while (count--)
		if (!page_is(map, page++, value))
			return false;
	return true;
}

static uint64_t awaited;	/* where a child expects its SIGBUS */

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	_exit(info->si_code == BUS_MCEERR_AR && (uintptr_t)info->si_addr == awaited ?
	      BROKEN : BROKEN + 1 + info->si_code);
}

/*
 * A child that reads the page's last byte, and tells by its exit status what became of
 * it: the value, or BROKEN.
 */
static pid_t child_probes(uint64_t page)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	pid_t pid;

	awaited = (uintptr_t)f.map + (page + 1) * page_size - 1;
	pid = fork();
	if (pid < 0)
		tap_bail("fork");
	if (!pid) {
		sigaction(SIGBUS, &action, NULL);
		_exit(*(volatile unsigned char *)awaited);
	}
	return pid;
}

/* Copies from the page by a system call; exits with the errno. */
static pid_t child_copies(uint64_t page)
{
	pid_t pid = fork();

	if (pid < 0)
		tap_bail("fork");
	if (!pid) {
		int fds[2];

		if (pipe(fds))
			_exit(99);
		_exit(write(fds[1], f.map + page * page_size, 8) == 8 ? 0 : errno);
	}
	return pid;
}

/* Waits for one fault of a child, and forgets it: answered without being read. */
static pid_t child_waits(pid_t (*start)(uint64_t page), uint64_t page)
{
	uint64_t faults = get_status(&f).faults;
	pid_t pid = start(page);

	wait_until_faults(&f, faults + 1);
	return pid;
}

static void check_zero(void)
{
	pid_t reader, copier;
	uint64_t i;

	make_stale(0, 16);
	tap_ok(declare_as(f.pager, 0, 4, YAB_RANGE_ZERO) == 4, "four pages are zero: all fresh");
	tap_ok(get_status(&f).present == 4, "they are present");
	tap_ok(pages_are(f.map, 0, 4, 0), "they read as zero, whatever the memory file held");
	tap_ok(pages_are(f.view, 0, 4, 0), "which holds it no more");
	tap_ok(pages_are(f.view, 4, 12, STALE), "while that of their neighbours stays");
	f.map[page_size] = 1;
	tap_ok(declare_as(f.pager, 0, 4, YAB_RANGE_ZERO) == 0 && f.map[page_size] == 1,
	       "said once more, it changes nothing");

	declare(f.pager, 5, 2);
	tap_ok(declare_as(f.pager, 4, 6, YAB_RANGE_ZERO) == 4,
	       "over present pages: the missing ones are fresh");
	tap_ok(pages_are(f.map, 5, 2, STALE), "present pages keep their content");
	tap_ok(page_is(f.map, 4, 0) && pages_are(f.map, 7, 3, 0), "the others are zero");

	reader = child_waits(child_probes, 10);
	copier = child_waits(child_copies, 11);
	tap_ok(declare_as(f.pager, 10, 2, YAB_RANGE_ZERO) == 2, "pages that are waited for");
	tap_ok(ending(reader) == 0 && ending(copier) == 0, "who waits is woken, to zero");
	tap_ok(nothing_to_read(f.pager), "their faults need no report");

	/* More than one stretch of whatever is dropped at once, with some pages kept. */
	make_stale(64, 1100);
	for (i = 64; i < 1164; i += 37)
		declare(f.pager, i, 1);
	tap_ok(declare_as(f.pager, 64, 1100, YAB_RANGE_ZERO) == 1100 - 30,
	       "a long range around present pages");
	for (i = 64; i < 1164; i++)
		if (!page_is(f.map, i, (i - 64) % 37 ? 0 : STALE))
			break;
	tap_ok(i == 1164, "each of them as it must be");
	f.map[65 * page_size] = 3;
	tap_ok(f.map[65 * page_size] == 3 && f.view[65 * page_size] == 3,
	       "a zero page can be written");
}

static void check_discarded(void)
{
	unsigned char *private;
	pid_t reader, copier;

	make_stale(1200, 20);
	declare(f.pager, 1200, 4);
	tap_ok(pages_are(f.map, 1200, 4, STALE), "pages are present, mapped and in use");
	tap_ok(declare_as(f.pager, 1200, 4, YAB_RANGE_DISCARDED) == 0,
	       "given back: none of them is fresh");
	tap_ok(pages_are(f.map, 1200, 4, 0), "they read as zero through the mapping");
	tap_ok(pages_are(f.view, 1200, 4, 0), "and in the memory file");
	f.map[1201 * page_size] = 5;
	tap_ok(f.map[1201 * page_size] == 5 && f.view[1201 * page_size] == 5,
	       "and can be used again");

	tap_ok(declare_as(f.pager, 1204, 4, YAB_RANGE_DISCARDED) == 4,
	       "missing pages are given back: all are fresh");
	tap_ok(pages_are(f.map, 1204, 4, 0) && no_fault(&f), "present, and zero");
	declare(f.pager, 1209, 1);
	tap_ok(declare_as(f.pager, 1208, 4, YAB_RANGE_DISCARDED) == 3 &&
	       pages_are(f.map, 1208, 4, 0), "of both kinds: the missing ones are fresh");

	reader = child_waits(child_probes, 1212);
	copier = child_waits(child_copies, 1213);
	tap_ok(declare_as(f.pager, 1212, 2, YAB_RANGE_DISCARDED) == 2, "pages that are waited for");
	tap_ok(ending(reader) == 0 && ending(copier) == 0, "who waits is woken, to zero");

	declare(f.pager, 1214, 1);
	private = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, f.node,
		       1214 * page_size);
	if (private == MAP_FAILED)
		tap_bail("private mapping");
	private[0] = 1;
	declare_as(f.pager, 1214, 1, YAB_RANGE_DISCARDED);
	tap_ok(private[0] == 1 && private[1] == STALE && page_is(f.map, 1214, 0),
	       "a private copy is not given back");
	munmap(private, page_size);
}

static void check_failed(void)
{
	uint64_t faults, failed = get_status(&f).failed, present;
	pid_t reader, second, copier;
	uint64_t bits[1] = { 0 };

	make_stale(1280, 32);
	reader = child_waits(child_probes, 1280);
	second = child_probes(1280);
	wait_until_asleep(second);
	copier = child_waits(child_copies, 1281);
	present = get_status(&f).present;
	tap_ok(declare_as(f.pager, 1280, 4, YAB_RANGE_FAILED) == 4, "four pages fail: all fresh");
	tap_ok(ending(reader) == BROKEN && ending(second) == BROKEN,
	       "who waits is woken: SIGBUS with BUS_MCEERR_AR at the address");
	tap_ok(ending(copier) == EFAULT, "in a system call: EFAULT");
	tap_ok(get_status(&f).failed == failed + 4 && get_status(&f).present == present,
	       "they are counted, and not as present");
	tap_ok(get_bitmap(f.pager, YAB_IOC_PRESENT, 1280, 4, bits) == 0,
	       "their presence bits are clear");
	tap_ok(nothing_to_read(f.pager), "the faults that were queued need no report");
	faults = get_status(&f).faults;
	tap_ok(ending(child_probes(1280)) == BROKEN && ending(child_probes(1283)) == BROKEN,
	       "a later touch is SIGBUS at once, of pages nobody waited for, too");
	tap_ok(ending(child_copies(1283)) == EFAULT, "or EFAULT");
	tap_ok(no_fault(&f) && get_status(&f).faults == faults, "and asks for nothing");
	reader = child_waits(child_probes, 1284);
	tap_ok(next_fault(&f).page == 1284, "their neighbour is a missing page as ever");
	declare(f.pager, 1284, 1);
	tap_ok(ending(reader) == STALE, "and comes");

	tap_ok(declare_as(f.pager, 1280, 4, YAB_RANGE_FAILED) == 0, "failed again: none is fresh");
	tap_ok(declare_as(f.pager, 1282, 4, YAB_RANGE_FAILED) == 1,
	       "over failed, present and missing ones: the missing one is fresh");
	tap_ok(page_is(f.map, 1284, STALE), "the present one does not fail");
	reader = child_waits(child_probes, 1290);
	tap_ok(next_fault(&f).page == 1290 && declare_as(f.pager, 1290, 1, YAB_RANGE_FAILED) == 1 &&
	       ending(reader) == BROKEN, "one that was reported can fail");
	tap_ok(ending(child_probes(1285)) == BROKEN, "the missing one does");
	tap_ok(ending(child_probes(1284)) == STALE, "in a new process, the same");
}

static void check_healed(void)
{
	pid_t pid;

	tap_ok(declare(f.pager, 1280, 1) == 1, "a failed page comes after all: fresh");
	tap_ok(page_is(f.map, 1280, STALE), "and works");
	tap_ok(declare_as(f.pager, 1281, 1, YAB_RANGE_ZERO) == 1 && page_is(f.map, 1281, 0),
	       "one turns out to be zero");
	tap_ok(declare_as(f.pager, 1282, 1, YAB_RANGE_DISCARDED) == 1 && page_is(f.map, 1282, 0),
	       "one is given back");
	tap_ok(ending(child_probes(1283)) == BROKEN && ending(child_probes(1285)) == BROKEN,
	       "the others stay as they are");
	tap_ok(!ending(child_copies(1280)), "system calls work, too");
	tap_ok(declare_as(f.pager, 1280, 3, YAB_RANGE_FAILED) == 0 && page_is(f.map, 1280, STALE),
	       "and they cannot fail any more");

	close(f.pager);
	tap_ok(ending(child_probes(1283)) == BROKEN, "without a pager a failed page is no wait");
	f.pager = attach(f.name);
	if (f.pager < 0)
		tap_bail("YAB_IOC_ATTACH");
	tap_ok(get_status(&f).failed && ending(child_probes(1283)) == BROKEN,
	       "nor with another one");
	tap_ok(nothing_to_read(f.pager), "which is not asked for what has failed");
	pid = child_waits(child_probes, 1291);
	declare_as(f.pager, 1291, 1, YAB_RANGE_FAILED);
	tap_ok(ending(pid) == BROKEN, "and which can fail pages, too");
}

static void check_mixed(void)
{
	struct yab_range ranges[] = {
		{ .page = 1400, .count = 3, .state = YAB_RANGE_PRESENT },
		{ .page = 1403, .count = 3, .state = YAB_RANGE_ZERO },
		{ .page = 1406, .count = 3, .state = YAB_RANGE_FAILED },
		{ .page = 1409, .count = 3, .state = YAB_RANGE_DISCARDED },
		{ .page = 1401, .count = 1, .state = YAB_RANGE_DISCARDED },
		{ .page = 1400, .count = 12, .state = YAB_RANGE_ZERO },
	};
	struct yab_range bad[20];
	struct yab_status before, after;
	pid_t pids[4];
	size_t i;

	make_stale(1400, 32);
	for (i = 0; i < 4; i++)
		pids[i] = child_waits(child_probes, 1400 + 3 * i);
	tap_ok(!declare_all(ranges, ARRAY_SIZE(ranges)), "ranges of all states in one call");
	tap_ok(ranges[0].fresh == 3 && ranges[1].fresh == 3 && ranges[2].fresh == 3 &&
	       ranges[3].fresh == 3, "each says what was fresh");
	tap_ok(ranges[4].fresh == 0 && ranges[5].fresh == 3, "after those before it");
	tap_ok(ending(pids[0]) == STALE && ending(pids[1]) == 0 && ending(pids[3]) == 0,
	       "who waited sees what was said of the page");
	i = ending(pids[2]);
	tap_ok(i == BROKEN || i == 0, "also where it failed for a moment only");
	tap_ok(page_is(f.map, 1400, STALE) && page_is(f.map, 1401, 0) &&
	       page_is(f.map, 1402, STALE) && pages_are(f.map, 1403, 9, 0),
	       "the last word on each page counts");

	before = get_status(&f);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = (struct yab_range){ .page = 1412 + i, .count = 1, .state = i % 4 };
	bad[19].state = 4;
	tap_ok(declare_all(bad, ARRAY_SIZE(bad)) < 0 && errno == EINVAL,
	       "an unknown state among twenty: EINVAL");
	after = get_status(&f);
	tap_ok(before.present == after.present && before.failed == after.failed &&
	       pages_are(f.view, 1412, 20, STALE), "and nothing happens");
	bad[19] = (struct yab_range){ .page = PAGES - 1, .count = 2, .state = YAB_RANGE_FAILED };
	tap_ok(declare_all(bad, ARRAY_SIZE(bad)) < 0 && errno == ERANGE,
	       "a failed range beyond the end: ERANGE");
	after = get_status(&f);
	tap_ok(before.present == after.present && before.failed == after.failed &&
	       pages_are(f.view, 1412, 20, STALE), "and nothing happens either");
}

static long fail_pages(uint64_t page, uint64_t count)
{
	return declare_as(f.pager, page, count, YAB_RANGE_FAILED);
}

/* Ranges of failed pages are few by intention. */
static void check_failed_max(void)
{
	struct yab_range ranges[3];
	uint64_t i, failed;

	fixture_open(&f, PAGES);
	for (i = 0; i < YAB_FAILED_MAX; i++)
		if (fail_pages(4 * i, 1) != 1)
			break;
	tap_ok(i == YAB_FAILED_MAX, "%d separate pages can fail", YAB_FAILED_MAX);
	tap_ok(fail_pages(4 * i, 1) < 0 && errno == ENOSPC, "but no more: ENOSPC");
	failed = get_status(&f).failed;
	tap_ok(failed == YAB_FAILED_MAX, "that one is not counted");
	tap_ok(fail_pages(40, 1) == 0, "one that has failed already needs no room");
	tap_ok(fail_pages(41, 1) == 1, "nor does the one after it");
	tap_ok(fail_pages(39, 1) == 1, "nor the one before it");
	tap_ok(fail_pages(42, 2) == 2, "pages that close a gap need none");
	tap_ok(fail_pages(4 * i, 1) == 1, "but leave room for one");
	tap_ok(fail_pages(4 * i + 8, 1) < 0 && errno == ENOSPC, "which is used then: ENOSPC");
	tap_ok(fail_pages(100, 101) == 75, "a range over many takes their place");
	tap_ok(get_status(&f).failed == failed + 5 + 75, "and counts what it adds");
	for (i = 0; i < 25; i++)
		if (fail_pages(1200 + 4 * i, 1) != 1)
			break;
	tap_ok(i == 25, "there is room for the 25 that it has swallowed");
	tap_ok(fail_pages(1600, 1) < 0 && errno == ENOSPC, "and for no more: ENOSPC");
	tap_ok(ending(child_probes(100)) == BROKEN && ending(child_probes(150)) == BROKEN &&
	       ending(child_probes(200)) == BROKEN && ending(child_probes(42)) == BROKEN &&
	       ending(child_probes(1296)) == BROKEN, "all of them are SIGBUS");

	ranges[0] = (struct yab_range){ .page = 1500, .count = 2 };
	ranges[1] = (struct yab_range){ .page = 1600, .count = 1, .state = YAB_RANGE_FAILED };
	ranges[2] = (struct yab_range){ .page = 1502, .count = 2 };
	tap_ok(declare_all(ranges, 3) < 0 && errno == ENOSPC && get_status(&f).present == 2,
	       "in an array what comes before it has happened, what comes after has not");
	tap_ok(declare(f.pager, 0, PAGES) > 0 && get_status(&f).state == YAB_STATE_COMPLETE,
	       "all can be healed at once");
	tap_ok(pages_are(f.map, 0, PAGES, 0), "and work");
	fixture_close(&f);
}

/* A present page in the middle of a failed range, when there is no room for another. */
static void check_split(void)
{
	uint64_t i;
	long fresh;

	fixture_open(&f, PAGES);
	fail_pages(1900, 9);
	for (i = 0; i < YAB_FAILED_MAX - 1; i++)
		fail_pages(2 * i, 1);
	fresh = declare(f.pager, 1904, 1);
	tap_ok(fresh == 1 || (fresh < 0 && errno == ENOSPC),
	       "to heal the middle of a failed range works or is ENOSPC (%s)",
	       fresh == 1 ? "works" : "ENOSPC");
	tap_ok(get_status(&f).present == (fresh == 1), "the counter agrees");
	tap_ok(ending(child_probes(1903)) == BROKEN && ending(child_probes(1905)) == BROKEN,
	       "the pages around it stay failed");
	tap_ok(ending(child_probes(1904)) == (fresh == 1 ? 0 : BROKEN), "it is what was said");
	fixture_close(&f);
}

/* Failed pages are missing pages: they keep a region from being complete. */
static void check_complete(void)
{
	fixture_open(&f, 64);
	make_stale(0, 64);
	fail_pages(10, 2);
	declare(f.pager, 0, 10);
	declare(f.pager, 12, 52);
	tap_ok(get_status(&f).state == YAB_STATE_FILLING && get_status(&f).present == 62,
	       "a region with failed pages is not complete");
	tap_ok(!track(f.pager, true) && !track(f.pager, false), "it can be tracked");
	declare(f.pager, 10, 1);
	tap_ok(attribute_is(&f, "state", "filling"), "nor when one of them has come");
	declare_as(f.pager, 11, 1, YAB_RANGE_DISCARDED);
	tap_ok(attribute_is(&f, "state", "complete") &&
	       get_status(&f).state == YAB_STATE_COMPLETE, "but when all are there");
	tap_ok(declare_as(f.pager, 20, 2, YAB_RANGE_DISCARDED) == 0 && page_is(f.map, 20, 0) &&
	       page_is(f.map, 21, 0) && page_is(f.map, 19, STALE) && page_is(f.map, 22, STALE),
	       "pages can be given back after that");
	tap_ok(fail_pages(30, 2) == 0 && page_is(f.map, 30, STALE), "but cannot fail");
	fixture_close(&f);
}

int main(void)
{
	tap_start(15 + 11 + 17 + 11 + 10 + 17 + 4 + 6, 180);
	fixture_open(&f, PAGES);
	check_zero();
	check_discarded();
	check_failed();
	check_healed();
	check_mixed();
	fixture_close(&f);
	check_failed_max();
	check_split();
	check_complete();
	return tap_end();
}
