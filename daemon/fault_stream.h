/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who walks through memory page after page, as far as touches of missing pages show it:
 * what the policy "adaptive" is made of.
 *
 * Only what is missing is seen. A guest that finds each page present when it comes to it is
 * as silent as one that went elsewhere, so silence proves nothing. A stream is *right*
 * when a page is touched that it was to ask for next (the guest has used up what
 * was brought before and goes on), one that lies little further, or one that it has asked
 * for and that has not arrived (the guest is faster than the stream). So each stream
 * asks for a window of pages and then waits to be touched at its frontier, which proves the
 * window right. It costs one wait a window; the window doubles whenever touches have
 * gone through half of it. A touch further on than that, but within another window, halves it.
 * Of those that are not right any more the one that was so least recently makes room.
 *
 * A touch that belongs to no stream is remembered. A second one close to it makes a stream of
 * both. While such pairs are frequent, the pages around lone touches are asked for as well:
 * around many while most touches have neighbours, around none when few do.
 *
 * Of fixed size. Work per touch and per request is bounded by the constants below.
 */
#ifndef YAB_DAEMON_FAULT_STREAM_H
#define YAB_DAEMON_FAULT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "pagemap.h"

#define YAB_FAULT_STREAMS	64	/* bits of a word */
#define YAB_FAULT_LONE		256	/* lone touches remembered; a power of two */
#define YAB_FAULT_AROUND	64	/* whose surroundings are still to be asked for; ditto */

/* Page numbers count down for a stream that runs backward, so all of them run upward. */
struct yab_fault_stream {
	uint64_t start;		/* the touch that it began with */
	uint64_t page;		/* the furthest touch */
	uint64_t frontier;	/* the next page to ask for */
	uint64_t target;	/* asks for pages before this one at once, */
	uint64_t horizon;	/* and for those before this one in place of the sweep */
	uint64_t window;
	uint64_t grown;		/* the touch at which the window was doubled last */
	uint64_t unproved;	/* pages that it asked for and no touch bore out */
	uint64_t right;		/* touches seen when it was right last */
	bool backward;
};

struct yab_fault_lone {
	uint64_t page;
	uint64_t asked;		/* pages around it that no touch bore out */
	bool used;
};

/* Lone touches whose surroundings are still to be asked for; the oldest make room. */
struct yab_fault_ring {
	struct yab_fault_around {
		uint64_t page;
		uint64_t touches;	/* seen when it was touched */
	} entries[YAB_FAULT_AROUND];
	unsigned int top;	/* modulo YAB_FAULT_AROUND: behind the newest */
	unsigned int count;
};

struct yab_fault_streams {
	uint64_t pages;		/* of the region */
	uint64_t touches;
	struct yab_fault_stream streams[YAB_FAULT_STREAMS];
	uint64_t used;		/* bits: which of them are streams, */
	uint64_t backward;	/* run backward, */
	uint64_t hungry;	/* have not asked up to their target, */
	uint64_t following;	/* and up to their horizon */
	unsigned int turn;	/* who is served next */
	uint64_t led;		/* touches seen when the stream was right that leads the sweep */

	struct yab_fault_lone lone[YAB_FAULT_LONE];
	struct yab_fault_ring near;
	struct yab_fault_ring far;	/* those of which the nearest pages were asked for */
	uint64_t radius;	/* pages on each side that are asked for ahead; may be 0 */
	unsigned int epoch;	/* lone touches since the radius was last thought over, */
	unsigned int pairs;	/* and how many of them had a neighbour */

	uint64_t prefetched;	/* as in struct yab_policy_statistics */
	uint64_t wasted;
};

void yab_fault_streams_init(struct yab_fault_streams *streams, uint64_t pages);
void yab_fault_streams_touch(struct yab_fault_streams *streams, uint64_t page);
/* What streams ask for ahead, and then what is around lone touches. */
bool yab_fault_streams_next(struct yab_fault_streams *streams, const struct yab_pagemap *map,
			    uint64_t limit, uint64_t *page, uint64_t *count);
/* Where a sweep is best spent: ahead of streams, further than they were proved right. */
bool yab_fault_streams_follow(struct yab_fault_streams *streams, const struct yab_pagemap *map,
			      uint64_t limit, uint64_t *page, uint64_t *count);
/*
 * Where the sweep is to go on when nothing is left to follow: behind the stream that
 * was right last. Leaves @cursor alone if that is no news.
 */
void yab_fault_streams_lead(struct yab_fault_streams *streams, uint64_t *cursor);

#endif /* YAB_DAEMON_FAULT_STREAM_H */
