/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A child process whose end is noticed by the event loop and reaped; or one that another
 * process has started, whose end is noticed only.
 */
#ifndef YAB_DAEMON_CHILD_H
#define YAB_DAEMON_CHILD_H

#include <event2/event.h>
#include <stddef.h>
#include <sys/types.h>

#include "process.h"

struct yab_child;

/* Of an adopted process. No status of waitpid() is like it. */
#define YAB_CHILD_STATUS_UNKNOWN	(-1)
#define YAB_CHILD_UNSEEN		"ended, nobody saw how"

/* Called once, with a status as of waitpid(); the child object is gone by then. */
typedef void (*yab_child_cb)(int status, void *arg);

/*
 * Watches @pid. Where that is impossible (NULL, with errno) the process is killed
 * and reaped, so that no caller is left with a child that nobody looks after.
 */
struct yab_child *yab_child_watch(struct event_base *base, pid_t pid, yab_child_cb cb, void *arg);
/* Watches a process that is not ours. NULL with errno, ESRCH where it has ended already. */
struct yab_child *yab_child_adopt(struct event_base *base, const struct yab_process *process,
				  yab_child_cb cb, void *arg);
void yab_child_kill(struct yab_child *child);
/*
 * Nobody is told any more. The process has @seconds to end by itself, then it is
 * killed; it is reaped either way.
 */
void yab_child_disown(struct yab_child *child, int seconds);
/* The process goes on and is not ours any more, because we end. */
void yab_child_leave(struct yab_child *child);

/* "ended with status 1", YAB_CHILD_UNSEEN, "was killed by signal 9 (Killed)". */
void yab_child_describe(int status, char *text, size_t size);

#endif /* YAB_DAEMON_CHILD_H */
