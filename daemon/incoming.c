// SPDX-License-Identifier: GPL-2.0-or-later
#include "incoming.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capabilities.h"
#include "child.h"
#include "handshake.h"
#include "headroom.h"
#include "hints.h"
#include "image.h"
#include "incoming_state.h"
#include "outage.h"
#include "region.h"

#define YAB_INCOMING_START_SECONDS	60	/* until QEMU waits for device state */
#define YAB_INCOMING_STALL_SECONDS	300	/* without a byte of it, or a call */
#define YAB_INCOMING_FAIL_MS		500	/* for a QEMU that failed to say why */
#define YAB_INCOMING_QMP_STEPS		3	/* of yab_incoming_vm_ready() */
/* Sessions that no source has confirmed; more are refused. */
#define YAB_INCOMINGS_MAX		1024

const uint8_t *yab_incoming_token(const struct yab_incoming *incoming)
{
	return incoming->token;
}

static void yab_incoming_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct yab_incoming *incoming = arg;
	uint64_t bytes;

	(void)fd;
	(void)what;
	if (incoming->step == YAB_INCOMING_STARTING) {
		yab_incoming_undo(incoming, "QEMU did not get ready in time");
	} else if (incoming->failed) {
		yab_incoming_undo(incoming, "QEMU could not load the device state");
	} else if (incoming->step == YAB_INCOMING_PREPARED) {
		bytes = yab_stream_bytes(incoming->stream);
		if (bytes == incoming->bytes_seen) {
			yab_incoming_undo(incoming, "the source sends nothing any more");
			return;
		}
		incoming->bytes_seen = bytes;
		yab_incoming_arm(incoming, YAB_INCOMING_STALL_SECONDS * 1000);
	} else if (incoming->step == YAB_INCOMING_LOADED) {
		yab_incoming_undo(incoming, "the source does not commit");
	} else if (incoming->step == YAB_INCOMING_ADOPTING) {
		yab_incoming_go(incoming);
	}
}

static void yab_incoming_interrupted(const char *error, void *arg)
{
	struct yab_incoming *incoming = arg;

	if (yab_incoming_revocable(incoming)) {
		yab_incoming_undo(incoming, error);
		return;
	}
	yab_outage_lost(&incoming->outage, YAB_OUTAGE_URGENT, error, 0);
	yab_incoming_event(incoming, json_pack("{s:s, s:s}", "event", "interrupted", "error",
					       error));
}

static void yab_incoming_demand_ended(void *arg)
{
	struct yab_incoming *incoming = arg;

	if (incoming->step == YAB_INCOMING_UNDOING)
		yab_incoming_undone(incoming);
}

static void yab_incoming_statistics(json_t *statistics, void *arg)
{
	struct yab_incoming *incoming = arg;

	json_decref(incoming->statistics);
	incoming->statistics = json_incref(statistics);
	if (incoming->job)
		yab_job_statistics(incoming->job, YAB_JOB_DESTINATION, statistics);
	if (incoming->caller)
		yab_caller_hint(incoming->caller, json_pack("{s:s, s:O}", "event", "statistics",
							    "statistics", statistics));
}

static void yab_incoming_opened(enum yab_wire_role role, void *arg)
{
	struct yab_incoming *incoming = arg;

	if (role == YAB_WIRE_URGENT)
		yab_outage_found(&incoming->outage, YAB_OUTAGE_URGENT);
}

static void yab_incoming_lost(enum yab_wire_role role, unsigned int index, uint32_t number,
			      const char *error, void *arg)
{
	struct yab_incoming *incoming = arg;

	if (role == YAB_WIRE_URGENT)
		yab_outage_lost(&incoming->outage, YAB_OUTAGE_URGENT, error, 0);
	yab_incoming_event(incoming, json_pack("{s:s, s:s, s:i, s:I}", "event", "lost", "role",
					       yab_wire_role_name(role), "index", (int)index,
					       "number", (json_int_t)number));
}

