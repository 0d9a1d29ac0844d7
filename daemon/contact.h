/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's control connection to one destination: made, lost and made again
 * with back-off, as its owner wants.
 */
#ifndef YAB_DAEMON_CONTACT_H
#define YAB_DAEMON_CONTACT_H

#include <event2/dns.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "peer.h"
#include "security.h"

struct yab_contact;

/* Each callback may free the contact; none comes from within a call. */
struct yab_contact_ops {
	void (*open)(void *arg);
	void (*message)(enum yab_wire_type type, json_t *json, void *arg);
	void (*drained)(void *arg);
	/* It could not be made, or it was lost; @answered as in peer.h. */
	void (*lost)(const char *error, bool answered, void *arg);
};

/* Borrows @security. */
struct yab_contact *yab_contact_new(struct event_base *base, struct evdns_base *dns,
				    const struct yab_address *address,
				    const struct yab_security *security,
				    const struct yab_contact_ops *ops, void *arg);
/* What was sent still leaves. */
void yab_contact_free(struct yab_contact *contact);
/* Connects: at once the first time, later after a pause that grows to 10 seconds. */
void yab_contact_open(struct yab_contact *contact);
/* When that will be or was, by CLOCK_MONOTONIC in microseconds. */
int64_t yab_contact_next_try_us(const struct yab_contact *contact);
/*
 * Connects anew at once, and pauses are short again. With @via that is where it connects to
 * from now on, but whoever is there must still have the first address's certificate.
 */
void yab_contact_retry(struct yab_contact *contact, const struct yab_address *via);
/* From now on these are called, with @arg; also from within a callback. */
void yab_contact_hand_over(struct yab_contact *contact, const struct yab_contact_ops *ops,
			   void *arg);
/* It works: the next pause is short again. */
void yab_contact_settled(struct yab_contact *contact);
/* Closes without a word to the owner. */
void yab_contact_close(struct yab_contact *contact);
/* NULL while it is not open. */
struct yab_peer *yab_contact_peer(struct yab_contact *contact);

#endif /* YAB_DAEMON_CONTACT_H */
