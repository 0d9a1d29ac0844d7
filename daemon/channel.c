// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "channel.h"
#include "log.h"

/* Messages that wait for a full socket: the other end hangs if there are more. */
#define YAB_CHANNEL_QUEUE_MAX	64
/* How long a message that memory lacks for is held before it is tried again. */
#define YAB_CHANNEL_RETRY_US	100000

struct yab_channel_message {
	TAILQ_ENTRY(yab_channel_message) entry;
	char *text;
	size_t length;
	int fds[YAB_CHANNEL_FDS];
	size_t fd_count;
};

TAILQ_HEAD(yab_channel_queue, yab_channel_message);

/*
 * The end of a channel has one of these states. A message that was received but
 * could not be turned into JSON for lack of memory is held (its text in buffer,
 * its descriptors in held_fds) and nothing more is read until it went through.
 */
enum yab_channel_state {
	YAB_CHANNEL_OPEN,
	YAB_CHANNEL_HOLDING,
	YAB_CHANNEL_GONE,	/* the other end left; said so to the callback */
	YAB_CHANNEL_STATES,
};

static const bool yab_channel_moves[YAB_CHANNEL_STATES][YAB_CHANNEL_STATES] = {
	[YAB_CHANNEL_OPEN] = { [YAB_CHANNEL_HOLDING] = true, [YAB_CHANNEL_GONE] = true },
	[YAB_CHANNEL_HOLDING] = { [YAB_CHANNEL_OPEN] = true, [YAB_CHANNEL_GONE] = true },
};

struct yab_channel {
	yab_channel_cb cb;
	void *arg;
	struct event *readable;
	struct event *writable;
	struct event *retry;
	struct yab_channel_queue queue;
	size_t queued;
	int fd;
	enum yab_channel_state state;
	size_t held;
	int held_fds[YAB_CHANNEL_FDS];
	size_t held_fd_count;
	/* One byte more than the longest message: a message that fills it is too long. */
	char buffer[YAB_CHANNEL_MESSAGE_MAX + 1];
};

static void yab_channel_move(struct yab_channel *channel, enum yab_channel_state state)
{
	if (!yab_channel_moves[channel->state][state])
		yab_log_error(NULL, "bug: channel moves from state %d to %d", channel->state,
			      state);
	channel->state = state;
}

static void yab_channel_close_fds(const int *fds, size_t fd_count)
{
	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
}

static void yab_channel_message_free(struct yab_channel_message *message)
{
	yab_channel_close_fds(message->fds, message->fd_count);
	free(message->text);
	free(message);
}

static void yab_channel_drop_queue(struct yab_channel *channel)
{
	struct yab_channel_message *message;

	while ((message = TAILQ_FIRST(&channel->queue))) {
		TAILQ_REMOVE(&channel->queue, message, entry);
		yab_channel_message_free(message);
	}
	channel->queued = 0;
	event_del(channel->writable);
}

/* The callback may free the channel: nothing may touch it after this. */
static void yab_channel_leave(struct yab_channel *channel)
{
	yab_channel_move(channel, YAB_CHANNEL_GONE);
	event_del(channel->readable);
	event_del(channel->retry);
	yab_channel_drop_queue(channel);
	channel->cb(NULL, NULL, 0, channel->arg);
}

/* jansson says so, or fails too early to say anything. */
static bool yab_channel_lacks_memory(const json_error_t *error)
{
	return json_error_code(error) == json_error_out_of_memory || !error->text[0];
}

/*
 * Hands the held message over. Like yab_channel_leave(), nothing may touch the
 * channel after this.
 */
