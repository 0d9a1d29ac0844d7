// SPDX-License-Identifier: GPL-2.0-or-later
#include "demand.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checksum.h"
#include "child.h"
#include "clock.h"
#include "log.h"
#include "region.h"
#include "statistics.h"
#include "worker.h"

#define YAB_DEMAND_END_SECONDS	5	/* for a worker to leave by itself */
/* Each try waits twice as long, until a worker has brought pages again. */
#define YAB_DEMAND_RETRY_MIN_MS	50
#define YAB_DEMAND_RETRY_MAX_MS	10000

enum yab_demand_state {
	YAB_DEMAND_WORKING,
	YAB_DEMAND_REAPING,	/* the worker is no use any more; its end is waited for */
	YAB_DEMAND_RESTING,	/* until the next worker is started */
	YAB_DEMAND_COMPLETE,
	YAB_DEMAND_ENDED,	/* or will be, when the worker is reaped */
	YAB_DEMAND_STATES,
};

#define YAB_DEMAND_TO(state)	(1U << YAB_DEMAND_##state)

static const unsigned int yab_demand_allowed[YAB_DEMAND_STATES] = {
	[YAB_DEMAND_WORKING] = YAB_DEMAND_TO(REAPING) | YAB_DEMAND_TO(RESTING) |
			       YAB_DEMAND_TO(COMPLETE) | YAB_DEMAND_TO(ENDED),
	[YAB_DEMAND_REAPING] = YAB_DEMAND_TO(RESTING) | YAB_DEMAND_TO(ENDED),
	[YAB_DEMAND_RESTING] = YAB_DEMAND_TO(WORKING) | YAB_DEMAND_TO(ENDED),
	[YAB_DEMAND_COMPLETE] = YAB_DEMAND_TO(ENDED),
};

struct yab_demand {
	struct event_base *base;
	char vm[YAB_NAME_SIZE];
	uint64_t pages;
	const struct yab_demand_ops *ops;
	void *arg;

	enum yab_demand_state state;
	bool persistent;
	bool sweeps;
	struct yab_channel *worker;	/* NULL: not to be talked to */
	struct yab_child *child;	/* NULL: reaped */
	struct event *restart;
	int retry_ms;
	json_int_t present;		/* pages, the last time that they were told */
	uint64_t bandwidth;
	const char *policy;
	enum yab_codec_kind codec;	/* of the source's packs */
	json_t *hints;			/* NULL: none yet */
	int checksums_fd;		/* for every worker (checksum.h); -1: none */

	struct yab_statistics statistics;
};

static void yab_demand_interrupt(struct yab_demand *demand, const char *error);

/* Their memory is counted as the daemon's. */
static void yab_demand_drop_checksums(struct yab_demand *demand)
{
	if (demand->checksums_fd >= 0)
		close(demand->checksums_fd);
	demand->checksums_fd = -1;
}

static void yab_demand_enter(struct yab_demand *demand, enum yab_demand_state state)
{
	assert(yab_demand_allowed[demand->state] & 1U << state);
	demand->state = state;
	if (state == YAB_DEMAND_ENDED)
		yab_demand_drop_checksums(demand);
}

static void yab_demand_take_statistics(struct yab_demand *demand, json_t *statistics)
{
	const json_int_t present = json_integer_value(json_object_get(statistics, "present"));

	yab_statistics_take(&demand->statistics, statistics);
	if (present > demand->present)
		demand->retry_ms = YAB_DEMAND_RETRY_MIN_MS;
	demand->present = present;
	demand->ops->statistics(demand->statistics.now, demand->arg);
}

static void yab_demand_take_loss(struct yab_demand *demand, json_t *message, const char *error)
{
	const char *role = json_string_value(json_object_get(message, "role"));
	const json_int_t index = json_integer_value(json_object_get(message, "index"));
	const json_int_t number = json_integer_value(json_object_get(message, "number"));

	if (index < 0 || index >= YAB_WIRE_BULKS_MAX)
		return;
	yab_statistics_lost_connection(&demand->statistics);
	demand->ops->statistics(demand->statistics.now, demand->arg);
	demand->ops->lost(yab_wire_role_named(role), (unsigned int)index, (uint32_t)number,
			  error ? error : "lost", demand->arg);
}

