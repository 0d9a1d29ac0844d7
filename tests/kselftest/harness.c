// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

size_t page_size;

static unsigned int tap_planned, tap_done, tap_failed;

static void tap_alarm(int signal)
{
	static const char text[] = "Bail out! timed out\n";

	(void)signal;
	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

void tap_start(unsigned int tests, unsigned int seconds)
{
	page_size = sysconf(_SC_PAGESIZE);
	setvbuf(stdout, NULL, _IOLBF, 0);
	tap_planned = tests;
	printf("TAP version 13\n1..%u\n", tests);
	signal(SIGALRM, tap_alarm);
	alarm(seconds);
}

static void tap_line(const char *verdict, const char *directive, const char *format, va_list args)
{
	printf("%s %u - ", verdict, ++tap_done);
	vprintf(format, args);
	printf("%s\n", directive);
}

void tap_ok(bool ok, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tap_line(ok ? "ok" : "not ok", "", format, args);
	va_end(args);
	tap_failed += !ok;
}

void tap_skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tap_line("ok", " # SKIP", format, args);
	va_end(args);
}

void tap_bail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("Bail out! ");
	vprintf(format, args);
	printf(": %s\n", strerror(errno));
	va_end(args);
	exit(1);
}

int tap_end(void)
{
	if (tap_done != tap_planned)
		printf("# planned %u tests, ran %u\n", tap_planned, tap_done);
	return tap_failed || tap_done != tap_planned;
}

int open_control(void)
{
	int fd = open("/dev/yabusame/control", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		tap_bail("/dev/yabusame/control (is the module loaded?)");
	return fd;
}

int make_memory(size_t size)
{
	int fd = memfd_create("kselftest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, size) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		tap_bail("memfd of %zu bytes", size);
	return fd;
}

struct yab_create make_request(const char *name, uint64_t size, int memory)
{
	struct yab_create request = {
		.size = size,
		.memory_fd = memory,
		.mode = 0600,
	};

	/* A name that fills the field stays without its NUL: one of the tests. */
	memcpy(request.name, name, strnlen(name, sizeof(request.name)));
	return request;
}

void fixture_open_with(struct fixture *f, size_t pages, const struct yab_create *wish)
{
	static unsigned int serial;
	int control = open_control();
	struct yab_create request;

	snprintf(f->name, sizeof(f->name), "kselftest-%d-%u", getpid(), serial++);
	snprintf(f->path, sizeof(f->path), "/dev/yabusame/%s", f->name);
	f->pages = pages;
	f->memory = make_memory(pages * page_size);
	request = make_request(f->name, pages * page_size, f->memory);
	request.flags = wish->flags;
	request.orphan_limit_ms = wish->orphan_limit_ms;
	request.queues = wish->queues;
	f->pager = ioctl(control, YAB_IOC_CREATE, &request);
	if (f->pager < 0)
		tap_bail("YAB_IOC_CREATE of %s", f->name);
	close(control);
	f->node = open(f->path, O_RDWR | O_CLOEXEC);
	if (f->node < 0)
		tap_bail("open %s", f->path);
	f->view = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->memory, 0);
	f->map = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->node, 0);
	if (f->view == MAP_FAILED || f->map == MAP_FAILED)
		tap_bail("mmap %s", f->path);
}

void fixture_open(struct fixture *f, size_t pages)
{
	static const struct yab_create plain;

	fixture_open_with(f, pages, &plain);
}

void fixture_close(struct fixture *f)
{
	munmap(f->map, f->pages * page_size);
	munmap(f->view, f->pages * page_size);
	close(f->node);
	close(f->pager);
	close(f->memory);
}

static int call_by_name(unsigned long call, const char *name, uint64_t flags)
{
	struct yab_target target = { .flags = flags };
	int control = open_control();
	int ret, error;

	memcpy(target.name, name, strnlen(name, sizeof(target.name)));
	ret = ioctl(control, call, &target);
	error = errno;
	close(control);
	errno = error;
	return ret;
}

int attach(const char *name)
{
	return call_by_name(YAB_IOC_ATTACH, name, 0);
}

int fail(const char *name)
{
	return call_by_name(YAB_IOC_FAIL, name, 0);
}

int remove_region(const char *name, uint64_t flags)
{
	return call_by_name(YAB_IOC_REMOVE, name, flags);
}

