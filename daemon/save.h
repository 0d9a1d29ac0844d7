/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saves a VM to files (image.h): its guest is stopped, device state and memory are written, and
 * its QEMU ends. Whatever fails before both files are on the disk gives the guest back, and
 * leaves no file. Once QEMU has written all it had, its own end is no failure any more.
 */
#ifndef YAB_DAEMON_SAVE_H
#define YAB_DAEMON_SAVE_H

#include <stdbool.h>
#include <stddef.h>

#include "supervisor.h"

/* @error is NULL on success, else one line. */
typedef void (*yab_save_cb)(const char *error, void *arg);

/* NULL without memory. */
struct yab_saves *yab_saves_new(void);
/* Forgets them all: the daemon ends. */
void yab_saves_free(struct yab_saves *saves);
/* They give their guests back; true while there is anything to wait for. */
bool yab_saves_give_up(struct yab_saves *saves);

/*
 * The save of the VM @name ends, and its guest is given back; @force is for one whose QEMU has
 * ended. 0 with one line in @text that says what becomes of it, -1 with one that says why not,
 * or 1: there is none.
 */
int yab_saves_abandon(struct yab_saves *saves, const char *name, bool force, char *text,
		      size_t text_size);

/*
 * Saves the VM @name to the files @image and @state, which must not exist. 0, or -1 with one
 * line in @error and no callback.
 */
int yab_save_begin(struct yab_supervisor *supervisor, const char *name, const char *image,
		   const char *state, yab_save_cb cb, void *arg, char *error,
		   size_t error_size);

#endif /* YAB_DAEMON_SAVE_H */
