// SPDX-License-Identifier: GPL-2.0-or-later
#include "supply.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "handshake.h"
#include "log.h"
#include "statistics.h"
#include "worker.h"

/* Each try waits twice as long, until statistics show that pages flow again. */
#define YAB_SUPPLY_RETRY_MIN_MS	100
#define YAB_SUPPLY_RETRY_MAX_MS	10000
#define YAB_SUPPLY_RESPAWN_MS	1000	/* until a worker that is lost is replaced */
#define YAB_SUPPLY_END_SECONDS	5	/* for a worker to leave by itself */

enum yab_link_state {
	YAB_LINK_DOWN,		/* nothing is being done about it */
	YAB_LINK_CONNECTING,
	YAB_LINK_WAITING,	/* for the next try */
	YAB_LINK_OPENING,	/* with the worker, which does TLS and shows the token */
	YAB_LINK_UP,
	YAB_LINK_STATES,
};

static const bool yab_link_allowed[YAB_LINK_STATES][YAB_LINK_STATES] = {
	[YAB_LINK_DOWN] = { [YAB_LINK_CONNECTING] = true, [YAB_LINK_WAITING] = true },
	[YAB_LINK_CONNECTING] = { [YAB_LINK_OPENING] = true, [YAB_LINK_DOWN] = true },
	[YAB_LINK_OPENING] = { [YAB_LINK_UP] = true, [YAB_LINK_DOWN] = true },
	[YAB_LINK_WAITING] = { [YAB_LINK_CONNECTING] = true, [YAB_LINK_DOWN] = true },
	[YAB_LINK_UP] = { [YAB_LINK_DOWN] = true },
};

struct yab_link {
	struct yab_supply *supply;
	enum yab_wire_role role;
	unsigned int index;	/* among those of its role */
	uint32_t number;	/* of the connection that is there or being made */
	bool lost;		/* was told; until it is up again */
	enum yab_link_state state;
	struct yab_handshake *handshake;
	struct event *timer;
	int retry_ms;
};

struct yab_supply {
	struct event_base *base;
	struct evdns_base *dns;
	char vm[64];
	const char *kind;
	int memory_fd;
	uint64_t pages;
	struct yab_address address;
	char host[sizeof(((struct yab_address *)0)->host)];	/* whose certificate is expected */
	const struct yab_security *security;
	uint8_t route[YAB_WIRE_TOKEN_SIZE];
	uint8_t token[YAB_WIRE_TOKEN_SIZE];
	const struct yab_supply_ops *ops;
	void *arg;
	struct yab_channel *worker;
	struct yab_child *child;
	struct yab_link links[1 + YAB_WIRE_BULKS_MAX];	/* urgent first, then bulk */
	unsigned int link_count;
	enum yab_codec_kind codec;
	struct event *respawn;
	bool linked, serving, persistent;
	struct yab_statistics statistics;
};

static void yab_supply_lost_worker(struct yab_supply *supply, const char *error);
static void yab_supply_fail(struct yab_supply *supply, const char *error);

static void yab_link_set_state(struct yab_link *link, enum yab_link_state state)
{
	assert(yab_link_allowed[link->state][state]);
	link->state = state;
}

/* NULL: there is no such link. */
static struct yab_link *yab_supply_link(struct yab_supply *supply, enum yab_wire_role role,
					json_int_t index)
{
	for (unsigned int i = 0; i < supply->link_count; i++)
		if (supply->links[i].role == role && supply->links[i].index == index)
			return &supply->links[i];
	return NULL;
}

static bool yab_supply_is_linked(const struct yab_supply *supply)
{
	for (unsigned int i = 0; i < supply->link_count; i++)
		if (supply->links[i].state != YAB_LINK_UP)
			return false;
	return true;
}

/* What was told of bulk connections is over when none is lost any more. */
static void yab_link_tell_bulk(struct yab_link *link, const char *error)
{
	struct yab_supply *supply = link->supply;

	if (link->role != YAB_WIRE_BULK || !supply->ops->bulk)
		return;
	for (unsigned int i = 1; i < supply->link_count && !error; i++)
		if (supply->links[i].lost)
			return;
	supply->ops->bulk(error, supply->arg);
}

