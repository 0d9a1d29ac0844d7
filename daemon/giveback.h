/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gives a guest back to its source: ends a migration in QEMU, whatever came of
 * it, and lets the guest go on as it was. Never used once the destination may
 * have committed.
 */
#ifndef YAB_DAEMON_GIVEBACK_H
#define YAB_DAEMON_GIVEBACK_H

#include <event2/event.h>
#include <stdbool.h>

#include "vm.h"

/*
 * @error is NULL when the guest is as it was, else one line. QEMU has answered
 * everything that it was asked before.
 */
typedef void (*yab_giveback_cb)(const char *error, void *arg);

/*
 * @running: the guest ran before. If QEMU ends meanwhile @cb comes all the same,
 * with an error. 0, or -1 with errno and no callback.
 */
int yab_giveback(struct event_base *base, struct yab_vm *vm, bool running, yab_giveback_cb cb,
		 void *arg);

#endif /* YAB_DAEMON_GIVEBACK_H */
