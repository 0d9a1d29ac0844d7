// SPDX-License-Identifier: GPL-2.0-or-later
#include "transfer.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capabilities.h"
#include "stream.h"

/*
 * QEMU switches over when it thinks that the rest takes less time than the limit,
 * which it guesses from the bandwidth. Without guest memory there is not much.
 */
#define YAB_TRANSFER_BANDWIDTH		(10LL << 30)	/* bytes/s */
#define YAB_TRANSFER_DOWNTIME_MS	2000

#define YAB_TRANSFER_QMP_STEPS		4	/* of yab_transfer_new() */

enum yab_transfer_state {
	YAB_TRANSFER_WRITING,	/* the guest still runs, or is just stopping */
	YAB_TRANSFER_FINAL,	/* its memory is final, QEMU waits */
	YAB_TRANSFER_SWITCHING,	/* QEMU writes the rest */
	YAB_TRANSFER_WRITTEN,
	YAB_TRANSFER_STOPPED,
	YAB_TRANSFER_STATES,
};

static const bool yab_transfer_allowed[YAB_TRANSFER_STATES][YAB_TRANSFER_STATES] = {
	[YAB_TRANSFER_WRITING] = { [YAB_TRANSFER_FINAL] = true, [YAB_TRANSFER_STOPPED] = true },
	[YAB_TRANSFER_FINAL] = { [YAB_TRANSFER_SWITCHING] = true, [YAB_TRANSFER_STOPPED] = true },
	[YAB_TRANSFER_SWITCHING] = { [YAB_TRANSFER_WRITTEN] = true, [YAB_TRANSFER_STOPPED] = true },
	[YAB_TRANSFER_WRITTEN] = { [YAB_TRANSFER_STOPPED] = true },
};

struct yab_transfer {
	struct yab_vm *vm;
	struct yab_peer *peer;		/* NULL: QEMU writes to whom it is for by itself */
	struct yab_stream *stream;
	enum yab_transfer_state state;
	bool stream_ended;	/* QEMU closed its end ... */
	bool completed;		/* ... and says that it wrote everything */
	const struct yab_transfer_ops *ops;
	void *arg;
};

static void yab_transfer_enter(struct yab_transfer *transfer, enum yab_transfer_state state)
{
	assert(yab_transfer_allowed[transfer->state][state]);
	transfer->state = state;
}

void yab_transfer_stop(struct yab_transfer *transfer)
{
	if (transfer->state != YAB_TRANSFER_STOPPED)
		yab_transfer_enter(transfer, YAB_TRANSFER_STOPPED);
	yab_stream_free(transfer->stream);
	transfer->stream = NULL;
}

void yab_transfer_free(struct yab_transfer *transfer)
{
	if (!transfer)
		return;
	yab_stream_free(transfer->stream);
	free(transfer);
}

static void yab_transfer_fail(struct yab_transfer *transfer, const char *error)
{
	if (transfer->state != YAB_TRANSFER_STOPPED)
		transfer->ops->failed(error, transfer->arg);
}

static void yab_transfer_check(struct yab_transfer *transfer)
{
	if (transfer->state != YAB_TRANSFER_SWITCHING || !transfer->stream_ended ||
	    !transfer->completed)
		return;
	if (transfer->peer && yab_peer_send_state(transfer->peer, NULL, 0) < 0) {
		yab_transfer_fail(transfer,
				  "the destination does not take the device state: see its log");
		return;
	}
	yab_transfer_enter(transfer, YAB_TRANSFER_WRITTEN);
	transfer->ops->written(transfer->arg);
}

static void yab_transfer_stream_ended(const char *error, void *arg)
{
	struct yab_transfer *transfer = arg;

	if (error) {
		yab_transfer_fail(transfer, error);
		return;
	}
	transfer->stream_ended = true;
	yab_transfer_check(transfer);
}

/* For questions whose good answer is no news. */
static void yab_transfer_answered(json_t *results, const char *error, void *arg)
{
	(void)results;
	if (error)
		yab_transfer_fail(arg, error);
}

static void yab_transfer_explained(json_t *results, const char *error, void *arg)
{
	char text[YAB_WIRE_ERROR_MAX];
	const char *why;

	why = json_string_value(json_object_get(json_array_get(results, 0), "error-desc"));
	if (!why)
		why = error ? error : "it does not say why";
	snprintf(text, sizeof(text), "QEMU did not write the device state: %.400s", why);
	yab_transfer_fail(arg, text);
}

