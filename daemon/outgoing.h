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
#include <stdint.h>

#include "address.h"
#include "codec.h"
#include "supervisor.h"

struct yab_outgoing_ops {
	/* The job's figures changed. */
	void (*progress)(void *arg);
	/* The last one. @error is NULL on success, else one line. */
	void (*ended)(const char *error, void *arg);
};

struct yab_outgoing_options {
	struct yab_address destination;
	bool paused;			/* the guest is not continued on the destination */
	unsigned int connections;	/* for the sweep, 1 to YAB_WIRE_BULKS_MAX */
	enum yab_codec_kind codec;	/* for the sweep, if the destination has it */
	uint64_t bandwidth;		/* bytes a second for the sweep; 0: no limit */
	bool verify;			/* pages are compared before the end */
};

struct yab_outgoings *yab_outgoings_new(void);
/* Forgets them all: the daemon ends. */
void yab_outgoings_free(struct yab_outgoings *outgoings);
/*
 * Before the commit they give up, after it they go on in the supervisor after us; true
 * while there is anything to wait for.
 */
bool yab_outgoings_give_up(struct yab_outgoings *outgoings);

/* The VM @name, if it can leave now. NULL with one line in @error. */
struct yab_vm *yab_outgoing_candidate(struct yab_supervisor *supervisor, const char *name,
				      char *error, size_t error_size);
/* Starts the migration of the VM @name. 0, or -1 with one line in @error and no callback. */
int yab_outgoing_begin(struct yab_supervisor *supervisor, const char *name,
		       const struct yab_outgoing_options *options,
		       const struct yab_outgoing_ops *ops, void *arg, char *error,
		       size_t error_size);
/*
 * Goes on with the migration of @record, which a supervisor before us has begun from this
 * VM. 0, or -1 with one line in @error.
 */
int yab_outgoing_adopt(struct yab_supervisor *supervisor, const struct yab_record *record,
		       struct yab_vm *vm, char *error, size_t error_size);
/*
 * Another limit for the sweep of the VM's migration, from now on. 0, or -1 if there is no
 * migration that could be told.
 */
int yab_outgoing_limit(struct yab_outgoings *outgoings, const char *name, uint64_t bandwidth);

#endif /* YAB_DAEMON_OUTGOING_H */
