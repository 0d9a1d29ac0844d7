// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backing_file.h"
#include "backing_process.h"
#include "hints.h"
#include "log.h"
#include "opening.h"
#include "pager.h"
#include "policy.h"
#include "region.h"
#include "rehearsal.h"
#include "sandbox.h"
#include "socket.h"
#include "source.h"
#include "statistics.h"
#include "tls.h"
#include "token.h"
#include "worker.h"

/* 5 a second at most. */
#define YAB_WORKER_TICK_US	200000
#define YAB_WORKER_ERROR_SIZE	256
#define YAB_WORKER_NAME_SIZE	272
/*
 * Connections that are being opened. Who knows a route, which is no secret, can have so
 * many of them tried, each for YAB_WORKER_OPENING_MS.
 */
#define YAB_WORKER_OPENINGS	32
/*
 * The other side's worker may still be starting, on a busy host, and the guest that waits
 * for the connection is stopped or given back if it fails. Less than an outgoing migration
 * waits for its connections (YAB_OUTGOING_LINK_SECONDS), so that the reason is told.
 */
#define YAB_WORKER_OPENING_MS	25000

enum yab_worker_state {
	YAB_WORKER_NEW,		/* waits for "start" */
	YAB_WORKER_RUNNING,
	YAB_WORKER_ORPHANED,	/* the supervisor is gone, a guest may still wait */
	YAB_WORKER_LEAVING,
	YAB_WORKER_STATES,
};

static const bool yab_worker_moves[YAB_WORKER_STATES][YAB_WORKER_STATES] = {
	[YAB_WORKER_NEW] = { [YAB_WORKER_RUNNING] = true, [YAB_WORKER_LEAVING] = true },
	[YAB_WORKER_RUNNING] = { [YAB_WORKER_ORPHANED] = true, [YAB_WORKER_LEAVING] = true },
	[YAB_WORKER_ORPHANED] = { [YAB_WORKER_LEAVING] = true },
};

/* What there is to say of the connections of a role and index. */
enum yab_worker_news {
	YAB_WORKER_NO_NEWS,	/* or all was said */
	YAB_WORKER_OPEN,
	YAB_WORKER_LOST,
};

/*
 * News that could not be sent is sent later; what is newer takes its place. Whoever waits for
 * it would wait for ever otherwise.
 */
struct yab_worker_link {
	uint32_t number;	/* of the connection in use, or the last that was */
	enum yab_worker_news due;
	uint32_t due_number;
	char error[YAB_SOCKET_TEXT_SIZE];
};

struct yab_worker {
	struct event_base *base;
	struct yab_channel *channel;	/* NULL when the supervisor is gone */
	struct event *tick;
	enum yab_worker_state state;
	int status;			/* to exit with */
	bool confined;			/* enters a sandbox when it is started */

	char *vm;
	struct yab_log_session session;
	int memory_fd;
	int pager_fd;
	uint64_t pages;
	struct yab_source *source;	/* one of these two, from "start" on */
	struct yab_pager *pager;
	LIST_HEAD(, yab_worker_opening) openings;
	unsigned int opening_count;

	struct yab_source_statistics source_sent;
	struct yab_store_statistics pager_sent;
	struct yab_worker_link urgent_link;
	struct yab_worker_link bulk_links[YAB_WIRE_BULKS_MAX];
	bool complete_due;
};

static void yab_worker_move(struct yab_worker *worker, enum yab_worker_state state)
{
	if (!yab_worker_moves[worker->state][state])
		yab_log_error(worker->vm, "bug: worker moves from state %d to %d", worker->state,
			      state);
	worker->state = state;
}

static void yab_worker_leave(struct yab_worker *worker, int status)
{
	if (worker->state == YAB_WORKER_LEAVING)
		return;
	yab_worker_move(worker, YAB_WORKER_LEAVING);
	worker->status = status;
	event_base_loopbreak(worker->base);
}

/*
 * Sends @message, which is NULL if there was no memory for it. True if it is on its
 * way; without a supervisor there is nobody to miss it.
 */
static bool yab_worker_send(struct yab_worker *worker, json_t *message)
{
	if (!worker->channel) {
		json_decref(message);
		return true;
	}
	return yab_channel_send(worker->channel, message, NULL, 0) == 0;
}

