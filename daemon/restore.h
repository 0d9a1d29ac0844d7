/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The start of a VM from files (image.h): a migration whose source is in this daemon, too. Its
 * destination is an incoming migration like any other, called over connections that stay within
 * this process (reception.h); its page service is a supply whose worker reads the image.
 *
 * There is no guest at this source, so nothing can run twice, and nothing is the source's to
 * write down: the destination's record names the image, and whoever finds it goes on from that
 * and from the region's presence bitmap.
 */
#ifndef YAB_DAEMON_RESTORE_H
#define YAB_DAEMON_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor.h"

struct yab_restore_options {
	const char *image;		/* paths; copied */
	const char *state;
	bool paused;			/* the guest is not continued */
	unsigned int connections;	/* for the sweep, 1 to YAB_WIRE_BULKS_MAX */
	uint64_t bandwidth;		/* bytes a second for the sweep; 0: no limit */
};

/* The guest runs (@error is NULL) and its pages follow, or nothing is left of it. */
typedef void (*yab_restore_cb)(const char *error, void *arg);

/* NULL without memory. */
struct yab_restores *yab_restores_new(void);
/* Forgets them all: the daemon ends. Where a guest waits for pages the worker goes on. */
void yab_restores_free(struct yab_restores *restores);

/* Starts the VM @name. 0, or -1 with one line in @error and no callback. */
int yab_restore_begin(struct yab_supervisor *supervisor, const char *name,
		      const struct yab_restore_options *options, yab_restore_cb cb, void *arg,
		      char *error, size_t error_size);
/*
 * The source of @record, an incoming migration of an earlier supervisor that was taken up again,
 * whose source is an image. 0, or -1 with one line in @error.
 */
int yab_restore_adopt(struct yab_supervisor *supervisor, const struct yab_record *record,
		      char *error, size_t error_size);

#endif /* YAB_DAEMON_RESTORE_H */
