// SPDX-License-Identifier: GPL-2.0-or-later
#include "api.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "incoming.h"
#include "log.h"
#include "outgoing.h"
#include "rescue.h"
#include "restore.h"
#include "save.h"
#include "text.h"

#define YAB_API_CLIENTS_MAX	64
/* Of those, for root and the daemon's own account only. */
#define YAB_API_CLIENTS_OWN	16
/* More, who are told why they cannot be served. */
#define YAB_API_CLIENTS_REFUSED	16
#define YAB_API_LINE_MAX	65536
#define YAB_API_ERROR_MAX	1024
/*
 * For a client that does not read, progress is left out, no further request is looked at,
 * and when it has taken nothing for a while it is closed.
 */
#define YAB_API_OUTPUT_HIGH	(256 * 1024)
#define YAB_API_WRITE_SECONDS	30
#define YAB_API_REFUSE_SECONDS	5

struct yab_client;

/* What takes time. It outlives its client, not the API. */
struct yab_api_request {
	LIST_ENTRY(yab_api_request) link;
	struct yab_api *api;
	struct yab_client *client;	/* NULL: went away */
	char vm[YAB_NAME_SIZE];
};

struct yab_client {
	LIST_ENTRY(yab_client) link;
	struct yab_api *api;
	struct bufferevent *socket;
	struct yab_api_request *request;	/* the one under way; others wait */
	bool looking;				/* at its lines, further down the stack */
	bool refused;				/* was told so; its requests are thrown away */
	struct ucred who;
};

struct yab_api {
	struct yab_supervisor *supervisor;
	struct evconnlistener *listener;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	unsigned int clients_count;
	LIST_HEAD(, yab_client) clients;
	LIST_HEAD(, yab_api_request) requests;
};

struct yab_api_command {
	const char *name;
	bool begins;		/* refused while the daemon is ending */
	bool changes;		/* logged */
	void (*run)(struct yab_client *client, const char *vm, json_t *request);
};

static void yab_client_lines(struct yab_client *client);

static void yab_client_free(struct yab_client *client)
{
	if (client->request)
		client->request->client = NULL;
	LIST_REMOVE(client, link);
	client->api->clients_count--;
	bufferevent_free(client->socket);
	free(client);
}

/* Steals @json. */
static void yab_client_say(struct yab_client *client, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (!text) {
		bufferevent_write(client->socket, "{\"error\": \"out of memory\"}\n", 27);
		return;
	}
	bufferevent_write(client->socket, text, strlen(text));
	bufferevent_write(client->socket, "\n", 1);
	free(text);
}

static void yab_client_refuse(struct yab_client *client, const char *error)
{
	char text[YAB_API_ERROR_MAX];

	snprintf(text, sizeof(text), "%s", error);
	/* It may quote a file, QEMU or the request itself. */
	yab_text_tame(text);
	yab_client_say(client, json_pack("{s:s}", "error", text));
}

static struct yab_api_request *yab_api_request_new(struct yab_client *client, const char *vm)
{
	struct yab_api_request *request = calloc(1, sizeof(*request));

	if (!request) {
		yab_client_refuse(client, "out of memory");
		return NULL;
	}
	request->api = client->api;
	request->client = client;
	snprintf(request->vm, sizeof(request->vm), "%s", vm);
	client->request = request;
	LIST_INSERT_HEAD(&client->api->requests, request, link);
	return request;
}

static void yab_api_request_free(struct yab_api_request *request)
{
	if (request->client)
		request->client->request = NULL;
	LIST_REMOVE(request, link);
	free(request);
}

/* Answers with @json (stolen), or with @error if there is one. */
static void yab_api_request_end(struct yab_api_request *request, json_t *json, const char *error)
{
	struct yab_client *client = request->client;

	yab_api_request_free(request);
	if (client && error) {
		json_decref(json);
		yab_client_refuse(client, error);
	} else if (client) {
		yab_client_say(client, json);
	} else {
		json_decref(json);
	}
	if (client)
		yab_client_lines(client);
}

static json_t *yab_api_job(struct yab_api *api, const char *vm)
{
	struct yab_job *job = yab_jobs_find(api->supervisor->jobs, vm);

	return job ? yab_job_json(job) : NULL;
}

static void yab_api_done(const char *error, void *arg)
{
	yab_api_request_end(arg, json_pack("{s:b}", "ok", 1), error);
}

