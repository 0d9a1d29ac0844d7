// SPDX-License-Identifier: GPL-2.0-or-later
#include "save.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "copy.h"
#include "giveback.h"
#include "inspection.h"
#include "log.h"
#include "outgoing.h"
#include "save_file.h"
#include "transfer.h"

enum yab_save_step {
	YAB_SAVE_CHECKING,	/* QEMU is asked whether it can be migrated */
	YAB_SAVE_WRITING,	/* it writes device state, and the copy the files */
	YAB_SAVE_ENDING,	/* both are there; QEMU ends */
	YAB_SAVE_GIVING_BACK,
	YAB_SAVE_STEPS,
};

#define YAB_SAVE_TO(step)	(1U << YAB_SAVE_##step)

static const unsigned int yab_save_allowed[YAB_SAVE_STEPS] = {
	[YAB_SAVE_CHECKING] = YAB_SAVE_TO(WRITING) | YAB_SAVE_TO(GIVING_BACK),
	[YAB_SAVE_WRITING] = YAB_SAVE_TO(ENDING) | YAB_SAVE_TO(GIVING_BACK),
};

struct yab_save {
	LIST_ENTRY(yab_save) link;
	struct yab_supervisor *supervisor;
	struct yab_vm *vm;
	char name[YAB_NAME_SIZE];	/* the VM's, when that is gone, too */
	uint64_t memory;
	enum yab_save_step step;
	struct yab_job *job;
	struct yab_log_session session;
	struct yab_inspection inspection;
	bool recorded;			/* in the journal, which gives the guest back */
	struct yab_save_file image;
	struct yab_save_file state;
	struct yab_transfer *transfer;	/* until we are freed */
	struct yab_copy *copy;
	bool written;			/* QEMU has written all of it ... */
	bool copied;			/* ... and the files are on the disk */
	char error[YAB_WIRE_ERROR_MAX];	/* while giving back */
	yab_save_cb cb;
	void *arg;
};

struct yab_saves {
	LIST_HEAD(, yab_save) all;
};

static void yab_save_enter(struct yab_save *save, enum yab_save_step step)
{
	assert(yab_save_allowed[save->step] & 1U << step);
	save->step = step;
}

/* QEMU has ended, but not before it had written all it had: its memory is our file, too. */
static bool yab_save_outlives(const struct yab_save *save)
{
	return save->step == YAB_SAVE_WRITING && save->written && !save->vm->qemu;
}

static void yab_save_free(struct yab_save *save)
{
	LIST_REMOVE(save, link);
	yab_log_session_end(&save->session);
	yab_transfer_free(save->transfer);
	yab_copy_free(save->copy);
	yab_save_file_release(&save->image);
	yab_save_file_release(&save->state);
	free(save);
}

static void yab_save_describe(const struct yab_save *save, enum yab_record_state state,
			      struct yab_record_migration *migration)
{
	*migration = (struct yab_record_migration){
		.state = state,
		.running = save->inspection.running,
	};
	memcpy(migration->session, save->session.name, sizeof(migration->session));
	memcpy(migration->peer, save->image.path, sizeof(migration->peer));
}

static void yab_save_end(struct yab_save *save, const char *error)
{
	const yab_save_cb cb = save->cb;
	struct yab_record_migration over;
	void *arg = save->arg;
	char text[YAB_WIRE_ERROR_MAX];

	snprintf(text, sizeof(text), "%s", error ? error : "");
	if (save->recorded) {
		yab_save_describe(save, YAB_RECORD_NONE, &over);
		yab_journal_note(save->supervisor->journal, save->name, save->memory, &over);
	}
	if (error)
		yab_log_error(save->name, "%s", text);
	else
		yab_log_info(save->name, "is saved to %s", save->image.path);
	yab_job_end(save->job, error ? text : NULL);
	yab_save_free(save);
	cb(error ? text : NULL, arg);
}

