/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A histogram of latencies in microseconds: log-linear (each power of two is
 * cut into equal steps), of fixed size, so recording neither allocates nor
 * fails. A quantile is too high by at most 1/YAB_HISTOGRAM_STEPS of itself.
 */
#ifndef YAB_DAEMON_HISTOGRAM_H
#define YAB_DAEMON_HISTOGRAM_H

#include <stdint.h>

#define YAB_HISTOGRAM_STEPS_LOG		5
#define YAB_HISTOGRAM_STEPS		32	/* 2^YAB_HISTOGRAM_STEPS_LOG */
/* 2^40 us are 12 days; what is longer counts as that (the maximum stays exact). */
#define YAB_HISTOGRAM_BITS		40
#define YAB_HISTOGRAM_BUCKETS \
	((YAB_HISTOGRAM_BITS - YAB_HISTOGRAM_STEPS_LOG + 1) * YAB_HISTOGRAM_STEPS)

/*
 * The same values in few buckets, for other programs: one ends below each power of two
 * of microseconds from 2^YAB_HISTOGRAM_COARSE_FIRST, the last one has all that is
 * greater. 16 us to 16.8 s.
 */
#define YAB_HISTOGRAM_COARSE_FIRST	4
#define YAB_HISTOGRAM_COARSE		22

struct yab_histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t buckets[YAB_HISTOGRAM_BUCKETS];
};

void yab_histogram_reset(struct yab_histogram *histogram);
void yab_histogram_record(struct yab_histogram *histogram, uint64_t us);

/*
 * The smallest value that @per_mille thousandths of the recorded ones do not
 * exceed, rounded up to the end of its bucket. 0 if nothing was recorded.
 */
uint64_t yab_histogram_quantile(const struct yab_histogram *histogram, unsigned int per_mille);

/* How many values are in each of the few buckets. */
void yab_histogram_coarse(const struct yab_histogram *histogram,
			  uint64_t counts[YAB_HISTOGRAM_COARSE]);

#endif /* YAB_DAEMON_HISTOGRAM_H */
