// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>
#include <time.h>

#include "../../daemon/touch.h"
#include "script.h"

static struct yab_touches touches;

static struct yab_histogram waits[YAB_WAITS];
static const struct yab_histogram *const latency = &waits[YAB_WAIT_FAULT];

static void setup(void)
{
	memset(&touches, 0, sizeof(touches));
	memset(waits, 0, sizeof(waits));
}

START_TEST(first_touch_counts)
{
	ck_assert(yab_touches_note(&touches, 5, UINT64_MAX));	/* a clock that is ahead */
	ck_assert(yab_touches_note(&touches, 5, 1));
	ck_assert_uint_eq(touches.count, 1);
	yab_touches_end(&touches, 5, 1, waits);
	ck_assert_uint_eq(latency->count, 1);
	ck_assert_uint_eq(latency->max, 0);
	yab_touches_end(&touches, 5, 1, waits);
	ck_assert_uint_eq(latency->count, 1);
	ck_assert_uint_eq(touches.count, 0);
}
END_TEST

/* A full table loses touches, never mixes them up. */
START_TEST(bounded)
{
	uint64_t kept = 0, page;

	for (page = 0; page < 20000; page++)
		kept += yab_touches_note(&touches, page * 64, page + 1);
	ck_assert_uint_eq(kept, touches.count);
	ck_assert_uint_le(kept, YAB_TOUCH_SETS * YAB_TOUCH_WAYS);
	ck_assert_uint_gt(kept, YAB_TOUCH_SETS * YAB_TOUCH_WAYS / 2);
	if (_i) {
		/* One range that ends before the last of them, one that holds it. */
		yab_touches_end(&touches, 0, 19999 * 64, waits);
		ck_assert_uint_le(touches.count, 1);
		yab_touches_end(&touches, 1, UINT64_MAX - 1, waits);
	} else {
		for (page = 0; page < 20000; page++)
			yab_touches_end(&touches, page * 64, 1, waits);
	}
	ck_assert_uint_eq(latency->count, kept);
	ck_assert_uint_eq(touches.count, 0);
}
END_TEST

START_TEST(end_records_those_of_the_range)
{
	yab_touches_note(&touches, 9, 1);
	yab_touches_note(&touches, 10, 1);
	yab_touches_note(&touches, 12, UINT64_MAX);	/* a clock that is ahead: no wait */
	yab_touches_note(&touches, 13, 1);
	yab_touches_end(&touches, 10, 3, waits);
	ck_assert_uint_eq(latency->count, 2);
	ck_assert_uint_eq(yab_histogram_quantile(latency, 500), 0);
	ck_assert_uint_gt(latency->max, 0);
	ck_assert_uint_eq(touches.count, 2);
}
END_TEST

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* The parts of a fault add up to it, but for the rounding down of each. */
START_TEST(parts_add_up)
{
	const uint64_t touched = now() - 5000000;	/* 5 ms ago */
	uint64_t parts = 0;

	yab_touches_note(&touches, 7, touched);
	yab_touches_asked(&touches, 5, 4);
	yab_touches_answered(&touches, 7, 1);
	yab_touches_end(&touches, 7, 1, waits);
	for (int i = 0; i < YAB_WAITS; i++)
		ck_assert_uint_eq(waits[i].count, 1);
	ck_assert_uint_ge(waits[YAB_WAIT_QUEUE].sum, 5000);
	for (int i = YAB_WAIT_QUEUE; i < YAB_WAITS; i++)
		parts += waits[i].sum;
	ck_assert_uint_le(parts, latency->sum);
	ck_assert_uint_ge(parts + YAB_WAITS - 2, latency->sum);
}
END_TEST

/* What each stamp says, without a clock: they are put there by hand. */
START_TEST(first_stamp_counts)
{
	struct yab_touch *touch = NULL;
	uint64_t asked;

	yab_touches_note(&touches, 7, 1000);
	for (size_t i = 0; i < YAB_TOUCH_SETS * YAB_TOUCH_WAYS; i++)
		if (touches.sets[i / YAB_TOUCH_WAYS][i % YAB_TOUCH_WAYS].time_ns)
			touch = &touches.sets[i / YAB_TOUCH_WAYS][i % YAB_TOUCH_WAYS];
	ck_assert_ptr_nonnull(touch);
	/* An answer to a request from before the touch is none to this one. */
	yab_touches_answered(&touches, 7, 1);
	ck_assert_uint_eq(touch->answered_ns, 0);
	/* Others' pages do not matter. */
	yab_touches_asked(&touches, 8, 100);
	yab_touches_asked(&touches, 0, 7);
	ck_assert_uint_eq(touch->asked_ns, 0);
	yab_touches_asked(&touches, 0, UINT64_MAX);
	asked = touch->asked_ns;
	ck_assert_uint_ne(asked, 0);
	touch->asked_ns = 3000;
	yab_touches_asked(&touches, 7, 1);
	ck_assert_uint_eq(touch->asked_ns, 3000);
	yab_touches_answered(&touches, 7, 1);
	ck_assert_uint_ne(touch->answered_ns, 0);
	/* A connection that is lost in the middle of the answer. */
	yab_touches_dropped(&touches, 7, 1);
	ck_assert_uint_eq(touch->answered_ns, 0);
	ck_assert_uint_eq(touch->asked_ns, 3000);
	yab_touches_answered(&touches, 7, 1);
	touch->answered_ns = 10000;
	yab_touches_answered(&touches, 7, 1);
	ck_assert_uint_eq(touch->answered_ns, 10000);
	yab_touches_end(&touches, 7, 1, waits);
	ck_assert_uint_eq(waits[YAB_WAIT_QUEUE].sum, 2);
	ck_assert_uint_eq(waits[YAB_WAIT_ROUND_TRIP].sum, 7);
	/* Nothing of it is left for the next touch. */
	yab_touches_note(&touches, 7, 1000);
	yab_touches_answered(&touches, 7, 1);
	yab_touches_end(&touches, 7, 1, waits);
	ck_assert_uint_eq(latency->count, 2);
	ck_assert_uint_eq(waits[YAB_WAIT_INSTALL].count, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("touch");
	TCase *tcase = tcase_create("touch");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, first_touch_counts);
	tcase_add_loop_test(tcase, bounded, 0, 2);
	tcase_add_test(tcase, end_records_those_of_the_range);
	tcase_add_test(tcase, parts_add_up);
	tcase_add_test(tcase, first_stamp_counts);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
