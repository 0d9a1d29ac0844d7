/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that can still be had: of the host, and within this process's control groups. */
#ifndef YAB_DAEMON_HEADROOM_H
#define YAB_DAEMON_HEADROOM_H

#include <stddef.h>
#include <stdint.h>

struct yab_headroom {
	uint64_t bytes;		/* UINT64_MAX: that cannot be known */
	char where[128];	/* what gives no more than that, for people */
};

/*
 * An estimate, as MemAvailable is one: caches and swap count as free. The files are those
 * below @root ("" but for tests), of proc and of control groups version 2.
 */
void yab_headroom_find(const char *root, struct yab_headroom *headroom);
/* 0 if @bytes for VM @vm can be had, or if that cannot be known; -1 with one line in @error. */
int yab_headroom_check(const char *vm, int64_t bytes, char *error, size_t error_size);

#endif /* YAB_DAEMON_HEADROOM_H */
