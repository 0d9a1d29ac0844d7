// SPDX-License-Identifier: GPL-2.0
#include <linux/slab.h>
#include <linux/string.h>

#include "failed.h"

int yab_failed_init(struct yab_failed *failed)
{
	failed->spans = kcalloc(YAB_FAILED_MAX, sizeof(*failed->spans), GFP_KERNEL_ACCOUNT);
	if (!failed->spans)
		return -ENOMEM;
	rwlock_init(&failed->lock);
	return 0;
}

void yab_failed_destroy(struct yab_failed *failed)
{
	kfree(failed->spans);
}

/* The first span that ends at @page or behind it. */
static unsigned int yab_failed_find(const struct yab_failed *failed, u64 page)
{
	unsigned int low = 0, high = failed->used;

	while (low < high) {
		unsigned int middle = (low + high) / 2;
		const struct yab_failed_span *span = &failed->spans[middle];

		if (span->page + span->count < page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Adds @count pages from @page, and says how many of them had not failed before.
 * -ENOSPC if that would be too many spans. The caller has checked the range.
 */
int yab_failed_add(struct yab_failed *failed, u64 page, u64 count, u64 *fresh)
{
	struct yab_failed_span merged = { .page = page, .count = count };
	unsigned int first, last;
	int ret = 0;
	u64 old = 0;

	write_lock(&failed->lock);
	first = yab_failed_find(failed, page);
	for (last = first; last < failed->used; last++) {
		const struct yab_failed_span *span = &failed->spans[last];
		u64 end;

		if (span->page > page + count)
			break;
		end = max(merged.page + merged.count, span->page + span->count);
		merged.page = min(merged.page, span->page);
		merged.count = end - merged.page;
		old += span->count;
	}
	if (first == last && failed->used == YAB_FAILED_MAX) {
		ret = -ENOSPC;
		goto out_unlock;
	}
	memmove(&failed->spans[first + 1], &failed->spans[last],
		(failed->used - last) * sizeof(merged));
	failed->spans[first] = merged;
	WRITE_ONCE(failed->used, failed->used + 1 - (last - first));
	*fresh = merged.count - old;
	failed->pages += *fresh;
out_unlock:
	write_unlock(&failed->lock);
	return ret;
}

bool yab_failed_has(struct yab_failed *failed, u64 page)
{
	unsigned int i;
	bool has;

	if (likely(!READ_ONCE(failed->used)))
		return false;
	read_lock(&failed->lock);
	i = yab_failed_find(failed, page + 1);
	has = i < failed->used && failed->spans[i].page <= page;
	read_unlock(&failed->lock);
	return has;
}

u64 yab_failed_pages(struct yab_failed *failed)
{
	u64 pages;

	read_lock(&failed->lock);
	pages = failed->pages;
	read_unlock(&failed->lock);
	return pages;
}
