// SPDX-License-Identifier: GPL-2.0-or-later
#include "statistics.h"

#include <stdbool.h>
#include <string.h>

static const struct {
	const char *name;
	unsigned int per_mille;
} yab_statistics_quantiles[] = {
	{ "p50", 500 },
	{ "p90", 900 },
	{ "p99", 990 },
	{ NULL, 0 },
};

/* What there is of the region, and what a worker only says when it has seen all of it. */
static const char * const yab_statistics_states[] = {
	"pages", "present", "verified_chunks", "unverifiable_chunks", "different_chunks",
	"different_page", NULL,
};

static bool yab_statistics_is_counter(const char *name)
{
	for (int i = 0; yab_statistics_states[i]; i++)
		if (!strcmp(name, yab_statistics_states[i]))
			return false;
	return true;
}

static json_int_t yab_statistics_number(json_t *json, const char *name)
{
	return json_integer_value(json_object_get(json, name));
}

json_t *yab_statistics_histogram(const struct yab_histogram *histogram)
{
	uint64_t counts[YAB_HISTOGRAM_COARSE];
	json_t *buckets = json_array(), *json;

	yab_histogram_coarse(histogram, counts);
	for (int i = 0; i < YAB_HISTOGRAM_COARSE; i++)
		json_array_append_new(buckets, json_integer((json_int_t)counts[i]));
	json = json_pack("{s:I, s:I, s:I, s:o}", "count", (json_int_t)histogram->count, "sum",
			 (json_int_t)histogram->sum, "max", (json_int_t)histogram->max,
			 "buckets", buckets);
	for (int i = 0; yab_statistics_quantiles[i].name; i++) {
		const unsigned int per_mille = yab_statistics_quantiles[i].per_mille;
		const uint64_t quantile = yab_histogram_quantile(histogram, per_mille);

		json_object_set_new(json, yab_statistics_quantiles[i].name,
				    json_integer((json_int_t)quantile));
	}
	return json;
}

/*
 * The end of the bucket in which the quantile is. The finer buckets went with the worker,
 * so this may be too high by as much as the quantile itself.
 */
static json_int_t yab_statistics_quantile(json_t *histogram, unsigned int per_mille)
{
	const json_int_t count = yab_statistics_number(histogram, "count");
	const json_int_t max = yab_statistics_number(histogram, "max");
	json_int_t seen = 0, end;
	json_t *bucket;
	size_t i;

	json_array_foreach(json_object_get(histogram, "buckets"), i, bucket) {
		seen += json_integer_value(bucket);
		end = (json_int_t)1 << (YAB_HISTOGRAM_COARSE_FIRST + i);
		/* As yab_histogram_quantile() does, with counts that are far from overflow. */
		if (seen && seen >= (count * per_mille + 999) / 1000)
			return i == YAB_HISTOGRAM_COARSE - 1 || end - 1 > max ? max : end - 1;
	}
	return max;
}

static void yab_statistics_add_histogram(json_t *histogram, json_t *before)
{
	json_t *buckets = json_object_get(before, "buckets"), *bucket;
	json_t *max = json_object_get(histogram, "max");
	size_t i;

	json_array_foreach(json_object_get(histogram, "buckets"), i, bucket)
		json_integer_set(bucket, json_integer_value(bucket) +
					 json_integer_value(json_array_get(buckets, i)));
	json_integer_set(json_object_get(histogram, "count"),
			 yab_statistics_number(histogram, "count") +
			 yab_statistics_number(before, "count"));
	json_integer_set(json_object_get(histogram, "sum"),
			 yab_statistics_number(histogram, "sum") +
			 yab_statistics_number(before, "sum"));
	if (yab_statistics_number(before, "max") > json_integer_value(max))
		json_integer_set(max, yab_statistics_number(before, "max"));
	for (i = 0; yab_statistics_quantiles[i].name; i++) {
		const unsigned int per_mille = yab_statistics_quantiles[i].per_mille;

		json_integer_set(json_object_get(histogram, yab_statistics_quantiles[i].name),
				 yab_statistics_quantile(histogram, per_mille));
	}
}

/* Counters begin anew with each worker. */
static void yab_statistics_add(json_t *json, json_t *more)
{
	json_t *value, *before;
	const char *name;

	json_object_foreach(json, name, value) {
		before = json_object_get(more, name);
		if (json_is_object(value) && json_is_object(before))
			yab_statistics_add_histogram(value, before);
		else if (json_is_integer(value) && json_is_integer(before) &&
			 yab_statistics_is_counter(name))
			json_integer_set(value, json_integer_value(value) +
						json_integer_value(before));
	}
}

/* Ours, which no worker knows. */
static void yab_statistics_note(struct yab_statistics *statistics)
{
	if (!statistics->now)
		statistics->now = json_object();
	json_object_set_new(statistics->now, "connections_lost",
			    json_integer(statistics->connections_lost));
	json_object_set_new(statistics->now, "workers_replaced",
			    json_integer(statistics->workers_replaced));
}

void yab_statistics_release(struct yab_statistics *statistics)
{
	json_decref(statistics->now);
	json_decref(statistics->before);
	memset(statistics, 0, sizeof(*statistics));
}

void yab_statistics_take(struct yab_statistics *statistics, json_t *message)
{
	json_object_del(message, "type");
	yab_statistics_add(message, statistics->before);
	json_decref(statistics->now);
	statistics->now = json_incref(message);
	yab_statistics_note(statistics);
}

void yab_statistics_lost_connection(struct yab_statistics *statistics)
{
	statistics->connections_lost++;
	yab_statistics_note(statistics);
}

void yab_statistics_lost_worker(struct yab_statistics *statistics)
{
	statistics->workers_replaced++;
	yab_statistics_note(statistics);
	json_decref(statistics->before);
	statistics->before = json_incref(statistics->now);
}