static void yab_worker_fail(struct yab_worker *worker, const char *error)
{
	yab_log_error(worker->vm, "worker: %s", error);
	yab_worker_send(worker, json_pack("{s:s, s:s}", "type", "failed", "error", error));
	yab_worker_leave(worker, EXIT_FAILURE);
}

static struct yab_worker_link *yab_worker_link(struct yab_worker *worker, enum yab_wire_role role,
					       unsigned int index)
{
	return role == YAB_WIRE_URGENT ? &worker->urgent_link : &worker->bulk_links[index];
}

static void yab_worker_report_link(struct yab_worker *worker, enum yab_wire_role role,
				   unsigned int index)
{
	struct yab_worker_link *link = yab_worker_link(worker, role, index);
	const bool lost = link->due == YAB_WORKER_LOST;

	if (link->due != YAB_WORKER_NO_NEWS &&
	    yab_worker_send(worker, json_pack("{s:s, s:s, s:i, s:I, s:s*}", "type",
					      lost ? "lost" : "open", "role",
					      yab_wire_role_name(role), "index", (int)index,
					      "number", (json_int_t)link->due_number,
					      "error", lost ? link->error : NULL)))
		link->due = YAB_WORKER_NO_NEWS;
}

/* The connection @number is in use now. */
static void yab_worker_note_open(struct yab_worker *worker, enum yab_wire_role role,
				 unsigned int index, uint32_t number)
{
	struct yab_worker_link *link = yab_worker_link(worker, role, index);

	link->number = number;
	link->due = YAB_WORKER_OPEN;
	link->due_number = number;
	yab_worker_report_link(worker, role, index);
}

static json_t *yab_worker_source_statistics(const struct yab_worker *worker)
{
	const struct yab_source_statistics *now = yab_source_statistics(worker->source);

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
			 "type", "statistics",
			 "packed_pages", (json_int_t)now->packed_pages,
			 "packed_bytes", (json_int_t)now->packed_bytes,
			 "pages", (json_int_t)worker->pages,
			 "bytes", (json_int_t)now->bytes,
			 "zero_pages", (json_int_t)now->zero_pages,
			 "data_pages", (json_int_t)now->data_pages,
			 "urgent_requests", (json_int_t)now->urgent_requests,
			 "bulk_requests", (json_int_t)now->bulk_requests,
			 "urgent_pages", (json_int_t)now->urgent_pages,
			 "bulk_pages", (json_int_t)now->bulk_pages,
			 "service_us",
			 yab_statistics_histogram(yab_source_service(worker->source)));
}

static const char * const yab_worker_waits[YAB_WAITS] = {
	[YAB_WAIT_FAULT] = "fault_us",
	[YAB_WAIT_QUEUE] = "queue_us",
	[YAB_WAIT_ROUND_TRIP] = "round_trip_us",
	[YAB_WAIT_INSTALL] = "install_us",
};

static json_t *yab_worker_pager_statistics(const struct yab_worker *worker)
{
	const struct yab_store_statistics *now = yab_pager_statistics(worker->pager);
	json_t *json;

	json = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}",
			 "type", "statistics",
			 "packed_pages", (json_int_t)now->packed_pages,
			 "packed_bytes", (json_int_t)now->packed_bytes,
			 "pages", (json_int_t)worker->pages,
			 "bytes", (json_int_t)now->bytes,
			 "zero_pages", (json_int_t)now->zero_pages,
			 "data_pages", (json_int_t)now->data_pages,
			 "present", (json_int_t)now->present,
			 "faults", (json_int_t)now->faults,
			 "urgent_pages", (json_int_t)now->urgent_pages,
			 "bulk_pages", (json_int_t)now->bulk_pages,
			 "duplicate_pages", (json_int_t)now->duplicate_pages,
			 "prefetched_pages", (json_int_t)now->prefetched_pages,
			 "wasted_pages", (json_int_t)now->wasted_pages,
			 "hinted_pages", (json_int_t)now->hinted_pages);
	json_object_update_new(json, json_pack("{s:I, s:I, s:I, s:I}",
					       "verified_chunks", (json_int_t)now->verified_chunks,
					       "unverifiable_chunks",
					       (json_int_t)now->unverifiable_chunks,
					       "different_chunks",
					       (json_int_t)now->different_chunks,
					       "different_page",
					       (json_int_t)now->different_page));
	for (int i = 0; i < YAB_WAITS; i++)
		json_object_set_new(json, yab_worker_waits[i],
				    yab_statistics_histogram(yab_pager_latency(worker->pager, i)));
	return json;
}

