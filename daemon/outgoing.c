// SPDX-License-Identifier: GPL-2.0-or-later
#include "outgoing.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "memory.h"
#include "outgoing_state.h"
#include "text.h"

/* Seconds that each state may take. */
#define YAB_OUTGOING_PREPARE_SECONDS	75
#define YAB_OUTGOING_LINK_SECONDS	30
#define YAB_OUTGOING_STALL_SECONDS	60	/* without a byte of device state */
#define YAB_OUTGOING_LOAD_SECONDS	90
#define YAB_OUTGOING_FINISH_SECONDS	60
#define YAB_OUTGOING_QUIT_SECONDS	5

static void yab_outgoing_perform(struct yab_outgoing *outgoing);
static void yab_outgoing_confirm(struct yab_outgoing *outgoing);

static void yab_outgoing_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct yab_outgoing *outgoing = arg;
	const char *host = outgoing->options.destination.text;
	uint64_t bytes;

	(void)fd;
	(void)what;
	if (outgoing->error[0] && yab_outgoing_revocable(outgoing)) {
		yab_outgoing_fail(outgoing, "%s", outgoing->error);
		return;
	}
	switch (outgoing->state) {
	case YAB_OUTGOING_PREPARING:
		yab_outgoing_fail(outgoing, "%s did not get ready for %d s: see its log", host,
				  YAB_OUTGOING_PREPARE_SECONDS);
		break;
	case YAB_OUTGOING_LINKING:
		yab_outgoing_fail(outgoing, "no page connections to %s for %d s: check the network",
				  host, YAB_OUTGOING_LINK_SECONDS);
		break;
	case YAB_OUTGOING_MOVING:
		bytes = yab_transfer_bytes(outgoing->transfer);
		if (bytes == outgoing->bytes_seen) {
			yab_outgoing_fail(outgoing,
					  "no device state moved for %d s: check the network",
					  YAB_OUTGOING_STALL_SECONDS);
			break;
		}
		outgoing->bytes_seen = bytes;
		yab_outgoing_arm(outgoing, YAB_OUTGOING_STALL_SECONDS);
		break;
	case YAB_OUTGOING_LOADING:
		yab_outgoing_fail(outgoing,
				  "%s did not load the device state for %d s: see its log", host,
				  YAB_OUTGOING_LOAD_SECONDS);
		break;
	case YAB_OUTGOING_COMMITTING:
		yab_contact_close(outgoing->contact);
		yab_outgoing_seek(outgoing, "no answer to the commit");
		break;
	case YAB_OUTGOING_ADOPTING:
		yab_outgoing_adopted(outgoing);
		break;
	case YAB_OUTGOING_CONFIRMING:
		if (outgoing->vm->qemu)
			yab_qemu_kill(outgoing->vm->qemu);
		break;
	case YAB_OUTGOING_GIVING_BACK:
		/* It notices by itself when the connection closes. */
		outgoing->aborting = false;
		yab_contact_close(outgoing->contact);
		yab_outgoing_returned(outgoing);
		break;
	default:
		break;
	}
}

static void yab_outgoing_prepare(struct yab_outgoing *outgoing)
{
	struct yab_inspection *inspection = &outgoing->inspection;
	struct yab_vm *vm = outgoing->vm;
	json_t *cookie, *call;

	cookie = json_pack("{s:i, s:s, s:I, s:i, s:s, s:I}", "protocol", YAB_WIRE_VERSION, "vm",
			   vm->name, "memory", (json_int_t)vm->description->memory, "page_size",
			   YAB_WIRE_PAGE_SIZE, "qemu", inspection->qemu, "used",
			   (json_int_t)yab_memory_used(vm->memory_fd));
	if (outgoing->options.bandwidth)
		json_object_set_new(cookie, "bandwidth",
				    json_integer((json_int_t)outgoing->options.bandwidth));
	if (outgoing->options.codec != YAB_CODEC_NONE)
		json_object_set_new(cookie, "codecs",
				    json_pack("[s]", yab_codec_name(outgoing->options.codec)));
	if (outgoing->options.verify)
		json_object_set_new(cookie, "verify", json_true());
	if (inspection->uuid[0])
		json_object_set_new(cookie, "uuid", json_string(inspection->uuid));
	call = json_pack("{s:s, s:o}", "call", "prepare", "cookie", cookie);
	yab_outgoing_enter(outgoing, YAB_OUTGOING_PREPARING);
	yab_outgoing_arm(outgoing, YAB_OUTGOING_PREPARE_SECONDS);
	yab_outgoing_phase(outgoing, YAB_JOB_PREPARE);
	if (yab_outgoing_call(outgoing, call) < 0)
		yab_outgoing_fail(outgoing, "cannot call %s: %s",
				  outgoing->options.destination.text, strerror(errno));
	else
		yab_outgoing_watch(outgoing);
}

