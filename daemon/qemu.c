// SPDX-License-Identifier: GPL-2.0-or-later
#include "qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "child.h"
#include "log.h"
#include "yabusame/wire.h"

/* QEMU makes its socket when it likes; asking is cheap. */
#define YAB_QEMU_RETRY_MS	20
/* A QEMU that ends by itself gets this long, so that its own reason is seen. */
#define YAB_QEMU_END_MS		500

struct yab_qemu {
	struct event_base *base;
	char vm[64];
	char monitor[108];
	char log[4096];
	off_t log_start;	/* where the text of this process begins */
	struct yab_child *child;
	struct yab_process process;
	struct yab_qmp *qmp;
	bool ready;
	bool closing;		/* the monitor closed by itself: QEMU is about to end */
	struct event *retry;
	struct event *deadline;	/* for an end that was announced */
	const struct yab_qemu_ops *ops;
	void *arg;
};

static void yab_qemu_retry(struct yab_qemu *qemu)
{
	struct timeval pause = { .tv_usec = YAB_QEMU_RETRY_MS * 1000 };

	evtimer_add(qemu->retry, &pause);
}

static void yab_qemu_ready(void *arg)
{
	struct yab_qemu *qemu = arg;

	qemu->ready = true;
	qemu->closing = false;
	qemu->ops->ready(qemu->arg);
}

static void yab_qemu_event(const char *name, json_t *data, void *arg)
{
	struct yab_qemu *qemu = arg;

	qemu->ops->event(name, data, qemu->arg);
}

/* Either QEMU is about to end, or its monitor can be had again. */
static void yab_qemu_lost(const char *error, void *arg)
{
	struct yab_qemu *qemu = arg;
	bool heard;

	/*
	 * A process that ends closes its files when nothing of it runs any more. Whoever closed
	 * while it lives, QEMU or we, may have missed what it said next.
	 */
	heard = yab_qmp_was_heard(qemu->qmp) && yab_process_ends(&qemu->process);
	yab_log_debug(qemu->vm, "%s", error);
	qemu->ready = false;
	qemu->closing = true;
	yab_qmp_free(qemu->qmp);
	qemu->qmp = NULL;
	yab_qemu_retry(qemu);
	if (!heard && qemu->ops->unheard)
		qemu->ops->unheard(qemu->arg);
}

static const struct yab_qmp_ops yab_qemu_qmp_ops = {
	.ready = yab_qemu_ready,
	.event = yab_qemu_event,
	.lost = yab_qemu_lost,
};

static void yab_qemu_connect(evutil_socket_t unused, short what, void *arg)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct yab_qemu *qemu = arg;
	int fd;

	(void)unused;
	(void)what;
	memcpy(address.sun_path, qemu->monitor, sizeof(address.sun_path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		qemu->qmp = yab_qmp_new(qemu->base, fd, qemu->vm, &yab_qemu_qmp_ops, qemu);
		if (qemu->qmp)
			return;
		fd = -1;
	}
	if (fd >= 0)
		close(fd);
	yab_qemu_retry(qemu);
}

static void yab_qemu_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct yab_qemu *qemu = arg;

	(void)fd;
	(void)what;
	if (qemu->child)
		yab_child_kill(qemu->child);
}

/* The last line that QEMU printed, for an error message; empty if none. */
static void yab_qemu_last_words(const struct yab_qemu *qemu, char *line, size_t size)
{
	char tail[1024], *start;
	off_t from, end;
	ssize_t length;
	int fd;

	line[0] = '\0';
	fd = open(qemu->log, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	end = lseek(fd, 0, SEEK_END);
	from = end - (off_t)sizeof(tail) + 1;
	if (from < qemu->log_start)
		from = qemu->log_start;
	length = pread(fd, tail, sizeof(tail) - 1, from);
	close(fd);
	while (length > 0 && (tail[length - 1] == '\n' || tail[length - 1] == '\r'))
		length--;
	if (length <= 0)
		return;
	tail[length] = '\0';
	start = strrchr(tail, '\n');
	start = start ? start + 1 : tail;
	for (char *at = start; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
	snprintf(line, size, ": %.240s", start);
}

static void yab_qemu_free(struct yab_qemu *qemu)
{
	yab_qmp_free(qemu->qmp);
	event_free(qemu->deadline);
	event_free(qemu->retry);
	free(qemu);
}

static void yab_qemu_exited(int status, void *arg)
{
	char why[YAB_WIRE_ERROR_MAX], ending[64], words[320];
	struct yab_qemu *qemu = arg;

	qemu->child = NULL;
	if (qemu->qmp)
		yab_qmp_drain(qemu->qmp);
	yab_child_describe(status, ending, sizeof(ending));
	yab_qemu_last_words(qemu, words, sizeof(words));
	snprintf(why, sizeof(why), "QEMU %s%s", ending, words);
	unlink(qemu->monitor);
	qemu->ops->exited(why, qemu->arg);
	yab_qemu_free(qemu);
}

/* Sets up what the child gets: /dev/null, the log twice, the memory, nothing else. */
static int yab_qemu_exec(char *const *command, int log_fd, int memory_fd, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	int first = YAB_QEMU_MEMORY_FD;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int result;

	sigemptyset(&none);
	sigfillset(&all);
	result = posix_spawn_file_actions_init(&actions);
	if (result)
		return result;
	result = posix_spawnattr_init(&attributes);
	if (result)
		goto out_actions;
	result = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!result)
		result = posix_spawn_file_actions_adddup2(&actions, log_fd, 1);
	if (!result)
		result = posix_spawn_file_actions_adddup2(&actions, log_fd, 2);
	if (!result && memory_fd >= 0)
		result = posix_spawn_file_actions_adddup2(&actions, memory_fd, first++);
	if (!result)
		result = posix_spawn_file_actions_addclosefrom_np(&actions, first);
	if (!result)
		result = posix_spawnattr_setsigmask(&attributes, &none);
	if (!result)
		result = posix_spawnattr_setsigdefault(&attributes, &all);
	if (!result)
		result = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID |
						  POSIX_SPAWN_SETSIGMASK |
						  POSIX_SPAWN_SETSIGDEF);
	if (!result)
		result = posix_spawnp(pid, command[0], &actions, &attributes, command, environ);
	posix_spawnattr_destroy(&attributes);
out_actions:
	posix_spawn_file_actions_destroy(&actions);
	return result;
}

