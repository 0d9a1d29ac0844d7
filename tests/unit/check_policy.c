// SPDX-License-Identifier: GPL-2.0-or-later
/* Page policies, with a pagemap and nothing else. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../daemon/policy.h"
#include "script.h"

#define RUN	64
/* 1 TiB. */
#define HUGE	(1ULL << 28)

static struct yab_policy *policy;
static const struct yab_policy_statistics *statistics;
static struct yab_pagemap map;

static void make(const char *spec, uint64_t pages)
{
	policy = yab_policy_new(spec, pages);
	ck_assert_ptr_nonnull(policy);
	statistics = yab_policy_statistics(policy);
	ck_assert_int_eq(yab_pagemap_init(&map, pages), 0);
}

static void drop(void)
{
	yab_policy_free(policy);
	yab_pagemap_release(&map);
	policy = NULL;
}

/* As the pager does it. */
static void touch(uint64_t page)
{
	if (!yab_pagemap_want(&map, page))
		return;
	yab_policy_touch(policy, page);
	yab_pagemap_ask(&map, page, 1, YAB_WIRE_URGENT);
}

static bool next(uint64_t *page, uint64_t *count)
{
	if (!yab_policy_next(policy, &map, RUN, page, count))
		return false;
	ck_assert_uint_ge(*count, 1);
	ck_assert_uint_le(*count, RUN);
	ck_assert_uint_lt(*page, map.pages);
	ck_assert_uint_le(*count, map.pages - *page);
	for (uint64_t i = *page; i < *page + *count; i++)
		if (yab_pagemap_is_present(&map, i) ||
		    yab_pagemap_is_asked(&map, i, YAB_WIRE_URGENT) ||
		    yab_pagemap_is_asked(&map, i, YAB_WIRE_BULK))
			ck_abort_msg("page %llu is not idle", (unsigned long long)i);
	yab_pagemap_ask(&map, *page, *count, YAB_WIRE_BULK);
	return true;
}

static void expect(uint64_t page, uint64_t count)
{
	uint64_t got = 0, run = 0;

	ck_assert(next(&got, &run));
	ck_assert_uint_eq(got, page);
	ck_assert_uint_eq(run, count);
}

/* Everything asked for because of touches; returns how many pages. */
static uint64_t drain(void)
{
	const uint64_t before = statistics->prefetched;
	uint64_t page, count, last;

	do {
		last = statistics->prefetched;
		if (!next(&page, &count))
			break;
	} while (statistics->prefetched != last);
	return statistics->prefetched - before;
}

static bool is_asked(uint64_t page)
{
	return yab_pagemap_is_asked(&map, page, YAB_WIRE_BULK);
}

START_TEST(specifications)
{
	static const char *const good[] = {
		"sweep", "adaptive", "forward=0", "forward=1", "backward=7",
		"forward=8,backward=8", "backward=2,forward=4096", NULL,
	};
	static const char *const bad[] = {
		"", " ", "Sweep", "sweep ", "sweep,", "adaptive,forward=1", "forward", "forward=",
		"forward=-1", "forward=+1", "forward= 1", "forward=1 ", "forward=1,", ",forward=1",
		"forward=1,,backward=1", "forward=1,forward=2", "forward=4097", "forward=0x10",
		"forward=99999999999999999999", "forward=18446744073709551617", "back=1",
		"forward=1,sideways=2",
		"forward=00000000000000000000000000000000000000000000000000000000000000001", NULL,
	};

	ck_assert_ptr_null(yab_policy_new(NULL, 0));
	ck_assert_int_eq(errno, EINVAL);
	make(NULL, 1);
	ck_assert_str_eq(yab_policy_name(policy), "adaptive");
	drop();
	for (size_t i = 0; good[i]; i++) {
		ck_assert_msg(yab_policy_is_valid(good[i]), "%s", good[i]);
		make(good[i], 10);
		drop();
	}
	for (size_t i = 0; bad[i]; i++) {
		ck_assert_msg(!yab_policy_is_valid(bad[i]), "%s", bad[i]);
		errno = 0;
		ck_assert_ptr_null(yab_policy_new(bad[i], 10));
		ck_assert_int_eq(errno, EINVAL);
	}
}
END_TEST

