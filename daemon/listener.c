// SPDX-License-Identifier: GPL-2.0-or-later
#include "listener.h"

#include <errno.h>
#include <event2/listener.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handshake.h"
#include "quota.h"

/*
 * Strangers that said no hello yet, in all and of one host. A migration's own take 17
 * connections at once, each for as long as its hello is on its way.
 */
#define YAB_LISTENER_STRANGERS	128
#define YAB_LISTENER_EACH	32
#define YAB_LISTENER_BACKLOG	256
#define YAB_LISTENER_PAUSE_MS	200

struct yab_stranger {
	struct yab_quota_member member;
	struct yab_listener *listener;
	struct yab_handshake *handshake;
	struct sockaddr_storage from;
};

struct yab_listener {
	struct event_base *base;
	const struct yab_security *security;
	struct evconnlistener *socket;
	struct event *pause;	/* after running out of descriptors */
	struct yab_quota strangers;
	struct yab_complaints *complaints;
	yab_listener_cb cb;
	void *arg;
};

static void yab_stranger_free(struct yab_stranger *stranger)
{
	yab_quota_remove(&stranger->listener->strangers, &stranger->member);
	free(stranger);
}

static void yab_stranger_drop(struct yab_stranger *stranger)
{
	yab_handshake_cancel(stranger->handshake);
	yab_stranger_free(stranger);
}

static void yab_listener_greeted(int fd, const struct yab_wire_hello *hello, const char *error,
				 void *arg)
{
	struct yab_stranger *stranger = arg;
	struct yab_listener *listener = stranger->listener;
	const struct yab_origin origin = stranger->member.origin;
	const struct sockaddr_storage from = stranger->from;
	char reason[YAB_WIRE_ERROR_MAX];
	bool tls;

	yab_stranger_free(stranger);
	if (fd < 0) {
		yab_complain(listener->complaints, &origin, "refused a connection: %s", error);
		return;
	}
	tls = hello->features & YAB_WIRE_TLS;
	if (yab_security_incoming(listener->security, (const struct sockaddr *)&from, tls, reason,
				  sizeof(reason))) {
		listener->cb(fd, hello, &origin, listener->arg);
		return;
	}
	yab_complain(listener->complaints, &origin, "refused the %s connection of %s: %s",
		     yab_wire_role_name(hello->role), origin.name, reason);
	/* So that the other side can say the same. */
	yab_handshake_answer(fd, hello->role, !tls);
	close(fd);
}

/* Somebody who has something to say may be behind those who have not. */
static void yab_listener_make_room(struct yab_listener *listener, const struct yab_origin *origin)
{
	struct yab_quota_member *excess;

	while ((excess = yab_quota_excess(&listener->strangers, origin))) {
		yab_complain(listener->complaints, &excess->origin,
			     "dropped %s: %u connections have yet to say hello",
			     excess->origin.name, listener->strangers.count);
		yab_stranger_drop(excess->owner);
	}
}

static void yab_listener_accepted(struct evconnlistener *socket, evutil_socket_t fd,
				  struct sockaddr *from, int length, void *arg)
{
	struct yab_listener *listener = arg;
	struct yab_stranger *stranger;
	struct yab_origin origin;

	(void)socket;
	yab_origin_init(&origin, from, (socklen_t)length);
	yab_listener_make_room(listener, &origin);
	stranger = calloc(1, sizeof(*stranger));
	if (!stranger) {
		close(fd);
		return;
	}
	stranger->listener = listener;
	memcpy(&stranger->from, from, (size_t)length < sizeof(stranger->from) ?
				      (size_t)length : sizeof(stranger->from));
	stranger->handshake = yab_handshake_accept(listener->base, fd, origin.name,
						   YAB_HANDSHAKE_TIMEOUT_MS,
						   yab_listener_greeted, stranger);
	if (!stranger->handshake) {
		free(stranger);
		return;
	}
	yab_quota_add(&listener->strangers, &stranger->member, &origin, stranger);
}

static void yab_listener_resume(evutil_socket_t fd, short what, void *arg)
{
	struct yab_listener *listener = arg;

	(void)fd;
	(void)what;
	evconnlistener_enable(listener->socket);
}

/* Out of descriptors: the socket stays readable, so asking again at once would spin. */
static void yab_listener_failed(struct evconnlistener *socket, void *arg)
{
	struct timeval pause = { .tv_usec = YAB_LISTENER_PAUSE_MS * 1000 };
	const struct yab_origin here = { .name = "this one" };
	struct yab_listener *listener = arg;

	yab_complain(listener->complaints, &here, "cannot accept connections: %s",
		     evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
	evconnlistener_disable(socket);
	evtimer_add(listener->pause, &pause);
}

struct yab_listener *yab_listener_new(struct event_base *base, const struct yab_address *address,
				      const struct yab_security *security,
				      struct yab_complaints *complaints, yab_listener_cb cb,
				      void *arg, char *error, size_t error_size)
{
	const unsigned int flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
				   LEV_OPT_REUSEABLE;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *found = NULL;
	struct yab_listener *listener;
	int result;

	result = getaddrinfo(address->host, address->port, &hints, &found);
	if (result) {
		snprintf(error, error_size, "cannot listen on %s: %s", address->text,
			 gai_strerror(result));
		return NULL;
	}
	if (yab_security_listen(security, found->ai_addr, error, error_size) < 0)
		goto err_found;
	listener = calloc(1, sizeof(*listener));
	if (!listener) {
		snprintf(error, error_size, "out of memory");
		goto err_found;
	}
	yab_quota_init(&listener->strangers, YAB_LISTENER_STRANGERS, YAB_LISTENER_EACH);
	listener->complaints = complaints;
	listener->base = base;
	listener->security = security;
	listener->cb = cb;
	listener->arg = arg;
	listener->pause = evtimer_new(base, yab_listener_resume, listener);
	if (!listener->pause) {
		snprintf(error, error_size, "out of memory");
		goto err_listener;
	}
	listener->socket = evconnlistener_new_bind(base, yab_listener_accepted, listener, flags,
						   YAB_LISTENER_BACKLOG, found->ai_addr,
						   (int)found->ai_addrlen);
	if (!listener->socket) {
		snprintf(error, error_size, "cannot listen on %s: %s", address->text,
			 strerror(errno));
		goto err_pause;
	}
	evconnlistener_set_error_cb(listener->socket, yab_listener_failed);
	freeaddrinfo(found);
	return listener;

err_pause:
	event_free(listener->pause);
err_listener:
	free(listener);
err_found:
	freeaddrinfo(found);
	return NULL;
}

void yab_listener_free(struct yab_listener *listener)
{
	struct yab_quota_member *member;

	if (!listener)
		return;
	while ((member = TAILQ_FIRST(&listener->strangers.members)))
		yab_stranger_drop(member->owner);
	evconnlistener_free(listener->socket);
	event_free(listener->pause);
	free(listener);
}
