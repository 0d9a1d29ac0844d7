// SPDX-License-Identifier: GPL-2.0-or-later
#include "job.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <linux/yabusame.h>

#include "clock.h"
#include "image.h"
#include "log.h"
#include "text.h"
#include "yabusame/wire.h"

enum yab_job_state {
	YAB_JOB_ACTIVE,
	YAB_JOB_PAUSED,		/* active, too; waits for a connection */
	YAB_JOB_COMPLETED,
	YAB_JOB_FAILED,
	YAB_JOB_STATES,
};

struct yab_job {
	LIST_ENTRY(yab_job) link;
	char vm[YAB_NAME_SIZE];
	enum yab_job_direction direction;
	enum yab_job_phase phase;
	enum yab_job_state state;
	char peer[272];
	char via[272];
	char session[YAB_LOG_SESSION_SIZE];
	uint64_t pages;
	bool switched;
	int64_t started_us, ended_us;	/* CLOCK_MONOTONIC */
	int64_t entered_us[YAB_JOB_PHASES];	/* each phase; 0: not yet */
	int64_t paused_us;		/* since when, while it is */
	int64_t next_try_us;		/* 0: not this side's to do */
	char pause[YAB_WIRE_ERROR_MAX];	/* why */
	int64_t downtime_us;		/* negative: not known */
	json_t *statistics[YAB_JOB_SIDES];
	char warning[YAB_WIRE_ERROR_MAX];
	char error[YAB_WIRE_ERROR_MAX];
};

struct yab_jobs {
	LIST_HEAD(, yab_job) all;
};

static const char * const yab_job_phase_names[YAB_JOB_PHASES] = {
	[YAB_JOB_NONE] = "none",
	[YAB_JOB_BEGIN] = "begin",
	[YAB_JOB_PREPARE] = "prepare",
	[YAB_JOB_PERFORM] = "perform",
	[YAB_JOB_FINISH] = "finish",
	[YAB_JOB_CONFIRM] = "confirm",
};

static const char * const yab_job_state_names[YAB_JOB_STATES] = {
	[YAB_JOB_ACTIVE] = "active",
	[YAB_JOB_PAUSED] = "paused",
	[YAB_JOB_COMPLETED] = "completed",
	[YAB_JOB_FAILED] = "failed",
};

static const char * const yab_job_kind_names[YAB_JOB_KINDS] = {
	[YAB_JOB_MIGRATION] = "migration",
	[YAB_JOB_SAVE] = "save",
	[YAB_JOB_START] = "start",
};

/* The phase that may follow each phase: one or none (YAB_JOB_NONE). */
static const enum yab_job_phase yab_job_next[YAB_JOB_DIRECTIONS][YAB_JOB_PHASES] = {
	[YAB_JOB_OUTGOING] = {
		[YAB_JOB_NONE] = YAB_JOB_BEGIN,
		[YAB_JOB_BEGIN] = YAB_JOB_PREPARE,
		[YAB_JOB_PREPARE] = YAB_JOB_PERFORM,
		[YAB_JOB_PERFORM] = YAB_JOB_FINISH,
		[YAB_JOB_FINISH] = YAB_JOB_CONFIRM,
	},
	[YAB_JOB_INCOMING] = {
		[YAB_JOB_NONE] = YAB_JOB_PREPARE,
		[YAB_JOB_PREPARE] = YAB_JOB_FINISH,
	},
};

static void yab_job_free(struct yab_job *job)
{
	for (int i = 0; i < YAB_JOB_SIDES; i++)
		json_decref(job->statistics[i]);
	free(job);
}

struct yab_jobs *yab_jobs_new(void)
{
	struct yab_jobs *jobs = calloc(1, sizeof(*jobs));

	if (jobs)
		LIST_INIT(&jobs->all);
	return jobs;
}

void yab_jobs_free(struct yab_jobs *jobs)
{
	struct yab_job *job;

	if (!jobs)
		return;
	while ((job = LIST_FIRST(&jobs->all))) {
		LIST_REMOVE(job, link);
		yab_job_free(job);
	}
	free(jobs);
}

struct yab_job *yab_jobs_first(struct yab_jobs *jobs)
{
	return LIST_FIRST(&jobs->all);
}

struct yab_job *yab_jobs_next(struct yab_job *job)
{
	return LIST_NEXT(job, link);
}

