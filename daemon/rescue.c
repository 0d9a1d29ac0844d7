// SPDX-License-Identifier: GPL-2.0-or-later
#include "rescue.h"

#include <stdio.h>
#include <string.h>

#include "incoming_state.h"
#include "log.h"
#include "outgoing_state.h"
#include "region.h"
#include "save.h"

static struct yab_outgoing *yab_rescue_find(struct yab_supervisor *supervisor, const char *name)
{
	struct yab_outgoing *outgoing;

	LIST_FOREACH(outgoing, &supervisor->outgoings->all, link)
		if (!strcmp(outgoing->vm->name, name))
			return outgoing;
	return NULL;
}

/* What there is to rescue begins with the commit and ends with the last page. */
static bool yab_rescue_applies(const struct yab_outgoing *outgoing, char *error,
			       size_t error_size)
{
	const char *name = outgoing->vm->name;

	switch (outgoing->state) {
	case YAB_OUTGOING_ASKING:
	case YAB_OUTGOING_PULLING:
	case YAB_OUTGOING_STRANDED:
		return true;
	case YAB_OUTGOING_CONFIRMING:
		snprintf(error, error_size, "VM %s has all its pages on %.200s: its QEMU ends here",
			 name, outgoing->options.destination.text);
		return false;
	default:
		snprintf(error, error_size,
			 "the migration of VM %s is not past its commit: wait, a step that hangs fails by itself, and the guest goes on here",
			 name);
		return false;
	}
}

