// SPDX-License-Identifier: GPL-2.0-or-later
#include "adoption.h"

#include <stdio.h>
#include <stdlib.h>

#include "image.h"
#include "incoming.h"
#include "log.h"
#include "outgoing.h"
#include "process.h"
#include "restore.h"

/* For each state of a record: where its QEMU runs, and where it has ended. */
static const enum yab_adoption yab_adoption_table[YAB_RECORD_STATES][2] = {
	[YAB_RECORD_NONE] = { YAB_ADOPTION_WATCH, YAB_ADOPTION_DROP },
	[YAB_RECORD_LEAVING] = { YAB_ADOPTION_GIVE_BACK, YAB_ADOPTION_DROP },
	[YAB_RECORD_ASKED] = { YAB_ADOPTION_ASK, YAB_ADOPTION_ASK },
	[YAB_RECORD_LEFT] = { YAB_ADOPTION_SERVE, YAB_ADOPTION_SERVE },
	[YAB_RECORD_ARRIVING] = { YAB_ADOPTION_UNDO, YAB_ADOPTION_UNDO },
	[YAB_RECORD_COMMITTED] = { YAB_ADOPTION_CONTINUE, YAB_ADOPTION_MOURN },
	[YAB_RECORD_ARRIVED] = { YAB_ADOPTION_PULL, YAB_ADOPTION_MOURN },
	[YAB_RECORD_COMPLETE] = { YAB_ADOPTION_KEEP, YAB_ADOPTION_KEEP },
	[YAB_RECORD_GONE] = { YAB_ADOPTION_KEEP, YAB_ADOPTION_KEEP },
};

static const char * const yab_adoption_texts[YAB_ADOPTIONS] = {
	[YAB_ADOPTION_DROP] = "its QEMU has ended: forgotten",
	[YAB_ADOPTION_MOURN] =
		"arrived here, and its QEMU has ended: the guest is gone; the source keeps its memory until somebody decides there",
	[YAB_ADOPTION_WATCH] = "runs here since before this daemon started",
	[YAB_ADOPTION_GIVE_BACK] =
		"was leaving, and the destination has not committed: it goes on here",
	[YAB_ADOPTION_ASK] = "was leaving: the destination is asked whether it runs there",
	[YAB_ADOPTION_SERVE] = "has left: its pages are served again",
	[YAB_ADOPTION_UNDO] = "was arriving and is not committed: it is the source's",
	[YAB_ADOPTION_CONTINUE] = "has arrived: it goes on here",
	[YAB_ADOPTION_PULL] = "has arrived: its missing pages are fetched",
	[YAB_ADOPTION_KEEP] = "is over here, and kept until the source has confirmed",
};

enum yab_adoption yab_adoption_decide(const struct yab_record *record, bool runs)
{
	return yab_adoption_table[record->migration.state][runs ? 0 : 1];
}

const char *yab_adoption_text(enum yab_adoption adoption)
{
	return yab_adoption_texts[adoption];
}

/* Its supervisor may have ended before it knew whom it had started. */
static void yab_adoption_find_qemu(struct yab_record *record)
{
	char argument[sizeof(record->qemu.monitor) + 16];

	if (!record->qemu.monitor[0] || record->qemu.process.pid)
		return;
	/* As yab_vm_spawn() gives it. */
	snprintf(argument, sizeof(argument), "unix:%s,server=on", record->qemu.monitor);
	record->qemu.process = yab_process_find(argument);
}

static void yab_adoption_drop(struct yab_supervisor *supervisor, const struct yab_record *record)
{
	const struct yab_record_migration over = { .state = YAB_RECORD_NONE };

	yab_process_kill(&record->migration.worker);
	yab_journal_note_exit(supervisor->journal, record->vm);
	if (record->migration.state != YAB_RECORD_NONE)
		yab_journal_note(supervisor->journal, record->vm, record->memory, &over);
}

/* Nothing of it is left but that it was here. 0, or -1 with one line in @error. */
static int yab_adoption_mourn(struct yab_supervisor *supervisor, const struct yab_record *record,
			      char *error, size_t error_size)
{
	struct yab_record gone = *record;

	yab_process_kill(&record->migration.worker);
	yab_journal_note_exit(supervisor->journal, record->vm);
	gone.migration.state = YAB_RECORD_GONE;
	yab_journal_keep(supervisor->journal, record->vm, record->memory, &gone.migration);
	return yab_incoming_adopt(supervisor, &gone, NULL, error, error_size);
}

/*
 * An incoming migration that goes on; from an image its source is here, too. 0, or -1 with
 * one line in @error.
 */