/* After the commit: an urgent connection that is not there (@error) pauses everything. */
static void yab_link_tell(struct yab_link *link, const char *error, int pause_ms)
{
	struct yab_supply *supply = link->supply;

	if (supply->persistent && link->role == YAB_WIRE_URGENT)
		supply->ops->urgent(error, error ? yab_clock_us() + pause_ms * 1000 : 0,
				    supply->arg);
}

static void yab_link_wait(struct yab_link *link, int pause_ms)
{
	const struct timeval pause = yab_clock_pause((uint64_t)pause_ms);

	yab_link_set_state(link, YAB_LINK_WAITING);
	evtimer_add(link->timer, &pause);
}

static void yab_link_back_off(struct yab_link *link)
{
	yab_link_wait(link, link->retry_ms);
	link->retry_ms *= 2;
	if (link->retry_ms > YAB_SUPPLY_RETRY_MAX_MS)
		link->retry_ms = YAB_SUPPLY_RETRY_MAX_MS;
}

/* The connection is not there: a new one, or the end. */
static void yab_link_lost(struct yab_link *link, const char *error)
{
	struct yab_supply *supply = link->supply;
	char text[YAB_WIRE_ERROR_MAX];

	if (!supply->persistent) {
		snprintf(text, sizeof(text), "%s connection %u to %.270s: %.200s",
			 yab_wire_role_name(link->role), link->index, supply->address.text, error);
		yab_supply_fail(supply, text);
		return;
	}
	/* The urgent one's owner says what there is to say. */
	if (link->lost || link->role == YAB_WIRE_URGENT)
		yab_log_debug(supply->vm, "%s connection %u: %s; next try in %d ms",
			      yab_wire_role_name(link->role), link->index, error, link->retry_ms);
	else
		yab_log_warn(supply->vm, "%s connection %u: %s; it is tried again and again",
			     yab_wire_role_name(link->role), link->index, error);
	link->lost = true;
	yab_link_tell(link, error, link->retry_ms);
	yab_link_tell_bulk(link, error);
	yab_link_back_off(link);
}

static void yab_link_greeted(int fd, const struct yab_wire_hello *hello, const char *error,
			     void *arg)
{
	struct yab_link *link = arg;
	struct yab_supply *supply = link->supply;
	struct yab_worker_connection connection = {
		.role = link->role,
		.index = link->index,
		.number = link->number,
		.side = YAB_CREDENTIALS_CLIENT,
		.token = supply->token,
		.name = supply->address.text,
		.host = supply->host,
	};
	char reason[YAB_WIRE_ERROR_MAX] = "the page worker is gone";
	int result = -1;

	link->handshake = NULL;
	if (fd >= 0) {
		connection.tls = hello->features & YAB_WIRE_TLS;
		if (supply->worker)
			result = yab_worker_connect(supply->worker, &connection, fd,
						    supply->security, reason, sizeof(reason));
		close(fd);
		error = reason;
	}
	if (result < 0) {
		yab_link_set_state(link, YAB_LINK_DOWN);
		yab_link_lost(link, error);
		return;
	}
	yab_link_set_state(link, YAB_LINK_OPENING);
}

/* The worker has opened its connection. */
static void yab_link_opened(struct yab_link *link)
{
	struct yab_supply *supply = link->supply;
	bool was_lost;

	if (link->state != YAB_LINK_OPENING)
		return;
	was_lost = link->lost;
	yab_link_set_state(link, YAB_LINK_UP);
	if (was_lost && link->role == YAB_WIRE_BULK)
		yab_log_info(supply->vm, "bulk connection %u is there again", link->index);
	link->lost = false;
	if (was_lost)
		yab_link_tell_bulk(link, NULL);
	yab_link_tell(link, NULL, 0);
	if (!supply->linked && yab_supply_is_linked(supply)) {
		supply->linked = true;
		supply->ops->linked(supply->arg);
	}
}

static void yab_link_connect(evutil_socket_t fd, short what, void *arg)
{
	struct yab_link *link = arg;
	struct yab_supply *supply = link->supply;

	(void)fd;
	(void)what;
	yab_link_set_state(link, YAB_LINK_CONNECTING);
	link->number++;
	link->handshake = yab_handshake_connect(supply->base, supply->dns, &supply->address,
						supply->security, link->role, link->index,
						link->number, supply->route,
						YAB_HANDSHAKE_TIMEOUT_MS, yab_link_greeted, link);
	if (link->handshake)
		return;
	yab_link_set_state(link, YAB_LINK_DOWN);
	yab_link_lost(link, strerror(errno));
}

