// SPDX-License-Identifier: GPL-2.0
/* A region's states: what leads from one to the next, who sees it, and what works in each. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define PAGES 8
#define NOBODY 65534

static void expect(const struct fixture *f, const char *name, const char *value)
{
	const char *is = attribute(f, name);

	tap_ok(!strcmp(is, value), "sysfs: %s is %s (%s)", name, value, is);
}

/* Reads a file into the page; exits with the errno. */
static pid_t child_copies(const struct fixture *f, uint64_t page)
{
	pid_t pid = child_start();

	if (!pid) {
		int fd = memfd_create("source", 0);

		if (fd < 0 || write(fd, "text", 4) != 4)
			_exit(99);
		_exit(pread(fd, f->map + page * page_size, 4, 0) == 4 ? 0 : errno);
	}
	return pid;
}

static bool set_limit(const struct fixture *f, const char *value)
{
	char folder[160];

	snprintf(folder, sizeof(folder), "/sys/class/yabusame/%s", f->name);
	return write_file(folder, "orphan_limit_ms", value);
}

static void open_with_limit(struct fixture *f, unsigned int limit)
{
	struct yab_create wish = { .orphan_limit_ms = limit };

	fixture_open_with(f, PAGES, &wish);
}

static void close_pager(struct fixture *f)
{
	close(f->pager);
	f->pager = -1;
}

/*
 * Returns when a region that was orphaned now has failed by its limit: any other
 * limit that is as long and began before has had its time, too.
 */
static void let_pass(unsigned int limit)
{
	struct fixture f;

	open_with_limit(&f, limit);
	close_pager(&f);
	wait_until_attribute(&f, "state", "failed");
	fixture_close(&f);
}

static void check_attributes(void)
{
	struct yab_create wish = { .orphan_limit_ms = 123456, .queues = 3 };
	unsigned int numbers = 0;
	unsigned long waits = 0;
	unsigned char *second;
	struct yab_status s;
	char *word, *save;
	struct fixture f;
	struct toucher t;
	int fds[2];
	pid_t pid;
	char go;

	fixture_open_with(&f, PAGES, &wish);
	expect(&f, "state", "filling");
	expect(&f, "pager", "1");
	expect(&f, "pages", "8");
	expect(&f, "present", "0");
	expect(&f, "failed", "0");
	expect(&f, "faults", "0");
	expect(&f, "queues", "3");
	expect(&f, "orphan_limit_ms", "123456");

	expect(&f, "mappings", "1");
	second = mmap(NULL, page_size, PROT_READ, MAP_SHARED, f.node, 0);
	expect(&f, "mappings", "2");
	if (pipe(fds))
		tap_bail("pipe");
	pid = fork();
	if (!pid) {
		close(fds[1]);
		_exit(read(fds[0], &go, 1) != 0);
	}
	tap_ok(attribute_is(&f, "mappings", "4"), "a child has two more mappings");
	close(fds[1]);
	tap_ok(!ending(pid) && attribute_is(&f, "mappings", "2"), "until it ends");
	close(fds[0]);
	munmap(second, page_size);
	expect(&f, "mappings", "1");

	expect(&f, "tracking", "0");
	tap_ok(!track(f.pager, true), "tracking begins");
	expect(&f, "tracking", "1");
	tap_ok(get_status(&f).flags == YAB_STATUS_TRACKING, "and shows in the status");
	tap_ok(track(f.pager, true) && errno == EALREADY, "to begin once more: EALREADY");
	tap_ok(!track(f.pager, false) && !get_status(&f).flags, "tracking ends");
	expect(&f, "tracking", "0");
	tap_ok(track(f.pager, false) && errno == EALREADY, "to end once more: EALREADY");

	declare_as(f.pager, 7, 1, YAB_RANGE_FAILED);
	expect(&f, "failed", "1");
	toucher_start(&t, f.map + 2 * page_size, false, 0);
	next_fault(&f);
	declare(f.pager, 2, 2);
	toucher_join(&t);
	expect(&f, "faults", "1");
	expect(&f, "present", "2");
	s = get_status(&f);
	tap_ok(s.pages == PAGES && s.present == 2 && s.faults == 1 && s.failed == 1 &&
	       s.state == YAB_STATE_FILLING && s.queues == 3 && !s.reserved,
	       "the status says the same");

	for (word = strtok_r((char *)attribute(&f, "latency"), " ", &save); word;
	     word = strtok_r(NULL, " ", &save)) {
		waits += strtoul(word, NULL, 10);
		numbers++;
	}
	tap_ok(numbers == 25 && waits, "latency: 25 numbers, and one wait in them");

	close_pager(&f);
	expect(&f, "pager", "0");
	fixture_close(&f);
}