/* For a migration past its commit. */
static void yab_api_destroy_forced(struct yab_api_request *request)
{
	struct yab_supervisor *supervisor = request->api->supervisor;
	char error[YAB_WIRE_ERROR_MAX];
	struct yab_vm *vm;

	if (yab_rescue_abandon(supervisor, request->vm, true, error, sizeof(error)) < 0) {
		yab_api_request_end(request, NULL, error);
		return;
	}
	/* A guest that had all its pages, or was being saved, goes on. */
	vm = yab_vms_find(supervisor->vms, request->vm);
	if (!vm || vm->state == YAB_VM_STOPPING || vm->state == YAB_VM_GONE) {
		yab_api_done(NULL, request);
	} else if (vm->state == YAB_VM_OUTGOING) {
		snprintf(error, sizeof(error),
			 "VM %s is saved no more, and is given back: destroy it when it runs",
			 request->vm);
		yab_api_request_end(request, NULL, error);
	} else if (yab_vm_destroy(vm, yab_api_done, request, error, sizeof(error)) < 0) {
		yab_api_request_end(request, NULL, error);
	}
}

static void yab_api_destroy(struct yab_client *client, const char *vm, json_t *json)
{
	struct yab_supervisor *supervisor = client->api->supervisor;
	struct yab_job *job = yab_jobs_find(supervisor->jobs, vm);
	struct yab_vm *found = yab_vms_find(supervisor->vms, vm);
	const bool force = json_is_true(json_object_get(json, "force"));
	char error[YAB_WIRE_ERROR_MAX], doing[320];
	struct yab_api_request *request;

	request = yab_api_request_new(client, vm);
	if (!request)
		return;
	if (yab_description_name_check(vm, error, sizeof(error)) < 0) {
		yab_api_request_end(request, NULL, error);
	} else if (!found) {
		snprintf(error, sizeof(error), "no VM %s runs here: see yabctl list", vm);
		yab_api_request_end(request, NULL, error);
	} else if (yab_rescue_permit(supervisor, vm, force, error, sizeof(error)) < 0) {
		yab_api_request_end(request, NULL, error);
	} else if (job && yab_job_active(job) && force) {
		yab_api_destroy_forced(request);
	} else if (job && yab_job_active(job)) {
		yab_job_tell(job, doing, sizeof(doing));
		snprintf(error, sizeof(error),
			 "VM %s %s: destroy it when that has ended, see yabctl jobinfo %s", vm,
			 doing, vm);
		yab_api_request_end(request, NULL, error);
	} else if (yab_vm_destroy(found, yab_api_done, request, error, sizeof(error)) < 0) {
		yab_api_request_end(request, NULL, error);
	}
}

static void yab_api_progress(void *arg)
{
	struct yab_api_request *request = arg;
	struct yab_client *client = request->client;
	struct evbuffer *output;
	json_t *job;

	if (!client)
		return;
	output = bufferevent_get_output(client->socket);
	if (evbuffer_get_length(output) > YAB_API_OUTPUT_HIGH)
		return;
	job = yab_api_job(request->api, request->vm);
	if (job)
		yab_client_say(client, json_pack("{s:s, s:o}", "event", "progress", "job", job));
}

static void yab_api_migrated(const char *error, void *arg)
{
	struct yab_api_request *request = arg;
	json_t *job = yab_api_job(request->api, request->vm);

	yab_api_request_end(request, json_pack("{s:b, s:o*}", "ok", 1, "job", job), error);
}

static const struct yab_outgoing_ops yab_api_outgoing_ops = {
	.progress = yab_api_progress,
	.ended = yab_api_migrated,
};

/* A number from @json, @fallback if there is none. False if it is out of bounds. */
static bool yab_api_number(json_t *json, const char *name, json_int_t least, json_int_t most,
			   json_int_t fallback, json_int_t *number)
{
	json_t *value = json_object_get(json, name);

	*number = value ? json_integer_value(value) : fallback;
	return (!value || json_is_integer(value)) && *number >= least && *number <= most;
}