static void yab_demand_message(json_t *message, const int *fds, size_t fd_count, void *arg)
{
	struct yab_demand *demand = arg;
	const char *type = json_string_value(json_object_get(message, "type"));
	const char *error = json_string_value(json_object_get(message, "error"));
	const char *role;

	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
	if (demand->state == YAB_DEMAND_COMPLETE) {
		/* Its connections end because the source is done. */
		yab_log_debug(demand->vm, "the page worker says \"%s\"", type ? type : "?");
	} else if (!message) {
		yab_demand_interrupt(demand, "the destination's page worker is gone");
	} else if (type && !strcmp(type, "statistics")) {
		yab_demand_take_statistics(demand, message);
	} else if (type && !strcmp(type, "open")) {
		role = json_string_value(json_object_get(message, "role"));
		demand->ops->open(yab_wire_role_named(role), demand->arg);
	} else if (type && !strcmp(type, "lost")) {
		yab_demand_take_loss(demand, message, error);
	} else if (type && !strcmp(type, "complete")) {
		yab_demand_enter(demand, YAB_DEMAND_COMPLETE);
		demand->ops->complete(demand->arg);
	} else if (type && !strcmp(type, "failed")) {
		yab_demand_interrupt(demand, error ? error : "the page worker failed");
	} else {
		yab_log_warn(demand->vm, "the page worker says what nobody understands");
	}
}

/* Nobody pages the region now: another worker can attach to it. */
static void yab_demand_rest(struct yab_demand *demand)
{
	const struct timeval pause = yab_clock_pause((uint64_t)demand->retry_ms);

	yab_demand_enter(demand, YAB_DEMAND_RESTING);
	evtimer_add(demand->restart, &pause);
	demand->retry_ms *= 2;
	if (demand->retry_ms > YAB_DEMAND_RETRY_MAX_MS)
		demand->retry_ms = YAB_DEMAND_RETRY_MAX_MS;
}

static void yab_demand_exited(int status, void *arg)
{
	struct yab_demand *demand = arg;
	char ending[64], error[YAB_WIRE_ERROR_MAX];

	demand->child = NULL;
	yab_child_describe(status, ending, sizeof(ending));
	snprintf(error, sizeof(error), "the destination's page worker %s", ending);
	switch (demand->state) {
	case YAB_DEMAND_WORKING:
		yab_demand_interrupt(demand, error);
		break;
	case YAB_DEMAND_REAPING:
		yab_log_debug(demand->vm, "%s", error);
		if (demand->persistent)
			yab_demand_rest(demand);
		break;
	case YAB_DEMAND_ENDED:
		demand->ops->ended(demand->arg);
		break;
	case YAB_DEMAND_RESTING:
	case YAB_DEMAND_COMPLETE:
	case YAB_DEMAND_STATES:
		break;
	}
}

/* The worker is gone, or will be: the next one when it is reaped. */
static void yab_demand_interrupt(struct yab_demand *demand, const char *error)
{
	char text[YAB_WIRE_ERROR_MAX];

	if (demand->state != YAB_DEMAND_WORKING)
		return;
	/* The text may belong to what goes now. */
	snprintf(text, sizeof(text), "%s", error);
	yab_channel_free(demand->worker);
	demand->worker = NULL;
	yab_statistics_lost_worker(&demand->statistics);
	if (demand->child) {
		yab_demand_enter(demand, YAB_DEMAND_REAPING);
		yab_child_kill(demand->child);
	} else if (demand->persistent) {
		yab_demand_rest(demand);
	} else {
		yab_demand_enter(demand, YAB_DEMAND_REAPING);
	}
	yab_log_error(demand->vm, "%s%s", text,
		      demand->persistent ? "; another one is started" : "");
	demand->ops->statistics(demand->statistics.now, demand->arg);
	demand->ops->interrupted(text, demand->arg);
}

/* A worker that is not told does without. */
static void yab_demand_tell_hints(struct yab_demand *demand)
{
	if (demand->worker && demand->hints &&
	    yab_channel_send(demand->worker, json_pack("{s:s, s:O}", "type", "hints", "ranges",
						       demand->hints), NULL, 0) < 0)
		yab_log_debug(demand->vm, "the page worker does not take hints: %s",
			      strerror(errno));
}