/* Asks what became of the session, and takes it up where it goes on. */
static void yab_outgoing_attach(struct yab_outgoing *outgoing)
{
	json_t *call = json_pack("{s:s, s:s, s:s}", "call", "attach", "token",
				 outgoing->token_text, "instance", outgoing->instance);

	if (yab_outgoing_call(outgoing, call) < 0)
		yab_outgoing_seek(outgoing, strerror(errno));
}

static void yab_outgoing_open(void *arg)
{
	struct yab_outgoing *outgoing = arg;

	if (outgoing->state == YAB_OUTGOING_CONNECTING)
		yab_outgoing_prepare(outgoing);
	else
		yab_outgoing_attach(outgoing);
}

static void yab_outgoing_lost(const char *error, bool answered, void *arg)
{
	struct yab_outgoing *outgoing = arg;
	char text[YAB_WIRE_ERROR_MAX];

	if (answered)
		snprintf(text, sizeof(text), "%.270s: %.230s",
			 outgoing->options.destination.text, error);
	else
		snprintf(text, sizeof(text), "%s", error);
	switch (outgoing->state) {
	case YAB_OUTGOING_GIVING_BACK:
		outgoing->aborting = false;
		yab_outgoing_returned(outgoing);
		break;
	case YAB_OUTGOING_COMMITTING:
		/* An ERROR to this call promises that the destination's QEMU is gone. */
		if (answered)
			yab_outgoing_give_back(outgoing, text, false);
		else
			yab_outgoing_seek(outgoing, text);
		break;
	case YAB_OUTGOING_ASKING:
	case YAB_OUTGOING_PULLING:
		yab_outgoing_seek(outgoing, text);
		break;
	case YAB_OUTGOING_ADOPTING:
	case YAB_OUTGOING_CONFIRMING:
	case YAB_OUTGOING_STRANDED:
		break;
	default:
		yab_outgoing_fail(outgoing, "%s", text);
		break;
	}
}

static void yab_outgoing_drained(void *arg)
{
	struct yab_outgoing *outgoing = arg;

	if (outgoing->transfer)
		yab_transfer_drained(outgoing->transfer);
}

/* The destination has the guest: from here on everything is for its pages. */
static void yab_outgoing_pull(struct yab_outgoing *outgoing, int64_t downtime_us)
{
	yab_outgoing_enter(outgoing, YAB_OUTGOING_PULLING);
	yab_outgoing_note(outgoing, YAB_RECORD_LEFT);
	yab_contact_settled(outgoing->contact);
	yab_outage_found(&outgoing->outage, YAB_OUTAGE_CONTROL);
	yab_job_warn(outgoing->job, NULL);
	yab_job_switched(outgoing->job, downtime_us);
	yab_log_info(outgoing->vm->name, "is on %s now; its pages follow",
		     outgoing->options.destination.text);
	outgoing->ops->progress(outgoing->arg);
}

