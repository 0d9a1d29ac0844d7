/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's question, when it has all pages, whether they are the source's: it asks
 * for the sums of all chunks, in order, and compares them with its own (checksum.h).
 */
#ifndef YAB_DAEMON_VERIFICATION_H
#define YAB_DAEMON_VERIFICATION_H

#include <stdbool.h>
#include <stdint.h>

#include "checksum.h"
#include "wire.h"

struct yab_verification;

/* Chunks, as they were found. */
struct yab_verification_result {
	uint64_t verified;
	uint64_t unverifiable;
	uint64_t different;
	uint64_t different_page;	/* where the first of these begins; 0 if there is none */
};

/* With the checksums in @fd, which is borrowed and may be closed after it. NULL with errno. */
struct yab_verification *yab_verification_new(int fd, uint64_t pages);
void yab_verification_free(struct yab_verification *verification);
struct yab_checksums *yab_verification_checksums(struct yab_verification *verification);

/* What to ask for next, in a SUM frame. False if enough was asked for. */
bool yab_verification_next(struct yab_verification *verification, uint64_t *page,
			   uint64_t *count);
/* The answer to the oldest question that was not answered: a SUMMED frame with these sums. */
void yab_verification_take(struct yab_verification *verification,
			   const struct yab_wire_header *frame, const uint8_t *sums);
/*
 * What was not answered never will be: it is asked for again. @blamed: by all that is known it
 * was the question that cost the connection, for the source may be unable to read a page. Then
 * questions become smaller, and in the end a chunk is unverifiable: true, and *page is where it
 * begins.
 */
bool yab_verification_restart(struct yab_verification *verification, bool blamed, uint64_t *page);
bool yab_verification_is_done(const struct yab_verification *verification);
const struct yab_verification_result *
yab_verification_result(const struct yab_verification *verification);

#endif /* YAB_DAEMON_VERIFICATION_H */
