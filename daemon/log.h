/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef YAB_DAEMON_LOG_H
#define YAB_DAEMON_LOG_H

#include <stdbool.h>

/*
 * Logs go to stderr, one line each: "yabusamed[PID] LEVEL VM: TEXT". The journal
 * of systemd takes them from there. @vm may be NULL where no VM is concerned.
 * Level debug is written only after yab_log_set_debug(true).
 */
void yab_log_set_debug(bool debug);
/* Also takes libevent's own messages. Called once, first thing in main(). */
void yab_log_open(const char *program);

void yab_log_error(const char *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
void yab_log_warn(const char *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
void yab_log_info(const char *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));
void yab_log_debug(const char *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif /* YAB_DAEMON_LOG_H */