/* An open connection is lost, whichever side noticed. */
static void yab_link_down(struct yab_link *link, const char *error)
{
	bool was_up;

	/* One that is being made anew already: this is news of the old one. */
	if (link->state != YAB_LINK_UP && link->state != YAB_LINK_OPENING)
		return;
	was_up = link->state == YAB_LINK_UP;
	yab_link_set_state(link, YAB_LINK_DOWN);
	if (was_up && link->supply->persistent) {
		yab_statistics_lost_connection(&link->supply->statistics);
		link->supply->ops->statistics(link->supply->statistics.now, link->supply->arg);
	}
	yab_link_lost(link, error);
}

/* Whatever was under way for the connection is dropped. */
static void yab_link_reset(struct yab_link *link)
{
	yab_handshake_cancel(link->handshake);
	link->handshake = NULL;
	evtimer_del(link->timer);
	if (link->state != YAB_LINK_DOWN)
		yab_link_set_state(link, YAB_LINK_DOWN);
}

static int yab_link_init(struct yab_link *link, struct yab_supply *supply,
			 enum yab_wire_role role, unsigned int index)
{
	link->supply = supply;
	link->role = role;
	link->index = index;
	link->retry_ms = YAB_SUPPLY_RETRY_MIN_MS;
	link->timer = evtimer_new(supply->base, yab_link_connect, link);
	return link->timer ? 0 : -1;
}

static void yab_link_release(struct yab_link *link)
{
	if (!link->timer)
		return;
	yab_link_reset(link);
	event_free(link->timer);
}

/* First tries: at once, but from the event loop. */
static void yab_supply_link_all(struct yab_supply *supply)
{
	for (unsigned int i = 0; i < supply->link_count; i++)
		yab_link_wait(&supply->links[i], 0);
}

static void yab_supply_unlink_all(struct yab_supply *supply)
{
	for (unsigned int i = 0; i < supply->link_count; i++)
		yab_link_reset(&supply->links[i]);
}

/* An image has no source. */
static const char *yab_supply_who(const struct yab_supply *supply)
{
	return supply->kind && !strcmp(supply->kind, "image") ? "the image's page worker" :
	       "the source's page worker";
}

static void yab_supply_exited(int status, void *arg)
{
	struct yab_supply *supply = arg;
	char ending[64], error[YAB_WIRE_ERROR_MAX];

	supply->child = NULL;
	yab_child_describe(status, ending, sizeof(ending));
	snprintf(error, sizeof(error), "%s %s", yab_supply_who(supply), ending);
	yab_supply_lost_worker(supply, error);
}

/*
 * What the worker says of one connection. News of another one than the last, of one that was
 * given up or replaced meanwhile, counts for nothing.
 */
static void yab_supply_news(struct yab_supply *supply, json_t *message, bool open,
			    const char *error)
{
	const char *role = json_string_value(json_object_get(message, "role"));
	const json_int_t index = json_integer_value(json_object_get(message, "index"));
	const json_int_t number = json_integer_value(json_object_get(message, "number"));
	struct yab_link *link = yab_supply_link(supply, yab_wire_role_named(role), index);

	if (!link || link->number != number)
		return;
	if (open)
		yab_link_opened(link);
	else
		yab_link_down(link, error ? error : "lost");
}

static void yab_supply_message(json_t *message, const int *fds, size_t fd_count, void *arg)
{
	struct yab_supply *supply = arg;
	const char *type = json_string_value(json_object_get(message, "type"));
	const char *error = json_string_value(json_object_get(message, "error"));
	char text[64];

	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
	if (!message) {
		snprintf(text, sizeof(text), "%s is gone", yab_supply_who(supply));
		yab_supply_lost_worker(supply, text);
	} else if (type && !strcmp(type, "statistics")) {
		for (unsigned int i = 0; i < supply->link_count; i++)
			supply->links[i].retry_ms = YAB_SUPPLY_RETRY_MIN_MS;
		yab_statistics_take(&supply->statistics, message);
		supply->ops->statistics(supply->statistics.now, supply->arg);
	} else if (type && !strcmp(type, "open")) {
		yab_supply_news(supply, message, true, NULL);
	} else if (type && !strcmp(type, "lost")) {
		yab_supply_news(supply, message, false, error);
	} else if (type && !strcmp(type, "failed")) {
		snprintf(text, sizeof(text), "%s failed", yab_supply_who(supply));
		yab_supply_lost_worker(supply, error ? error : text);
	} else {
		yab_log_warn(supply->vm, "the page worker says what nobody understands");
	}
}

