/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another way to the destination of a migration that is committed: tried beside the connections
 * that there are, which stay until whoever is there has shown that it is the same destination.
 *
 * It has shown that with any answer to attach but "restarted": it has the session, or it is the
 * supervisor (by its instance) that would know it.
 */
#ifndef YAB_DAEMON_DETOUR_H
#define YAB_DAEMON_DETOUR_H

#include <event2/dns.h>
#include <event2/event.h>
#include <jansson.h>

#include "address.h"
#include "contact.h"
#include "security.h"

struct yab_detour;

/*
 * The last thing, and the detour is freed after it: @contact is the callee's, to be told of its
 * new owner (yab_contact_hand_over()), with the answer to attach (borrowed); or NULL, with one
 * line in @error.
 */
typedef void (*yab_detour_cb)(struct yab_contact *contact, json_t *reply, const char *error,
			      void *arg);

struct yab_detour_terms {
	struct event_base *base;
	struct evdns_base *dns;
	const struct yab_address *host;	/* whose certificate is expected */
	const struct yab_address *via;
	const struct yab_security *security;	/* borrowed */
	const char *token;		/* the session's, as text */
	const char *instance;		/* that made it */
};

/* Copies @terms. NULL without memory. */
struct yab_detour *yab_detour_new(const struct yab_detour_terms *terms, yab_detour_cb cb,
				  void *arg);
const struct yab_address *yab_detour_via(const struct yab_detour *detour);
/* Gives it up, without a word. */
void yab_detour_free(struct yab_detour *detour);

#endif /* YAB_DAEMON_DETOUR_H */