static void yab_outgoing_reply_prepare(struct yab_outgoing *outgoing, json_t *cookie)
{
	const char *token = json_string_value(json_object_get(cookie, "token"));
	const char *route = json_string_value(json_object_get(cookie, "route"));
	const char *instance = json_string_value(json_object_get(cookie, "instance"));
	const char *session = json_string_value(json_object_get(cookie, "session"));
	const enum yab_codec_kind codec =
		yab_codec_named(json_string_value(json_object_get(cookie, "codec")));
	uint8_t unused[YAB_WIRE_TOKEN_SIZE];

	/* It takes the codec that was offered, or none. */
	if (yab_token_parse(token, outgoing->token) < 0 ||
	    yab_token_parse(route, outgoing->route) < 0 ||
	    yab_token_parse(instance, unused) < 0 ||
	    (codec != YAB_CODEC_NONE && codec != outgoing->options.codec)) {
		yab_outgoing_fail(outgoing,
				  "%s answered Prepare with nonsense: install the same yabusame on both",
				  outgoing->options.destination.text);
		return;
	}
	if (outgoing->options.verify && !json_is_true(json_object_get(cookie, "verify"))) {
		yab_outgoing_fail(outgoing,
				  "%s does not know --verify: install the same yabusame on both, or leave it out",
				  outgoing->options.destination.text);
		return;
	}
	snprintf(outgoing->token_text, sizeof(outgoing->token_text), "%s", token);
	snprintf(outgoing->instance, sizeof(outgoing->instance), "%s", instance);
	yab_log_session_begin(&outgoing->session, outgoing->vm->name, session);
	yab_job_set_session(outgoing->job, yab_log_session_of(outgoing->vm->name));
	if (outgoing->options.codec != codec)
		yab_log_info(outgoing->vm->name, "%s does not know %s: pages are sent as they are",
			     outgoing->options.destination.text,
			     yab_codec_name(outgoing->options.codec));
	outgoing->options.codec = codec;
	outgoing->prepared = true;
	outgoing->hints_max = json_integer_value(json_object_get(cookie, "hints"));
	if (outgoing->hints_max <= 0)
		yab_outgoing_unwatch(outgoing);
	yab_outgoing_perform(outgoing);
}

static void yab_outgoing_reply_finish(struct yab_outgoing *outgoing)
{
	int64_t downtime = -1;

	if (outgoing->stopped_us && !outgoing->options.paused)
		downtime = yab_clock_us() - outgoing->stopped_us;
	yab_outgoing_pull(outgoing, downtime);
}

/* The destination knows nothing of the session, or that its guest is no more. */
static void yab_outgoing_give_up(struct yab_outgoing *outgoing, const char *gone)
{
	const char *host = outgoing->options.destination.text, *name = outgoing->vm->name;
	char error[YAB_WIRE_ERROR_MAX];

	if (gone)
		snprintf(error, sizeof(error),
			 "%.120s says that %s is gone there (%.140s): its memory stays here until 'yabctl abandon %s'",
			 host, name, gone, name);
	else
		snprintf(error, sizeof(error),
			 "yabusamed on %.120s was restarted and does not know whether %s runs there: see for yourself; its memory stays here and is served until 'yabctl abandon %s'",
			 host, name, name);
	yab_outgoing_strand(outgoing, error);
}

void yab_outgoing_reply_attach(struct yab_outgoing *outgoing, json_t *json)
{
	const char *state = json_string_value(json_object_get(json, "state"));
	const char *error = json_string_value(json_object_get(json, "error"));
	char gone[YAB_WIRE_ERROR_MAX];

	if (state && !strcmp(state, "committed")) {
		if (outgoing->state == YAB_OUTGOING_ASKING) {
			yab_outgoing_pull(outgoing, -1);
			return;
		}
		yab_contact_settled(outgoing->contact);
		yab_outage_found(&outgoing->outage, YAB_OUTAGE_CONTROL);
		yab_job_warn(outgoing->job, NULL);
		outgoing->ops->progress(outgoing->arg);
	} else if (state && !strcmp(state, "unknown") &&
		   outgoing->state == YAB_OUTGOING_ASKING) {
		yab_outgoing_give_back(outgoing,
				       "the connection was lost before the destination committed",
				       false);
	} else if (state && !strcmp(state, "gone")) {
		snprintf(gone, sizeof(gone), "%s", error ? error : "it does not say why");
		yab_text_tame(gone);
		yab_outgoing_give_up(outgoing, gone);
	} else {
		yab_outgoing_give_up(outgoing, NULL);
	}
}

