// SPDX-License-Identifier: GPL-2.0-or-later
#include "figures.h"

#include <stdio.h>
#include <string.h>

json_int_t yab_figure_number(json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

const char *yab_figure_text(json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

/* Microseconds, for people. */
static const char *yab_figure_time(json_int_t us, char *text, size_t size)
{
	if (us < 10000)
		snprintf(text, size, "%lld us", (long long)us);
	else if (us < 10000000)
		snprintf(text, size, "%.1f ms", (double)us / 1e3);
	else
		snprintf(text, size, "%.1f s", (double)us / 1e6);
	return text;
}

const char *yab_figure_bytes(json_int_t bytes, char *text, size_t size)
{
	static const char * const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	snprintf(text, size, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

/* The destination counts what arrived; without it there is only the source's word. */
static json_t *yab_figures_of(json_t *job)
{
	json_t *statistics = json_object_get(job, "destination");

	return statistics ? statistics : json_object_get(job, "source");
}

void yab_figure_print(const char *name, const char *value)
{
	printf("  %-22s %s\n", name, value);
}

/* The mean of a histogram; the figures may be another host's: any numbers. */
static json_int_t yab_figures_mean(json_t *statistics, const char *name)
{
	json_t *histogram = json_object_get(statistics, name);
	const json_int_t count = yab_figure_number(histogram, "count");
	const json_int_t sum = yab_figure_number(histogram, "sum");

	return count > 0 && sum > 0 ? sum / count : 0;
}

/* Where faults spend their time. Means, because these add up. */
static void yab_figures_parts(json_t *job)
{
	json_t *destination = json_object_get(job, "destination");
	json_t *source = json_object_get(job, "source");
	const json_int_t trip = yab_figures_mean(destination, "round_trip_us");
	const json_int_t service = yab_figures_mean(source, "service_us");
	char a[32], b[32], c[32], d[32], line[192];

	if (!yab_figure_number(json_object_get(destination, "queue_us"), "count"))
		return;
	yab_figure_time(yab_figures_mean(destination, "queue_us"), a, sizeof(a));
	yab_figure_time(trip > service ? trip - service : 0, b, sizeof(b));
	yab_figure_time(service, c, sizeof(c));
	yab_figure_time(yab_figures_mean(destination, "install_us"), d, sizeof(d));
	/* The destination's daemon knows nothing of the source's time. */
	if (service && !strcmp(yab_figure_text(job, "kind"), "start"))
		snprintf(line, sizeof(line), "%s queue, %s on the way, %s image, %s install", a, b,
			 c, d);
	else if (service)
		snprintf(line, sizeof(line), "%s queue, %s network, %s source, %s install", a, b, c,
			 d);
	else
		snprintf(line, sizeof(line), "%s queue, %s network and source, %s install", a, b,
			 d);
	yab_figure_print("of that, on average", line);
}

/* How long each phase took: "begin 2 ms, prepare 1.2 s". The job's own host says it. */
static void yab_figures_phases(json_t *job)
{
	char line[256] = "", a[32];
	const char *name;
	json_t *us;

	json_object_foreach(json_object_get(job, "phases_us"), name, us) {
		const size_t used = strlen(line);

		yab_figure_time(json_integer_value(us), a, sizeof(a));
		snprintf(line + used, sizeof(line) - used, "%s%s %s", used ? ", " : "", name, a);
	}
	if (line[0])
		yab_figure_print("phases", line);
}

void yab_figures_print(json_t *job)
{
	json_t *statistics = yab_figures_of(job);
	json_t *fault = json_object_get(statistics, "fault_us");
	char a[32], b[32], c[32], line[160];

	if (json_object_get(job, "downtime_us"))
		yab_figure_print("downtime (at most)",
				 yab_figure_time(yab_figure_number(job, "downtime_us"), a,
						 sizeof(a)));
	if (json_object_get(statistics, "faults")) {
		snprintf(line, sizeof(line), "%lld",
			 (long long)yab_figure_number(statistics, "faults"));
		yab_figure_print("faults", line);
	}
	if (yab_figure_number(fault, "count")) {
		snprintf(line, sizeof(line), "%s / %s / %s",
			 yab_figure_time(yab_figure_number(fault, "p50"), a, sizeof(a)),
			 yab_figure_time(yab_figure_number(fault, "p99"), b, sizeof(b)),
			 yab_figure_time(yab_figure_number(fault, "max"), c, sizeof(c)));
		yab_figure_print("fault p50 / p99 / max", line);
		yab_figures_parts(job);
	}
	if (json_object_get(statistics, "prefetched_pages")) {
		snprintf(line, sizeof(line), "%lld pages, %lld wasted",
			 (long long)yab_figure_number(statistics, "prefetched_pages"),
			 (long long)yab_figure_number(statistics, "wasted_pages"));
		yab_figure_print("prefetched", line);
	}
	if (yab_figure_number(statistics, "hinted_pages")) {
		snprintf(line, sizeof(line), "%lld pages",
			 (long long)yab_figure_number(statistics, "hinted_pages"));
		yab_figure_print("written of late", line);
	}
	if (statistics) {
		yab_figure_print("bytes of pages",
				 yab_figure_bytes(yab_figure_number(statistics, "bytes"), a,
						  sizeof(a)));
		snprintf(line, sizeof(line), "%lld (%lld data, %lld zero)",
			 (long long)yab_figure_number(job, "pages"),
			 (long long)yab_figure_number(statistics, "data_pages"),
			 (long long)yab_figure_number(statistics, "zero_pages"));
		yab_figure_print("pages", line);
	}
	if (yab_figure_number(statistics, "packed_pages")) {
		snprintf(line, sizeof(line), "%lld, sent as %s",
			 (long long)yab_figure_number(statistics, "packed_pages"),
			 yab_figure_bytes(yab_figure_number(statistics, "packed_bytes"), a,
					  sizeof(a)));
		yab_figure_print("compressed pages", line);
	}
	if (yab_figure_number(statistics, "verified_chunks") ||
	    yab_figure_number(statistics, "unverifiable_chunks") ||
	    yab_figure_number(statistics, "different_chunks")) {
		snprintf(line, sizeof(line), "%lld, %lld could not be, %lld differ",
			 (long long)yab_figure_number(statistics, "verified_chunks"),
			 (long long)yab_figure_number(statistics, "unverifiable_chunks"),
			 (long long)yab_figure_number(statistics, "different_chunks"));
		yab_figure_print("chunks verified", line);
	}
	yab_figures_phases(job);
	yab_figure_print("total time",
			 yab_figure_time(yab_figure_number(job, "total_us"), a, sizeof(a)));
}
