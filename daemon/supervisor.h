/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the supervising process share. */
#ifndef YAB_DAEMON_SUPERVISOR_H
#define YAB_DAEMON_SUPERVISOR_H

#include <event2/dns.h>
#include <event2/event.h>
#include <stdbool.h>

#include "complaint.h"
#include "job.h"
#include "journal.h"
#include "quota.h"
#include "security.h"
#include "vm.h"
#include "yabusame/wire.h"

struct yab_incomings;
struct yab_outgoings;
struct yab_restores;
struct yab_saves;

struct yab_supervisor {
	struct event_base *base;
	struct evdns_base *dns;
	const char *run_dir;
	const char *policy;	/* of incoming migrations' pages; NULL: the default */
	struct yab_security security;
	struct yab_journal *journal;	/* NULL: what is under way ends with us */
	struct yab_vms *vms;
	struct yab_jobs *jobs;
	struct yab_incomings *incomings;
	struct yab_outgoings *outgoings;
	struct yab_restores *restores;
	struct yab_saves *saves;
	/*
	 * Names this supervisor and those that go on with its journal. What it says of sessions
	 * that it does not know counts only if it is the one that they were made with.
	 */
	char instance[2 * YAB_WIRE_TOKEN_SIZE + 1];
	bool leaving;		/* takes no new work */
	struct yab_quota callers;	/* control connections without a session */
	struct yab_complaints *complaints;
	gid_t group;		/* may use the socket, too; -1: no group may */
};

/*
 * Makes the tables, which are empty, and reads the journal in @state_dir (NULL: there is none);
 * base, run_dir and the options are there already, and are the caller's. -1: @error says why, and
 * what was made is for yab_supervisor_close(), too.
 */
int yab_supervisor_open(struct yab_supervisor *supervisor, const char *vm_dir,
			const char *state_dir, char *error, size_t error_size);
/* Before base and dns are freed. What the journal knows of goes on when it is opened again. */
void yab_supervisor_close(struct yab_supervisor *supervisor);

#endif /* YAB_DAEMON_SUPERVISOR_H */
