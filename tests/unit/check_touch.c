// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "../../daemon/touch.h"
#include "script.h"

static struct yab_touches touches;

START_TEST(first_touch_counts)
{
	memset(&touches, 0, sizeof(touches));
	ck_assert(yab_touches_note(&touches, 5, 100));
	ck_assert(yab_touches_note(&touches, 5, 200));
	ck_assert_uint_eq(touches.count, 1);
	ck_assert_uint_eq(yab_touches_take(&touches, 5), 100);
	ck_assert_uint_eq(yab_touches_take(&touches, 5), 0);
	ck_assert_uint_eq(touches.count, 0);
}
END_TEST

/* A full table loses touches, never mixes them up. */
START_TEST(bounded)
{
	uint64_t kept = 0, page;

	memset(&touches, 0, sizeof(touches));
	for (page = 0; page < 20000; page++)
		kept += yab_touches_note(&touches, page * 64, page + 1);
	ck_assert_uint_eq(kept, touches.count);
	ck_assert_uint_le(kept, YAB_TOUCH_SETS * YAB_TOUCH_WAYS);
	ck_assert_uint_gt(kept, YAB_TOUCH_SETS * YAB_TOUCH_WAYS / 2);
	for (page = 0; page < 20000; page++) {
		const uint64_t time_ns = yab_touches_take(&touches, page * 64);

		ck_assert(!time_ns || time_ns == page + 1);
		kept -= time_ns != 0;
	}
	ck_assert_uint_eq(kept, 0);
	ck_assert_uint_eq(touches.count, 0);
}
END_TEST

START_TEST(end_records_those_of_the_range)
{
	static struct yab_histogram latency;

	memset(&touches, 0, sizeof(touches));
	yab_histogram_reset(&latency);
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

	tcase_add_test(tcase, first_touch_counts);
	tcase_add_test(tcase, bounded);
	tcase_add_test(tcase, end_records_those_of_the_range);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
