// SPDX-License-Identifier: GPL-2.0-or-later
#include "handshake.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

/* A dead peer is noticed after idle + count * interval seconds, data or not. */
#define YAB_KEEPALIVE_IDLE	5
#define YAB_KEEPALIVE_INTERVAL	2
#define YAB_KEEPALIVE_COUNT	5
#define YAB_USER_TIMEOUT_MS	15000

enum yab_handshake_step {
	YAB_HANDSHAKE_LOOKUP,
	YAB_HANDSHAKE_CONNECT,
	YAB_HANDSHAKE_HELLO,
	YAB_HANDSHAKE_DONE,
};

/*
 * evdns calls back even for a cancelled lookup, and later: this outlives the
 * handshake, which takes itself out of it.
 */
struct yab_lookup {
	struct yab_handshake *handshake;
};

struct yab_handshake {
	struct event_base *base;
	enum yab_handshake_step step;
	bool speaks_first;
	const struct yab_security *security;	/* borrowed; NULL: settled before */
	char name[sizeof(((struct yab_address *)0)->text)];
	struct yab_wire_hello hello;	/* our preface, then the other side's */
	uint8_t input[YAB_WIRE_HELLO_SIZE];
	size_t received;
	int fd;
	int timeout_ms;
	struct event *io;	/* for the fd; made anew for each address */
	struct event *timer;
	struct yab_lookup *lookup;
	struct evdns_getaddrinfo_request *request;
	struct evutil_addrinfo *found, *candidate;
	char error[YAB_WIRE_ERROR_MAX];
	yab_handshake_cb cb;
	void *arg;
};

static void yab_handshake_free(struct yab_handshake *handshake)
{
	if (handshake->lookup) {
		handshake->lookup->handshake = NULL;
		if (handshake->request)
			evdns_getaddrinfo_cancel(handshake->request);
		else
			free(handshake->lookup);
	}
	if (handshake->found)
		evutil_freeaddrinfo(handshake->found);
	if (handshake->io)
		event_free(handshake->io);
	if (handshake->timer)
		event_free(handshake->timer);
	if (handshake->fd >= 0)
		close(handshake->fd);
	free(handshake);
}

void yab_handshake_cancel(struct yab_handshake *handshake)
{
	if (handshake)
		yab_handshake_free(handshake);
}

/* The callback comes from the event loop, never from within the caller's call. */
static void yab_handshake_settle(struct yab_handshake *handshake)
{
	struct timeval now = { 0 };

	handshake->step = YAB_HANDSHAKE_DONE;
	if (handshake->io)
		event_del(handshake->io);
	evtimer_add(handshake->timer, &now);
}

static void yab_handshake_fail(struct yab_handshake *handshake, const char *format, ...)
	__attribute__((__format__(printf, 2, 3)));

static void yab_handshake_fail(struct yab_handshake *handshake, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(handshake->error, sizeof(handshake->error), format, args);
	va_end(args);
	yab_handshake_settle(handshake);
}

static void yab_handshake_unreachable(struct yab_handshake *handshake, int error)
{
	if (error == ECONNREFUSED)
		yab_handshake_fail(handshake,
				   "connection to %s refused: is yabusamed running there and listening on this address?",
				   handshake->name);
	else
		yab_handshake_fail(handshake,
				   "%s cannot be reached (%s): check the address, the network and its firewall",
				   handshake->name, strerror(error));
}

/* The timer: the deadline of a step, or the end of a handshake that is settled. */
static void yab_handshake_timer(evutil_socket_t unused, short what, void *arg)
{
	struct yab_handshake *handshake = arg;
	yab_handshake_cb cb = handshake->cb;
	int seconds = (handshake->timeout_ms + 999) / 1000;
	struct yab_wire_hello hello;
	char error[YAB_WIRE_ERROR_MAX];
	void *cb_arg = handshake->arg;
	int fd;

	(void)unused;
	(void)what;
	if (handshake->step == YAB_HANDSHAKE_LOOKUP) {
		yab_handshake_fail(handshake,
				   "looking up %s took more than %d s: check the name servers",
				   handshake->name, seconds);
		return;
	}
	if (handshake->step == YAB_HANDSHAKE_CONNECT) {
		yab_handshake_unreachable(handshake, ETIMEDOUT);
		return;
	}
	if (handshake->step == YAB_HANDSHAKE_HELLO) {
		yab_handshake_fail(handshake, "%s says nothing for %d s: is it a yabusamed?",
				   handshake->name, seconds);
		return;
	}
	fd = handshake->error[0] ? -1 : handshake->fd;
	if (fd >= 0)
		handshake->fd = -1;
	hello = handshake->hello;
	memcpy(error, handshake->error, sizeof(error));
	yab_handshake_free(handshake);
	cb(fd, fd >= 0 ? &hello : NULL, fd >= 0 ? NULL : error, cb_arg);
}