struct yab_job *yab_jobs_find(struct yab_jobs *jobs, const char *vm)
{
	struct yab_job *job;

	LIST_FOREACH(job, &jobs->all, link)
		if (!strcmp(job->vm, vm))
			return job;
	return NULL;
}

struct yab_job *yab_job_start(struct yab_jobs *jobs, const char *vm,
			      enum yab_job_direction direction, const char *peer, uint64_t pages)
{
	struct yab_job *last = yab_jobs_find(jobs, vm), *job;

	if (last && yab_job_active(last)) {
		errno = EBUSY;
		return NULL;
	}
	job = calloc(1, sizeof(*job));
	if (!job)
		return NULL;
	snprintf(job->vm, sizeof(job->vm), "%s", vm);
	snprintf(job->peer, sizeof(job->peer), "%s", peer);
	job->direction = direction;
	job->pages = pages;
	job->started_us = yab_clock_us();
	job->downtime_us = -1;
	if (last) {
		LIST_REMOVE(last, link);
		yab_job_free(last);
	}
	LIST_INSERT_HEAD(&jobs->all, job, link);
	return job;
}

bool yab_job_active(const struct yab_job *job)
{
	return job->state == YAB_JOB_ACTIVE || job->state == YAB_JOB_PAUSED;
}

bool yab_job_is_incoming(const struct yab_job *job)
{
	return job->direction == YAB_JOB_INCOMING;
}

const char *yab_job_peer(const struct yab_job *job)
{
	return job->peer;
}

enum yab_job_kind yab_job_kind(const struct yab_job *job)
{
	if (!yab_image_is_name(job->peer))
		return YAB_JOB_MIGRATION;
	return job->direction == YAB_JOB_OUTGOING ? YAB_JOB_SAVE : YAB_JOB_START;
}

/* What people have called the peer, without what tells an image from others of its path. */
static int yab_job_peer_length(const struct yab_job *job)
{
	return (int)(yab_job_kind(job) == YAB_JOB_START ? yab_image_path_length(job->peer) :
		     strlen(job->peer));
}

void yab_job_tell(const struct yab_job *job, char *text, size_t size)
{
	const enum yab_job_kind kind = yab_job_kind(job);

	snprintf(text, size, "%s %.*s", kind == YAB_JOB_SAVE ? "is being saved to" :
		 kind == YAB_JOB_START ? "is being started from" :
		 job->direction == YAB_JOB_OUTGOING ? "is on its way to" : "is arriving from",
		 yab_job_peer_length(job), job->peer);
}

uint64_t yab_job_present(const struct yab_job *job)
{
	json_t *statistics = job->statistics[YAB_JOB_DESTINATION];
	const json_int_t present = json_integer_value(json_object_get(statistics, "present"));

	/* The other host may say anything. */
	if (present <= 0)
		return 0;
	return (uint64_t)present < job->pages ? (uint64_t)present : job->pages;
}

void yab_job_finding(const struct yab_job *job, struct yab_finding *finding)
{
	yab_finding_read(job->statistics[YAB_JOB_DESTINATION], job->pages, finding);
}

enum yab_job_phase yab_job_phase(const struct yab_job *job)
{
	return job->phase;
}

const char *yab_job_phase_name(enum yab_job_phase phase)
{
	return yab_job_phase_names[phase];
}

const char *yab_job_state_name(unsigned int number)
{
	return number < YAB_JOB_STATES ? yab_job_state_names[number] : NULL;
}

bool yab_job_may_enter(enum yab_job_direction direction, enum yab_job_phase from,
		       enum yab_job_phase to)
{
	return to != YAB_JOB_NONE && yab_job_next[direction][from] == to;
}

void yab_job_enter(struct yab_job *job, enum yab_job_phase phase)
{
	assert(yab_job_active(job));
	assert(yab_job_may_enter(job->direction, job->phase, phase));
	job->phase = phase;
	job->entered_us[phase] = yab_clock_us();
}

void yab_job_end(struct yab_job *job, const char *error)
{
	assert(yab_job_active(job));
	job->state = error ? YAB_JOB_FAILED : YAB_JOB_COMPLETED;
	job->ended_us = yab_clock_us();
	job->warning[0] = '\0';
	/* It may quote the other host, a file or QEMU. */
	snprintf(job->error, sizeof(job->error), "%s", error ? error : "");
	yab_text_tame(job->error);
}

