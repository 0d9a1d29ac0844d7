/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A migration as the destination sees it: Prepare, the device state, Finish (the
 * commit), and the wait for the last page.
 *
 * Before the commit whatever fails undoes everything: QEMU, worker and region are
 * gone before anybody is told. After it the session is kept, whatever happens to
 * connections, until the source has confirmed.
 */
#ifndef YAB_DAEMON_INCOMING_H
#define YAB_DAEMON_INCOMING_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "caller.h"
#include "supervisor.h"
#include "wire.h"

struct yab_incoming;

struct yab_incomings *yab_incomings_new(struct yab_complaints *complaints);
/* Forgets them all: the daemon ends. */
void yab_incomings_free(struct yab_incomings *incomings);
/* @token as text, may be NULL. */
struct yab_incoming *yab_incomings_find(struct yab_incomings *incomings, const char *token);
/*
 * What is not committed is undone, what is goes on in the supervisor after us; true while
 * there is anything to wait for.
 */
bool yab_incomings_give_up(struct yab_incomings *incomings);
/* An urgent or bulk connection said hello; takes @fd over. */
void yab_incomings_connection(struct yab_incomings *incomings, int fd,
			      const struct yab_wire_hello *hello, const struct yab_origin *origin);
/* Nobody will ever ask for a session whose guest is gone: it is forgotten. */
void yab_incomings_forget(struct yab_incomings *incomings, const char *token);

/* Prepare: the answer goes to @caller. */
void yab_incoming_prepare(struct yab_supervisor *supervisor, struct yab_caller *caller,
			  json_t *cookie);
/*
 * Goes on with the migration of @record, which a supervisor before us has begun: undoes it,
 * if it is not committed. @vm is its VM, or NULL where that is no business of ours. 0, or
 * -1 with one line in @error.
 */
int yab_incoming_adopt(struct yab_supervisor *supervisor, const struct yab_record *record,
		       struct yab_vm *vm, char *error, size_t error_size);
/* Device state; no bytes are its end. */
void yab_incoming_state(struct yab_incoming *incoming, const void *data, size_t length);
/* Finish: the commit. */
void yab_incoming_finish(struct yab_incoming *incoming, json_t *cookie);
/* Bytes a second for the sweep; 0: no limit. */
void yab_incoming_limit(struct yab_incoming *incoming, json_t *bandwidth);
/* The same for the migration of the VM @name, if there is one: 0; else -1. */
int yab_incomings_limit(struct yab_incomings *incomings, const char *name, json_t *bandwidth);
/* After Finish, once: pages that the guest wrote before it was stopped (hints.h). */
void yab_incoming_hint(struct yab_incoming *incoming, json_t *ranges);
/* The source gives up; refused once it is committed. */
void yab_incoming_abort(struct yab_incoming *incoming);
/* The source has ended its QEMU; the session may be forgotten. */
void yab_incoming_confirmed(struct yab_incoming *incoming);
/* The source broke the protocol. */
void yab_incoming_misused(struct yab_incoming *incoming, const char *error);

/* @caller takes the place of an earlier one. */
void yab_incoming_attach(struct yab_incoming *incoming, struct yab_caller *caller);
void yab_incoming_caller_lost(struct yab_incoming *incoming, const char *error);
const uint8_t *yab_incoming_token(const struct yab_incoming *incoming);

#endif /* YAB_DAEMON_INCOMING_H */
