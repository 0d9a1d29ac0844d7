/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The start of a connection between two daemons, whatever it is for: connecting,
 * and one preface each way, in the clear: what the connection is for, and whether TLS
 * follows. The connecting side speaks first; the other answers
 * (yab_handshake_answer()) when it has decided to accept. Not one byte beyond the
 * preface is read: what follows (opening.h) belongs to whom the socket goes.
 */
#ifndef YAB_DAEMON_HANDSHAKE_H
#define YAB_DAEMON_HANDSHAKE_H

#include <event2/dns.h>
#include <event2/event.h>
#include <stddef.h>

#include "address.h"
#include "security.h"
#include "wire.h"

#define YAB_HANDSHAKE_TIMEOUT_MS	10000

struct yab_handshake;

/*
 * @fd is the callee's (non-blocking, keepalive set), or -1 with one line in @error.
 * @hello is the other side's preface; what the side that connects gets says YAB_WIRE_TLS
 * if and only if its own did. The handshake is gone by then.
 */
typedef void (*yab_handshake_cb)(int fd, const struct yab_wire_hello *hello, const char *error,
				 void *arg);

/*
 * Each returns NULL with errno and no callback when out of memory or of
 * descriptors. The callback never comes before the return. @route may be NULL. @number: which
 * of the connections of this role and index it is.
 */
struct yab_handshake *yab_handshake_connect(struct event_base *base, struct evdns_base *dns,
					    const struct yab_address *address,
					    const struct yab_security *security,
					    enum yab_wire_role role, unsigned int index,
					    uint32_t number, const uint8_t *route,
					    int timeout_ms,
					    yab_handshake_cb cb, void *arg);
/* The same on a socket that is connected; takes @fd over. @name is for messages. */
struct yab_handshake *yab_handshake_offer(struct event_base *base, int fd, const char *name,
					  bool tls, enum yab_wire_role role,
					  unsigned int index, uint32_t number,
					  const uint8_t *route,
					  int timeout_ms,
					  yab_handshake_cb cb, void *arg);
/* The other side: waits for a preface on @fd, which it takes over. */
struct yab_handshake *yab_handshake_accept(struct event_base *base, int fd, const char *name,
					   int timeout_ms, yab_handshake_cb cb, void *arg);
void yab_handshake_cancel(struct yab_handshake *handshake);

/*
 * The accepting side's preface; it refuses by saying the contrary of what the other side
 * said of TLS. 0, or -1 with errno.
 */
int yab_handshake_answer(int fd, enum yab_wire_role role, bool tls);

#endif /* YAB_DAEMON_HANDSHAKE_H */
