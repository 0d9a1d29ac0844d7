// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "socket.h"

/*
 * Bulk data that the source's kernel holds unsent. Enough to keep a fast link
 * busy until the worker runs again (100 us at 10 Gbit/s), little enough to not
 * stand between an urgent page and a slow link (1 ms at 1 Gbit/s).
 */
#define YAB_SOCKET_BULK_UNSENT		131072

/*
 * A host that vanished without a word is noticed after 10 s, whether something
 * is on its way to it (user timeout) or not (keepalive: 4 + 3 * 2 s). Until then
 * guests wait; TCP's own default is a quarter of an hour.
 */
#define YAB_SOCKET_TIMEOUT_MS		10000
#define YAB_SOCKET_KEEPALIVE_IDLE	4
#define YAB_SOCKET_KEEPALIVE_INTERVAL	2
#define YAB_SOCKET_KEEPALIVE_PROBES	3

/* The greatest SO_PRIORITY that needs no privilege: pfifo_fast's first band. */
#define YAB_SOCKET_URGENT_PRIORITY	6

/*
 * All of these make things better and none is needed for them to be right; a
 * socket that is not TCP's takes few of them.
 */
static void yab_socket_tune(struct yab_socket *socket)
{
	const bool bulk = socket->role == YAB_WIRE_BULK;
	const struct {
		int level;
		int name;
		int value;
		bool wanted;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1, true },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, YAB_SOCKET_BULK_UNSENT, bulk },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, YAB_SOCKET_TIMEOUT_MS, true },
		{ IPPROTO_TCP, TCP_KEEPIDLE, YAB_SOCKET_KEEPALIVE_IDLE, true },
		{ IPPROTO_TCP, TCP_KEEPINTVL, YAB_SOCKET_KEEPALIVE_INTERVAL, true },
		{ IPPROTO_TCP, TCP_KEEPCNT, YAB_SOCKET_KEEPALIVE_PROBES, true },
		{ SOL_SOCKET, SO_KEEPALIVE, 1, true },
		{ SOL_SOCKET, SO_PRIORITY, YAB_SOCKET_URGENT_PRIORITY, !bulk },
		{ -1, 0, 0, false },
	}, *option;

	for (option = options; option->level >= 0; option++)
		if (option->wanted)
			setsockopt(socket->fd, option->level, option->name, &option->value,
				   sizeof(option->value));
}

void yab_socket_init(struct yab_socket *socket, enum yab_wire_role role)
{
	memset(socket, 0, sizeof(*socket));
	socket->fd = -1;
	socket->role = role;
}

int yab_socket_open(struct yab_socket *socket, struct event_base *base, int fd,
		    event_callback_fn readable, event_callback_fn writable, void *arg)
{
	const int priority = socket->role == YAB_WIRE_URGENT ? YAB_PRIORITY_URGENT :
							       YAB_PRIORITY_BULK;
	int error;

	if (evutil_make_socket_nonblocking(fd) < 0 || evutil_make_socket_closeonexec(fd) < 0) {
		error = errno;
		goto close_fd;
	}
	if (event_assign(&socket->readable, base, fd, EV_READ | EV_PERSIST, readable, arg) < 0 ||
	    event_assign(&socket->writable, base, fd, EV_WRITE | EV_PERSIST, writable, arg) < 0 ||
	    event_priority_set(&socket->readable, priority) < 0 ||
	    event_priority_set(&socket->writable, priority) < 0) {
		error = EINVAL;
		goto close_fd;
	}
	socket->fd = fd;
	yab_socket_tune(socket);
	return 0;

close_fd:
	close(fd);
	errno = error;
	return -1;
}

void yab_socket_close(struct yab_socket *socket)
{
	if (!yab_socket_is_open(socket))
		return;
	event_del(&socket->readable);
	event_del(&socket->writable);
	close(socket->fd);
	socket->fd = -1;
}

bool yab_socket_is_open(const struct yab_socket *socket)
{
	return socket->fd >= 0;
}

static int yab_socket_await(struct event *event, short what, bool on)
{
	/* Most calls change nothing, and this costs no system call. */
	if (!!event_pending(event, what, NULL) == on)
		return 0;
	return on ? event_add(event, NULL) : event_del(event);
}

int yab_socket_await_data(struct yab_socket *socket, bool on)
{
	return yab_socket_await(&socket->readable, EV_READ, on);
}

int yab_socket_await_room(struct yab_socket *socket, bool on)
{
	return yab_socket_await(&socket->writable, EV_WRITE, on);
}

/* Not an end: try again when libevent says so. */
static bool yab_socket_is_passing(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

ssize_t yab_socket_receive(struct yab_socket *socket, struct iovec *iov, size_t count)
{
	struct msghdr header = { .msg_iov = iov, .msg_iovlen = count };
	ssize_t n;

	n = recvmsg(socket->fd, &header, MSG_DONTWAIT);
	if (n > 0)
		return n;
	if (n == 0) {
		errno = 0;
		return -1;
	}
	return yab_socket_is_passing(errno) ? 0 : -1;
}

ssize_t yab_socket_send(struct yab_socket *socket, const void *bytes, size_t size, bool more)
{
	ssize_t n;

	n = send(socket->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
	if (n >= 0)
		return n;
	return yab_socket_is_passing(errno) ? 0 : -1;
}

const char *yab_socket_reason(int error)
{
	return error ? strerror(error) : "closed by the other side";
}

void yab_socket_quote(char out[YAB_SOCKET_TEXT_SIZE], const char *who, const uint8_t *text,
		      size_t size)
{
	const int n = snprintf(out, YAB_SOCKET_TEXT_SIZE, "%s says: ", who);
	size_t at = n < 0 ? 0 : (size_t)n;

	for (size_t i = 0; i < size && at < YAB_SOCKET_TEXT_SIZE - 1; i++)
		out[at++] = text[i] >= ' ' && text[i] < 0x7f ? (char)text[i] : '?';
	out[at] = '\0';
}

void yab_socket_refuse(struct yab_socket *socket, const char *text)
{
	uint8_t frame[YAB_WIRE_HEADER_SIZE + YAB_WIRE_ERROR_MAX];
	struct yab_wire_header header = { .type = YAB_WIRE_ERROR };

	header.length = (uint32_t)strnlen(text, YAB_WIRE_ERROR_MAX);
	yab_wire_header_encode(frame, &header);
	memcpy(frame + YAB_WIRE_HEADER_SIZE, text, header.length);
	/* A courtesy: the connection is closed whether this arrives or not. */
	(void)yab_socket_send(socket, frame, YAB_WIRE_HEADER_SIZE + header.length, false);
}
