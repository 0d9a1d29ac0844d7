// SPDX-License-Identifier: GPL-2.0-or-later
#include "record.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

static const char * const yab_record_names[YAB_RECORD_STATES] = {
	[YAB_RECORD_NONE] = "none",
	[YAB_RECORD_LEAVING] = "leaving",
	[YAB_RECORD_ASKED] = "asked",
	[YAB_RECORD_LEFT] = "left",
	[YAB_RECORD_ARRIVING] = "arriving",
	[YAB_RECORD_COMMITTED] = "committed",
	[YAB_RECORD_ARRIVED] = "arrived",
	[YAB_RECORD_COMPLETE] = "complete",
	[YAB_RECORD_GONE] = "gone",
};

#define YAB_RECORD_TO(state)	(1U << YAB_RECORD_##state)

/* Each may be written again as it is, with other figures. */
static const unsigned int yab_record_allowed[YAB_RECORD_STATES] = {
	[YAB_RECORD_NONE] = YAB_RECORD_TO(NONE) | YAB_RECORD_TO(LEAVING) |
			    YAB_RECORD_TO(ARRIVING),
	[YAB_RECORD_LEAVING] = YAB_RECORD_TO(LEAVING) | YAB_RECORD_TO(ASKED) |
			       YAB_RECORD_TO(NONE),
	/* Back to leaving: the destination has promised that it never ran there. */
	[YAB_RECORD_ASKED] = YAB_RECORD_TO(ASKED) | YAB_RECORD_TO(LEFT) |
			     YAB_RECORD_TO(LEAVING) | YAB_RECORD_TO(NONE),
	[YAB_RECORD_LEFT] = YAB_RECORD_TO(LEFT) | YAB_RECORD_TO(NONE),
	[YAB_RECORD_ARRIVING] = YAB_RECORD_TO(ARRIVING) | YAB_RECORD_TO(COMMITTED) |
				YAB_RECORD_TO(NONE),
	[YAB_RECORD_COMMITTED] = YAB_RECORD_TO(COMMITTED) | YAB_RECORD_TO(ARRIVED) |
				 YAB_RECORD_TO(NONE),
	[YAB_RECORD_ARRIVED] = YAB_RECORD_TO(ARRIVED) | YAB_RECORD_TO(NONE),
	/* A file of its own, from its first moment to its last. */
	[YAB_RECORD_COMPLETE] = YAB_RECORD_TO(COMPLETE) | YAB_RECORD_TO(NONE),
	[YAB_RECORD_GONE] = YAB_RECORD_TO(GONE) | YAB_RECORD_TO(NONE),
};

const char *yab_record_state_name(enum yab_record_state state)
{
	return yab_record_names[state];
}

bool yab_record_may_enter(enum yab_record_state from, enum yab_record_state to)
{
	return yab_record_allowed[from] & 1U << to;
}

bool yab_record_is_session(enum yab_record_state state)
{
	return state == YAB_RECORD_COMPLETE || state == YAB_RECORD_GONE;
}

bool yab_record_is_empty(const struct yab_record *record)
{
	return !record->qemu.monitor[0] && record->migration.state == YAB_RECORD_NONE;
}

static json_t *yab_record_process(const struct yab_process *process)
{
	return json_pack("{s:i, s:I}", "pid", (int)process->pid, "start",
			 (json_int_t)process->start);
}

static json_t *yab_record_qemu(const struct yab_record_qemu *qemu)
{
	return json_pack("{s:i, s:I, s:s, s:s, s:s}", "pid", (int)qemu->process.pid, "start",
			 (json_int_t)qemu->process.start, "monitor", qemu->monitor, "memory_path",
			 qemu->memory_path, "description", qemu->description);
}

/* NULL where nothing was compared. */
static json_t *yab_record_finding(const struct yab_finding *finding)
{
	if (!finding->verified && !finding->unverifiable && !finding->different)
		return NULL;
	return json_pack("{s:I, s:I, s:I, s:I}", "verified", (json_int_t)finding->verified,
			 "unverifiable", (json_int_t)finding->unverifiable, "different",
			 (json_int_t)finding->different, "page", (json_int_t)finding->page);
}

