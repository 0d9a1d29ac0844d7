// SPDX-License-Identifier: GPL-2.0-or-later
#include "restore.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "contact.h"
#include "image.h"
#include "incoming.h"
#include "memory.h"
#include "reception.h"
#include "supply.h"
#include "token.h"

#define YAB_RESTORE_RETRY_MS	5000	/* until an image that is not there is looked for again */
/* Page connections end before the destination says why it gives up. */
#define YAB_RESTORE_REASON_MS	1000

enum yab_restore_step {
	YAB_RESTORE_PREPARING,	/* the destination starts QEMU */
	YAB_RESTORE_LINKING,	/* the page connections are made */
	YAB_RESTORE_SENDING,	/* device state; then QEMU loads it */
	YAB_RESTORE_COMMITTING,	/* Finish was called */
	YAB_RESTORE_ATTACHING,	/* to a session that is committed, for all that is known here */
	YAB_RESTORE_PULLING,	/* the guest is there and fetches its pages */
	YAB_RESTORE_ABORTING,	/* the destination undoes everything */
	YAB_RESTORE_STEPS,
};

#define YAB_RESTORE_TO(step)	(1U << YAB_RESTORE_##step)

/* A restore ends (is freed) in any of them. */
static const unsigned int yab_restore_allowed[YAB_RESTORE_STEPS] = {
	[YAB_RESTORE_PREPARING] = YAB_RESTORE_TO(LINKING),
	[YAB_RESTORE_LINKING] = YAB_RESTORE_TO(SENDING) | YAB_RESTORE_TO(ABORTING),
	[YAB_RESTORE_SENDING] = YAB_RESTORE_TO(COMMITTING) | YAB_RESTORE_TO(ABORTING),
	[YAB_RESTORE_COMMITTING] = YAB_RESTORE_TO(PULLING) | YAB_RESTORE_TO(ATTACHING),
	[YAB_RESTORE_ATTACHING] = YAB_RESTORE_TO(PULLING) | YAB_RESTORE_TO(ATTACHING),
	[YAB_RESTORE_PULLING] = YAB_RESTORE_TO(ATTACHING),
};

struct yab_restore {
	LIST_ENTRY(yab_restore) link;
	struct yab_supervisor *supervisor;
	enum yab_restore_step step;
	char vm[YAB_NAME_SIZE];
	uint64_t memory;
	struct yab_address address;	/* the destination, which is here; its text: the image */
	int image_fd;			/* -1: an adopted one's, which is looked for */
	int state_fd;			/* -1: all of it was sent */
	bool paused;
	unsigned int connections;
	uint64_t bandwidth;

	struct yab_contact *contact;
	struct yab_supply *supply;
	struct event *timer;
	uint8_t route[YAB_WIRE_TOKEN_SIZE];
	uint8_t token[YAB_WIRE_TOKEN_SIZE];
	char token_text[YAB_TOKEN_TEXT_SIZE];
	char instance[YAB_TOKEN_TEXT_SIZE];
	/* While aborting, or while a better reason is awaited, or the image is looked for. */
	char error[YAB_WIRE_ERROR_MAX];
	yab_restore_cb cb;		/* NULL: told */
	void *arg;
};

struct yab_restores {
	LIST_HEAD(, yab_restore) all;
};

static void yab_restore_enter(struct yab_restore *restore, enum yab_restore_step step)
{
	assert(yab_restore_allowed[restore->step] & 1U << step);
	restore->step = step;
}

static bool yab_restore_revocable(const struct yab_restore *restore)
{
	return restore->step < YAB_RESTORE_COMMITTING || restore->step == YAB_RESTORE_ABORTING;
}

static void yab_restore_free(struct yab_restore *restore, bool goes_on)
{
	LIST_REMOVE(restore, link);
	yab_supply_free(restore->supply, goes_on);
	yab_contact_free(restore->contact);
	yab_reception_free(restore->address.reception);
	if (restore->timer)
		event_free(restore->timer);
	if (restore->image_fd >= 0)
		close(restore->image_fd);
	if (restore->state_fd >= 0)
		close(restore->state_fd);
	free(restore);
}

static void yab_restore_tell(struct yab_restore *restore, const char *error)
{
	const yab_restore_cb cb = restore->cb;

	restore->cb = NULL;
	if (cb)
		cb(error, restore->arg);
}

