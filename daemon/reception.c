// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include "reception.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"
#include "handshake.h"
#include "incoming.h"

/* One that has not said yet what it is for. */
struct yab_reception_visitor {
	LIST_ENTRY(yab_reception_visitor) link;
	struct yab_reception *reception;
	struct yab_handshake *handshake;
};

struct yab_reception {
	struct yab_supervisor *supervisor;
	struct yab_origin origin;
	LIST_HEAD(, yab_reception_visitor) visitors;
};

void yab_reception_take(struct yab_supervisor *supervisor, int fd,
			const struct yab_wire_hello *hello, const struct yab_origin *origin)
{
	const bool tls = hello->features & YAB_WIRE_TLS;
	char error[YAB_WIRE_ERROR_MAX];

	if (hello->role != YAB_WIRE_CONTROL) {
		yab_incomings_connection(supervisor->incomings, fd, hello, origin);
		return;
	}
	if (yab_handshake_answer(fd, YAB_WIRE_CONTROL, tls) < 0) {
		close(fd);
		return;
	}
	if (yab_caller_new(supervisor, fd, tls, origin, &yab_calls, error, sizeof(error)) < 0)
		yab_complain(supervisor->complaints, origin, "cannot serve %s: %s", origin->name,
			     error);
}

static void yab_reception_visitor_free(struct yab_reception_visitor *visitor)
{
	yab_handshake_cancel(visitor->handshake);
	LIST_REMOVE(visitor, link);
	free(visitor);
}

static void yab_reception_greeted(int fd, const struct yab_wire_hello *hello, const char *error,
				  void *arg)
{
	struct yab_reception_visitor *visitor = arg;
	struct yab_reception *reception = visitor->reception;

	(void)error;	/* the other end has it, too */
	visitor->handshake = NULL;
	yab_reception_visitor_free(visitor);
	if (fd >= 0)
		yab_reception_take(reception->supervisor, fd, hello, &reception->origin);
}

struct yab_reception *yab_reception_new(struct yab_supervisor *supervisor, const char *name)
{
	struct yab_reception *reception = calloc(1, sizeof(*reception));

	if (!reception)
		return NULL;
	reception->supervisor = supervisor;
	snprintf(reception->origin.name, sizeof(reception->origin.name), "%s", name);
	reception->origin.is_inside = true;
	LIST_INIT(&reception->visitors);
	return reception;
}

void yab_reception_free(struct yab_reception *reception)
{
	struct yab_reception_visitor *visitor;

	if (!reception)
		return;
	while ((visitor = LIST_FIRST(&reception->visitors)))
		yab_reception_visitor_free(visitor);
	free(reception);
}

int yab_reception_call(struct yab_reception *reception)
{
	struct yab_reception_visitor *visitor;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -1;
	visitor = calloc(1, sizeof(*visitor));
	if (!visitor)
		goto err;
	visitor->reception = reception;
	LIST_INSERT_HEAD(&reception->visitors, visitor, link);
	visitor->handshake = yab_handshake_accept(reception->supervisor->base, pair[1],
						  reception->origin.name, YAB_HANDSHAKE_TIMEOUT_MS,
						  yab_reception_greeted, visitor);
	if (visitor->handshake)
		return pair[0];
	yab_reception_visitor_free(visitor);
	close(pair[0]);
	errno = ENOMEM;
	return -1;

err:
	close(pair[0]);
	close(pair[1]);
	errno = ENOMEM;
	return -1;
}