static void yab_channel_deliver(struct yab_channel *channel)
{
	static const struct timeval retry = { .tv_usec = YAB_CHANNEL_RETRY_US };
	const size_t fd_count = channel->held_fd_count;
	int fds[YAB_CHANNEL_FDS];
	json_error_t error;
	json_t *message;

	message = json_loadb(channel->buffer, channel->held, JSON_REJECT_DUPLICATES, &error);
	if (!message && yab_channel_lacks_memory(&error) &&
	    evtimer_add(channel->retry, &retry) == 0) {
		if (channel->state == YAB_CHANNEL_OPEN) {
			yab_channel_move(channel, YAB_CHANNEL_HOLDING);
			event_del(channel->readable);
		}
		return;
	}
	if (channel->state == YAB_CHANNEL_HOLDING && event_add(channel->readable, NULL) == 0)
		yab_channel_move(channel, YAB_CHANNEL_OPEN);
	memcpy(fds, channel->held_fds, sizeof(fds));
	channel->held = 0;
	channel->held_fd_count = 0;
	if (!json_is_object(message) || channel->state != YAB_CHANNEL_OPEN) {
		yab_log_error(NULL, "channel: message is not a JSON object: %s", error.text);
		json_decref(message);
		yab_channel_close_fds(fds, fd_count);
		yab_channel_leave(channel);
		return;
	}
	channel->cb(message, fds, fd_count, channel->arg);
	json_decref(message);
}

/* Copies the descriptors of all control messages; closes those that are too many. */
static bool yab_channel_take_fds(struct yab_channel *channel, struct msghdr *header)
{
	bool fits = !(header->msg_flags & MSG_CTRUNC);
	struct cmsghdr *part;

	channel->held_fd_count = 0;
	for (part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
		size_t count;

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
			if (channel->held_fd_count < YAB_CHANNEL_FDS) {
				channel->held_fds[channel->held_fd_count++] = fd;
			} else {
				close(fd);
				fits = false;
			}
		}
	}
	return fits;
}

static void yab_channel_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_channel *channel = arg;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(YAB_CHANNEL_FDS * sizeof(int))];
	} control;
	struct iovec iov = { channel->buffer, sizeof(channel->buffer) };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;
	bool fits;

	(void)what;
	n = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	/*
	 * ECONNRESET comes once, when the other end closed and left something unread. Its last
	 * messages are behind that, and then the end.
	 */
	if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOMEM || errno == ENOBUFS ||
		      errno == ECONNRESET))
		return;
	if (n <= 0) {
		yab_channel_leave(channel);
		return;
	}
	fits = yab_channel_take_fds(channel, &header);
	if (!fits || (header.msg_flags & MSG_TRUNC) || (size_t)n > YAB_CHANNEL_MESSAGE_MAX) {
		yab_log_error(NULL, "channel: message is too long");
		yab_channel_close_fds(channel->held_fds, channel->held_fd_count);
		channel->held_fd_count = 0;
		yab_channel_leave(channel);
		return;
	}
	channel->held = (size_t)n;
	yab_channel_deliver(channel);
}

static void yab_channel_on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	yab_channel_deliver(arg);
}

/* 0 if sent, -1 with errno. */
static int yab_channel_put(int fd, const char *text, size_t length, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(YAB_CHANNEL_FDS * sizeof(int))];
	} control;
	struct iovec iov = { (void *)text, length };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd_count) {
		struct cmsghdr *part;

		memset(&control, 0, sizeof(control));
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(part), fds, fd_count * sizeof(int));
	}
	do {
		n = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

/* No room, and there will be some; not an end of the channel. */
static bool yab_channel_is_full(int error)
{
	return error == EAGAIN || error == ENOBUFS || error == ENOMEM;
}

static void yab_channel_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_channel *channel = arg;
	struct yab_channel_message *message;

	(void)what;
	while ((message = TAILQ_FIRST(&channel->queue))) {
		if (yab_channel_put(fd, message->text, message->length, message->fds,
				    message->fd_count) < 0) {
			if (yab_channel_is_full(errno))
				return;
			/* The reading side sees the end as well and reports it. */
			yab_channel_drop_queue(channel);
			return;
		}
		TAILQ_REMOVE(&channel->queue, message, entry);
		channel->queued--;
		yab_channel_message_free(message);
	}
	event_del(channel->writable);
}

