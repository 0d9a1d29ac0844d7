/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What came of comparing the pages of a migration (verification.h), as its supervisors tell
 * each other and people: members of the destination's statistics.
 */
#ifndef YAB_DAEMON_FINDING_H
#define YAB_DAEMON_FINDING_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Chunks; together they are all of the region's, if it was compared at all. */
struct yab_finding {
	uint64_t verified;
	uint64_t unverifiable;
	uint64_t different;
	uint64_t page;		/* where the first of these begins */
};

/*
 * Out of @statistics (may be NULL) of a region of @pages: the other host may have said anything.
 * All zero: nothing was compared.
 */
void yab_finding_read(json_t *statistics, uint64_t pages, struct yab_finding *finding);
/* The same the other way. 0, or -1 without memory. */
int yab_finding_write(json_t *statistics, const struct yab_finding *finding);
/*
 * Every page of it was to be compared: what was not is unverifiable, also in @statistics (may
 * be NULL), which are for people.
 */
void yab_finding_expect(json_t *statistics, uint64_t pages, struct yab_finding *finding);
/* Is it of some consequence? Then one line in @text says what it is. */
bool yab_finding_tell(const struct yab_finding *finding, char *text, size_t text_size);

#endif /* YAB_DAEMON_FINDING_H */
