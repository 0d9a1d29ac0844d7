/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that is there as a whole or not at all: it is written under another name in the
 * same folder, FILE.VM.part, and has its own at the end. A daemon that is killed leaves the
 * former, which the next save of this VM to this file removes.
 */
#ifndef YAB_DAEMON_SAVE_FILE_H
#define YAB_DAEMON_SAVE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "image.h"

struct yab_save_file {
	char path[YAB_IMAGE_NAME_SIZE];
	char part[YAB_IMAGE_NAME_SIZE + 80];	/* empty: there is none */
	int fd;					/* -1: closed */
};

/*
 * One for @what under @path, which must not exist; @vm is whose. 0, or -1 with one line in
 * @error.
 */
int yab_save_file_make(struct yab_save_file *file, const char *what, const char *path,
		       const char *vm, char *error, size_t error_size);
/* It still has the name that it was made with. */
bool yab_save_file_is_there(const struct yab_save_file *file);
/* It is on the disk under its own name. 0, or -1 with one line in @error. */
int yab_save_file_keep(struct yab_save_file *file, char *error, size_t error_size);
/* Removes one that was kept, for the other one could not be. */
void yab_save_file_remove(struct yab_save_file *file);
/*
 * One that was kept under @path by a daemon that was killed loses its name again, for the guest
 * @vm goes on. True with one line in @text: something is left that should be removed.
 */
bool yab_save_file_revoke(const char *path, const char *vm, char *text, size_t text_size);
/* Closes it; what was not kept is no more. Nothing happens to one that is all zero but fd -1. */
void yab_save_file_release(struct yab_save_file *file);

#endif /* YAB_DAEMON_SAVE_FILE_H */
