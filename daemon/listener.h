/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The port to which other hosts' daemons connect, up to their prefaces. */
#ifndef YAB_DAEMON_LISTENER_H
#define YAB_DAEMON_LISTENER_H

#include <event2/event.h>
#include <stddef.h>

#include "address.h"
#include "complaint.h"
#include "origin.h"
#include "security.h"
#include "wire.h"

struct yab_listener;

/*
 * A connection said a good preface, and may come with TLS or plain, as it wants to: @fd is
 * the callee's, who answers (yab_handshake_answer()) or closes. @origin is the other side.
 */
typedef void (*yab_listener_cb)(int fd, const struct yab_wire_hello *hello,
				const struct yab_origin *origin, void *arg);

/* NULL with one line in @error. */
struct yab_listener *yab_listener_new(struct event_base *base, const struct yab_address *address,
				      const struct yab_security *security,
				      struct yab_complaints *complaints, yab_listener_cb cb,
				      void *arg, char *error, size_t error_size);
void yab_listener_free(struct yab_listener *listener);

#endif /* YAB_DAEMON_LISTENER_H */