/* The other side's preface is as it should be, but it says the contrary of TLS. */
static void yab_handshake_disagree(struct yab_handshake *handshake)
{
	if (handshake->hello.features & YAB_WIRE_TLS)
		yab_handshake_fail(handshake,
				   "%s takes only TLS, but this host wants plain TCP (--plain, or it has no certificates): end that, or give --plain there, too",
				   handshake->name);
	else
		yab_handshake_fail(handshake,
				   "%s does not take TLS, it has --plain or its certificates are missing or no good: see its log, and yabusamed(8) for how to make them (or give --plain on both hosts)",
				   handshake->name);
}

static void yab_handshake_judge(struct yab_handshake *handshake)
{
	const struct yab_wire_hello said = handshake->hello;

	switch (yab_wire_hello_decode(handshake->input, &handshake->hello)) {
	case YAB_WIRE_OK:
		if (handshake->speaks_first && handshake->hello.role != said.role)
			break;
		/* Never the weaker of the two: who wants TLS gets it, or nothing. */
		if (handshake->speaks_first &&
		    (handshake->hello.features ^ said.features) & YAB_WIRE_TLS)
			yab_handshake_disagree(handshake);
		else
			yab_handshake_settle(handshake);
		return;
	case YAB_WIRE_NOT_YABUSAME:
		yab_handshake_fail(handshake, "%s is no yabusamed: check the address and the port",
				   handshake->name);
		return;
	case YAB_WIRE_OTHER_VERSION:
		/* So that the other side can say the same. */
		if (!handshake->speaks_first)
			yab_handshake_answer(handshake->fd, YAB_WIRE_CONTROL, false);
		yab_handshake_fail(handshake,
				   "%s speaks protocol version %d, this host %d: install the same yabusame on both",
				   handshake->name, handshake->hello.version, YAB_WIRE_VERSION);
		return;
	case YAB_WIRE_MALFORMED:
		break;
	}
	yab_handshake_fail(handshake,
			   "%s sent a hello that makes no sense: install the same yabusame on both",
			   handshake->name);
}

static void yab_handshake_readable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_handshake *handshake = arg;
	ssize_t got;

	(void)what;
	got = read(fd, handshake->input + handshake->received,
		   YAB_WIRE_HELLO_SIZE - handshake->received);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		yab_handshake_fail(handshake,
				   "%s closed the connection without a hello: it is no yabusamed, or a busy one",
				   handshake->name);
		return;
	}
	handshake->received += (size_t)got;
	/* What is no yabusamed may never send as much as a hello. */
	if (handshake->received >= YAB_WIRE_MAGIC_SIZE &&
	    memcmp(handshake->input, YAB_WIRE_MAGIC, YAB_WIRE_MAGIC_SIZE))
		yab_handshake_fail(handshake, "%s is no yabusamed: check the address and the port",
				   handshake->name);
	else if (handshake->received == YAB_WIRE_HELLO_SIZE)
		yab_handshake_judge(handshake);
}