START_TEST(sweep_goes_on_behind_touches)
{
	make("sweep", 300);
	expect(0, 64);
	touch(200);
	expect(201, 64);
	touch(298);
	expect(299, 1);
	expect(64, 64);
	touch(299);
	expect(128, 64);
	expect(192, 8);
	expect(265, 33);
	ck_assert(!yab_policy_next(policy, &map, RUN, &(uint64_t){ 0 }, &(uint64_t){ 0 }));
	ck_assert_uint_eq(statistics->prefetched, 0);
	drop();
}
END_TEST

START_TEST(push_around_touches)
{
	make("forward=3,backward=2", 300);
	touch(100);
	touch(200);
	touch(0);
	touch(299);
	/* In the order of the touches, what lies behind first; within the region. */
	expect(101, 3);
	expect(98, 2);
	expect(201, 3);
	expect(198, 2);
	expect(1, 3);
	expect(297, 2);
	ck_assert_uint_eq(statistics->prefetched, 15);
	/* Then the sweep, from the last touch on: round to the start. */
	expect(4, 64);
	ck_assert_uint_eq(statistics->prefetched, 15);
	drop();
	make("forward=0", 300);
	touch(100);
	expect(101, 64);
	ck_assert_uint_eq(statistics->prefetched, 0);
	drop();
}
END_TEST

/* More touches than are remembered: the oldest go without, and what they got is wasted. */
START_TEST(push_forgets)
{
	uint64_t page, count;

	make("forward=1", 100000);
	for (uint64_t i = 0; i < 300; i++)
		touch(i * 100);
	expect(44 * 100 + 1, 1);
	for (int i = 0; i < 255; i++)
		ck_assert(next(&page, &count));
	ck_assert_uint_eq(statistics->prefetched, 256);
	ck_assert_uint_eq(statistics->wasted, 0);
	/* Borne out by a touch on the way, and next to it. */
	touch(4401);
	touch(4502);
	for (uint64_t i = 0; i < 300; i++)
		touch(50000 + i * 100);
	ck_assert_uint_eq(statistics->wasted, 254);
	drop();
}
END_TEST

/* Forward and backward, windows double: few touches for many pages. */
START_TEST(window_grows)
{
	uint64_t page = 50000, touches = 0;
	const int64_t step = _i ? -1 : 1;

	make("adaptive", 100000);
	touch(page);
	ck_assert_uint_eq(statistics->prefetched, 0);
	for (uint64_t i = 0; i < 4000; i++) {
		page += (uint64_t)step;
		if (is_asked(page))
			continue;
		touch(page);
		touches++;
		drain();
	}
	/* 8, 16, ... 512: 1000 pages in seven; without, it would be thousands. */
	ck_assert_uint_le(touches, 20);
	ck_assert_uint_eq(statistics->wasted, 0);
	drop();
}
END_TEST

/* No page before 0 and none behind the last one. */
START_TEST(region_ends)
{
	make("adaptive", 1000);
	touch(2);
	touch(1);
	ck_assert_uint_eq(drain(), 1);
	ck_assert(is_asked(0));
	touch(997);
	touch(998);
	drain();
	ck_assert(is_asked(999));
	drop();
	for (uint64_t pages = 1; pages < 70; pages++) {
		uint64_t page, count, seen = 0;

		make("adaptive", pages);
		for (uint64_t i = 0; i < pages; i += 1 + pages / 7)
			touch(pages - 1 - i);
		while (next(&page, &count))
			seen += count;
		ck_assert_uint_eq(map.idle, 0);
		ck_assert_uint_le(seen, pages);
		drop();
	}
}
END_TEST

/* A stream that jumps within its window is halved, and what it passed over is wasted. */
START_TEST(window_shrinks)
{
	uint64_t first, second;

	make("adaptive", 100000);
	touch(1000);
	for (uint64_t page = 1001; page < 1100; page++) {
		if (is_asked(page))
			continue;
		touch(page);
		drain();
	}
	/* The window is at its frontier; another one is asked for there. */
	for (first = 1100; is_asked(first); first++)
		;
	touch(first);
	second = drain();
	ck_assert_uint_ge(second, 64);
	ck_assert_uint_eq(statistics->wasted, 0);
	for (first += second; is_asked(first); first++)
		;
	touch(first + 40);
	ck_assert_uint_eq(statistics->wasted, second);
	ck_assert_uint_eq(drain(), second / 2);
	drop();
}
END_TEST