static json_t *yab_record_migration(const struct yab_record_migration *migration)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:i, s:I, s:s, s:o*, s:o*}", "state",
			 yab_record_names[migration->state], "token", migration->token, "route",
			 migration->route, "instance", migration->instance, "session",
			 migration->session, "peer", migration->peer, "running",
			 migration->running, "connections", (int)migration->connections,
			 "bandwidth", (json_int_t)migration->bandwidth, "codec",
			 yab_codec_name(migration->codec), "worker",
			 migration->worker.pid ? yab_record_process(&migration->worker) : NULL,
			 "finding", yab_record_finding(&migration->finding));
}

char *yab_record_print(const struct yab_record *record, const char *boot)
{
	const bool migrates = record->migration.state != YAB_RECORD_NONE;
	const bool runs = record->qemu.monitor[0];
	json_t *json, *qemu = NULL, *migration = NULL;
	char *text = NULL;

	if (runs)
		qemu = yab_record_qemu(&record->qemu);
	if (migrates)
		migration = yab_record_migration(&record->migration);
	json = json_pack("{s:i, s:s, s:s, s:I}", "version", YAB_RECORD_VERSION, "boot", boot,
			 "vm", record->vm, "memory", (json_int_t)record->memory);
	/* What could not be made is never left out: the file would mean something else. */
	if (json && (!runs || !json_object_set(json, "qemu", qemu)) &&
	    (!migrates || !json_object_set(json, "migration", migration)))
		text = json_dumps(json, JSON_INDENT(1));
	json_decref(migration);
	json_decref(qemu);
	json_decref(json);
	if (text) {
		const size_t length = strlen(text);
		char *longer = realloc(text, length + 2);

		if (longer)
			memcpy(longer + length, "\n", 2);
		else
			free(text);
		text = longer;
	}
	return text;
}

/* 0, or -1 when @from does not fit. */
static int yab_record_take(char *to, size_t size, const char *from)
{
	return snprintf(to, size, "%s", from) < (int)size ? 0 : -1;
}

static int yab_record_take_process(struct yab_process *process, json_int_t pid, json_int_t start)
{
	if (pid < 0 || pid > INT_MAX || start < 0)
		return -1;
	process->pid = (pid_t)pid;
	process->start = (uint64_t)start;
	return 0;
}

static int yab_record_parse_qemu(json_t *json, struct yab_record_qemu *qemu)
{
	const char *monitor, *path, *description;
	json_int_t pid, start;

	if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:I, s:I, s:s, s:s, s:s}", "pid", &pid,
			   "start", &start, "monitor", &monitor, "memory_path", &path,
			   "description", &description) < 0 || !monitor[0])
		return -1;
	if (yab_record_take_process(&qemu->process, pid, start) < 0 ||
	    yab_record_take(qemu->monitor, sizeof(qemu->monitor), monitor) < 0 ||
	    yab_record_take(qemu->memory_path, sizeof(qemu->memory_path), path) < 0)
		return -1;
	return yab_record_take(qemu->description, sizeof(qemu->description), description);
}

static enum yab_record_state yab_record_state_named(const char *name)
{
	for (enum yab_record_state state = YAB_RECORD_NONE + 1; state < YAB_RECORD_STATES; state++)
		if (!strcmp(yab_record_names[state], name))
			return state;
	return YAB_RECORD_NONE;
}

/* 32 digits; only a source that has not called Finish may have none yet. */
static int yab_record_take_token(char *to, const char *from, enum yab_record_state state)
{
	uint8_t token[YAB_WIRE_TOKEN_SIZE];

	if (yab_token_parse(from, token) < 0 && (from[0] || state != YAB_RECORD_LEAVING))
		return -1;
	return yab_record_take(to, YAB_TOKEN_TEXT_SIZE, from);
}

/* @json may be NULL: nothing was compared. */
static int yab_record_parse_finding(json_t *json, struct yab_finding *finding)
{
	json_int_t verified = 0, unverifiable = 0, different = 0, page = 0;

	if (json && json_unpack_ex(json, NULL, JSON_STRICT, "{s:I, s:I, s:I, s:I}", "verified",
				   &verified, "unverifiable", &unverifiable, "different",
				   &different, "page", &page) < 0)
		return -1;
	if (verified < 0 || unverifiable < 0 || different < 0 || page < 0)
		return -1;
	*finding = (struct yab_finding){
		.verified = (uint64_t)verified,
		.unverifiable = (uint64_t)unverifiable,
		.different = (uint64_t)different,
		.page = (uint64_t)page,
	};
	return 0;
}

