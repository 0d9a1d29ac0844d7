/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's RAM as a migration needs it: one memory-backend-file on our memory file, shared, of
 * the size that the description says. Seen in the description's command before QEMU is started,
 * and asked of QEMU before its guest is moved or saved.
 */
#ifndef YAB_DAEMON_RAM_H
#define YAB_DAEMON_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "description.h"

#define YAB_RAM_HINT \
	"describe it with -object memory-backend-file,id=ram0,size=${memory_size},mem-path=${memory},share=on and -machine memory-backend=ram0"

/* What is known of the machine's memory backend. */
struct yab_ram {
	const char *type;	/* NULL: not known */
	const char *path;	/* NULL: not known */
	const char *memory;	/* what @path must be */
	bool shared;
	int64_t size;		/* bytes; negative: not known */
};

/* 0 if nothing that is known of @ram bars a migration, or -1 with one line in @error. */
int yab_ram_check(const struct yab_ram *ram, const char *vm, uint64_t size, char *error,
		  size_t error_size);
/*
 * The same of what can be seen in the command of @description. What cannot be (a command that
 * runs QEMU by other means, a file of -readconfig) is left to whoever asks QEMU.
 */
int yab_ram_check_description(const struct yab_description *description, char *error,
			      size_t error_size);

#endif /* YAB_DAEMON_RAM_H */
