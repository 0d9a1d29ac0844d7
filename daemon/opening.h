/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The second part of a connection's start, by the process that will own it: TLS, where the
 * prefaces say so, and the hellos inside it, which repeat the prefaces with the session's
 * token in place of its route. The first part is handshake.h.
 *
 * When an opening is done the other side is who it says (its certificate was checked),
 * may be here (the token is right) and knows that it is let in.
 */
#ifndef YAB_DAEMON_OPENING_H
#define YAB_DAEMON_OPENING_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "credentials.h"
#include "wire.h"

#define YAB_OPENING_TIMEOUT_MS	10000

struct yab_opening;

struct yab_opening_terms {
	enum yab_wire_role role;
	unsigned int index;	/* among those of its role */
	uint32_t number;	/* as in the prefaces */
	enum yab_credentials_side side;
	struct yab_credentials *credentials;	/* NULL: plain TCP */
	const char *host;	/* client: whose certificate is expected */
	const uint8_t *token;	/* NULL: all zero, as on a control connection */
	bool kernel;		/* kernel TLS, where there is any */
	const char *name;	/* the other side, for messages */
	int timeout_ms;
};

/*
 * @fd and @ssl (NULL: plain TCP) are the callee's, or -1 and NULL with one line in @error.
 * The opening is gone by then.
 */
typedef void (*yab_opening_cb)(int fd, SSL *ssl, const char *error, void *arg);

/*
 * Takes @fd over, also on failure (NULL with one line in @error and no callback). Of
 * @terms nothing is kept. The callback never comes before the return.
 */
struct yab_opening *yab_opening_new(struct event_base *base, int fd,
				    const struct yab_opening_terms *terms, yab_opening_cb cb,
				    void *arg, char *error, size_t error_size);
void yab_opening_cancel(struct yab_opening *opening);

#endif /* YAB_DAEMON_OPENING_H */
