/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many pages may be on order in bulk: enough to keep the path busy, and no
 * more, for what waits in the queue of its narrowest part (a link, a processor)
 * stands before a page that a guest waits for.
 *
 * Found by trying, not computed from round trip times, which on a busy host say more
 * of its processors than of the path: a window that is half again as wide must
 * bring clearly more pages a second, one that is narrower by a third must bring
 * clearly fewer. When neither is so, it holds for a while and tries again.
 */
#ifndef YAB_DAEMON_WINDOW_H
#define YAB_DAEMON_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

/* Pages. The least keeps a path of 1 Gbit/s and 0.5 ms busy. */
#define YAB_WINDOW_MIN		16
#define YAB_WINDOW_MAX		16384	/* 64 MiB: 10 Gbit/s over 50 ms */
#define YAB_WINDOW_FIRST	256	/* 10 Gbit/s over 0.8 ms */

enum yab_window_state {
	YAB_WINDOW_STARTING,	/* measures the rate with the first width */
	YAB_WINDOW_GROWING,	/* tries a wider one */
	YAB_WINDOW_SHRINKING,	/* tries a narrower one */
	YAB_WINDOW_HOLDING,
	YAB_WINDOW_STATES,
};

struct yab_window {
	uint64_t on_order;	/* pages asked for and not here, on all connections */
	enum yab_window_state state;
	uint64_t width;		/* pages that may be on order */
	uint64_t known;		/* the best width so far ... */
	uint64_t rate;		/* ... and the pages a second that it brought */
	unsigned int held;	/* measurements since it holds */

	/* The measurement under way. */
	uint64_t skip;		/* pages to come that were on order before it */
	uint64_t pages;		/* that have come since then */
	uint64_t start_ns;	/* 0: none has come */
};

void yab_window_init(struct yab_window *window);
void yab_window_asked(struct yab_window *window, uint64_t pages);
void yab_window_arrived(struct yab_window *window, uint64_t pages, uint64_t now_ns);
/* A connection is lost with them. */
void yab_window_dropped(struct yab_window *window, uint64_t pages);
/*
 * Something else than the window has kept pages from being asked for: what is being
 * measured says nothing about it.
 */
void yab_window_disturb(struct yab_window *window);
/* Pages for one request: several make up a window, and none is needlessly small. */
uint64_t yab_window_run(const struct yab_window *window);

#endif /* YAB_DAEMON_WINDOW_H */
