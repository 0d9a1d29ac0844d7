// SPDX-License-Identifier: GPL-2.0-or-later
/* The supervisor's side of worker.h. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "token.h"
#include "worker.h"

/* How workers are started. */
static bool yab_worker_unconfined;

json_t *yab_worker_start_message(const char *side, const char *vm, uint64_t pages,
				 enum yab_codec_kind codec, const char *policy, bool sweep,
				 bool verify)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:s*, s:o*, s:s*, s:b, s:b}", "type", "start",
			 "side", side, "vm", vm, "pages", (json_int_t)pages, "codec",
			 yab_codec_name(codec), "policy", policy, "sweep",
			 sweep ? NULL : json_false(), "session", yab_log_session_of(vm), "debug",
			 yab_log_is_debug(), "verify", verify);
}

/* In the child, between fork() and exec(): system calls only. */
static void __attribute__((noreturn)) yab_worker_exec(int fd)
{
	char *const argv[] = {
		"yabusamed", "--worker", yab_worker_unconfined ? "--no-sandbox" : NULL, NULL,
	};
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (fd == YAB_WORKER_FD) {
		if (fcntl(fd, F_SETFD, 0) < 0)
			_exit(127);
	} else if (dup2(fd, YAB_WORKER_FD) < 0) {
		_exit(127);
	}
	/* Ours are close-on-exec anyway; this is for those of libraries. */
	close_range(YAB_WORKER_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	execv("/proc/self/exe", argv);
	_exit(127);
}

void yab_worker_spawn_unconfined(void)
{
	yab_worker_unconfined = true;
}

pid_t yab_worker_spawn(struct event_base *base, yab_channel_cb cb, void *arg,
		       struct yab_channel **channel)
{
	int pair[2];
	int error;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	*channel = yab_channel_new(base, pair[0], cb, arg);
	if (!*channel) {
		error = errno;
		goto close_end;
	}
	/*
	 * The child is not tied to this process's life (PR_SET_PDEATHSIG): when the
	 * supervisor crashes, a guest may be waiting for what the worker brings.
	 */
	pid = fork();
	if (pid == 0)
		yab_worker_exec(pair[1]);
	if (pid < 0) {
		error = errno;
		goto free_channel;
	}
	close(pair[1]);
	return pid;

free_channel:
	yab_channel_free(*channel);
	*channel = NULL;
close_end:
	close(pair[1]);
	errno = error;
	return -1;
}

int yab_worker_connect(struct yab_channel *channel, const struct yab_worker_connection *connection,
		       int fd, const struct yab_security *security, char *error,
		       size_t error_size)
{
	struct yab_credentials *credentials;
	char token[YAB_TOKEN_TEXT_SIZE];
	int fds[2] = { fd, -1 };
	json_t *message;
	int result;

	if (connection->tls) {
		credentials = yab_security_credentials(security, connection->side, error,
						       error_size);
		if (!credentials)
			return -1;
		fds[1] = yab_credentials_export(credentials);
		yab_credentials_free(credentials);
		if (fds[1] < 0) {
			snprintf(error, error_size, "credentials: %s", strerror(errno));
			return -1;
		}
	}
	yab_token_print(connection->token, token);
	message = json_pack("{s:s, s:s, s:i, s:I, s:s, s:b, s:s, s:s*}", "type", "connection",
			    "role", yab_wire_role_name(connection->role), "index",
			    (int)connection->index, "number", (json_int_t)connection->number,
			    "token", token, "tls", connection->tls,
			    "name", connection->name, "host", connection->host);
	result = yab_channel_send(channel, message, fds, connection->tls ? 2 : 1);
	if (result < 0)
		snprintf(error, error_size, "the worker takes no connection: %s", strerror(errno));
	if (fds[1] >= 0)
		close(fds[1]);
	return result;
}