static void yab_outgoing_reply(struct yab_outgoing *outgoing, json_t *json)
{
	const char *name = json_string_value(json_object_get(json, "reply"));
	bool attach = name && !strcmp(name, "attach");

	if (!name)
		name = "";
	if (outgoing->state == YAB_OUTGOING_GIVING_BACK) {
		/* An answer to Prepare may still come before that to the abort. */
		if (strcmp(name, "abort"))
			return;
		outgoing->aborting = false;
		evtimer_del(outgoing->deadline);
		yab_outgoing_returned(outgoing);
	} else if (outgoing->state == YAB_OUTGOING_PREPARING && !strcmp(name, "prepare")) {
		yab_outgoing_reply_prepare(outgoing, json_object_get(json, "cookie"));
	} else if (outgoing->state == YAB_OUTGOING_COMMITTING && !strcmp(name, "finish")) {
		yab_outgoing_reply_finish(outgoing);
	} else if ((outgoing->state == YAB_OUTGOING_ASKING ||
		    outgoing->state == YAB_OUTGOING_PULLING) && attach) {
		yab_outgoing_reply_attach(outgoing, json);
	} else {
		yab_log_warn(outgoing->vm->name, "%s answered \"%.32s\", which nobody asked",
			     outgoing->options.destination.text, name);
	}
}

/* Finish: everything is there. What is handed over here cannot be taken back. */
static void yab_outgoing_commit(struct yab_outgoing *outgoing)
{
	char error[YAB_WIRE_ERROR_MAX];
	json_t *cookie, *call;

	if (outgoing->state != YAB_OUTGOING_LOADING || !outgoing->loaded || outgoing->error[0])
		return;
	if (yab_outgoing_promise(outgoing, YAB_RECORD_ASKED, error, sizeof(error)) < 0) {
		yab_outgoing_fail(outgoing, "%s", error);
		return;
	}
	cookie = json_pack("{s:b, s:I}", "paused", outgoing->options.paused, "pages",
			   (json_int_t)outgoing->vm->pages);
	call = json_pack("{s:s, s:s, s:o}", "call", "finish", "token", outgoing->token_text,
			 "cookie", cookie);
	yab_outgoing_phase(outgoing, YAB_JOB_FINISH);
	if (yab_outgoing_call(outgoing, call) < 0) {
		yab_outgoing_fail(outgoing, "cannot call %s: %s",
				  outgoing->options.destination.text, strerror(errno));
		return;
	}
	yab_outgoing_enter(outgoing, YAB_OUTGOING_COMMITTING);
	yab_outgoing_arm(outgoing, YAB_OUTGOING_FINISH_SECONDS);
	yab_supply_persist(outgoing->supply);
	yab_outage_watch(&outgoing->outage, outgoing->vm->name, outgoing->job);
	/* Not before: this is the first moment that nobody waits for us. */
	yab_dirty_log_read(outgoing->dirty);
}

static void yab_outgoing_complete(struct yab_outgoing *outgoing, json_t *event)
{
	json_int_t present = json_integer_value(json_object_get(event, "present"));
	json_int_t pages = json_integer_value(json_object_get(event, "pages"));
	char warning[YAB_WIRE_ERROR_MAX];

	if (outgoing->state != YAB_OUTGOING_PULLING)
		return;
	if (present == (json_int_t)outgoing->vm->pages && pages == present) {
		if (yab_outgoing_verified(outgoing, json_object_get(event, "statistics")))
			yab_outgoing_confirm(outgoing);
		return;
	}
	/* Never the last word on memory that is not accounted for. */
	snprintf(warning, sizeof(warning),
		 "%.270s says it is complete with %lld of %lld pages, but there are %lld here: the memory stays; report this",
		 outgoing->options.destination.text, (long long)present, (long long)pages,
		 (long long)outgoing->vm->pages);
	yab_log_error(outgoing->vm->name, "%s", warning);
	yab_job_warn(outgoing->job, warning);
	outgoing->ops->progress(outgoing->arg);
}

