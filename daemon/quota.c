// SPDX-License-Identifier: GPL-2.0-or-later
#include "quota.h"

#include <stddef.h>

void yab_quota_init(struct yab_quota *quota, unsigned int most, unsigned int each)
{
	TAILQ_INIT(&quota->members);
	quota->count = 0;
	quota->most = most;
	quota->each = each;
}

/* How many there are of @origin; *oldest becomes the first of them. */
static unsigned int yab_quota_of(struct yab_quota *quota, const struct yab_origin *origin,
				 struct yab_quota_member **oldest)
{
	struct yab_quota_member *member;
	unsigned int count = 0;

	*oldest = NULL;
	TAILQ_FOREACH(member, &quota->members, entry) {
		if (!yab_origin_is_same(&member->origin, origin))
			continue;
		if (!count++)
			*oldest = member;
	}
	return count;
}

struct yab_quota_member *yab_quota_excess(struct yab_quota *quota,
					  const struct yab_origin *origin)
{
	struct yab_quota_member *member, *oldest, *excess = NULL;
	unsigned int count, most = 0;

	if (origin->is_inside)
		return NULL;
	if (yab_quota_of(quota, origin, &oldest) >= quota->each)
		return oldest;
	if (quota->count < quota->most)
		return NULL;
	/* Quadratic in what is some dozens. */
	TAILQ_FOREACH(member, &quota->members, entry) {
		count = yab_quota_of(quota, &member->origin, &oldest);
		if (count > most) {
			most = count;
			excess = oldest;
		}
	}
	return excess;
}

void yab_quota_add(struct yab_quota *quota, struct yab_quota_member *member,
		   const struct yab_origin *origin, void *owner)
{
	member->origin = *origin;
	member->owner = owner;
	TAILQ_INSERT_TAIL(&quota->members, member, entry);
	quota->count += !origin->is_inside;
}

void yab_quota_remove(struct yab_quota *quota, struct yab_quota_member *member)
{
	TAILQ_REMOVE(&quota->members, member, entry);
	quota->count -= !member->origin.is_inside;
}
