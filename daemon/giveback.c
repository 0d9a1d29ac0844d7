// SPDX-License-Identifier: GPL-2.0-or-later
#include "giveback.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capabilities.h"
#include "log.h"
#include "yabusame/wire.h"

#define YAB_GIVEBACK_POLL_MS	50
/*
 * 30 seconds for QEMU to end its migration and to continue the guest, which fails for as
 * long as a destination that is being undone holds on to the locks of disk images.
 */
#define YAB_GIVEBACK_POLLS	600

/*
 * In order: ask for the migration's status until it is over (and cancel it once),
 * take the capabilities back, continue the guest, and see that it runs.
 */
struct yab_giveback {
	struct yab_vm *vm;
	bool running;
	bool cancelled;
	unsigned int polls;
	char error[YAB_WIRE_ERROR_MAX];	/* why it is tried again */
	struct event *poll;
	yab_giveback_cb cb;
	void *arg;
};

/* A VM whose QEMU is gone has no monitor; its name stays valid until @cb returns. */
static void yab_giveback_end(struct yab_giveback *giveback, const char *error)
{
	yab_giveback_cb cb = giveback->cb;
	void *arg = giveback->arg;

	char text[YAB_WIRE_ERROR_MAX];

	snprintf(text, sizeof(text), "%s", error ? error : "");
	event_free(giveback->poll);
	free(giveback);
	cb(error ? text : NULL, arg);
}

static void yab_giveback_later(struct yab_giveback *giveback)
{
	struct timeval pause = { .tv_usec = YAB_GIVEBACK_POLL_MS * 1000 };

	if (++giveback->polls > YAB_GIVEBACK_POLLS)
		yab_giveback_end(giveback, giveback->error[0] ? giveback->error :
				 "QEMU does not end its migration");
	else
		evtimer_add(giveback->poll, &pause);
}

/* Asks QEMU; while it has lost its monitor, later. Where it has ended, the end. */
static void yab_giveback_ask(struct yab_giveback *giveback, const struct yab_qmp_step *steps,
			     size_t count, yab_qmp_cb cb)
{
	struct yab_qmp *qmp = yab_vm_qmp(giveback->vm);

	if (qmp && !yab_qmp_run(qmp, steps, count, cb, giveback))
		return;
	if (!qmp)
		for (size_t i = 0; i < count; i++)
			json_decref(steps[i].arguments);
	snprintf(giveback->error, sizeof(giveback->error), YAB_QMP_UNASKED);
	if (giveback->vm->qemu)
		yab_giveback_later(giveback);
	else
		yab_giveback_end(giveback, giveback->error);
}

static void yab_giveback_resumed(json_t *results, const char *error, void *arg)
{
	struct yab_giveback *giveback = arg;
	json_t *status;

	if (error) {
		snprintf(giveback->error, sizeof(giveback->error), "%s", error);
		yab_giveback_later(giveback);
		return;
	}
	status = json_array_get(results, json_array_size(results) - 1);
	if (giveback->running && !json_is_true(json_object_get(status, "running")))
		yab_giveback_end(giveback, "QEMU did not continue the guest");
	else
		yab_giveback_end(giveback, NULL);
}

static void yab_giveback_resume(struct yab_giveback *giveback)
{
	struct yab_qmp_step steps[3];
	size_t count = 0;

	steps[count++] = (struct yab_qmp_step){
		.command = "migrate-set-capabilities",
		.arguments = yab_capabilities(true, false),
		.fd = -1,
	};
	if (giveback->running)
		steps[count++] = (struct yab_qmp_step){ .command = "cont", .fd = -1 };
	steps[count++] = (struct yab_qmp_step){ .command = "query-status", .fd = -1 };
	yab_giveback_ask(giveback, steps, count, yab_giveback_resumed);
}

static void yab_giveback_cancelling(json_t *results, const char *error, void *arg)
{
	struct yab_giveback *giveback = arg;

	(void)results;
	/* A refusal is no news: the status tells what became of it. */
	if (error)
		yab_log_debug(giveback->vm->name, "%s", error);
	yab_giveback_later(giveback);
}

static void yab_giveback_status(json_t *results, const char *error, void *arg)
{
	static const struct yab_qmp_step cancel = { .command = "migrate_cancel", .fd = -1 };
	static const char * const over[] = { "none", "cancelled", "failed", "completed", NULL };
	struct yab_giveback *giveback = arg;
	const char *status;

	if (error) {
		yab_giveback_end(giveback, error);
		return;
	}
	/* Without a status there was no migration yet. */
	status = json_string_value(json_object_get(json_array_get(results, 0), "status"));
	for (size_t i = 0; over[i]; i++) {
		if (status && strcmp(status, over[i]))
			continue;
		yab_giveback_resume(giveback);
		return;
	}
	if (giveback->cancelled) {
		yab_giveback_later(giveback);
		return;
	}
	giveback->cancelled = true;
	yab_giveback_ask(giveback, &cancel, 1, yab_giveback_cancelling);
}

static void yab_giveback_poll(evutil_socket_t fd, short what, void *arg)
{
	static const struct yab_qmp_step query = { .command = "query-migrate", .fd = -1 };

	(void)fd;
	(void)what;
	yab_giveback_ask(arg, &query, 1, yab_giveback_status);
}

int yab_giveback(struct event_base *base, struct yab_vm *vm, bool running, yab_giveback_cb cb,
		 void *arg)
{
	struct yab_giveback *giveback = calloc(1, sizeof(*giveback));
	struct timeval now = { 0 };

	if (!giveback)
		return -1;
	giveback->vm = vm;
	giveback->running = running;
	giveback->cb = cb;
	giveback->arg = arg;
	giveback->poll = evtimer_new(base, yab_giveback_poll, giveback);
	if (!giveback->poll || evtimer_add(giveback->poll, &now) < 0)
		goto err_giveback;
	return 0;

err_giveback:
	if (giveback->poll)
		event_free(giveback->poll);
	free(giveback);
	errno = ENOMEM;
	return -1;
}
