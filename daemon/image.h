/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that a VM is saved to and started from: its memory as a raw image of just that size,
 * and the device state beside it. They are opened for reading only.
 *
 * Where a migration has a source an image has its name: PATH#INODE.MTIME. It begins with a
 * slash, which no host's name does. The second part is for a supervisor that finds it in the
 * journal: what is under the path by then may be another file, or hold other pages.
 */
#ifndef YAB_DAEMON_IMAGE_H
#define YAB_DAEMON_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With its NUL; what peers and jobs have for one. */
#define YAB_IMAGE_NAME_SIZE	272

/*
 * Is @path, given for @what, one that can be used, absolute and short enough? 0, or -1 with one
 * line in @error.
 */
int yab_image_path_check(const char *what, const char *path, char *error, size_t error_size);

/* The image of a VM with @memory bytes, and its name. -1 with one line in @error. */
int yab_image_open(const char *path, uint64_t memory, char name[YAB_IMAGE_NAME_SIZE], char *error,
		   size_t error_size);
/* The same by its name. */
int yab_image_open_again(const char *name, uint64_t memory, char *error, size_t error_size);
/* The device state. -1 with one line in @error. */
int yab_image_open_state(const char *path, char *error, size_t error_size);

/* Is @peer the name of an image? */
bool yab_image_is_name(const char *peer);
/* Bytes of @name that are its path. */
size_t yab_image_path_length(const char *name);

#endif /* YAB_DAEMON_IMAGE_H */
