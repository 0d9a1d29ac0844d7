// SPDX-License-Identifier: GPL-2.0-or-later
#include <time.h>

#include "touch.h"

/* Multiplication by 2^64 / golden ratio spreads strides of all kinds. */
static struct yab_touch *yab_touches_set(struct yab_touches *touches, uint64_t page)
{
	return touches->sets[(page * 0x9e3779b97f4a7c15ULL) >> 32 & (YAB_TOUCH_SETS - 1)];
}

bool yab_touches_note(struct yab_touches *touches, uint64_t page, uint64_t time_ns)
{
	struct yab_touch *set = yab_touches_set(touches, page);
	struct yab_touch *room = NULL;

	for (unsigned int i = 0; i < YAB_TOUCH_WAYS; i++) {
		if (!set[i].time_ns)
			room = &set[i];
		else if (set[i].page == page)
			return true;
	}
	if (!room || !time_ns)
		return false;
	room->page = page;
	room->time_ns = time_ns;
	touches->count++;
	return true;
}

uint64_t yab_touches_take(struct yab_touches *touches, uint64_t page)
{
	struct yab_touch *set = yab_touches_set(touches, page);

	for (unsigned int i = 0; i < YAB_TOUCH_WAYS; i++) {
		uint64_t time_ns = set[i].time_ns;

		if (!time_ns || set[i].page != page)
			continue;
		set[i].time_ns = 0;
		touches->count--;
		return time_ns;
	}
	return 0;
}

static uint64_t yab_touches_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void yab_touches_end(struct yab_touches *touches, uint64_t page, uint64_t count,
		     struct yab_histogram *latency)
{
	const uint64_t end = page + count;
	uint64_t now = 0;

	for (; page < end && touches->count; page++) {
		const uint64_t touched = yab_touches_take(touches, page);

		if (!touched)
			continue;
		if (!now)
			now = yab_touches_now();
		yab_histogram_record(latency, now > touched ? (now - touched) / 1000 : 0);
	}
}
