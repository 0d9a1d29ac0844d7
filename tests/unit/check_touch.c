// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "../../daemon/touch.h"
#include "script.h"

static struct yab_touches touches;

static struct yab_histogram latency;

static void setup(void)
{
	memset(&touches, 0, sizeof(touches));
	yab_histogram_reset(&latency);
}

START_TEST(first_touch_counts)
{
	ck_assert(yab_touches_note(&touches, 5, UINT64_MAX));	/* a clock that is ahead */
	ck_assert(yab_touches_note(&touches, 5, 1));
	ck_assert_uint_eq(touches.count, 1);
	yab_touches_end(&touches, 5, 1, &latency);
	ck_assert_uint_eq(latency.count, 1);
	ck_assert_uint_eq(latency.max, 0);
	yab_touches_end(&touches, 5, 1, &latency);
	ck_assert_uint_eq(latency.count, 1);
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
		yab_touches_end(&touches, 0, 19999 * 64, &latency);
		ck_assert_uint_le(touches.count, 1);
		yab_touches_end(&touches, 1, UINT64_MAX - 1, &latency);
	} else {
		for (page = 0; page < 20000; page++)
			yab_touches_end(&touches, page * 64, 1, &latency);
	}
	ck_assert_uint_eq(latency.count, kept);
	ck_assert_uint_eq(touches.count, 0);
}
END_TEST

START_TEST(end_records_those_of_the_range)
{
	yab_touches_note(&touches, 9, 1);
	yab_touches_note(&touches, 10, 1);
	yab_touches_note(&touches, 12, UINT64_MAX);	/* a clock that is ahead: no wait */
	yab_touches_note(&touches, 13, 1);
	yab_touches_end(&touches, 10, 3, &latency);
	ck_assert_uint_eq(latency.count, 2);
	ck_assert_uint_eq(yab_histogram_quantile(&latency, 500), 0);
	ck_assert_uint_gt(latency.max, 0);
	ck_assert_uint_eq(touches.count, 2);
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
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