static void yab_supply_drop_worker(struct yab_supply *supply)
{
	yab_channel_free(supply->worker);
	supply->worker = NULL;
	if (supply->child)
		yab_child_disown(supply->child, YAB_SUPPLY_END_SECONDS);
	supply->child = NULL;
}

/* The end, before anything depended on us; nothing comes after it. */
static void yab_supply_fail(struct yab_supply *supply, const char *error)
{
	yab_supply_drop_worker(supply);
	yab_supply_unlink_all(supply);
	supply->ops->failed(error, supply->arg);
}

/* NULL without memory. */
static json_t *yab_supply_start_message(const struct yab_supply *supply)
{
	json_t *message = yab_worker_start_message("source", supply->vm, supply->pages,
						   supply->codec, NULL, true, false);

	/* Left out it would mean a memory file. */
	if (!supply->kind || !json_object_set_new(message, "kind", json_string(supply->kind)))
		return message;
	json_decref(message);
	return NULL;
}

static int yab_supply_spawn(struct yab_supply *supply, char *error, size_t error_size)
{
	pid_t pid;

	pid = yab_worker_spawn(supply->base, yab_supply_message, supply, &supply->worker);
	if (pid < 0) {
		supply->worker = NULL;
		snprintf(error, error_size, "cannot start %s: %s",
			 yab_supply_who(supply), strerror(errno));
		return -1;
	}
	supply->child = yab_child_watch(supply->base, pid, yab_supply_exited, supply);
	if (!supply->child) {
		snprintf(error, error_size, "cannot watch %s: %s",
			 yab_supply_who(supply), strerror(errno));
		goto err_worker;
	}
	supply->ops->worker(pid, supply->arg);
	if (yab_channel_send(supply->worker,
			     yab_supply_start_message(supply),
			     &supply->memory_fd, 1) < 0 ||
	    (supply->serving && yab_supply_serve(supply) < 0)) {
		snprintf(error, error_size, "cannot tell %s what to do: %s",
			 yab_supply_who(supply), strerror(errno));
		goto err_worker;
	}
	return 0;

err_worker:
	yab_supply_drop_worker(supply);
	return -1;
}

static void yab_supply_respawn(evutil_socket_t fd, short what, void *arg)
{
	struct yab_supply *supply = arg;
	char error[YAB_WIRE_ERROR_MAX];

	(void)fd;
	(void)what;
	if (yab_supply_spawn(supply, error, sizeof(error)) < 0) {
		yab_supply_lost_worker(supply, error);
		return;
	}
	yab_supply_link_all(supply);
}

static void yab_supply_lost_worker(struct yab_supply *supply, const char *error)
{
	const struct timeval pause = yab_clock_pause(YAB_SUPPLY_RESPAWN_MS);
	char text[YAB_WIRE_ERROR_MAX];

	/* The text may belong to what goes now. */
	snprintf(text, sizeof(text), "%s", error);
	if (!supply->persistent) {
		yab_supply_fail(supply, text);
		return;
	}
	yab_supply_drop_worker(supply);
	yab_supply_unlink_all(supply);
	yab_log_error(supply->vm, "%s; another one is started", text);
	yab_statistics_lost_worker(&supply->statistics);
	supply->ops->statistics(supply->statistics.now, supply->arg);
	yab_link_tell(&supply->links[0], text, YAB_SUPPLY_RESPAWN_MS);
	evtimer_add(supply->respawn, &pause);
}

