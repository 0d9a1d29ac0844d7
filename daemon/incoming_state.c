// SPDX-License-Identifier: GPL-2.0-or-later
#include "incoming_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "finding.h"

#define YAB_INCOMING_TO(step)	(1U << YAB_INCOMING_##step)

static const unsigned int yab_incoming_allowed[YAB_INCOMING_STEPS] = {
	[YAB_INCOMING_STARTING] = YAB_INCOMING_TO(PREPARED) | YAB_INCOMING_TO(UNDOING),
	[YAB_INCOMING_PREPARED] = YAB_INCOMING_TO(LOADED) | YAB_INCOMING_TO(UNDOING),
	[YAB_INCOMING_LOADED] = YAB_INCOMING_TO(COMMITTING) | YAB_INCOMING_TO(PULLING) |
				YAB_INCOMING_TO(UNDOING),
	[YAB_INCOMING_COMMITTING] = YAB_INCOMING_TO(PULLING) | YAB_INCOMING_TO(ADOPTING) |
				    YAB_INCOMING_TO(UNDOING) | YAB_INCOMING_TO(GONE),
	[YAB_INCOMING_ADOPTING] = YAB_INCOMING_TO(CONTINUING) | YAB_INCOMING_TO(PULLING) |
				  YAB_INCOMING_TO(GONE),
	[YAB_INCOMING_CONTINUING] = YAB_INCOMING_TO(ADOPTING) | YAB_INCOMING_TO(PULLING) |
				    YAB_INCOMING_TO(GONE),
	[YAB_INCOMING_PULLING] = YAB_INCOMING_TO(COMPLETE) | YAB_INCOMING_TO(GONE),
};

static const char * const yab_incoming_names[YAB_INCOMING_STEPS] = {
	[YAB_INCOMING_STARTING] = "starting",
	[YAB_INCOMING_PREPARED] = "prepared",
	[YAB_INCOMING_LOADED] = "loaded",
	[YAB_INCOMING_COMMITTING] = "committing",
	[YAB_INCOMING_ADOPTING] = "adopting",
	[YAB_INCOMING_CONTINUING] = "continuing",
	[YAB_INCOMING_PULLING] = "pulling",
	[YAB_INCOMING_COMPLETE] = "complete",
	[YAB_INCOMING_UNDOING] = "undoing",
	[YAB_INCOMING_GONE] = "gone",
};

void yab_incoming_enter(struct yab_incoming *incoming, enum yab_incoming_step step)
{
	assert(yab_incoming_allowed[incoming->step] & 1U << step);
	yab_log_debug(incoming->name, "arriving: %s", yab_incoming_names[step]);
	incoming->step = step;
	evtimer_del(incoming->deadline);
}

void yab_incoming_arm(struct yab_incoming *incoming, int milliseconds)
{
	const struct timeval patience = yab_clock_pause((uint64_t)milliseconds);

	evtimer_add(incoming->deadline, &patience);
}

bool yab_incoming_revocable(const struct yab_incoming *incoming)
{
	return incoming->step < YAB_INCOMING_COMMITTING;
}

bool yab_incoming_is_committed(const struct yab_incoming *incoming)
{
	return incoming->step == YAB_INCOMING_ADOPTING ||
	       incoming->step == YAB_INCOMING_CONTINUING ||
	       incoming->step == YAB_INCOMING_PULLING ||
	       incoming->step == YAB_INCOMING_COMPLETE;
}

static void yab_incoming_describe(const struct yab_incoming *incoming,
				  enum yab_record_state state,
				  struct yab_record_migration *migration)
{
	memset(migration, 0, sizeof(*migration));
	migration->state = state;
	memcpy(migration->token, incoming->token_text, sizeof(migration->token));
	yab_token_print(incoming->route, migration->route);
	memcpy(migration->instance, incoming->supervisor->instance, sizeof(migration->instance));
	memcpy(migration->session, incoming->session.name, sizeof(migration->session));
	memcpy(migration->peer, incoming->peer, sizeof(migration->peer));
	migration->running = incoming->runs;
	migration->bandwidth = incoming->bandwidth;
	migration->codec = incoming->codec;
	migration->worker = incoming->worker;
	/* The source must hear of it, whoever tells it. */
	if (state == YAB_RECORD_COMPLETE)
		yab_finding_read(incoming->statistics, incoming->pages, &migration->finding);
}

int yab_incoming_promise(struct yab_incoming *incoming, enum yab_record_state state, char *error,
			 size_t error_size)
{
	struct yab_record_migration migration;

	yab_incoming_describe(incoming, state, &migration);
	if (yab_journal_promise_migration(incoming->supervisor->journal, incoming->name,
					  incoming->memory, &migration, error, error_size) < 0)
		return -1;
	incoming->recorded = state;
	return 0;
}

void yab_incoming_note(struct yab_incoming *incoming, enum yab_record_state state)
{
	struct yab_journal *journal = incoming->supervisor->journal;
	struct yab_record_migration migration;

	if (incoming->recorded == YAB_RECORD_NONE)
		return;
	yab_incoming_describe(incoming, state, &migration);
	if (yab_record_is_session(state))
		yab_journal_keep(journal, incoming->name, incoming->memory, &migration);
	else if (yab_record_is_session(incoming->recorded))
		yab_journal_forget(journal, migration.route);
	else
		yab_journal_note(journal, incoming->name, incoming->memory, &migration);
	incoming->recorded = state;
}