/* If they changed. False if they could not be sent: they go with the next ones. */
static bool yab_worker_report_statistics(struct yab_worker *worker)
{
	if (worker->source && memcmp(&worker->source_sent, yab_source_statistics(worker->source),
				     sizeof(worker->source_sent))) {
		if (!yab_worker_send(worker, yab_worker_source_statistics(worker)))
			return false;
		worker->source_sent = *yab_source_statistics(worker->source);
	}
	if (worker->pager && memcmp(&worker->pager_sent, yab_pager_statistics(worker->pager),
				    sizeof(worker->pager_sent))) {
		if (!yab_worker_send(worker, yab_worker_pager_statistics(worker)))
			return false;
		worker->pager_sent = *yab_pager_statistics(worker->pager);
	}
	return true;
}

static void yab_worker_report_complete(struct yab_worker *worker)
{
	/* The supervisor compares the pages in the statistics with its own count. */
	if (!worker->complete_due || !yab_worker_report_statistics(worker))
		return;
	if (yab_worker_send(worker, json_pack("{s:s}", "type", "complete")))
		worker->complete_due = false;
}

static void yab_worker_on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct yab_worker *worker = arg;

	(void)fd;
	(void)what;
	yab_worker_report_link(worker, YAB_WIRE_URGENT, 0);
	for (unsigned int i = 0; i < YAB_WIRE_BULKS_MAX; i++)
		yab_worker_report_link(worker, YAB_WIRE_BULK, i);
	yab_worker_report_complete(worker);
	yab_worker_report_statistics(worker);
}

/*
 * A guest may be waiting, whether or not there is a supervisor. A connection that is
 * being opened may be the one that it waits for.
 */
static bool yab_worker_is_needed(const struct yab_worker *worker)
{
	if (worker->source)
		return worker->opening_count || yab_source_is_in_use(worker->source);
	return worker->pager && !yab_pager_is_complete(worker->pager) &&
	       (worker->opening_count || yab_pager_has_connections(worker->pager));
}

static void yab_worker_leave_if_useless(struct yab_worker *worker)
{
	if (worker->state != YAB_WORKER_ORPHANED || yab_worker_is_needed(worker))
		return;
	if (worker->pager && !yab_pager_is_complete(worker->pager)) {
		yab_log_error(worker->vm, "no supervisor, no connection: pages are missing");
		yab_worker_leave(worker, EXIT_FAILURE);
	} else {
		yab_worker_leave(worker, EXIT_SUCCESS);
	}
}

/*
 * The connection @number is lost, or could not be opened. The end of one in use must not hide
 * that of a newer one: the supervisor waits for that.
 */
static void yab_worker_note_lost(struct yab_worker *worker, enum yab_wire_role role,
				 unsigned int index, uint32_t number, const char *error)
{
	struct yab_worker_link *link = yab_worker_link(worker, role, index);

	if (link->due == YAB_WORKER_NO_NEWS || number >= link->due_number) {
		link->due = YAB_WORKER_LOST;
		link->due_number = number;
		snprintf(link->error, sizeof(link->error), "%s", error);
		yab_worker_report_link(worker, role, index);
	}
	yab_worker_leave_if_useless(worker);
}

/* The one in use. */
static void yab_worker_on_lost(enum yab_wire_role role, unsigned int index, const char *error,
			       void *arg)
{
	struct yab_worker *worker = arg;

	yab_worker_note_lost(worker, role, index, yab_worker_link(worker, role, index)->number,
			     error);
}