/* Without a worker yet; NULL without memory. */
static struct yab_supply *yab_supply_alloc(const struct yab_supply_terms *terms,
					   const struct yab_supply_ops *ops, void *arg)
{
	struct yab_supply *supply = calloc(1, sizeof(*supply));

	if (!supply)
		return NULL;
	supply->base = terms->base;
	supply->dns = terms->dns;
	supply->kind = terms->kind;
	supply->memory_fd = terms->memory_fd;
	supply->pages = terms->pages;
	supply->address = *terms->address;
	memcpy(supply->host, terms->address->host, sizeof(supply->host));
	supply->codec = terms->codec;
	supply->ops = ops;
	supply->arg = arg;
	supply->security = terms->security;
	memcpy(supply->route, terms->route, YAB_WIRE_TOKEN_SIZE);
	memcpy(supply->token, terms->token, YAB_WIRE_TOKEN_SIZE);
	snprintf(supply->vm, sizeof(supply->vm), "%s", terms->vm);
	supply->respawn = evtimer_new(terms->base, yab_supply_respawn, supply);
	supply->link_count = 1 + terms->bulks;
	for (unsigned int i = 0; i < supply->link_count; i++)
		if (yab_link_init(&supply->links[i], supply, i ? YAB_WIRE_BULK : YAB_WIRE_URGENT,
				  i ? i - 1 : 0) < 0)
			goto err_supply;
	if (supply->respawn)
		return supply;

err_supply:
	yab_supply_free(supply, false);
	return NULL;
}

struct yab_supply *yab_supply_new(const struct yab_supply_terms *terms,
				  const struct yab_supply_ops *ops, void *arg, char *error,
				  size_t error_size)
{
	struct yab_supply *supply = yab_supply_alloc(terms, ops, arg);

	if (!supply) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	if (yab_supply_spawn(supply, error, error_size) < 0) {
		yab_supply_free(supply, false);
		return NULL;
	}
	yab_supply_link_all(supply);
	return supply;
}

struct yab_supply *yab_supply_adopt(const struct yab_supply_terms *terms,
				    const struct yab_supply_ops *ops, void *arg)
{
	struct yab_supply *supply = yab_supply_alloc(terms, ops, arg);
	const struct timeval now = { 0 };

	if (!supply)
		return NULL;
	supply->serving = true;
	supply->persistent = true;
	supply->linked = true;
	evtimer_add(supply->respawn, &now);
	return supply;
}

void yab_supply_free(struct yab_supply *supply, bool goes_on)
{
	if (!supply)
		return;
	/* What cannot be told is seen when the channel ends, a little less quietly. */
	if (!goes_on && supply->worker)
		yab_channel_send(supply->worker, json_pack("{s:s}", "type", "end"), NULL, 0);
	for (unsigned int i = 0; i < supply->link_count; i++)
		yab_link_release(&supply->links[i]);
	yab_supply_drop_worker(supply);
	yab_statistics_release(&supply->statistics);
	if (supply->respawn)
		event_free(supply->respawn);
	free(supply);
}

int yab_supply_serve(struct yab_supply *supply)
{
	supply->serving = true;
	if (!supply->worker) {
		errno = ENOTCONN;
		return -1;
	}
	return yab_channel_send(supply->worker, json_pack("{s:s}", "type", "serve"), NULL, 0);
}

void yab_supply_persist(struct yab_supply *supply)
{
	supply->persistent = true;
}

void yab_supply_relink(struct yab_supply *supply, enum yab_wire_role role, json_int_t index,
		       json_int_t number)
{
	struct yab_link *link = yab_supply_link(supply, role, index);

	/* One that is being opened is not the one that was lost, nor is a later one. */
	if (link && link->state == YAB_LINK_UP && (!number || number == link->number))
		yab_link_down(link, "the destination lost it");
}

void yab_supply_resume(struct yab_supply *supply, const struct yab_address *via)
{
	char text[YAB_WIRE_ERROR_MAX];

	if (via)
		supply->address = *via;
	snprintf(text, sizeof(text), "connecting to %s", supply->address.text);
	for (unsigned int i = 0; i < supply->link_count; i++) {
		struct yab_link *link = &supply->links[i];

		link->retry_ms = YAB_SUPPLY_RETRY_MIN_MS;
		/* Without a worker everything begins anew when the next one is there. */
		if (!supply->worker || link->state == YAB_LINK_DOWN)
			continue;
		/* The old one stays in the worker's use until the new one is open. */
		if (!via && link->state != YAB_LINK_WAITING && link->state != YAB_LINK_CONNECTING)
			continue;
		yab_link_reset(link);
		yab_link_tell(link, text, 0);
		yab_link_wait(link, 0);
	}
}