void yab_incoming_note_figures(struct yab_incoming *incoming)
{
	struct yab_record_migration migration;

	/* A session that is over is as it is. */
	if (incoming->recorded == YAB_RECORD_NONE || yab_record_is_session(incoming->recorded))
		return;
	yab_incoming_describe(incoming, incoming->recorded, &migration);
	yab_journal_note_figures(incoming->supervisor->journal, incoming->name, incoming->memory,
				 &migration);
}

void yab_incoming_free(struct yab_incoming *incoming)
{
	const bool goes_on = incoming->step == YAB_INCOMING_COMMITTING ||
			     incoming->step == YAB_INCOMING_ADOPTING ||
			     incoming->step == YAB_INCOMING_CONTINUING ||
			     incoming->step == YAB_INCOMING_PULLING;

	LIST_REMOVE(incoming, link);
	incoming->supervisor->incomings->count--;
	yab_stream_free(incoming->stream);
	/* Where a guest waits for pages it is the daemon that ends: its worker goes on. */
	yab_demand_free(incoming->demand, goes_on);
	json_decref(incoming->statistics);
	event_free(incoming->deadline);
	yab_log_session_end(&incoming->session);
	free(incoming);
}

void yab_incoming_undone(struct yab_incoming *incoming)
{
	struct yab_caller *caller = incoming->caller;
	struct yab_vm *vm = incoming->vm;

	if ((vm && vm->qemu) || (incoming->demand && !yab_demand_is_gone(incoming->demand)))
		return;
	if (vm) {
		vm->hooks = NULL;
		yab_vm_remove(vm);
	}
	yab_incoming_note(incoming, YAB_RECORD_NONE);
	yab_log_warn(incoming->name, "did not arrive: %s", incoming->error);
	if (incoming->job)
		yab_job_end(incoming->job, incoming->error);
	if (caller)
		yab_caller_bind(caller, NULL);
	if (caller && incoming->aborted)
		yab_caller_reply(caller, json_pack("{s:s}", "reply", "abort"));
	else if (caller && incoming->attaching)
		yab_caller_reply(caller, json_pack("{s:s, s:s}", "reply", "attach", "state",
						   "unknown"));
	else if (caller)
		yab_caller_fail(caller, incoming->error);
	yab_incoming_free(incoming);
}

void yab_incoming_undo(struct yab_incoming *incoming, const char *error)
{
	if (incoming->step == YAB_INCOMING_UNDOING)
		return;
	snprintf(incoming->error, sizeof(incoming->error), "%s", error);
	yab_incoming_enter(incoming, YAB_INCOMING_UNDOING);
	yab_stream_free(incoming->stream);
	incoming->stream = NULL;
	if (incoming->vm && incoming->vm->qemu)
		yab_qemu_kill(incoming->vm->qemu);
	if (incoming->demand)
		yab_demand_kill(incoming->demand);
	yab_incoming_undone(incoming);
}

void yab_incoming_event(struct yab_incoming *incoming, json_t *event)
{
	if (incoming->caller)
		yab_caller_event(incoming->caller, event);
	else
		json_decref(event);
}

/*
 * The worker keeps its connections until the source has closed them: their end is no loss
 * to anybody then.
 */
void yab_incoming_completed(struct yab_incoming *incoming)
{
	struct yab_finding finding;
	char text[256];
	json_t *event;

	if (!incoming->complete || (incoming->step != YAB_INCOMING_PULLING &&
				    incoming->step != YAB_INCOMING_COMPLETE))
		return;
	if (incoming->step == YAB_INCOMING_PULLING) {
		yab_incoming_enter(incoming, YAB_INCOMING_COMPLETE);
		yab_outage_end(&incoming->outage);
		yab_finding_read(incoming->statistics, incoming->pages, &finding);
		if (yab_finding_tell(&finding, text, sizeof(text)))
			yab_log_warn(incoming->name, "%s", text);
		yab_job_end(incoming->job, finding.different ? text : NULL);
		incoming->job = NULL;
		yab_incoming_note(incoming, YAB_RECORD_COMPLETE);
		yab_log_info(incoming->name, "has all its pages here");
	}
	event = json_pack("{s:s, s:O?, s:I, s:O?}", "event", "complete",
			  "present", json_object_get(incoming->statistics, "present"),
			  "pages", (json_int_t)incoming->pages,
			  "statistics", incoming->statistics);
	yab_incoming_event(incoming, event);
}

void yab_incoming_forsake(struct yab_incoming *incoming, const char *error)
{
	struct yab_caller *caller = incoming->caller;

	yab_incoming_enter(incoming, YAB_INCOMING_GONE);
	/* From now on the VM's name is free again. */
	yab_incoming_note(incoming, YAB_RECORD_GONE);
	snprintf(incoming->error, sizeof(incoming->error), "%s", error);
	yab_log_error(incoming->name, "%s", error);
	yab_outage_end(&incoming->outage);
	yab_job_end(incoming->job, error);
	incoming->job = NULL;
	incoming->caller = NULL;
	if (caller)
		yab_caller_finish(caller);
}

void yab_incomings_forget(struct yab_incomings *incomings, const char *token)
{
	struct yab_incoming *incoming = yab_incomings_find(incomings, token);

	if (!incoming || incoming->step != YAB_INCOMING_GONE)
		return;
	yab_incoming_note(incoming, YAB_RECORD_NONE);
	/* One that QEMU still answers to is evicted some day. */
	if (!incoming->telling)
		yab_incoming_free(incoming);
}
