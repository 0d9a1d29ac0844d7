// SPDX-License-Identifier: GPL-2.0-or-later
#include "caller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "opening.h"

/* One that calls nothing is closed, and so many may be without a session, of each host. */
#define YAB_CALLER_IDLE_SECONDS	30
#define YAB_CALLERS_MAX		32
#define YAB_CALLERS_EACH	8

/* Counted in the supervisor's quota as long as it has no session, also while it leaves. */
struct yab_caller {
	struct yab_quota_member member;
	struct yab_supervisor *supervisor;
	struct yab_opening *opening;	/* NULL when the connection is open */
	struct yab_peer *peer;		/* NULL until then */
	const struct yab_caller_ops *ops;
	struct yab_incoming *incoming;	/* NULL: none yet, or none any more */
	struct event *idle;
};

void yab_callers_init(struct yab_supervisor *supervisor)
{
	yab_quota_init(&supervisor->callers, YAB_CALLERS_MAX, YAB_CALLERS_EACH);
}

static void yab_caller_free(struct yab_caller *caller)
{
	yab_opening_cancel(caller->opening);
	if (!caller->incoming)
		yab_quota_remove(&caller->supervisor->callers, &caller->member);
	event_free(caller->idle);
	free(caller);
}

void yab_callers_free(struct yab_supervisor *supervisor)
{
	struct yab_quota_member *member;
	struct yab_caller *caller;

	while ((member = TAILQ_FIRST(&supervisor->callers.members))) {
		caller = member->owner;
		yab_peer_free(caller->peer);
		yab_caller_free(caller);
	}
}

/* Counts @caller, which may be one too many: others go, without a word. */
static void yab_caller_count(struct yab_caller *caller, const struct yab_origin *origin)
{
	struct yab_supervisor *supervisor = caller->supervisor;
	struct yab_quota_member *excess;
	struct yab_caller *other;

	while ((excess = yab_quota_excess(&supervisor->callers, origin))) {
		other = excess->owner;
		yab_complain(supervisor->complaints, &excess->origin,
			     "dropped %s: %u control connections have no session",
			     excess->origin.name, supervisor->callers.count);
		yab_peer_free(other->peer);
		yab_caller_free(other);
	}
	yab_quota_add(&supervisor->callers, &caller->member, origin, caller);
}

static void yab_caller_set(struct yab_caller *caller, struct yab_incoming *incoming)
{
	/* A copy: it is where the new one goes. */
	const struct yab_origin origin = caller->member.origin;

	if (incoming && !caller->incoming)
		yab_quota_remove(&caller->supervisor->callers, &caller->member);
	else if (!incoming && caller->incoming)
		yab_caller_count(caller, &origin);
	caller->incoming = incoming;
}

/* Nobody's any more: what is left of it goes with its peer, which gone() tells. */
static void yab_caller_leave(struct yab_caller *caller, bool lingers)
{
	yab_caller_set(caller, NULL);
	if (lingers)
		evtimer_del(caller->idle);
	else
		yab_caller_free(caller);
}

void yab_caller_finish(struct yab_caller *caller)
{
	yab_caller_leave(caller, yab_peer_finish(caller->peer));
}

void yab_caller_fail(struct yab_caller *caller, const char *error)
{
	yab_caller_leave(caller, yab_peer_fail(caller->peer, error));
}

static void yab_caller_gone(void *arg)
{
	yab_caller_free(arg);
}

void yab_caller_bind(struct yab_caller *caller, struct yab_incoming *incoming)
{
	struct timeval patience = { .tv_sec = YAB_CALLER_IDLE_SECONDS };

	yab_caller_set(caller, incoming);
	if (incoming)
		evtimer_del(caller->idle);
	else
		evtimer_add(caller->idle, &patience);
}

struct yab_supervisor *yab_caller_supervisor(const struct yab_caller *caller)
{
	return caller->supervisor;
}

const char *yab_caller_name(const struct yab_caller *caller)
{
	return yab_peer_name(caller->peer);
}

struct yab_peer *yab_caller_peer(struct yab_caller *caller)
{
	return caller->peer;
}

static void yab_caller_send(struct yab_caller *caller, enum yab_wire_type type, json_t *json)
{
	if (!yab_peer_send(caller->peer, type, json))
		return;
	yab_log_warn(NULL, "cannot tell %s: %s", yab_peer_name(caller->peer), strerror(errno));
	yab_peer_break(caller->peer);
}

void yab_caller_reply(struct yab_caller *caller, json_t *json)
{
	yab_caller_send(caller, YAB_WIRE_REPLY, json);
}

void yab_caller_event(struct yab_caller *caller, json_t *json)
{
	yab_caller_send(caller, YAB_WIRE_EVENT, json);
}

