// SPDX-License-Identifier: GPL-2.0-or-later
/* An outgoing migration that goes on over another address of its destination. */
#include <stdio.h>

#include "log.h"
#include "outgoing_state.h"

/* As it is meant: the connections that there are go, and all later ones are made there. */
static void yab_outgoing_divert(struct yab_outgoing *outgoing, struct yab_contact *contact,
				const struct yab_address *via)
{
	yab_contact_free(outgoing->contact);
	outgoing->contact = contact;
	yab_contact_hand_over(contact, &yab_outgoing_contact_ops, outgoing);
	yab_log_info(outgoing->vm->name, "goes on via %s", via->text);
	yab_job_divert(outgoing->job, via->text);
	/* A supervisor that found no memory to serve has none. */
	if (outgoing->supply)
		yab_supply_resume(outgoing->supply, via);
}

static void yab_outgoing_detoured(struct yab_contact *contact, json_t *reply, const char *error,
				  void *arg)
{
	struct yab_outgoing *outgoing = arg;
	const struct yab_address via = *yab_detour_via(outgoing->detour);
	char warning[YAB_WIRE_ERROR_MAX];

	/* It frees itself. */
	outgoing->detour = NULL;
	if (contact) {
		yab_outgoing_divert(outgoing, contact, &via);
		yab_outgoing_reply_attach(outgoing, reply);
		return;
	}
	snprintf(warning, sizeof(warning),
		 "cannot be resumed via %.200s: %.250s; its connections stay as they are",
		 via.text, error);
	yab_log_warn(outgoing->vm->name, "%s", warning);
	yab_job_warn(outgoing->job, warning);
	outgoing->ops->progress(outgoing->arg);
}

int yab_outgoing_detour(struct yab_outgoing *outgoing, const struct yab_address *via)
{
	const struct yab_detour_terms terms = {
		.base = outgoing->supervisor->base,
		.dns = outgoing->supervisor->dns,
		.host = &outgoing->options.destination,
		.via = via,
		.security = &outgoing->supervisor->security,
		.token = outgoing->token_text,
		.instance = outgoing->instance,
	};

	yab_detour_free(outgoing->detour);
	outgoing->detour = yab_detour_new(&terms, yab_outgoing_detoured, outgoing);
	return outgoing->detour ? 0 : -1;
}
