// SPDX-License-Identifier: GPL-2.0
/*
 * All mappings of a region, in whatever process: what a mapping is allowed, and whether
 * it tracks writes, follows the region, and it changes while it is mapped.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "mapping.h"
#include "mappings.h"
#include "region.h"

/* Mappings that are updated in one go; bounded by the stack. */
#define YAB_MAPPINGS_BATCH	32

struct yab_mappings_stale {
	struct mm_struct *mm;	/* with a reference, or NULL: there are none */
	unsigned int count;
	unsigned long starts[YAB_MAPPINGS_BATCH];
};

/* Until the next try, when a process was too busy with its address space. */
#define YAB_MAPPINGS_RETRY	HZ

/*
 * Mappings of one address space that are behind the region. Returns how many mappings were
 * seen, which is all that there are if none of them is.
 */
static unsigned long yab_mappings_find_stale(struct yab_region *region,
					     struct yab_mappings_stale *stale)
{
	struct address_space *mapping = region->memory->f_mapping;
	unsigned long seen = 0;
	struct rb_node *node;

	stale->mm = NULL;
	stale->count = 0;
	i_mmap_lock_read(mapping);
	for (node = rb_first_cached(&mapping->i_mmap); node; node = rb_next(node)) {
		struct vm_area_struct *vma = rb_entry(node, struct vm_area_struct, shared.rb);

		if (!yab_mapping_is_of(vma, region))
			continue;
		seen++;
		if (yab_mapping_is_current(vma))
			continue;
		/* One that is about to go has no tasks that could use the mapping. */
		if (!stale->mm && mmget_not_zero(vma->vm_mm))
			stale->mm = vma->vm_mm;
		if (vma->vm_mm == stale->mm)
			stale->starts[stale->count++] = vma->vm_start;
		if (stale->count == YAB_MAPPINGS_BATCH)
			break;
	}
	i_mmap_unlock_read(mapping);
	return seen;
}

/* False: try again later. */
static bool yab_mappings_update_batch(struct yab_region *region,
				      const struct yab_mappings_stale *stale)
{
	struct vm_area_struct *vma;
	unsigned int i;
	bool stable;

	/*
	 * Not to be waited for: it may be held by somebody who waits for a page, which only
	 * the caller can bring.
	 */
	if (!yab_mmap_write_trylock(stale->mm))
		return false;
	/*
	 * A fork() that failed leaves VMAs behind that are its parent's. Older kernels do not
	 * say so, which is why only mappings are looked up that were found to be there.
	 */
	stable = !check_stable_address_space(stale->mm);
	for (i = 0; stable && i < stale->count; i++) {
		vma = find_vma(stale->mm, stale->starts[i]);
		if (vma && vma->vm_mm == stale->mm && yab_mapping_is_of(vma, region))
			yab_mapping_update(vma);
	}
	mmap_write_unlock(stale->mm);
	return stable;
}

/*
 * Brings every mapping in line with the region. -EAGAIN if that was not possible for one of
 * them: its address space was locked, or it is only just being made or unmade.
 */
int yab_mappings_update(struct yab_region *region)
{
	struct yab_mappings_stale stale;
	unsigned long seen;

	for (;;) {
		bool updated;

		seen = yab_mappings_find_stale(region, &stale);
		if (!stale.mm)
			break;
		updated = yab_mappings_update_batch(region, &stale);
		mmput(stale.mm);
		if (!updated)
			return -EAGAIN;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	/*
	 * A mapping is counted before it takes its operations from the region, and can be
	 * found only some time after.
	 */
	return seen == READ_ONCE(region->mappings) ? 0 : -EAGAIN;
}

void yab_mappings_update_later(struct yab_region *region)
{
	mod_delayed_work(system_unbound_wq, &region->update_work, 0);
}

void yab_mappings_update_work(struct work_struct *work)
{
	struct yab_region *region = container_of(to_delayed_work(work), struct yab_region,
						 update_work);

	if (yab_mappings_update(region) == -EAGAIN)
		queue_delayed_work(system_unbound_wq, &region->update_work, YAB_MAPPINGS_RETRY);
}