/* Takes @text over, also on failure. */
static int yab_channel_queue(struct yab_channel *channel, char *text, size_t length,
			     const int *fds, size_t fd_count)
{
	struct yab_channel_message *message;
	int error;

	message = calloc(1, sizeof(*message));
	if (!message) {
		free(text);
		errno = ENOMEM;
		return -1;
	}
	message->text = text;
	message->length = length;
	for (size_t i = 0; i < fd_count; i++) {
		message->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (message->fds[i] < 0)
			goto free_message;
		message->fd_count++;
	}
	if (event_add(channel->writable, NULL) < 0) {
		errno = ENOMEM;
		goto free_message;
	}
	TAILQ_INSERT_TAIL(&channel->queue, message, entry);
	channel->queued++;
	return 0;

free_message:
	error = errno;
	yab_channel_message_free(message);
	errno = error;
	return -1;
}

int yab_channel_send(struct yab_channel *channel, json_t *message, const int *fds, size_t fd_count)
{
	size_t length;
	char *text;
	int error;

	text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	json_decref(message);
	if (!text) {
		errno = ENOMEM;
		return -1;
	}
	length = strlen(text);
	error = 0;
	if (channel->state == YAB_CHANNEL_GONE)
		error = EPIPE;
	else if (length > YAB_CHANNEL_MESSAGE_MAX || fd_count > YAB_CHANNEL_FDS)
		error = EMSGSIZE;
	else if (channel->queued >= YAB_CHANNEL_QUEUE_MAX)
		error = ENOBUFS;
	else if (channel->queued)	/* order is kept */
		return yab_channel_queue(channel, text, length, fds, fd_count);
	else if (yab_channel_put(channel->fd, text, length, fds, fd_count) < 0)
		error = errno;
	if (yab_channel_is_full(error) && channel->queued < YAB_CHANNEL_QUEUE_MAX)
		return yab_channel_queue(channel, text, length, fds, fd_count);
	free(text);
	errno = error;
	return error ? -1 : 0;
}

struct yab_channel *yab_channel_new(struct event_base *base, int fd, yab_channel_cb cb, void *arg)
{
	struct yab_channel *channel;
	int error = ENOMEM;

	channel = calloc(1, sizeof(*channel));
	if (!channel)
		goto close_fd;
	channel->fd = fd;
	channel->cb = cb;
	channel->arg = arg;
	channel->state = YAB_CHANNEL_OPEN;
	TAILQ_INIT(&channel->queue);
	if (evutil_make_socket_nonblocking(fd) < 0 || evutil_make_socket_closeonexec(fd) < 0) {
		error = errno;
		goto free_channel;
	}
	channel->retry = evtimer_new(base, yab_channel_on_retry, channel);
	if (!channel->retry)
		goto free_channel;
	channel->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, yab_channel_on_writable,
				      channel);
	if (!channel->writable)
		goto free_retry;
	channel->readable = event_new(base, fd, EV_READ | EV_PERSIST, yab_channel_on_readable,
				      channel);
	if (!channel->readable)
		goto free_writable;
	/* Messages are rare and tell what to do: never behind bulk pages. */
	event_priority_set(channel->readable, 0);
	event_priority_set(channel->writable, 0);
	if (event_add(channel->readable, NULL) < 0)
		goto free_readable;
	return channel;

free_readable:
	event_free(channel->readable);
free_writable:
	event_free(channel->writable);
free_retry:
	event_free(channel->retry);
free_channel:
	free(channel);
close_fd:
	close(fd);
	errno = error;
	return NULL;
}

void yab_channel_free(struct yab_channel *channel)
{
	if (!channel)
		return;
	yab_channel_drop_queue(channel);
	yab_channel_close_fds(channel->held_fds, channel->held_fd_count);
	event_free(channel->readable);
	event_free(channel->writable);
	event_free(channel->retry);
	close(channel->fd);
	free(channel);
}