/* The guest is as it was, or its QEMU is gone. */
static void yab_save_returned(const char *error, void *arg)
{
	struct yab_save *save = arg;
	const bool running = save->inspection.running && !error;
	struct yab_vm *vm = save->vm;
	char text[sizeof(save->error)];

	vm->hooks = NULL;
	if (vm->state == YAB_VM_OUTGOING)
		yab_vm_enter(vm, running ? YAB_VM_RUNNING : YAB_VM_PAUSED);
	if (!vm->qemu)
		snprintf(text, sizeof(text), "%.400s: the guest is lost, for its QEMU has ended",
			 save->error);
	else if (error)
		snprintf(text, sizeof(text),
			 "%.320s; and the guest could not be continued: %.120s", save->error,
			 error);
	else
		snprintf(text, sizeof(text), "%.380s (VM %s %s)", save->error, vm->name,
			 running ? "goes on" : "stays paused");
	if (!vm->qemu)
		yab_vm_remove(vm);
	yab_save_end(save, text);
}

static void yab_save_fail(struct yab_save *save, const char *error)
{
	if (save->step == YAB_SAVE_GIVING_BACK || save->step == YAB_SAVE_ENDING)
		return;
	snprintf(save->error, sizeof(save->error), "%s", error);
	yab_log_warn(save->name, "is not saved: %s", save->error);
	yab_save_enter(save, YAB_SAVE_GIVING_BACK);
	/* At once: a full disk may be the reason. */
	yab_copy_free(save->copy);
	save->copy = NULL;
	yab_save_file_release(&save->image);
	yab_save_file_release(&save->state);
	if (save->transfer)
		yab_transfer_stop(save->transfer);
	if (yab_giveback(save->supervisor->base, save->vm, save->inspection.running,
			 yab_save_returned, save) < 0)
		yab_save_returned("out of memory", save);
}

static void yab_save_gone(const char *error, void *arg)
{
	(void)error;	/* however it ended */
	yab_save_end(arg, NULL);
}

/* Both files get their names, and then QEMU is of no use any more. */
static void yab_save_finish(struct yab_save *save)
{
	struct yab_vm *vm = save->vm;
	char error[YAB_WIRE_ERROR_MAX];

	if (!save->written || !save->copied || save->step != YAB_SAVE_WRITING)
		return;
	if (yab_save_file_keep(&save->image, error, sizeof(error)) < 0) {
		yab_save_fail(save, error);
		return;
	}
	if (yab_save_file_keep(&save->state, error, sizeof(error)) < 0) {
		yab_save_file_remove(&save->image);
		yab_save_fail(save, error);
		return;
	}
	yab_save_enter(save, YAB_SAVE_ENDING);
	yab_transfer_stop(save->transfer);
	vm->hooks = NULL;
	if (vm->qemu && !yab_vm_destroy(vm, yab_save_gone, save, error, sizeof(error)))
		return;
	if (!vm->qemu)
		yab_vm_remove(vm);
	yab_save_end(save, NULL);
}

static void yab_save_copied(const char *error, void *arg)
{
	struct yab_save *save = arg;

	if (error) {
		yab_save_fail(save, error);
		return;
	}
	save->copied = true;
	yab_save_finish(save);
}

static void yab_save_stopped(void *arg)
{
	(void)arg;
}

/* There is nobody to be told before the state may be written. */
static void yab_save_final(void *arg)
{
	struct yab_save *save = arg;

	if (yab_transfer_go_on(save->transfer) < 0)
		yab_save_fail(save, YAB_QMP_UNASKED);
}

static void yab_save_written(void *arg)
{
	struct yab_save *save = arg;

	save->written = true;
	yab_save_finish(save);
}

static void yab_save_transfer_failed(const char *error, void *arg)
{
	yab_save_fail(arg, error);
}

