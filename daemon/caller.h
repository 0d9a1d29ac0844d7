/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's end of a control connection, and which migration it is bound to. What the
 * source says goes to whoever made it (calls.h).
 */
#ifndef YAB_DAEMON_CALLER_H
#define YAB_DAEMON_CALLER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "peer.h"
#include "supervisor.h"

struct yab_caller;
struct yab_incoming;

/* Each may be the end of the caller. */
struct yab_caller_ops {
	/* @incoming is what the caller is bound to; NULL: nothing. */
	void (*call)(struct yab_caller *caller, struct yab_incoming *incoming, json_t *json);
	/* Only of one that is bound. */
	void (*state)(struct yab_incoming *incoming, const void *data, size_t length);
	void (*misused)(struct yab_incoming *incoming, const char *how);
	/* The caller is gone. */
	void (*lost)(struct yab_incoming *incoming, const char *error);
};

/*
 * Takes @fd over, whose prefaces were exchanged and agreed on @tls or plain TCP; opens it.
 * 0, or -1 with one line in @error.
 */
int yab_caller_new(struct yab_supervisor *supervisor, int fd, bool tls,
		   const struct yab_origin *origin, const struct yab_caller_ops *ops, char *error,
		   size_t error_size);
/* The supervisor's quota of them. */
void yab_callers_init(struct yab_supervisor *supervisor);
/* Those without a session. */
void yab_callers_free(struct yab_supervisor *supervisor);

/* The migration that is told of this caller's end; one at a time. NULL: none. */
void yab_caller_bind(struct yab_caller *caller, struct yab_incoming *incoming);
struct yab_supervisor *yab_caller_supervisor(const struct yab_caller *caller);
const char *yab_caller_name(const struct yab_caller *caller);
struct yab_peer *yab_caller_peer(struct yab_caller *caller);
/*
 * Steals @json. What cannot be sent means a lost connection, which is told later; a hint is
 * left out instead.
 */
void yab_caller_reply(struct yab_caller *caller, json_t *json);
void yab_caller_event(struct yab_caller *caller, json_t *json);
void yab_caller_hint(struct yab_caller *caller, json_t *json);
/* Sends ERROR and closes; the caller is gone. */
void yab_caller_fail(struct yab_caller *caller, const char *error);
/* Closes after what was sent; the caller is gone. */
void yab_caller_finish(struct yab_caller *caller);

#endif /* YAB_DAEMON_CALLER_H */