void yab_transfer_event(struct yab_transfer *transfer, const char *name, json_t *data)
{
	static const struct yab_qmp_step query = { .command = "query-migrate", .fd = -1 };
	const char *status = json_string_value(json_object_get(data, "status"));

	if (transfer->state == YAB_TRANSFER_STOPPED)
		return;
	if (!strcmp(name, "STOP") && transfer->state == YAB_TRANSFER_WRITING)
		transfer->ops->stopped(transfer->arg);
	if (strcmp(name, "MIGRATION") || !status)
		return;
	if (!strcmp(status, "pre-switchover") && transfer->state == YAB_TRANSFER_WRITING) {
		yab_transfer_enter(transfer, YAB_TRANSFER_FINAL);
		transfer->ops->final(transfer->arg);
	} else if (!strcmp(status, "completed")) {
		transfer->completed = true;
		yab_transfer_check(transfer);
	} else if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
		if (yab_qmp_run(yab_vm_qmp(transfer->vm), &query, 1, yab_transfer_explained,
				transfer) < 0)
			yab_transfer_fail(transfer,
					  "QEMU did not write the device state: see its log");
	}
}

int yab_transfer_go_on(struct yab_transfer *transfer)
{
	struct yab_qmp_step step = { .command = "migrate-continue", .fd = -1 };
	struct yab_qmp *qmp = yab_vm_qmp(transfer->vm);

	if (!qmp) {
		errno = ENOTCONN;
		return -1;
	}
	step.arguments = json_pack("{s:s}", "state", "pre-switchover");
	yab_transfer_enter(transfer, YAB_TRANSFER_SWITCHING);
	return yab_qmp_run(qmp, &step, 1, yab_transfer_answered, transfer);
}

void yab_transfer_drained(struct yab_transfer *transfer)
{
	if (transfer->stream && !transfer->stream_ended)
		yab_stream_go_on(transfer->stream);
}

uint64_t yab_transfer_bytes(const struct yab_transfer *transfer)
{
	return transfer->stream ? yab_stream_bytes(transfer->stream) : 0;
}

/* Tells QEMU to write to @fd. 0, or -1 with one line in @error. */
static int yab_transfer_start(struct yab_transfer *transfer, int fd, char *error,
			      size_t error_size)
{
	struct yab_qmp_step steps[YAB_TRANSFER_QMP_STEPS] = {
		{ .command = "migrate-set-capabilities", .fd = -1 },
		{ .command = "migrate-set-parameters", .fd = -1 },
		{ .command = "getfd", .fd = fd },
		{ .command = "migrate", .fd = -1 },
	};
	struct yab_qmp *qmp = yab_vm_qmp(transfer->vm);

	if (!qmp) {
		snprintf(error, error_size, YAB_QMP_UNASKED);
		return -1;
	}
	steps[0].arguments = yab_capabilities(true, true);
	steps[1].arguments = json_pack("{s:I, s:i}", "max-bandwidth",
				       (json_int_t)YAB_TRANSFER_BANDWIDTH, "downtime-limit",
				       YAB_TRANSFER_DOWNTIME_MS);
	steps[2].arguments = json_pack("{s:s}", "fdname", "yabusame");
	steps[3].arguments = json_pack("{s:s}", "uri", "fd:yabusame");
	if (!yab_qmp_run(qmp, steps, YAB_TRANSFER_QMP_STEPS, yab_transfer_answered, transfer))
		return 0;
	snprintf(error, error_size, "QEMU's monitor cannot be asked: %s", strerror(errno));
	return -1;
}

/* NULL with one line in @error. */
static struct yab_transfer *yab_transfer_alloc(struct yab_vm *vm,
					       const struct yab_transfer_ops *ops, void *arg,
					       char *error, size_t error_size)
{
	struct yab_transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	transfer->vm = vm;
	transfer->ops = ops;
	transfer->arg = arg;
	return transfer;
}

struct yab_transfer *yab_transfer_new(struct event_base *base, struct yab_vm *vm,
				      struct yab_peer *peer, const struct yab_transfer_ops *ops,
				      void *arg, char *error, size_t error_size)
{
	struct yab_transfer *transfer = yab_transfer_alloc(vm, ops, arg, error, error_size);
	int qemu_fd, result;

	if (!transfer)
		return NULL;
	transfer->peer = peer;
	transfer->stream = yab_stream_new_reader(base, peer, yab_transfer_stream_ended, transfer,
						 &qemu_fd);
	if (!transfer->stream) {
		snprintf(error, error_size, "no way for the device state: %s", strerror(errno));
		goto err_transfer;
	}
	result = yab_transfer_start(transfer, qemu_fd, error, error_size);
	close(qemu_fd);
	if (!result)
		return transfer;
	yab_stream_free(transfer->stream);
err_transfer:
	free(transfer);
	return NULL;
}

struct yab_transfer *yab_transfer_new_to(struct yab_vm *vm, int fd,
					 const struct yab_transfer_ops *ops, void *arg,
					 char *error, size_t error_size)
{
	struct yab_transfer *transfer = yab_transfer_alloc(vm, ops, arg, error, error_size);

	if (!transfer)
		return NULL;
	/* There is none of ours that could end later than QEMU says. */
	transfer->stream_ended = true;
	if (!yab_transfer_start(transfer, fd, error, error_size))
		return transfer;
	free(transfer);
	return NULL;
}