static void yab_incoming_region_gone(const char *error, void *arg)
{
	struct yab_incoming *incoming = arg;
	char text[YAB_WIRE_ERROR_MAX];

	/* Its QEMU cannot run without, and its end is told by yab_incoming_vm_exited(). */
	if (incoming->step == YAB_INCOMING_ADOPTING || incoming->step == YAB_INCOMING_CONTINUING)
		yab_qemu_kill(incoming->vm->qemu);
	/* While committing, QEMU's own end decides, or yab_incoming_committed(). */
	if (incoming->step != YAB_INCOMING_PULLING)
		return;
	snprintf(text, sizeof(text), "its guest is gone before all its pages had come: %.300s",
		 error);
	yab_incoming_forsake(incoming, text);
}

static void yab_incoming_demand_complete(void *arg)
{
	struct yab_incoming *incoming = arg;

	incoming->complete = true;
	yab_incoming_completed(incoming);
}

static void yab_incoming_worker(pid_t pid, void *arg)
{
	struct yab_incoming *incoming = arg;

	incoming->worker = yab_process_of(pid);
	yab_incoming_note(incoming, incoming->recorded);
}

static const struct yab_demand_ops yab_incoming_demand_ops = {
	.worker = yab_incoming_worker,
	.statistics = yab_incoming_statistics,
	.open = yab_incoming_opened,
	.gone = yab_incoming_region_gone,
	.lost = yab_incoming_lost,
	.interrupted = yab_incoming_interrupted,
	.complete = yab_incoming_demand_complete,
	.ended = yab_incoming_demand_ended,
};

static void yab_incoming_waiting(json_t *results, const char *error, void *arg)
{
	struct yab_incoming *incoming = arg;
	char route[YAB_TOKEN_TEXT_SIZE];
	json_t *cookie;

	(void)results;
	if (incoming->step != YAB_INCOMING_STARTING)
		return;
	if (error) {
		yab_incoming_undo(incoming, error);
		return;
	}
	yab_incoming_enter(incoming, YAB_INCOMING_PREPARED);
	yab_incoming_arm(incoming, YAB_INCOMING_STALL_SECONDS * 1000);
	yab_token_print(incoming->route, route);
	cookie = json_pack("{s:s, s:s, s:s, s:s, s:s*, s:i, s:b}", "token", incoming->token_text,
			   "route", route, "instance", incoming->supervisor->instance, "codec",
			   yab_codec_name(incoming->codec), "session",
			   yab_log_session_of(incoming->name), "hints", YAB_HINTS_MAX,
			   "verify", incoming->verify);
	yab_caller_reply(incoming->caller, json_pack("{s:s, s:o}", "reply", "prepare", "cookie",
						     cookie));
}

/* QEMU is up: it is told where its device state comes from. */
static void yab_incoming_vm_ready(void *arg)
{
	struct yab_qmp_step steps[YAB_INCOMING_QMP_STEPS] = {
		{ .command = "migrate-set-capabilities", .fd = -1 },
		{ .command = "getfd" },
		{ .command = "migrate-incoming", .fd = -1 },
	};
	struct yab_incoming *incoming = arg;
	int qemu_fd, result;

	if (incoming->step == YAB_INCOMING_ADOPTING) {
		yab_incoming_go(incoming);
		return;
	}
	if (incoming->step != YAB_INCOMING_STARTING || incoming->stream)
		return;
	incoming->stream = yab_stream_new_writer(incoming->supervisor->base,
						 yab_caller_peer(incoming->caller), &qemu_fd);
	if (!incoming->stream) {
		yab_incoming_undo(incoming, "no way for the device state: out of memory");
		return;
	}
	steps[0].arguments = yab_capabilities(false, true);
	steps[1].arguments = json_pack("{s:s}", "fdname", "yabusame");
	steps[1].fd = qemu_fd;
	steps[2].arguments = json_pack("{s:s}", "uri", "fd:yabusame");
	result = yab_qmp_run(yab_vm_qmp(incoming->vm), steps, YAB_INCOMING_QMP_STEPS,
			     yab_incoming_waiting, incoming);
	close(qemu_fd);
	if (result < 0)
		yab_incoming_undo(incoming, YAB_QMP_UNASKED);
}

