/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A migration as its VM sees it: at most one at a time, with a phase that only
 * moves forward, and with figures that stay readable after its end.
 *
 * An outgoing job is active from Begin to Confirm, an incoming one from Prepare
 * through Finish until its last page is there.
 */
#ifndef YAB_DAEMON_JOB_H
#define YAB_DAEMON_JOB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "finding.h"

enum yab_job_direction {
	YAB_JOB_OUTGOING,
	YAB_JOB_INCOMING,
	YAB_JOB_DIRECTIONS,
};

/* What has no other host has an image for its peer. */
enum yab_job_kind {
	YAB_JOB_MIGRATION,
	YAB_JOB_SAVE,
	YAB_JOB_START,		/* from an image */
	YAB_JOB_KINDS,
};

enum yab_job_phase {
	YAB_JOB_NONE,
	YAB_JOB_BEGIN,
	YAB_JOB_PREPARE,
	YAB_JOB_PERFORM,
	YAB_JOB_FINISH,
	YAB_JOB_CONFIRM,
	YAB_JOB_PHASES,
};

enum yab_job_side {
	YAB_JOB_SOURCE,
	YAB_JOB_DESTINATION,
	YAB_JOB_SIDES,
};

struct yab_job;
struct yab_jobs;

struct yab_jobs *yab_jobs_new(void);
void yab_jobs_free(struct yab_jobs *jobs);
/* All of them, in no order. */
struct yab_job *yab_jobs_first(struct yab_jobs *jobs);
struct yab_job *yab_jobs_next(struct yab_job *job);
/* The active job of @vm or else its last one; NULL if it never had one. */
struct yab_job *yab_jobs_find(struct yab_jobs *jobs, const char *vm);

/*
 * Starts a job in phase none, in the place of the VM's last one. NULL with errno
 * (EBUSY: the VM's job is still active). Jobs belong to @jobs.
 */
struct yab_job *yab_job_start(struct yab_jobs *jobs, const char *vm,
			      enum yab_job_direction direction, const char *peer,
			      uint64_t pages);
/* Not ended: paused jobs are active. */
bool yab_job_active(const struct yab_job *job);
bool yab_job_is_incoming(const struct yab_job *job);
const char *yab_job_peer(const struct yab_job *job);
enum yab_job_kind yab_job_kind(const struct yab_job *job);
/* "is being saved to /vm1.image", for lines about its VM while it is active. */
void yab_job_tell(const struct yab_job *job, char *text, size_t size);
/* Pages that the destination has, as it said last. */
uint64_t yab_job_present(const struct yab_job *job);
/* What came of comparing them, as it said last. */
void yab_job_finding(const struct yab_job *job, struct yab_finding *finding);
enum yab_job_phase yab_job_phase(const struct yab_job *job);
const char *yab_job_phase_name(enum yab_job_phase phase);
/* The names of all states, numbered from 0; NULL after the last. */
const char *yab_job_state_name(unsigned int number);
bool yab_job_may_enter(enum yab_job_direction direction, enum yab_job_phase from,
		       enum yab_job_phase to);
/* Asserts that the transition is allowed. */
void yab_job_enter(struct yab_job *job, enum yab_job_phase phase);
/* @error is NULL on success. */
void yab_job_end(struct yab_job *job, const char *error);

/* The name of the migration in logs; NULL: it has none. */
void yab_job_set_session(struct yab_job *job, const char *session);
/* The worker of @side said @statistics (borrowed). */
void yab_job_statistics(struct yab_job *job, enum yab_job_side side, json_t *statistics);
/* The guest runs on the destination; @downtime_us is negative where unknown. */
void yab_job_switched(struct yab_job *job, int64_t downtime_us);
/* What people should know while the job goes on; NULL takes it back. */
void yab_job_warn(struct yab_job *job, const char *warning);
/*
 * It stands still, for @reason (one line), until yab_job_go_on(). Called again: a newer
 * reason. @next_try_us is by CLOCK_MONOTONIC; 0: it is not this side that tries.
 */
void yab_job_pause(struct yab_job *job, const char *reason, int64_t next_try_us);
void yab_job_go_on(struct yab_job *job);
/* It goes on over another address of the other host. */
void yab_job_divert(struct yab_job *job, const char *via);
/* All of it, for jobinfo; NULL when out of memory. */
json_t *yab_job_json(const struct yab_job *job);

#endif /* YAB_DAEMON_JOB_H */
