/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The statistics of one side of a migration over all workers that it had: each worker
 * counts from 0, and the figures of those before are added. worker.h lists them.
 */
#ifndef YAB_DAEMON_STATISTICS_H
#define YAB_DAEMON_STATISTICS_H

#include <jansson.h>

#include "histogram.h"

/* All zero at first. */
struct yab_statistics {
	json_t *now;		/* NULL: there are none yet */
	json_t *before;		/* what the workers that are gone have counted, or NULL */
	json_int_t connections_lost;
	json_int_t workers_replaced;
};

void yab_statistics_release(struct yab_statistics *statistics);
/* A worker's message, which becomes @statistics->now. */
void yab_statistics_take(struct yab_statistics *statistics, json_t *message);
void yab_statistics_lost_connection(struct yab_statistics *statistics);
/* The next message is another worker's. */
void yab_statistics_lost_worker(struct yab_statistics *statistics);

/*
 * {"count", "sum", "p50", "p90", "p99", "max", "buckets"}: microseconds, and how many
 * values are in each bucket of yab_histogram_coarse(). NULL without memory.
 */
json_t *yab_statistics_histogram(const struct yab_histogram *histogram);

#endif /* YAB_DAEMON_STATISTICS_H */