static void yab_incoming_vm_event(const char *name, json_t *data, void *arg)
{
	struct yab_incoming *incoming = arg;
	const char *status = json_string_value(json_object_get(data, "status"));

	if (!strcmp(name, "RESUME"))
		incoming->resumed = true;
	if (strcmp(name, "MIGRATION") || !status || incoming->step != YAB_INCOMING_PREPARED)
		return;
	if (!strcmp(status, "completed")) {
		/* What QEMU did not read is for nobody; the calls behind it are. */
		yab_peer_pause(yab_caller_peer(incoming->caller), false);
		yab_stream_free(incoming->stream);
		incoming->stream = NULL;
		yab_incoming_enter(incoming, YAB_INCOMING_LOADED);
		yab_incoming_arm(incoming, YAB_INCOMING_STALL_SECONDS * 1000);
		yab_incoming_event(incoming, json_pack("{s:s}", "event", "loaded"));
	} else if (!strcmp(status, "failed")) {
		/* It ends by itself, and its last words say why. */
		incoming->failed = true;
		yab_incoming_arm(incoming, YAB_INCOMING_FAIL_MS);
	}
}

/*
 * It may have run since it was told to, and nobody heard of it: from now on the commit stands,
 * whatever QEMU says when its monitor is back.
 */
static void yab_incoming_vm_unheard(void *arg)
{
	struct yab_incoming *incoming = arg;

	if (incoming->step != YAB_INCOMING_COMMITTING && incoming->step != YAB_INCOMING_CONTINUING)
		return;
	yab_incoming_enter(incoming, YAB_INCOMING_ADOPTING);
	if (incoming->attaching)
		yab_caller_reply(incoming->caller, json_pack("{s:s, s:s}", "reply", "attach",
							     "state", "committed"));
	incoming->attaching = false;
	yab_incoming_again(incoming, "QEMU's monitor was lost");
}

static void yab_incoming_vm_exited(const char *why, void *arg)
{
	struct yab_incoming *incoming = arg;
	char text[YAB_WIRE_ERROR_MAX];

	switch (incoming->step) {
	case YAB_INCOMING_UNDOING:
		/* One that was not killed by us tells the reason of it all. */
		if (!strstr(why, "signal 9") && !strstr(why, YAB_CHILD_UNSEEN))
			snprintf(incoming->error, sizeof(incoming->error), "%s", why);
		yab_incoming_undone(incoming);
		break;
	case YAB_INCOMING_ADOPTING:
	case YAB_INCOMING_CONTINUING:
		yab_incoming_ended(incoming, why);
		break;
	case YAB_INCOMING_COMMITTING:
		if (incoming->resumed) {
			yab_incoming_ended(incoming, why);
			break;
		}
		snprintf(text, sizeof(text), "%s", incoming->error[0] ? incoming->error : why);
		yab_incoming_undo(incoming, text);
		break;
	default:
		snprintf(text, sizeof(text), "%s", why);
		yab_incoming_undo(incoming, text);
		break;
	}
}

static const struct yab_vm_hooks yab_incoming_hooks = {
	.ready = yab_incoming_vm_ready,
	.event = yab_incoming_vm_event,
	.unheard = yab_incoming_vm_unheard,
	.exited = yab_incoming_vm_exited,
};

/* Region, page service, QEMU; -1 with one line in @error, the rest is undone later. */
static int yab_incoming_start(struct yab_incoming *incoming, char *error, size_t error_size)
{
	struct yab_vm *vm = incoming->vm;
	int memory_fd, result;
	char path[128];

	incoming->demand = yab_demand_new(incoming->supervisor->base, vm->name,
					  vm->description->memory, incoming->supervisor->policy,
					  incoming->codec, incoming->verify,
					  &yab_incoming_demand_ops, incoming, &memory_fd, error,
					  error_size);
	if (!incoming->demand)
		return -1;
	snprintf(path, sizeof(path), "%s/%s", YAB_REGION_FOLDER, vm->name);
	result = yab_vm_spawn(vm, path, memory_fd, true, error, error_size);
	if (result < 0)
		close(memory_fd);
	return result;
}