static void yab_outgoing_event(struct yab_outgoing *outgoing, json_t *json)
{
	const char *name = json_string_value(json_object_get(json, "event"));
	const char *error = json_string_value(json_object_get(json, "error"));
	const char *role = json_string_value(json_object_get(json, "role"));
	json_int_t index = json_integer_value(json_object_get(json, "index"));
	json_int_t number = json_integer_value(json_object_get(json, "number"));
	json_t *statistics = json_object_get(json, "statistics");

	if (!name)
		name = "";
	if (json_is_object(statistics)) {
		yab_job_statistics(outgoing->job, YAB_JOB_DESTINATION, statistics);
		outgoing->ops->progress(outgoing->arg);
	}
	if (!strcmp(name, "loaded")) {
		outgoing->loaded = true;
		yab_outgoing_commit(outgoing);
	} else if (!strcmp(name, "lost") && outgoing->supply) {
		yab_supply_relink(outgoing->supply, yab_wire_role_named(role), index,
				  number);
	} else if (!strcmp(name, "complete")) {
		yab_outgoing_complete(outgoing, json);
	} else if (!strcmp(name, "interrupted")) {
		yab_job_warn(outgoing->job, error ? error : "the destination is interrupted");
		outgoing->ops->progress(outgoing->arg);
	} else if (strcmp(name, "statistics")) {
		yab_log_debug(outgoing->vm->name, "event \"%.32s\" is not known here", name);
	}
}

static void yab_outgoing_message(enum yab_wire_type type, json_t *json, void *arg)
{
	struct yab_outgoing *outgoing = arg;

	if (type == YAB_WIRE_REPLY)
		yab_outgoing_reply(outgoing, json);
	else if (type == YAB_WIRE_EVENT && outgoing->state != YAB_OUTGOING_GIVING_BACK)
		yab_outgoing_event(outgoing, json);
}

const struct yab_contact_ops yab_outgoing_contact_ops = {
	.open = yab_outgoing_open,
	.message = yab_outgoing_message,
	.drained = yab_outgoing_drained,
	.lost = yab_outgoing_lost,
};

static void yab_outgoing_stopped(void *arg)
{
	struct yab_outgoing *outgoing = arg;

	outgoing->stopped_us = yab_clock_us();
}

/* The page service starts now: devices that the destination loads touch memory. */
static void yab_outgoing_final(void *arg)
{
	struct yab_outgoing *outgoing = arg;

	/* Without a page service the guest stays here. */
	if (outgoing->error[0])
		return;
	if (yab_supply_serve(outgoing->supply) < 0)
		yab_outgoing_fail(outgoing, "the page worker does not answer: %s",
				  strerror(errno));
	else if (yab_transfer_go_on(outgoing->transfer) < 0)
		yab_outgoing_fail(outgoing, "QEMU's monitor cannot be asked: %s",
				  strerror(errno));
}

static void yab_outgoing_written(void *arg)
{
	struct yab_outgoing *outgoing = arg;

	yab_outgoing_enter(outgoing, YAB_OUTGOING_LOADING);
	yab_outgoing_arm(outgoing, YAB_OUTGOING_LOAD_SECONDS);
	yab_outgoing_commit(outgoing);
}

static void yab_outgoing_transfer_failed(const char *error, void *arg)
{
	struct yab_outgoing *outgoing = arg;

	/* What QEMU still says after the commit changes nothing. */
	if (outgoing->state == YAB_OUTGOING_MOVING)
		yab_outgoing_fail(outgoing, "%s", error);
}

static const struct yab_transfer_ops yab_outgoing_transfer_ops = {
	.stopped = yab_outgoing_stopped,
	.final = yab_outgoing_final,
	.written = yab_outgoing_written,
	.failed = yab_outgoing_transfer_failed,
};

static void yab_outgoing_vm_event(const char *name, json_t *data, void *arg)
{
	struct yab_outgoing *outgoing = arg;

	if (outgoing->transfer)
		yab_transfer_event(outgoing->transfer, name, data);
}

