/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a guest to files: first the device state, which comes over a socket up to its end, then
 * the memory, which is final by then. A process does it whose disk may be slow: the supervisor
 * serves others meanwhile. It dies with the supervisor.
 */
#ifndef YAB_DAEMON_COPY_H
#define YAB_DAEMON_COPY_H

#include <event2/event.h>
#include <stdint.h>

struct yab_copy;

/* Both files are on the disk (@error is NULL), or not; @error is one line. */
typedef void (*yab_copy_cb)(const char *error, void *arg);

/* All borrowed, and not needed by us any more once the copy has begun. */
struct yab_copy_files {
	int socket;		/* device state comes from here; blocking */
	int state;		/* and goes there */
	int memory;		/* the memory file */
	uint64_t size;		/* of it, in bytes */
	int image;		/* an empty file that it goes to; holes and zeros stay holes */
};

/* NULL with errno and no callback. */
struct yab_copy *yab_copy_new(struct event_base *base, const struct yab_copy_files *files,
			      yab_copy_cb cb, void *arg);
/* One that is still under way is ended. */
void yab_copy_free(struct yab_copy *copy);

/* What the process does. 0, or -1 with errno and in *@what what failed. */
int yab_copy_run(const struct yab_copy_files *files, const char **what);

#endif /* YAB_DAEMON_COPY_H */