int yab_rescue_resume(struct yab_supervisor *supervisor, const char *name,
		      const struct yab_address *via, char *error, size_t error_size)
{
	struct yab_outgoing *outgoing = yab_rescue_find(supervisor, name);
	struct yab_job *job = yab_jobs_find(supervisor->jobs, name);
	char reason[YAB_WIRE_ERROR_MAX], doing[320];

	if (!outgoing && job && yab_job_active(job) && yab_job_kind(job) != YAB_JOB_MIGRATION) {
		yab_job_tell(job, doing, sizeof(doing));
		snprintf(error, error_size,
			 "VM %s %s, which goes on by itself: there is nothing to resume", name,
			 doing);
		return -1;
	}
	if (!outgoing && job && yab_job_active(job) && yab_job_is_incoming(job)) {
		snprintf(error, error_size,
			 "VM %s arrives here, and its source makes the connections: resume it on the source (%.200s)",
			 name, yab_job_peer(job));
		return -1;
	}
	if (!outgoing) {
		snprintf(error, error_size,
			 "VM %s is in no migration: there is nothing to resume", name);
		return -1;
	}
	if (!yab_rescue_applies(outgoing, error, error_size))
		return -1;
	if (outgoing->state == YAB_OUTGOING_STRANDED) {
		snprintf(error, error_size,
			 "the migration to %.200s has failed, only the memory of VM %s is kept here: see yabctl jobinfo %s, and yabctl abandon",
			 outgoing->options.destination.text, name, name);
		return -1;
	}
	yab_log_info(name, "resumed by hand%s%s", via ? " via " : "", via ? via->text : "");
	/* What there is stays until whoever is there has shown that it is the destination. */
	if (via && yab_outgoing_detour(outgoing, via) < 0) {
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	/* A supervisor that found no memory to serve has none. */
	if (!via && outgoing->supply)
		yab_supply_resume(outgoing->supply, NULL);
	if (!via && yab_outage_is_lost(&outgoing->outage, YAB_OUTAGE_CONTROL)) {
		snprintf(reason, sizeof(reason), "connecting to %s",
			 outgoing->options.destination.text);
		yab_contact_retry(outgoing->contact, NULL);
		yab_outage_lost(&outgoing->outage, YAB_OUTAGE_CONTROL, reason,
				yab_contact_next_try_us(outgoing->contact));
	}
	outgoing->ops->progress(outgoing->arg);
	return 0;
}

/* Those that may be nowhere but here. 0, or -1 with one line in @text. */
static int yab_rescue_permit_outgoing(const struct yab_outgoing *outgoing, bool force, char *text,
				      size_t text_size)
{
	const uint64_t present = yab_job_present(outgoing->job);
	const struct yab_vm *vm = outgoing->vm;
	struct yab_finding finding;
	char differs[256];

	if (force)
		return 0;
	yab_job_finding(outgoing->job, &finding);
	if (finding.different && yab_finding_tell(&finding, differs, sizeof(differs))) {
		snprintf(text, text_size,
			 "%.200s: the memory of VM %s here may be the only right one: give --force if nobody will ever want it",
			 differs, vm->name);
		return -1;
	}
	if (present >= vm->pages)
		return 0;
	snprintf(text, text_size,
		 "%llu of %llu pages of VM %s may be nowhere else than here (%.120s had the others when last heard of): give --force if nobody will ever want them",
		 (unsigned long long)(vm->pages - present), (unsigned long long)vm->pages,
		 vm->name, outgoing->options.destination.text);
	return -1;
}

/* It needs nothing of its source any more; the pages are being compared. */
static bool yab_rescue_is_whole(const struct yab_incoming *incoming)
{
	return incoming->step == YAB_INCOMING_PULLING &&
	       yab_job_present(incoming->job) == incoming->pages;
}

/* The same for those that have not come. */
static int yab_rescue_permit_incoming(const struct yab_incoming *incoming, bool force, char *text,
				      size_t text_size)
{
	if (force || yab_rescue_is_whole(incoming))
		return 0;
	snprintf(text, text_size,
		 "%llu of %llu pages of VM %s are still to come: its guest is lost with this: give --force if its %s will never come back",
		 (unsigned long long)(incoming->pages - yab_job_present(incoming->job)),
		 (unsigned long long)incoming->pages, incoming->name,
		 yab_job_kind(incoming->job) == YAB_JOB_START ? "image" : "source");
	return -1;
}

static void yab_rescue_destroyed(const char *error, void *arg)
{
	(void)error;
	(void)arg;	/* vm.c has logged its end */
}

/* The source's side. @text as yab_rescue_abandon(). */
static int yab_rescue_abandon_outgoing(struct yab_outgoing *outgoing, bool force, char *text,
				       size_t text_size)
{
	const char *host = outgoing->options.destination.text;
	struct yab_vm *vm = outgoing->vm;
	const uint64_t present = yab_job_present(outgoing->job);
	struct yab_supervisor *supervisor = outgoing->supervisor;
	char error[YAB_WIRE_ERROR_MAX], name[YAB_NAME_SIZE];

	if (!yab_rescue_applies(outgoing, text, text_size))
		return -1;
	if (yab_rescue_permit_outgoing(outgoing, force, text, text_size) < 0)
		return -1;
	snprintf(text, text_size,
		 "abandoned VM %s: its QEMU ends here, and %llu of its %llu pages are lost unless %.120s has them%s",
		 vm->name, (unsigned long long)(vm->pages - present),
		 (unsigned long long)vm->pages, host, present == vm->pages ? "" :
		 "; if it waits there for more, abandon it there, too");
	snprintf(name, sizeof(name), "%s", vm->name);
	yab_supply_free(outgoing->supply, false);
	outgoing->supply = NULL;
	/* Whoever is told of the job's end may ask for more, and end both. */
	if (outgoing->state == YAB_OUTGOING_STRANDED)
		yab_log_error(name, "%s", text);
	else
		yab_outgoing_strand(outgoing, text);
	vm = yab_vms_find(supervisor->vms, name);
	if (vm && yab_vm_destroy(vm, yab_rescue_destroyed, NULL, error, sizeof(error)) < 0)
		yab_log_warn(name, "%s", error);
	return 0;
}

/* The one under way of the VM @name, or else its last one. */
static struct yab_incoming *yab_rescue_find_incoming(struct yab_incomings *incomings,
						     const char *name)
{
	struct yab_incoming *incoming, *found = NULL;

	LIST_FOREACH(incoming, &incomings->all, link)
		if (!strcmp(incoming->name, name) && (!found || incoming->job))
			found = incoming;
	return found;
}

/* Committed, and a guest is here that waits for pages. */
static bool yab_rescue_waits(const struct yab_incoming *incoming)
{
	return yab_incoming_is_committed(incoming) && incoming->step != YAB_INCOMING_COMPLETE;
}

/* Only what waits for the source is given up: the comparison. The guest goes on. */
static void yab_rescue_settle(struct yab_incoming *incoming, char *text, size_t text_size)
{
	struct yab_finding finding;

	yab_demand_kill(incoming->demand);
	yab_finding_read(incoming->statistics, incoming->pages, &finding);
	if (incoming->verify)
		yab_finding_expect(incoming->statistics, incoming->pages, &finding);
	snprintf(text, text_size,
		 "VM %s has all its pages and goes on here; %llu chunks of its memory were not compared with its source's",
		 incoming->name, (unsigned long long)finding.unverifiable);
	yab_log_warn(incoming->name, "%s", text);
	incoming->complete = true;
	yab_incoming_completed(incoming);
}

/* The destination's side. As yab_rescue_abandon(), but 1: there is none. */
static int yab_rescue_abandon_incoming(struct yab_incomings *incomings, const char *name,
				       bool force, char *text, size_t text_size)
{
	struct yab_incoming *incoming = yab_rescue_find_incoming(incomings, name);
	char error[YAB_WIRE_ERROR_MAX];
	uint64_t missing;
	struct yab_vm *vm;

	if (!incoming || incoming->step == YAB_INCOMING_GONE)
		return 1;
	if (!yab_rescue_waits(incoming)) {
		snprintf(text, text_size, incoming->step == YAB_INCOMING_COMPLETE ?
			 "VM %s has all its pages here: there is nothing to abandon" :
			 "VM %s has not been committed here: it is undone by itself when its source goes",
			 name);
		return -1;
	}
	if (yab_rescue_is_whole(incoming)) {
		yab_rescue_settle(incoming, text, text_size);
		return 0;
	}
	missing = incoming->pages - yab_job_present(incoming->job);
	if (yab_rescue_permit_incoming(incoming, force, text, text_size) < 0)
		return -1;
	if (yab_region_fail(name, text, text_size) < 0)
		return -1;
	snprintf(text, text_size,
		 "abandoned VM %s: the guest is lost, for %llu of its %llu pages never came; its QEMU ends",
		 name, (unsigned long long)missing, (unsigned long long)incoming->pages);
	yab_demand_kill(incoming->demand);
	/* Where QEMU does not answer it is still ours. */
	if (incoming->vm)
		incoming->vm->hooks = NULL;
	incoming->vm = NULL;
	yab_incoming_forsake(incoming, text);
	vm = yab_vms_find(incoming->supervisor->vms, name);
	if (vm && yab_vm_destroy(vm, yab_rescue_destroyed, NULL, error, sizeof(error)) < 0)
		yab_log_warn(name, "%s", error);
	return 0;
}

int yab_rescue_permit(struct yab_supervisor *supervisor, const char *name, bool force,
		      char *text, size_t text_size)
{
	struct yab_incoming *incoming = yab_rescue_find_incoming(supervisor->incomings, name);
	struct yab_outgoing *outgoing = yab_rescue_find(supervisor, name);
	char unused[YAB_WIRE_ERROR_MAX];

	if (outgoing)
		return yab_rescue_applies(outgoing, unused, sizeof(unused)) ?
		       yab_rescue_permit_outgoing(outgoing, force, text, text_size) : 0;
	return incoming && yab_rescue_waits(incoming) ?
	       yab_rescue_permit_incoming(incoming, force, text, text_size) : 0;
}

int yab_rescue_abandon(struct yab_supervisor *supervisor, const char *name, bool force,
		       char *text, size_t text_size)
{
	struct yab_outgoing *outgoing = yab_rescue_find(supervisor, name);
	int result;

	if (outgoing)
		return yab_rescue_abandon_outgoing(outgoing, force, text, text_size);
	result = yab_saves_abandon(supervisor->saves, name, force, text, text_size);
	if (result > 0)
		result = yab_rescue_abandon_incoming(supervisor->incomings, name, force, text,
						     text_size);
	if (result > 0)
		snprintf(text, text_size,
			 "VM %s is in no migration: there is nothing to abandon", name);
	return result ? -1 : 0;
}