/* The last word; @error is NULL when the VM has all its pages. */
static void yab_restore_end(struct yab_restore *restore, const char *error)
{
	const yab_restore_cb cb = restore->cb;
	void *arg = restore->arg;
	char text[YAB_WIRE_ERROR_MAX];

	snprintf(text, sizeof(text), "%s", error ? error : "");
	if (error)
		yab_log_error(restore->vm, "%s", text);
	else
		yab_log_info(restore->vm, "needs %s no more", restore->address.text);
	yab_restore_free(restore, false);
	if (cb)
		cb(error ? text : NULL, arg);
}

/* The destination's, for there is no other. NULL: the VM has none, or a later one. */
static struct yab_job *yab_restore_job(const struct yab_restore *restore)
{
	struct yab_job *job = yab_jobs_find(restore->supervisor->jobs, restore->vm);

	if (!job || !yab_job_active(job) || strcmp(yab_job_peer(job), restore->address.text))
		return NULL;
	return job;
}

/* What people should know. */
static void yab_restore_warn(struct yab_restore *restore, const char *warning)
{
	struct yab_job *job = yab_restore_job(restore);

	if (job)
		yab_job_warn(job, warning);
}

static int yab_restore_call(struct yab_restore *restore, json_t *call)
{
	struct yab_peer *peer = yab_contact_peer(restore->contact);

	if (peer)
		return yab_peer_send(peer, YAB_WIRE_CALL, call);
	json_decref(call);
	errno = ENOTCONN;
	return -1;
}

/* Before the commit: the destination undoes what it has made, and then says so. */
static void yab_restore_fail(struct yab_restore *restore, const char *error)
{
	if (restore->step == YAB_RESTORE_ABORTING)
		return;
	/* Without a session, closing is what undoes it. */
	if (restore->step == YAB_RESTORE_PREPARING ||
	    yab_restore_call(restore, json_pack("{s:s, s:s}", "call", "abort", "token",
						restore->token_text)) < 0) {
		yab_restore_end(restore, error);
		return;
	}
	snprintf(restore->error, sizeof(restore->error), "%s", error);
	yab_restore_enter(restore, YAB_RESTORE_ABORTING);
}

/* --- the page service ------------------------------------------------------------------ */

/* Device state as far as the connection takes it. */
static void yab_restore_send(struct yab_restore *restore)
{
	struct yab_peer *peer = yab_contact_peer(restore->contact);
	char bytes[65536], error[YAB_WIRE_ERROR_MAX];
	ssize_t n;

	while (restore->step == YAB_RESTORE_SENDING && restore->state_fd >= 0 && peer &&
	       !yab_peer_congested(peer)) {
		n = read(restore->state_fd, bytes, sizeof(bytes));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || yab_peer_send_state(peer, bytes, (size_t)n) < 0) {
			snprintf(error, sizeof(error), "the device state cannot be %s: %s",
				 n < 0 ? "read" : "sent", strerror(errno));
			yab_restore_fail(restore, error);
			return;
		}
		if (n)
			continue;
		close(restore->state_fd);
		restore->state_fd = -1;
	}
}

static void yab_restore_linked(void *arg)
{
	struct yab_restore *restore = arg;

	if (restore->step != YAB_RESTORE_LINKING || restore->error[0])
		return;
	if (yab_supply_serve(restore->supply) < 0) {
		yab_restore_fail(restore, "the page worker does not answer: see the log");
		return;
	}
	yab_restore_enter(restore, YAB_RESTORE_SENDING);
	yab_restore_send(restore);
}

static void yab_restore_urgent(const char *error, int64_t next_try_us, void *arg)
{
	(void)next_try_us;
	yab_restore_warn(arg, error);
}

static void yab_restore_bulk(const char *error, void *arg)
{
	yab_restore_warn(arg, error);
}

static void yab_restore_statistics(json_t *statistics, void *arg)
{
	struct yab_restore *restore = arg;
	struct yab_job *job = yab_restore_job(restore);

	if (job)
		yab_job_statistics(job, YAB_JOB_SOURCE, statistics);
}

static void yab_restore_supply_failed(const char *error, void *arg)
{
	const struct timeval patience = yab_clock_pause(YAB_RESTORE_REASON_MS);
	struct yab_restore *restore = arg;

	if (restore->step == YAB_RESTORE_ABORTING)
		return;
	snprintf(restore->error, sizeof(restore->error), "%s", error);
	evtimer_add(restore->timer, &patience);
}

static void yab_restore_worker(pid_t pid, void *arg)
{
	(void)pid;
	(void)arg;	/* it ends with its connections, if nobody tells it to before */
}

