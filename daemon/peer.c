// SPDX-License-Identifier: GPL-2.0-or-later
#include "peer.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "tls.h"

/* State frames wait above the high mark until the low one; messages may go on. */
#define YAB_PEER_OUTPUT_LOW	(256 * 1024)
#define YAB_PEER_OUTPUT_HIGH	(1024 * 1024)
/* A side that lets this much pile up does not read. */
#define YAB_PEER_OUTPUT_MAX	(4 * 1024 * 1024)
#define YAB_PEER_INPUT_MAX	(2 * (YAB_WIRE_HEADER_SIZE + YAB_WIRE_JSON_MAX))
#define YAB_PEER_LINGER_SECONDS	5

enum yab_peer_state {
	YAB_PEER_OPEN,
	YAB_PEER_LINGERING,	/* nobody's any more: flushes, then goes */
	YAB_PEER_LOST,
	YAB_PEER_STATES,
};

static const bool yab_peer_allowed[YAB_PEER_STATES][YAB_PEER_STATES] = {
	[YAB_PEER_OPEN] = { [YAB_PEER_LINGERING] = true, [YAB_PEER_LOST] = true },
	/* A last message to a side that is gone is dropped. */
	[YAB_PEER_LOST] = { [YAB_PEER_LINGERING] = true },
};

struct yab_peer {
	struct bufferevent *socket;
	SSL *ssl;		/* the socket's, which frees it; NULL: plain TCP */
	struct event *overdue;	/* ends what lingers, however slowly its other side reads */
	enum yab_peer_state state;
	bool congested;		/* somebody was told to wait for drained() */
	bool paused;
	char name[272];
	const struct yab_peer_ops *ops;
	void *arg;
	/* As in qmp.c: freed during a callback means doomed until the last leaves. */
	unsigned int busy;
	bool doomed;
};

static void yab_peer_set_state(struct yab_peer *peer, enum yab_peer_state state)
{
	assert(yab_peer_allowed[peer->state][state]);
	peer->state = state;
}

static void yab_peer_enter(struct yab_peer *peer)
{
	peer->busy++;
}

static void yab_peer_leave(struct yab_peer *peer)
{
	if (!--peer->busy && peer->doomed)
		free(peer);
}

void yab_peer_free(struct yab_peer *peer)
{
	if (!peer || peer->doomed)
		return;
	event_free(peer->overdue);
	bufferevent_free(peer->socket);
	peer->socket = NULL;
	peer->doomed = true;
	if (!peer->busy)
		free(peer);
}

/* The end of one that lingered. */
static void yab_peer_vanish(struct yab_peer *peer)
{
	void (*gone)(void *arg) = peer->ops->gone;
	void *arg = peer->arg;

	yab_peer_free(peer);
	if (gone)
		gone(arg);
}

/* Goes on only while it is open and somebody's. */
static bool yab_peer_live(const struct yab_peer *peer)
{
	return !peer->doomed && peer->state == YAB_PEER_OPEN;
}

static void yab_peer_lose(struct yab_peer *peer, const char *error, bool answered)
{
	if (!yab_peer_live(peer))
		return;
	yab_peer_set_state(peer, YAB_PEER_LOST);
	bufferevent_disable(peer->socket, EV_READ | EV_WRITE);
	peer->ops->lost(error, answered, peer->arg);
}

/* Time is up for one that lingers; one that is open was broken. */
static void yab_peer_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct yab_peer *peer = arg;
	char error[YAB_WIRE_ERROR_MAX];

	(void)fd;
	(void)what;
	if (peer->state == YAB_PEER_LINGERING) {
		yab_peer_vanish(peer);
		return;
	}
	snprintf(error, sizeof(error),
		 "ended the connection to %s, which could not be told what it waits for",
		 peer->name);
	yab_peer_enter(peer);
	yab_peer_lose(peer, error, false);
	yab_peer_leave(peer);
}

/* The other side broke the protocol: it is told, then the connection is lost. */
static void yab_peer_broken(struct yab_peer *peer, const char *what)
{
	char error[YAB_WIRE_ERROR_MAX];

	snprintf(error, sizeof(error),
		 "%s broke the protocol (%s): install the same yabusame on both", peer->name, what);
	yab_peer_lose(peer, error, false);
}

static void yab_peer_error_frame(struct yab_peer *peer, const uint8_t *payload, size_t length)
{
	char error[YAB_WIRE_ERROR_MAX + 1];

	memcpy(error, payload, length);
	error[length] = '\0';
	/* It goes to terminals and into logs. */
	for (size_t i = 0; i < length; i++)
		if (error[i] < ' ' || error[i] > '~')
			error[i] = '?';
	yab_peer_lose(peer, error, true);
}

static void yab_peer_frame(struct yab_peer *peer, const struct yab_wire_header *header,
			   const uint8_t *payload)
{
	json_t *json;

	if (header->type == YAB_WIRE_ERROR) {
		yab_peer_error_frame(peer, payload, header->length);
	} else if (header->type == YAB_WIRE_STATE || header->type == YAB_WIRE_STATE_END) {
		peer->ops->state(payload, header->length, peer->arg);
	} else {
		json = json_loadb((const char *)payload, header->length, JSON_REJECT_DUPLICATES,
				  NULL);
		if (json_is_object(json))
			peer->ops->message(header->type, json, peer->arg);
		else
			yab_peer_broken(peer, "a message is no JSON object");
		json_decref(json);
	}
}

