// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/child.h"
#include "../../daemon/dirty.h"
#include "../../daemon/handshake.h"
#include "../../daemon/qemu.h"
#include "../../daemon/region.h"
#include "../../daemon/token.h"
#include "../../daemon/worker.h"
#include "fake.h"

#define FAKE_PID	1

/* Nothing but what is to be called at its end, which comes from the event loop. */
struct yab_child {
	struct event *end;
	yab_child_cb cb;
	void *arg;
};

struct yab_qemu {
	struct event *end;
	struct yab_qmp *qmp;
	bool ready, ending;
	const struct yab_qemu_ops *ops;
	void *arg;
};

struct monitor fake_monitor = { .fd = -1, .passed_fd = -1 };
const uint8_t fake_token[YAB_WIRE_TOKEN_SIZE] = "0123456789abcdef";

int fake_region_errno;

static struct event_base *fake_base;
static struct yab_qemu *fake_qemu;
static struct yab_child *fake_child;	/* the worker's; NULL once nobody waits for it */
static int fake_worker_fd = -1;
static int fake_hosts[YAB_WIRE_BULK + 1] = { -1, -1, -1, -1 };

void fake_begin(struct event_base *base)
{
	fake_base = base;
	fake_qemu = NULL;
	fake_child = NULL;
}

static void fake_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void fake_end(void)
{
	monitor_close(&fake_monitor);
	fake_close(&fake_worker_fd);
	for (int role = 0; role <= YAB_WIRE_BULK; role++)
		fake_close(&fake_hosts[role]);
	fuzz_settle(fake_base);
	fuzz_check(!fake_qemu, "a QEMU is left");
	fuzz_check(!fake_child, "a worker is left");
}

int __wrap_yab_token_new(uint8_t token[YAB_WIRE_TOKEN_SIZE]);
int __wrap_yab_token_new(uint8_t token[YAB_WIRE_TOKEN_SIZE])
{
	memcpy(token, fake_token, YAB_WIRE_TOKEN_SIZE);
	return 0;
}

int __wrap_yab_region_create(const char *name, uint64_t size, int memory_fd, uid_t uid, gid_t gid,
			     char *error, size_t error_size);
int __wrap_yab_region_create(const char *name, uint64_t size, int memory_fd, uid_t uid, gid_t gid,
			     char *error, size_t error_size)
{
	(void)name;
	(void)size;
	(void)uid;
	(void)gid;
	(void)error;
	(void)error_size;
	return dup(memory_fd);
}

int __wrap_yab_region_attach(const char *name, int *memory_fd, char *error, size_t error_size);
int __wrap_yab_region_attach(const char *name, int *memory_fd, char *error, size_t error_size)
{
	const int pager_fd = fake_region_errno ? -1 : memfd_create(name, MFD_CLOEXEC);

	if (fake_region_errno) {
		snprintf(error, error_size, "no region");
		errno = fake_region_errno;
		return -1;
	}
	*memory_fd = dup(pager_fd);
	if (pager_fd >= 0 && *memory_fd >= 0)
		return pager_fd;
	snprintf(error, error_size, "no descriptors");
	close(pager_fd);
	return -1;
}

int __wrap_yab_region_fail(const char *name, char *error, size_t error_size);
int __wrap_yab_region_fail(const char *name, char *error, size_t error_size)
{
	(void)name;
	(void)error;
	(void)error_size;
	return 0;
}

/*
 * Time does not pass in a run. What is only to be tried again a little later is tried
 * again at once; what is waited for longer is as if it never came.
 */
#define FAKE_SOON_US	200000

int __wrap_event_add(struct event *event, const struct timeval *timeout)
{
	static const struct timeval now = { 0 };

	if (timeout && !timeout->tv_sec && timeout->tv_usec < FAKE_SOON_US)
		timeout = &now;
	return __real_event_add(event, timeout);
}

/* The worker */

pid_t __wrap_yab_worker_spawn(struct event_base *base, yab_channel_cb cb, void *arg,
			      struct yab_channel **channel);
pid_t __wrap_yab_worker_spawn(struct event_base *base, yab_channel_cb cb, void *arg,
			      struct yab_channel **channel)
{
	int theirs;

	fake_close(&fake_worker_fd);
	fuzz_pair(SOCK_SEQPACKET, &fake_worker_fd, &theirs);
	*channel = yab_channel_new(base, theirs, cb, arg);
	return *channel ? FAKE_PID : -1;
}

