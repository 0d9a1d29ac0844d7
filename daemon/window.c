// SPDX-License-Identifier: GPL-2.0-or-later
#include <assert.h>
#include <string.h>

#include "window.h"
#include "wire.h"

/*
 * A measurement takes this many widths of pages, at least so many pages, and at least
 * so long: together some 10 round trips, so that one turn of the event loop more or
 * less does not decide.
 */
#define YAB_WINDOW_SPAN		4
#define YAB_WINDOW_SPAN_PAGES	512
#define YAB_WINDOW_SPAN_NS	20000000
/* Measurements until it tries again. */
#define YAB_WINDOW_HOLD		32

/*
 * Per cent of the rate: what half as much again must bring at least, and what two
 * thirds must still bring. A path that is not full gives 150 and 67, one that is full
 * 100 and 100.
 */
#define YAB_WINDOW_WORTH_WIDER		112
#define YAB_WINDOW_WORTH_NARROWER	96

/* Requests that make up a window, and the least pages of one. */
#define YAB_WINDOW_REQUESTS	4
#define YAB_WINDOW_RUN_MIN	8

static const bool yab_window_moves[YAB_WINDOW_STATES][YAB_WINDOW_STATES] = {
	[YAB_WINDOW_STARTING] = { [YAB_WINDOW_GROWING] = true },
	[YAB_WINDOW_GROWING] = { [YAB_WINDOW_SHRINKING] = true, [YAB_WINDOW_HOLDING] = true },
	[YAB_WINDOW_SHRINKING] = { [YAB_WINDOW_HOLDING] = true },
	[YAB_WINDOW_HOLDING] = { [YAB_WINDOW_GROWING] = true },
};

void yab_window_init(struct yab_window *window)
{
	*window = (struct yab_window){
		.width = YAB_WINDOW_FIRST,
		.known = YAB_WINDOW_FIRST,
	};
}

static void yab_window_move(struct yab_window *window, enum yab_window_state state)
{
	assert(yab_window_moves[window->state][state]);
	window->state = state;
	window->held = 0;
}

static uint64_t yab_window_wider(uint64_t width)
{
	width += width / 2;
	return width < YAB_WINDOW_MAX ? width : YAB_WINDOW_MAX;
}

static uint64_t yab_window_narrower(uint64_t width)
{
	width -= width / 3;
	return width > YAB_WINDOW_MIN ? width : YAB_WINDOW_MIN;
}

/* The width on trial brought @rate. */
static void yab_window_judge(struct yab_window *window, uint64_t rate)
{
	const bool tried = window->width != window->known;

	switch (window->state) {
	case YAB_WINDOW_STARTING:
		window->rate = rate;
		yab_window_move(window, YAB_WINDOW_GROWING);
		window->width = yab_window_wider(window->known);
		return;
	case YAB_WINDOW_GROWING:
		if (tried && rate * 100 >= window->rate * YAB_WINDOW_WORTH_WIDER) {
			window->known = window->width;
			window->rate = rate;
			window->width = yab_window_wider(window->known);
			return;
		}
		yab_window_move(window, YAB_WINDOW_SHRINKING);
		window->width = yab_window_narrower(window->known);
		return;
	case YAB_WINDOW_SHRINKING:
		if (tried && rate * 100 >= window->rate * YAB_WINDOW_WORTH_NARROWER) {
			/* The rate stays that of the widest: small losses do not add up. */
			window->known = window->width;
			window->width = yab_window_narrower(window->known);
			if (window->width != window->known)
				return;
		}
		yab_window_move(window, YAB_WINDOW_HOLDING);
		window->width = window->known;
		return;
	case YAB_WINDOW_HOLDING:
		if (++window->held < YAB_WINDOW_HOLD)
			return;
		window->rate = rate;
		yab_window_move(window, YAB_WINDOW_GROWING);
		window->width = yab_window_wider(window->known);
		return;
	case YAB_WINDOW_STATES:
		return;
	}
}

/* What is on order now was asked for with another width. */
static void yab_window_begin(struct yab_window *window)
{
	window->skip = window->on_order;
	window->pages = 0;
	window->start_ns = 0;
}

void yab_window_disturb(struct yab_window *window)
{
	yab_window_begin(window);
}

void yab_window_asked(struct yab_window *window, uint64_t pages)
{
	window->on_order += pages;
}

void yab_window_dropped(struct yab_window *window, uint64_t pages)
{
	window->on_order -= pages;
	yab_window_disturb(window);
}

void yab_window_arrived(struct yab_window *window, uint64_t pages, uint64_t now_ns)
{
	uint64_t span = window->width * YAB_WINDOW_SPAN;

	window->on_order -= pages;
	if (window->skip > pages) {
		window->skip -= pages;
		return;
	}
	window->skip = 0;
	if (!window->start_ns) {
		window->start_ns = now_ns;
		return;
	}
	window->pages += pages;
	if (span < YAB_WINDOW_SPAN_PAGES)
		span = YAB_WINDOW_SPAN_PAGES;
	if (window->pages < span || now_ns - window->start_ns < YAB_WINDOW_SPAN_NS)
		return;
	yab_window_judge(window, window->pages * 1000000000 / (now_ns - window->start_ns));
	yab_window_begin(window);
}

uint64_t yab_window_run(const struct yab_window *window)
{
	uint64_t run = window->width / YAB_WINDOW_REQUESTS;

	if (run < YAB_WINDOW_RUN_MIN)
		return YAB_WINDOW_RUN_MIN;
	return run < YAB_WIRE_PAGES_MAX ? run : YAB_WIRE_PAGES_MAX;
}
