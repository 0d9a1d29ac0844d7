// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <string.h>

#include "checksum.h"
#include "summation.h"

/* Pages that a turn reads (1 MiB). A run of zeros counts as a block that is read. */
#define YAB_SUMMATION_TURN	256

void yab_summation_begin(struct yab_summation *summation, uint64_t page, uint64_t count)
{
	memset(summation, 0, sizeof(*summation));
	summation->first = page;
	summation->at = page;
	summation->end = page + count;
}

/* The pages that are alike from where it stands. *cost: as pages that are read. 0, or -1. */
static int yab_summation_add(struct yab_summation *summation, struct yab_backing *backing,
			     struct yab_backing_view *view, uint64_t *cost)
{
	/* Up to the same page until it is reached: what a look has told of them is kept. */
	uint64_t count = YAB_WIRE_PAGES_MAX - summation->at % YAB_WIRE_PAGES_MAX;
	const uint8_t *bytes;
	uint64_t run;
	bool zero;

	if (count > summation->end - summation->at)
		count = summation->end - summation->at;
	if (yab_backing_run(backing, view, summation->at, count, YAB_BACKING_BLOCK_PAGES, &zero,
			    &run) < 0)
		return -1;
	*cost = zero ? YAB_BACKING_BLOCK_PAGES : run;
	if (zero) {
		summation->at += run;
		return 0;
	}
	bytes = yab_backing_bytes(backing, summation->at * YAB_WIRE_PAGE_SIZE,
				  run * YAB_WIRE_PAGE_SIZE);
	if (!bytes)
		return -1;
	for (; run; run--, summation->at++, bytes += YAB_WIRE_PAGE_SIZE)
		summation->sums[(summation->at - summation->first) / YAB_WIRE_CHUNK_PAGES] +=
			yab_checksum_page(summation->at, bytes);
	return 0;
}

int yab_summation_go_on(struct yab_summation *summation, struct yab_backing *backing,
			struct yab_backing_view *view, bool *done)
{
	uint64_t cost;

	*done = false;
	for (uint64_t spent = 0; summation->at < summation->end; spent += cost) {
		if (spent >= YAB_SUMMATION_TURN)
			return 0;
		if (yab_summation_add(summation, backing, view, &cost) < 0)
			return -1;
	}
	for (size_t i = 0; i < YAB_WIRE_SUMS_MAX; i++)
		summation->sums[i] = htole64(summation->sums[i]);
	*done = true;
	return 0;
}

size_t yab_summation_size(const struct yab_summation *summation)
{
	return yab_wire_chunks(summation->end - summation->first) * YAB_WIRE_SUM_SIZE;
}
