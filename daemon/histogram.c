// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "histogram.h"

/*
 * Values below YAB_HISTOGRAM_STEPS have a bucket each. Above, the highest bit
 * gives the group of buckets and the YAB_HISTOGRAM_STEPS_LOG bits after it the
 * bucket in the group.
 */
static unsigned int yab_histogram_bucket(uint64_t us)
{
	unsigned int shift;

	if (us < YAB_HISTOGRAM_STEPS)
		return (unsigned int)us;
	if (us >> YAB_HISTOGRAM_BITS)
		return YAB_HISTOGRAM_BUCKETS - 1;
	shift = 63 - (unsigned int)__builtin_clzll(us) - YAB_HISTOGRAM_STEPS_LOG;
	return shift * YAB_HISTOGRAM_STEPS + (unsigned int)(us >> shift);
}

/* The greatest value that falls into @bucket. */
static uint64_t yab_histogram_end(unsigned int bucket)
{
	unsigned int shift;
	uint64_t step;

	if (bucket < YAB_HISTOGRAM_STEPS)
		return bucket;
	shift = bucket / YAB_HISTOGRAM_STEPS - 1;
	step = bucket % YAB_HISTOGRAM_STEPS + YAB_HISTOGRAM_STEPS;
	return ((step + 1) << shift) - 1;
}

void yab_histogram_reset(struct yab_histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
}

void yab_histogram_record(struct yab_histogram *histogram, uint64_t us)
{
	histogram->buckets[yab_histogram_bucket(us)]++;
	histogram->count++;
	histogram->sum += us;
	if (us > histogram->max)
		histogram->max = us;
}

uint64_t yab_histogram_quantile(const struct yab_histogram *histogram, unsigned int per_mille)
{
	uint64_t rank, seen = 0;

	if (!histogram->count)
		return 0;
	if (per_mille >= 1000)
		return histogram->max;
	/* ceil(count * per_mille / 1000) without overflow, and at least the first value. */
	rank = histogram->count / 1000 * per_mille +
	       (histogram->count % 1000 * per_mille + 999) / 1000;
	if (!rank)
		rank = 1;
	for (unsigned int i = 0; i < YAB_HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= rank) {
			uint64_t end = yab_histogram_end(i);

			/* The last bucket is open to the right. */
			if (i == YAB_HISTOGRAM_BUCKETS - 1 || end > histogram->max)
				end = histogram->max;
			return end;
		}
	}
	return histogram->max;
}

void yab_histogram_coarse(const struct yab_histogram *histogram,
			  uint64_t counts[YAB_HISTOGRAM_COARSE])
{
	unsigned int coarse = 0;

	memset(counts, 0, YAB_HISTOGRAM_COARSE * sizeof(counts[0]));
	/* Powers of two are ends of buckets, so none is cut. */
	for (unsigned int i = 0; i < YAB_HISTOGRAM_BUCKETS; i++) {
		while (coarse < YAB_HISTOGRAM_COARSE - 1 &&
		       yab_histogram_end(i) >> (YAB_HISTOGRAM_COARSE_FIRST + coarse))
			coarse++;
		counts[coarse] += histogram->buckets[i];
	}
}