static void yab_peer_readable(struct bufferevent *socket, void *arg)
{
	struct evbuffer *input = bufferevent_get_input(socket);
	struct yab_peer *peer = arg;
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];
	struct yab_wire_header header;
	uint8_t *frame;

	if (peer->state == YAB_PEER_LINGERING) {
		evbuffer_drain(input, evbuffer_get_length(input));
		return;
	}
	yab_peer_enter(peer);
	while (yab_peer_live(peer) && !peer->paused &&
	       evbuffer_copyout(input, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes)) {
		if (yab_wire_header_decode(bytes, YAB_WIRE_CONTROL, 0, &header) != YAB_WIRE_OK) {
			yab_peer_broken(peer, "a frame that has no place here");
			break;
		}
		if (evbuffer_get_length(input) < sizeof(bytes) + header.length)
			break;
		/* A copy: the callback may free the buffer it came in. */
		frame = malloc(sizeof(bytes) + header.length);
		if (!frame) {
			yab_peer_lose(peer, "out of memory", false);
			break;
		}
		evbuffer_remove(input, frame, sizeof(bytes) + header.length);
		yab_peer_frame(peer, &header, frame + sizeof(bytes));
		free(frame);
	}
	yab_peer_leave(peer);
}

/* Everything is written, and nothing more will be. */
static void yab_peer_end(struct yab_peer *peer)
{
	/* So that the other side knows that this is the end, and nobody cut it off. */
	if (peer->ssl) {
		ERR_clear_error();
		SSL_shutdown(peer->ssl);
		ERR_clear_error();
	}
	shutdown(bufferevent_getfd(peer->socket), SHUT_WR);
}

static void yab_peer_writable(struct bufferevent *socket, void *arg)
{
	struct yab_peer *peer = arg;

	if (peer->state == YAB_PEER_LINGERING) {
		if (!evbuffer_get_length(bufferevent_get_output(socket)))
			yab_peer_end(peer);
		return;
	}
	if (!peer->congested || !peer->ops->drained)
		return;
	peer->congested = false;
	yab_peer_enter(peer);
	peer->ops->drained(peer->arg);
	yab_peer_leave(peer);
}

/*
 * libevent has taken what OpenSSL said off its queue; back there, tls.c knows it. What is of
 * no library is SSL_get_error()'s, which libevent gives where there was nothing.
 */
static void yab_peer_explain_tls(struct yab_peer *peer, int number, char *error, size_t size)
{
	unsigned long code = bufferevent_get_openssl_error(peer->socket);

	if (!ERR_GET_LIB(code))
		code = 0;
	ERR_clear_error();
	if (code)
		ERR_raise(ERR_GET_LIB(code), ERR_GET_REASON(code));
	errno = number;
	yab_tls_explain(peer->ssl, code ? SSL_ERROR_SSL : SSL_ERROR_SYSCALL, error, size);
}

static void yab_peer_event(struct bufferevent *socket, short what, void *arg)
{
	char error[YAB_WIRE_ERROR_MAX];
	struct yab_peer *peer = arg;
	int code = EVUTIL_SOCKET_ERROR();

	(void)socket;
	if (peer->state == YAB_PEER_LINGERING) {
		yab_peer_vanish(peer);
		return;
	}
	if (peer->ssl && what & BEV_EVENT_ERROR)
		yab_peer_explain_tls(peer, code, error, sizeof(error));
	else if (what & BEV_EVENT_ERROR)
		snprintf(error, sizeof(error), "lost the connection to %s (%s)", peer->name,
			 evutil_socket_error_to_string(code));
	else
		snprintf(error, sizeof(error), "%s closed the connection", peer->name);
	yab_peer_enter(peer);
	yab_peer_lose(peer, error, false);
	yab_peer_leave(peer);
}

