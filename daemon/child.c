// SPDX-License-Identifier: GPL-2.0-or-later
#include "child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

struct yab_child {
	pid_t pid;		/* 0: adopted, somebody else's to reap */
	int pidfd;
	struct event *exited;
	struct event *deadline;
	yab_child_cb cb;	/* NULL once disowned */
	void *arg;
};

static void yab_child_free(struct yab_child *child)
{
	if (child->deadline)
		event_free(child->deadline);
	event_free(child->exited);
	close(child->pidfd);
	free(child);
}

static void yab_child_exited(evutil_socket_t fd, short what, void *arg)
{
	struct yab_child *child = arg;
	yab_child_cb cb = child->cb;
	void *cb_arg = child->arg;
	int status = YAB_CHILD_STATUS_UNKNOWN;

	(void)fd;
	(void)what;
	if (child->pid && !waitpid(child->pid, &status, WNOHANG))
		return;
	/* Here, since whoever lost the process before its end looks at no status. */
	if (status != YAB_CHILD_STATUS_UNKNOWN && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		yab_log_error(NULL,
			      "process %ld was killed by signal %d (%s): it tried what its sandbox forbids, by a bug or because the other host attacks; the kernel's log has the call",
			      (long)child->pid, SIGSYS, strsignal(SIGSYS));
	yab_child_free(child);
	if (cb)
		cb(status, cb_arg);
}

static void yab_child_overdue(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	yab_child_kill(arg);
}

/* Takes @pidfd over. */
static struct yab_child *yab_child_new(struct event_base *base, pid_t pid, int pidfd,
				       yab_child_cb cb, void *arg)
{
	struct yab_child *child = calloc(1, sizeof(*child));

	if (!child)
		goto err_pidfd;
	child->pid = pid;
	child->cb = cb;
	child->arg = arg;
	child->pidfd = pidfd;
	child->exited = event_new(base, child->pidfd, EV_READ | EV_PERSIST, yab_child_exited,
				  child);
	if (!child->exited)
		goto err_child;
	/* Made now: disowning must not be able to fail. */
	child->deadline = evtimer_new(base, yab_child_overdue, child);
	if (!child->deadline || event_add(child->exited, NULL) < 0)
		goto err_events;
	return child;

err_events:
	if (child->deadline)
		event_free(child->deadline);
	event_free(child->exited);
err_child:
	free(child);
err_pidfd:
	close(pidfd);
	errno = ENOMEM;
	return NULL;
}

struct yab_child *yab_child_watch(struct event_base *base, pid_t pid, yab_child_cb cb, void *arg)
{
	struct yab_child *child = NULL;
	int error, pidfd;

	pidfd = pidfd_open(pid, 0);
	if (pidfd >= 0)
		child = yab_child_new(base, pid, pidfd, cb, arg);
	if (child)
		return child;
	error = errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	errno = error;
	return NULL;
}

struct yab_child *yab_child_adopt(struct event_base *base, const struct yab_process *process,
				  yab_child_cb cb, void *arg)
{
	const int pidfd = yab_process_open(process);

	return pidfd < 0 ? NULL : yab_child_new(base, 0, pidfd, cb, arg);
}

/* The pidfd names this process even if its number was used again. */
void yab_child_kill(struct yab_child *child)
{
	pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
}

void yab_child_disown(struct yab_child *child, int seconds)
{
	struct timeval grace = { .tv_sec = seconds };

	child->cb = NULL;
	if (!seconds || evtimer_add(child->deadline, &grace) < 0)
		yab_child_kill(child);
}

void yab_child_leave(struct yab_child *child)
{
	yab_child_free(child);
}

void yab_child_describe(int status, char *text, size_t size)
{
	if (status == YAB_CHILD_STATUS_UNKNOWN)
		snprintf(text, size, YAB_CHILD_UNSEEN);
	else if (WIFSIGNALED(status))
		snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "ended with status %d", WEXITSTATUS(status));
}
