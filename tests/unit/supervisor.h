/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervising process in a test: all that main.c makes but the sockets that it listens on. */
#ifndef YAB_TEST_SUPERVISOR_H
#define YAB_TEST_SUPERVISOR_H

#include "../../daemon/supervisor.h"

/*
 * With plain TCP, for root only. @folder is where it runs and where its VMs are described.
 * @state_dir: see yab_supervisor_open().
 */
void supervisor_begin(struct yab_supervisor *supervisor, const char *folder,
		      const char *state_dir);
/* Waits for what lingers, and for workers that are disowned: whoever they wait for goes first. */
void supervisor_end(struct yab_supervisor *supervisor);
/* One turn of its loop. */
void supervisor_turn(struct yab_supervisor *supervisor);

/* What @member of the job of "vm1" says; "" if it says nothing. Valid until the next call. */
const char *supervisor_job_says(struct yab_supervisor *supervisor, const char *member);

#endif /* YAB_TEST_SUPERVISOR_H */