/* 1 to YAB_WIRE_BULKS_MAX connections, and a limit of the sweep. False after a refusal. */
static bool yab_api_sweep(struct yab_client *client, json_t *json, unsigned int *connections,
			  uint64_t *bandwidth)
{
	json_int_t count, limit;

	if (!yab_api_number(json, "connections", 1, YAB_WIRE_BULKS_MAX, 1, &count) ||
	    !yab_api_number(json, "bandwidth", 0, INT64_MAX, 0, &limit)) {
		yab_client_refuse(client,
				  "give 1 to 16 connections, and a bandwidth that is not negative");
		return false;
	}
	*connections = (unsigned int)count;
	*bandwidth = (uint64_t)limit;
	return true;
}

static bool yab_client_is_own(const struct yab_client *client)
{
	return !client->who.uid || client->who.uid == geteuid();
}

/*
 * Files that a request names are opened with the daemon's rights, which is root's: for a member
 * of its group they would be a way to be root. False, and @client was told.
 */
static bool yab_client_may_name_files(struct yab_client *client)
{
	if (yab_client_is_own(client))
		return true;
	yab_client_refuse(client,
			  "only root may save a VM to files, or start one from them: ask root");
	return false;
}

/* From nothing, or lazily from files. */
static void yab_api_start(struct yab_client *client, const char *vm, json_t *json)
{
	struct yab_supervisor *supervisor = client->api->supervisor;
	struct yab_restore_options options = {
		.image = json_string_value(json_object_get(json, "image")),
		.state = json_string_value(json_object_get(json, "state")),
		.paused = json_is_true(json_object_get(json, "paused")),
	};
	struct yab_api_request *request;
	char error[YAB_WIRE_ERROR_MAX];
	int result;

	if (!options.image != !options.state) {
		yab_client_refuse(client,
				  "an image is started with the device state that belongs to it, and not without: give both");
		return;
	}
	if (options.image && !yab_client_may_name_files(client))
		return;
	if (!yab_api_sweep(client, json, &options.connections, &options.bandwidth))
		return;
	request = yab_api_request_new(client, vm);
	if (!request)
		return;
	if (options.image)
		result = yab_restore_begin(supervisor, vm, &options, yab_api_done, request, error,
					   sizeof(error));
	else
		result = yab_vms_start(supervisor->vms, vm, yab_api_done, request, error,
				       sizeof(error));
	if (result < 0)
		yab_api_request_end(request, NULL, error);
}

static void yab_api_save(struct yab_client *client, const char *vm, json_t *json)
{
	const char *image = json_string_value(json_object_get(json, "image"));
	const char *state = json_string_value(json_object_get(json, "state"));
	struct yab_api_request *request;
	char error[YAB_WIRE_ERROR_MAX];

	if (!image || !state) {
		yab_client_refuse(client,
				  "a VM is saved to two files, image and device state: give both");
		return;
	}
	if (!yab_client_may_name_files(client))
		return;
	request = yab_api_request_new(client, vm);
	if (request && yab_save_begin(client->api->supervisor, vm, image, state, yab_api_done,
				      request, error, sizeof(error)) < 0)
		yab_api_request_end(request, NULL, error);
}

static void yab_api_migrate(struct yab_client *client, const char *vm, json_t *json)
{
	const char *destination = json_string_value(json_object_get(json, "destination"));
	struct yab_outgoing_options options = {
		.paused = json_is_true(json_object_get(json, "paused")),
		.verify = json_is_true(json_object_get(json, "verify")),
	};
	const char *codec = json_string_value(json_object_get(json, "codec"));
	struct yab_api_request *request;
	char error[YAB_WIRE_ERROR_MAX];

	if (!destination || yab_address_parse(destination, &options.destination) < 0) {
		yab_client_refuse(client,
				  "the destination is no host and port: give HOST, HOST:PORT or [IPV6]:PORT");
		return;
	}
	if (!yab_api_sweep(client, json, &options.connections, &options.bandwidth))
		return;
	options.codec = yab_codec_named(codec);
	if (codec && strcmp(codec, yab_codec_name(options.codec))) {
		yab_client_refuse(client,
				  "pages are compressed by lz4, zstd or none: give one of these");
		return;
	}
	request = yab_api_request_new(client, vm);
	if (request && yab_outgoing_begin(client->api->supervisor, vm, &options,
					  &yab_api_outgoing_ops, request, error,
					  sizeof(error)) < 0)
		yab_api_request_end(request, NULL, error);
}

