/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs here share. In a host with --icount a nanosecond of the monotonic
 * clock is an instruction, as long as somebody has something to do.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdlib.h>
#include <time.h>

#include "../../kselftest/harness.h"

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static inline void touch(unsigned char *at, bool write)
{
	if (write)
		*(volatile unsigned char *)at = 1;
	else
		*(volatile unsigned char *)at;
}

static inline int compare_u64(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static inline uint64_t median(uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare_u64);
	return values[count / 2];
}

#endif /* BENCH_H */