static void check_transitions(void)
{
	struct fixture f;

	fixture_open(&f, PAGES);
	close_pager(&f);
	expect(&f, "state", "orphaned");
	f.pager = attach(f.name);
	tap_ok(f.pager >= 0 && get_status(&f).state == YAB_STATE_FILLING,
	       "an orphan is filling again with a new pager");
	expect(&f, "state", "filling");
	expect(&f, "pager", "1");
	declare(f.pager, 0, PAGES - 1);
	expect(&f, "state", "filling");
	declare(f.pager, PAGES - 1, 1);
	tap_ok(get_status(&f).state == YAB_STATE_COMPLETE, "the last page makes it complete");
	expect(&f, "state", "complete");
	tap_ok(fail(f.name) && errno == EALREADY, "to fail a complete region: EALREADY");
	close_pager(&f);
	expect(&f, "state", "complete");
	expect(&f, "pager", "0");
	tap_ok(fail(f.name) && errno == EALREADY, "without a pager, too");
	expect(&f, "state", "complete");
	f.pager = attach(f.name);
	tap_ok(f.pager >= 0 && get_status(&f).state == YAB_STATE_COMPLETE,
	       "with a new pager it is still complete");
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and goes with its last user");

	fixture_open(&f, PAGES);
	tap_ok(!fail(f.name), "a region with a pager can be failed");
	expect(&f, "state", "failed");
	tap_ok(fail(f.name) && errno == EALREADY, "once");
	close_pager(&f);
	expect(&f, "state", "failed");
	tap_ok(attach(f.name) < 0 && errno == EIO, "a failed region takes no pager: EIO");
	expect(&f, "pager", "0");
	fixture_close(&f);
	tap_ok(!node_exists(&f), "and goes with its last user, too");

	fixture_open(&f, PAGES);
	close_pager(&f);
	tap_ok(!fail(f.name), "an orphan can be failed");
	expect(&f, "state", "failed");
	tap_ok(attach(f.name) < 0 && errno == EIO, "and takes no pager then");
	fixture_close(&f);
}

/* Waiters of all kinds, and whoever comes later. */
static void check_fail_waiters(void)
{
	pid_t reader, second, copier, orphaned;
	unsigned char *fresh;
	struct fixture f;

	fixture_open(&f, PAGES);
	memset(f.view, 7, 2 * page_size);
	declare(f.pager, 0, 2);
	tap_ok(f.map[0] == 7, "a page is present and mapped");
	reader = child_reads(&f, 2);
	copier = child_copies(&f, 3);
	wait_until_faults(&f, 2);
	second = child_reads(&f, 2);
	wait_until_asleep(second);
	close_pager(&f);
	orphaned = child_reads(&f, 4);
	wait_until_asleep(orphaned);
	expect(&f, "state", "orphaned");
	tap_ok(!fail(f.name), "the region is failed with tasks that wait");
	tap_ok(ending(reader) == -SIGBUS && ending(second) == -SIGBUS,
	       "those in user mode get SIGBUS");
	tap_ok(ending(orphaned) == -SIGBUS, "and so do those that came to an orphan");
	tap_ok(ending(copier) == EFAULT, "a read() into a missing page: EFAULT");

	tap_ok(ending(child_reads(&f, 5)) == -SIGBUS, "a missing page is SIGBUS later, too");
	tap_ok(ending(child_copies(&f, 5)) == EFAULT, "and EFAULT to a system call");
	tap_ok(f.map[0] == 7, "a page that is present and mapped works");
	f.map[page_size] = 8;
	tap_ok(f.map[page_size] == 8 && f.map[2 * page_size - 1] == 7,
	       "one that was not mapped, too, for reading and writing");
	tap_ok(!ending(child_copies(&f, 1)), "and for system calls");
	fresh = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f.node, 0);
	tap_ok(fresh != MAP_FAILED && fresh[page_size + 4] == 7, "and in a new mapping");
	munmap(fresh, 2 * page_size);
	fixture_close(&f);
	tap_ok(!node_exists(&f), "nothing is left");
}

