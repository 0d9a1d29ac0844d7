/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an outgoing migration consists of, its states, and the ways out of them:
 * giving the guest back, looking for a destination that was lost, the end. For
 * the files called outgoing and rescue.c only.
 */
#ifndef YAB_DAEMON_OUTGOING_STATE_H
#define YAB_DAEMON_OUTGOING_STATE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "contact.h"
#include "detour.h"
#include "dirty.h"
#include "inspection.h"
#include "journal.h"
#include "log.h"
#include "outage.h"
#include "outgoing.h"
#include "supply.h"
#include "token.h"
#include "transfer.h"

enum yab_outgoing_state {
	YAB_OUTGOING_CHECKING,		/* QEMU is asked whether it can be migrated */
	YAB_OUTGOING_CONNECTING,	/* to the destination's daemon */
	YAB_OUTGOING_PREPARING,		/* it makes its QEMU ready */
	YAB_OUTGOING_LINKING,		/* the page connections are made */
	YAB_OUTGOING_MOVING,		/* QEMU writes device state */
	YAB_OUTGOING_LOADING,		/* all of it was sent */
	YAB_OUTGOING_COMMITTING,	/* the call of Finish is out */
	YAB_OUTGOING_ADOPTING,		/* found by this supervisor, which waits for QEMU */
	YAB_OUTGOING_ASKING,		/* its answer was lost: what became of it? */
	YAB_OUTGOING_PULLING,		/* the guest runs there and fetches its pages */
	YAB_OUTGOING_CONFIRMING,	/* the source's QEMU ends */
	YAB_OUTGOING_GIVING_BACK,
	YAB_OUTGOING_STRANDED,		/* nobody knows any more; pages are still served */
	YAB_OUTGOING_STATES,
};

struct yab_outgoing {
	LIST_ENTRY(yab_outgoing) link;
	struct yab_supervisor *supervisor;
	struct yab_vm *vm;
	struct yab_job *job;
	struct yab_outgoing_options options;
	enum yab_outgoing_state state;
	struct yab_inspection inspection;
	struct yab_contact *contact;
	struct yab_detour *detour;	/* NULL: nobody has asked for one */
	struct event *deadline;

	/* From the destination's Prepare. */
	bool prepared;
	uint8_t route[YAB_WIRE_TOKEN_SIZE];
	uint8_t token[YAB_WIRE_TOKEN_SIZE];
	char token_text[YAB_TOKEN_TEXT_SIZE];
	char instance[YAB_TOKEN_TEXT_SIZE];
	struct yab_log_session session;
	json_int_t hints_max;		/* ranges that it takes; 0: does not know of hints */

	/* What the journal says. */
	enum yab_record_state recorded;
	struct yab_process worker;

	/* From Perform. */
	struct yab_supply *supply;
	struct yab_transfer *transfer;	/* until we are freed */
	uint64_t bytes_seen;		/* of device state, at the last look */
	bool loaded;			/* the destination's QEMU has it all */
	int64_t stopped_us;		/* arrival of STOP; 0: did not stop */
	struct yab_dirty_log *dirty;	/* from Prepare on; NULL: no hints */

	struct yab_outage outage;	/* from the commit on */

	/* While giving back; the error also while its better reason is awaited. */
	bool aborting;			/* the destination was told and did not answer yet */
	bool restoring;			/* QEMU is being brought back */
	char error[YAB_WIRE_ERROR_MAX];

	const struct yab_outgoing_ops *ops;
	void *arg;
};

struct yab_outgoings {
	LIST_HEAD(, yab_outgoing) all;
};

/* The VM's new owner, in @state, without a record. NULL with one line in @error. */
struct yab_outgoing *yab_outgoing_new(struct yab_supervisor *supervisor, struct yab_vm *vm,
				      const struct yab_outgoing_options *options,
				      enum yab_outgoing_state state,
				      const struct yab_outgoing_ops *ops, void *arg, char *error,
				      size_t error_size);
/* While adopting: QEMU answers, or is gone. */
void yab_outgoing_adopted(struct yab_outgoing *outgoing);
/* Pages are served from the first moment on. 0, or -1 without memory. */
int yab_outgoing_serve_again(struct yab_outgoing *outgoing);

/* What its contact calls. */
extern const struct yab_contact_ops yab_outgoing_contact_ops;
/* The destination has answered what became of the session. */
void yab_outgoing_reply_attach(struct yab_outgoing *outgoing, json_t *json);
/*
 * All connections go to @via from now on, if that is the destination; the job and the log tell
 * what came of it. 0, or -1 without memory.
 */
int yab_outgoing_detour(struct yab_outgoing *outgoing, const struct yab_address *via);

/* Asserts that the transition is allowed; takes the state's deadline away. */
void yab_outgoing_enter(struct yab_outgoing *outgoing, enum yab_outgoing_state state);
/* The state that was just entered has so long. */
void yab_outgoing_arm(struct yab_outgoing *outgoing, int seconds);
void yab_outgoing_phase(struct yab_outgoing *outgoing, enum yab_job_phase phase);
/*
 * Puts @state into the journal, before what it backs. 0, or -1 with one line in @error: it
 * stays as it was.
 */
int yab_outgoing_promise(struct yab_outgoing *outgoing, enum yab_record_state state, char *error,
			 size_t error_size);
/* Puts @state into the journal, after the fact. */
void yab_outgoing_note(struct yab_outgoing *outgoing, enum yab_record_state state);
/* The same where only figures have changed, soon. */
void yab_outgoing_note_figures(struct yab_outgoing *outgoing);
/* Nothing of the destination's is committed, and nothing can be. */
bool yab_outgoing_revocable(const struct yab_outgoing *outgoing);

/* Sends a call; where that fails the connection is as good as lost. 0, or -1 with errno. */
int yab_outgoing_call(struct yab_outgoing *outgoing, json_t *call);

/*
 * Notes what the guest writes from now on, while the destination starts its QEMU: that
 * takes a second or so, and the rest until it is stopped much less. A guest that does not run there
 * has no use for it.
 */
void yab_outgoing_watch(struct yab_outgoing *outgoing);
void yab_outgoing_unwatch(struct yab_outgoing *outgoing);

/*
 * Gives the guest back and ends with @text. @tell: the destination does not know
 * yet.
 */
void yab_outgoing_give_back(struct yab_outgoing *outgoing, const char *text, bool tell);
/* The same, for failures while it is revocable. */
void yab_outgoing_fail(struct yab_outgoing *outgoing, const char *format, ...)
	__attribute__((__format__(printf, 2, 3)));
/* Fails with @error a little later, unless a better reason comes first. */
void yab_outgoing_doubt(struct yab_outgoing *outgoing, const char *error);
/* While giving back: ends as soon as nothing is waited for. */
void yab_outgoing_returned(struct yab_outgoing *outgoing);
/* After the commit, or while it is in doubt: the destination must be found again. */
void yab_outgoing_seek(struct yab_outgoing *outgoing, const char *error);
/* Nothing more can come of it: the job ends with @error, the pages stay. */
void yab_outgoing_strand(struct yab_outgoing *outgoing, const char *error);
/*
 * The destination has every page and says so with @statistics (borrowed, may be NULL). False if
 * pages of it are not ours: then the migration is stranded.
 */
bool yab_outgoing_verified(struct yab_outgoing *outgoing, json_t *statistics);
/* Ends the job; the VM is in its last state and no longer ours. */
void yab_outgoing_end(struct yab_outgoing *outgoing, const char *error);
void yab_outgoing_free(struct yab_outgoing *outgoing);

#endif /* YAB_DAEMON_OUTGOING_STATE_H */
