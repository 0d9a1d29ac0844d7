/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The figures of all jobs for monitoring, as OpenMetrics 1.0: GET /metrics on a loopback
 * address. No encryption and no authentication, so other addresses are refused.
 */
#ifndef YAB_DAEMON_METRICS_H
#define YAB_DAEMON_METRICS_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <stddef.h>
#include <sys/socket.h>

#include "job.h"

/* At the same time; more wait in the socket's queue. */
#define YAB_METRICS_VISITS_MAX	8
/* From accepting a connection to its end, whatever goes on there. */
#define YAB_METRICS_VISIT_SECONDS	10

struct yab_metrics;

struct yab_metrics_address {
	struct sockaddr_storage storage;
	int length;
};

/* What yab_metrics_new() takes. 0, or -1 with one line in @error. */
int yab_metrics_parse(const char *text, struct yab_metrics_address *address, char *error,
		      size_t error_size);
/* @address is ADDRESS:PORT or [IPV6]:PORT. Borrows @jobs. NULL with one line in @error. */
struct yab_metrics *yab_metrics_new(struct event_base *base, struct yab_jobs *jobs,
				    const char *address, char *error, size_t error_size);
void yab_metrics_free(struct yab_metrics *metrics);

/* The text. 0, or -1 without memory. */
int yab_metrics_write(struct yab_jobs *jobs, struct evbuffer *out);

#endif /* YAB_DAEMON_METRICS_H */
