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

/* Until the next try, when a process was too busy with its address space. */
#define YAB_MAPPINGS_RETRY	HZ

/*
 * The address space of a mapping that is behind the region, with a reference, or NULL.
 * @start becomes the mapping's address, @found the number of mappings that there are.
 */
static struct mm_struct *yab_mappings_find_stale(struct yab_region *region, unsigned long *start,
						 unsigned long *found)
{
	struct address_space *mapping = region->memory->f_mapping;
	struct mm_struct *mm = NULL;
	struct rb_node *node;

	*found = 0;
	i_mmap_lock_read(mapping);
	for (node = rb_first_cached(&mapping->i_mmap); node && !mm; node = rb_next(node)) {
		struct vm_area_struct *vma = rb_entry(node, struct vm_area_struct, shared.rb);

		if (!yab_mapping_is_of(vma, region))
			continue;
		++*found;
		/* One that is about to go has no tasks that could use the mapping. */
		if (!yab_mapping_is_current(vma) && mmget_not_zero(vma->vm_mm)) {
			mm = vma->vm_mm;
			*start = vma->vm_start;
		}
	}
	i_mmap_unlock_read(mapping);
	return mm;
}

/* Brings the mapping at @start up to date, if it is still there. False: try again. */
static bool yab_mappings_update_one(struct yab_region *region, struct mm_struct *mm,
				    unsigned long start)
{
	struct vm_area_struct *vma;
	bool stable;

	/*
	 * Not to be waited for: it may be held by somebody who waits for a page, which only
	 * the caller can bring.
	 */
	if (!yab_mmap_write_trylock(mm))
		return false;
	/* A fork() that failed leaves VMAs behind that are its parent's. */
	stable = !check_stable_address_space(mm);
	vma = stable ? find_vma(mm, start) : NULL;
	if (vma && vma->vm_mm == mm && yab_mapping_is_of(vma, region))
		yab_mapping_update(vma);
	mmap_write_unlock(mm);
	return stable;
}

/*
 * Brings every mapping in line with the region. -EAGAIN if that was not possible for one of
 * them: its address space was locked, or it is only just being made or unmade.
 */
int yab_mappings_update(struct yab_region *region)
{
	unsigned long start, found;
	struct mm_struct *mm;

	while ((mm = yab_mappings_find_stale(region, &start, &found))) {
		bool updated = yab_mappings_update_one(region, mm, start);

		mmput(mm);
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
	return found == READ_ONCE(region->mappings) ? 0 : -EAGAIN;
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
