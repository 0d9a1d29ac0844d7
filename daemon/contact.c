// SPDX-License-Identifier: GPL-2.0-or-later
#include "contact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "handshake.h"
#include "opening.h"

#define YAB_CONTACT_RETRY_MIN_MS	100
#define YAB_CONTACT_RETRY_MAX_MS	10000

struct yab_contact {
	struct event_base *base;
	struct evdns_base *dns;
	struct yab_address address;
	char host[sizeof(((struct yab_address *)0)->host)];	/* whose certificate is expected */
	const struct yab_security *security;
	struct event *timer;
	int pause_ms;
	int64_t next_try_us;
	/* At most one of these: being made, in two steps; made. */
	struct yab_handshake *handshake;
	struct yab_opening *opening;
	struct yab_peer *peer;
	const struct yab_contact_ops *ops;
	void *arg;
};

static void yab_contact_message(enum yab_wire_type type, json_t *json, void *arg)
{
	struct yab_contact *contact = arg;

	contact->ops->message(type, json, contact->arg);
}

static void yab_contact_drained(void *arg)
{
	struct yab_contact *contact = arg;

	contact->ops->drained(contact->arg);
}

static void yab_contact_lost(const char *error, bool answered, void *arg)
{
	struct yab_contact *contact = arg;

	yab_peer_free(contact->peer);
	contact->peer = NULL;
	contact->ops->lost(error, answered, contact->arg);
}

/* Device state only goes the other way. */
static void yab_contact_state(const void *data, size_t length, void *arg)
{
	(void)data;
	(void)length;
	yab_contact_lost("the destination sent device state: install the same yabusame on both",
			 false, arg);
}

static const struct yab_peer_ops yab_contact_peer_ops = {
	.message = yab_contact_message,
	.state = yab_contact_state,
	.drained = yab_contact_drained,
	.lost = yab_contact_lost,
};

static void yab_contact_opened(int fd, SSL *ssl, const char *error, void *arg)
{
	struct yab_contact *contact = arg;

	contact->opening = NULL;
	if (fd < 0) {
		contact->ops->lost(error, false, contact->arg);
		return;
	}
	contact->peer = yab_peer_new(contact->base, fd, ssl, contact->address.text,
				     &yab_contact_peer_ops, contact);
	if (contact->peer)
		contact->ops->open(contact->arg);
	else
		contact->ops->lost(strerror(errno), false, contact->arg);
}

static void yab_contact_greeted(int fd, const struct yab_wire_hello *hello, const char *error,
				void *arg)
{
	struct yab_contact *contact = arg;
	struct yab_opening_terms terms = {
		.role = YAB_WIRE_CONTROL,
		.side = YAB_CREDENTIALS_CLIENT,
		.host = contact->host,
		.name = contact->address.text,
		.timeout_ms = YAB_OPENING_TIMEOUT_MS,
	};
	struct yab_credentials *credentials = NULL;
	char reason[YAB_WIRE_ERROR_MAX];

	contact->handshake = NULL;
	if (fd < 0) {
		contact->ops->lost(error, false, contact->arg);
		return;
	}
	if (hello->features & YAB_WIRE_TLS) {
		credentials = yab_security_credentials(contact->security, YAB_CREDENTIALS_CLIENT,
						       reason, sizeof(reason));
		if (!credentials) {
			close(fd);
			contact->ops->lost(reason, false, contact->arg);
			return;
		}
	}
	terms.credentials = credentials;
	contact->opening = yab_opening_new(contact->base, fd, &terms, yab_contact_opened, contact,
					   reason, sizeof(reason));
	yab_credentials_free(credentials);
	if (!contact->opening)
		contact->ops->lost(reason, false, contact->arg);
}

static void yab_contact_connect(evutil_socket_t fd, short what, void *arg)
{
	struct yab_contact *contact = arg;

	(void)fd;
	(void)what;
	contact->handshake = yab_handshake_connect(contact->base, contact->dns, &contact->address,
						   contact->security, YAB_WIRE_CONTROL, 0, 0, NULL,
						   YAB_HANDSHAKE_TIMEOUT_MS, yab_contact_greeted,
						   contact);
	if (!contact->handshake)
		contact->ops->lost(strerror(errno), false, contact->arg);
}

struct yab_contact *yab_contact_new(struct event_base *base, struct evdns_base *dns,
				    const struct yab_address *address,
				    const struct yab_security *security,
				    const struct yab_contact_ops *ops, void *arg)
{
	struct yab_contact *contact = calloc(1, sizeof(*contact));

	if (!contact)
		return NULL;
	contact->base = base;
	contact->dns = dns;
	contact->address = *address;
	memcpy(contact->host, address->host, sizeof(contact->host));
	contact->security = security;
	contact->ops = ops;
	contact->arg = arg;
	contact->timer = evtimer_new(base, yab_contact_connect, contact);
	if (!contact->timer) {
		free(contact);
		return NULL;
	}
	return contact;
}

void yab_contact_free(struct yab_contact *contact)
{
	if (!contact)
		return;
	yab_peer_finish(contact->peer);
	contact->peer = NULL;
	yab_contact_close(contact);
	event_free(contact->timer);
	free(contact);
}

void yab_contact_open(struct yab_contact *contact)
{
	const struct timeval pause = yab_clock_pause((uint64_t)contact->pause_ms);

	yab_contact_close(contact);
	evtimer_add(contact->timer, &pause);
	contact->next_try_us = yab_clock_us() + contact->pause_ms * 1000;
	contact->pause_ms *= 2;
	if (contact->pause_ms < YAB_CONTACT_RETRY_MIN_MS)
		contact->pause_ms = YAB_CONTACT_RETRY_MIN_MS;
	if (contact->pause_ms > YAB_CONTACT_RETRY_MAX_MS)
		contact->pause_ms = YAB_CONTACT_RETRY_MAX_MS;
}

int64_t yab_contact_next_try_us(const struct yab_contact *contact)
{
	return contact->next_try_us;
}

void yab_contact_retry(struct yab_contact *contact, const struct yab_address *via)
{
	if (via)
		contact->address = *via;
	contact->pause_ms = 0;
	yab_contact_open(contact);
}

void yab_contact_hand_over(struct yab_contact *contact, const struct yab_contact_ops *ops,
			   void *arg)
{
	contact->ops = ops;
	contact->arg = arg;
}

void yab_contact_settled(struct yab_contact *contact)
{
	contact->pause_ms = YAB_CONTACT_RETRY_MIN_MS;
}

void yab_contact_close(struct yab_contact *contact)
{
	evtimer_del(contact->timer);
	yab_handshake_cancel(contact->handshake);
	contact->handshake = NULL;
	yab_opening_cancel(contact->opening);
	contact->opening = NULL;
	yab_peer_free(contact->peer);
	contact->peer = NULL;
}

struct yab_peer *yab_contact_peer(struct yab_contact *contact)
{
	return contact->peer;
}