static void check_fail_pager(void)
{
	struct blocked reader, poller;
	struct pollfd pollfd = { .events = POLLIN };
	uint64_t bits = 0;
	struct yab_fault fault;
	struct fixture f;
	int memory;

	fixture_open(&f, PAGES);
	declare(f.pager, 1, 1);
	blocked_start(&reader, f.pager, false);
	blocked_start(&poller, f.pager, true);
	tap_ok(!fail(f.name), "the region is failed while its pager waits for faults");
	tap_ok(blocked_told(&reader), "its read() is woken: EIO");
	tap_ok(blocked_told(&poller), "its poll() is woken: POLLERR");

	tap_ok(read(f.pager, &fault, sizeof(fault)) < 0 && errno == EIO, "read() again: EIO");
	fcntl(f.pager, F_SETFL, O_NONBLOCK);
	tap_ok(read(f.pager, &fault, sizeof(fault)) < 0 && errno == EIO,
	       "without waiting, too: EIO");
	pollfd.fd = f.pager;
	tap_ok(poll(&pollfd, 1, 0) == 1 && pollfd.revents & POLLERR, "poll() again: POLLERR");
	tap_ok(declare(f.pager, 2, 1) < 0 && errno == EIO, "a declaration: EIO");
	tap_ok(declare_as(f.pager, 2, 1, YAB_RANGE_FAILED) < 0 && errno == EIO,
	       "of a failed page, too: EIO");
	tap_ok(get_status(&f).state == YAB_STATE_FAILED && get_status(&f).present == 1,
	       "the status works, and nothing came of the declarations");
	tap_ok(get_bitmap(f.pager, YAB_IOC_PRESENT, 0, PAGES, &bits) == 1 && bits == 2,
	       "so do the presence bits");
	memory = ioctl(f.pager, YAB_IOC_MEMORY);
	tap_ok(memory >= 0, "so does the memory file");
	close(memory);
	tap_ok(!track(f.pager, true) && (f.map[page_size] = 1) &&
	       get_bitmap(f.pager, YAB_IOC_DIRTY, 0, PAGES, &bits) >= 1 && bits & 2 &&
	       !track(f.pager, false), "so does tracking");
	fixture_close(&f);
}

/* Faults that nobody has read when the region fails. */
static void check_fail_queued(void)
{
	struct yab_fault fault;
	struct fixture f;
	pid_t pid;

	fixture_open(&f, PAGES);
	pid = child_reads(&f, 2);
	wait_until_faults(&f, 1);
	fail(f.name);
	tap_ok(read(f.pager, &fault, sizeof(fault)) < 0 && errno == EIO,
	       "a fault that is queued when the region fails is not read any more: EIO");
	tap_ok(ending(pid) == -SIGBUS, "who waited for it gets SIGBUS");
	fixture_close(&f);
}

/* Tasks that are about to wait, or just wait, or have not touched anything yet. */
static void check_fail_race(void)
{
	unsigned int round, wrong = 0;
	struct fixture f;
	pid_t pids[4];
	size_t i;

	for (round = 0; round < 50; round++) {
		fixture_open(&f, PAGES);
		for (i = 0; i < ARRAY_SIZE(pids); i++)
			pids[i] = child_reads(&f, i % 3);
		for (i = 0; i < round % 8; i++)
			sched_yield();
		fail(f.name);
		for (i = 0; i < ARRAY_SIZE(pids); i++)
			wrong += ending(pids[i]) != -SIGBUS;
		fixture_close(&f);
	}
	tap_ok(!wrong, "whenever a region fails, nobody is left waiting");
}

static void check_limit(void)
{
	struct fixture f;
	unsigned int limit;
	pid_t pid;

	open_with_limit(&f, 200);
	f.view[0] = 9;
	declare(f.pager, 0, 1);
	pid = child_reads(&f, 2);
	next_fault(&f);
	close_pager(&f);
	tap_ok(ending(pid) == -SIGBUS, "beyond its limit an orphan fails: SIGBUS for who waits");
	expect(&f, "state", "failed");
	tap_ok(ending(child_reads(&f, 3)) == -SIGBUS, "and for who comes later");
	tap_ok(f.map[0] == 9, "what is present works");
	tap_ok(attach(f.name) < 0 && errno == EIO, "a pager comes too late: EIO");
	fixture_close(&f);

	/* How long this machine takes for two calls is not known: it may be too late. */
	for (limit = 250; ; limit *= 2) {
		open_with_limit(&f, limit);
		close_pager(&f);
		f.pager = attach(f.name);
		if (f.pager >= 0)
			break;
		fixture_close(&f);
	}
	let_pass(limit);
	tap_ok(get_status(&f).state == YAB_STATE_FILLING, "a pager that comes in time stops it");
	pid = child_reads(&f, 2);
	tap_ok(next_fault(&f).page == 2, "and works");
	close_pager(&f);
	tap_ok(ending(pid) == -SIGBUS && attribute_is(&f, "state", "failed"),
	       "when it goes, the limit counts again");
	fixture_close(&f);

	open_with_limit(&f, 1);
	memset(f.view, 4, PAGES * page_size);
	declare(f.pager, 0, PAGES);
	close_pager(&f);
	let_pass(50);
	expect(&f, "state", "complete");
	tap_ok(f.map[0] == 4 && f.map[(PAGES - 1) * page_size] == 4,
	       "a complete region has no limit");
	fixture_close(&f);
}

