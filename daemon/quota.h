/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bounded number of connections of which nothing is known yet, in all and of each host.
 * Nobody is turned away for those who sit there: the oldest makes room, first of the same
 * host, then of the host that has the most. Whoever has something to say says it at once.
 * Connections from inside this process are members, too, but do not count, and nobody goes
 * for them.
 */
#ifndef YAB_DAEMON_QUOTA_H
#define YAB_DAEMON_QUOTA_H

#include <sys/queue.h>

#include "origin.h"

/* A part of what is counted. */
struct yab_quota_member {
	TAILQ_ENTRY(yab_quota_member) entry;
	struct yab_origin origin;
	void *owner;
};

struct yab_quota {
	TAILQ_HEAD(, yab_quota_member) members;	/* the oldest first */
	unsigned int count;
	unsigned int most;	/* in all */
	unsigned int each;	/* of one host */
};

void yab_quota_init(struct yab_quota *quota, unsigned int most, unsigned int each);
/* Who must go before another one of @origin comes, or NULL. */
struct yab_quota_member *yab_quota_excess(struct yab_quota *quota,
					  const struct yab_origin *origin);
void yab_quota_add(struct yab_quota *quota, struct yab_quota_member *member,
		   const struct yab_origin *origin, void *owner);
void yab_quota_remove(struct yab_quota *quota, struct yab_quota_member *member);

#endif /* YAB_DAEMON_QUOTA_H */