static void yab_handshake_options(int fd)
{
	int one = 1, idle = YAB_KEEPALIVE_IDLE, interval = YAB_KEEPALIVE_INTERVAL;
	int count = YAB_KEEPALIVE_COUNT, timeout = YAB_USER_TIMEOUT_MS;

	/* They fail on sockets that are not TCP (tests), which then need none. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

/* A hello always fits into the buffer of a socket that carried nothing yet. */
static int yab_handshake_say(int fd, const struct yab_wire_hello *hello)
{
	uint8_t out[YAB_WIRE_HELLO_SIZE];
	ssize_t sent;

	yab_wire_hello_encode(out, hello);
	sent = send(fd, out, sizeof(out), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent == (ssize_t)sizeof(out))
		return 0;
	if (sent >= 0)
		errno = EIO;
	return -1;
}

int yab_handshake_answer(int fd, enum yab_wire_role role, bool tls)
{
	struct yab_wire_hello hello = {
		.version = YAB_WIRE_VERSION,
		.role = (uint16_t)role,
		.features = tls ? YAB_WIRE_TLS : 0,
	};

	return yab_handshake_say(fd, &hello);
}

static int yab_handshake_wait(struct yab_handshake *handshake, short what,
			      event_callback_fn callback)
{
	const struct timeval patience = yab_clock_pause((uint64_t)handshake->timeout_ms);

	if (handshake->io)
		event_free(handshake->io);
	handshake->io = event_new(handshake->base, handshake->fd, what | EV_PERSIST, callback,
				  handshake);
	if (!handshake->io || event_add(handshake->io, NULL) < 0)
		return -1;
	return evtimer_add(handshake->timer, &patience);
}

/* Connected: our preface, where it is ours to speak first, then theirs. */
static void yab_handshake_greet(struct yab_handshake *handshake)
{
	handshake->step = YAB_HANDSHAKE_HELLO;
	yab_handshake_options(handshake->fd);
	if (handshake->speaks_first && yab_handshake_say(handshake->fd, &handshake->hello) < 0)
		yab_handshake_unreachable(handshake, errno);
	else if (yab_handshake_wait(handshake, EV_READ, yab_handshake_readable) < 0)
		yab_handshake_fail(handshake, "out of memory");
}

static void yab_handshake_try(struct yab_handshake *handshake);

static void yab_handshake_connected(evutil_socket_t fd, short what, void *arg)
{
	struct yab_handshake *handshake = arg;
	socklen_t size = sizeof(int);
	int error = 0;

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (!error) {
		yab_handshake_greet(handshake);
		return;
	}
	if (handshake->candidate->ai_next) {
		handshake->candidate = handshake->candidate->ai_next;
		yab_handshake_try(handshake);
		return;
	}
	yab_handshake_unreachable(handshake, error);
}

/* Connects to the candidate or, where that fails at once, to those after it. */
static void yab_handshake_try(struct yab_handshake *handshake)
{
	char reason[YAB_WIRE_ERROR_MAX];
	int error = EHOSTUNREACH;
	int tls;

	handshake->step = YAB_HANDSHAKE_CONNECT;
	for (; handshake->candidate; handshake->candidate = handshake->candidate->ai_next) {
		struct evutil_addrinfo *to = handshake->candidate;

		tls = yab_security_outgoing(handshake->security, to->ai_addr, reason,
					    sizeof(reason));
		if (tls < 0) {
			yab_handshake_fail(handshake, "%s: %s", handshake->name, reason);
			return;
		}
		handshake->hello.features = tls ? YAB_WIRE_TLS : 0;

		if (handshake->io)
			event_free(handshake->io);
		handshake->io = NULL;
		if (handshake->fd >= 0)
			close(handshake->fd);
		handshake->fd = socket(to->ai_family,
				       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (handshake->fd >= 0 &&
		    (!connect(handshake->fd, to->ai_addr, (socklen_t)to->ai_addrlen) ||
		     errno == EINPROGRESS)) {
			if (!yab_handshake_wait(handshake, EV_WRITE, yab_handshake_connected))
				return;
			errno = ENOMEM;
		}
		error = errno;
	}
	yab_handshake_unreachable(handshake, error);
}

static void yab_handshake_looked_up(int result, struct evutil_addrinfo *found, void *arg)
{
	struct yab_lookup *lookup = arg;
	struct yab_handshake *handshake = lookup->handshake;

	free(lookup);
	if (!handshake) {
		if (found)
			evutil_freeaddrinfo(found);
		return;
	}
	handshake->lookup = NULL;
	handshake->request = NULL;
	if (handshake->step != YAB_HANDSHAKE_LOOKUP) {
		if (found)
			evutil_freeaddrinfo(found);
		return;
	}
	if (result || !found) {
		yab_handshake_fail(handshake, "%s: no such host (%s): check the name",
				   handshake->name,
				   result ? evutil_gai_strerror(result) : "no address");
		return;
	}
	handshake->found = found;
	handshake->candidate = found;
	yab_handshake_try(handshake);
}

static struct yab_handshake *yab_handshake_new(struct event_base *base, int fd, const char *name,
					       int timeout_ms, yab_handshake_cb cb, void *arg)
{
	struct yab_handshake *handshake = calloc(1, sizeof(*handshake));

	if (!handshake)
		goto err_fd;
	handshake->base = base;
	handshake->fd = fd;
	handshake->timeout_ms = timeout_ms;
	handshake->cb = cb;
	handshake->arg = arg;
	snprintf(handshake->name, sizeof(handshake->name), "%s", name);
	handshake->timer = evtimer_new(base, yab_handshake_timer, handshake);
	if (!handshake->timer)
		goto err_handshake;
	return handshake;

err_handshake:
	free(handshake);
err_fd:
	if (fd >= 0)
		close(fd);
	errno = ENOMEM;
	return NULL;
}

static void yab_handshake_prepare(struct yab_handshake *handshake, enum yab_wire_role role,
				  unsigned int index, uint32_t number, const uint8_t *route)
{
	handshake->speaks_first = true;
	handshake->hello.version = YAB_WIRE_VERSION;
	handshake->hello.role = (uint16_t)role;
	handshake->hello.index = index;
	handshake->hello.number = number;
	if (route)
		memcpy(handshake->hello.token, route, YAB_WIRE_TOKEN_SIZE);
}

struct yab_handshake *yab_handshake_connect(struct event_base *base, struct evdns_base *dns,
					    const struct yab_address *address,
					    const struct yab_security *security,
					    enum yab_wire_role role, unsigned int index,
					    uint32_t number, const uint8_t *route,
					    int timeout_ms,
					    yab_handshake_cb cb, void *arg)
{
	struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_protocol = IPPROTO_TCP,
	};
	const struct timeval patience = yab_clock_pause((uint64_t)timeout_ms);
	struct evdns_getaddrinfo_request *request;
	struct yab_handshake *handshake;
	struct yab_lookup *lookup;
	int fd;

	if (address->reception) {
		fd = address->call(address->reception);
		return fd < 0 ? NULL :
			yab_handshake_offer(base, fd, address->text, false, role, index, number,
					    route, timeout_ms, cb, arg);
	}
	handshake = yab_handshake_new(base, -1, address->text, timeout_ms, cb, arg);
	if (!handshake)
		return NULL;
	yab_handshake_prepare(handshake, role, index, number, route);
	handshake->security = security;
	lookup = calloc(1, sizeof(*lookup));
	if (!lookup || evtimer_add(handshake->timer, &patience) < 0)
		goto err_lookup;
	lookup->handshake = handshake;
	handshake->lookup = lookup;
	/* Numbers and names out of the hosts file are answered before this returns. */
	request = evdns_getaddrinfo(dns, address->host, address->port, &hints,
				    yab_handshake_looked_up, lookup);
	if (request)
		handshake->request = request;
	return handshake;

err_lookup:
	free(lookup);
	yab_handshake_free(handshake);
	errno = ENOMEM;
	return NULL;
}

struct yab_handshake *yab_handshake_offer(struct event_base *base, int fd, const char *name,
					  bool tls, enum yab_wire_role role,
					  unsigned int index, uint32_t number,
					  const uint8_t *route,
					  int timeout_ms,
					  yab_handshake_cb cb, void *arg)
{
	struct yab_handshake *handshake;

	handshake = yab_handshake_new(base, fd, name, timeout_ms, cb, arg);
	if (!handshake)
		return NULL;
	evutil_make_socket_nonblocking(fd);
	yab_handshake_prepare(handshake, role, index, number, route);
	handshake->hello.features = tls ? YAB_WIRE_TLS : 0;
	yab_handshake_greet(handshake);
	return handshake;
}

struct yab_handshake *yab_handshake_accept(struct event_base *base, int fd, const char *name,
					   int timeout_ms, yab_handshake_cb cb, void *arg)
{
	struct yab_handshake *handshake;

	handshake = yab_handshake_new(base, fd, name, timeout_ms, cb, arg);
	if (!handshake)
		return NULL;
	evutil_make_socket_nonblocking(fd);
	yab_handshake_greet(handshake);
	return handshake;
}