int yab_incoming_page_again(struct yab_incoming *incoming)
{
	struct yab_supervisor *supervisor = incoming->supervisor;

	incoming->demand = yab_demand_adopt(supervisor->base, incoming->name, incoming->memory,
					    supervisor->policy, incoming->codec,
					    &yab_incoming_demand_ops, incoming, &incoming->worker);
	return incoming->demand ? 0 : -1;
}

struct yab_incoming *yab_incoming_new(struct yab_supervisor *supervisor, const char *name,
				      uint64_t memory, enum yab_incoming_step step,
				      char *error, size_t error_size)
{
	struct yab_incoming *incoming = calloc(1, sizeof(*incoming));

	snprintf(error, error_size, "out of memory");
	if (!incoming)
		return NULL;
	incoming->supervisor = supervisor;
	incoming->step = step;
	incoming->memory = memory;
	incoming->pages = memory / YAB_WIRE_PAGE_SIZE;
	snprintf(incoming->name, sizeof(incoming->name), "%s", name);
	incoming->deadline = evtimer_new(supervisor->base, yab_incoming_deadline, incoming);
	if (!incoming->deadline) {
		free(incoming);
		return NULL;
	}
	LIST_INSERT_HEAD(&supervisor->incomings->all, incoming, link);
	supervisor->incomings->count++;
	return incoming;
}

void yab_incoming_own(struct yab_incoming *incoming, struct yab_vm *vm)
{
	incoming->vm = vm;
	vm->hooks = &yab_incoming_hooks;
	vm->hooks_arg = incoming;
}

/* What the source says of its VM fits ours. */
static int yab_incoming_check(struct yab_vm *vm, json_t *cookie, char *error, size_t error_size)
{
	json_int_t protocol = json_integer_value(json_object_get(cookie, "protocol"));
	json_int_t memory = json_integer_value(json_object_get(cookie, "memory"));
	json_int_t page_size = json_integer_value(json_object_get(cookie, "page_size"));

	if (protocol != YAB_WIRE_VERSION || page_size != YAB_WIRE_PAGE_SIZE) {
		snprintf(error, error_size,
			 "Prepare with protocol %lld and pages of %lld bytes: install the same yabusame on both",
			 (long long)protocol, (long long)page_size);
		return -1;
	}
	if (memory != (json_int_t)vm->description->memory) {
		snprintf(error, error_size,
			 "VM %s has %lld bytes of memory on the source and %lld in the description here: make them equal",
			 vm->name, (long long)memory, (long long)vm->description->memory);
		return -1;
	}
	/* Later is too late: who runs out of memory after the commit is killed. */
	return yab_headroom_check(vm->name, json_integer_value(json_object_get(cookie, "used")),
				  error, error_size);
}

/*
 * Makes room: the oldest session that has all its pages and whose source is not there, or
 * whose guest is gone.
 * Should that ask for it after all, "unknown" would be a lie, and its guest run twice:
 * from now on this is another instance, of which no promise is expected.
 */
static void yab_incomings_evict(struct yab_supervisor *supervisor)
{
	struct yab_incoming *incoming, *oldest = NULL;
	char error[YAB_WIRE_ERROR_MAX];

	LIST_FOREACH(incoming, &supervisor->incomings->all, link)
		if ((incoming->step == YAB_INCOMING_COMPLETE && !incoming->caller) ||
		    (incoming->step == YAB_INCOMING_GONE && !incoming->telling))
			oldest = incoming;
	if (!oldest)
		return;
	if (yab_journal_renew(supervisor->journal, supervisor->instance, error,
			      sizeof(error)) < 0) {
		yab_log_error(oldest->name, "%s", error);
		return;
	}
	yab_incoming_note(oldest, YAB_RECORD_NONE);
	yab_incoming_free(oldest);
}