static void yab_worker_on_complete(void *arg)
{
	struct yab_worker *worker = arg;

	yab_log_info(worker->vm, "all %llu pages are present", (unsigned long long)worker->pages);
	worker->complete_due = true;
	yab_worker_report_complete(worker);
	if (worker->state == YAB_WORKER_ORPHANED)
		yab_worker_leave(worker, EXIT_SUCCESS);
}

static void yab_worker_on_failed(const char *error, void *arg)
{
	yab_worker_fail(arg, error);
}

static const struct yab_pager_ops yab_worker_pager_ops = {
	.declare = yab_region_declare,
	.present = yab_region_present,
	.lost = yab_worker_on_lost,
	.complete = yab_worker_on_complete,
	.failed = yab_worker_on_failed,
};

/* The next of the message's descriptors, which is now the caller's, or -1. */
static int yab_worker_take_fd(int *fds, size_t fd_count, size_t which)
{
	int fd = -1;

	if (which < fd_count) {
		fd = fds[which];
		fds[which] = -1;
	}
	return fd;
}

/* Where the source's pages are. NULL with errno. */
static struct yab_backing *yab_worker_backing(struct yab_worker *worker, json_t *message)
{
	const char *kind = json_string_value(json_object_get(message, "kind"));
	json_t *spans = json_object_get(message, "spans"), *entry;
	struct yab_backing_span list[YAB_BACKING_SPANS_MAX];
	json_int_t address, length, page;
	size_t i;

	if (!kind || !strcmp(kind, "memory"))
		return yab_backing_memory(worker->memory_fd, worker->pages);
	if (!strcmp(kind, "image"))
		return yab_backing_image(worker->memory_fd, worker->pages);
	errno = EINVAL;
	if (strcmp(kind, "process") || json_array_size(spans) > YAB_BACKING_SPANS_MAX)
		return NULL;
	json_array_foreach(spans, i, entry) {
		if (json_unpack(entry, "{s:I, s:I, s:I}", "address", &address, "length", &length,
				"page", &page) < 0 || address < 0 || length < 0 || page < 0) {
			errno = EINVAL;
			return NULL;
		}
		list[i] = (struct yab_backing_span){ (uint64_t)address, (uint64_t)length,
						     (uint64_t)page };
	}
	return yab_backing_process(worker->memory_fd, list, json_array_size(spans), worker->pages);
}

static void yab_worker_start(struct yab_worker *worker, json_t *message, int *fds,
			     size_t fd_count)
{
	struct yab_sandbox_needs needs = { .process = 0 };
	const char *side, *vm, *policy = NULL;
	char error[YAB_WORKER_ERROR_SIZE];
	struct yab_backing *backing;
	enum yab_codec_kind codec;
	int checksums_fd = -1;
	bool is_source;
	json_int_t pages;

	if (worker->state != YAB_WORKER_NEW) {
		yab_log_error(worker->vm, "worker: started twice");
		return;
	}
	if (json_unpack(message, "{s:s, s:s, s:I, s?s}", "side", &side, "vm", &vm,
			"pages", &pages, "policy", &policy) < 0 ||
	    pages < 1 || (policy && !yab_policy_is_valid(policy)) ||
	    (strcmp(side, "source") && strcmp(side, "destination")) || !fd_count) {
		yab_worker_fail(worker, "the start message is not understood");
		return;
	}
	is_source = !strcmp(side, "source");
	worker->vm = strdup(vm);	/* without memory for it the log does without */
	yab_log_session_begin(&worker->session, worker->vm,
			      json_string_value(json_object_get(message, "session")));
	yab_log_set_debug(json_is_true(json_object_get(message, "debug")));
	worker->pages = (uint64_t)pages;
	worker->memory_fd = yab_worker_take_fd(fds, fd_count, 0);
	if (is_source) {
		backing = yab_worker_backing(worker, message);
		needs.process = backing ? backing->process : 0;
		worker->source = yab_source_new(worker->base, worker->vm, backing,
						yab_worker_on_lost, worker);
	} else {
		/* What the last one is for is said; it stays the message's, which is enough. */
		if (json_is_true(json_object_get(message, "verify")))
			checksums_fd = fds[--fd_count];
		worker->pager_fd = yab_worker_take_fd(fds, fd_count, 1);
		worker->pager = yab_pager_new(worker->base, worker->vm, worker->memory_fd,
					      worker->pager_fd, worker->pages, policy,
					      &yab_worker_pager_ops, worker);
		if (worker->pager && json_is_false(json_object_get(message, "sweep")))
			yab_pager_sweep(worker->pager, false);
	}
	if (!worker->source && !worker->pager) {
		snprintf(error, sizeof(error), "cannot use the memory: %s", strerror(errno));
		yab_worker_fail(worker, error);
		return;
	}
	codec = yab_codec_named(json_string_value(json_object_get(message, "codec")));
	if ((worker->source ? yab_source_pack(worker->source, codec) :
			      yab_pager_unpack(worker->pager, codec)) < 0) {
		yab_worker_fail(worker, "no memory to compress or decompress pages");
		return;
	}
	if (checksums_fd >= 0 && yab_pager_verify(worker->pager, checksums_fd) < 0) {
		snprintf(error, sizeof(error), "cannot keep checksums: %s", strerror(errno));
		yab_worker_fail(worker, error);
		return;
	}
	/* Shown by ps; /proc/self/exe would leave "exe" there. */
	prctl(PR_SET_NAME, is_source ? "yabusame-source" : "yabusame-pager");
	/* Connections within a host may do without TLS, and with --plain all do. */
	if (yab_rehearsal_hold(error, sizeof(error)) < 0)
		yab_log_warn(worker->vm, "worker: %s", error);
	/* Before the first byte of another host is looked at. */
	if (worker->confined && yab_sandbox_enter(&needs, error, sizeof(error)) < 0) {
		yab_worker_fail(worker, error);
		return;
	}
	yab_worker_move(worker, YAB_WORKER_RUNNING);
	if (worker->pager && yab_pager_start(worker->pager) < 0)
		yab_worker_fail(worker, "no memory to wait for faults");
}