static void check_limit_changes(void)
{
	struct fixture f, other;
	unsigned int limit;
	pid_t pid;

	open_with_limit(&f, 0);
	close_pager(&f);
	let_pass(200);
	expect(&f, "state", "orphaned");
	tap_ok(set_limit(&f, "600000"), "the limit can be set in an orphan");
	expect(&f, "orphan_limit_ms", "600000");
	pid = child_reads(&f, 2);
	wait_until_asleep(pid);
	expect(&f, "state", "orphaned");
	tap_ok(!set_limit(&f, "soon") && !set_limit(&f, "-1") && !set_limit(&f, "4294967296") &&
	       !set_limit(&f, "1 2"), "but to numbers of 32 bits only");
	expect(&f, "orphan_limit_ms", "600000");
	tap_ok(set_limit(&f, "20\n"), "and be changed to a shorter one");
	tap_ok(ending(pid) == -SIGBUS && attribute_is(&f, "state", "failed"), "which counts");
	fixture_close(&f);

	open_with_limit(&f, 0);
	tap_ok(set_limit(&f, "1"), "the limit can be set while there is a pager");
	let_pass(50);
	expect(&f, "state", "filling");
	close_pager(&f);
	wait_until_attribute(&f, "state", "failed");
	tap_ok(true, "and counts when the pager goes");
	fixture_close(&f);

	for (limit = 250; ; limit *= 2) {
		open_with_limit(&f, limit);
		close_pager(&f);
		set_limit(&f, "0");
		if (attribute_is(&f, "state", "orphaned"))
			break;
		fixture_close(&f);
	}
	let_pass(limit);
	expect(&f, "state", "orphaned");
	f.pager = attach(f.name);
	tap_ok(f.pager >= 0, "a limit that was taken away does not count: a pager can come");
	fixture_close(&f);

	/* One region's limit is not another's. */
	open_with_limit(&f, 600000);
	open_with_limit(&other, 1);
	close_pager(&f);
	close_pager(&other);
	wait_until_attribute(&other, "state", "failed");
	expect(&f, "state", "orphaned");
	fixture_close(&other);
	fixture_close(&f);
}

static void check_limit_kept(void)
{
	struct yab_create wish = { .flags = YAB_CREATE_KEEP, .orphan_limit_ms = 100 };
	struct fixture f;

	fixture_open_with(&f, PAGES, &wish);
	fixture_close(&f);
	wait_until_attribute(&f, "state", "failed");
	tap_ok(node_exists(&f), "a kept region without users fails by its limit, and stays");
	tap_ok(attach(f.name) < 0 && errno == EIO, "no pager can come: EIO");
	tap_ok(!remove_region(f.name, 0) && !node_exists(&f), "it can be removed");
}

static void check_unprivileged(void)
{
	struct fixture f;
	pid_t pid;

	fixture_open(&f, PAGES);
	pid = fork();
	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(99);
		_exit(open("/dev/yabusame/control", O_RDWR) < 0 ? errno : 0);
	}
	tap_ok(ending(pid) == EACCES, "without privilege the control node cannot be opened");
	pid = fork();
	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(99);
		_exit(set_limit(&f, "1") ? 0 : errno);
	}
	tap_ok(ending(pid) == EACCES, "nor a limit changed");
	pid = fork();
	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(99);
		_exit(!attribute_is(&f, "state", "filling"));
	}
	tap_ok(!ending(pid), "but the state can be read");
	fixture_close(&f);
}

int main(void)
{
	tap_start(27 + 24 + 13 + 12 + 2 + 1 + 10 + 14 + 3 + 3, 120);
	check_attributes();
	check_transitions();
	check_fail_waiters();
	check_fail_pager();
	check_fail_queued();
	check_fail_race();
	check_limit();
	check_limit_changes();
	check_limit_kept();
	check_unprivileged();
	return tap_end();
}
