// SPDX-License-Identifier: GPL-2.0-or-later
#include "outgoing_state.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "giveback.h"
#include "log.h"

#define YAB_OUTGOING_ABORT_SECONDS	10
/* Page connections end before the destination says why it gives up. */
#define YAB_OUTGOING_REASON_SECONDS	1

#define YAB_OUTGOING_TO(state)	(1U << YAB_OUTGOING_##state)

/* An outgoing migration ends (is freed) in checking, confirming, giving back, stranded. */
static const unsigned int yab_outgoing_allowed[YAB_OUTGOING_STATES] = {
	[YAB_OUTGOING_CHECKING] = YAB_OUTGOING_TO(CONNECTING) | YAB_OUTGOING_TO(GIVING_BACK),
	[YAB_OUTGOING_CONNECTING] = YAB_OUTGOING_TO(PREPARING) | YAB_OUTGOING_TO(GIVING_BACK),
	[YAB_OUTGOING_PREPARING] = YAB_OUTGOING_TO(LINKING) | YAB_OUTGOING_TO(GIVING_BACK),
	[YAB_OUTGOING_LINKING] = YAB_OUTGOING_TO(MOVING) | YAB_OUTGOING_TO(GIVING_BACK),
	[YAB_OUTGOING_MOVING] = YAB_OUTGOING_TO(LOADING) | YAB_OUTGOING_TO(GIVING_BACK),
	[YAB_OUTGOING_LOADING] = YAB_OUTGOING_TO(COMMITTING) | YAB_OUTGOING_TO(GIVING_BACK),
	[YAB_OUTGOING_COMMITTING] = YAB_OUTGOING_TO(PULLING) | YAB_OUTGOING_TO(ASKING) |
				    YAB_OUTGOING_TO(GIVING_BACK),
	[YAB_OUTGOING_ADOPTING] = YAB_OUTGOING_TO(ASKING) | YAB_OUTGOING_TO(GIVING_BACK),
	[YAB_OUTGOING_ASKING] = YAB_OUTGOING_TO(PULLING) | YAB_OUTGOING_TO(GIVING_BACK) |
				YAB_OUTGOING_TO(STRANDED),
	[YAB_OUTGOING_PULLING] = YAB_OUTGOING_TO(CONFIRMING) | YAB_OUTGOING_TO(STRANDED),
};

static const char * const yab_outgoing_names[YAB_OUTGOING_STATES] = {
	[YAB_OUTGOING_CHECKING] = "checking",
	[YAB_OUTGOING_CONNECTING] = "connecting",
	[YAB_OUTGOING_PREPARING] = "preparing",
	[YAB_OUTGOING_LINKING] = "linking",
	[YAB_OUTGOING_MOVING] = "moving",
	[YAB_OUTGOING_LOADING] = "loading",
	[YAB_OUTGOING_COMMITTING] = "committing",
	[YAB_OUTGOING_ADOPTING] = "adopting",
	[YAB_OUTGOING_ASKING] = "asking",
	[YAB_OUTGOING_PULLING] = "pulling",
	[YAB_OUTGOING_CONFIRMING] = "confirming",
	[YAB_OUTGOING_GIVING_BACK] = "giving back",
	[YAB_OUTGOING_STRANDED] = "stranded",
};

void yab_outgoing_enter(struct yab_outgoing *outgoing, enum yab_outgoing_state state)
{
	assert(yab_outgoing_allowed[outgoing->state] & 1U << state);
	yab_log_debug(outgoing->vm->name, "migration to %s: %s", outgoing->options.destination.text,
		      yab_outgoing_names[state]);
	outgoing->state = state;
	evtimer_del(outgoing->deadline);
	if (state == YAB_OUTGOING_PULLING)
		return;
	/* Nobody has to be found any more. */
	yab_detour_free(outgoing->detour);
	outgoing->detour = NULL;
}

bool yab_outgoing_revocable(const struct yab_outgoing *outgoing)
{
	return outgoing->state < YAB_OUTGOING_COMMITTING;
}

void yab_outgoing_arm(struct yab_outgoing *outgoing, int seconds)
{
	struct timeval patience = { .tv_sec = seconds };

	if (outgoing->error[0] && yab_outgoing_revocable(outgoing))
		patience.tv_sec = YAB_OUTGOING_REASON_SECONDS;
	evtimer_add(outgoing->deadline, &patience);
}

void yab_outgoing_phase(struct yab_outgoing *outgoing, enum yab_job_phase phase)
{
	yab_job_enter(outgoing->job, phase);
	yab_log_info(outgoing->vm->name, "migration to %s: %s", outgoing->options.destination.text,
		     yab_job_phase_name(phase));
	outgoing->ops->progress(outgoing->arg);
}

