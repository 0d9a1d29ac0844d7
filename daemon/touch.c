// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

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

static void yab_touch_record(struct yab_histogram *wait, uint64_t from, uint64_t to)
{
	yab_histogram_record(wait, to > from ? (to - from) / 1000 : 0);
}

/* What is done to each touch of a range. */
typedef void (*yab_touch_cb)(struct yab_touch *touch, uint64_t now, void *arg);

static void yab_touches_each(struct yab_touches *touches, uint64_t page, uint64_t count,
			     yab_touch_cb cb, void *arg)
{
	const uint64_t now = touches->count ? yab_clock_ns() : 0;
	size_t left = touches->count;

	/* A range of more pages than there are entries: look at those instead. */
	if (left && count > YAB_TOUCH_SETS * YAB_TOUCH_WAYS) {
		for (size_t i = 0; i < YAB_TOUCH_SETS * YAB_TOUCH_WAYS; i++) {
			struct yab_touch *touch =
				&touches->sets[i / YAB_TOUCH_WAYS][i % YAB_TOUCH_WAYS];

			if (touch->time_ns && touch->page - page < count)
				cb(touch, now, arg);
		}
	} else {
		for (const uint64_t end = page + count; page < end && left; page++) {
			struct yab_touch *touch = yab_touches_find(touches, page);

			if (!touch)
				continue;
			cb(touch, now, arg);
			left--;
		}
	}
}

static void yab_touch_asked(struct yab_touch *touch, uint64_t now, void *arg)
{
	(void)arg;
	if (!touch->asked_ns)
		touch->asked_ns = now;
}

void yab_touches_asked(struct yab_touches *touches, uint64_t page, uint64_t count)
{
	yab_touches_each(touches, page, count, yab_touch_asked, NULL);
}

static void yab_touch_answered(struct yab_touch *touch, uint64_t now, void *arg)
{
	(void)arg;
	if (touch->asked_ns && !touch->answered_ns)
		touch->answered_ns = now;
}

void yab_touches_answered(struct yab_touches *touches, uint64_t page, uint64_t count)
{
	yab_touches_each(touches, page, count, yab_touch_answered, NULL);
}

static void yab_touch_dropped(struct yab_touch *touch, uint64_t now, void *arg)
{
	(void)now;
	(void)arg;
	touch->answered_ns = 0;
}

void yab_touches_dropped(struct yab_touches *touches, uint64_t page, uint64_t count)
{
	yab_touches_each(touches, page, count, yab_touch_dropped, NULL);
}

static void yab_touch_end(struct yab_touch *touch, uint64_t now, void *arg)
{
	struct yab_histogram *waits = arg;

	yab_touch_record(&waits[YAB_WAIT_FAULT], touch->time_ns, now);
	if (touch->answered_ns) {
		yab_touch_record(&waits[YAB_WAIT_QUEUE], touch->time_ns, touch->asked_ns);
		yab_touch_record(&waits[YAB_WAIT_ROUND_TRIP], touch->asked_ns,
				 touch->answered_ns);
		yab_touch_record(&waits[YAB_WAIT_INSTALL], touch->answered_ns, now);
	}
	memset(touch, 0, sizeof(*touch));
}

void yab_touches_end(struct yab_touches *touches, uint64_t page, uint64_t count,
		     struct yab_histogram waits[YAB_WAITS])
{
	const uint64_t before = waits[YAB_WAIT_FAULT].count;

	yab_touches_each(touches, page, count, yab_touch_end, waits);
	touches->count -= waits[YAB_WAIT_FAULT].count - before;
}
