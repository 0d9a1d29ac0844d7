/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a host knows of a VM that it does not run yet: VMDIR/NAME.json. Both
 * hosts of a migration read their own; a command never comes over the wire.
 */
#ifndef YAB_DAEMON_DESCRIPTION_H
#define YAB_DAEMON_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/yabusame.h>

/* SHA-256 of the file's text, in hexadecimal digits. */
#define YAB_DESCRIPTION_IDENTITY_SIZE	65

struct yab_description {
	char name[YAB_NAME_SIZE];
	char identity[YAB_DESCRIPTION_IDENTITY_SIZE];
	uint64_t memory;	/* bytes, a multiple of YAB_WIRE_PAGE_SIZE */
	char **command;		/* with placeholders, ended by NULL */
};

/* What the placeholders of the command stand for. */
struct yab_description_values {
	const char *memory;	/* ${memory}: path of the memory file or the region */
	const char *monitor;	/* ${monitor}: QEMU's address of its QMP socket */
	bool incoming;		/* ${incoming}: -S -incoming defer, else nothing */
};

/*
 * Names of VMs are names of regions: 1 to 63 letters, digits, '.', '_' or '-', no
 * leading '.', not "control".
 */
bool yab_description_name_valid(const char *name);
/* The same with one line in @error. */
int yab_description_name_check(const char *name, char *error, size_t error_size);

/* A number of bytes, K, M or G, a multiple of YAB_WIRE_PAGE_SIZE. -1 if @text is none. */
int yab_description_size(const char *text, uint64_t *size);

/* Reads @folder/@name.json. NULL with one line in @error. */
struct yab_description *yab_description_load(const char *folder, const char *name, char *error,
					     size_t error_size);
/* The same from @text; @file is for messages. */
struct yab_description *yab_description_parse(const char *text, size_t length, const char *file,
					      const char *name, char *error, size_t error_size);
/* One of which only this is known any more: it has no command. NULL without memory. */
struct yab_description *yab_description_known(const char *name, uint64_t memory,
					      const char *identity);
void yab_description_free(struct yab_description *description);

/* The command with its placeholders replaced, ended by NULL; NULL with errno. */
char **yab_description_command(const struct yab_description *description,
			       const struct yab_description_values *values);
void yab_description_command_free(char **command);

#endif /* YAB_DAEMON_DESCRIPTION_H */
