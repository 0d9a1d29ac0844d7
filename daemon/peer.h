/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A control connection to another host's daemon, once it is open (opening.h): calls,
 * replies, events and device state in bounded frames.
 */
#ifndef YAB_DAEMON_PEER_H
#define YAB_DAEMON_PEER_H

#include <event2/event.h>
#include <jansson.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "wire.h"

struct yab_peer;

/* Each callback may free the peer. */
struct yab_peer_ops {
	/* A CALL, REPLY or EVENT; @json is an object and borrowed. */
	void (*message)(enum yab_wire_type type, json_t *json, void *arg);
	/* Device state; @length is 0 at its end. */
	void (*state)(const void *data, size_t length, void *arg);
	/* What was sent has mostly left; NULL where nobody asks. */
	void (*drained)(void *arg);
	/*
	 * The last one: the other side said ERROR (@answered, @error is its text), or
	 * the connection was lost or broke the protocol. One line, printable.
	 */
	void (*lost)(const char *error, bool answered, void *arg);
	/* After yab_peer_finish(): all was sent, or time is up. NULL where nobody asks. */
	void (*gone)(void *arg);
};

/*
 * Takes @fd and its session @ssl (NULL: plain TCP) over, also on failure (NULL, with errno).
 * @name is for messages.
 */
struct yab_peer *yab_peer_new(struct event_base *base, int fd, SSL *ssl, const char *name,
			      const struct yab_peer_ops *ops, void *arg);
/* Closes at once; what was not sent is dropped. */
void yab_peer_free(struct yab_peer *peer);
/*
 * Frees, but sends what is queued first, for a few seconds at most. False if nothing is
 * left to be sent: gone() does not follow. Until then yab_peer_free() may be called.
 */
bool yab_peer_finish(struct yab_peer *peer);
/* Sends ERROR @text, then as yab_peer_finish(). */
bool yab_peer_fail(struct yab_peer *peer, const char *text);

/*
 * Lost, as if the other side had gone; lost() comes from the event loop. For what could not be
 * sent although the other side waits for it: it asks again on its next connection.
 */
void yab_peer_break(struct yab_peer *peer);

const char *yab_peer_name(const struct yab_peer *peer);
/* Steals @json. 0, or -1 with errno (too long, other side does not read). */
int yab_peer_send(struct yab_peer *peer, enum yab_wire_type type, json_t *json);
/* Up to YAB_WIRE_STATE_MAX bytes; 0 bytes are its end. 0, or -1 with errno. */
int yab_peer_send_state(struct yab_peer *peer, const void *data, size_t length);
/* True when more should wait for drained(). */
bool yab_peer_congested(const struct yab_peer *peer);
/* Stops and goes on reading: backpressure for device state. */
void yab_peer_pause(struct yab_peer *peer, bool pause);

#endif /* YAB_DAEMON_PEER_H */
