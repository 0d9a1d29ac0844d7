// SPDX-License-Identifier: GPL-2.0-or-later
#include "calls.h"

#include <string.h>

#include "incoming.h"
#include "log.h"
#include "token.h"

/* Takes up a session on a new connection, or says that there is none. */
static void yab_calls_attach(struct yab_caller *caller, json_t *json, const char *token)
{
	const char *instance = json_string_value(json_object_get(json, "instance"));
	struct yab_supervisor *supervisor = yab_caller_supervisor(caller);
	struct yab_incoming *incoming;
	const char *state;

	incoming = yab_incomings_find(supervisor->incomings, token);
	if (incoming) {
		yab_incoming_attach(incoming, caller);
		return;
	}
	/*
	 * "unknown" is a promise: not committed, and never will be. Only the instance that
	 * made the session can give it, and not where it could not take it up.
	 */
	state = instance && !strcmp(instance, supervisor->instance) &&
		!yab_journal_knows(supervisor->journal, token) ? "unknown" : "restarted";
	yab_caller_reply(caller, json_pack("{s:s, s:s}", "reply", "attach", "state", state));
}

static void yab_calls_take(struct yab_caller *caller, struct yab_incoming *incoming, json_t *json)
{
	const char *name = json_string_value(json_object_get(json, "call"));
	const char *token = json_string_value(json_object_get(json, "token"));
	json_t *cookie = json_object_get(json, "cookie");
	struct yab_supervisor *supervisor = yab_caller_supervisor(caller);

	if (!name)
		name = "";
	yab_log_debug(NULL, "from %s: call %.32s", yab_caller_name(caller), name);
	if (!strcmp(name, "prepare") && !incoming) {
		yab_incoming_prepare(supervisor, caller, cookie);
	} else if (!strcmp(name, "attach") && !incoming) {
		yab_calls_attach(caller, json, token);
	} else if (incoming && yab_token_matches(token, yab_incoming_token(incoming))) {
		if (!strcmp(name, "finish"))
			yab_incoming_finish(incoming, cookie);
		else if (!strcmp(name, "abort"))
			yab_incoming_abort(incoming);
		else if (!strcmp(name, "limit"))
			yab_incoming_limit(incoming, json_object_get(json, "bandwidth"));
		else if (!strcmp(name, "dirty"))
			yab_incoming_hint(incoming, json_object_get(json, "ranges"));
		else if (!strcmp(name, "confirm"))
			yab_incoming_confirmed(incoming);
		else
			yab_incoming_misused(incoming, "unknown call");
	} else if (incoming) {
		/* The text may reach the source as an answer: first everything is undone. */
		yab_incoming_misused(incoming, "call without the session's token");
	} else {
		yab_caller_fail(caller, "no session on this connection");
	}
}

const struct yab_caller_ops yab_calls = {
	.call = yab_calls_take,
	.state = yab_incoming_state,
	.misused = yab_incoming_misused,
	.lost = yab_incoming_caller_lost,
};
