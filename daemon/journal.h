/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the next supervisor must know, should this one end at this moment: one file a VM,
 * NAME.json, in the state folder, and one, ROUTE.session, for each session that is over here
 * and whose source has not confirmed yet: its pages are all here, or its guest is no more.
 * record.h has their format.
 *
 * A file is replaced as a whole: a temporary one, fsync(), rename(), fsync() of the folder.
 * What is torn, of another version or not understood is never guessed at; it is renamed to
 * FILE.aside.
 *
 * Who has the guest
 *
 * One rule decides: until the destination's record says "committed" the guest is the
 * source's, from then on it is the destination's. At most one of them runs it, whoever is
 * killed when:
 *
 * 1. The destination writes "committed" before its QEMU is told to run. A supervisor that
 *    finds "arriving" so knows that the guest never ran there: it ends QEMU and can promise
 *    that it never will. One that finds "committed" lets it run (again).
 * 2. The source writes "asked" before the call of Finish goes out, and the destination
 *    commits for no other reason. A supervisor that finds "leaving" so knows that the
 *    destination has not committed, and that it never will: the connection on which Finish
 *    would have come has ended with the process. The guest goes on at the source.
 * 3. A source that finds "asked" does not know and lets nothing run: it asks. The answer is
 *    "committed" (1), or "unknown", which promises that the guest never ran there and
 *    never will; only then the guest goes on at the source.
 * 4. "unknown" is said of sessions that have no record, by a supervisor of the instance that
 *    made the session. It is true, since each session that is committed has a record from
 *    before its commit until its source has confirmed; that of a guest that is lost or
 *    abandoned says so ("gone") and stays. Nor is it said of one whose record could not be
 *    taken up. Whatever takes such a record away otherwise (it is set aside, too many are
 *    kept) first makes a new instance, which promises nothing about the sessions of the one
 *    before: "restarted", and the source keeps what it has until somebody looks.
 * 5. A commit that fails (QEMU does not continue) is taken back only when QEMU is dead and
 *    everything that it had said was heard, with no RESUME in it. Where its monitor was lost
 *    before that, or another supervisor has told it to run, the commit stands: QEMU is told
 *    again until it runs or is gone. Should the record of a commit that is taken back stay, a
 *    supervisor finds it without a QEMU: 4.
 * 6. A source that finds "left" runs nothing whatever it is told.
 *
 * So the disk may lag only where lagging is safe. What is written before a promise must be
 * on the disk (yab_journal_promise_*()), and while that fails the promise is not made. What
 * follows one (yab_journal_note()) is logged if it fails and tried again until it succeeds.
 */
#ifndef YAB_DAEMON_JOURNAL_H
#define YAB_DAEMON_JOURNAL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "record.h"

/* Everywhere below NULL is a journal that takes everything and keeps nothing. */
struct yab_journal;

/*
 * Reads the folder, which exists and which nobody else uses. @instance becomes that of the
 * supervisor before, or a new one; also where the folder is a copy of another host's (by
 * machine-id), and then all records in it are set aside. NULL with one line in @error.
 */
struct yab_journal *yab_journal_open(struct event_base *base, const char *folder,
				     char instance[YAB_TOKEN_TEXT_SIZE], char *error,
				     size_t error_size);
/* What was not written yet is tried once more. */
void yab_journal_close(struct yab_journal *journal);

/* All records as they are now, for free(); NULL without memory. */
struct yab_record *yab_journal_list(struct yab_journal *journal, size_t *count);

/* 0, or -1 with one line in @error: then the record is as it was. */
int yab_journal_promise_qemu(struct yab_journal *journal, const char *vm, uint64_t memory,
			     const struct yab_record_qemu *qemu, char *error, size_t error_size);
int yab_journal_promise_migration(struct yab_journal *journal, const char *vm, uint64_t memory,
				  const struct yab_record_migration *migration, char *error,
				  size_t error_size);

/* The VM's migration goes on in this state; in state none it is over. */
void yab_journal_note(struct yab_journal *journal, const char *vm, uint64_t memory,
		      const struct yab_record_migration *migration);
/*
 * The same for figures that may change often, in the state that it is in: the first is written
 * at once, those of the next second together.
 */
void yab_journal_note_figures(struct yab_journal *journal, const char *vm, uint64_t memory,
			      const struct yab_record_migration *migration);
/* Its QEMU runs as this process. */
void yab_journal_note_qemu(struct yab_journal *journal, const char *vm, uint64_t memory,
			   const struct yab_record_qemu *qemu);
/* It has ended. */
void yab_journal_note_exit(struct yab_journal *journal, const char *vm);

/* The session has a file of its own now, complete or gone; the VM is in no migration. */
void yab_journal_keep(struct yab_journal *journal, const char *vm, uint64_t memory,
		      const struct yab_record_migration *migration);
/* There is a record of the session with this @token (may be NULL). */
bool yab_journal_knows(struct yab_journal *journal, const char *token);
/* It is confirmed, or forgotten. */
void yab_journal_forget(struct yab_journal *journal, const char *route);

/*
 * Nothing is promised any more about sessions that have no record: @instance becomes a new
 * one. -1 with one line in @error where it is not on the disk: then the records must stay.
 */
int yab_journal_renew(struct yab_journal *journal, char instance[YAB_TOKEN_TEXT_SIZE],
		      char *error, size_t error_size);

#endif /* YAB_DAEMON_JOURNAL_H */