/* 0, or -1 with errno: then there may be a child. */
static int yab_demand_spawn(struct yab_demand *demand, int memory_fd, int pager_fd)
{
	const int fds[] = { memory_fd, pager_fd, demand->checksums_fd };
	const bool verify = demand->checksums_fd >= 0;
	pid_t pid;

	pid = yab_worker_spawn(demand->base, yab_demand_message, demand, &demand->worker);
	if (pid < 0) {
		demand->worker = NULL;
		return -1;
	}
	demand->child = yab_child_watch(demand->base, pid, yab_demand_exited, demand);
	if (!demand->child)
		return -1;
	demand->ops->worker(pid, demand->arg);
	/*
	 * Until the guest is here the sweep would only be in the way of the device state, and
	 * of the pages that loading it waits for, while the guest is stopped.
	 */
	if (yab_channel_send(demand->worker,
			     yab_worker_start_message("destination", demand->vm, demand->pages,
						      demand->codec, demand->policy,
						      demand->sweeps, verify),
			     fds, verify ? 3 : 2) < 0)
		return -1;
	yab_demand_tell_hints(demand);
	if (!demand->bandwidth)
		return 0;
	return yab_channel_send(demand->worker, json_pack("{s:s, s:I}", "type", "limit",
							  "bandwidth",
							  (json_int_t)demand->bandwidth),
				NULL, 0);
}

static void yab_demand_restart(evutil_socket_t fd, short what, void *arg)
{
	struct yab_demand *demand = arg;
	char error[YAB_WIRE_ERROR_MAX];
	int memory_fd, pager_fd;

	(void)fd;
	(void)what;
	yab_demand_enter(demand, YAB_DEMAND_WORKING);
	pager_fd = yab_region_attach(demand->vm, &memory_fd, error, sizeof(error));
	if (pager_fd < 0 && (errno == ENOENT || errno == EIO)) {
		yab_demand_enter(demand, YAB_DEMAND_ENDED);
		demand->ops->gone(error, demand->arg);
		return;
	}
	if (pager_fd < 0) {
		yab_demand_interrupt(demand, error);
		return;
	}
	if (yab_demand_spawn(demand, memory_fd, pager_fd) < 0) {
		snprintf(error, sizeof(error), "cannot start the destination's page worker: %s",
			 strerror(errno));
		yab_demand_interrupt(demand, error);
	} else {
		yab_log_info(demand->vm, "another page worker goes on");
	}
	close(pager_fd);
	close(memory_fd);
}

static void yab_demand_drop_worker(struct yab_demand *demand, bool goes_on)
{
	yab_channel_free(demand->worker);
	demand->worker = NULL;
	if (demand->child && goes_on)
		yab_child_leave(demand->child);
	else if (demand->child)
		yab_child_disown(demand->child, YAB_DEMAND_END_SECONDS);
	demand->child = NULL;
}

/* Without a worker; NULL without memory. */
static struct yab_demand *yab_demand_alloc(struct event_base *base, const char *vm, uint64_t size,
					   const char *policy, enum yab_codec_kind codec,
					   const struct yab_demand_ops *ops, void *arg)
{
	struct yab_demand *demand = calloc(1, sizeof(*demand));

	if (!demand)
		return NULL;
	demand->restart = evtimer_new(base, yab_demand_restart, demand);
	if (!demand->restart) {
		free(demand);
		return NULL;
	}
	demand->base = base;
	demand->pages = size / YAB_WIRE_PAGE_SIZE;
	demand->policy = policy;
	demand->ops = ops;
	demand->arg = arg;
	demand->state = YAB_DEMAND_WORKING;
	demand->codec = codec;
	demand->checksums_fd = -1;
	demand->retry_ms = YAB_DEMAND_RETRY_MIN_MS;
	snprintf(demand->vm, sizeof(demand->vm), "%s", vm);
	return demand;
}

