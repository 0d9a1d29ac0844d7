/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A limit on bytes a second: what may be spent grows with time, up to what comes
 * together in YAB_BUDGET_BURST_MS, so that a pause is not made up for by a burst.
 */
#ifndef YAB_DAEMON_BUDGET_H
#define YAB_DAEMON_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define YAB_BUDGET_BURST_MS	20

struct yab_budget {
	uint64_t rate;		/* bytes a second; 0: no limit */
	int64_t left;		/* may be negative: what was spent ahead */
	uint64_t time_ns;	/* when left was true */
};

void yab_budget_set(struct yab_budget *budget, uint64_t rate, uint64_t now_ns);
/* May something be spent now? */
bool yab_budget_allows(struct yab_budget *budget, uint64_t now_ns);
void yab_budget_spend(struct yab_budget *budget, uint64_t bytes);
/* Milliseconds until something may be spent, at least 1. */
uint64_t yab_budget_wait_ms(const struct yab_budget *budget);

#endif /* YAB_DAEMON_BUDGET_H */