/* Each of 64 streams gets its turn, in both directions. */
START_TEST(many_streams)
{
	uint64_t page, count, served = 0;

	make("adaptive", 1000000);
	for (uint64_t i = 0; i < 64; i++) {
		const uint64_t start = 10000 * (i + 1);

		touch(start);
		touch(i % 2 ? start - 1 : start + 1);
	}
	for (uint64_t i = 0; i < 64; i++) {
		ck_assert(next(&page, &count));
		served |= 1ULL << (page / 5000 + 1) / 2 % 64;
		ck_assert_uint_eq(count, 8);
	}
	ck_assert_uint_eq(served, UINT64_MAX);
	ck_assert_uint_eq(statistics->prefetched, 64 * 8);
	/* One more takes the place of the one that was right least recently: the first. */
	touch(10000 + 10);
	touch(900000);
	touch(900001);
	ck_assert_uint_eq(statistics->wasted, 8);
	drop();
}
END_TEST

/* A stream with a large window does not keep another one waiting. */
START_TEST(streams_take_turns)
{
	uint64_t page, count, first, second, from[2] = { 0 };

	make("adaptive", 1000000);
	for (uint64_t start = 100000; start <= 500000; start += 400000) {
		touch(start);
		for (page = start + 1; page < start + 2000; page++) {
			if (is_asked(page))
				continue;
			touch(page);
			drain();
		}
	}
	for (first = 100000; yab_pagemap_is_asked(&map, first, YAB_WIRE_URGENT) ||
	     is_asked(first); first++)
		;
	for (second = 500000; yab_pagemap_is_asked(&map, second, YAB_WIRE_URGENT) ||
	     is_asked(second); second++)
		;
	touch(first);
	touch(second);
	for (int i = 0; i < 4; i++) {
		ck_assert(next(&page, &count));
		ck_assert_uint_eq(count, RUN);
		from[page >= second]++;
	}
	ck_assert_uint_eq(from[0], 2);
	ck_assert_uint_eq(from[1], 2);
	drop();
}
END_TEST

/* A page that was asked for and has not come: the guest is faster. */
START_TEST(late_is_right)
{
	make("adaptive", 100000);
	touch(1000);
	touch(1001);
	ck_assert_uint_eq(drain(), 8);
	touch(1006);
	/* Up to 16 pages ahead of the guest. */
	ck_assert_uint_eq(drain(), 1006 + 16 - 1009);
	ck_assert(is_asked(1022));
	drop();
}
END_TEST

/* 256 vCPUs at random in a large region. */
START_TEST(random_prefetches_little)
{
	uint64_t state = 5, page, count;

	make("adaptive", HUGE);
	for (uint64_t i = 0; i < 50000; i++) {
		touch(script_random(&state) % HUGE);
		ck_assert(next(&page, &count));
	}
	ck_assert_uint_le(statistics->prefetched, 5000);
	ck_assert_uint_le(statistics->wasted, statistics->prefetched);
	drop();
}
END_TEST

/* Around touches whose neighbours are touched, too, before hints; but not for ever. */
START_TEST(radius_adapts)
{
	uint64_t state = 7;

	make("adaptive", HUGE);
	for (uint64_t i = 1; i <= 200; i++) {
		touch(i * 100000);
		touch(i * 100000 + 10);
		drain();
	}
	drain();
	touch(HUGE / 2);
	ck_assert_uint_eq(drain(), 64);
	ck_assert(is_asked(HUGE / 2 - 32));
	ck_assert(is_asked(HUGE / 2 + 32));
	for (uint64_t i = 0; i < 400; i++)
		touch(script_random(&state) % HUGE);
	drain();
	touch(HUGE / 4);
	ck_assert_uint_eq(drain(), 0);
	drop();
}
END_TEST

/* Where nothing is proved the sweep begins around the last touch. */
START_TEST(lone_touch_leads_sweep)
{
	make("adaptive", 100000);
	touch(5000);
	expect(5001, 8);
	expect(4992, 8);
	expect(5009, 64);
	expect(5073, 64);
	expect(5137, 64);
	expect(5201, 56);
	expect(4984, 8);
	expect(0, 64);
	ck_assert_uint_eq(statistics->prefetched, 0);
	drop();
}
END_TEST

