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
/*
 * Connections that are lost over the oldest question before its chunks are asked for one by
 * one, and then over one chunk before it is given up. Any connection may be lost once.
 */
#define YAB_VERIFICATION_LOSSES	3

struct yab_verification {
	struct yab_checksums *checksums;
	uint64_t pages;
	uint64_t asked;		/* the pages before this one */
	uint64_t compared;	/* the same, or given up; <= asked */
	uint64_t suspected;	/* up to this page chunks are asked for one by one */
	unsigned int losses;	/* over what begins at @compared, as large as it is asked for now */
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

static bool yab_verification_suspects(const struct yab_verification *verification)
{
	return verification->compared < verification->suspected;
}

/* Pages of the chunk that is the next to be compared. */
static uint64_t yab_verification_chunk(const struct yab_verification *verification)
{
	const uint64_t left = verification->pages - verification->compared;

	return left < YAB_WIRE_CHUNK_PAGES ? left : YAB_WIRE_CHUNK_PAGES;
}

bool yab_verification_next(struct yab_verification *verification, uint64_t *page,
			   uint64_t *count)
{
	const uint64_t left = verification->pages - verification->asked;
	const uint64_t ahead = verification->asked - verification->compared;
	const bool suspects = yab_verification_suspects(verification);

	if (!left || ahead >= (suspects ? 1 : YAB_VERIFICATION_AHEAD * YAB_VERIFICATION_SPAN))
		return false;
	*page = verification->asked;
	if (suspects)
		*count = yab_verification_chunk(verification);
	else
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
	verification->losses = 0;
}

/* Another connection was lost over the oldest question. As yab_verification_restart(). */
static bool yab_verification_note_loss(struct yab_verification *verification, uint64_t *page)
{
	if (++verification->losses < YAB_VERIFICATION_LOSSES)
		return false;
	verification->losses = 0;
	if (!yab_verification_suspects(verification)) {
		verification->suspected = verification->compared + YAB_VERIFICATION_SPAN;
		return false;
	}
	*page = verification->compared;
	verification->compared += yab_verification_chunk(verification);
	verification->result.unverifiable++;
	return true;
}

bool yab_verification_restart(struct yab_verification *verification, bool blamed, uint64_t *page)
{
	const bool under_way = verification->asked > verification->compared;
	const bool given_up = blamed && under_way && yab_verification_note_loss(verification, page);

	verification->asked = verification->compared;
	return given_up;
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