static void yab_outgoing_describe(const struct yab_outgoing *outgoing,
				  enum yab_record_state state,
				  struct yab_record_migration *migration)
{
	memset(migration, 0, sizeof(*migration));
	migration->state = state;
	memcpy(migration->token, outgoing->token_text, sizeof(migration->token));
	memcpy(migration->instance, outgoing->instance, sizeof(migration->instance));
	if (outgoing->prepared)
		yab_token_print(outgoing->route, migration->route);
	memcpy(migration->session, outgoing->session.name, sizeof(migration->session));
	memcpy(migration->peer, outgoing->options.destination.text, sizeof(migration->peer));
	migration->running = outgoing->inspection.running;
	migration->connections = outgoing->options.connections;
	migration->bandwidth = outgoing->options.bandwidth;
	migration->codec = outgoing->options.codec;
	migration->worker = outgoing->worker;
}

int yab_outgoing_promise(struct yab_outgoing *outgoing, enum yab_record_state state, char *error,
			 size_t error_size)
{
	struct yab_vm *vm = outgoing->vm;
	struct yab_record_migration migration;

	yab_outgoing_describe(outgoing, state, &migration);
	if (yab_journal_promise_migration(outgoing->supervisor->journal, vm->name,
					  vm->description->memory, &migration, error,
					  error_size) < 0)
		return -1;
	outgoing->recorded = state;
	return 0;
}

void yab_outgoing_note(struct yab_outgoing *outgoing, enum yab_record_state state)
{
	struct yab_vm *vm = outgoing->vm;
	struct yab_record_migration migration;

	if (outgoing->recorded == YAB_RECORD_NONE)
		return;
	yab_outgoing_describe(outgoing, state, &migration);
	yab_journal_note(outgoing->supervisor->journal, vm->name, vm->description->memory,
			 &migration);
	outgoing->recorded = state;
}

void yab_outgoing_note_figures(struct yab_outgoing *outgoing)
{
	struct yab_vm *vm = outgoing->vm;
	struct yab_record_migration migration;

	if (outgoing->recorded == YAB_RECORD_NONE)
		return;
	yab_outgoing_describe(outgoing, outgoing->recorded, &migration);
	yab_journal_note_figures(outgoing->supervisor->journal, vm->name, vm->description->memory,
				 &migration);
}

void yab_outgoing_free(struct yab_outgoing *outgoing)
{
	LIST_REMOVE(outgoing, link);
	yab_log_session_end(&outgoing->session);
	yab_transfer_free(outgoing->transfer);
	yab_dirty_log_free(outgoing->dirty);
	/* If it is the daemon that ends, a guest elsewhere waits for pages. */
	yab_supply_free(outgoing->supply, true);
	yab_detour_free(outgoing->detour);
	yab_contact_free(outgoing->contact);
	event_free(outgoing->deadline);
	free(outgoing);
}

void yab_outgoing_end(struct yab_outgoing *outgoing, const char *error)
{
	const struct yab_outgoing_ops *ops = outgoing->ops;
	struct yab_vm *vm = outgoing->vm;
	void *arg = outgoing->arg;

	if (error)
		yab_log_error(vm->name, "%s", error);
	yab_job_end(outgoing->job, error);
	yab_outgoing_note(outgoing, YAB_RECORD_NONE);
	vm->hooks = NULL;
	yab_outgoing_free(outgoing);
	if (!vm->qemu)
		yab_vm_remove(vm);
	ops->ended(error, arg);
}

void yab_outgoing_returned(struct yab_outgoing *outgoing)
{
	struct yab_vm *vm = outgoing->vm;
	char error[sizeof(outgoing->error)];

	if (outgoing->aborting || outgoing->restoring)
		return;
	if (vm->state == YAB_VM_OUTGOING)
		yab_vm_enter(vm, outgoing->inspection.running ? YAB_VM_RUNNING : YAB_VM_PAUSED);
	snprintf(error, sizeof(error), "%.380s%s%s%s", outgoing->error,
		 vm->qemu ? " (VM " : "", vm->qemu ? vm->name : "",
		 !vm->qemu ? "" : outgoing->inspection.running ? " goes on here)" :
		 " stays here, paused)");
	yab_outgoing_end(outgoing, error);
}