/* A connection that is being opened: it replaces the old one when it is open. */
struct yab_worker_opening {
	LIST_ENTRY(yab_worker_opening) link;
	struct yab_worker *worker;
	enum yab_wire_role role;
	unsigned int index;
	uint32_t number;
	struct yab_opening *opening;
	char name[YAB_WORKER_NAME_SIZE];
};

static void yab_worker_opening_free(struct yab_worker_opening *entry)
{
	LIST_REMOVE(entry, link);
	entry->worker->opening_count--;
	yab_opening_cancel(entry->opening);
	free(entry);
}

static void yab_worker_opened(int fd, SSL *ssl, const char *error, void *arg)
{
	struct yab_worker_opening *entry = arg;
	struct yab_worker *worker = entry->worker;
	const enum yab_wire_role role = entry->role;
	const unsigned int index = entry->index;
	const uint32_t number = entry->number;
	const char *role_name = yab_wire_role_name(role);
	char text[128] = "plain TCP";
	int ret;

	entry->opening = NULL;
	if (fd < 0) {
		/* A stranger's at the destination is no loss: the one in use goes on. */
		if (worker->pager)
			yab_log_warn(worker->vm, "%s connection %u of %s: %s", role_name, index,
				     entry->name, error);
		yab_worker_opening_free(entry);
		/* The supervisor says so, once, and tries again. */
		if (worker->source)
			yab_worker_note_lost(worker, role, index, number, error);
		else
			yab_worker_leave_if_useless(worker);
		return;
	}
	if (ssl)
		yab_tls_describe(ssl, text, sizeof(text));
	yab_log_info(worker->vm, "%s connection %u of %s: %s", role_name, index, entry->name,
		     text);
	yab_worker_opening_free(entry);
	ret = worker->source ? yab_source_connect(worker->source, role, index, fd, ssl) :
			       yab_pager_connect(worker->pager, role, index, fd, ssl);
	/* The loss of the one that is replaced is no news any more. */
	if (ret < 0)
		yab_worker_note_lost(worker, role, index, number, strerror(errno));
	else
		yab_worker_note_open(worker, role, index, number);
}