/* Everybody is done: the destination may forget the session, too. */
static void yab_outgoing_confirmed(struct yab_outgoing *outgoing)
{
	json_t *call = json_pack("{s:s, s:s}", "call", "confirm", "token", outgoing->token_text);

	/* Once the destination has forgotten the session we must not ask about it. */
	yab_outgoing_note(outgoing, YAB_RECORD_NONE);
	if (yab_outgoing_call(outgoing, call) < 0)
		yab_log_debug(outgoing->vm->name, "%s was not told of the end",
			      outgoing->options.destination.text);
	yab_log_info(outgoing->vm->name, "has left for %s", outgoing->options.destination.text);
	yab_outgoing_end(outgoing, NULL);
}

static void yab_outgoing_vm_exited(const char *why, void *arg)
{
	struct yab_outgoing *outgoing = arg;
	struct yab_vm *vm = outgoing->vm;

	switch (outgoing->state) {
	case YAB_OUTGOING_CONFIRMING:
		yab_outgoing_confirmed(outgoing);
		break;
	case YAB_OUTGOING_COMMITTING:
	case YAB_OUTGOING_ASKING:
	case YAB_OUTGOING_PULLING:
		/* Its memory is in our file. */
		yab_log_warn(vm->name, "%s; its pages are served all the same", why);
		break;
	case YAB_OUTGOING_STRANDED:
		/* The only copy of its memory may be ours, unless somebody says otherwise. */
		if (!vm->done) {
			yab_log_warn(vm->name, "%s; its pages are served until yabctl abandon",
				     why);
			break;
		}
		vm->hooks = NULL;
		yab_outgoing_note(outgoing, YAB_RECORD_NONE);
		yab_outgoing_free(outgoing);
		yab_vm_remove(vm);
		break;
	case YAB_OUTGOING_ADOPTING:
		yab_outgoing_adopted(outgoing);
		break;
	case YAB_OUTGOING_GIVING_BACK:
		snprintf(outgoing->error, sizeof(outgoing->error), "VM %s is gone: %.400s",
			 vm->name, why);
		break;
	default:
		yab_outgoing_fail(outgoing, "%s", why);
		break;
	}
}

static void yab_outgoing_vm_ready(void *arg)
{
	struct yab_outgoing *outgoing = arg;

	if (outgoing->state == YAB_OUTGOING_ADOPTING)
		yab_outgoing_adopted(outgoing);
}

static const struct yab_vm_hooks yab_outgoing_hooks = {
	.ready = yab_outgoing_vm_ready,
	.event = yab_outgoing_vm_event,
	.exited = yab_outgoing_vm_exited,
};

/* The page connections stand: QEMU may write. */
static void yab_outgoing_linked(void *arg)
{
	struct yab_outgoing *outgoing = arg;
	struct yab_peer *peer = yab_contact_peer(outgoing->contact);
	char error[YAB_WIRE_ERROR_MAX] = "the control connection is lost";

	if (peer)
		outgoing->transfer = yab_transfer_new(outgoing->supervisor->base, outgoing->vm,
						      peer, &yab_outgoing_transfer_ops, outgoing,
						      error, sizeof(error));
	if (!outgoing->transfer) {
		yab_outgoing_fail(outgoing, "%s", error);
		return;
	}
	yab_outgoing_enter(outgoing, YAB_OUTGOING_MOVING);
	yab_outgoing_arm(outgoing, YAB_OUTGOING_STALL_SECONDS);
}

static void yab_outgoing_statistics(json_t *statistics, void *arg)
{
	struct yab_outgoing *outgoing = arg;

	if (outgoing->state == YAB_OUTGOING_STRANDED)
		return;
	yab_job_statistics(outgoing->job, YAB_JOB_SOURCE, statistics);
	outgoing->ops->progress(outgoing->arg);
}

