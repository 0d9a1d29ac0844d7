// SPDX-License-Identifier: GPL-2.0-or-later
/* Statistics over several workers, and histograms as JSON. */
#include <string.h>

#include "../../daemon/channel.h"
#include "../../daemon/statistics.h"
#include "script.h"

static struct yab_statistics statistics;

static json_int_t number(json_t *json, const char *name)
{
	json_t *value = json_object_get(json, name);

	ck_assert_msg(json_is_integer(value), "%s", name);
	return json_integer_value(value);
}

/* A worker's message after @faults faults of @us each. */
static void say(int faults, uint64_t us, int present)
{
	struct yab_histogram histogram;
	json_t *message;

	yab_histogram_reset(&histogram);
	for (int i = 0; i < faults; i++)
		yab_histogram_record(&histogram, us);
	message = json_pack("{s:s, s:i, s:i, s:i, s:o}", "type", "statistics", "faults", faults,
			    "pages", 100, "present", present, "fault_us",
			    yab_statistics_histogram(&histogram));
	ck_assert_ptr_nonnull(message);
	yab_statistics_take(&statistics, message);
	json_decref(message);
}

static void expect(json_int_t faults, json_int_t sum, json_int_t p50, json_int_t max,
		   json_int_t present)
{
	json_t *histogram = json_object_get(statistics.now, "fault_us");
	json_int_t count = 0;
	json_t *bucket;
	size_t i;

	ck_assert_ptr_null(json_object_get(statistics.now, "type"));
	ck_assert_int_eq(number(statistics.now, "faults"), faults);
	ck_assert_int_eq(number(statistics.now, "pages"), 100);
	ck_assert_int_eq(number(statistics.now, "present"), present);
	ck_assert_int_eq(number(histogram, "count"), faults);
	ck_assert_int_eq(number(histogram, "sum"), sum);
	ck_assert_int_eq(number(histogram, "p50"), p50);
	ck_assert_int_eq(number(histogram, "max"), max);
	json_array_foreach(json_object_get(histogram, "buckets"), i, bucket)
		count += json_integer_value(bucket);
	ck_assert_int_eq(count, faults);
}

START_TEST(workers_add_up)
{
	yab_statistics_lost_connection(&statistics);
	ck_assert_int_eq(number(statistics.now, "connections_lost"), 1);
	say(2, 100, 5);
	/* Each message has all that its worker counted. */
	say(4, 100, 9);
	expect(4, 400, 100, 100, 9);
	ck_assert_int_eq(number(statistics.now, "workers_replaced"), 0);

	yab_statistics_lost_worker(&statistics);
	ck_assert_int_eq(number(statistics.now, "workers_replaced"), 1);
	expect(4, 400, 100, 100, 9);
	say(0, 0, 9);
	/* Of the first worker's values only their bucket is known: below 128. */
	expect(4, 400, 100, 100, 9);
	say(5, 1000, 12);
	expect(9, 5400, 1000, 1000, 12);
	say(6, 1000, 13);
	expect(10, 6400, 1000, 1000, 13);
	yab_statistics_lost_worker(&statistics);
	say(100, 3, 90);
	expect(110, 6700, 15, 1000, 90);
	yab_statistics_lost_connection(&statistics);
	ck_assert_int_eq(number(statistics.now, "connections_lost"), 2);
	ck_assert_int_eq(number(statistics.now, "workers_replaced"), 2);
	yab_statistics_release(&statistics);
}
END_TEST

/* What is said of the whole region at its end is said again, and not added up. */
START_TEST(verified_once)
{
	json_t *message;

	for (int worker = 0; worker < 2; worker++) {
		message = json_pack("{s:i, s:i, s:i, s:i, s:i}", "bytes", 5, "verified_chunks", 7,
				    "unverifiable_chunks", 2, "different_chunks", 1,
				    "different_page", 512);
		yab_statistics_take(&statistics, message);
		json_decref(message);
		if (!worker)
			yab_statistics_lost_worker(&statistics);
	}
	ck_assert_int_eq(number(statistics.now, "bytes"), 10);
	ck_assert_int_eq(number(statistics.now, "verified_chunks"), 7);
	ck_assert_int_eq(number(statistics.now, "unverifiable_chunks"), 2);
	ck_assert_int_eq(number(statistics.now, "different_chunks"), 1);
	ck_assert_int_eq(number(statistics.now, "different_page"), 512);
	yab_statistics_release(&statistics);
}
END_TEST

/* The most that a worker ever says must fit into a message, or its end would not be told. */
START_TEST(bounded)
{
	struct yab_histogram histogram;
	json_t *json;

	memset(&histogram, 0x7f, sizeof(histogram));
	json = yab_statistics_histogram(&histogram);
	ck_assert_uint_lt(json_dumpb(json, NULL, 0, JSON_COMPACT), YAB_CHANNEL_MESSAGE_MAX / 16);
	json_decref(json);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("statistics");
	TCase *tcase = tcase_create("statistics");

	tcase_add_test(tcase, workers_add_up);
	tcase_add_test(tcase, verified_once);
	tcase_add_test(tcase, bounded);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