/* On either host of a migration. */
static void yab_api_bandwidth(struct yab_client *client, const char *vm, json_t *json)
{
	struct yab_supervisor *supervisor = client->api->supervisor;
	char error[YAB_WIRE_ERROR_MAX];
	json_int_t bandwidth;

	if (yab_description_name_check(vm, error, sizeof(error)) < 0) {
		yab_client_refuse(client, error);
	} else if (!yab_api_number(json, "bandwidth", 0, INT64_MAX, -1, &bandwidth)) {
		yab_client_refuse(client, "give the bandwidth in bytes a second, 0 for no limit");
	} else if (yab_outgoing_limit(supervisor->outgoings, vm, (uint64_t)bandwidth) < 0 &&
		   yab_incomings_limit(supervisor->incomings, vm,
				       json_object_get(json, "bandwidth")) < 0) {
		snprintf(error, sizeof(error),
			 "VM %s fetches no pages and sends none, so there is nothing to limit: see yabctl jobinfo %s",
			 vm, vm);
		yab_client_refuse(client, error);
	} else {
		yab_client_say(client, json_pack("{s:b}", "ok", 1));
	}
}

/* On the source of a migration. */
static void yab_api_resume(struct yab_client *client, const char *vm, json_t *json)
{
	json_t *where = json_object_get(json, "via");
	const char *text = json_string_value(where);
	char error[YAB_WIRE_ERROR_MAX];
	struct yab_address via;

	if (yab_description_name_check(vm, error, sizeof(error)) < 0)
		yab_client_refuse(client, error);
	else if (where && (!text || yab_address_parse(text, &via) < 0))
		yab_client_refuse(client,
				  "--via is no ADDRESS, ADDRESS:PORT or [IPV6]:PORT: give another one of the destination");
	else if (yab_rescue_resume(client->api->supervisor, vm, where ? &via : NULL, error,
				   sizeof(error)) < 0)
		yab_client_refuse(client, error);
	else
		yab_client_say(client, json_pack("{s:b}", "ok", 1));
}

/* On either host of a migration. */
static void yab_api_abandon(struct yab_client *client, const char *vm, json_t *json)
{
	const bool force = json_is_true(json_object_get(json, "force"));
	char text[YAB_WIRE_ERROR_MAX];

	if (yab_description_name_check(vm, text, sizeof(text)) < 0 ||
	    yab_rescue_abandon(client->api->supervisor, vm, force, text, sizeof(text)) < 0)
		yab_client_refuse(client, text);
	else
		yab_client_say(client, json_pack("{s:b, s:s}", "ok", 1, "message", text));
}

static void yab_api_list(struct yab_client *client, const char *name, json_t *json)
{
	struct yab_supervisor *supervisor = client->api->supervisor;
	json_t *list = json_array(), *entry;
	struct yab_job *job;
	struct yab_vm *vm;

	(void)name;
	(void)json;
	for (vm = yab_vms_first(supervisor->vms); vm; vm = yab_vms_next(vm)) {
		entry = json_pack("{s:s, s:s, s:I}", "vm", vm->name, "state",
				  yab_vm_state_name(vm->state), "memory",
				  (json_int_t)vm->description->memory);
		job = yab_jobs_find(supervisor->jobs, vm->name);
		if (job && yab_job_active(job))
			json_object_set_new(entry, "job", yab_job_json(job));
		json_array_append_new(list, entry);
	}
	yab_client_say(client, json_pack("{s:b, s:o}", "ok", 1, "vms", list));
}

static void yab_api_jobinfo(struct yab_client *client, const char *vm, json_t *json)
{
	json_t *job = yab_api_job(client->api, vm);
	char error[YAB_WIRE_ERROR_MAX];

	(void)json;
	if (job) {
		yab_client_say(client, json_pack("{s:b, s:o}", "ok", 1, "job", job));
		return;
	}
	if (!yab_description_name_check(vm, error, sizeof(error)))
		snprintf(error, sizeof(error),
			 "VM %s had no migration, save or start from an image since yabusamed was started: see yabctl list for what is here",
			 vm);
	yab_client_refuse(client, error);
}

static const struct yab_api_command yab_api_commands[] = {
	{ "start", true, true, yab_api_start },
	{ "save", true, true, yab_api_save },
	{ "destroy", false, true, yab_api_destroy },
	{ "migrate", true, true, yab_api_migrate },
	{ "bandwidth", false, true, yab_api_bandwidth },
	{ "resume", false, true, yab_api_resume },
	{ "abandon", false, true, yab_api_abandon },
	{ "list", false, false, yab_api_list },
	{ "jobinfo", false, false, yab_api_jobinfo },
	{ NULL, false, false, NULL },
};

