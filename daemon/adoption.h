/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a supervisor does at its start with what its journal says of the one before:
 * journal.h tells why.
 */
#ifndef YAB_DAEMON_ADOPTION_H
#define YAB_DAEMON_ADOPTION_H

#include "record.h"
#include "supervisor.h"

enum yab_adoption {
	YAB_ADOPTION_DROP,	/* nothing is left that anybody could want */
	YAB_ADOPTION_MOURN,	/* ours, and its guest is gone: the source may ask */
	YAB_ADOPTION_WATCH,	/* a VM in no migration */
	YAB_ADOPTION_GIVE_BACK,	/* the migration is over, the guest goes on here */
	YAB_ADOPTION_ASK,	/* the destination knows whose it is */
	YAB_ADOPTION_SERVE,	/* the destination's: its pages are served */
	YAB_ADOPTION_UNDO,	/* the source's: nothing stays here */
	YAB_ADOPTION_CONTINUE,	/* ours: QEMU is told to run (again) */
	YAB_ADOPTION_PULL,	/* ours: the missing pages are fetched */
	YAB_ADOPTION_KEEP,	/* ours, with all its pages: the source may ask */
	YAB_ADOPTIONS,
};

/* @runs: the QEMU of the record has not ended. */
enum yab_adoption yab_adoption_decide(const struct yab_record *record, bool runs);
/* One line for the log. */
const char *yab_adoption_text(enum yab_adoption adoption);

/* Takes up all that is in the supervisor's journal, before anybody can ask about it. */
void yab_adopt_all(struct yab_supervisor *supervisor);

#endif /* YAB_DAEMON_ADOPTION_H */
