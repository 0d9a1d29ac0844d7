// SPDX-License-Identifier: GPL-2.0-or-later
#include "clock.h"

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

static struct yab_touch *yab_touches_find(struct yab_touches *touches, uint64_t page)
{
	struct yab_touch *set = yab_touches_set(touches, page);

	for (unsigned int i = 0; i < YAB_TOUCH_WAYS; i++)
		if (set[i].time_ns && set[i].page == page)
			return &set[i];
	return NULL;
}

static void yab_touch_end(struct yab_touches *touches, struct yab_touch *touch, uint64_t now,
			  struct yab_histogram *latency)
{
	yab_histogram_record(latency, now > touch->time_ns ? (now - touch->time_ns) / 1000 : 0);
	touch->time_ns = 0;
	touches->count--;
}

void yab_touches_end(struct yab_touches *touches, uint64_t page, uint64_t count,
		     struct yab_histogram *latency)
{
	const uint64_t now = touches->count ? yab_clock_ns() : 0;

	/* A range of more pages than there are entries: look at those instead. */
	if (touches->count && count > YAB_TOUCH_SETS * YAB_TOUCH_WAYS) {
		for (size_t i = 0; i < YAB_TOUCH_SETS * YAB_TOUCH_WAYS; i++) {
			struct yab_touch *set = touches->sets[i / YAB_TOUCH_WAYS];
			struct yab_touch *touch = &set[i % YAB_TOUCH_WAYS];

			if (touch->time_ns && touch->page - page < count)
				yab_touch_end(touches, touch, now, latency);
		}
		return;
	}
	for (const uint64_t end = page + count; page < end && touches->count; page++) {
		struct yab_touch *touch = yab_touches_find(touches, page);

		if (touch)
			yab_touch_end(touches, touch, now, latency);
	}
}
