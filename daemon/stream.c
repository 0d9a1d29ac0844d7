// SPDX-License-Identifier: GPL-2.0-or-later
#include "stream.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "yabusame/wire.h"

#define YAB_STREAM_PENDING_HIGH	(1024 * 1024)
#define YAB_STREAM_PENDING_LOW	(256 * 1024)

struct yab_stream {
	struct yab_peer *peer;
	int fd;			/* -1 after the end */
	struct event *io;
	struct evbuffer *pending;	/* writer only */
	bool ending;			/* writer: close when all is written */
	uint64_t bytes;
	yab_stream_cb cb;
	void *arg;
};

static void yab_stream_readable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_stream *stream = arg;
	char data[YAB_WIRE_STATE_MAX];
	ssize_t got;

	(void)what;
	got = read(fd, data, sizeof(data));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		event_del(stream->io);
		stream->cb(got < 0 ? strerror(errno) : NULL, stream->arg);
		return;
	}
	stream->bytes += (uint64_t)got;
	if (yab_peer_send_state(stream->peer, data, (size_t)got) < 0) {
		event_del(stream->io);
		stream->cb("the destination does not take the device state", stream->arg);
	} else if (yab_peer_congested(stream->peer)) {
		event_del(stream->io);
	}
}

static void yab_stream_close(struct yab_stream *stream)
{
	event_del(stream->io);
	close(stream->fd);
	stream->fd = -1;
}

static void yab_stream_writable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_stream *stream = arg;
	int sent;

	(void)what;
	sent = evbuffer_write(stream->pending, fd);
	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		/*
		 * QEMU has read enough or failed: its monitor tells which. What still
		 * comes is for nobody.
		 */
		evbuffer_drain(stream->pending, evbuffer_get_length(stream->pending));
		yab_stream_close(stream);
	} else if (!evbuffer_get_length(stream->pending)) {
		if (stream->ending)
			yab_stream_close(stream);
		else
			event_del(stream->io);
	}
	if (evbuffer_get_length(stream->pending) <= YAB_STREAM_PENDING_LOW)
		yab_peer_pause(stream->peer, false);
}

static struct yab_stream *yab_stream_new(struct event_base *base, struct yab_peer *peer,
					 short what, event_callback_fn io, int *qemu_fd)
{
	struct yab_stream *stream = calloc(1, sizeof(*stream));
	int pair[2];

	if (!stream)
		return NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		goto err_stream;
	if (evutil_make_socket_nonblocking(pair[0]) < 0)
		goto err_pair;
	stream->peer = peer;
	stream->fd = pair[0];
	stream->pending = evbuffer_new();
	if (!stream->pending)
		goto err_pair;
	stream->io = event_new(base, pair[0], what | EV_PERSIST, io, stream);
	if (!stream->io)
		goto err_pending;
	*qemu_fd = pair[1];
	return stream;

err_pending:
	evbuffer_free(stream->pending);
err_pair:
	close(pair[0]);
	close(pair[1]);
err_stream:
	free(stream);
	errno = ENOMEM;
	return NULL;
}

struct yab_stream *yab_stream_new_reader(struct event_base *base, struct yab_peer *peer,
					 yab_stream_cb cb, void *arg, int *qemu_fd)
{
	struct yab_stream *stream;

	stream = yab_stream_new(base, peer, EV_READ, yab_stream_readable, qemu_fd);
	if (!stream)
		return NULL;
	stream->cb = cb;
	stream->arg = arg;
	event_add(stream->io, NULL);
	return stream;
}

struct yab_stream *yab_stream_new_writer(struct event_base *base, struct yab_peer *peer,
					 int *qemu_fd)
{
	return yab_stream_new(base, peer, EV_WRITE, yab_stream_writable, qemu_fd);
}

void yab_stream_free(struct yab_stream *stream)
{
	if (!stream)
		return;
	event_free(stream->io);
	evbuffer_free(stream->pending);
	if (stream->fd >= 0)
		close(stream->fd);
	free(stream);
}

void yab_stream_go_on(struct yab_stream *stream)
{
	if (stream->fd >= 0)
		event_add(stream->io, NULL);
}

int yab_stream_write(struct yab_stream *stream, const void *data, size_t length)
{
	if (stream->fd < 0)
		return 0;
	stream->bytes += length;
	if (!length)
		stream->ending = true;
	if (evbuffer_add(stream->pending, data, length) < 0 || event_add(stream->io, NULL) < 0) {
		errno = ENOMEM;
		return -1;
	}
	if (evbuffer_get_length(stream->pending) > YAB_STREAM_PENDING_HIGH)
		yab_peer_pause(stream->peer, true);
	return 0;
}

uint64_t yab_stream_bytes(const struct yab_stream *stream)
{
	return stream->bytes;
}