void yab_job_set_session(struct yab_job *job, const char *session)
{
	snprintf(job->session, sizeof(job->session), "%s", session ? session : "");
}

void yab_job_statistics(struct yab_job *job, enum yab_job_side side, json_t *statistics)
{
	json_decref(job->statistics[side]);
	job->statistics[side] = json_incref(statistics);
}

void yab_job_switched(struct yab_job *job, int64_t downtime_us)
{
	job->switched = true;
	job->downtime_us = downtime_us;
}

void yab_job_warn(struct yab_job *job, const char *warning)
{
	snprintf(job->warning, sizeof(job->warning), "%s", warning ? warning : "");
	yab_text_tame(job->warning);
}

void yab_job_pause(struct yab_job *job, const char *reason, int64_t next_try_us)
{
	assert(yab_job_active(job));
	if (job->state == YAB_JOB_ACTIVE)
		job->paused_us = yab_clock_us();
	job->state = YAB_JOB_PAUSED;
	job->next_try_us = next_try_us;
	snprintf(job->pause, sizeof(job->pause), "%s", reason);
	yab_text_tame(job->pause);
}

void yab_job_go_on(struct yab_job *job)
{
	assert(yab_job_active(job));
	job->state = YAB_JOB_ACTIVE;
}

void yab_job_divert(struct yab_job *job, const char *via)
{
	snprintf(job->via, sizeof(job->via), "%s", via);
}

static json_t *yab_job_pause_json(const struct yab_job *job)
{
	const int64_t now = yab_clock_us();
	json_t *json;

	json = json_pack("{s:I, s:s}", "us", (json_int_t)(now - job->paused_us), "reason",
			 job->pause);
	if (job->next_try_us)
		json_object_set_new(json, "next_try_us", json_integer(job->next_try_us > now ?
								      job->next_try_us - now : 0));
	return json;
}

/* How long each phase took, the present one until @end. */
static json_t *yab_job_phases_json(const struct yab_job *job, int64_t end)
{
	enum yab_job_phase phase, next = YAB_JOB_NONE;
	json_t *json = json_object();
	int64_t left;

	while ((phase = next) < YAB_JOB_PHASES) {
		do
			next++;
		while (next < YAB_JOB_PHASES && !job->entered_us[next]);
		left = next < YAB_JOB_PHASES ? job->entered_us[next] : end;
		if (phase != YAB_JOB_NONE)
			json_object_set_new(json, yab_job_phase_names[phase],
					    json_integer(left - job->entered_us[phase]));
	}
	return json;
}

json_t *yab_job_json(const struct yab_job *job)
{
	static const char * const sides[YAB_JOB_SIDES] = {
		[YAB_JOB_SOURCE] = "source",
		[YAB_JOB_DESTINATION] = "destination",
	};
	int64_t end = yab_job_active(job) ? yab_clock_us() : job->ended_us;
	json_t *json;

	json = json_pack("{s:s, s:s, s:s, s:s%, s:s, s:s, s:b, s:I, s:I}",
			 "vm", job->vm,
			 "kind", yab_job_kind_names[yab_job_kind(job)],
			 "direction", job->direction == YAB_JOB_OUTGOING ? "outgoing" : "incoming",
			 "peer", job->peer, (size_t)yab_job_peer_length(job),
			 "phase", yab_job_phase_names[job->phase],
			 "state", yab_job_state_names[job->state],
			 "switched", job->switched,
			 "pages", (json_int_t)job->pages,
			 "total_us", (json_int_t)(end - job->started_us));
	if (!json)
		return NULL;
	json_object_set_new(json, "phases_us", yab_job_phases_json(job, end));
	if (job->downtime_us >= 0)
		json_object_set_new(json, "downtime_us", json_integer(job->downtime_us));
	if (job->state == YAB_JOB_PAUSED)
		json_object_set_new(json, "paused", yab_job_pause_json(job));
	if (job->via[0])
		json_object_set_new(json, "via", json_string(job->via));
	if (job->session[0])
		json_object_set_new(json, "session", json_string(job->session));
	if (job->warning[0])
		json_object_set_new(json, "warning", json_string(job->warning));
	if (job->error[0])
		json_object_set_new(json, "error", json_string(job->error));
	for (int i = 0; i < YAB_JOB_SIDES; i++)
		if (job->statistics[i])
			json_object_set(json, sides[i], job->statistics[i]);
	return json;
}
