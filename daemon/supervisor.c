// SPDX-License-Identifier: GPL-2.0-or-later
#include "supervisor.h"

#include <stdio.h>

#include "caller.h"
#include "incoming.h"
#include "outgoing.h"
#include "restore.h"
#include "save.h"

int yab_supervisor_open(struct yab_supervisor *supervisor, const char *vm_dir,
			const char *state_dir, char *error, size_t error_size)
{
	yab_callers_init(supervisor);
	supervisor->vms = yab_vms_new(supervisor->base, supervisor->run_dir, vm_dir);
	supervisor->jobs = yab_jobs_new();
	supervisor->complaints = yab_complaints_new(supervisor->base);
	supervisor->incomings = yab_incomings_new(supervisor->complaints);
	supervisor->outgoings = yab_outgoings_new();
	supervisor->restores = yab_restores_new();
	supervisor->saves = yab_saves_new();
	if (!supervisor->vms || !supervisor->jobs || !supervisor->complaints ||
	    !supervisor->incomings || !supervisor->outgoings || !supervisor->restores ||
	    !supervisor->saves) {
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	if (!state_dir)
		return 0;
	supervisor->journal = yab_journal_open(supervisor->base, state_dir, supervisor->instance,
					       error, error_size);
	if (!supervisor->journal)
		return -1;
	yab_vms_set_journal(supervisor->vms, supervisor->journal);
	return 0;
}

void yab_supervisor_close(struct yab_supervisor *supervisor)
{
	/* Migrations before the jobs, VMs and the journal that they hold. */
	yab_saves_free(supervisor->saves);
	yab_restores_free(supervisor->restores);
	yab_outgoings_free(supervisor->outgoings);
	yab_incomings_free(supervisor->incomings);
	yab_callers_free(supervisor);
	yab_complaints_free(supervisor->complaints);
	yab_jobs_free(supervisor->jobs);
	yab_vms_free(supervisor->vms);
	yab_journal_close(supervisor->journal);
}
