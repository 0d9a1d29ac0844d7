// SPDX-License-Identifier: GPL-2.0-or-later
/* All outgoing migrations, and what is asked of one by its VM's name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "outgoing_state.h"

struct yab_vm *yab_outgoing_candidate(struct yab_supervisor *supervisor, const char *name,
				      char *error, size_t error_size)
{
	struct yab_job *job;
	struct yab_vm *vm;
	char doing[320];

	if (yab_description_name_check(name, error, error_size) < 0)
		return NULL;
	vm = yab_vms_find(supervisor->vms, name);
	if (!vm) {
		snprintf(error, error_size, "no VM %s runs here: start it (yabctl start %s)", name,
			 name);
		return NULL;
	}
	job = yab_jobs_find(supervisor->jobs, name);
	if (job && yab_job_active(job)) {
		yab_job_tell(job, doing, sizeof(doing));
		snprintf(error, error_size,
			 "VM %s %s, which is still under way: see yabctl jobinfo %s", name, doing,
			 name);
		return NULL;
	}
	if (vm->hooks || !yab_vm_may_enter(vm->state, YAB_VM_OUTGOING)) {
		snprintf(error, error_size,
			 "VM %s is %s: try again when it runs, see yabctl list", name,
			 yab_vm_state_name(vm->state));
		return NULL;
	}
	if (vm->memory_fd < 0) {
		snprintf(error, error_size,
			 "yabusamed was restarted and cannot open the memory of VM %s: see its log",
			 name);
		return NULL;
	}
	return vm;
}

static int yab_outgoing_tell_limit(struct yab_outgoing *outgoing)
{
	return yab_outgoing_call(outgoing, json_pack("{s:s, s:s, s:I}", "call", "limit", "token",
						     outgoing->token_text, "bandwidth",
						     (json_int_t)outgoing->options.bandwidth));
}

int yab_outgoing_limit(struct yab_outgoings *outgoings, const char *name, uint64_t bandwidth)
{
	struct yab_outgoing *outgoing;

	LIST_FOREACH(outgoing, &outgoings->all, link) {
		if (strcmp(outgoing->vm->name, name))
			continue;
		if (outgoing->options.bandwidth != bandwidth) {
			outgoing->options.bandwidth = bandwidth;
			yab_outgoing_note_figures(outgoing);
		}
		/* Before Prepare it goes with that. */
		return outgoing->prepared ? yab_outgoing_tell_limit(outgoing) : 0;
	}
	return -1;
}

struct yab_outgoings *yab_outgoings_new(void)
{
	struct yab_outgoings *outgoings = calloc(1, sizeof(*outgoings));

	if (outgoings)
		LIST_INIT(&outgoings->all);
	return outgoings;
}

void yab_outgoings_free(struct yab_outgoings *outgoings)
{
	struct yab_outgoing *outgoing;

	if (!outgoings)
		return;
	while ((outgoing = LIST_FIRST(&outgoings->all))) {
		if (outgoing->state == YAB_OUTGOING_ASKING ||
		    outgoing->state == YAB_OUTGOING_PULLING)
			yab_log_info(outgoing->vm->name,
				     "its pages are served without this daemon, as long as there are connections; the rest when yabusamed is started again");
		outgoing->vm->hooks = NULL;
		yab_outgoing_free(outgoing);
	}
	free(outgoings);
}

bool yab_outgoings_give_up(struct yab_outgoings *outgoings)
{
	struct yab_outgoing *outgoing, *next;
	bool left = false;

	for (outgoing = LIST_FIRST(&outgoings->all); outgoing; outgoing = next) {
		next = LIST_NEXT(outgoing, link);
		if (yab_outgoing_revocable(outgoing))
			yab_outgoing_fail(outgoing,
					  "yabusamed is ending: migrate it when that has been started again");
	}
	LIST_FOREACH(outgoing, &outgoings->all, link)
		left |= outgoing->state == YAB_OUTGOING_GIVING_BACK ||
			outgoing->state == YAB_OUTGOING_COMMITTING ||
			outgoing->state == YAB_OUTGOING_CONFIRMING;
	return left;
}