START_TEST(hints)
{
	const char *spec = _i ? "sweep" : "adaptive";

	make(spec, 100000);
	yab_policy_hint(policy, 700, 0);
	yab_policy_hint(policy, 100000, 5);
	yab_policy_hint(policy, UINT64_MAX, UINT64_MAX);
	yab_policy_hint(policy, 600, 100);
	yab_policy_hint(policy, 99990, UINT64_MAX);
	yab_policy_hint(policy, 500, 2);
	expect(500, 2);
	expect(99990, 10);
	expect(600, 64);
	yab_policy_hint(policy, 300, 1);
	expect(300, 1);
	expect(664, 36);
	expect(0, 64);
	ck_assert_uint_eq(statistics->hinted, 2 + 10 + 64 + 1 + 36);
	ck_assert_uint_eq(statistics->prefetched, 0);
	/* More than there is room for: the newest 1024 stay. */
	for (uint64_t i = 0; i < 2000; i++)
		yab_policy_hint(policy, 1000 + 2 * i, 1);
	for (uint64_t i = 0; i < 1024; i++)
		expect(1000 + 2 * (1999 - i), 1);
	expect(64, 64);
	drop();
}
END_TEST

/* A stream goes first, then hints, then what follows it. */
START_TEST(hints_after_streams)
{
	make("adaptive", 100000);
	yab_policy_hint(policy, 70000, 3);
	touch(1000);
	touch(1001);
	expect(1002, 8);
	expect(70000, 3);
	drop();
}
END_TEST

/* Whatever happens, each page is asked for once, and the end is found. */
START_TEST(everything_is_asked_for)
{
	static const char *const specs[] = { "sweep", "forward=9,backward=5", "adaptive" };
	const uint64_t pages = 20000 + (uint64_t)_i;
	uint64_t state = 3 + (uint64_t)_i, seen = 0, page, count, at = 0;

	make(specs[_i % 3], pages);
	for (;;) {
		/* Hostile: up, down, far, the ends, the same again. */
		switch (script_random(&state) % 8) {
		case 0:
			at = script_random(&state) % pages;
			break;
		case 1:
			at = script_random(&state) % 2 ? 0 : pages - 1;
			break;
		case 2:
		case 3:
			at = (at + 1) % pages;
			break;
		case 4:
			at = at ? at - 1 : 0;
			break;
		case 5:
			at = (at + 17) % pages;
			break;
		default:
			break;
		}
		touch(at);
		if (script_random(&state) % 50 == 0)
			yab_policy_hint(policy, script_random(&state), script_random(&state));
		/* A connection is lost: what it was asked for is idle again. */
		if (script_random(&state) % 200 == 0 && map.idle > pages / 2)
			yab_pagemap_forget(&map, 0, map.pages, YAB_WIRE_BULK);
		if (!next(&page, &count))
			break;
		seen += count;
	}
	ck_assert_uint_eq(map.idle, 0);
	ck_assert_uint_gt(seen, 0);
	ck_assert_uint_le(statistics->wasted, statistics->prefetched);
	drop();
}
END_TEST

/* The last idle page of 1 TiB, found again and again: a scan of pages would take minutes. */
START_TEST(huge_region)
{
	static const char *const specs[] = { "sweep", "forward=64", "adaptive" };
	uint64_t page, count;

	make(specs[_i], HUGE);
	yab_pagemap_mark_present(&map, 1, HUGE - 1);
	for (uint64_t i = 0; i < 20000; i++) {
		yab_policy_touch(policy, HUGE / 2 + i * 7919 % 1000);
		yab_policy_touch(policy, HUGE / 2 - i);
		ck_assert(yab_policy_next(policy, &map, RUN, &page, &count));
		ck_assert_uint_eq(page, 0);
		ck_assert_uint_eq(count, 1);
	}
	drop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *tcase = tcase_create("policy");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, specifications);
	tcase_add_test(tcase, sweep_goes_on_behind_touches);
	tcase_add_test(tcase, push_around_touches);
	tcase_add_test(tcase, push_forgets);
	tcase_add_loop_test(tcase, window_grows, 0, 2);
	tcase_add_test(tcase, region_ends);
	tcase_add_test(tcase, window_shrinks);
	tcase_add_test(tcase, many_streams);
	tcase_add_test(tcase, streams_take_turns);
	tcase_add_test(tcase, late_is_right);
	tcase_add_test(tcase, random_prefetches_little);
	tcase_add_test(tcase, radius_adapts);
	tcase_add_test(tcase, lone_touch_leads_sweep);
	tcase_add_loop_test(tcase, hints, 0, 2);
	tcase_add_test(tcase, hints_after_streams);
	tcase_add_loop_test(tcase, everything_is_asked_for, 0, 12);
	tcase_add_loop_test(tcase, huge_region, 0, 3);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
