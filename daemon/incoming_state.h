/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an incoming migration consists of, its steps, and the way back: undoing what is
 * not committed, the end. For the files called incoming and rescue.c only.
 */
#ifndef YAB_DAEMON_INCOMING_STATE_H
#define YAB_DAEMON_INCOMING_STATE_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "caller.h"
#include "complaint.h"
#include "demand.h"
#include "incoming.h"
#include "journal.h"
#include "log.h"
#include "outage.h"
#include "stream.h"
#include "token.h"

enum yab_incoming_step {
	YAB_INCOMING_STARTING,		/* QEMU starts */
	YAB_INCOMING_PREPARED,		/* it waits for device state, or loads it */
	YAB_INCOMING_LOADED,		/* it could run */
	YAB_INCOMING_COMMITTING,	/* it was told to run */
	YAB_INCOMING_ADOPTING,		/* committed, for it may have run; QEMU is awaited */
	YAB_INCOMING_CONTINUING,	/* the same; QEMU is told to run, as often as it takes */
	YAB_INCOMING_PULLING,		/* committed; pages are missing */
	YAB_INCOMING_COMPLETE,		/* every page is here; kept for the source */
	YAB_INCOMING_UNDOING,
	YAB_INCOMING_GONE,		/* committed, but the guest is no more; kept, too */
	YAB_INCOMING_STEPS,
};

struct yab_incoming {
	LIST_ENTRY(yab_incoming) link;
	struct yab_supervisor *supervisor;
	char name[YAB_NAME_SIZE];
	enum yab_incoming_step step;
	uint8_t route[YAB_WIRE_TOKEN_SIZE];	/* finds it; no secret */
	uint8_t token[YAB_WIRE_TOKEN_SIZE];
	char token_text[YAB_TOKEN_TEXT_SIZE];
	struct yab_log_session session;
	uint64_t memory;		/* bytes */
	uint64_t pages;
	enum yab_codec_kind codec;	/* of the packs that may come */
	bool verify;			/* pages are compared with the source's at the end */
	struct yab_caller *caller;	/* NULL while there is no control connection */
	struct event *deadline;
	struct yab_vm *vm;		/* ours until the commit, then NULL */
	struct yab_job *job;		/* until its end, then NULL */

	struct yab_outage outage;	/* from the commit on */

	struct yab_demand *demand;	/* the page service, until it is of no use */
	json_t *statistics;		/* the last ones */
	bool complete;			/* said so, perhaps before the commit */

	/* What the journal says. */
	enum yab_record_state recorded;
	char peer[272];			/* the source */
	bool runs;			/* the guest is to run here */
	uint64_t bandwidth;
	struct yab_process worker;

	struct yab_stream *stream;
	uint64_t bytes_seen;
	bool resumed;			/* QEMU said RESUME: the guest has run */
	bool failed;			/* QEMU said that loading failed; it will end */

	/* While undoing; the error also when the guest is gone. */
	char error[YAB_WIRE_ERROR_MAX];
	bool telling;			/* QEMU is told to run: its answer comes here */
	bool aborted;			/* the caller waits for the answer to its abort */
	bool attaching;			/* the caller waits for the answer to its attach */
	bool finishing;			/* the same, to its Finish */
};

struct yab_incomings {
	LIST_HEAD(, yab_incoming) all;
	unsigned int count;
	struct yab_complaints *complaints;
};

/* One of the VM @name, in @step, without a record. NULL with one line in @error. */
struct yab_incoming *yab_incoming_new(struct yab_supervisor *supervisor, const char *name,
				      uint64_t memory, enum yab_incoming_step step,
				      char *error, size_t error_size);
/* The VM is the incoming migration's until it is committed or undone. */
void yab_incoming_own(struct yab_incoming *incoming, struct yab_vm *vm);
/* The page service of a supervisor before this one. 0, or -1 without memory. */
int yab_incoming_page_again(struct yab_incoming *incoming);
/*
 * It is on the disk that the guest is ours: QEMU is told to run. Again and again where it may
 * have run already.
 */
void yab_incoming_go(struct yab_incoming *incoming);
/* While adopting: not now, but a little later, for @error. */
void yab_incoming_again(struct yab_incoming *incoming, const char *error);
/* Its QEMU has ended, and the guest may have run: it is gone. */
void yab_incoming_ended(struct yab_incoming *incoming, const char *why);
/* Every page and the guest are here: the source is told, if it is there. */
void yab_incoming_completed(struct yab_incoming *incoming);

/* Asserts that the transition is allowed; takes the step's deadline away. */
void yab_incoming_enter(struct yab_incoming *incoming, enum yab_incoming_step step);
/* The step that was just entered has so long. */
void yab_incoming_arm(struct yab_incoming *incoming, int milliseconds);
/* Everything can still be undone: the guest never ran here. */
bool yab_incoming_revocable(const struct yab_incoming *incoming);
bool yab_incoming_is_committed(const struct yab_incoming *incoming);

/*
 * Puts @state into the journal, before what it backs. 0, or -1 with one line in @error: it
 * stays as it was.
 */
int yab_incoming_promise(struct yab_incoming *incoming, enum yab_record_state state, char *error,
			 size_t error_size);
/* Puts @state into the journal, after the fact; nothing happens if it never was there. */
void yab_incoming_note(struct yab_incoming *incoming, enum yab_record_state state);

/* The same where only figures have changed, soon. */
void yab_incoming_note_figures(struct yab_incoming *incoming);

/* Takes @event over; without a caller nobody is told. */
void yab_incoming_event(struct yab_incoming *incoming, json_t *event);

/*
 * Committed, but the guest is no more, and never will be. The session stays, for a source that
 * asks for it must not be told that there was none: that would be a promise.
 */
void yab_incoming_forsake(struct yab_incoming *incoming, const char *error);

/* Ends QEMU and the worker (the region goes with them), then yab_incoming_undone(). */
void yab_incoming_undo(struct yab_incoming *incoming, const char *error);
/* While undoing: as soon as nothing is left of it on this host the source is told. */
void yab_incoming_undone(struct yab_incoming *incoming);
void yab_incoming_free(struct yab_incoming *incoming);

#endif /* YAB_DAEMON_INCOMING_STATE_H */
