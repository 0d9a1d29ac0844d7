// SPDX-License-Identifier: GPL-2.0-or-later
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "verification.h"

/*
 * Pages in one question, and questions under way: the source sums 128 MiB in 20 ms or so,
 * and should not wait for the next one for the time of a round trip.
 */
#define YAB_VERIFICATION_SPAN	((uint64_t)YAB_WIRE_SUMS_MAX * YAB_WIRE_CHUNK_PAGES)
#define YAB_VERIFICATION_AHEAD	4

struct yab_verification {
	struct yab_checksums *checksums;
	uint64_t pages;
	uint64_t asked;		/* the pages before this one */
	uint64_t compared;	/* the same; <= asked */
	struct yab_verification_result result;
};

struct yab_verification *yab_verification_new(int fd, uint64_t pages)
{
	struct yab_verification *verification = calloc(1, sizeof(*verification));

	if (!verification)
		return NULL;
	verification->pages = pages;
	verification->checksums = yab_checksums_open(fd, pages);
	if (!verification->checksums) {
		free(verification);
		return NULL;
	}
	return verification;
}

void yab_verification_free(struct yab_verification *verification)
{
	if (!verification)
		return;
	yab_checksums_close(verification->checksums);
	free(verification);
}

struct yab_checksums *yab_verification_checksums(struct yab_verification *verification)
{
	return verification->checksums;
}

bool yab_verification_next(struct yab_verification *verification, uint64_t *page,
			   uint64_t *count)
{
	const uint64_t left = verification->pages - verification->asked;

	if (!left || verification->asked - verification->compared >=
		     YAB_VERIFICATION_AHEAD * YAB_VERIFICATION_SPAN)
		return false;
	*page = verification->asked;
	*count = left < YAB_VERIFICATION_SPAN ? left : YAB_VERIFICATION_SPAN;
	verification->asked += *count;
	return true;
}

void yab_verification_take(struct yab_verification *verification,
			   const struct yab_wire_header *frame, const uint8_t *sums)
{
	struct yab_verification_result *result = &verification->result;
	const uint64_t first = frame->page / YAB_WIRE_CHUNK_PAGES;
	uint64_t sum;

	for (uint64_t i = 0; i < yab_wire_chunks(frame->count); i++) {
		memcpy(&sum, sums + i * YAB_WIRE_SUM_SIZE, sizeof(sum));
		switch (yab_checksums_compare(verification->checksums, first + i, le64toh(sum))) {
		case YAB_CHECKSUM_SAME:
			result->verified++;
			break;
		case YAB_CHECKSUM_UNKNOWN:
			result->unverifiable++;
			break;
		case YAB_CHECKSUM_DIFFERENT:
			if (!result->different++)
				result->different_page = (first + i) * YAB_WIRE_CHUNK_PAGES;
			break;
		}
	}
	verification->compared = frame->page + frame->count;
}

void yab_verification_restart(struct yab_verification *verification)
{
	verification->asked = verification->compared;
}

bool yab_verification_is_done(const struct yab_verification *verification)
{
	return verification->compared == verification->pages;
}

const struct yab_verification_result *
yab_verification_result(const struct yab_verification *verification)
{
	return &verification->result;
}
