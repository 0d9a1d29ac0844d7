/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an operator can do for a migration that is committed and whose other side is gone:
 * have it looked for at once, or elsewhere; or give it up.
 */
#ifndef YAB_DAEMON_RESCUE_H
#define YAB_DAEMON_RESCUE_H

#include <stdbool.h>
#include <stddef.h>

#include "address.h"
#include "supervisor.h"

/*
 * On the source: what is not connected is tried at once. With @via (may be NULL) all
 * connections go to that address of the destination from now on, once whoever is there has
 * shown that it is the destination. 0, or -1 with one line in @error.
 */
int yab_rescue_resume(struct yab_supervisor *supervisor, const char *name,
		      const struct yab_address *via, char *error, size_t error_size);
/*
 * On either side: whether its QEMU may be ended although there is a migration. 0, also where
 * there is none that is committed, or -1 with the line that says which pages would be lost and
 * that it takes @force.
 */
int yab_rescue_permit(struct yab_supervisor *supervisor, const char *name, bool force,
		      char *text, size_t text_size);
/*
 * On either side: its QEMU ends, the guest is never continued here, and what pages of it are
 * nowhere else are lost; that takes @force. One that is being saved is given back. 0 with one
 * line in @text that says what was lost, or -1 with one that says why not.
 */
int yab_rescue_abandon(struct yab_supervisor *supervisor, const char *name, bool force,
		       char *text, size_t text_size);

#endif /* YAB_DAEMON_RESCUE_H */