static void yab_client_line(struct yab_client *client, const char *line, size_t length)
{
	json_t *json = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(json, "command"));
	const char *vm = json_string_value(json_object_get(json, "vm"));
	const struct yab_api_command *command = yab_api_commands;

	while (command->name && (!name || strcmp(command->name, name)))
		command++;
	if (command->changes)
		yab_log_info(NULL, "\"%s\" of \"%.64s\" is asked for by uid %u, pid %d",
			     command->name, vm ? vm : "", client->who.uid, (int)client->who.pid);
	if (!command->name)
		yab_client_refuse(client, "unknown command: use a yabctl of the same version");
	else if (command->begins && client->api->supervisor->leaving)
		yab_client_refuse(client,
				  "yabusamed is ending and takes no new work: try again when it has been started again");
	else
		command->run(client, vm ? vm : "", json);
	json_decref(json);
}

/* Whoever does not read is not answered any more. */
static bool yab_client_is_full(struct yab_client *client)
{
	struct evbuffer *output = bufferevent_get_output(client->socket);

	return evbuffer_get_length(output) > YAB_API_OUTPUT_HIGH;
}

/* One request at a time; the next line is looked at when it was answered. */
static void yab_client_lines(struct yab_client *client)
{
	struct evbuffer *input = bufferevent_get_input(client->socket);
	size_t length;
	char *line;

	/* A request that ends at once comes by here, too. */
	if (client->looking)
		return;
	client->looking = true;
	while (!client->request && !yab_client_is_full(client)) {
		line = evbuffer_readln(input, &length, EVBUFFER_EOL_LF);
		if (!line)
			break;
		yab_client_line(client, line, length);
		free(line);
	}
	client->looking = false;
	/*
	 * libevent calls for as long as the input is full, whether or not anything is taken
	 * from it. A client that ends is seen as long as it is not.
	 */
	if (evbuffer_get_length(input) < YAB_API_LINE_MAX)
		bufferevent_enable(client->socket, EV_READ);
	else
		bufferevent_disable(client->socket, EV_READ);
}

static void yab_client_readable(struct bufferevent *socket, void *arg)
{
	struct evbuffer *input = bufferevent_get_input(socket);
	struct yab_client *client = arg;

	if (client->refused) {
		evbuffer_drain(input, evbuffer_get_length(input));
		return;
	}
	yab_client_lines(client);
	if (client->request || yab_client_is_full(client) ||
	    evbuffer_get_length(input) < YAB_API_LINE_MAX)
		return;
	yab_log_warn(NULL, "a client of %s sent a line that is too long", client->api->path);
	yab_client_free(client);
}

static void yab_client_writable(struct bufferevent *socket, void *arg)
{
	struct yab_client *client = arg;

	(void)socket;
	if (!client->refused)
		yab_client_lines(client);
}

static void yab_client_event(struct bufferevent *socket, short what, void *arg)
{
	struct yab_client *client = arg;

	(void)socket;
	if (what & BEV_EVENT_TIMEOUT && !client->refused)
		yab_log_warn(NULL, "closed a client of %s (uid %u, pid %d): it reads nothing",
			     client->api->path, client->who.uid, (int)client->who.pid);
	yab_client_free(client);
}

/* The peer of @fd is in @group, as its own or as another of its groups. */
static bool yab_api_is_member(int fd, const struct ucred *who, gid_t group)
{
	socklen_t length = 0;
	bool found = false;
	gid_t *groups;

	if (group == (gid_t)-1)
		return false;
	if (who->gid == group)
		return true;
	/* Fails, and tells how many bytes it takes. */
	getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length);
	groups = malloc(length + 1);
	if (groups && !getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length))
		for (size_t i = 0; !found && i < length / sizeof(*groups); i++)
			found = groups[i] == group;
	free(groups);
	return found;
}

/* Why @client is not served, or NULL. */
static const char *yab_api_objection(const struct yab_client *client, int fd)
{
	const struct yab_api *api = client->api;
	const bool own = yab_client_is_own(client);

	if (!own && !yab_api_is_member(fd, &client->who, api->supervisor->group))
		return "only root and the members of yabusamed's --group may use this: ask root";
	if (api->clients_count >= YAB_API_CLIENTS_MAX - (own ? 0 : YAB_API_CLIENTS_OWN))
		return "too many clients of yabusamed: try again when some have ended";
	return NULL;
}

