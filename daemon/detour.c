// SPDX-License-Identifier: GPL-2.0-or-later
#include "detour.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "token.h"

/* From the start to the answer; a handshake and TLS have less of their own. */
#define YAB_DETOUR_SECONDS	30

struct yab_detour {
	struct yab_contact *contact;
	struct yab_address via;
	char token[YAB_TOKEN_TEXT_SIZE];
	char instance[YAB_TOKEN_TEXT_SIZE];
	struct event *deadline;
	yab_detour_cb cb;
	void *arg;
};

static void yab_detour_end(struct yab_detour *detour, struct yab_contact *contact, json_t *reply,
			   const char *error)
{
	detour->cb(contact, reply, error, detour->arg);
	if (contact)
		detour->contact = NULL;
	yab_detour_free(detour);
}

static void yab_detour_open(void *arg)
{
	struct yab_detour *detour = arg;
	json_t *call = json_pack("{s:s, s:s, s:s}", "call", "attach", "token", detour->token,
				 "instance", detour->instance);

	if (yab_peer_send(yab_contact_peer(detour->contact), YAB_WIRE_CALL, call) < 0)
		yab_detour_end(detour, NULL, NULL, strerror(errno));
}

static void yab_detour_message(enum yab_wire_type type, json_t *json, void *arg)
{
	static const char * const proofs[] = { "committed", "unknown", "gone", NULL };
	const char *name = json_string_value(json_object_get(json, "reply"));
	const char *state = json_string_value(json_object_get(json, "state"));
	struct yab_detour *detour = arg;

	if (type != YAB_WIRE_REPLY || !name || strcmp(name, "attach"))
		return;
	for (size_t i = 0; state && proofs[i]; i++) {
		if (strcmp(state, proofs[i]))
			continue;
		yab_detour_end(detour, detour->contact, json, NULL);
		return;
	}
	yab_detour_end(detour, NULL, NULL,
		       "the yabusamed there knows nothing of this migration: it is another host, or was restarted without its journal");
}

static void yab_detour_drained(void *arg)
{
	(void)arg;	/* one call is not waited for */
}

static void yab_detour_lost(const char *error, bool answered, void *arg)
{
	(void)answered;
	yab_detour_end(arg, NULL, NULL, error);
}

static const struct yab_contact_ops yab_detour_ops = {
	.open = yab_detour_open,
	.message = yab_detour_message,
	.drained = yab_detour_drained,
	.lost = yab_detour_lost,
};

static void yab_detour_overdue(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	yab_detour_end(arg, NULL, NULL, "no answer: check the network");
}

struct yab_detour *yab_detour_new(const struct yab_detour_terms *terms, yab_detour_cb cb,
				  void *arg)
{
	const struct timeval patience = { .tv_sec = YAB_DETOUR_SECONDS };
	struct yab_detour *detour = calloc(1, sizeof(*detour));

	if (!detour)
		return NULL;
	detour->via = *terms->via;
	snprintf(detour->token, sizeof(detour->token), "%s", terms->token);
	snprintf(detour->instance, sizeof(detour->instance), "%s", terms->instance);
	detour->cb = cb;
	detour->arg = arg;
	detour->deadline = evtimer_new(terms->base, yab_detour_overdue, detour);
	if (!detour->deadline || evtimer_add(detour->deadline, &patience) < 0)
		goto err;
	detour->contact = yab_contact_new(terms->base, terms->dns, terms->host, terms->security,
					  &yab_detour_ops, detour);
	if (!detour->contact)
		goto err;
	yab_contact_retry(detour->contact, terms->via);
	return detour;

err:
	yab_detour_free(detour);
	return NULL;
}

const struct yab_address *yab_detour_via(const struct yab_detour *detour)
{
	return &detour->via;
}

void yab_detour_free(struct yab_detour *detour)
{
	if (!detour)
		return;
	yab_contact_free(detour->contact);
	if (detour->deadline)
		event_free(detour->deadline);
	free(detour);
}