static const struct yab_supply_ops yab_restore_supply_ops = {
	.worker = yab_restore_worker,
	.linked = yab_restore_linked,
	.urgent = yab_restore_urgent,
	.bulk = yab_restore_bulk,
	.statistics = yab_restore_statistics,
	.failed = yab_restore_supply_failed,
};

static void yab_restore_terms(const struct yab_restore *restore, struct yab_supply_terms *terms)
{
	*terms = (struct yab_supply_terms){
		.base = restore->supervisor->base,
		.dns = restore->supervisor->dns,
		.vm = restore->vm,
		.kind = "image",
		.memory_fd = restore->image_fd,
		.pages = restore->memory / YAB_WIRE_PAGE_SIZE,
		.address = &restore->address,
		.security = &restore->supervisor->security,
		.route = restore->route,
		.token = restore->token,
		.bulks = restore->connections,
	};
}

/* --- the control connection -------------------------------------------------------------- */

static void yab_restore_prepare(struct yab_restore *restore)
{
	json_t *cookie;

	/* What the VM uses is what the image has that is no hole. */
	cookie = json_pack("{s:i, s:s, s:I, s:i, s:I, s:I}", "protocol", YAB_WIRE_VERSION, "vm",
			   restore->vm, "memory", (json_int_t)restore->memory, "page_size",
			   YAB_WIRE_PAGE_SIZE, "used",
			   (json_int_t)yab_memory_used(restore->image_fd), "bandwidth",
			   (json_int_t)restore->bandwidth);
	if (yab_restore_call(restore, json_pack("{s:s, s:o}", "call", "prepare", "cookie",
						cookie)) < 0)
		yab_restore_fail(restore, "cannot be prepared: out of memory");
}

static void yab_restore_attach(struct yab_restore *restore)
{
	if (yab_restore_call(restore, json_pack("{s:s, s:s, s:s}", "call", "attach", "token",
						restore->token_text, "instance",
						restore->instance)) < 0)
		yab_contact_open(restore->contact);
}

static void yab_restore_open(void *arg)
{
	struct yab_restore *restore = arg;

	if (restore->step == YAB_RESTORE_PREPARING)
		yab_restore_prepare(restore);
	else
		yab_restore_attach(restore);
}

static void yab_restore_lost(const char *error, bool answered, void *arg)
{
	struct yab_restore *restore = arg;

	if (restore->step == YAB_RESTORE_ABORTING) {
		yab_restore_end(restore, restore->error);
	} else if (yab_restore_revocable(restore) ||
		   (restore->step == YAB_RESTORE_COMMITTING && answered)) {
		/* It has undone everything, or does so now. */
		yab_restore_end(restore, error);
	} else {
		yab_restore_enter(restore, YAB_RESTORE_ATTACHING);
		yab_contact_open(restore->contact);
	}
}

static void yab_restore_drained(void *arg)
{
	yab_restore_send(arg);
}

static void yab_restore_prepared(struct yab_restore *restore, json_t *cookie)
{
	const char *token = json_string_value(json_object_get(cookie, "token"));
	const char *route = json_string_value(json_object_get(cookie, "route"));
	const char *instance = json_string_value(json_object_get(cookie, "instance"));
	struct yab_supply_terms terms;
	char error[YAB_WIRE_ERROR_MAX];

	if (yab_token_parse(token, restore->token) < 0 ||
	    yab_token_parse(route, restore->route) < 0) {
		yab_restore_fail(restore, "bug: Prepare was answered with nonsense");
		return;
	}
	snprintf(restore->token_text, sizeof(restore->token_text), "%s", token);
	snprintf(restore->instance, sizeof(restore->instance), "%s", instance ? instance : "");
	yab_restore_enter(restore, YAB_RESTORE_LINKING);
	yab_restore_terms(restore, &terms);
	restore->supply = yab_supply_new(&terms, &yab_restore_supply_ops, restore, error,
					 sizeof(error));
	if (!restore->supply)
		yab_restore_fail(restore, error);
}

/* The session is committed, and whoever waits for its guest may know. */
static void yab_restore_pull(struct yab_restore *restore)
{
	yab_contact_settled(restore->contact);
	yab_restore_enter(restore, YAB_RESTORE_PULLING);
	yab_restore_tell(restore, NULL);
}