/* Starts to open @fd, which it takes over. 0, or -1 with one line in @error. */
static int yab_worker_open(struct yab_worker *worker, int fd,
			   const struct yab_opening_terms *terms, char *error, size_t error_size)
{
	struct yab_worker_opening *entry = NULL;

	snprintf(error, error_size, "out of memory");
	if (worker->opening_count >= YAB_WORKER_OPENINGS)
		snprintf(error, error_size, "too many connections that are not open yet");
	else
		entry = calloc(1, sizeof(*entry));
	if (!entry) {
		close(fd);
		return -1;
	}
	entry->worker = worker;
	entry->role = terms->role;
	entry->index = terms->index;
	entry->number = terms->number;
	snprintf(entry->name, sizeof(entry->name), "%s", terms->name);
	LIST_INSERT_HEAD(&worker->openings, entry, link);
	worker->opening_count++;
	entry->opening = yab_opening_new(worker->base, fd, terms, yab_worker_opened, entry, error,
					 error_size);
	if (entry->opening)
		return 0;
	yab_worker_opening_free(entry);
	return -1;
}

static void yab_worker_take_connection(struct yab_worker *worker, json_t *message, int *fds,
				       size_t fd_count)
{
	const char *role = NULL, *token_text = NULL, *name = NULL, *host = NULL;
	json_int_t index = 0, number = 0;
	struct yab_credentials *credentials = NULL;
	uint8_t token[YAB_WIRE_TOKEN_SIZE];
	char error[YAB_WORKER_ERROR_SIZE] = "no credentials came along";
	struct yab_opening_terms terms = {
		.side = worker->source ? YAB_CREDENTIALS_CLIENT : YAB_CREDENTIALS_SERVER,
		.token = token,
		.kernel = true,
		.timeout_ms = YAB_WORKER_OPENING_MS,
	};
	int tls = 0, result = -1;

	if (json_unpack(message, "{s:s, s:I, s:I, s:s, s:b, s:s, s?s}", "role", &role, "index",
			&index, "number", &number, "token", &token_text, "tls", &tls, "name", &name,
			"host", &host) < 0 ||
	    yab_wire_role_named(role) == YAB_WIRE_CONTROL || index < 0 ||
	    index >= YAB_WIRE_BULKS_MAX || number < 0 || number > UINT32_MAX || !fd_count ||
	    yab_token_parse(token_text, token) < 0 || worker->state != YAB_WORKER_RUNNING) {
		yab_log_error(worker->vm, "worker: connection of no use");
		return;
	}
	terms.role = yab_wire_role_named(role);
	terms.index = (unsigned int)index;
	terms.number = (uint32_t)number;
	terms.name = name;
	terms.host = worker->source ? host : NULL;
	if (tls && fd_count > 1) {
		credentials = yab_credentials_import(fds[1]);
		snprintf(error, sizeof(error), "%s", strerror(errno));
	}
	/* The other end of a socket that is to be TLS is never spoken to without. */
	if (!tls || (credentials && (terms.host || !worker->source))) {
		terms.credentials = credentials;
		result = yab_worker_open(worker, yab_worker_take_fd(fds, fd_count, 0), &terms,
					 error, sizeof(error));
	}
	yab_credentials_free(credentials);
	if (result < 0) {
		yab_log_warn(worker->vm, "%s connection %u of %s: %s", role, terms.index, name,
			     error);
		if (worker->source)
			yab_worker_note_lost(worker, terms.role, terms.index, terms.number,
					     error);
	}
}

static void yab_worker_limit(struct yab_worker *worker, json_t *message)
{
	const json_int_t bandwidth = json_integer_value(json_object_get(message, "bandwidth"));

	yab_pager_limit(worker->pager, bandwidth > 0 ? (uint64_t)bandwidth : 0);
}

static void yab_worker_hint(struct yab_worker *worker, json_t *message)
{
	struct yab_hints hints;

	if (yab_hints_parse(&hints, json_object_get(message, "ranges"), worker->pages) < 0)
		yab_log_error(worker->vm, "worker: hints that are none");
	else
		yab_pager_hint(worker->pager, &hints);
}