static const struct yab_transfer_ops yab_save_transfer_ops = {
	.stopped = yab_save_stopped,
	.final = yab_save_final,
	.written = yab_save_written,
	.failed = yab_save_transfer_failed,
};

/* 0, or -1 with one line in @error. */
static int yab_save_write(struct yab_save *save, char *error, size_t error_size)
{
	struct yab_copy_files files = {
		.state = save->state.fd,
		.memory = save->vm->memory_fd,
		.size = save->memory,
		.image = save->image.fd,
	};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		snprintf(error, error_size, "no way for the device state: %s", strerror(errno));
		return -1;
	}
	files.socket = pair[0];
	save->copy = yab_copy_new(save->supervisor->base, &files, yab_save_copied, save);
	if (save->copy)
		save->transfer = yab_transfer_new_to(save->vm, pair[1], &yab_save_transfer_ops,
						     save, error, error_size);
	else
		snprintf(error, error_size, "no process can be started to write the files: %s",
			 strerror(errno));
	close(pair[0]);
	close(pair[1]);
	return save->transfer ? 0 : -1;
}

static void yab_save_checked(const struct yab_inspection *inspection, const char *error,
			     void *arg)
{
	struct yab_record_migration migration;
	struct yab_save *save = arg;
	char failure[YAB_WIRE_ERROR_MAX];

	if (save->step != YAB_SAVE_CHECKING)
		return;
	if (error) {
		yab_save_fail(save, error);
		return;
	}
	save->inspection = *inspection;
	yab_save_describe(save, YAB_RECORD_LEAVING, &migration);
	/* From here on QEMU is no longer as it was, and must be given back. */
	if (yab_journal_promise_migration(save->supervisor->journal, save->name, save->memory,
					  &migration, failure, sizeof(failure)) < 0) {
		yab_save_fail(save, failure);
		return;
	}
	save->recorded = true;
	yab_save_enter(save, YAB_SAVE_WRITING);
	yab_job_enter(save->job, YAB_JOB_PREPARE);
	yab_job_enter(save->job, YAB_JOB_PERFORM);
	if (yab_save_write(save, failure, sizeof(failure)) < 0)
		yab_save_fail(save, failure);
}

static void yab_save_vm_event(const char *name, json_t *data, void *arg)
{
	struct yab_save *save = arg;

	if (save->transfer)
		yab_transfer_event(save->transfer, name, data);
}

/* That it has written all of it may be what nobody heard. */
static void yab_save_vm_unheard(void *arg)
{
	struct yab_save *save = arg;

	if (!save->written)
		yab_save_fail(save, "QEMU's monitor was lost");
}

static void yab_save_vm_exited(const char *why, void *arg)
{
	struct yab_save *save = arg;

	if (save->step == YAB_SAVE_GIVING_BACK)
		snprintf(save->error, sizeof(save->error), "VM %s is gone: %.400s", save->name,
			 why);
	else if (yab_save_outlives(save))
		yab_log_warn(save->name, "%s; what it had is written all the same", why);
	else
		yab_save_fail(save, why);
}

static const struct yab_vm_hooks yab_save_hooks = {
	.event = yab_save_vm_event,
	.unheard = yab_save_vm_unheard,
	.exited = yab_save_vm_exited,
};