void yab_incoming_prepare(struct yab_supervisor *supervisor, struct yab_caller *caller,
			  json_t *cookie)
{
	const char *name = json_string_value(json_object_get(cookie, "vm"));
	struct yab_incomings *incomings = supervisor->incomings;
	char error[YAB_WIRE_ERROR_MAX] = "out of memory";
	char session[YAB_LOG_SESSION_SIZE];
	struct yab_incoming *incoming;
	struct yab_vm *vm;

	if (incomings->count >= YAB_INCOMINGS_MAX)
		yab_incomings_evict(supervisor);
	if (supervisor->leaving || incomings->count >= YAB_INCOMINGS_MAX) {
		yab_caller_fail(caller, supervisor->leaving ?
				"yabusamed is ending there: migrate it when that runs again" :
				"too many migrations whose sources have not confirmed that they know of their end: see its log, and start yabusamed on those sources");
		return;
	}
	vm = yab_vms_add(supervisor->vms, name ? name : "", YAB_VM_INCOMING, error, sizeof(error));
	if (!vm)
		goto err;
	if (yab_incoming_check(vm, cookie, error, sizeof(error)) < 0)
		goto err_vm;
	incoming = yab_incoming_new(supervisor, vm->name, vm->description->memory,
				    YAB_INCOMING_STARTING, error, sizeof(error));
	if (!incoming)
		goto err_vm;
	if (yab_token_new(incoming->token) < 0 || yab_token_new(incoming->route) < 0)
		goto err_incoming;
	yab_token_print(incoming->token, incoming->token_text);
	incoming->codec = yab_codec_choose(json_object_get(cookie, "codecs"));
	incoming->verify = json_is_true(json_object_get(cookie, "verify"));
	snprintf(incoming->peer, sizeof(incoming->peer), "%s", yab_caller_name(caller));
	incoming->job = yab_job_start(supervisor->jobs, incoming->name, YAB_JOB_INCOMING,
				      incoming->peer, incoming->pages);
	if (!incoming->job) {
		if (errno == EBUSY)
			snprintf(error, sizeof(error), "VM %s is still in another migration here",
				 incoming->name);
		goto err_incoming;
	}
	yab_job_enter(incoming->job, YAB_JOB_PREPARE);
	yab_outage_lost(&incoming->outage, YAB_OUTAGE_URGENT, "the source has made none yet", 0);
	incoming->caller = caller;
	yab_caller_bind(caller, incoming);
	yab_incoming_own(incoming, vm);
	yab_log_session_name(session);
	yab_log_session_begin(&incoming->session, incoming->name, session);
	yab_job_set_session(incoming->job, yab_log_session_of(incoming->name));
	yab_log_info(incoming->name, "arrives from %s", incoming->peer);
	yab_incoming_arm(incoming, YAB_INCOMING_START_SECONDS * 1000);
	/* Before there is anything that would have to be undone. */
	if (yab_incoming_promise(incoming, YAB_RECORD_ARRIVING, error, sizeof(error)) < 0 ||
	    yab_incoming_start(incoming, error, sizeof(error)) < 0)
		yab_incoming_undo(incoming, error);
	else
		yab_incoming_limit(incoming, json_object_get(cookie, "bandwidth"));
	return;

err_incoming:
	yab_incoming_free(incoming);
err_vm:
	yab_vm_remove(vm);
err:
	yab_caller_fail(caller, error);
}

void yab_incoming_state(struct yab_incoming *incoming, const void *data, size_t length)
{
	if (incoming->step != YAB_INCOMING_PREPARED) {
		/* Behind what QEMU wanted, or on the way when it failed. */
		if (incoming->step == YAB_INCOMING_STARTING)
			yab_incoming_misused(incoming, "device state before the answer to Prepare");
		return;
	}
	if (yab_stream_write(incoming->stream, data, length) < 0)
		yab_incoming_undo(incoming, "out of memory");
}

void yab_incoming_limit(struct yab_incoming *incoming, json_t *bandwidth)
{
	const json_int_t value = json_integer_value(bandwidth);

	if (!incoming->demand || value < 0)
		return;
	yab_demand_limit(incoming->demand, (uint64_t)value);
	if (incoming->bandwidth == (uint64_t)value)
		return;
	incoming->bandwidth = (uint64_t)value;
	yab_incoming_note_figures(incoming);
}