static void yab_outgoing_restored(const char *error, void *arg)
{
	struct yab_outgoing *outgoing = arg;
	char reason[YAB_WIRE_ERROR_MAX];

	outgoing->restoring = false;
	if (error && outgoing->vm->qemu) {
		outgoing->inspection.running = false;
		memcpy(reason, outgoing->error, sizeof(reason));
		snprintf(outgoing->error, sizeof(outgoing->error),
			 "%.320s; and the guest could not be continued here: %.120s",
			 reason, error);
	}
	yab_outgoing_returned(outgoing);
}

int yab_outgoing_call(struct yab_outgoing *outgoing, json_t *call)
{
	struct yab_peer *peer = yab_contact_peer(outgoing->contact);

	if (peer)
		return yab_peer_send(peer, YAB_WIRE_CALL, call);
	json_decref(call);
	errno = ENOTCONN;
	return -1;
}

void yab_outgoing_give_back(struct yab_outgoing *outgoing, const char *text, bool tell)
{
	struct yab_peer *peer = yab_contact_peer(outgoing->contact);
	json_t *abort;

	snprintf(outgoing->error, sizeof(outgoing->error), "%s", text);
	yab_log_warn(outgoing->vm->name, "migration to %s fails: %s",
		     outgoing->options.destination.text,
		     text);
	yab_outgoing_enter(outgoing, YAB_OUTGOING_GIVING_BACK);
	/* From here on nobody needs to be asked any more. */
	if (outgoing->recorded == YAB_RECORD_ASKED)
		yab_outgoing_note(outgoing, YAB_RECORD_LEAVING);
	yab_dirty_log_free(outgoing->dirty);
	outgoing->dirty = NULL;
	yab_outage_end(&outgoing->outage);
	yab_supply_free(outgoing->supply, false);
	outgoing->supply = NULL;
	if (outgoing->transfer)
		yab_transfer_stop(outgoing->transfer);
	if (tell && peer && outgoing->prepared) {
		abort = json_pack("{s:s, s:s}", "call", "abort", "token", outgoing->token_text);
		outgoing->aborting = !yab_peer_send(peer, YAB_WIRE_CALL, abort);
	}
	/* Without a session, closing is what undoes a Prepare that is under way. */
	if (outgoing->aborting)
		yab_outgoing_arm(outgoing, YAB_OUTGOING_ABORT_SECONDS);
	else
		yab_contact_close(outgoing->contact);
	outgoing->restoring = true;
	if (yab_giveback(outgoing->supervisor->base, outgoing->vm, outgoing->inspection.running,
			 yab_outgoing_restored, outgoing) < 0)
		yab_outgoing_restored("out of memory", outgoing);
}

void yab_outgoing_fail(struct yab_outgoing *outgoing, const char *format, ...)
{
	char text[YAB_WIRE_ERROR_MAX];
	va_list args;

	assert(yab_outgoing_revocable(outgoing));
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	yab_outgoing_give_back(outgoing, text, true);
}

void yab_outgoing_doubt(struct yab_outgoing *outgoing, const char *error)
{
	snprintf(outgoing->error, sizeof(outgoing->error), "%s", error);
	yab_outgoing_arm(outgoing, YAB_OUTGOING_REASON_SECONDS);
}

void yab_outgoing_seek(struct yab_outgoing *outgoing, const char *error)
{
	char warning[YAB_WIRE_ERROR_MAX];

	if (outgoing->state == YAB_OUTGOING_COMMITTING) {
		yab_outgoing_enter(outgoing, YAB_OUTGOING_ASKING);
		snprintf(warning, sizeof(warning),
			 "%.200s: whether %s runs on %.120s now is not known; it stays paused here, with its memory, until that host answers",
			 error, outgoing->vm->name, outgoing->options.destination.text);
		yab_log_warn(outgoing->vm->name, "%s", warning);
		yab_job_warn(outgoing->job, warning);
	}
	yab_contact_open(outgoing->contact);
	yab_outage_lost(&outgoing->outage, YAB_OUTAGE_CONTROL, error,
			yab_contact_next_try_us(outgoing->contact));
	outgoing->ops->progress(outgoing->arg);
}

void yab_outgoing_strand(struct yab_outgoing *outgoing, const char *error)
{
	const struct yab_outgoing_ops *ops = outgoing->ops;
	struct yab_vm *vm = outgoing->vm;
	void *arg = outgoing->arg;

	yab_log_error(vm->name, "%s", error);
	yab_outgoing_enter(outgoing, YAB_OUTGOING_STRANDED);
	yab_contact_close(outgoing->contact);
	yab_outage_end(&outgoing->outage);
	yab_job_end(outgoing->job, error);
	if (vm->state == YAB_VM_OUTGOING)
		yab_vm_enter(vm, YAB_VM_PAUSED);
	ops->ended(error, arg);
}
