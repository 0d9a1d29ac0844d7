// SPDX-License-Identifier: GPL-2.0-or-later
#include "dirty.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "dirty_map.h"
#include "log.h"
#include "soft_dirty.h"
#include "tracking.h"

enum yab_dirty_state {
	YAB_DIRTY_TRACKING,
	YAB_DIRTY_READING,
	YAB_DIRTY_ENDED,	/* nothing is tracked any more */
	YAB_DIRTY_STATES,
};

static const bool yab_dirty_moves[YAB_DIRTY_STATES][YAB_DIRTY_STATES] = {
	[YAB_DIRTY_TRACKING] = { [YAB_DIRTY_READING] = true, [YAB_DIRTY_ENDED] = true },
	[YAB_DIRTY_READING] = { [YAB_DIRTY_ENDED] = true },
};

struct yab_dirty_log {
	char vm[64];
	enum yab_dirty_state state;
	const struct yab_dirty_kind *kind;
	void *object;
	struct event *slice;
	struct yab_dirty_map map;
	uint64_t at;		/* pages before this one were read */
	yab_dirty_cb cb;
	void *arg;
};

/*
 * The module tells of other processes' writes (vhost-user), too, but takes ever so much longer
 * to begin.
 */
const struct yab_dirty_kind *const yab_dirty_kinds[] = {
	&yab_tracking_kind, &yab_soft_dirty_kind, NULL,
};

/* False if it was there already. */
static bool yab_dirty_move(struct yab_dirty_log *log, enum yab_dirty_state state)
{
	if (!yab_dirty_moves[log->state][state])
		return false;
	log->state = state;
	return true;
}

static void yab_dirty_end(struct yab_dirty_log *log)
{
	if (yab_dirty_move(log, YAB_DIRTY_ENDED))
		log->kind->stop(log->object);
}

static void yab_dirty_next(struct yab_dirty_log *log)
{
	/* A timer, and not event_active(): what has come meanwhile is seen first. */
	static const struct timeval now = { 0 };

	if (evtimer_add(log->slice, &now) < 0)
		yab_dirty_end(log);
}

static void yab_dirty_on_slice(evutil_socket_t fd, short what, void *arg)
{
	struct yab_dirty_log *log = arg;
	const uint64_t left = log->map.pages - log->at;
	const uint64_t count = left < YAB_DIRTY_SLICE ? left : YAB_DIRTY_SLICE;
	struct yab_hints hints;

	(void)fd;
	(void)what;
	if (log->kind->read(log->object, log->at, count, log->map.bits + log->at / 64) < 0) {
		yab_log_debug(log->vm, "no hints for the destination by %s: %s", log->kind->name,
			      strerror(errno));
		yab_dirty_end(log);
		return;
	}
	yab_dirty_map_count(&log->map, log->at, count);
	log->at += count;
	if (log->at < log->map.pages) {
		yab_dirty_next(log);
		return;
	}
	yab_dirty_end(log);
	yab_dirty_map_hints(&log->map, &hints);
	yab_log_debug(log->vm, "%s: %u ranges of pages were written of late", log->kind->name,
		      hints.count);
	if (hints.count)
		log->cb(&hints, log->arg);
}

/* NULL after a line in the debug log. */
static void *yab_dirty_start(const struct yab_dirty_kind *kind,
			     const struct yab_dirty_target *target)
{
	const int64_t begin = yab_clock_us();
	char error[256] = "too much memory";
	void *object = NULL;

	if (target->pages <= kind->limit)
		object = kind->start(target, error, sizeof(error));
	if (object)
		yab_log_debug(target->vm, "%s: tracked after %lld us", kind->name,
			      (long long)(yab_clock_us() - begin));
	else
		yab_log_debug(target->vm, "no hints for the destination by %s: %s", kind->name,
			      error);
	return object;
}

struct yab_dirty_log *yab_dirty_log_new(struct event_base *base,
					const struct yab_dirty_target *target,
					const struct yab_dirty_kind *const *kinds,
					yab_dirty_cb cb, void *arg)
{
	struct yab_dirty_log *log = calloc(1, sizeof(*log));

	if (!log)
		goto err;
	log->slice = evtimer_new(base, yab_dirty_on_slice, log);
	if (!log->slice)
		goto err_log;
	snprintf(log->vm, sizeof(log->vm), "%s", target->vm);
	log->cb = cb;
	log->arg = arg;
	log->state = YAB_DIRTY_TRACKING;
	if (yab_dirty_map_init(&log->map, target->pages) < 0)
		goto err_slice;
	for (; *kinds; kinds++) {
		log->object = yab_dirty_start(*kinds, target);
		if (!log->object)
			continue;
		log->kind = *kinds;
		return log;
	}
	yab_dirty_map_release(&log->map);
	event_free(log->slice);
	free(log);
	return NULL;

err_slice:
	event_free(log->slice);
err_log:
	free(log);
err:
	yab_log_debug(target->vm, "no hints for the destination: out of memory");
	return NULL;
}

void yab_dirty_log_read(struct yab_dirty_log *log)
{
	if (log && yab_dirty_move(log, YAB_DIRTY_READING))
		yab_dirty_next(log);
}

void yab_dirty_log_free(struct yab_dirty_log *log)
{
	if (!log)
		return;
	yab_dirty_end(log);
	event_free(log->slice);
	yab_dirty_map_release(&log->map);
	free(log);
}