static void yab_outgoing_urgent(const char *error, int64_t next_try_us, void *arg)
{
	struct yab_outgoing *outgoing = arg;

	if (outgoing->state == YAB_OUTGOING_STRANDED)
		return;
	if (error) {
		yab_outage_lost(&outgoing->outage, YAB_OUTAGE_URGENT, error, next_try_us);
	} else {
		yab_outage_found(&outgoing->outage, YAB_OUTAGE_URGENT);
		/* That the destination was interrupted is history by now. */
		if (outgoing->state == YAB_OUTGOING_PULLING)
			yab_job_warn(outgoing->job, NULL);
	}
	outgoing->ops->progress(outgoing->arg);
}

static void yab_outgoing_supply_failed(const char *error, void *arg)
{
	yab_outgoing_doubt(arg, error);
}

static void yab_outgoing_worker(pid_t pid, void *arg)
{
	struct yab_outgoing *outgoing = arg;

	outgoing->worker = yab_process_of(pid);
	yab_outgoing_note(outgoing, outgoing->recorded);
}

static const struct yab_supply_ops yab_outgoing_supply_ops = {
	.worker = yab_outgoing_worker,
	.linked = yab_outgoing_linked,
	.urgent = yab_outgoing_urgent,
	.statistics = yab_outgoing_statistics,
	.failed = yab_outgoing_supply_failed,
};

static void yab_outgoing_terms(const struct yab_outgoing *outgoing,
			       struct yab_supply_terms *terms)
{
	*terms = (struct yab_supply_terms){
		.base = outgoing->supervisor->base,
		.dns = outgoing->supervisor->dns,
		.vm = outgoing->vm->name,
		.memory_fd = outgoing->vm->memory_fd,
		.pages = outgoing->vm->pages,
		.address = &outgoing->options.destination,
		.security = &outgoing->supervisor->security,
		.route = outgoing->route,
		.token = outgoing->token,
		.bulks = outgoing->options.connections,
		.codec = outgoing->options.codec,
	};
}

int yab_outgoing_serve_again(struct yab_outgoing *outgoing)
{
	struct yab_supply_terms terms;

	yab_outgoing_terms(outgoing, &terms);
	outgoing->supply = yab_supply_adopt(&terms, &yab_outgoing_supply_ops, outgoing);
	return outgoing->supply ? 0 : -1;
}

/* Perform: the page service first, then QEMU's migration (yab_outgoing_linked()). */
static void yab_outgoing_perform(struct yab_outgoing *outgoing)
{
	struct yab_supply_terms terms;
	char error[YAB_WIRE_ERROR_MAX];

	yab_outgoing_phase(outgoing, YAB_JOB_PERFORM);
	yab_outgoing_enter(outgoing, YAB_OUTGOING_LINKING);
	yab_outgoing_arm(outgoing, YAB_OUTGOING_LINK_SECONDS);
	yab_outgoing_terms(outgoing, &terms);
	outgoing->supply = yab_supply_new(&terms, &yab_outgoing_supply_ops, outgoing, error,
					  sizeof(error));
	if (!outgoing->supply)
		yab_outgoing_fail(outgoing, "%s", error);
}

static void yab_outgoing_quitting(json_t *results, const char *error, void *arg)
{
	(void)results;
	(void)error;
	(void)arg;	/* its exit or the deadline tells */
}

/* Confirm: the destination has every page, the source's QEMU may end. */
static void yab_outgoing_confirm(struct yab_outgoing *outgoing)
{
	struct yab_vm *vm = outgoing->vm;
	struct yab_qmp *qmp = yab_vm_qmp(vm);

	yab_outgoing_enter(outgoing, YAB_OUTGOING_CONFIRMING);
	yab_outage_end(&outgoing->outage);
	yab_outgoing_phase(outgoing, YAB_JOB_CONFIRM);
	/* It may hold the region, which ends with QEMU. */
	yab_outgoing_unwatch(outgoing);
	yab_supply_free(outgoing->supply, false);
	outgoing->supply = NULL;
	if (!vm->qemu) {
		yab_outgoing_confirmed(outgoing);
		return;
	}
	yab_outgoing_arm(outgoing, YAB_OUTGOING_QUIT_SECONDS);
	if (!qmp || yab_qmp_call(qmp, "quit", NULL, -1, yab_outgoing_quitting, NULL) < 0)
		yab_qemu_kill(vm->qemu);
}

