// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>

#include "../../daemon/histogram.h"
#include "script.h"

static struct yab_histogram histogram;

START_TEST(empty)
{
	yab_histogram_reset(&histogram);
	ck_assert_uint_eq(yab_histogram_quantile(&histogram, 500), 0);
	ck_assert_uint_eq(yab_histogram_quantile(&histogram, 1000), 0);
	ck_assert_uint_eq(histogram.max, 0);
}
END_TEST

START_TEST(one_value)
{
	static const uint64_t values[] = {
		0, 1, 31, 32, 33, 63, 64, 65, 1000, 123456789, (1ULL << 40) - 1, 1ULL << 40,
		UINT64_MAX,
	};
	const uint64_t value = values[_i];

	/* The maximum is exact, so the quantiles of one value are. */
	yab_histogram_reset(&histogram);
	yab_histogram_record(&histogram, value);
	ck_assert_uint_eq(yab_histogram_quantile(&histogram, 0), value);
	ck_assert_uint_eq(yab_histogram_quantile(&histogram, 500), value);
	ck_assert_uint_eq(yab_histogram_quantile(&histogram, 999), value);
	ck_assert_uint_eq(yab_histogram_quantile(&histogram, 1000), value);
	ck_assert_uint_eq(histogram.max, value);
}
END_TEST

/* Each value is in a bucket whose end is neither below it nor too far above. */
START_TEST(precision)
{
	/* The last bucket is open to the right. */
	const uint64_t last = 63ULL << (YAB_HISTOGRAM_BITS - YAB_HISTOGRAM_STEPS_LOG - 1);

	for (uint64_t value = 0; value < last; value += 1 + value / 97) {
		uint64_t end;

		yab_histogram_reset(&histogram);
		yab_histogram_record(&histogram, value);
		yab_histogram_record(&histogram, UINT64_MAX);
		end = yab_histogram_quantile(&histogram, 500);
		ck_assert_uint_ge(end, value);
		ck_assert_uint_le(end - value, value / YAB_HISTOGRAM_STEPS);
	}
}
END_TEST

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

START_TEST(against_sorted)
{
	static const size_t counts[] = { 1, 2, 3, 10, 99, 100, 101, 1000, 4999 };
	static uint64_t values[4999];
	const size_t count = counts[_i];
	uint64_t state = 7 + (uint64_t)_i;

	yab_histogram_reset(&histogram);
	for (size_t i = 0; i < count; i++) {
		/* All magnitudes are alike likely. */
		values[i] = script_random(&state) >> (24 + script_random(&state) % 40);
		yab_histogram_record(&histogram, values[i]);
	}
	qsort(values, count, sizeof(values[0]), compare);
	ck_assert_uint_eq(histogram.count, count);
	ck_assert_uint_eq(histogram.max, values[count - 1]);
	for (unsigned int per_mille = 0; per_mille <= 1000; per_mille++) {
		size_t rank = (count * per_mille + 999) / 1000;
		const uint64_t want = values[rank ? rank - 1 : 0];
		const uint64_t got = yab_histogram_quantile(&histogram, per_mille);

		ck_assert_uint_ge(got, want);
		ck_assert_uint_le(got - want, want / YAB_HISTOGRAM_STEPS);
	}
}
END_TEST

/* Each value counts in the first bucket that ends above it. */
START_TEST(coarse)
{
	uint64_t counts[YAB_HISTOGRAM_COARSE], want[YAB_HISTOGRAM_COARSE] = { 0 };
	uint64_t sum = 0, count = 0;

	yab_histogram_reset(&histogram);
	for (uint64_t value = 1; value < 1ULL << 45; value *= 2) {
		for (int step = -1; step <= 1; step++) {
			const uint64_t exact = value + (uint64_t)step;
			int i = 0;

			while (i < YAB_HISTOGRAM_COARSE - 1 &&
			       exact >= 1ULL << (YAB_HISTOGRAM_COARSE_FIRST + i))
				i++;
			want[i]++;
			sum += exact;
			count++;
			yab_histogram_record(&histogram, exact);
		}
	}
	ck_assert_uint_gt(count, 100);
	ck_assert_uint_eq(histogram.sum, sum);
	ck_assert_uint_eq(histogram.count, count);
	yab_histogram_coarse(&histogram, counts);
	for (int i = 0; i < YAB_HISTOGRAM_COARSE; i++)
		ck_assert_uint_eq(counts[i], want[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("histogram");
	TCase *tcase = tcase_create("histogram");

	tcase_add_test(tcase, empty);
	tcase_add_loop_test(tcase, one_value, 0, 13);
	tcase_add_test(tcase, precision);
	tcase_add_test(tcase, coarse);
	tcase_add_loop_test(tcase, against_sorted, 0, 9);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
