// SPDX-License-Identifier: GPL-2.0-or-later
/* An outgoing migration that a supervisor before this one has begun. */
#include <stdio.h>
#include <string.h>

#include "image.h"
#include "log.h"
#include "outgoing_state.h"
#include "save_file.h"

/* For QEMU's monitor to answer. Where it does not, what is told is that it cannot be asked. */
#define YAB_OUTGOING_ADOPT_SECONDS	60

/*
 * A guest that was being saved. As long as its QEMU is there it may go on, and then there must be
 * no image that looks as if it could, too; after that the image, if it is there, is the guest.
 */
static void yab_outgoing_unsave(struct yab_outgoing *outgoing)
{
	const char *image = outgoing->options.destination.text;
	char text[YAB_WIRE_ERROR_MAX], left[400];

	if (outgoing->vm->qemu &&
	    yab_save_file_revoke(image, outgoing->vm->name, left, sizeof(left)))
		snprintf(text, sizeof(text),
			 "yabusamed was restarted before the guest was saved: %s", left);
	else
		snprintf(text, sizeof(text), "yabusamed was restarted before the guest was saved");
	yab_outgoing_give_back(outgoing, text, false);
}

void yab_outgoing_adopted(struct yab_outgoing *outgoing)
{
	if (yab_image_is_name(outgoing->options.destination.text)) {
		yab_outgoing_unsave(outgoing);
		return;
	}
	if (outgoing->recorded == YAB_RECORD_LEAVING) {
		yab_outgoing_give_back(outgoing,
				       "yabusamed was restarted before the destination committed",
				       false);
		return;
	}
	yab_outgoing_enter(outgoing, YAB_OUTGOING_ASKING);
	yab_outgoing_seek(outgoing, "yabusamed was restarted");
}

/* Nobody is there who could be told. */
static void yab_outgoing_adopted_progress(void *arg)
{
	(void)arg;
}

static void yab_outgoing_adopted_ended(const char *error, void *arg)
{
	(void)error;
	(void)arg;
}

static const struct yab_outgoing_ops yab_outgoing_adopted_ops = {
	.progress = yab_outgoing_adopted_progress,
	.ended = yab_outgoing_adopted_ended,
};

int yab_outgoing_adopt(struct yab_supervisor *supervisor, const struct yab_record *record,
		       struct yab_vm *vm, char *error, size_t error_size)
{
	const struct yab_record_migration *migration = &record->migration;
	const bool left = migration->state == YAB_RECORD_LEFT;
	struct yab_outgoing_options options = {
		.paused = !migration->running,
		.connections = migration->connections,
		.bandwidth = migration->bandwidth,
		.codec = migration->codec,
	};
	struct yab_outgoing *outgoing;

	/* One that was being saved goes back: nobody will be called. */
	if (yab_image_is_name(migration->peer) && migration->state == YAB_RECORD_LEAVING) {
		memcpy(options.destination.text, migration->peer, sizeof(migration->peer));
	} else if (yab_address_parse(migration->peer, &options.destination) < 0 ||
		   !migration->connections) {
		snprintf(error, error_size, "its record has no destination");
		return -1;
	}
	outgoing = yab_outgoing_new(supervisor, vm, &options,
				    left ? YAB_OUTGOING_PULLING : YAB_OUTGOING_ADOPTING,
				    &yab_outgoing_adopted_ops, NULL, error, error_size);
	if (!outgoing)
		return -1;
	outgoing->recorded = migration->state;
	outgoing->inspection.running = migration->running;
	outgoing->prepared = !yab_token_parse(migration->token, outgoing->token) &&
			     !yab_token_parse(migration->route, outgoing->route);
	memcpy(outgoing->token_text, migration->token, sizeof(outgoing->token_text));
	memcpy(outgoing->instance, migration->instance, sizeof(outgoing->instance));
	yab_log_session_begin(&outgoing->session, vm->name, migration->session);
	yab_job_set_session(outgoing->job, yab_log_session_of(vm->name));
	yab_job_enter(outgoing->job, YAB_JOB_BEGIN);
	/* Another one serves, or nobody needs it: it would hold on to the memory. */
	yab_process_kill(&migration->worker);
	/* With or without QEMU: from here on it is given back, asked for, or served. */
	if (!left)
		yab_outgoing_arm(outgoing, YAB_OUTGOING_ADOPT_SECONDS);
	if (migration->state == YAB_RECORD_LEAVING) {
		if (!vm->qemu)
			yab_outgoing_adopted(outgoing);
		return 0;
	}
	for (enum yab_job_phase phase = YAB_JOB_PREPARE; phase <= YAB_JOB_FINISH; phase++)
		yab_job_enter(outgoing->job, phase);
	yab_outage_lost(&outgoing->outage, YAB_OUTAGE_URGENT, "yabusamed was restarted", 0);
	yab_outage_watch(&outgoing->outage, vm->name, outgoing->job);
	if (vm->memory_fd < 0)
		yab_log_error(vm->name,
			      "its memory is gone with QEMU: if it runs on %s, what is missing there is lost",
			      migration->peer);
	else if (yab_outgoing_serve_again(outgoing) < 0)
		yab_log_error(vm->name,
			      "its pages cannot be served: out of memory: restart yabusamed");
	if (left) {
		yab_job_switched(outgoing->job, -1);
		yab_outgoing_seek(outgoing, "yabusamed was restarted");
	} else if (!vm->qemu) {
		yab_outgoing_adopted(outgoing);
	}
	return 0;
}