static void fake_child_free(struct yab_child *child)
{
	if (child == fake_child)
		fake_child = NULL;
	event_free(child->end);
	free(child);
}

static void fake_child_ended(evutil_socket_t fd, short what, void *arg)
{
	struct yab_child *child = arg;
	yab_child_cb cb = child->cb;
	void *cb_arg = child->arg;

	(void)fd;
	(void)what;
	fake_child_free(child);
	cb(0, cb_arg);
}

struct yab_child *__wrap_yab_child_watch(struct event_base *base, pid_t pid, yab_child_cb cb,
					 void *arg);
struct yab_child *__wrap_yab_child_watch(struct event_base *base, pid_t pid, yab_child_cb cb,
					 void *arg)
{
	struct yab_child *child = calloc(1, sizeof(*child));

	fuzz_check(child && pid == FAKE_PID, "child");
	child->cb = cb;
	child->arg = arg;
	child->end = evtimer_new(base, fake_child_ended, child);
	fake_child = child;
	return child;
}

void __wrap_yab_child_kill(struct yab_child *child);
void __wrap_yab_child_kill(struct yab_child *child)
{
	const struct timeval now = { 0 };

	fake_close(&fake_worker_fd);
	evtimer_add(child->end, &now);
}

void __wrap_yab_child_disown(struct yab_child *child, int seconds);
void __wrap_yab_child_disown(struct yab_child *child, int seconds)
{
	(void)seconds;
	fake_child_free(child);
}

void __wrap_yab_child_leave(struct yab_child *child);
void __wrap_yab_child_leave(struct yab_child *child)
{
	fake_child_free(child);
}

int fake_worker(void)
{
	return fake_worker_fd;
}

void fake_worker_exit(void)
{
	fake_close(&fake_worker_fd);
	if (fake_child)
		__wrap_yab_child_kill(fake_child);
}

/* QEMU */

static void fake_qemu_ready(void *arg)
{
	struct yab_qemu *qemu = arg;

	qemu->ready = true;
	qemu->ops->ready(qemu->arg);
}

static void fake_qemu_event(const char *name, json_t *data, void *arg)
{
	struct yab_qemu *qemu = arg;

	qemu->ops->event(name, data, qemu->arg);
}

static void fake_qemu_lost(const char *error, void *arg)
{
	struct yab_qemu *qemu = arg;

	(void)error;
	qemu->ready = false;
	yab_qmp_free(qemu->qmp);
	qemu->qmp = NULL;
	if (!qemu->ending)
		qemu->ops->unheard(qemu->arg);
}

static const struct yab_qmp_ops fake_qmp_ops = {
	.ready = fake_qemu_ready,
	.event = fake_qemu_event,
	.lost = fake_qemu_lost,
};

static void fake_qemu_free(struct yab_qemu *qemu)
{
	yab_qmp_free(qemu->qmp);
	event_free(qemu->end);
	free(qemu);
	if (qemu == fake_qemu)
		fake_qemu = NULL;
}

/* As qemu.c does it: what was written is taken in first. */
static void fake_qemu_ended(evutil_socket_t fd, short what, void *arg)
{
	struct yab_qemu *qemu = arg;

	(void)fd;
	(void)what;
	monitor_close(&fake_monitor);
	qemu->ending = true;
	if (qemu->qmp)
		yab_qmp_drain(qemu->qmp);
	if (qemu == fake_qemu)
		fake_qemu = NULL;
	qemu->ops->exited("QEMU was killed by signal 9 (Killed)", qemu->arg);
	fake_qemu_free(qemu);
}

struct yab_qemu *__wrap_yab_qemu_spawn(struct event_base *base, const char *vm,
				       char *const *command, const char *monitor, const char *log,
				       int memory_fd, const struct yab_qemu_ops *ops, void *arg,
				       char *error, size_t error_size);
struct yab_qemu *__wrap_yab_qemu_spawn(struct event_base *base, const char *vm,
				       char *const *command, const char *monitor, const char *log,
				       int memory_fd, const struct yab_qemu_ops *ops, void *arg,
				       char *error, size_t error_size)
{
	struct yab_qemu *qemu;
	int ours, theirs;

	(void)command;
	(void)monitor;
	(void)log;
	(void)memory_fd;
	if (fake_qemu) {
		snprintf(error, error_size, "there is one");
		return NULL;
	}
	qemu = calloc(1, sizeof(*qemu));
	fuzz_check(qemu, "out of memory");
	qemu->ops = ops;
	qemu->arg = arg;
	qemu->end = evtimer_new(base, fake_qemu_ended, qemu);
	monitor_close(&fake_monitor);
	fuzz_pair(SOCK_STREAM, &ours, &theirs);
	monitor_open(&fake_monitor, ours);
	qemu->qmp = yab_qmp_new(base, theirs, vm, &fake_qmp_ops, qemu);
	fake_qemu = qemu;
	return qemu;
}

