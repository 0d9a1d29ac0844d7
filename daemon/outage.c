// SPDX-License-Identifier: GPL-2.0-or-later
#include "outage.h"

#include <assert.h>
#include <stdio.h>

#include "clock.h"
#include "log.h"

static const bool yab_outage_allowed[YAB_OUTAGE_STATES][YAB_OUTAGE_STATES] = {
	[YAB_OUTAGE_UNWATCHED] = { [YAB_OUTAGE_NONE] = true, [YAB_OUTAGE_UNWATCHED] = true },
	[YAB_OUTAGE_NONE] = { [YAB_OUTAGE_PAUSED] = true, [YAB_OUTAGE_UNWATCHED] = true },
	[YAB_OUTAGE_PAUSED] = { [YAB_OUTAGE_NONE] = true, [YAB_OUTAGE_UNWATCHED] = true },
};

static const char * const yab_outage_names[YAB_OUTAGE_PARTS] = {
	[YAB_OUTAGE_CONTROL] = "control",
	[YAB_OUTAGE_URGENT] = "urgent",
};

static void yab_outage_enter(struct yab_outage *outage, enum yab_outage_state state)
{
	assert(yab_outage_allowed[outage->state][state]);
	outage->state = state;
}

/* The first part that is lost; NULL: none is. */
static const struct yab_outage_loss *yab_outage_first(const struct yab_outage *outage)
{
	for (int i = 0; i < YAB_OUTAGE_PARTS; i++)
		if (outage->losses[i].down)
			return &outage->losses[i];
	return NULL;
}

/* When this side tries next, whatever for; 0: it does not. */
static int64_t yab_outage_next_try(const struct yab_outage *outage)
{
	int64_t next = 0;

	for (int i = 0; i < YAB_OUTAGE_PARTS; i++) {
		const struct yab_outage_loss *loss = &outage->losses[i];

		if (loss->down && loss->next_try_us && (!next || loss->next_try_us < next))
			next = loss->next_try_us;
	}
	return next;
}

static void yab_outage_pause(struct yab_outage *outage, const struct yab_outage_loss *loss)
{
	const char *part = yab_outage_names[loss - outage->losses];
	char reason[YAB_WIRE_ERROR_MAX];

	snprintf(reason, sizeof(reason), "no %s connection: %.440s", part, loss->reason);
	yab_job_pause(outage->job, reason, yab_outage_next_try(outage));
	if (outage->state == YAB_OUTAGE_PAUSED)
		return;
	yab_outage_enter(outage, YAB_OUTAGE_PAUSED);
	outage->since_us = yab_clock_us();
	if (loss->next_try_us)
		yab_log_warn(outage->vm,
			     "paused, %s; it is tried again and again (yabctl resume %s: at once, or over another network)",
			     reason, outage->vm);
	else
		yab_log_warn(outage->vm, "paused, %s; the source is expected to come back", reason);
}

/* What is lost now decides. */
static void yab_outage_judge(struct yab_outage *outage)
{
	const struct yab_outage_loss *loss = yab_outage_first(outage);

	if (outage->state == YAB_OUTAGE_UNWATCHED)
		return;
	if (loss) {
		yab_outage_pause(outage, loss);
	} else if (outage->state == YAB_OUTAGE_PAUSED) {
		yab_outage_enter(outage, YAB_OUTAGE_NONE);
		yab_job_go_on(outage->job);
		yab_log_info(outage->vm, "goes on after a pause of %.1f s",
			     (double)(yab_clock_us() - outage->since_us) / 1e6);
	}
}

void yab_outage_watch(struct yab_outage *outage, const char *vm, struct yab_job *job)
{
	outage->vm = vm;
	outage->job = job;
	yab_outage_enter(outage, YAB_OUTAGE_NONE);
	yab_outage_judge(outage);
}

void yab_outage_end(struct yab_outage *outage)
{
	if (outage->state == YAB_OUTAGE_PAUSED)
		yab_job_go_on(outage->job);
	yab_outage_enter(outage, YAB_OUTAGE_UNWATCHED);
	outage->job = NULL;
}

void yab_outage_lost(struct yab_outage *outage, enum yab_outage_part part, const char *reason,
		     int64_t next_try_us)
{
	struct yab_outage_loss *loss = &outage->losses[part];

	if (outage->state == YAB_OUTAGE_PAUSED && !loss->down)
		yab_log_warn(outage->vm, "no %s connection either now: %s",
			     yab_outage_names[part], reason);
	loss->down = true;
	loss->next_try_us = next_try_us;
	snprintf(loss->reason, sizeof(loss->reason), "%s", reason);
	yab_outage_judge(outage);
}

void yab_outage_found(struct yab_outage *outage, enum yab_outage_part part)
{
	outage->losses[part].down = false;
	yab_outage_judge(outage);
}

bool yab_outage_is_lost(const struct yab_outage *outage, enum yab_outage_part part)
{
	return outage->losses[part].down;
}
