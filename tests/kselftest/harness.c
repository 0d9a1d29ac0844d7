// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
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
	const char *patience = getenv("YAB_PATIENCE");

	page_size = sysconf(_SC_PAGESIZE);
	setvbuf(stdout, NULL, _IOLBF, 0);
	tap_planned = tests;
	printf("TAP version 13\n1..%u\n", tests);
	signal(SIGALRM, tap_alarm);
	alarm(seconds * (patience ? strtoul(patience, NULL, 10) : 1));
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
	f->untouched = 0;
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

void fixture_open_aligned(struct fixture *f, size_t pages)
{
	size_t size = pages * page_size;
	unsigned char *room;

	fixture_open(f, pages);
	munmap(f->map, size);
	munmap(f->view, size);
	room = mmap(NULL, 2 * size + 2 * HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	room = (void *)(((uintptr_t)room + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	f->view = mmap(room, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f->memory, 0);
	f->map = mmap(room + size + HUGE_SIZE, size, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_FIXED, f->node, 0);
	if (f->view == MAP_FAILED || f->map == MAP_FAILED)
		tap_bail("aligned mappings");
}

void fixture_close(struct fixture *f)
{
	munmap(f->map, f->pages * page_size);
	munmap(f->view, f->pages * page_size);
	close(f->node);
	close(f->pager);
	close(f->memory);
}

void fixture_orphan(struct fixture *f)
{
	close(f->pager);
	f->pager = -1;
	wait_until_attribute(f, "state", "orphaned");
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

bool write_file(const char *folder, const char *file, const char *text)
{
	char path[512];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

static void read_line(const char *folder, const char *file, char *line, size_t size)
{
	char path[512];
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	stream = fopen(path, "r");
	if (!stream || !fgets(line, size, stream))
		tap_bail("%s", path);
	fclose(stream);
	line[strcspn(line, "\n")] = '\0';
}

unsigned long read_number(const char *folder, const char *file)
{
	char line[64];

	read_line(folder, file, line, sizeof(line));
	return strtoul(line, NULL, 0);
}

unsigned long module_refcnt(void)
{
	return read_number("/sys/module/yabusame", "refcnt");
}

bool node_exists(const struct fixture *f)
{
	struct stat st;

	return !stat(f->path, &st);
}

const char *attribute(const struct fixture *f, const char *name)
{
	static char value[512];
	char folder[128];

	snprintf(folder, sizeof(folder), "/sys/class/yabusame/%s", f->name);
	read_line(folder, name, value, sizeof(value));
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

void wait_until_faults(const struct fixture *f, unsigned long faults)
{
	while (strtoul(attribute(f, "faults"), NULL, 10) < faults)
		sched_yield();
}

struct yab_fault next_fault(struct fixture *f)
{
	struct yab_fault fault;

	if (read(f->pager, &fault, sizeof(fault)) != sizeof(fault))
		tap_bail("read from the pager fd");
	return fault;
}

static bool polls_nothing(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	return poll(&poller, 1, 0) == 0;
}

bool no_fault(struct fixture *f)
{
	return polls_nothing(f->pager);
}

bool nothing_to_read(int fd)
{
	struct yab_fault fault;
	bool nothing;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	nothing = read(fd, &fault, sizeof(fault)) < 0 && errno == EAGAIN;
	fcntl(fd, F_SETFL, 0);
	return nothing && polls_nothing(fd);
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

void fill_pages(struct fixture *f)
{
	uint64_t page;

	for (page = 0; page < f->pages; page++)
		fill_page(f->view + page * page_size, page);
}

void provide_page(struct fixture *f, uint64_t page)
{
	fill_page(f->view + page * page_size, page);
	declare(f->pager, page, 1);
}

unsigned char *page_of(const struct fixture *f, uint64_t page)
{
	return f->map + page * page_size;
}

uint64_t fresh_pages(struct fixture *f, unsigned int count)
{
	uint64_t first = f->untouched;

	f->untouched += count;
	if (f->untouched > f->pages)
		tap_bail("the region is too small for this test");
	return first;
}

bool is_mapped(const unsigned char *at)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)at / page_size * 8) != 8)
		tap_bail("/proc/self/pagemap");
	close(fd);
	return entry >> 63;
}

unsigned int stress_seconds(void)
{
	const char *text = getenv("YAB_STRESS_SECONDS");

	return text && atoi(text) > 0 ? atoi(text) : 5;
}

double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 33;
}

int loop_open(int file, int flags, char *path, size_t size)
{
	int control, loop;

	(void)!system("modprobe -q loop 2>/dev/null");
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -1;
	snprintf(path, size, "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	close(control);
	loop = open(path, flags | O_CLOEXEC);
	if (loop >= 0 && ioctl(loop, LOOP_SET_FD, file)) {
		close(loop);
		loop = -1;
	}
	return loop;
}

void thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
	errno = pthread_create(thread, NULL, run, arg);
	if (errno)
		tap_bail("pthread_create");
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
	thread_start(&t->thread, toucher_run, t);
}

void toucher_join(struct toucher *t)
{
	pthread_join(t->thread, NULL);
}

static pid_t must_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		tap_bail("fork");
	return pid;
}

pid_t child_touch(unsigned char *at)
{
	pid_t pid = must_fork();

	if (!pid)
		_exit(*(volatile unsigned char *)at);
	return pid;
}

pid_t child_start(void)
{
	pid_t pid = must_fork();

	if (!pid)
		close_range(3, ~0U, 0);
	return pid;
}

pid_t child_reads(const struct fixture *f, uint64_t page)
{
	pid_t pid = child_start();

	if (!pid)
		_exit(*(volatile unsigned char *)page_of(f, page));
	return pid;
}

pid_t child_idle(void)
{
	pid_t pid = must_fork();

	if (!pid)
		for (;;)
			pause();
	return pid;
}

void child_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int ending(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		tap_bail("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
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

static void *blocked_run(void *arg)
{
	struct blocked *b = arg;
	struct pollfd poller = { .fd = b->fd, .events = POLLIN };
	struct yab_fault fault;

	atomic_store(&b->tid, (int)syscall(SYS_gettid));
	if (b->polls)
		b->told = poll(&poller, 1, -1) == 1 && poller.revents & POLLERR;
	else
		b->told = read(b->fd, &fault, sizeof(fault)) < 0 && errno == EIO;
	return NULL;
}

void blocked_start(struct blocked *b, int fd, bool polls)
{
	*b = (struct blocked){ .fd = fd, .polls = polls };
	thread_start(&b->thread, blocked_run, b);
	while (!atomic_load(&b->tid))
		sched_yield();
	wait_until_asleep(atomic_load(&b->tid));
}

bool blocked_told(struct blocked *b)
{
	pthread_join(b->thread, NULL);
	return b->told;
}