const struct yab_process *__wrap_yab_qemu_process(const struct yab_qemu *qemu);
const struct yab_process *__wrap_yab_qemu_process(const struct yab_qemu *qemu)
{
	static const struct yab_process none = { .pid = 0 };

	(void)qemu;
	return &none;
}

struct yab_qmp *__wrap_yab_qemu_qmp(struct yab_qemu *qemu);
struct yab_qmp *__wrap_yab_qemu_qmp(struct yab_qemu *qemu)
{
	return qemu && qemu->ready ? qemu->qmp : NULL;
}

/* Every other page was written. */
static void *fake_dirty_start(const struct yab_dirty_target *target, char *error,
			      size_t error_size)
{
	(void)target;
	(void)error;
	(void)error_size;
	return malloc(1);
}

static int fake_dirty_read(void *object, uint64_t page, uint64_t count, uint64_t *bits)
{
	(void)object;
	(void)page;
	memset(bits, 0x55, (count + 63) / 64 * sizeof(*bits));
	return 0;
}

static const struct yab_dirty_kind fake_dirty_kind = {
	"fake", UINT64_MAX, fake_dirty_start, fake_dirty_read, free,
};

struct yab_dirty_log *__real_yab_dirty_log_new(struct event_base *base,
					       const struct yab_dirty_target *target,
					       const struct yab_dirty_kind *const *kinds,
					       yab_dirty_cb cb, void *arg);
struct yab_dirty_log *__wrap_yab_dirty_log_new(struct event_base *base,
					       const struct yab_dirty_target *target,
					       const struct yab_dirty_kind *const *kinds,
					       yab_dirty_cb cb, void *arg);
struct yab_dirty_log *__wrap_yab_dirty_log_new(struct event_base *base,
					       const struct yab_dirty_target *target,
					       const struct yab_dirty_kind *const *kinds,
					       yab_dirty_cb cb, void *arg)
{
	static const struct yab_dirty_kind *const fake_kinds[] = { &fake_dirty_kind, NULL };

	(void)kinds;
	return __real_yab_dirty_log_new(base, target, fake_kinds, cb, arg);
}

void __wrap_yab_qemu_kill(struct yab_qemu *qemu);
void __wrap_yab_qemu_kill(struct yab_qemu *qemu)
{
	const struct timeval now = { 0 };

	evtimer_add(qemu->end, &now);
}

void __wrap_yab_qemu_leave(struct yab_qemu *qemu);
void __wrap_yab_qemu_leave(struct yab_qemu *qemu)
{
	fake_qemu_free(qemu);
}

bool fake_qemu_lives(void)
{
	return fake_qemu;
}

void fake_qemu_exit(void)
{
	if (fake_qemu)
		__wrap_yab_qemu_kill(fake_qemu);
}

/* The other host */

struct yab_handshake *__wrap_yab_handshake_connect(struct event_base *base, struct evdns_base *dns,
						   const struct yab_address *address,
						   const struct yab_security *security,
						   enum yab_wire_role role, unsigned int index,
						   uint32_t number, const uint8_t *route,
						   int timeout_ms,
						   yab_handshake_cb cb, void *arg);
struct yab_handshake *__wrap_yab_handshake_connect(struct event_base *base, struct evdns_base *dns,
						   const struct yab_address *address,
						   const struct yab_security *security,
						   enum yab_wire_role role, unsigned int index,
						   uint32_t number, const uint8_t *route,
						   int timeout_ms,
						   yab_handshake_cb cb, void *arg)
{
	int theirs;

	(void)dns;
	(void)security;
	fake_close(&fake_hosts[role]);
	fuzz_pair(SOCK_STREAM, &fake_hosts[role], &theirs);
	return yab_handshake_offer(base, theirs, address->text, false, role, index, number,
				   route, timeout_ms, cb, arg);
}

int fake_host(enum yab_wire_role role)
{
	return fake_hosts[role];
}

void fake_host_close(enum yab_wire_role role)
{
	fake_close(&fake_hosts[role]);
}
