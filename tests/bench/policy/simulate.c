// SPDX-License-Identifier: GPL-2.0-or-later
/* Replays traces of touches under each policy and prints a table: make bench-policy. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "policy.h"
#include "yabusame/wire.h"

#define POLICIES_MAX	16

static const char *policies[POLICIES_MAX + 1] = {
	"sweep", "forward=8,backward=8", "forward=64", "adaptive",
};

static void usage(FILE *out)
{
	fprintf(out,
		"Usage: simulate [OPTION]... [TRACE]...\n"
		"Replays traces under page policies and prints a table. TRACE is the name of a\n"
		"generated one (all by default), or the path of a file with lines of\n"
		"\"time_us vcpu page\".\n"
		"\n"
		"  --policy SPEC  this one, may be repeated (" YAB_POLICY_SPECS ")\n"
		"  --pages N      pages in the region (262144, 1 GiB)\n"
		"  --mbit N       link rate in Mbit/s (10000)\n"
		"  --rtt US       round-trip time in us (200)\n"
		"  --window N     pages on order in bulk (256)\n"
		"  --run N        pages in a request (64)\n"
		"  --handed N     pages in the link that urgent ones cannot overtake (16)\n"
		"  --print        print the traces, do not replay them\n"
		"  --help\n"
		"\n"
		"Generated:");
	for (size_t i = 0; trace_names[i]; i++)
		fprintf(out, " %s", trace_names[i]);
	fprintf(out, "\n");
}

static bool parse(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return !errno && !*end && *value >= least && *value <= most;
}

static void replay(const char *name, const struct trace *trace, const struct model_link *link)
{
	struct model_result result;

	for (size_t i = 0; policies[i]; i++) {
		model_run(trace, link, policies[i], &result);
		printf("| %-15s | %-20s | %8.1f | %6" PRIu64 " | %6" PRIu64 " | %7" PRIu64
		       " | %7" PRIu64 " | %6" PRIu64 " | %7" PRIu64 " | %7" PRIu64 " | %7" PRIu64
		       " | %7.1f | %7.1f |\n",
		       i ? "" : name, policies[i], (double)result.stall_ns / 1e6, result.faults,
		       result.p50_ns / 1000, result.p99_ns / 1000, result.max_ns / 1000,
		       result.duplicates, result.prefetched, result.wasted, result.untouched,
		       (double)result.guest_ns / 1e6, (double)result.complete_ns / 1e6);
	}
}

static int run(const char *name, uint64_t pages, const struct model_link *link, bool print)
{
	struct trace trace;

	if (trace_generate(&trace, name, pages) < 0) {
		if (!strchr(name, '/') && !strchr(name, '.')) {
			fprintf(stderr,
				"simulate: no trace \"%s\" is generated (a file is given by its path): see --help\n",
				name);
			return -1;
		}
		/* The region of a recorded trace is as large as its pages say. */
		if (trace_read(&trace, name, 1) < 0)
			return -1;
	}
	if (print)
		trace_print(&trace, stdout);
	else
		replay(strrchr(name, '/') ? strrchr(name, '/') + 1 : name, &trace, link);
	trace_release(&trace);
	return 0;
}

int main(int argc, char **argv)
{
	enum { POLICY = 256, PAGES, MBIT, RTT, WINDOW, RUN, HANDED, PRINT, HELP };
	static const struct option options[] = {
		{ "policy", required_argument, NULL, POLICY },
		{ "pages", required_argument, NULL, PAGES },
		{ "mbit", required_argument, NULL, MBIT },
		{ "rtt", required_argument, NULL, RTT },
		{ "window", required_argument, NULL, WINDOW },
		{ "run", required_argument, NULL, RUN },
		{ "handed", required_argument, NULL, HANDED },
		{ "print", no_argument, NULL, PRINT },
		{ "help", no_argument, NULL, HELP },
		{ NULL, 0, NULL, 0 },
	};
	struct model_link link = {
		.mbit = 10000, .rtt_us = 200, .window = 256, .run = 64, .handed = 16,
	};
	uint64_t pages = 262144;
	size_t chosen = 0;
	bool print = false, good = true;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case POLICY:
			good = yab_policy_is_valid(optarg) && chosen < POLICIES_MAX;
			if (good) {
				policies[chosen++] = optarg;
				policies[chosen] = NULL;
			}
			break;
		case PAGES:
			good = parse(optarg, 65536, 1ULL << 28, &pages);
			break;
		case MBIT:
			good = parse(optarg, 1, 10000000, &link.mbit);
			break;
		case RTT:
			good = parse(optarg, 0, 10000000, &link.rtt_us);
			break;
		case WINDOW:
			good = parse(optarg, 1, 1 << 20, &link.window);
			break;
		case RUN:
			good = parse(optarg, 1, YAB_WIRE_PAGES_MAX, &link.run);
			break;
		case HANDED:
			good = parse(optarg, 1, 1 << 20, &link.handed);
			break;
		case PRINT:
			print = true;
			break;
		case HELP:
			usage(stdout);
			return 0;
		default:
			return 2;
		}
		if (!good) {
			fprintf(stderr, "simulate: \"%s\" is not possible here: see --help\n",
				optarg);
			return 2;
		}
	}
	if (link.window < link.run) {
		fprintf(stderr, "simulate: --window must have room for --run\n");
		return 2;
	}
	if (!print) {
		printf("link of %" PRIu64 " Mbit/s, round trip %" PRIu64
		       " us, requests of %" PRIu64 " pages, %" PRIu64 " on order; stalls p50, p99, max in us, pages\n\n",
		       link.mbit, link.rtt_us, link.run, link.window);
		printf("| trace | policy | all stalls ms | faults | p50 | p99 | max | twice | prefetched | wasted | untouched | guest done ms | complete ms |\n");
		printf("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
	}
	if (optind == argc) {
		for (size_t i = 0; trace_names[i]; i++)
			if (run(trace_names[i], pages, &link, print) < 0)
				return 1;
		return 0;
	}
	for (; optind < argc; optind++)
		if (run(argv[optind], pages, &link, print) < 0)
			return 1;
	return 0;
}
