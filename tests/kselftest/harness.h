/* SPDX-License-Identifier: GPL-2.0 */
/* What the kselftests of the module share: TAP 13 and a region with its pager. */
#ifndef HARNESS_H
#define HARNESS_H

#include <linux/yabusame.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* TAP: prints the plan; a test that hangs is ended after @seconds. */
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
};

int open_control(void);
int make_memory(size_t size);	/* a memfd that is sealed against shrinking */
struct yab_create make_request(const char *name, uint64_t size, int memory);

void fixture_open(struct fixture *f, size_t pages);
/* With these flags, orphan_limit_ms and queues; all else as fixture_open() does it. */
void fixture_open_with(struct fixture *f, size_t pages, const struct yab_create *wish);
void fixture_close(struct fixture *f);

/* Calls on the control node by name: what the ioctl returns (-1 with errno). */
int attach(const char *name);
int fail(const char *name);
int remove_region(const char *name, uint64_t flags);

bool node_exists(const struct fixture *f);
/* The first line of /sys/class/yabusame/NAME/ATTRIBUTE, in a static buffer. */
const char *attribute(const struct fixture *f, const char *name);
bool attribute_is(const struct fixture *f, const char *name, const char *value);
/* Polls until it is so: what happens without a call can be waited for only like that. */
void wait_until_attribute(const struct fixture *f, const char *name, const char *value);

/* The next fault; waits for it. */
struct yab_fault next_fault(struct fixture *f);
/* True if no fault is queued now. */
bool no_fault(struct fixture *f);
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
/* Waits until the task's state, as /proc/PID/stat has it, is one of @states. */
void wait_until_state(pid_t tid, const char *states);
void wait_until_asleep(pid_t tid);

#endif /* HARNESS_H */