/* One line, and some time to read it. */
static void yab_client_turn_away(struct yab_client *client, const char *objection)
{
	const struct timeval patience = { .tv_sec = YAB_API_REFUSE_SECONDS };

	yab_log_warn(NULL, "refused a client of %s (uid %u, pid %d): %s", client->api->path,
		     client->who.uid, (int)client->who.pid, objection);
	client->refused = true;
	bufferevent_set_timeouts(client->socket, &patience, &patience);
	yab_client_refuse(client, objection);
}

static void yab_api_accepted(struct evconnlistener *listener, evutil_socket_t fd,
			     struct sockaddr *from, int from_length, void *arg)
{
	const struct timeval patience = { .tv_sec = YAB_API_WRITE_SECONDS };
	struct yab_api *api = arg;
	struct yab_client *client;
	socklen_t length = sizeof(struct ucred);
	const char *objection;

	(void)listener;
	(void)from;
	(void)from_length;
	if (api->clients_count >= YAB_API_CLIENTS_MAX + YAB_API_CLIENTS_REFUSED)
		goto err_fd;
	client = calloc(1, sizeof(*client));
	if (!client)
		goto err_fd;
	client->api = api;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &client->who, &length) < 0)
		goto err_client;
	/* Deferred: no callback from within a write. */
	client->socket = bufferevent_socket_new(api->supervisor->base, fd, BEV_OPT_CLOSE_ON_FREE |
						BEV_OPT_DEFER_CALLBACKS);
	if (!client->socket)
		goto err_client;
	objection = yab_api_objection(client, fd);
	LIST_INSERT_HEAD(&api->clients, client, link);
	api->clients_count++;
	bufferevent_setcb(client->socket, yab_client_readable, yab_client_writable,
			  yab_client_event, client);
	bufferevent_setwatermark(client->socket, EV_READ, 0, YAB_API_LINE_MAX);
	/* Counts only while there is something to write. */
	bufferevent_set_timeouts(client->socket, NULL, &patience);
	if (bufferevent_enable(client->socket, EV_READ | EV_WRITE) < 0)
		yab_client_free(client);
	else if (objection)
		yab_client_turn_away(client, objection);
	return;

err_client:
	free(client);
err_fd:
	close(fd);
}

struct yab_api *yab_api_new(struct yab_supervisor *supervisor, char *error, size_t error_size)
{
	const unsigned int flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct yab_api *api = calloc(1, sizeof(*api));

	if (!api) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	api->supervisor = supervisor;
	LIST_INIT(&api->clients);
	LIST_INIT(&api->requests);
	if (snprintf(api->path, sizeof(api->path), "%s/%s", supervisor->run_dir, YAB_API_SOCKET) >=
	    (int)sizeof(api->path)) {
		snprintf(error, error_size, "%s: too long for a socket: use a shorter --run-dir",
			 supervisor->run_dir);
		goto err_api;
	}
	memcpy(address.sun_path, api->path, sizeof(address.sun_path));
	/* Left by a daemon that was killed; the lock says that none is running. */
	unlink(api->path);
	api->listener = evconnlistener_new_bind(supervisor->base, yab_api_accepted, api, flags, -1,
						(struct sockaddr *)&address, sizeof(address));
	if (!api->listener || chown(api->path, (uid_t)-1, supervisor->group) < 0 ||
	    chmod(api->path, supervisor->group == (gid_t)-1 ? 0600 : 0660) < 0) {
		snprintf(error, error_size, "%s: %s", api->path, strerror(errno));
		goto err_listener;
	}
	return api;

err_listener:
	if (api->listener)
		evconnlistener_free(api->listener);
err_api:
	free(api);
	return NULL;
}

void yab_api_free(struct yab_api *api)
{
	struct yab_api_request *request;
	struct yab_client *client;

	if (!api)
		return;
	while ((client = LIST_FIRST(&api->clients)))
		yab_client_free(client);
	while ((request = LIST_FIRST(&api->requests)))
		yab_api_request_free(request);
	evconnlistener_free(api->listener);
	unlink(api->path);
	free(api);
}
