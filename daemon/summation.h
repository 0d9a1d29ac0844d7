/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's answer to a SUM: the sums of some chunks of its memory, made a piece at a time.
 */
#ifndef YAB_DAEMON_SUMMATION_H
#define YAB_DAEMON_SUMMATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backing.h"
#include "wire.h"

/* Of [first, end), whole chunks, up to @at. */
struct yab_summation {
	uint64_t first;
	uint64_t at;
	uint64_t end;
	uint64_t sums[YAB_WIRE_SUMS_MAX];	/* as they are sent, when they are done */
};

/* As the header of a SUM says. */
void yab_summation_begin(struct yab_summation *summation, uint64_t page, uint64_t count);
/*
 * A turn of it: some 0.2 ms. *done: that was all, and the sums are there. 0, or -1 with errno:
 * the memory cannot be read.
 */
int yab_summation_go_on(struct yab_summation *summation, struct yab_backing *backing,
			struct yab_backing_view *view, bool *done);
/* Bytes of the sums. */
size_t yab_summation_size(const struct yab_summation *summation);

#endif /* YAB_DAEMON_SUMMATION_H */