void yab_incoming_hint(struct yab_incoming *incoming, json_t *ranges)
{
	struct yab_hints hints;

	if (yab_incoming_revocable(incoming))
		yab_incoming_misused(incoming, "dirty pages before Finish");
	else if (yab_hints_parse(&hints, ranges, incoming->pages) < 0)
		yab_incoming_misused(incoming, "dirty pages that are no ranges of this VM's");
	else if (incoming->demand && !yab_demand_hint(incoming->demand, ranges))
		yab_incoming_misused(incoming, "dirty pages, told twice");
}

int yab_incomings_limit(struct yab_incomings *incomings, const char *name, json_t *bandwidth)
{
	struct yab_incoming *incoming;

	LIST_FOREACH(incoming, &incomings->all, link) {
		if (strcmp(incoming->name, name) || !incoming->job)
			continue;
		yab_incoming_limit(incoming, bandwidth);
		return 0;
	}
	return -1;
}

void yab_incoming_abort(struct yab_incoming *incoming)
{
	if (incoming->step == YAB_INCOMING_UNDOING) {
		incoming->aborted = true;
	} else if (yab_incoming_revocable(incoming)) {
		incoming->aborted = true;
		yab_incoming_undo(incoming, yab_image_is_name(incoming->peer) ?
				  "its start from the image was given up: see the log" :
				  "the source gave up");
	} else {
		yab_incoming_misused(incoming, "abort after the commit");
	}
}

void yab_incoming_confirmed(struct yab_incoming *incoming)
{
	struct yab_caller *caller = incoming->caller;

	if (incoming->step != YAB_INCOMING_COMPLETE) {
		yab_incoming_misused(incoming, "Confirm before the last page");
		return;
	}
	yab_log_debug(incoming->name, "the source has confirmed");
	yab_incoming_note(incoming, YAB_RECORD_NONE);
	yab_caller_finish(caller);
	yab_incoming_free(incoming);
}

void yab_incoming_misused(struct yab_incoming *incoming, const char *error)
{
	struct yab_caller *caller = incoming->caller;
	char text[YAB_WIRE_ERROR_MAX];

	snprintf(text, sizeof(text), "broken protocol: %s", error);
	if (yab_incoming_revocable(incoming)) {
		yab_incoming_undo(incoming, text);
		return;
	}
	/* No ERROR: it would promise that everything was undone. */
	yab_log_error(incoming->name, "%s", text);
	if (incoming->step == YAB_INCOMING_UNDOING || !caller)
		return;
	incoming->caller = NULL;
	yab_caller_finish(caller);
	yab_outage_lost(&incoming->outage, YAB_OUTAGE_CONTROL, text, 0);
}

void yab_incoming_attach(struct yab_incoming *incoming, struct yab_caller *caller)
{
	struct yab_caller *before = incoming->caller;

	if (incoming->step == YAB_INCOMING_GONE) {
		yab_caller_reply(caller, json_pack("{s:s, s:s, s:s}", "reply", "attach", "state",
						   "gone", "error", incoming->error));
		return;
	}
	incoming->caller = caller;
	incoming->aborted = false;
	incoming->finishing = false;
	/*
	 * Bound first: the old one will be one more without a session, and if those are too
	 * many the oldest goes.
	 */
	yab_caller_bind(caller, incoming);
	if (before)
		yab_caller_finish(before);
	if (yab_incoming_is_committed(incoming)) {
		yab_caller_reply(caller, json_pack("{s:s, s:s}", "reply", "attach", "state",
						   "committed"));
		yab_outage_found(&incoming->outage, YAB_OUTAGE_CONTROL);
		yab_incoming_completed(incoming);
		return;
	}
	/* Undecided: the answer follows when it is. */
	yab_outage_found(&incoming->outage, YAB_OUTAGE_CONTROL);
	incoming->attaching = true;
	if (yab_incoming_revocable(incoming))
		yab_incoming_undo(incoming, "the source lost the connection before the commit");
}

