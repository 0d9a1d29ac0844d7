// SPDX-License-Identifier: GPL-2.0-or-later
#include <time.h>

#include "clock.h"

uint64_t yab_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int64_t yab_clock_us(void)
{
	return (int64_t)(yab_clock_ns() / 1000);
}

struct timeval yab_clock_pause(uint64_t ms)
{
	return (struct timeval){
		.tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000),
	};
}