static int yab_record_parse_migration(json_t *json, struct yab_record_migration *migration)
{
	const char *state, *token, *route, *instance, *session, *peer, *codec;
	json_int_t connections, bandwidth, pid = 0, start = 0;
	json_t *finding = NULL;
	int running;

	if (json_unpack_ex(json, NULL, JSON_STRICT,
			   "{s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:I,s:I,s:s,s?{s:I,s:I},s?o}", "state",
			   &state, "token", &token, "route", &route, "instance", &instance,
			   "session", &session, "peer", &peer, "running", &running, "connections",
			   &connections, "bandwidth", &bandwidth, "codec", &codec, "worker", "pid",
			   &pid, "start", &start, "finding", &finding) < 0)
		return -1;
	migration->codec = yab_codec_named(codec);
	if (strcmp(codec, yab_codec_name(migration->codec)))
		return -1;
	migration->state = yab_record_state_named(state);
	migration->running = running;
	if (migration->state == YAB_RECORD_NONE || connections < 0 ||
	    connections > YAB_WIRE_BULKS_MAX || bandwidth < 0)
		return -1;
	migration->connections = (unsigned int)connections;
	migration->bandwidth = (uint64_t)bandwidth;
	if (yab_record_take_token(migration->token, token, migration->state) < 0 ||
	    yab_record_take_token(migration->route, route, migration->state) < 0 ||
	    yab_record_take_token(migration->instance, instance, migration->state) < 0 ||
	    yab_record_take(migration->session, sizeof(migration->session), session) < 0 ||
	    yab_record_take(migration->peer, sizeof(migration->peer), peer) < 0 ||
	    yab_record_parse_finding(finding, &migration->finding) < 0)
		return -1;
	return yab_record_take_process(&migration->worker, pid, start);
}

int yab_record_parse(const char *text, size_t length, const char *boot,
		     struct yab_record *record, char *error, size_t error_size)
{
	json_t *json, *qemu = NULL, *migration = NULL;
	const char *written = NULL, *vm = NULL;
	json_int_t version, memory = 0;
	json_error_t wrong;
	int result = -1;

	memset(record, 0, sizeof(*record));
	json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &wrong);
	if (!json_is_object(json)) {
		snprintf(error, error_size, "is torn or no record (%.100s)",
			 json ? "no object" : wrong.text);
		goto out;
	}
	version = json_integer_value(json_object_get(json, "version"));
	if (version != YAB_RECORD_VERSION) {
		snprintf(error, error_size, "is of version %lld, this yabusamed knows only %d",
			 (long long)version, YAB_RECORD_VERSION);
		goto out;
	}
	snprintf(error, error_size, "is not understood");
	if (json_unpack_ex(json, &wrong, JSON_STRICT, "{s:i, s:s, s:s, s:I, s?o, s?o}", "version",
			   &(int){ 0 }, "boot", &written, "vm", &vm, "memory", &memory, "qemu",
			   &qemu, "migration", &migration) < 0) {
		snprintf(error, error_size, "is not understood (%.100s)", wrong.text);
		goto out;
	}
	if (!yab_description_name_valid(vm) || memory <= 0 || memory % YAB_WIRE_PAGE_SIZE ||
	    yab_record_take(record->vm, sizeof(record->vm), vm) < 0 ||
	    (qemu && yab_record_parse_qemu(qemu, &record->qemu) < 0) ||
	    (migration && yab_record_parse_migration(migration, &record->migration) < 0))
		goto out;
	record->memory = (uint64_t)memory;
	/* Where nobody knows which start of the system it is, it is another one. */
	if (!boot[0] || strcmp(written, boot)) {
		/* Nor is one looked for: whoever has its arguments by now is somebody else. */
		memset(&record->qemu, 0, sizeof(record->qemu));
		record->migration.worker.pid = 0;
		record->migration.worker.start = 0;
	}
	result = 0;
out:
	json_decref(json);
	return result;
}
