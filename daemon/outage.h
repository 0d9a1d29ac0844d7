/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a migration that is committed stands still for want of a connection: the one
 * over which the daemons talk, or the one for pages that somebody waits for. Its job is
 * paused for as long, and the log says when that begins, when the other one is lost, too, and
 * when it ends, not each try.
 */
#ifndef YAB_DAEMON_OUTAGE_H
#define YAB_DAEMON_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "job.h"
#include "yabusame/wire.h"

enum yab_outage_part {
	YAB_OUTAGE_CONTROL,
	YAB_OUTAGE_URGENT,
	YAB_OUTAGE_PARTS,
};

enum yab_outage_state {
	YAB_OUTAGE_UNWATCHED,	/* before the commit, when a loss is the end, or after all */
	YAB_OUTAGE_NONE,
	YAB_OUTAGE_PAUSED,
	YAB_OUTAGE_STATES,
};

struct yab_outage_loss {
	bool down;
	int64_t next_try_us;		/* CLOCK_MONOTONIC; 0: the other side tries */
	char reason[YAB_WIRE_ERROR_MAX];
};

/* All zero at first: nothing is lost, nobody watches. */
struct yab_outage {
	enum yab_outage_state state;
	const char *vm;
	struct yab_job *job;
	int64_t since_us;
	struct yab_outage_loss losses[YAB_OUTAGE_PARTS];
};

/* The commit: from now on @job (borrowed, as @vm) is paused while something is lost. */
void yab_outage_watch(struct yab_outage *outage, const char *vm, struct yab_job *job);
/* The job ends: what is lost from now on is no news. */
void yab_outage_end(struct yab_outage *outage);

/* @reason is one line. Also for each try that failed: the reason may be another one. */
void yab_outage_lost(struct yab_outage *outage, enum yab_outage_part part, const char *reason,
		     int64_t next_try_us);
void yab_outage_found(struct yab_outage *outage, enum yab_outage_part part);
bool yab_outage_is_lost(const struct yab_outage *outage, enum yab_outage_part part);

#endif /* YAB_DAEMON_OUTAGE_H */
