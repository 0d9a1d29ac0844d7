// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fault_stream.h"
#include "policy.h"

/* Touches whose surroundings are to be asked for, or were: as many as vCPUs wait at once. */
#define YAB_POLICY_PUSHES	256
#define YAB_POLICY_SPEC_SIZE	64

struct yab_policy_ops {
	const char *name;
	void (*touch)(struct yab_policy *policy, uint64_t page);
	/* What is asked for before hinted pages, */
	bool (*ahead)(struct yab_policy *policy, const struct yab_pagemap *map, uint64_t limit,
		      uint64_t *page, uint64_t *count);
	/* and after them, in place of the plain sweep. Both may be NULL. */
	bool (*follow)(struct yab_policy *policy, const struct yab_pagemap *map, uint64_t limit,
		       uint64_t *page, uint64_t *count);
};

/* The pages around one touch, for forward= and backward=. */
struct yab_policy_push {
	uint64_t page;
	uint64_t asked;		/* pages that no touch has borne out */
};

struct yab_policy_range {
	uint64_t page;
	uint64_t count;
};

struct yab_policy {
	const struct yab_policy_ops *ops;
	struct yab_policy_statistics statistics;
	uint64_t pages;
	uint64_t cursor;	/* where the sweep goes on */

	/* The last of a ring, newest on top. */
	struct yab_policy_range hints[YAB_POLICY_HINTS];
	unsigned int hint_top;	/* modulo YAB_POLICY_HINTS: behind the newest */
	unsigned int hint_count;

	uint64_t forward;
	uint64_t backward;
	/* [push_next, push_tail) is to be asked for; older ones wait to be borne out. */
	struct yab_policy_push pushes[YAB_POLICY_PUSHES];
	unsigned int push_next;
	unsigned int push_tail;	/* both taken modulo YAB_POLICY_PUSHES as places */

	struct yab_fault_streams streams;
};

/* sweep: the pages behind the one touched last, and so on around the region. */

static void yab_policy_sweep_touch(struct yab_policy *policy, uint64_t page)
{
	policy->cursor = page + 1;
}

/* forward=, backward=: so many pages with each page touched, in the order of the touches. */

static void yab_policy_push_touch(struct yab_policy *policy, uint64_t page)
{
	struct yab_policy_push *push;

	yab_policy_sweep_touch(policy, page);
	for (unsigned int i = 0; i < YAB_POLICY_PUSHES; i++) {
		push = &policy->pushes[i];
		if (push->asked && page <= push->page + policy->forward + 1 &&
		    page + policy->backward + 1 >= push->page)
			push->asked = 0;
	}
	/* The oldest makes room, whether or not it had its turn. */
	if (policy->push_tail - policy->push_next == YAB_POLICY_PUSHES)
		policy->push_next++;
	push = &policy->pushes[policy->push_tail++ % YAB_POLICY_PUSHES];
	policy->statistics.wasted += push->asked;
	*push = (struct yab_policy_push){ .page = page };
}

static bool yab_policy_push_ahead(struct yab_policy *policy, const struct yab_pagemap *map,
				  uint64_t limit, uint64_t *page, uint64_t *count)
{
	for (; policy->push_next != policy->push_tail; policy->push_next++) {
		struct yab_policy_push *push =
			&policy->pushes[policy->push_next % YAB_POLICY_PUSHES];
		const uint64_t behind = policy->pages - 1 - push->page;
		const uint64_t end = push->page + 1 +
				     (policy->forward < behind ? policy->forward : behind);
		const uint64_t from = policy->backward < push->page ?
				      push->page - policy->backward : 0;

		if (!yab_pagemap_first_idle(map, push->page, end, limit, page, count) &&
		    !yab_pagemap_last_idle(map, from, push->page, limit, page, count))
			continue;
		push->asked += *count;
		policy->statistics.prefetched += *count;
		return true;
	}
	return false;
}

/* adaptive: ahead of streams of touches, and around touches. */

static void yab_policy_adaptive_count(struct yab_policy *policy)
{
	policy->statistics.prefetched = policy->streams.prefetched;
	policy->statistics.wasted = policy->streams.wasted;
}

static void yab_policy_adaptive_touch(struct yab_policy *policy, uint64_t page)
{
	yab_fault_streams_touch(&policy->streams, page);
	yab_policy_adaptive_count(policy);
}

static bool yab_policy_adaptive_ahead(struct yab_policy *policy, const struct yab_pagemap *map,
				      uint64_t limit, uint64_t *page, uint64_t *count)
{
	const bool found = yab_fault_streams_next(&policy->streams, map, limit, page, count);

	yab_policy_adaptive_count(policy);
	return found;
}

static bool yab_policy_adaptive_follow(struct yab_policy *policy, const struct yab_pagemap *map,
				       uint64_t limit, uint64_t *page, uint64_t *count)
{
	if (yab_fault_streams_follow(&policy->streams, map, limit, page, count))
		return true;
	yab_fault_streams_lead(&policy->streams, &policy->cursor);
	return false;
}

