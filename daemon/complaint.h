/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is logged of strangers: one line a host and minute, and how many more there were.
 * With --debug all of them. Of fixed size: hosts that find no room share a line.
 */
#ifndef YAB_DAEMON_COMPLAINT_H
#define YAB_DAEMON_COMPLAINT_H

#include <event2/event.h>

#include "origin.h"

struct yab_complaints;

/* NULL: out of memory. */
struct yab_complaints *yab_complaints_new(struct event_base *base);
/* Logs what was counted; NULL is fine. */
void yab_complaints_free(struct yab_complaints *complaints);
/* Logs a warning, or counts it. Where @complaints is NULL, all are logged. */
void yab_complain(struct yab_complaints *complaints, const struct yab_origin *origin,
		  const char *format, ...) __attribute__((format(printf, 3, 4), nonnull(3)));

#endif /* YAB_DAEMON_COMPLAINT_H */
