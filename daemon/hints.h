/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges of pages that a guest used of late, best first: what the source knows about the
 * order in which its pages will be needed, and tells the destination's policy.
 */
#ifndef YAB_DAEMON_HINTS_H
#define YAB_DAEMON_HINTS_H

#include <jansson.h>
#include <stdint.h>

#include "policy.h"

/*
 * A policy keeps no more. As JSON they take 44 KiB at most, which a frame and a message
 * to a worker hold (64 KiB).
 */
#define YAB_HINTS_MAX	YAB_POLICY_HINTS

struct yab_hint {
	uint64_t page;
	uint64_t count;
};

struct yab_hints {
	struct yab_hint ranges[YAB_HINTS_MAX];
	unsigned int count;
};

/* [[page, count], ...], the first @most of them; NULL without memory. */
json_t *yab_hints_json(const struct yab_hints *hints, uint64_t most);
/*
 * The reverse, of what another host may have written: 0, or -1 if it is not that, for a
 * region of @pages.
 */
int yab_hints_parse(struct yab_hints *hints, json_t *json, uint64_t pages);

#endif /* YAB_DAEMON_HINTS_H */
