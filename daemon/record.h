/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the journal knows of a VM and of its migration, and how that stands in a file:
 *
 *   {"version": 1, "boot": TEXT, "vm": NAME, "memory": BYTES
 *    [, "qemu": {"pid": N, "start": N, "monitor": PATH, "memory_path": PATH,
 *	"description": SHA-256}]
 *    [, "migration": {"state": STATE, "token": HEX, "route": HEX, "instance": HEX,
 *	"session": HEX, "peer": TEXT, "running": BOOL, "connections": N, "bandwidth": N,
 *	"codec": NAME [, "worker": {"pid": N, "start": N}]
 *	[, "finding": {"verified": N, "unverifiable": N, "different": N, "page": N}]}]}
 *
 * A member that is missing or not known makes the file one that is not understood: who
 * adds one that is always there counts the version up. "pid" 0 is a QEMU that was about to be
 * started.
 */
#ifndef YAB_DAEMON_RECORD_H
#define YAB_DAEMON_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "description.h"
#include "finding.h"
#include "log.h"
#include "process.h"
#include "token.h"

#define YAB_RECORD_VERSION	1
/* Longer files are none of ours. */
#define YAB_RECORD_FILE_MAX	16384

/* journal.h tells what each means for who has the guest. */
enum yab_record_state {
	YAB_RECORD_NONE,	/* no migration */
	YAB_RECORD_LEAVING,	/* source: the call of Finish has not gone out */
	YAB_RECORD_ASKED,	/* source: it may have, and no answer was seen */
	YAB_RECORD_LEFT,	/* source: the destination has committed */
	YAB_RECORD_ARRIVING,	/* destination: not committed */
	YAB_RECORD_COMMITTED,	/* destination: committed; QEMU may not have been told */
	YAB_RECORD_ARRIVED,	/* destination: QEMU was told; pages may be missing */
	YAB_RECORD_COMPLETE,	/* destination: they are not; kept for the source */
	YAB_RECORD_GONE,	/* destination: the guest is no more; kept for the source */
	YAB_RECORD_STATES,
};

struct yab_record_qemu {
	struct yab_process process;	/* pid 0: about to be started */
	char monitor[128];		/* empty: there is no QEMU */
	char memory_path[128];		/* what it was given for ${memory} */
	char description[YAB_DESCRIPTION_IDENTITY_SIZE];
};

struct yab_record_migration {
	enum yab_record_state state;
	char token[YAB_TOKEN_TEXT_SIZE];	/* empty until Prepare has answered */
	char route[YAB_TOKEN_TEXT_SIZE];
	char instance[YAB_TOKEN_TEXT_SIZE];	/* of the destination's supervisor */
	char session[YAB_LOG_SESSION_SIZE];
	char peer[272];
	/* Source: the guest ran when it began. Destination: it is to run. */
	bool running;
	unsigned int connections;
	uint64_t bandwidth;
	enum yab_codec_kind codec;		/* that was agreed on */
	struct yab_process worker;
	/* Of a session that is complete; all zero if nothing was compared. */
	struct yab_finding finding;
};

struct yab_record {
	char vm[YAB_NAME_SIZE];
	uint64_t memory;
	struct yab_record_qemu qemu;
	struct yab_record_migration migration;
};

const char *yab_record_state_name(enum yab_record_state state);
bool yab_record_may_enter(enum yab_record_state from, enum yab_record_state to);
/* The session has a file of its own, and the VM may be in another migration. */
bool yab_record_is_session(enum yab_record_state state);
/* There is nothing that the next supervisor needs to know. */
bool yab_record_is_empty(const struct yab_record *record);

/* One that ends with a newline, for free(); NULL without memory. */
char *yab_record_print(const struct yab_record *record, const char *boot);
/*
 * Processes of another boot than @boot are none. 0, or -1 with one line in @error, which
 * does not name the file.
 */
int yab_record_parse(const char *text, size_t length, const char *boot,
		     struct yab_record *record, char *error, size_t error_size);

#endif /* YAB_DAEMON_RECORD_H */
