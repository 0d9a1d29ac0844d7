/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A migration as the source sees it: Begin, the call of Prepare, Perform, the call
 * of Finish (the commit), Confirm.
 *
 * Up to the moment at which the call of Finish is handed to the connection, every
 * failure gives the guest back. From then on only the destination can say that it
 * may: by an ERROR to this call, or by not knowing the session when it is asked.
 */
#ifndef YAB_DAEMON_OUTGOING_H
#define YAB_DAEMON_OUTGOING_H

#include <stdbool.h>

#include "address.h"
#include "supervisor.h"

struct yab_outgoing_ops {
	/* The job's figures changed. */
	void (*progress)(void *arg);
	/* The last one. @error is NULL on success, else one line. */
	void (*ended)(const char *error, void *arg);
};

struct yab_outgoings *yab_outgoings_new(void);
/* Forgets them all: the daemon ends. */
void yab_outgoings_free(struct yab_outgoings *outgoings);
/* Before the commit they give up; true while any is left. */
bool yab_outgoings_give_up(struct yab_outgoings *outgoings);

/*
 * Starts the migration of the VM @name. @paused: its guest is not continued on the
 * destination. 0, or -1 with one line in @error and no callback.
 */
int yab_outgoing_begin(struct yab_supervisor *supervisor, const char *name,
		       const struct yab_address *destination, bool paused,
		       const struct yab_outgoing_ops *ops, void *arg, char *error,
		       size_t error_size);

#endif /* YAB_DAEMON_OUTGOING_H */