void yab_caller_hint(struct yab_caller *caller, json_t *json)
{
	if (yab_peer_send(caller->peer, YAB_WIRE_EVENT, json) < 0)
		yab_log_debug(NULL, "a hint for %s is left out: %s", yab_peer_name(caller->peer),
			      strerror(errno));
}

static void yab_caller_message(enum yab_wire_type type, json_t *json, void *arg)
{
	struct yab_caller *caller = arg;

	if (type == YAB_WIRE_CALL)
		caller->ops->call(caller, caller->incoming, json);
	else if (caller->incoming)
		caller->ops->misused(caller->incoming,
				     "a frame that is the destination's to send");
	else
		yab_caller_fail(caller, "a frame that is the destination's to send");
}

static void yab_caller_state(const void *data, size_t length, void *arg)
{
	struct yab_caller *caller = arg;

	if (caller->incoming)
		caller->ops->state(caller->incoming, data, length);
	else
		yab_caller_fail(caller, "device state without a session");
}

static void yab_caller_lost(const char *error, bool answered, void *arg)
{
	struct yab_caller *caller = arg;
	const struct yab_caller_ops *ops = caller->ops;
	struct yab_incoming *incoming = caller->incoming;

	(void)answered;
	yab_log_debug(NULL, "%s", error);
	yab_peer_free(caller->peer);
	yab_caller_free(caller);
	if (incoming)
		ops->lost(incoming, error);
}

static void yab_caller_idle(evutil_socket_t fd, short what, void *arg)
{
	struct yab_caller *caller = arg;

	(void)fd;
	(void)what;
	yab_complain(caller->supervisor->complaints, &caller->member.origin,
		     "%s called nothing and is closed", yab_peer_name(caller->peer));
	yab_caller_fail(caller, "nothing was called");
}

static const struct yab_peer_ops yab_caller_peer_ops = {
	.message = yab_caller_message,
	.state = yab_caller_state,
	.lost = yab_caller_lost,
	.gone = yab_caller_gone,
};

static void yab_caller_opened(int fd, SSL *ssl, const char *error, void *arg)
{
	struct timeval patience = { .tv_sec = YAB_CALLER_IDLE_SECONDS };
	struct yab_caller *caller = arg;
	const struct yab_origin *origin = &caller->member.origin;
	struct yab_complaints *complaints = caller->supervisor->complaints;

	caller->opening = NULL;
	if (fd < 0) {
		yab_complain(complaints, origin, "refused the control connection of %s: %s",
			     origin->name, error);
		yab_caller_free(caller);
		return;
	}
	caller->peer = yab_peer_new(caller->supervisor->base, fd, ssl, origin->name,
				    &yab_caller_peer_ops, caller);
	if (caller->peer && !evtimer_add(caller->idle, &patience))
		return;
	yab_complain(complaints, origin, "cannot serve %s: out of memory", origin->name);
	yab_peer_free(caller->peer);
	yab_caller_free(caller);
}

/* The first thing: TLS, and the hellos. 0, or -1 with one line in @error. */
static int yab_caller_open(struct yab_caller *caller, int fd, bool tls, char *error,
			   size_t error_size)
{
	struct yab_opening_terms terms = {
		.role = YAB_WIRE_CONTROL,
		.side = YAB_CREDENTIALS_SERVER,
		.name = caller->member.origin.name,
		.timeout_ms = YAB_OPENING_TIMEOUT_MS,
	};
	struct yab_credentials *credentials = NULL;

	if (tls) {
		credentials = yab_security_credentials(&caller->supervisor->security,
						       YAB_CREDENTIALS_SERVER, error, error_size);
		if (!credentials) {
			evutil_closesocket(fd);
			return -1;
		}
	}
	terms.credentials = credentials;
	caller->opening = yab_opening_new(caller->supervisor->base, fd, &terms, yab_caller_opened,
					  caller, error, error_size);
	yab_credentials_free(credentials);
	return caller->opening ? 0 : -1;
}

int yab_caller_new(struct yab_supervisor *supervisor, int fd, bool tls,
		   const struct yab_origin *origin, const struct yab_caller_ops *ops, char *error,
		   size_t error_size)
{
	struct yab_caller *caller;

	snprintf(error, error_size, "out of memory");
	caller = calloc(1, sizeof(*caller));
	if (!caller)
		goto err_fd;
	caller->supervisor = supervisor;
	caller->ops = ops;
	caller->idle = evtimer_new(supervisor->base, yab_caller_idle, caller);
	if (!caller->idle)
		goto err_caller;
	yab_caller_count(caller, origin);
	if (yab_caller_open(caller, fd, tls, error, error_size) < 0) {
		yab_caller_free(caller);
		return -1;
	}
	return 0;

err_caller:
	free(caller);
err_fd:
	evutil_closesocket(fd);
	return -1;
}