static const struct yab_policy_ops yab_policy_sweep = {
	.name = "sweep",
	.touch = yab_policy_sweep_touch,
};

static const struct yab_policy_ops yab_policy_push = {
	.name = "forward/backward",
	.touch = yab_policy_push_touch,
	.ahead = yab_policy_push_ahead,
};

static const struct yab_policy_ops yab_policy_adaptive = {
	.name = "adaptive",
	.touch = yab_policy_adaptive_touch,
	.ahead = yab_policy_adaptive_ahead,
	.follow = yab_policy_adaptive_follow,
};

static bool yab_policy_parse_count(const char *text, uint64_t *count)
{
	char *end;

	/* strtoul() would take blanks and signs. */
	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*count = strtoul(text, &end, 10);
	return !errno && !*end && *count <= YAB_POLICY_AROUND_MAX;
}

/* NULL if @spec is not understood. */
static const struct yab_policy_ops *yab_policy_parse(const char *spec, uint64_t *forward,
						     uint64_t *backward)
{
	static char *const names[] = { "forward", "backward", NULL };
	uint64_t *const counts[] = { forward, backward };
	const size_t size = strlen(spec) + 1;
	char text[YAB_POLICY_SPEC_SIZE];
	bool seen[2] = { false, false };
	char *left = text, *value;
	int which;

	*forward = 0;
	*backward = 0;
	if (!strcmp(spec, yab_policy_sweep.name))
		return &yab_policy_sweep;
	if (!strcmp(spec, yab_policy_adaptive.name))
		return &yab_policy_adaptive;
	if (size < 2 || size > sizeof(text) || spec[size - 2] == ',')
		return NULL;
	memcpy(text, spec, size);
	while (*left) {
		which = getsubopt(&left, names, &value);
		if (which < 0 || seen[which] || !yab_policy_parse_count(value, counts[which]))
			return NULL;
		seen[which] = true;
	}
	return &yab_policy_push;
}

bool yab_policy_is_valid(const char *spec)
{
	uint64_t forward, backward;

	return yab_policy_parse(spec, &forward, &backward);
}

struct yab_policy *yab_policy_new(const char *spec, uint64_t pages)
{
	const struct yab_policy_ops *ops;
	uint64_t forward, backward;
	struct yab_policy *policy;

	ops = yab_policy_parse(spec ? spec : YAB_POLICY_DEFAULT, &forward, &backward);
	if (!ops || !pages) {
		errno = EINVAL;
		return NULL;
	}
	policy = calloc(1, sizeof(*policy));
	if (!policy)
		return NULL;
	policy->ops = ops;
	policy->pages = pages;
	policy->forward = forward;
	policy->backward = backward;
	yab_fault_streams_init(&policy->streams, pages);
	return policy;
}

void yab_policy_free(struct yab_policy *policy)
{
	free(policy);
}

void yab_policy_touch(struct yab_policy *policy, uint64_t page)
{
	if (page < policy->pages)
		policy->ops->touch(policy, page);
}

void yab_policy_hint(struct yab_policy *policy, uint64_t page, uint64_t count)
{
	if (page >= policy->pages || !count)
		return;
	if (count > policy->pages - page)
		count = policy->pages - page;
	policy->hints[policy->hint_top++ % YAB_POLICY_HINTS] = (struct yab_policy_range){
		.page = page,
		.count = count,
	};
	if (policy->hint_count < YAB_POLICY_HINTS)
		policy->hint_count++;
}

static bool yab_policy_next_hinted(struct yab_policy *policy, const struct yab_pagemap *map,
				   uint64_t limit, uint64_t *page, uint64_t *count)
{
	while (policy->hint_count) {
		struct yab_policy_range *hint =
			&policy->hints[(policy->hint_top - 1) % YAB_POLICY_HINTS];
		const uint64_t end = hint->page + hint->count;

		if (yab_pagemap_first_idle(map, hint->page, end, limit, page, count)) {
			hint->page = *page + *count;
			hint->count = end - hint->page;
			policy->statistics.hinted += *count;
			return true;
		}
		policy->hint_top--;
		policy->hint_count--;
	}
	return false;
}

bool yab_policy_next(struct yab_policy *policy, const struct yab_pagemap *map, uint64_t limit,
		     uint64_t *page, uint64_t *count)
{
	const struct yab_policy_ops *const ops = policy->ops;

	if (!map->idle || !limit)
		return false;
	if (ops->ahead && ops->ahead(policy, map, limit, page, count))
		return true;
	if (yab_policy_next_hinted(policy, map, limit, page, count))
		return true;
	if (ops->follow && ops->follow(policy, map, limit, page, count))
		return true;
	if (!yab_pagemap_next_idle(map, policy->cursor, limit, page, count))
		return false;
	policy->cursor = *page + *count;
	return true;
}

const char *yab_policy_name(const struct yab_policy *policy)
{
	return policy->ops->name;
}

const struct yab_policy_statistics *yab_policy_statistics(const struct yab_policy *policy)
{
	return &policy->statistics;
}
