// SPDX-License-Identifier: GPL-2.0-or-later
#include "headroom.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define YAB_HEADROOM_GROUPS	"/sys/fs/cgroup"
#define YAB_HEADROOM_LINE	512

static uint64_t yab_headroom_add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* The sum of the numbers of two lines of @path, which begin with these words. */
static bool yab_headroom_sum(const char *path, const char *one, const char *other, uint64_t *sum)
{
	char line[YAB_HEADROOM_LINE];
	bool found = false;
	FILE *file = fopen(path, "re");

	*sum = 0;
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		const size_t length = strcspn(line, ": ");

		if ((length != strlen(one) || strncmp(line, one, length)) &&
		    (length != strlen(other) || strncmp(line, other, length)))
			continue;
		*sum = yab_headroom_add(*sum, strtoull(line + length + strspn(line + length, ": "),
						       NULL, 10));
		found = true;
	}
	fclose(file);
	return found;
}

/* A figure of /proc/meminfo, which has KiB, in bytes. */
static uint64_t yab_headroom_host(const char *path, const char *name, uint64_t unknown)
{
	uint64_t kib;

	if (!yab_headroom_sum(path, name, name, &kib))
		return unknown;
	return kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
}

/* The number that is all of a control group's file; "max" is UINT64_MAX. */
static bool yab_headroom_number(const char *group, const char *name, uint64_t *number)
{
	char path[PATH_MAX], line[YAB_HEADROOM_LINE];
	bool found = false;
	char *end;
	FILE *file;

	if (snprintf(path, sizeof(path), "%s/%s", group, name) >= (int)sizeof(path))
		return false;
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fgets(line, sizeof(line), file)) {
		*number = strtoull(line, &end, 10);
		found = end != line;
		if (!strcmp(line, "max\n")) {
			*number = UINT64_MAX;
			found = true;
		}
	}
	fclose(file);
	return found;
}

/* What is between a group's limit and what it uses; UINT64_MAX if nothing limits it. */
static uint64_t yab_headroom_left(const char *group, const char *limit, const char *used)
{
	uint64_t most, now = 0;

	if (!yab_headroom_number(group, limit, &most) || most == UINT64_MAX)
		return UINT64_MAX;
	yab_headroom_number(group, used, &now);
	return now < most ? most - now : 0;
}

/* One control group: what its own limits leave, of @swap of the host. */
static uint64_t yab_headroom_group(const char *group, uint64_t swap)
{
	uint64_t left = yab_headroom_left(group, "memory.max", "memory.current");
	uint64_t own_swap, caches;
	char path[PATH_MAX];

	if (left == UINT64_MAX)
		return left;
	if (snprintf(path, sizeof(path), "%s/memory.stat", group) < (int)sizeof(path) &&
	    yab_headroom_sum(path, "inactive_file", "active_file", &caches))
		left = yab_headroom_add(left, caches);
	own_swap = yab_headroom_left(group, "memory.swap.max", "memory.swap.current");
	return yab_headroom_add(left, own_swap < swap ? own_swap : swap);
}

/* The path of our group in the tree of version 2, without the end of its line. */
static bool yab_headroom_own_group(const char *root, char *group, size_t size)
{
	char path[PATH_MAX], line[PATH_MAX];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "0::/", 4))
			found = snprintf(group, size, "%s", line + 3) < (int)size;
	}
	fclose(file);
	return found;
}

static void yab_headroom_bound(struct yab_headroom *headroom, uint64_t bytes, const char *kind,
			       const char *name)
{
	if (bytes >= headroom->bytes)
		return;
	headroom->bytes = bytes;
	snprintf(headroom->where, sizeof(headroom->where), "%s%.100s", kind, name);
}

void yab_headroom_find(const char *root, struct yab_headroom *headroom)
{
	char path[PATH_MAX], group[PATH_MAX / 4], *end;
	uint64_t swap, available;

	*headroom = (struct yab_headroom){ .bytes = UINT64_MAX };
	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	swap = yab_headroom_host(path, "SwapFree", 0);
	available = yab_headroom_host(path, "MemAvailable", UINT64_MAX);
	yab_headroom_bound(headroom, yab_headroom_add(available, swap), "this host", "");
	if (!yab_headroom_own_group(root, group, sizeof(group)))
		return;
	/* Each group up to the root, which has no limit. */
	while ((end = strrchr(group, '/')) && end[1]) {
		if (snprintf(path, sizeof(path), "%s" YAB_HEADROOM_GROUPS "%s", root, group) >=
		    (int)sizeof(path))
			return;
		yab_headroom_bound(headroom, yab_headroom_group(path, swap), "control group ",
				   group);
		*end = '\0';
	}
}

int yab_headroom_check(const char *vm, int64_t bytes, char *error, size_t error_size)
{
	struct yab_headroom headroom;

	if (bytes <= 0)
		return 0;
	yab_headroom_find("", &headroom);
	if ((uint64_t)bytes <= headroom.bytes)
		return 0;
	snprintf(error, error_size,
		 "VM %s uses %lld MiB of memory and there are %llu MiB left (%s): free some or allow more, and try again",
		 vm, (long long)bytes >> 20, (unsigned long long)headroom.bytes >> 20,
		 headroom.where);
	return -1;
}