static int yab_adoption_arrive(struct yab_supervisor *supervisor, const struct yab_record *record,
			       struct yab_vm *vm, char *error, size_t error_size)
{
	if (yab_incoming_adopt(supervisor, record, vm, error, error_size) < 0)
		return -1;
	if (!yab_image_is_name(record->migration.peer))
		return 0;
	return yab_restore_adopt(supervisor, record, error, error_size);
}

/* 0, or -1 with one line in @error. */
static int yab_adoption_run(struct yab_supervisor *supervisor, enum yab_adoption adoption,
			    const struct yab_record *record, char *error, size_t error_size)
{
	static const enum yab_vm_state states[YAB_ADOPTIONS] = {
		[YAB_ADOPTION_WATCH] = YAB_VM_ADOPTED,
		[YAB_ADOPTION_GIVE_BACK] = YAB_VM_OUTGOING,
		[YAB_ADOPTION_ASK] = YAB_VM_OUTGOING,
		[YAB_ADOPTION_SERVE] = YAB_VM_OUTGOING,
		[YAB_ADOPTION_UNDO] = YAB_VM_INCOMING,
		[YAB_ADOPTION_CONTINUE] = YAB_VM_INCOMING,
		[YAB_ADOPTION_PULL] = YAB_VM_ADOPTED,
	};
	struct yab_vm *vm;
	int result = 0;

	switch (adoption) {
	case YAB_ADOPTION_DROP:
		yab_adoption_drop(supervisor, record);
		return 0;
	case YAB_ADOPTION_MOURN:
		/* No other host was promised anything of what an image was the source of. */
		if (!yab_image_is_name(record->migration.peer))
			return yab_adoption_mourn(supervisor, record, error, error_size);
		yab_adoption_drop(supervisor, record);
		return 0;
	case YAB_ADOPTION_KEEP:
		/* The supervisor may have ended when both records were there. */
		if (yab_incomings_find(supervisor->incomings, record->migration.token))
			return 0;
		return yab_adoption_arrive(supervisor, record, NULL, error, error_size);
	default:
		break;
	}
	vm = yab_vms_adopt(supervisor->vms, record, states[adoption], error, error_size);
	if (!vm)
		return -1;
	switch (adoption) {
	case YAB_ADOPTION_GIVE_BACK:
	case YAB_ADOPTION_ASK:
	case YAB_ADOPTION_SERVE:
		result = yab_outgoing_adopt(supervisor, record, vm, error, error_size);
		break;
	case YAB_ADOPTION_UNDO:
		result = yab_incoming_adopt(supervisor, record, vm, error, error_size);
		break;
	case YAB_ADOPTION_CONTINUE:
		result = yab_adoption_arrive(supervisor, record, vm, error, error_size);
		break;
	case YAB_ADOPTION_PULL:
		result = yab_adoption_arrive(supervisor, record, NULL, error, error_size);
		break;
	default:
		break;
	}
	/* Nobody has it, or has to be told: its QEMU ended since it was looked at. */
	vm = yab_vms_find(supervisor->vms, record->vm);
	if (vm && !vm->qemu && !vm->hooks) {
		yab_log_info(record->vm, "its QEMU has ended meanwhile");
		yab_vm_remove(vm);
	}
	return result;
}

static void yab_adopt(struct yab_supervisor *supervisor, struct yab_record *record)
{
	char error[YAB_WIRE_ERROR_MAX];
	enum yab_adoption adoption;

	yab_adoption_find_qemu(record);
	adoption = yab_adoption_decide(record, yab_process_lives(&record->qemu.process));
	yab_log_info(record->vm, "%s", yab_adoption_texts[adoption]);
	if (yab_adoption_run(supervisor, adoption, record, error, sizeof(error)) == 0)
		return;
	yab_log_error(record->vm, "cannot be taken up: %s: restart yabusamed to try again", error);
}

void yab_adopt_all(struct yab_supervisor *supervisor)
{
	struct yab_record *records;
	size_t count;

	records = yab_journal_list(supervisor->journal, &count);
	if (!records) {
		yab_log_error(NULL, "no VM can be taken up: out of memory: restart yabusamed");
		return;
	}
	/* VMs before sessions without one: see YAB_ADOPTION_KEEP. */
	for (size_t i = 0; i < count; i++)
		if (!yab_record_is_session(records[i].migration.state))
			yab_adopt(supervisor, &records[i]);
	for (size_t i = 0; i < count; i++)
		if (yab_record_is_session(records[i].migration.state))
			yab_adopt(supervisor, &records[i]);
	free(records);
}