static void yab_worker_orphan(struct yab_worker *worker)
{
	yab_channel_free(worker->channel);
	worker->channel = NULL;
	if (worker->state == YAB_WORKER_RUNNING && yab_worker_is_needed(worker)) {
		yab_worker_move(worker, YAB_WORKER_ORPHANED);
		yab_log_warn(worker->vm, "the supervisor is gone: going on while pages are missing");
		return;
	}
	yab_worker_leave(worker, EXIT_SUCCESS);
}

static void yab_worker_on_message(json_t *message, const int *fds, size_t fd_count, void *arg)
{
	struct yab_worker *worker = arg;
	int own[YAB_CHANNEL_FDS];
	const char *type;

	if (!message) {
		yab_worker_orphan(worker);
		return;
	}
	/* Who keeps a descriptor puts -1 in its place; the others are closed below. */
	for (size_t i = 0; i < fd_count; i++)
		own[i] = fds[i];
	type = json_string_value(json_object_get(message, "type"));
	if (type && !strcmp(type, "start"))
		yab_worker_start(worker, message, own, fd_count);
	else if (type && !strcmp(type, "connection"))
		yab_worker_take_connection(worker, message, own, fd_count);
	else if (type && !strcmp(type, "serve") && worker->source)
		yab_source_serve(worker->source);
	else if (type && !strcmp(type, "end"))
		yab_worker_leave(worker, EXIT_SUCCESS);
	else if (type && !strcmp(type, "limit") && worker->pager)
		yab_worker_limit(worker, message);
	else if (type && !strcmp(type, "hints") && worker->pager)
		yab_worker_hint(worker, message);
	else if (type && !strcmp(type, "sweep") && worker->pager)
		yab_pager_sweep(worker->pager, true);
	else
		yab_log_error(worker->vm, "worker: message of type %s is not understood",
			      type ? type : "(none)");
	for (size_t i = 0; i < fd_count; i++)
		if (own[i] >= 0)
			close(own[i]);
}

static struct event_base *yab_worker_base(void)
{
	struct event_base *base = event_base_new();

	if (base && event_base_priority_init(base, YAB_PRIORITIES) < 0) {
		event_base_free(base);
		return NULL;
	}
	return base;
}

int yab_worker_main(bool confined)
{
	static const struct timeval interval = { .tv_usec = YAB_WORKER_TICK_US };
	struct yab_worker worker = {
		.state = YAB_WORKER_NEW,
		.status = EXIT_FAILURE,
		.confined = confined,
		.memory_fd = -1,
		.pager_fd = -1,
		.openings = LIST_HEAD_INITIALIZER(worker.openings),
	};
	struct yab_worker_opening *opening;

	/*
	 * What ends the daemon (Ctrl-C, a service that is stopped, a hangup) reaches its
	 * whole group. A worker ends when its channel does, if no guest needs it.
	 */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* sendfile() has no flag against it; a lost connection is an ordinary event. */
	signal(SIGPIPE, SIG_IGN);
	worker.base = yab_worker_base();
	if (!worker.base)
		goto out;
	worker.channel = yab_channel_new(worker.base, YAB_WORKER_FD, yab_worker_on_message,
					 &worker);
	if (!worker.channel)
		goto free_base;
	worker.tick = event_new(worker.base, -1, EV_PERSIST, yab_worker_on_tick, &worker);
	if (!worker.tick)
		goto free_channel;
	event_priority_set(worker.tick, YAB_PRIORITY_URGENT);
	if (event_add(worker.tick, &interval) < 0)
		goto free_tick;

	/*
	 * The loop returns at a failure of epoll_wait(), too: with a guest waiting, that
	 * is no reason to leave.
	 */
	while (worker.state != YAB_WORKER_LEAVING)
		if (event_base_dispatch(worker.base) == 1)
			break;

	while ((opening = LIST_FIRST(&worker.openings)))
		yab_worker_opening_free(opening);
	yab_source_free(worker.source);
	yab_pager_free(worker.pager);
	if (worker.memory_fd >= 0)
		close(worker.memory_fd);
	if (worker.pager_fd >= 0)
		close(worker.pager_fd);
	yab_log_session_end(&worker.session);
	free(worker.vm);
free_tick:
	event_free(worker.tick);
free_channel:
	yab_channel_free(worker.channel);
free_base:
	event_base_free(worker.base);
out:
	return worker.status;
}
