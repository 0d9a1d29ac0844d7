/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where connections for this daemon go once they have said what they are for: those from
 * other hosts, which the listener has let in, and those from within, which are socket pairs. A
 * source in this process so speaks to the destination in it as any other does.
 */
#ifndef YAB_DAEMON_RECEPTION_H
#define YAB_DAEMON_RECEPTION_H

#include "origin.h"
#include "supervisor.h"
#include "wire.h"

struct yab_reception;

/* A connection that may come in, with its preface; takes @fd over. */
void yab_reception_take(struct yab_supervisor *supervisor, int fd,
			const struct yab_wire_hello *hello, const struct yab_origin *origin);

/* For connections from within, whose origin is @name. NULL without memory. */
struct yab_reception *yab_reception_new(struct yab_supervisor *supervisor, const char *name);
/* What was taken already stays. */
void yab_reception_free(struct yab_reception *reception);
/* The caller's end of a new one, as if connect() had succeeded; -1 with errno. */
int yab_reception_call(struct yab_reception *reception);

#endif /* YAB_DAEMON_RECEPTION_H */