struct yab_demand *yab_demand_new(struct event_base *base, const char *vm, uint64_t size,
				  const char *policy, enum yab_codec_kind codec, bool verify,
				  const struct yab_demand_ops *ops, void *arg, int *memory_fd,
				  char *error, size_t error_size)
{
	struct yab_demand *demand = yab_demand_alloc(base, vm, size, policy, codec, ops, arg);
	int pager_fd;

	if (!demand) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	*memory_fd = -1;
	if (verify)
		demand->checksums_fd = yab_checksums_make(vm, demand->pages);
	if (verify && demand->checksums_fd < 0) {
		snprintf(error, error_size,
			 "no memory for the checksums of VM %s (%s): free some, or migrate without --verify",
			 vm, strerror(errno));
		goto err_demand;
	}
	*memory_fd = yab_region_memory(vm, size);
	if (*memory_fd < 0) {
		snprintf(error, error_size, "cannot make the memory of VM %s: %s", vm,
			 strerror(errno));
		goto err_demand;
	}
	pager_fd = yab_region_create(vm, size, *memory_fd, geteuid(), getegid(), error,
				     error_size);
	if (pager_fd < 0)
		goto err_memory;
	if (yab_demand_spawn(demand, *memory_fd, pager_fd) < 0) {
		snprintf(error, error_size, "cannot start the destination's page worker: %s",
			 strerror(errno));
		goto err_pager;
	}
	/* The worker has its own; with that one the region ends, unless QEMU maps it. */
	close(pager_fd);
	return demand;

err_pager:
	close(pager_fd);
err_memory:
	close(*memory_fd);
	*memory_fd = -1;
err_demand:
	yab_demand_free(demand, false);
	return NULL;
}

struct yab_demand *yab_demand_adopt(struct event_base *base, const char *vm, uint64_t size,
				    const char *policy, enum yab_codec_kind codec,
				    const struct yab_demand_ops *ops, void *arg,
				    const struct yab_process *worker)
{
	struct yab_demand *demand = yab_demand_alloc(base, vm, size, policy, codec, ops, arg);

	if (!demand)
		return NULL;
	demand->state = YAB_DEMAND_REAPING;
	/* One that cannot be ended is in the way until it has nothing left to do. */
	demand->child = yab_child_adopt(base, worker, yab_demand_exited, demand);
	if (demand->child)
		yab_child_kill(demand->child);
	return demand;
}

void yab_demand_free(struct yab_demand *demand, bool goes_on)
{
	if (!demand)
		return;
	yab_demand_drop_worker(demand, goes_on && demand->state == YAB_DEMAND_WORKING);
	yab_statistics_release(&demand->statistics);
	json_decref(demand->hints);
	yab_demand_drop_checksums(demand);
	event_free(demand->restart);
	free(demand);
}

void yab_demand_kill(struct yab_demand *demand)
{
	if (demand->state == YAB_DEMAND_ENDED)
		return;
	yab_demand_enter(demand, YAB_DEMAND_ENDED);
	evtimer_del(demand->restart);
	yab_channel_free(demand->worker);
	demand->worker = NULL;
	if (demand->child)
		yab_child_kill(demand->child);
}

bool yab_demand_is_over(const struct yab_demand *demand)
{
	return demand->state == YAB_DEMAND_ENDED;
}

bool yab_demand_is_gone(const struct yab_demand *demand)
{
	return !demand->child;
}

bool yab_demand_takes(const struct yab_demand *demand)
{
	return demand->worker;
}

int yab_demand_connect(struct yab_demand *demand, const struct yab_worker_connection *connection,
		       int fd, const struct yab_security *security, char *error,
		       size_t error_size)
{
	return yab_worker_connect(demand->worker, connection, fd, security, error, error_size);
}

void yab_demand_persist(struct yab_demand *demand)
{
	demand->persistent = true;
	if (demand->state == YAB_DEMAND_REAPING && !demand->child)
		yab_demand_rest(demand);
}

void yab_demand_sweep(struct yab_demand *demand)
{
	demand->sweeps = true;
	if (demand->worker &&
	    yab_channel_send(demand->worker, json_pack("{s:s}", "type", "sweep"), NULL, 0) < 0)
		yab_demand_interrupt(demand, "the page worker cannot be told to sweep");
}

void yab_demand_limit(struct yab_demand *demand, uint64_t bandwidth)
{
	demand->bandwidth = bandwidth;
	if (demand->worker &&
	    yab_channel_send(demand->worker, json_pack("{s:s, s:I}", "type", "limit", "bandwidth",
						       (json_int_t)bandwidth), NULL, 0) < 0)
		yab_log_warn(demand->vm, "the page worker does not take a limit: %s",
			     strerror(errno));
}

bool yab_demand_hint(struct yab_demand *demand, json_t *ranges)
{
	if (demand->hints)
		return false;
	demand->hints = json_incref(ranges);
	yab_demand_tell_hints(demand);
	return true;
}