void yab_incoming_caller_lost(struct yab_incoming *incoming, const char *error)
{
	incoming->caller = NULL;
	incoming->aborted = false;
	incoming->attaching = false;
	incoming->finishing = false;
	if (yab_incoming_revocable(incoming))
		yab_incoming_undo(incoming, error);
	else if (incoming->step == YAB_INCOMING_COMPLETE)
		yab_log_info(incoming->name, "%s; every page is here", error);
	else
		yab_outage_lost(&incoming->outage, YAB_OUTAGE_CONTROL, error, 0);
	/* Its worker has nothing to do any more; the session waits alone. */
	if (incoming->step == YAB_INCOMING_COMPLETE) {
		yab_demand_free(incoming->demand, false);
		incoming->demand = NULL;
	}
}

void yab_incomings_connection(struct yab_incomings *incomings, int fd,
			      const struct yab_wire_hello *hello, const struct yab_origin *origin)
{
	const char *role = yab_wire_role_name(hello->role);
	struct yab_worker_connection connection = {
		.role = hello->role,
		.tls = hello->features & YAB_WIRE_TLS,
		.side = YAB_CREDENTIALS_SERVER,
		.name = origin->name,
	};
	char error[YAB_WIRE_ERROR_MAX];
	struct yab_incoming *incoming;

	LIST_FOREACH(incoming, &incomings->all, link)
		if (!memcmp(incoming->route, hello->token, YAB_WIRE_TOKEN_SIZE))
			break;
	if (!incoming || incoming->step < YAB_INCOMING_PREPARED || !incoming->demand ||
	    !yab_demand_takes(incoming->demand)) {
		yab_complain(incomings->complaints, origin, "refused the %s connection of %s: %s",
			     role, origin->name, incoming ? "there is no page worker for it now" :
						      "it belongs to no migration");
		close(fd);
		return;
	}
	connection.index = hello->index;
	connection.number = hello->number;
	connection.token = incoming->token;
	if (yab_handshake_answer(fd, hello->role, connection.tls) < 0)
		yab_log_warn(incoming->name, "%s connection %u of %s: %s", role, hello->index,
			     origin->name, strerror(errno));
	else if (yab_demand_connect(incoming->demand, &connection, fd,
				    &incoming->supervisor->security, error, sizeof(error)) < 0)
		yab_log_warn(incoming->name, "%s connection %u of %s: %s", role, hello->index,
			     origin->name, error);
	close(fd);
}

struct yab_incomings *yab_incomings_new(struct yab_complaints *complaints)
{
	struct yab_incomings *incomings = calloc(1, sizeof(*incomings));

	if (!incomings)
		return NULL;
	LIST_INIT(&incomings->all);
	incomings->complaints = complaints;
	return incomings;
}

void yab_incomings_free(struct yab_incomings *incomings)
{
	struct yab_incoming *incoming;

	if (!incomings)
		return;
	while ((incoming = LIST_FIRST(&incomings->all))) {
		if (incoming->step == YAB_INCOMING_PULLING)
			yab_log_info(incoming->name,
				     "its missing pages come without this daemon, as long as there are connections; the rest when yabusamed is started again");
		if (incoming->vm)
			incoming->vm->hooks = NULL;
		if (incoming->caller)
			yab_caller_finish(incoming->caller);
		yab_incoming_free(incoming);
	}
	free(incomings);
}

struct yab_incoming *yab_incomings_find(struct yab_incomings *incomings, const char *token)
{
	struct yab_incoming *incoming;

	LIST_FOREACH(incoming, &incomings->all, link)
		if (yab_token_matches(token, incoming->token))
			return incoming;
	return NULL;
}

bool yab_incomings_give_up(struct yab_incomings *incomings)
{
	struct yab_incoming *incoming, *next;
	bool left = false;

	for (incoming = LIST_FIRST(&incomings->all); incoming; incoming = next) {
		next = LIST_NEXT(incoming, link);
		if (yab_incoming_revocable(incoming))
			yab_incoming_undo(incoming, "yabusamed on the destination is ending");
	}
	LIST_FOREACH(incoming, &incomings->all, link)
		left |= incoming->step == YAB_INCOMING_UNDOING ||
			incoming->step == YAB_INCOMING_COMMITTING;
	return left;
}