static void yab_restore_attached(struct yab_restore *restore, json_t *json)
{
	const char *state = json_string_value(json_object_get(json, "state"));

	if (state && !strcmp(state, "committed")) {
		yab_restore_pull(restore);
		return;
	}
	/* Nobody else will ask. */
	yab_incomings_forget(restore->supervisor->incomings, restore->token_text);
	yab_restore_end(restore, state && !strcmp(state, "gone") ?
			"its guest is gone: the image is needed no more" :
			"its start from the image was undone: see the log");
}

static void yab_restore_reply(struct yab_restore *restore, json_t *json)
{
	const char *name = json_string_value(json_object_get(json, "reply"));

	if (!name)
		name = "";
	if (restore->step == YAB_RESTORE_ABORTING && !strcmp(name, "abort"))
		yab_restore_end(restore, restore->error);
	else if (restore->step == YAB_RESTORE_PREPARING && !strcmp(name, "prepare"))
		yab_restore_prepared(restore, json_object_get(json, "cookie"));
	else if (restore->step == YAB_RESTORE_COMMITTING && !strcmp(name, "finish"))
		yab_restore_pull(restore);
	else if (restore->step == YAB_RESTORE_ATTACHING && !strcmp(name, "attach"))
		yab_restore_attached(restore, json);
}

/* Finish: QEMU has loaded the device state. */
static void yab_restore_commit(struct yab_restore *restore)
{
	json_t *cookie;

	/* Without a page service there is nothing to be committed. */
	if (restore->error[0])
		return;
	cookie = json_pack("{s:b, s:I}", "paused", restore->paused, "pages",
			   (json_int_t)(restore->memory / YAB_WIRE_PAGE_SIZE));
	if (yab_restore_call(restore, json_pack("{s:s, s:s, s:o}", "call", "finish", "token",
						restore->token_text, "cookie", cookie)) < 0) {
		yab_restore_fail(restore, "cannot be committed: out of memory");
		return;
	}
	yab_restore_enter(restore, YAB_RESTORE_COMMITTING);
	yab_supply_persist(restore->supply);
}

static void yab_restore_event(struct yab_restore *restore, json_t *json)
{
	const char *name = json_string_value(json_object_get(json, "event"));
	const char *role = json_string_value(json_object_get(json, "role"));
	const json_int_t index = json_integer_value(json_object_get(json, "index"));
	const json_int_t number = json_integer_value(json_object_get(json, "number"));

	if (!name)
		name = "";
	if (!strcmp(name, "loaded") && restore->step == YAB_RESTORE_SENDING) {
		yab_restore_commit(restore);
	} else if (!strcmp(name, "lost") && restore->supply) {
		yab_supply_relink(restore->supply, yab_wire_role_named(role), index, number);
	} else if (!strcmp(name, "complete") && restore->step == YAB_RESTORE_PULLING) {
		/* Confirm: it forgets the session. */
		if (!yab_restore_call(restore, json_pack("{s:s, s:s}", "call", "confirm", "token",
							 restore->token_text)))
			yab_restore_end(restore, NULL);
	}
}

static void yab_restore_message(enum yab_wire_type type, json_t *json, void *arg)
{
	if (type == YAB_WIRE_REPLY)
		yab_restore_reply(arg, json);
	else if (type == YAB_WIRE_EVENT)
		yab_restore_event(arg, json);
}

static const struct yab_contact_ops yab_restore_contact_ops = {
	.open = yab_restore_open,
	.message = yab_restore_message,
	.drained = yab_restore_drained,
	.lost = yab_restore_lost,
};

/* --- beginning and adoption ------------------------------------------------------------- */

/*
 * An adopted one looks for its image: its guest waits, whatever became of that. Whether there is
 * still a guest that does is asked meanwhile.
 */
static void yab_restore_seek(struct yab_restore *restore)
{
	const struct timeval pause = yab_clock_pause(YAB_RESTORE_RETRY_MS);
	struct yab_supply_terms terms;
	char error[YAB_WIRE_ERROR_MAX];

	restore->image_fd = yab_image_open_again(restore->address.text, restore->memory, error,
						 sizeof(error));
	if (restore->image_fd >= 0) {
		yab_restore_terms(restore, &terms);
		restore->supply = yab_supply_adopt(&terms, &yab_restore_supply_ops, restore);
		yab_restore_warn(restore, restore->supply ? NULL :
				 "the image cannot be served: out of memory: restart yabusamed");
		return;
	}
	if (strcmp(error, restore->error))
		yab_log_error(restore->vm, "%s: it is looked for again and again", error);
	memcpy(restore->error, error, sizeof(error));
	yab_restore_warn(restore, error);
	evtimer_add(restore->timer, &pause);
}

