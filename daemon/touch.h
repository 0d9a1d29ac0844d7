/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When missing pages were first touched, kept until they are declared. Of fixed
 * size: touches that find no room are simply not timed.
 */
#ifndef YAB_DAEMON_TOUCH_H
#define YAB_DAEMON_TOUCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

#define YAB_TOUCH_SETS	1024	/* a power of two */
#define YAB_TOUCH_WAYS	4

struct yab_touch {
	uint64_t page;
	uint64_t time_ns;	/* 0: this entry is free */
};

struct yab_touches {
	size_t count;
	struct yab_touch sets[YAB_TOUCH_SETS][YAB_TOUCH_WAYS];
};

/* The first touch of a page counts; false if there was no room. */
bool yab_touches_note(struct yab_touches *touches, uint64_t page, uint64_t time_ns);
/* Pages were declared just now: records how long their touchers waited, and forgets them. */
void yab_touches_end(struct yab_touches *touches, uint64_t page, uint64_t count,
		     struct yab_histogram *latency);

#endif /* YAB_DAEMON_TOUCH_H */
