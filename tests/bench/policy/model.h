/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A migration in numbers: vCPUs, the destination's pager with its real pagemap and policy,
 * the source, and the link between them.
 *
 * - A vCPU thinks, then touches a page. One that is present costs nothing. Else it waits until
 *   the page arrives, and only then goes on to think (closed loop).
 * - The pager asks for a touched page at once on the urgent connection, unless it is asked for
 *   there, and in bulk for what the policy says while the window has room for a whole
 *   request.
 * - The source takes a page of the urgent queue before one of the bulk queue. What it
 *   has handed to the link (socket, card) it cannot overtake any more.
 * - The link takes one page after the other; each way takes half of the round-trip time.
 *
 * Left out: zero pages, lost connections, the time that the pager itself needs.
 */
#ifndef YAB_BENCH_MODEL_H
#define YAB_BENCH_MODEL_H

#include <stdint.h>

#include "trace.h"

struct model_link {
	uint64_t mbit;		/* per second */
	uint64_t rtt_us;
	uint64_t window;	/* pages on order in bulk */
	uint64_t run;		/* pages in a request */
	uint64_t handed;	/* pages in the link that urgent ones cannot overtake */
};

struct model_result {
	uint64_t stalls;	/* waits of vCPUs */
	uint64_t stall_ns;	/* all together */
	uint64_t p50_ns, p99_ns, max_ns;
	uint64_t faults;	/* touches that the pager saw: one a missing page */
	uint64_t duplicates;	/* pages that came twice */
	uint64_t prefetched;
	uint64_t wasted;	/* by the policy's account, */
	uint64_t untouched;	/* and those that no vCPU touched to the end of the trace */
	uint64_t guest_ns;	/* the last vCPU is done */
	uint64_t complete_ns;	/* every page is present */
};

void model_run(const struct trace *trace, const struct model_link *link, const char *policy,
	       struct model_result *result);

#endif /* YAB_BENCH_MODEL_H */