static void yab_restore_timer(evutil_socket_t fd, short what, void *arg)
{
	struct yab_restore *restore = arg;
	char error[YAB_WIRE_ERROR_MAX];

	(void)fd;
	(void)what;
	if (!yab_restore_revocable(restore)) {
		yab_restore_seek(restore);
		return;
	}
	memcpy(error, restore->error, sizeof(error));
	yab_restore_fail(restore, error);
}

/* Without files. NULL without memory. */
static struct yab_restore *yab_restore_new(struct yab_supervisor *supervisor, const char *vm,
					   const char *image, enum yab_restore_step step)
{
	struct yab_restore *restore = calloc(1, sizeof(*restore));

	if (!restore)
		return NULL;
	LIST_INSERT_HEAD(&supervisor->restores->all, restore, link);
	restore->supervisor = supervisor;
	restore->step = step;
	restore->image_fd = -1;
	restore->state_fd = -1;
	restore->connections = 1;
	snprintf(restore->vm, sizeof(restore->vm), "%s", vm);
	snprintf(restore->address.text, sizeof(restore->address.text), "%s", image);
	restore->address.reception = yab_reception_new(supervisor, image);
	restore->address.call = yab_reception_call;
	restore->timer = evtimer_new(supervisor->base, yab_restore_timer, restore);
	restore->contact = yab_contact_new(supervisor->base, supervisor->dns, &restore->address,
					   &supervisor->security, &yab_restore_contact_ops,
					   restore);
	if (restore->address.reception && restore->timer && restore->contact)
		return restore;
	yab_restore_free(restore, false);
	return NULL;
}

int yab_restore_begin(struct yab_supervisor *supervisor, const char *name,
		      const struct yab_restore_options *options, yab_restore_cb cb, void *arg,
		      char *error, size_t error_size)
{
	char image[YAB_IMAGE_NAME_SIZE];
	struct yab_restore *restore;
	int image_fd, state_fd = -1;
	uint64_t memory;

	memory = yab_vms_memory(supervisor->vms, name, error, error_size);
	if (!memory)
		return -1;
	image_fd = yab_image_open(options->image, memory, image, error, error_size);
	if (image_fd < 0)
		return -1;
	state_fd = yab_image_open_state(options->state, error, error_size);
	if (state_fd < 0)
		goto err_image;
	restore = yab_restore_new(supervisor, name, image, YAB_RESTORE_PREPARING);
	if (!restore) {
		snprintf(error, error_size, "out of memory");
		goto err_state;
	}
	restore->memory = memory;
	restore->image_fd = image_fd;
	restore->state_fd = state_fd;
	restore->paused = options->paused;
	restore->connections = options->connections;
	restore->bandwidth = options->bandwidth;
	restore->cb = cb;
	restore->arg = arg;
	yab_contact_open(restore->contact);
	return 0;

err_state:
	close(state_fd);
err_image:
	close(image_fd);
	return -1;
}

int yab_restore_adopt(struct yab_supervisor *supervisor, const struct yab_record *record,
		      char *error, size_t error_size)
{
	const struct yab_record_migration *migration = &record->migration;
	const struct timeval now = { 0 };
	struct yab_restore *restore;

	restore = yab_restore_new(supervisor, record->vm, migration->peer, YAB_RESTORE_ATTACHING);
	if (!restore) {
		snprintf(error, error_size, "its image cannot be served: out of memory");
		return -1;
	}
	restore->memory = record->memory;
	/* They have been parsed before, when its destination was adopted. */
	yab_token_parse(migration->token, restore->token);
	yab_token_parse(migration->route, restore->route);
	memcpy(restore->token_text, migration->token, sizeof(restore->token_text));
	memcpy(restore->instance, migration->instance, sizeof(restore->instance));
	yab_contact_open(restore->contact);
	/* Of one that has all its pages only the last word is missing, and no image. */
	if (migration->state != YAB_RECORD_COMPLETE)
		evtimer_add(restore->timer, &now);
	return 0;
}

struct yab_restores *yab_restores_new(void)
{
	struct yab_restores *restores = calloc(1, sizeof(*restores));

	if (restores)
		LIST_INIT(&restores->all);
	return restores;
}

void yab_restores_free(struct yab_restores *restores)
{
	struct yab_restore *restore;

	if (!restores)
		return;
	while ((restore = LIST_FIRST(&restores->all)))
		yab_restore_free(restore, !yab_restore_revocable(restore));
	free(restores);
}
