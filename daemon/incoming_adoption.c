// SPDX-License-Identifier: GPL-2.0-or-later
/* An incoming migration that a supervisor before this one has begun. */
#include <stdio.h>
#include <string.h>

#include "incoming_state.h"

#define YAB_INCOMING_ADOPT_SECONDS	30	/* for QEMU to answer, before people are told */

/* What it was called and promised with. 0, or -1 with one line in @error. */
static int yab_incoming_recall(struct yab_incoming *incoming, const struct yab_record *record,
			       char *error, size_t error_size)
{
	const struct yab_record_migration *migration = &record->migration;

	if (yab_token_parse(migration->token, incoming->token) < 0 ||
	    yab_token_parse(migration->route, incoming->route) < 0) {
		snprintf(error, error_size, "its record has no session");
		return -1;
	}
	memcpy(incoming->token_text, migration->token, sizeof(incoming->token_text));
	memcpy(incoming->peer, migration->peer, sizeof(incoming->peer));
	incoming->recorded = migration->state;
	incoming->runs = migration->running;
	incoming->bandwidth = migration->bandwidth;
	incoming->codec = migration->codec;
	incoming->worker = migration->worker;
	yab_log_session_begin(&incoming->session, incoming->name, migration->session);
	return 0;
}

static int yab_incoming_recall_job(struct yab_incoming *incoming, char *error, size_t error_size)
{
	incoming->job = yab_job_start(incoming->supervisor->jobs, incoming->name,
				      YAB_JOB_INCOMING, incoming->peer, incoming->pages);
	if (!incoming->job) {
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	yab_job_set_session(incoming->job, yab_log_session_of(incoming->name));
	yab_job_enter(incoming->job, YAB_JOB_PREPARE);
	if (incoming->recorded != YAB_RECORD_ARRIVING)
		yab_job_enter(incoming->job, YAB_JOB_FINISH);
	return 0;
}

/* Only the source is waited for, with what it will want to know. */
static int yab_incoming_recall_session(struct yab_incoming *incoming,
				       const struct yab_finding *finding)
{
	if (incoming->step == YAB_INCOMING_GONE) {
		snprintf(incoming->error, sizeof(incoming->error),
			 "its guest was lost or abandoned before a restart of yabusamed: see the log there");
		return 0;
	}
	incoming->complete = true;
	incoming->statistics = json_pack("{s:I}", "present", (json_int_t)incoming->pages);
	return incoming->statistics ? yab_finding_write(incoming->statistics, finding) : -1;
}

static enum yab_incoming_step yab_incoming_recall_step(enum yab_record_state state)
{
	switch (state) {
	case YAB_RECORD_ARRIVING:
		return YAB_INCOMING_PREPARED;
	case YAB_RECORD_COMMITTED:
		return YAB_INCOMING_ADOPTING;
	case YAB_RECORD_ARRIVED:
		return YAB_INCOMING_PULLING;
	case YAB_RECORD_GONE:
		return YAB_INCOMING_GONE;
	default:
		return YAB_INCOMING_COMPLETE;
	}
}

int yab_incoming_adopt(struct yab_supervisor *supervisor, const struct yab_record *record,
		       struct yab_vm *vm, char *error, size_t error_size)
{
	const enum yab_record_state state = record->migration.state;
	struct yab_incoming *incoming;

	incoming = yab_incoming_new(supervisor, record->vm, record->memory,
				    yab_incoming_recall_step(state), error, error_size);
	if (!incoming)
		return -1;
	if (yab_incoming_recall(incoming, record, error, error_size) < 0)
		goto err;
	snprintf(error, error_size, "out of memory");
	if (yab_record_is_session(state)) {
		if (yab_incoming_recall_session(incoming, &record->migration.finding) < 0)
			goto err;
		return 0;
	}
	if (yab_incoming_recall_job(incoming, error, error_size) < 0 ||
	    yab_incoming_page_again(incoming) < 0)
		goto err;
	if (vm)
		yab_incoming_own(incoming, vm);
	if (state == YAB_RECORD_ARRIVING) {
		yab_incoming_undo(incoming, "yabusamed was restarted before the commit");
		return 0;
	}
	yab_demand_limit(incoming->demand, incoming->bandwidth);
	yab_demand_sweep(incoming->demand);
	yab_demand_persist(incoming->demand);
	yab_outage_lost(&incoming->outage, YAB_OUTAGE_CONTROL, "yabusamed was restarted", 0);
	yab_outage_lost(&incoming->outage, YAB_OUTAGE_URGENT, "yabusamed was restarted", 0);
	if (state == YAB_RECORD_COMMITTED && vm->qemu)
		yab_incoming_arm(incoming, YAB_INCOMING_ADOPT_SECONDS * 1000);
	else if (state == YAB_RECORD_COMMITTED)
		yab_incoming_ended(incoming, "QEMU ended while it was adopted");
	if (state == YAB_RECORD_ARRIVED) {
		yab_job_switched(incoming->job, -1);
		yab_outage_watch(&incoming->outage, incoming->name, incoming->job);
	}
	return 0;

err:
	if (incoming->job)
		yab_job_end(incoming->job, error);
	yab_incoming_free(incoming);
	return -1;
}