/* Without a process yet. NULL with one line in @error. */
static struct yab_qemu *yab_qemu_new(struct event_base *base, const char *vm, const char *monitor,
				     const char *log, const struct yab_qemu_ops *ops, void *arg,
				     char *error, size_t error_size)
{
	struct yab_qemu *qemu;

	qemu = calloc(1, sizeof(*qemu));
	if (!qemu) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	qemu->base = base;
	qemu->ops = ops;
	qemu->arg = arg;
	snprintf(qemu->vm, sizeof(qemu->vm), "%s", vm);
	snprintf(qemu->log, sizeof(qemu->log), "%s", log);
	if (snprintf(qemu->monitor, sizeof(qemu->monitor), "%s", monitor) >=
	    (int)sizeof(qemu->monitor)) {
		snprintf(error, error_size, "%s: too long for a socket: use a shorter --run-dir",
			 monitor);
		goto err_qemu;
	}
	snprintf(error, error_size, "out of memory");
	qemu->retry = evtimer_new(base, yab_qemu_connect, qemu);
	if (!qemu->retry)
		goto err_qemu;
	qemu->deadline = evtimer_new(base, yab_qemu_overdue, qemu);
	if (!qemu->deadline)
		goto err_retry;
	return qemu;

err_retry:
	event_free(qemu->retry);
err_qemu:
	free(qemu);
	return NULL;
}

struct yab_qemu *yab_qemu_spawn(struct event_base *base, const char *vm, char *const *command,
				const char *monitor, const char *log, int memory_fd,
				const struct yab_qemu_ops *ops, void *arg, char *error,
				size_t error_size)
{
	struct yab_qemu *qemu;
	int log_fd, result;
	pid_t pid;

	qemu = yab_qemu_new(base, vm, monitor, log, ops, arg, error, error_size);
	if (!qemu)
		return NULL;
	log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (log_fd < 0) {
		snprintf(error, error_size, "%s: %s", log, strerror(errno));
		goto err_qemu;
	}
	qemu->log_start = lseek(log_fd, 0, SEEK_END);
	result = yab_qemu_exec(command, log_fd, memory_fd, &pid);
	if (result) {
		snprintf(error, error_size,
			 "cannot run %s: %s: install it, or correct \"qemu\" in the VM's description",
			 command[0], strerror(result));
		goto err_log;
	}
	qemu->child = yab_child_watch(base, pid, yab_qemu_exited, qemu);
	if (!qemu->child) {
		snprintf(error, error_size, "cannot watch QEMU: %s", strerror(errno));
		goto err_log;
	}
	close(log_fd);
	qemu->process = yab_process_of(pid);
	yab_qemu_retry(qemu);
	yab_log_debug(vm, "QEMU started as process %d", (int)pid);
	return qemu;

err_log:
	close(log_fd);
err_qemu:
	yab_qemu_free(qemu);
	return NULL;
}

struct yab_qemu *yab_qemu_adopt(struct event_base *base, const char *vm,
				const struct yab_process *process, const char *monitor,
				const char *log, const struct yab_qemu_ops *ops, void *arg,
				char *error, size_t error_size)
{
	const struct timeval now = { 0 };
	struct yab_qemu *qemu;
	struct stat status;
	int number;

	qemu = yab_qemu_new(base, vm, monitor, log, ops, arg, error, error_size);
	if (!qemu) {
		errno = ENOMEM;
		return NULL;
	}
	/* What it has said to others by now are not its last words to us. */
	qemu->log_start = stat(log, &status) < 0 ? 0 : status.st_size;
	qemu->process = *process;
	qemu->child = yab_child_adopt(base, process, yab_qemu_exited, qemu);
	if (!qemu->child) {
		number = errno;
		snprintf(error, error_size, "cannot watch QEMU: %s", strerror(number));
		yab_qemu_free(qemu);
		errno = number;
		return NULL;
	}
	evtimer_add(qemu->retry, &now);
	return qemu;
}

const struct yab_process *yab_qemu_process(const struct yab_qemu *qemu)
{
	return &qemu->process;
}

struct yab_qmp *yab_qemu_qmp(struct yab_qemu *qemu)
{
	return qemu && qemu->ready ? qemu->qmp : NULL;
}

void yab_qemu_kill(struct yab_qemu *qemu)
{
	struct timeval grace = { .tv_usec = YAB_QEMU_END_MS * 1000 };

	if (!qemu->child)
		return;
	if (!qemu->closing || evtimer_add(qemu->deadline, &grace) < 0)
		yab_child_kill(qemu->child);
}

void yab_qemu_leave(struct yab_qemu *qemu)
{
	if (qemu->child)
		yab_child_leave(qemu->child);
	yab_qemu_free(qemu);
}