int yab_save_begin(struct yab_supervisor *supervisor, const char *name, const char *image,
		   const char *state, yab_save_cb cb, void *arg, char *error,
		   size_t error_size)
{
	struct yab_vm *vm = yab_outgoing_candidate(supervisor, name, error, error_size);
	char session[YAB_LOG_SESSION_SIZE];
	struct yab_save *save;

	if (!vm)
		return -1;
	save = calloc(1, sizeof(*save));
	if (!save) {
		snprintf(error, error_size, "out of memory");
		return -1;
	}
	LIST_INSERT_HEAD(&supervisor->saves->all, save, link);
	save->image.fd = -1;
	save->state.fd = -1;
	save->supervisor = supervisor;
	save->vm = vm;
	save->memory = vm->description->memory;
	save->inspection.running = vm->state == YAB_VM_RUNNING;
	save->cb = cb;
	save->arg = arg;
	snprintf(save->name, sizeof(save->name), "%s", vm->name);
	if (yab_save_file_make(&save->image, "image", image, name, error, error_size) < 0 ||
	    yab_save_file_make(&save->state, "device state", state, name, error,
			       error_size) < 0)
		goto err;
	/* By another path, too: what was made last has replaced the other one. */
	if (!yab_save_file_is_there(&save->image)) {
		snprintf(error, error_size,
			 "memory and device state need a file each: give two paths");
		goto err;
	}
	save->job = yab_job_start(supervisor->jobs, name, YAB_JOB_OUTGOING, image, vm->pages);
	if (!save->job) {
		snprintf(error, error_size, "out of memory");
		if (errno == EBUSY)
			snprintf(error, error_size,
				 "VM %s is still in a migration: see yabctl jobinfo %s", name,
				 name);
		goto err;
	}
	if (yab_inspect(vm, yab_save_checked, save) < 0) {
		snprintf(error, error_size, "QEMU's monitor of VM %s cannot be asked: %s", name,
			 strerror(errno));
		yab_job_end(save->job, error);
		goto err;
	}
	yab_log_session_name(session);
	yab_log_session_begin(&save->session, save->name, session);
	yab_job_set_session(save->job, yab_log_session_of(save->name));
	yab_log_info(save->name, "is being saved to %s and %s", image, state);
	vm->hooks = &yab_save_hooks;
	vm->hooks_arg = save;
	yab_vm_enter(vm, YAB_VM_OUTGOING);
	yab_job_enter(save->job, YAB_JOB_BEGIN);
	return 0;

err:
	yab_save_free(save);
	return -1;
}

struct yab_saves *yab_saves_new(void)
{
	struct yab_saves *saves = calloc(1, sizeof(*saves));

	if (saves)
		LIST_INIT(&saves->all);
	return saves;
}

void yab_saves_free(struct yab_saves *saves)
{
	struct yab_save *save;

	if (!saves)
		return;
	while ((save = LIST_FIRST(&saves->all))) {
		if (save->step != YAB_SAVE_ENDING)
			save->vm->hooks = NULL;
		yab_save_free(save);
	}
	free(saves);
}

int yab_saves_abandon(struct yab_saves *saves, const char *name, bool force, char *text,
		      size_t text_size)
{
	struct yab_save *save;

	LIST_FOREACH(save, &saves->all, link)
		if (!strcmp(save->name, name))
			break;
	if (!save)
		return 1;
	if (save->step == YAB_SAVE_ENDING || save->step == YAB_SAVE_GIVING_BACK) {
		snprintf(text, text_size, save->step == YAB_SAVE_ENDING ?
			 "VM %s is saved: its QEMU ends here" :
			 "the save of VM %s has failed: its guest goes on here", name);
		return -1;
	}
	if (yab_save_outlives(save) && !force) {
		snprintf(text, text_size,
			 "QEMU of VM %s has ended, and its guest is lost with this: give --force if nobody will ever want it",
			 name);
		return -1;
	}
	snprintf(text, text_size, yab_save_outlives(save) ?
		 "abandoned VM %s: it is not saved, and its guest is lost" :
		 "abandoned the save of VM %s: its guest goes on here as soon as QEMU answers",
		 name);
	yab_save_fail(save, "the save was abandoned");
	return 0;
}

bool yab_saves_give_up(struct yab_saves *saves)
{
	struct yab_save *save, *next;

	for (save = LIST_FIRST(&saves->all); save; save = next) {
		next = LIST_NEXT(save, link);
		if (yab_save_outlives(save))
			continue;
		yab_save_fail(save,
			      "yabusamed is ending: save it when that has been started again");
	}
	return LIST_FIRST(&saves->all);
}
