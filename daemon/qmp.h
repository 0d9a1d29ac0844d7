/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of QEMU's monitor (JSON QMP over a unix socket). */
#ifndef YAB_DAEMON_QMP_H
#define YAB_DAEMON_QMP_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define YAB_QMP_LINE_MAX	(1024 * 1024)
/* Where a question cannot even be sent. */
#define YAB_QMP_UNASKED	"QEMU's monitor cannot be asked: see QEMU's log (yabusamed(8), FILES)"

struct yab_qmp;

/* Each callback may free the client. */
struct yab_qmp_ops {
	/* Greeted and negotiated: calls may be made. */
	void (*ready)(void *arg);
	/* @data is borrowed and may be NULL. */
	void (*event)(const char *name, json_t *data, void *arg);
	/* The last one. Every pending call has failed before it. */
	void (*lost)(const char *error, void *arg);
};

/* Either @result (borrowed) or @error, one line, is given. */
typedef void (*yab_qmp_cb)(json_t *result, const char *error, void *arg);

/* Takes @fd over, also on failure (NULL, with errno). @vm is for messages. */
struct yab_qmp *yab_qmp_new(struct event_base *base, int fd, const char *vm,
			    const struct yab_qmp_ops *ops, void *arg);
/* Pending calls are forgotten: nobody is called back. */
void yab_qmp_free(struct yab_qmp *qmp);
/* Takes in what QEMU had still written; for a QEMU that has just ended. */
void yab_qmp_drain(struct yab_qmp *qmp);
/*
 * From within a callback: the connection is lost, and with it perhaps what QEMU said of a call
 * that has just failed.
 */
bool yab_qmp_is_lost(const struct yab_qmp *qmp);
/* It was closed by QEMU, and everything that QEMU had written was handed on before. */
bool yab_qmp_was_heard(const struct yab_qmp *qmp);
/* For the calls from now on; 30 seconds by default. */
void yab_qmp_set_timeout(struct yab_qmp *qmp, int milliseconds);

/*
 * Steals @arguments (may be NULL). @fd (or -1) goes along as SCM_RIGHTS; it is
 * copied, the caller still closes its own. 0, or -1 with errno and no callback.
 */
int yab_qmp_call(struct yab_qmp *qmp, const char *command, json_t *arguments, int fd,
		 yab_qmp_cb cb, void *arg);

struct yab_qmp_step {
	const char *command;	/* must outlive the sequence */
	json_t *arguments;
	int fd;			/* or -1 */
};

/*
 * Makes the calls one after the other until one fails. @cb gets their results as
 * an array. Steals all arguments and copies all fds at once. 0, or -1 with errno
 * and no callback.
 */
int yab_qmp_run(struct yab_qmp *qmp, const struct yab_qmp_step *steps, size_t count,
		yab_qmp_cb cb, void *arg);

#endif /* YAB_DAEMON_QMP_H */