bool node_exists(const struct fixture *f)
{
	struct stat st;

	return !stat(f->path, &st);
}

const char *attribute(const struct fixture *f, const char *name)
{
	static char value[512];
	char path[160];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/yabusame/%s/%s", f->name, name);
	file = fopen(path, "r");
	if (!file || !fgets(value, sizeof(value), file))
		tap_bail("%s", path);
	fclose(file);
	value[strcspn(value, "\n")] = '\0';
	return value;
}

bool attribute_is(const struct fixture *f, const char *name, const char *value)
{
	return !strcmp(attribute(f, name), value);
}

void wait_until_attribute(const struct fixture *f, const char *name, const char *value)
{
	while (!attribute_is(f, name, value))
		sched_yield();
}

struct yab_fault next_fault(struct fixture *f)
{
	struct yab_fault fault;

	if (read(f->pager, &fault, sizeof(fault)) != sizeof(fault))
		tap_bail("read from the pager fd");
	return fault;
}

bool no_fault(struct fixture *f)
{
	struct pollfd poller = { .fd = f->pager, .events = POLLIN };

	return poll(&poller, 1, 0) == 0;
}

long declare_as(int pager, uint64_t page, uint64_t count, uint32_t state)
{
	struct yab_range range = { .page = page, .count = count, .state = state };
	struct yab_declare request = { .ranges = (uintptr_t)&range, .count = 1 };

	return ioctl(pager, YAB_IOC_DECLARE, &request) ? -1 : (long)range.fresh;
}

long declare(int pager, uint64_t page, uint64_t count)
{
	return declare_as(pager, page, count, YAB_RANGE_PRESENT);
}

long get_bitmap(int pager, unsigned long call, uint64_t page, uint64_t count, uint64_t *bits)
{
	struct yab_bitmap request = { .page = page, .count = count, .bits = (uintptr_t)bits };

	return ioctl(pager, call, &request) ? -1 : (long)request.set;
}

int track(int pager, bool on)
{
	struct yab_track request = { .flags = on ? YAB_TRACK_ON : 0 };
	int ret;

	do
		ret = ioctl(pager, YAB_IOC_TRACK, &request);
	while (ret && errno == EAGAIN);
	return ret;
}

struct yab_status get_status(struct fixture *f)
{
	struct yab_status status;

	if (ioctl(f->pager, YAB_IOC_STATUS, &status))
		tap_bail("YAB_IOC_STATUS");
	return status;
}

void fill_page(unsigned char *at, uint64_t page)
{
	uint64_t *word = (uint64_t *)at;
	size_t i;

	for (i = 0; i < page_size / sizeof(*word); i++)
		word[i] = (page + 1) * 0x9e3779b97f4a7c15ULL + i;
}

bool page_is_filled(const unsigned char *at, uint64_t page)
{
	const volatile uint64_t *word = (const volatile uint64_t *)at;
	size_t i;

	for (i = 0; i < page_size / sizeof(*word); i++)
		if (word[i] != (page + 1) * 0x9e3779b97f4a7c15ULL + i)
			return false;
	return true;
}

static void *toucher_run(void *arg)
{
	struct toucher *t = arg;

	if (t->write)
		*t->at = t->value;
	else
		t->value = *t->at;
	return NULL;
}

void toucher_start(struct toucher *t, unsigned char *at, bool write, unsigned char value)
{
	*t = (struct toucher){ .at = at, .write = write, .value = value };
	errno = pthread_create(&t->thread, NULL, toucher_run, t);
	if (errno)
		tap_bail("pthread_create");
}

void toucher_join(struct toucher *t)
{
	pthread_join(t->thread, NULL);
}

pid_t child_touch(unsigned char *at)
{
	pid_t pid = fork();

	if (pid < 0)
		tap_bail("fork");
	if (!pid)
		_exit(*(volatile unsigned char *)at);
	return pid;
}

void wait_until_state(pid_t tid, const char *states)
{
	char path[64], line[512], *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	for (;;) {
		FILE *file = fopen(path, "r");

		if (!file || !fgets(line, sizeof(line), file))
			tap_bail("%s", path);
		fclose(file);
		state = strrchr(line, ')');
		if (state && strchr(states, state[2]))
			return;
		sched_yield();
	}
}

void wait_until_asleep(pid_t tid)
{
	wait_until_state(tid, "SD");
}
