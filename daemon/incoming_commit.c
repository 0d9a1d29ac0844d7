// SPDX-License-Identifier: GPL-2.0-or-later
/* The commit of an incoming migration: who has the guest, and that it runs. */
#include <stdio.h>
#include <string.h>

#include "incoming_state.h"

#define YAB_INCOMING_AGAIN_SECONDS	5	/* until QEMU is told once more to run */

/* The guest is here, for good. */
static void yab_incoming_committed(struct yab_incoming *incoming)
{
	struct yab_vm *vm = incoming->vm;
	bool running = incoming->resumed;
	const char *name = incoming->attaching ? "attach" : "finish";

	yab_incoming_enter(incoming, YAB_INCOMING_PULLING);
	yab_incoming_note(incoming, YAB_RECORD_ARRIVED);
	yab_job_warn(incoming->job, NULL);
	yab_job_switched(incoming->job, -1);
	incoming->vm = NULL;
	vm->hooks = NULL;
	yab_vm_enter(vm, running ? YAB_VM_RUNNING : YAB_VM_PAUSED);
	yab_log_info(incoming->name, "is on this host now%s", running ? "" : ", paused");
	if (incoming->caller && (incoming->attaching || incoming->finishing))
		yab_caller_reply(incoming->caller,
				 json_pack("{s:s, s:s, s:{s:b}}", "reply", name, "state",
					   "committed", "cookie", "running", running));
	incoming->attaching = false;
	incoming->finishing = false;
	/* A guest that stays paused comes here without having been told to run. */
	yab_demand_persist(incoming->demand);
	yab_outage_watch(&incoming->outage, incoming->name, incoming->job);
	yab_demand_sweep(incoming->demand);
	/* The region went when nobody could say yet what that means. */
	if (yab_demand_is_over(incoming->demand) && incoming->step == YAB_INCOMING_PULLING)
		yab_incoming_forsake(incoming,
				     "its guest is gone before all its pages had come: its region is no more");
	else
		yab_incoming_completed(incoming);
}

/* The guest was committed and may have run, and is no more. */
void yab_incoming_ended(struct yab_incoming *incoming, const char *why)
{
	struct yab_vm *vm = incoming->vm;
	char text[YAB_WIRE_ERROR_MAX];

	snprintf(text, sizeof(text), "its guest is gone%s: %.300s",
		 incoming->complete ? "" : " before all its pages had come", why);
	incoming->vm = NULL;
	vm->hooks = NULL;
	yab_vm_remove(vm);
	yab_demand_kill(incoming->demand);
	yab_incoming_forsake(incoming, text);
}

/* It may have run, so it is not undone: QEMU is told again a little later. */
void yab_incoming_again(struct yab_incoming *incoming, const char *error)
{
	char warning[YAB_WIRE_ERROR_MAX];

	snprintf(warning, sizeof(warning),
		 "%.300s: the guest is committed here, and whether it runs is not known; QEMU is told again every %d s",
		 error, YAB_INCOMING_AGAIN_SECONDS);
	if (strcmp(incoming->error, error)) {
		snprintf(incoming->error, sizeof(incoming->error), "%s", error);
		yab_log_error(incoming->name, "%s", warning);
	}
	yab_job_warn(incoming->job, warning);
	yab_incoming_arm(incoming, YAB_INCOMING_AGAIN_SECONDS * 1000);
}

static void yab_incoming_continued(json_t *results, const char *error, void *arg)
{
	struct yab_incoming *incoming = arg;

	(void)results;
	incoming->telling = false;
	if (incoming->step != YAB_INCOMING_COMMITTING && incoming->step != YAB_INCOMING_CONTINUING)
		return;
	if (!error)
		incoming->resumed = true;
	if (incoming->resumed) {
		yab_incoming_committed(incoming);
		return;
	}
	if (incoming->step == YAB_INCOMING_CONTINUING) {
		yab_incoming_enter(incoming, YAB_INCOMING_ADOPTING);
		yab_incoming_again(incoming, error);
		return;
	}
	snprintf(incoming->error, sizeof(incoming->error), "%s", error);
	/* Either it ends, or yab_incoming_vm_unheard() comes next. */
	if (yab_qmp_is_lost(yab_vm_qmp(incoming->vm)))
		return;
	/*
	 * QEMU says RESUME before the first vCPU runs, so a guest without it never ran
	 * and, with its QEMU killed, never will. But it may get going until the signal
	 * reaches it: what it has said when it is gone decides, in
	 * yab_incoming_vm_exited().
	 */
	yab_qemu_kill(incoming->vm->qemu);
}

/* It is on the disk that the guest is ours; now QEMU hears of it. */
void yab_incoming_go(struct yab_incoming *incoming)
{
	static const struct yab_qmp_step go = { .command = "cont", .fd = -1 };
	struct yab_qmp *qmp = yab_vm_qmp(incoming->vm);

	if (!incoming->runs) {
		yab_incoming_committed(incoming);
		return;
	}
	/* It would wait for pages for ever; its end follows. */
	if (!yab_incoming_revocable(incoming) && yab_demand_is_over(incoming->demand)) {
		yab_qemu_kill(incoming->vm->qemu);
		return;
	}
	/* QEMU may touch pages before it answers. */
	yab_demand_persist(incoming->demand);
	incoming->telling = qmp && !yab_qmp_run(qmp, &go, 1, yab_incoming_continued, incoming);
	if (incoming->telling)
		yab_incoming_enter(incoming, yab_incoming_revocable(incoming) ?
				   YAB_INCOMING_COMMITTING : YAB_INCOMING_CONTINUING);
	else if (yab_incoming_revocable(incoming))
		yab_incoming_undo(incoming, YAB_QMP_UNASKED);
	else
		yab_incoming_again(incoming, YAB_QMP_UNASKED);
}

void yab_incoming_finish(struct yab_incoming *incoming, json_t *cookie)
{
	json_int_t pages = json_integer_value(json_object_get(cookie, "pages"));
	char error[YAB_WIRE_ERROR_MAX];

	if (yab_incoming_is_committed(incoming) || incoming->step == YAB_INCOMING_COMMITTING)
		return;
	if (incoming->step != YAB_INCOMING_LOADED) {
		yab_incoming_misused(incoming, "Finish before everything is loaded");
		return;
	}
	if (pages != (json_int_t)incoming->pages) {
		yab_incoming_undo(incoming, "the source counts other pages than this host");
		return;
	}
	yab_job_enter(incoming->job, YAB_JOB_FINISH);
	incoming->runs = !json_is_true(json_object_get(cookie, "paused"));
	incoming->finishing = true;
	if (yab_incoming_promise(incoming, YAB_RECORD_COMMITTED, error, sizeof(error)) < 0) {
		yab_incoming_undo(incoming, error);
		return;
	}
	yab_incoming_go(incoming);
}
