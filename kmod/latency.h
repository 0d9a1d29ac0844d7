/* SPDX-License-Identifier: GPL-2.0 */
#ifndef YAB_LATENCY_H
#define YAB_LATENCY_H

#include <linux/atomic.h>
#include <linux/types.h>

/* 1 us to 2^24 us, which is 16 s. */
#define YAB_LATENCY_SLOTS	25

/* How many faults waited how long: up to 2^slot us, the last slot without end. */
struct yab_latency {
	atomic_long_t slots[YAB_LATENCY_SLOTS];
};

void yab_latency_add(struct yab_latency *latency, u64 waited_ns);
ssize_t yab_latency_print(const struct yab_latency *latency, char *buf);

#endif /* YAB_LATENCY_H */
