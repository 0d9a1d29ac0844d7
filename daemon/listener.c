// SPDX-License-Identifier: GPL-2.0-or-later
#include "listener.h"

#include <errno.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handshake.h"
#include "log.h"

/* Strangers that said no hello yet; more than that are turned away. */
#define YAB_LISTENER_STRANGERS	32
#define YAB_LISTENER_BACKLOG	64
#define YAB_LISTENER_PAUSE_MS	200

struct yab_stranger {
	LIST_ENTRY(yab_stranger) link;
	struct yab_listener *listener;
	struct yab_handshake *handshake;
	struct sockaddr_storage from;
	char name[NI_MAXHOST + NI_MAXSERV + 4];
};

struct yab_listener {
	struct event_base *base;
	const struct yab_security *security;
	struct evconnlistener *socket;
	struct event *pause;	/* after running out of descriptors */
	LIST_HEAD(, yab_stranger) strangers;
	unsigned int count;
	yab_listener_cb cb;
	void *arg;
};

static void yab_stranger_free(struct yab_stranger *stranger)
{
	LIST_REMOVE(stranger, link);
	stranger->listener->count--;
	free(stranger);
}

static void yab_listener_greeted(int fd, const struct yab_wire_hello *hello, const char *error,
				 void *arg)
{
	struct yab_stranger *stranger = arg;
	struct yab_listener *listener = stranger->listener;
	struct sockaddr_storage from = stranger->from;
	char name[sizeof(stranger->name)];
	char reason[YAB_WIRE_ERROR_MAX];
	bool tls;

	memcpy(name, stranger->name, sizeof(name));
	yab_stranger_free(stranger);
	if (fd < 0) {
		yab_log_warn(NULL, "refused a connection: %s", error);
		return;
	}
	tls = hello->features & YAB_WIRE_TLS;
	if (yab_security_incoming(listener->security, (struct sockaddr *)&from, tls, reason,
				  sizeof(reason))) {
		listener->cb(fd, hello, name, listener->arg);
		return;
	}
	yab_log_warn(NULL, "refused the %s connection of %s: %s", yab_wire_role_name(hello->role),
		     name, reason);
	/* So that the other side can say the same. */
	yab_handshake_answer(fd, hello->role, !tls);
	close(fd);
}

static void yab_listener_accepted(struct evconnlistener *socket, evutil_socket_t fd,
				  struct sockaddr *from, int length, void *arg)
{
	char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
	struct yab_listener *listener = arg;
	struct yab_stranger *stranger;

	(void)socket;
	getnameinfo(from, (socklen_t)length, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	if (listener->count >= YAB_LISTENER_STRANGERS) {
		yab_log_warn(NULL, "turned %s away: %u connections have yet to say hello", host,
			     listener->count);
		close(fd);
		return;
	}
	stranger = calloc(1, sizeof(*stranger));
	if (!stranger) {
		close(fd);
		return;
	}
	stranger->listener = listener;
	memcpy(&stranger->from, from, (size_t)length < sizeof(stranger->from) ?
				      (size_t)length : sizeof(stranger->from));
	snprintf(stranger->name, sizeof(stranger->name), strchr(host, ':') ? "[%s]:%s" : "%s:%s",
		 host, port);
	stranger->handshake = yab_handshake_accept(listener->base, fd, stranger->name,
						   YAB_HANDSHAKE_TIMEOUT_MS,
						   yab_listener_greeted, stranger);
	if (!stranger->handshake) {
		free(stranger);
		return;
	}
	LIST_INSERT_HEAD(&listener->strangers, stranger, link);
	listener->count++;
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
	struct yab_listener *listener = arg;

	yab_log_warn(NULL, "cannot accept connections: %s",
		     evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
	evconnlistener_disable(socket);
	evtimer_add(listener->pause, &pause);
}

struct yab_listener *yab_listener_new(struct event_base *base, const struct yab_address *address,
				      const struct yab_security *security, yab_listener_cb cb,
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
	LIST_INIT(&listener->strangers);
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
	struct yab_stranger *stranger;

	if (!listener)
		return;
	while ((stranger = LIST_FIRST(&listener->strangers))) {
		yab_handshake_cancel(stranger->handshake);
		yab_stranger_free(stranger);
	}
	evconnlistener_free(listener->socket);
	event_free(listener->pause);
	free(listener);
}
