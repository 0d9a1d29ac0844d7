/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logs go to stderr, one line each: "yabusamed[PID] LEVEL VM SESSION: TEXT". VM is left
 * out where none is concerned (@vm is NULL), SESSION where the VM is in no migration.
 *
 * Where stderr is a stream of systemd's journal (JOURNAL_STREAM), each line begins with
 * its priority, "<N>", which the journal takes off.
 *
 * A line never waits: what a pipe, socket or terminal does not take at once is lost, and
 * the next line that is taken is preceded by one that tells how many were.
 */
#ifndef YAB_DAEMON_LOG_H
#define YAB_DAEMON_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* 8 hexadecimal digits. Public: it names a migration and opens nothing. */
#define YAB_LOG_SESSION_SIZE	9

/* A migration whose lines carry its name, on both hosts the same. */
struct yab_log_session {
	LIST_ENTRY(yab_log_session) link;
	const char *vm;		/* NULL: it has not begun */
	char name[YAB_LOG_SESSION_SIZE];
};

/* Takes libevent's own messages, too. Called once, first thing in main(). */
void yab_log_open(const char *program);
/* Level debug is written only after this said so. */
void yab_log_set_debug(bool debug);
bool yab_log_is_debug(void);
/* Lines that were not taken, since the process began. */
uint64_t yab_log_lost(void);

/* A new name; empty if there is no randomness. */
void yab_log_session_name(char name[YAB_LOG_SESSION_SIZE]);
/*
 * From now on lines about @vm (borrowed until the end) carry @name, unless that is not
 * what a name must look like: it may be another host's. The last one of a VM counts.
 * Nothing happens if it has begun.
 */
void yab_log_session_begin(struct yab_log_session *session, const char *vm, const char *name);
/* Nothing happens if it has not begun. */
void yab_log_session_end(struct yab_log_session *session);
/* The name that lines about @vm carry, or NULL. */
const char *yab_log_session_of(const char *vm);

void yab_log_error(const char *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
void yab_log_warn(const char *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
void yab_log_info(const char *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
void yab_log_debug(const char *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif /* YAB_DAEMON_LOG_H */