struct yab_peer *yab_peer_new(struct event_base *base, int fd, SSL *ssl, const char *name,
			      const struct yab_peer_ops *ops, void *arg)
{
	/* Deferred: no callback from within a caller's send. */
	const int options = BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS;
	struct yab_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		goto err_fd;
	peer->ssl = ssl;
	peer->ops = ops;
	peer->arg = arg;
	snprintf(peer->name, sizeof(peer->name), "%s", name);
	if (evutil_make_socket_nonblocking(fd) < 0)
		goto err_peer;
	peer->overdue = evtimer_new(base, yab_peer_overdue, peer);
	if (!peer->overdue)
		goto err_peer;
	peer->socket = ssl ? bufferevent_openssl_socket_new(base, fd, ssl,
							    BUFFEREVENT_SSL_OPEN, options) :
			     bufferevent_socket_new(base, fd, options);
	if (!peer->socket && ssl) {
		/* What of it libevent has freed by now depends on where it ran out of memory. */
		shutdown(fd, SHUT_RDWR);
		event_free(peer->overdue);
		free(peer);
		errno = ENOMEM;
		return NULL;
	}
	if (!peer->socket)
		goto err_overdue;
	bufferevent_setcb(peer->socket, yab_peer_readable, yab_peer_writable, yab_peer_event,
			  peer);
	/*
	 * With TLS no high mark: libevent would stop in the middle of a record, and what
	 * OpenSSL has of it would wait for more to come. It reads one record at a time.
	 */
	bufferevent_setwatermark(peer->socket, EV_READ, 0, ssl ? 0 : YAB_PEER_INPUT_MAX);
	bufferevent_setwatermark(peer->socket, EV_WRITE, YAB_PEER_OUTPUT_LOW, 0);
	if (bufferevent_enable(peer->socket, EV_READ | EV_WRITE) < 0)
		goto err_socket;
	return peer;

err_socket:
	bufferevent_free(peer->socket);
	event_free(peer->overdue);
	free(peer);
	errno = ENOMEM;
	return NULL;
err_overdue:
	event_free(peer->overdue);
err_peer:
	free(peer);
err_fd:
	SSL_free(ssl);
	close(fd);
	errno = ENOMEM;
	return NULL;
}

bool yab_peer_finish(struct yab_peer *peer)
{
	struct timeval patience = { .tv_sec = YAB_PEER_LINGER_SECONDS };

	if (!peer)
		return false;
	if (peer->state == YAB_PEER_LOST || peer->doomed ||
	    evtimer_add(peer->overdue, &patience) < 0) {
		yab_peer_free(peer);
		return false;
	}
	yab_peer_set_state(peer, YAB_PEER_LINGERING);
	bufferevent_setwatermark(peer->socket, EV_WRITE, 0, 0);
	bufferevent_enable(peer->socket, EV_READ | EV_WRITE);
	/*
	 * Not closed yet even when all is written: a close with unread input would
	 * make the kernel drop what the other side has not read. Its end is awaited.
	 */
	if (!evbuffer_get_length(bufferevent_get_output(peer->socket)))
		yab_peer_end(peer);
	return true;
}

static int yab_peer_put(struct yab_peer *peer, enum yab_wire_type type, const void *payload,
			size_t length)
{
	struct evbuffer *output = bufferevent_get_output(peer->socket);
	struct yab_wire_header header = { .type = (uint16_t)type, .length = (uint32_t)length };
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	if (!yab_peer_live(peer)) {
		errno = ENOTCONN;
		return -1;
	}
	if (evbuffer_get_length(output) > YAB_PEER_OUTPUT_MAX) {
		errno = ENOBUFS;
		return -1;
	}
	yab_wire_header_encode(bytes, &header);
	/* Room first, so that a header never goes without its payload. */
	if (evbuffer_expand(output, sizeof(bytes) + length) < 0) {
		errno = ENOMEM;
		return -1;
	}
	evbuffer_add(output, bytes, sizeof(bytes));
	evbuffer_add(output, payload, length);
	return 0;
}

bool yab_peer_fail(struct yab_peer *peer, const char *text)
{
	size_t length = strnlen(text, YAB_WIRE_ERROR_MAX);

	yab_log_debug(NULL, "to %s: ERROR %s", peer->name, text);
	yab_peer_put(peer, YAB_WIRE_ERROR, text, length);
	return yab_peer_finish(peer);
}

void yab_peer_break(struct yab_peer *peer)
{
	/* Needs no memory: that may be what was missing. */
	if (yab_peer_live(peer))
		event_active(peer->overdue, EV_TIMEOUT, 0);
}

const char *yab_peer_name(const struct yab_peer *peer)
{
	return peer->name;
}

int yab_peer_send(struct yab_peer *peer, enum yab_wire_type type, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int result = -1;

	json_decref(json);
	if (!text) {
		errno = ENOMEM;
		return -1;
	}
	if (strlen(text) > YAB_WIRE_JSON_MAX)
		errno = EMSGSIZE;
	else
		result = yab_peer_put(peer, type, text, strlen(text));
	free(text);
	return result;
}

int yab_peer_send_state(struct yab_peer *peer, const void *data, size_t length)
{
	struct evbuffer *output = bufferevent_get_output(peer->socket);

	if (yab_peer_put(peer, length ? YAB_WIRE_STATE : YAB_WIRE_STATE_END, data, length) < 0)
		return -1;
	if (evbuffer_get_length(output) > YAB_PEER_OUTPUT_HIGH)
		peer->congested = true;
	return 0;
}

bool yab_peer_congested(const struct yab_peer *peer)
{
	return peer->congested;
}

void yab_peer_pause(struct yab_peer *peer, bool pause)
{
	if (peer->paused == pause || !yab_peer_live(peer))
		return;
	peer->paused = pause;
	if (pause) {
		bufferevent_disable(peer->socket, EV_READ);
	} else {
		bufferevent_enable(peer->socket, EV_READ);
		/* What had been read before the pause waits in the buffer. */
		bufferevent_trigger(peer->socket, EV_READ, BEV_TRIG_IGNORE_WATERMARKS |
				    BEV_TRIG_DEFER_CALLBACKS);
	}
}