static void yab_outgoing_checked(const struct yab_inspection *inspection, const char *error,
				 void *arg)
{
	struct yab_outgoing *outgoing = arg;
	char failure[YAB_WIRE_ERROR_MAX];

	if (outgoing->state != YAB_OUTGOING_CHECKING)
		return;
	if (error) {
		yab_outgoing_fail(outgoing, "%s", error);
		return;
	}
	outgoing->inspection = *inspection;
	if (!inspection->running)
		outgoing->options.paused = true;
	/* From here on QEMU is no longer as it was, and must be given back. */
	if (yab_outgoing_promise(outgoing, YAB_RECORD_LEAVING, failure, sizeof(failure)) < 0) {
		yab_outgoing_fail(outgoing, "%s", failure);
		return;
	}
	yab_outgoing_enter(outgoing, YAB_OUTGOING_CONNECTING);
	yab_contact_open(outgoing->contact);
}

struct yab_outgoing *yab_outgoing_new(struct yab_supervisor *supervisor, struct yab_vm *vm,
				      const struct yab_outgoing_options *options,
				      enum yab_outgoing_state state,
				      const struct yab_outgoing_ops *ops, void *arg, char *error,
				      size_t error_size)
{
	struct yab_outgoing *outgoing = calloc(1, sizeof(*outgoing));

	snprintf(error, error_size, "out of memory");
	if (!outgoing)
		return NULL;
	outgoing->supervisor = supervisor;
	outgoing->vm = vm;
	outgoing->options = *options;
	outgoing->state = state;
	outgoing->ops = ops;
	outgoing->arg = arg;
	outgoing->deadline = evtimer_new(supervisor->base, yab_outgoing_deadline, outgoing);
	if (!outgoing->deadline)
		goto err_outgoing;
	outgoing->contact = yab_contact_new(supervisor->base, supervisor->dns,
					    &outgoing->options.destination,
					    &supervisor->security, &yab_outgoing_contact_ops,
					    outgoing);
	if (!outgoing->contact)
		goto err_deadline;
	outgoing->job = yab_job_start(supervisor->jobs, vm->name, YAB_JOB_OUTGOING,
				      options->destination.text, vm->pages);
	if (!outgoing->job) {
		if (errno == EBUSY)
			snprintf(error, error_size,
				 "the last migration of VM %s is still under way: see yabctl jobinfo %s",
				 vm->name, vm->name);
		goto err_contact;
	}
	LIST_INSERT_HEAD(&supervisor->outgoings->all, outgoing, link);
	vm->hooks = &yab_outgoing_hooks;
	vm->hooks_arg = outgoing;
	return outgoing;

err_contact:
	yab_contact_free(outgoing->contact);
err_deadline:
	event_free(outgoing->deadline);
err_outgoing:
	free(outgoing);
	return NULL;
}

int yab_outgoing_begin(struct yab_supervisor *supervisor, const char *name,
		       const struct yab_outgoing_options *options,
		       const struct yab_outgoing_ops *ops, void *arg, char *error,
		       size_t error_size)
{
	struct yab_vm *vm = yab_outgoing_candidate(supervisor, name, error, error_size);
	struct yab_outgoing *outgoing;

	if (!vm)
		return -1;
	outgoing = yab_outgoing_new(supervisor, vm, options, YAB_OUTGOING_CHECKING, ops, arg,
				    error, error_size);
	if (!outgoing)
		return -1;
	outgoing->inspection.running = vm->state == YAB_VM_RUNNING;
	if (yab_inspect(vm, yab_outgoing_checked, outgoing) < 0) {
		snprintf(error, error_size, "QEMU's monitor of VM %s cannot be asked: %s", name,
			 strerror(errno));
		yab_job_end(outgoing->job, error);
		vm->hooks = NULL;
		yab_outgoing_free(outgoing);
		return -1;
	}
	yab_vm_enter(vm, YAB_VM_OUTGOING);
	yab_outgoing_phase(outgoing, YAB_JOB_BEGIN);
	return 0;
}
