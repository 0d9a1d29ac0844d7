/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a VM's QEMU can be migrated from: what Begin asks it. */
#ifndef YAB_DAEMON_INSPECTION_H
#define YAB_DAEMON_INSPECTION_H

#include <stdbool.h>

#include "vm.h"

struct yab_inspection {
	bool running;		/* else paused */
	char qemu[32];		/* its version */
	char uuid[40];		/* empty where the VM has none */
};

/* Either @inspection or @error, one line, is given. */
typedef void (*yab_inspection_cb)(const struct yab_inspection *inspection, const char *error,
				  void *arg);

/* If the VM's QEMU ends @cb comes all the same. 0, or -1 with errno and no callback. */
int yab_inspect(struct yab_vm *vm, yab_inspection_cb cb, void *arg);

#endif /* YAB_DAEMON_INSPECTION_H */
