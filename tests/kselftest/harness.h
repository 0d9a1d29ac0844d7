/* SPDX-License-Identifier: GPL-2.0 */
/* What the kselftests of the module share: TAP 13 and a region with its pager. */
#ifndef HARNESS_H
#define HARNESS_H

#include <linux/yabusame.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define HUGE_SIZE (2UL << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/*
 * TAP: prints the plan; a test that hangs is ended after @seconds, times $YAB_PATIENCE: on
 * an emulated and instrumented kernel nothing but a long wait tells slow from stuck.
 */
void tap_start(unsigned int tests, unsigned int seconds);
void tap_ok(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tap_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tap_bail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
int tap_end(void);	/* main()'s return value */

extern size_t page_size;

struct fixture {
	char name[YAB_NAME_SIZE];
	char path[YAB_NAME_SIZE + 32];
	size_t pages;
	int memory;		/* the memfd */
	unsigned char *view;	/* the memfd, mapped as the pager does */
	int pager;
	int node;
	unsigned char *map;	/* the node, mapped shared and writable */
	uint64_t untouched;	/* first of the pages that fresh_pages() has left */
};

int open_control(void);
int make_memory(size_t size);	/* a memfd that is sealed against shrinking */
struct yab_create make_request(const char *name, uint64_t size, int memory);

void fixture_open(struct fixture *f, size_t pages);
/* With these flags, orphan_limit_ms and queues; all else as fixture_open() does it. */
void fixture_open_with(struct fixture *f, size_t pages, const struct yab_create *wish);
/* Both mappings begin where huge pages can be mapped; @pages fill whole huge pages. */
void fixture_open_aligned(struct fixture *f, size_t pages);
void fixture_close(struct fixture *f);
/* The pager goes; returns when the region is an orphan. */
void fixture_orphan(struct fixture *f);

/* Calls on the control node by name: what the ioctl returns (-1 with errno). */
int attach(const char *name);
int fail(const char *name);
int remove_region(const char *name, uint64_t flags);

/* Small files such as those of sysfs and cgroups. */
bool write_file(const char *folder, const char *file, const char *text);
unsigned long read_number(const char *folder, const char *file);
unsigned long module_refcnt(void);

bool node_exists(const struct fixture *f);
/* The first line of /sys/class/yabusame/NAME/ATTRIBUTE, in a static buffer. */
const char *attribute(const struct fixture *f, const char *name);
bool attribute_is(const struct fixture *f, const char *name, const char *value);
/* Polls until it is so: what happens without a call can be waited for only like that. */
void wait_until_attribute(const struct fixture *f, const char *name, const char *value);
void wait_until_faults(const struct fixture *f, unsigned long faults);

/* The next fault; waits for it. */
struct yab_fault next_fault(struct fixture *f);
/* True if no fault is queued now. */
bool no_fault(struct fixture *f);
/* The same of a pager's or queue's fd, by reading: poll() may ask for a look at it. */
bool nothing_to_read(int fd);
/* The pages fresh, or -1 with errno. */
long declare(int pager, uint64_t page, uint64_t count);
long declare_as(int pager, uint64_t page, uint64_t count, uint32_t state);
/* YAB_IOC_PRESENT or YAB_IOC_DIRTY; the bits set, or -1 with errno. */
long get_bitmap(int pager, unsigned long call, uint64_t page, uint64_t count, uint64_t *bits);
/* YAB_IOC_TRACK, again while it says EAGAIN. */
int track(int pager, bool on);
struct yab_status get_status(struct fixture *f);

/* Content of @page that no other page has, in all its bytes. */
void fill_page(unsigned char *at, uint64_t page);
bool page_is_filled(const unsigned char *at, uint64_t page);
/* All pages of the memory file; none is declared. */
void fill_pages(struct fixture *f);
/* Fills the page and declares it. */
void provide_page(struct fixture *f, uint64_t page);
/* Where the node's mapping has the page. */
unsigned char *page_of(const struct fixture *f, uint64_t page);
/* The first of @count pages that no earlier call has returned. */
uint64_t fresh_pages(struct fixture *f, unsigned int count);
/* Is it mapped in this process? */
bool is_mapped(const unsigned char *at);

/* How long tests go on that could for ever: $YAB_STRESS_SECONDS, or 5. */
unsigned int stress_seconds(void);
/* Of the clock, to measure that. */
double seconds(void);
uint64_t next_random(uint64_t *state);	/* 31 bits */

/* Makes @file a disk, whose @path it says. The disk's fd, opened with @flags, or -1. */
int loop_open(int file, int flags, char *path, size_t size);

void thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* A thread or process that touches one byte and then ends. */
struct toucher {
	pthread_t thread;
	volatile unsigned char *at;
	bool write;
	unsigned char value;	/* read, or to write */
};

void toucher_start(struct toucher *t, unsigned char *at, bool write, unsigned char value);
void toucher_join(struct toucher *t);
/* A child that reads one byte and exits with it. */
pid_t child_touch(unsigned char *at);
/* fork(): the child has no file of ours, so that it does not keep the pager alive. */
pid_t child_start(void);
/* Such a child that reads the page's first byte and exits with it. */
pid_t child_reads(const struct fixture *f, uint64_t page);
/* A child that does nothing until it is killed. */
pid_t child_idle(void);
void child_kill(pid_t pid);
/* The exit status, or the signal that ended it as a negative number; waits for it. */
int ending(pid_t pid);
/* Waits until the task's state, as /proc/PID/stat has it, is one of @states. */
void wait_until_state(pid_t tid, const char *states);
void wait_until_asleep(pid_t tid);

/* A thread in read() or poll() of a pager's or queue's fd until the region fails. */
struct blocked {
	pthread_t thread;
	atomic_int tid;
	int fd;
	bool polls;
	bool told;	/* that the region has failed */
};

/* Returns when it waits. */
void blocked_start(struct blocked *b, int fd, bool polls);
/* When its wait has ended: was it told that the region has failed? */
bool blocked_told(struct blocked *b);

#endif /* HARNESS_H */
