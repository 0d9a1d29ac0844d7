/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In which order the destination asks in bulk for the pages that it misses. (A page that
 * somebody waits for is asked for at once, on another connection, and is no matter of
 * order.)
 *
 * A policy knows nothing of connections. It is told of touches and hints, and says what is
 * to be asked for next; it must be asked only when there is room for a request, and what it
 * answers counts as asked for. It never allocates after yab_policy_new().
 */
#ifndef YAB_DAEMON_POLICY_H
#define YAB_DAEMON_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "pagemap.h"

/* What yab_policy_is_valid() accepts, for messages. */
#define YAB_POLICY_SPECS	"sweep, forward=N, backward=N, forward=N,backward=N or adaptive"
/* In place of no specification. */
#define YAB_POLICY_DEFAULT	"adaptive"
/* The most pages that forward= and backward= take: 16 MiB. */
#define YAB_POLICY_AROUND_MAX	4096
/* Hints that are kept. */
#define YAB_POLICY_HINTS	1024

struct yab_policy;

struct yab_policy_statistics {
	/*
	 * Pages asked for in bulk because of a touch: ahead of a stream, or around the page
	 * touched. Hinted pages and the sweep do not count, for they are asked for anyway;
	 * nor does it count where the sweep goes.
	 */
	uint64_t prefetched;
	/*
	 * Those of them that no touch of a missing page bore out for as long as the policy
	 * remembered the touch that they were asked for: none behind them or among them by
	 * a stream, none in or next to the pages around. A page that is present is touched
	 * unseen, so the last pages before a stream ends count as wasted even if they were
	 * used, and one that was passed over within a stream does not count though it was
	 * not. Guesses that are still remembered are not counted yet. No page is moved
	 * in vain because of this (all are needed in the end), only too early.
	 */
	uint64_t wasted;
	/* Pages asked for in bulk because of a hint. */
	uint64_t hinted;
};

bool yab_policy_is_valid(const char *spec);
/*
 * @spec may be NULL. NULL with errno: EINVAL if it is not understood or there are no
 * pages, or ENOMEM.
 */
struct yab_policy *yab_policy_new(const char *spec, uint64_t pages);
void yab_policy_free(struct yab_policy *policy);

/* Somebody waits for @page, which is missing (maybe asked for). */
void yab_policy_touch(struct yab_policy *policy, uint64_t page);
/*
 * These pages were in use of late, more so than those hinted at before. Where
 * there are more hints than room for them the oldest are forgotten.
 */
void yab_policy_hint(struct yab_policy *policy, uint64_t page, uint64_t count);

/*
 * The next idle pages to be asked for in bulk, at most @limit; false if no page is idle.
 * @map has as many pages as the policy was made for.
 */
bool yab_policy_next(struct yab_policy *policy, const struct yab_pagemap *map, uint64_t limit,
		     uint64_t *page, uint64_t *count);

const char *yab_policy_name(const struct yab_policy *policy);
const struct yab_policy_statistics *yab_policy_statistics(const struct yab_policy *policy);

#endif /* YAB_DAEMON_POLICY_H */
