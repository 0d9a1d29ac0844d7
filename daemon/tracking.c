// SPDX-License-Identifier: GPL-2.0-or-later
#include "tracking.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "region.h"

/*
 * 1 GiB. The module begins by unmapping the region: 245 million instructions a GiB in
 * which the guest stands still (docs/measurements.md), less than 0.1 s for this.
 */
#define YAB_TRACKING_LIMIT	(1ULL << (30 - 12))

struct yab_tracking {
	int pager_fd;
};

static bool yab_tracking_is_same(int fd, int other)
{
	struct stat st, other_st;

	return !fstat(fd, &st) && !fstat(other, &other_st) && st.st_dev == other_st.st_dev &&
	       st.st_ino == other_st.st_ino;
}

/* Somebody's who has ended may be going on: it would tell of what was written since then. */
static int yab_tracking_begin(int pager_fd)
{
	if (!yab_region_track(pager_fd, true))
		return 0;
	if (errno != EALREADY || yab_region_track(pager_fd, false) < 0)
		return -1;
	return yab_region_track(pager_fd, true);
}

/* The region is complete, so nobody needs its place as the pager. */
static void *yab_tracking_start(const struct yab_dirty_target *target, char *error,
				size_t error_size)
{
	struct yab_tracking *tracking;
	int memory_fd;

	if (!target->on_region) {
		snprintf(error, error_size, "its memory is no region");
		return NULL;
	}
	tracking = malloc(sizeof(*tracking));
	if (!tracking) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	tracking->pager_fd = yab_region_attach(target->vm, &memory_fd, error, error_size);
	if (tracking->pager_fd < 0)
		goto err_tracking;
	if (!yab_tracking_is_same(memory_fd, target->memory_fd)) {
		snprintf(error, error_size, "the region of its name is another one");
		goto err_memory;
	}
	if (yab_tracking_begin(tracking->pager_fd) < 0) {
		snprintf(error, error_size, "%s", strerror(errno));
		goto err_memory;
	}
	close(memory_fd);
	return tracking;

err_memory:
	close(memory_fd);
	close(tracking->pager_fd);
err_tracking:
	free(tracking);
	return NULL;
}

static int yab_tracking_read(void *object, uint64_t page, uint64_t count, uint64_t *bits)
{
	const struct yab_tracking *tracking = object;

	return yab_region_dirty(tracking->pager_fd, page, count, bits);
}

static void yab_tracking_stop(void *object)
{
	struct yab_tracking *tracking = object;

	yab_region_track(tracking->pager_fd, false);
	close(tracking->pager_fd);
	free(tracking);
}

const struct yab_dirty_kind yab_tracking_kind = {
	.name = "the module's tracking",
	.limit = YAB_TRACKING_LIMIT,
	.start = yab_tracking_start,
	.read = yab_tracking_read,
	.stop = yab_tracking_stop,
};
