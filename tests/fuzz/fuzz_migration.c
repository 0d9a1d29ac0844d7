// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All of a supervisor in a migration, against the other host, its own QEMU and its own
 * worker, each of which may say anything at any time. If the first byte is even the VM
 * arrives, if it is odd it leaves. Then each byte is one thing to do, see do_step().
 *
 * The promise of docs/protocol.md is kept: a destination that has given the guest back
 * has no QEMU any more, and a source that has called Finish continues its guest only if
 * the destination said that it may.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/calls.h"
#include "../../daemon/handshake.h"
#include "../../daemon/incoming.h"
#include "../../daemon/outgoing.h"
#include "../../daemon/rescue.h"
#include "../../daemon/supervisor.h"
#include "fake.h"

#define STEPS_MAX	150
#define CALLERS		3
#define TOKEN		"\"token\": \"" FAKE_TOKEN_TEXT "\""
#define TEXT(number)	#number
#define TEXT_OF(number)	TEXT(number)
#define VERSION		TEXT_OF(YAB_WIRE_VERSION)
#define ROUTE		"\"route\": \"" FAKE_TOKEN_TEXT "\""
#define INSTANCE	"\"instance\": \"" FAKE_TOKEN_TEXT "\""

/* What a good other side says, and what a bad one might. */
static const char * const calls[] = {
	"{\"call\": \"prepare\", \"cookie\": "
	"{\"protocol\": " VERSION ", \"vm\": \"vm\", \"memory\": 1048576, \"page_size\": 4096}}",
	"{\"call\": \"finish\", " TOKEN ", \"cookie\": {\"paused\": false, \"pages\": 256}}",
	"{\"call\": \"finish\", " TOKEN ", \"cookie\": {\"paused\": true, \"pages\": 256}}",
	"{\"call\": \"abort\", " TOKEN "}",
	"{\"call\": \"attach\", " TOKEN ", " INSTANCE "}",
	"{\"call\": \"confirm\", " TOKEN "}",
	"{\"call\": \"finish\", " TOKEN ", \"cookie\": {\"pages\": 255}}",
	"{\"call\": \"prepare\", \"cookie\": "
	"{\"protocol\": " VERSION ", \"vm\": \"vm\", \"memory\": 4096, \"page_size\": 4096}}",
	"{\"call\": \"attach\", " INSTANCE "}",
	"{\"call\": \"destroy\", " TOKEN "}",
	"{\"call\": \"dirty\", " TOKEN ", \"ranges\": [[0, 8], [255, 1]]}",
	"{\"call\": \"dirty\", " TOKEN ", \"ranges\": [[255, 2]]}",
};

static const struct {
	enum yab_wire_type type;
	const char *text;
} answers[] = {
	{ YAB_WIRE_REPLY, "{\"reply\": \"prepare\", \"cookie\": "
			  "{" TOKEN ", " ROUTE ", " INSTANCE ", \"hints\": 16}}" },
	{ YAB_WIRE_EVENT, "{\"event\": \"loaded\"}" },
	{ YAB_WIRE_REPLY, "{\"reply\": \"finish\", \"cookie\": {\"running\": true}}" },
	{ YAB_WIRE_EVENT, "{\"event\": \"complete\", \"present\": 256, \"pages\": 256, "
			  "\"statistics\": {\"present\": 256}}" },
	{ YAB_WIRE_EVENT, "{\"event\": \"statistics\", \"statistics\": {\"present\": 100}}" },
	{ YAB_WIRE_EVENT, "{\"event\": \"lost\", \"role\": \"urgent\", \"number\": 1}" },
	{ YAB_WIRE_REPLY, "{\"reply\": \"attach\", \"state\": \"gone\", "
			  "\"error\": \"a\\nb\"}" },
	{ YAB_WIRE_REPLY, "{\"reply\": \"abort\"}" },
	{ YAB_WIRE_REPLY, "{\"reply\": \"attach\", \"state\": \"committed\"}" },
	{ YAB_WIRE_REPLY, "{\"reply\": \"attach\", \"state\": \"restarted\"}" },
	{ YAB_WIRE_EVENT, "{\"event\": \"stuck\", \"error\": \"no\\nmore\"}" },
	{ YAB_WIRE_EVENT, "{\"event\": \"complete\", \"present\": 255, \"pages\": 256}" },
	/* From here on they say that the guest may go on where it was. */
	{ YAB_WIRE_REPLY, "{\"reply\": \"attach\", \"state\": \"unknown\"}" },
	{ YAB_WIRE_ERROR, "it failed here" },
};

#define CALLS		ARRAY_SIZE(calls)
#define ANSWERS		ARRAY_SIZE(answers)
#define ANSWERS_FREE	(ANSWERS - 2)

static const char * const qemu_lines[] = {
	"{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\n",
	"{\"event\": \"MIGRATION\", \"data\": {\"status\": \"pre-switchover\"}}\n",
	"{\"event\": \"MIGRATION\", \"data\": {\"status\": \"failed\"}}\n",
	"{\"event\": \"STOP\"}\n",
	"{\"event\": \"RESUME\"}\n",
	"{\"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}\n",
	"{\"event\": \"MIGRATION\", \"data\": {\"status\": \"cancelled\"}}\n",
	"{\"event\": \"SHUTDOWN\"}\n",
};

static const char * const worker_messages[] = {
	"{\"type\": \"statistics\", \"present\": 256, \"pages\": 256}",
	"{\"type\": \"complete\"}",
	"{\"type\": \"lost\", \"role\": \"urgent\", \"number\": 1, \"error\": \"gone\"}",
	"{\"type\": \"lost\", \"role\": \"bulk\", \"number\": 1}",
	"{\"type\": \"failed\", \"error\": \"cannot\"}",
	"{\"type\": \"open\", \"role\": \"urgent\", \"index\": 0, \"number\": 1}",
	"{\"type\": \"open\", \"role\": \"bulk\", \"index\": 0, \"number\": 1}",
};

#define WORKER_MESSAGES	ARRAY_SIZE(worker_messages)

static struct yab_supervisor supervisor;
static bool leaving_vm;		/* the source's side */
/* The sources' ends of control connections. */
static const struct yab_origin origin = { .name = "host1" };
static int callers[CALLERS];
static int current, made;
/* What the source has called, and was told. */
static bool finish_called, guest_free, ended;
/* The operator gave the guest up; how many there were to give up. */
static bool abandoned;
static int prepared;
static uint8_t frame_bytes[YAB_WIRE_HEADER_SIZE + YAB_WIRE_JSON_MAX];
static size_t frame_size;

static int *control(void)
{
	static int host;

	host = fake_host(YAB_WIRE_CONTROL);
	return leaving_vm ? &host : &callers[current];
}

static void check_call(const json_t *json)
{
	const char *call = json_string_value(json_object_get(json, "call"));

	fuzz_check(call, "no call");
	if (!strcmp(call, "finish"))
		finish_called = true;
}

/* The only session's only connection: what is said there is said of it. */
static void check_reply(const json_t *json)
{
	const char *reply = json_string_value(json_object_get(json, "reply"));
	const char *state = json_string_value(json_object_get(json, "state"));

	fuzz_check(reply, "no reply");
	if (made == 1 && (!strcmp(reply, "abort") || (state && !strcmp(state, "unknown"))))
		fuzz_check(!fake_qemu_lives(), "%s, and there is a QEMU", reply);
	/* The guest has run here. */
	if (abandoned && prepared == 1)
		fuzz_check(!state || strcmp(state, "unknown"), "a promise after the commit");
}

static void check_frame(const struct yab_wire_header *header, const uint8_t *payload)
{
	json_t *json = NULL;

	if (header->type == YAB_WIRE_ERROR) {
		fuzz_check(!leaving_vm && header->length, "an error");
		fuzz_check(made > 1 || !fake_qemu_lives(), "an error, and there is a QEMU");
	} else if (header->type != YAB_WIRE_STATE && header->type != YAB_WIRE_STATE_END) {
		json = json_loadb((const char *)payload, header->length, 0, NULL);
		fuzz_check(json_is_object(json), "no object");
		if (header->type == YAB_WIRE_CALL)
			check_call(json);
		else if (header->type == YAB_WIRE_REPLY)
			check_reply(json);
	}
	fuzz_check(leaving_vm == (header->type == YAB_WIRE_CALL ||
				  header->type == YAB_WIRE_STATE ||
				  header->type == YAB_WIRE_STATE_END),
		   "type %d", header->type);
	json_decref(json);
}

/* Reads what the daemon says on the current control connection, hello and frames. */
static void listen_to_daemon(void)
{
	struct yab_wire_header header;
	int fd = *control();
	ssize_t n;

	while (fd >= 0 && (n = recv(fd, frame_bytes + frame_size, sizeof(frame_bytes) - frame_size,
				    MSG_DONTWAIT)) > 0) {
		frame_size += (size_t)n;
		while (frame_size) {
			size_t whole = YAB_WIRE_HEADER_SIZE;

			if (!memcmp(frame_bytes, YAB_WIRE_MAGIC, 1)) {
				whole = YAB_WIRE_HELLO_SIZE;
			} else if (frame_size >= whole) {
				fuzz_check(yab_wire_header_decode(frame_bytes, YAB_WIRE_CONTROL, 0,
								  &header) == YAB_WIRE_OK,
					   "malformed frame from the daemon");
				whole += header.length;
			}
			if (frame_size < whole)
				break;
			if (memcmp(frame_bytes, YAB_WIRE_MAGIC, 1))
				check_frame(&header, frame_bytes + YAB_WIRE_HEADER_SIZE);
			frame_size -= whole;
			memmove(frame_bytes, frame_bytes + whole, frame_size);
		}
	}
}

/* Of another connection nothing was read yet. */
static void leave_control(void)
{
	listen_to_daemon();
	fuzz_discard(*control());
	frame_size = 0;
}

static void on_asked(const char *command)
{
	if (leaving_vm && !strcmp(command, "cont"))
		fuzz_check(!finish_called || guest_free, "the guest runs on both hosts");
}

static void send_frame(enum yab_wire_type type, const void *payload, size_t length)
{
	struct yab_wire_header header = { .type = (uint16_t)type, .length = (uint32_t)length };
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	yab_wire_header_encode(bytes, &header);
	fuzz_send(*control(), bytes, sizeof(bytes));
	fuzz_send(*control(), payload, length);
}

static void send_known(struct fuzz_input *input)
{
	const uint8_t which = fuzz_byte(input);

	if (!leaving_vm) {
		prepared += !!strstr(calls[which % CALLS], "prepare");
		send_frame(YAB_WIRE_CALL, calls[which % CALLS], strlen(calls[which % CALLS]));
		return;
	}
	if (which % ANSWERS >= ANSWERS_FREE)
		guest_free = true;
	send_frame(answers[which % ANSWERS].type, answers[which % ANSWERS].text,
		   strlen(answers[which % ANSWERS].text));
}

static void send_any(struct fuzz_input *input)
{
	enum yab_wire_type type = fuzz_byte(input);
	size_t size;
	char *text = fuzz_text(input, &size);

	guest_free = true;	/* for all we know */
	prepared = 2;
	send_frame(type, text, size);
	free(text);
}

static void send_hello(struct fuzz_input *input, int fd, enum yab_wire_role role, uint8_t how)
{
	struct yab_wire_hello hello = { .version = YAB_WIRE_VERSION, .role = (uint16_t)role };
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	size_t size = sizeof(bytes);
	const uint8_t *any;

	if (role != YAB_WIRE_CONTROL && !leaving_vm)
		memcpy(hello.token, fake_token, sizeof(hello.token));
	yab_wire_hello_encode(bytes, &hello);
	if (how >= 240) {
		any = fuzz_bytes(input, &size);
		for (size_t i = 0; i < size; i++)
			bytes[i] ^= any[i];
		guest_free = true;
		size = how == 255 ? sizeof(bytes) / 2 : sizeof(bytes);
	}
	fuzz_send(fd, bytes, size);
}

/* As main.c does it. */
static void on_stranger(int fd, const struct yab_wire_hello *hello, const char *error, void *arg)
{
	char text[YAB_WIRE_ERROR_MAX] = "";
	bool *there = arg;

	*there = true;
	if (fd < 0) {
		fuzz_check(error[0], "an error without a text");
		return;
	}
	if (hello->role != YAB_WIRE_CONTROL)
		yab_incomings_connection(supervisor.incomings, fd, hello, &origin);
	else if (yab_handshake_answer(fd, YAB_WIRE_CONTROL, false) < 0)
		close(fd);
	else if (yab_caller_new(&supervisor, fd, false, &origin, &yab_calls, text,
				sizeof(text)) < 0)
		fuzz_check_line(text);
}

/* A connection to the destination, or from the source an answer to one of its own. */
static void greet(struct fuzz_input *input, enum yab_wire_role role)
{
	struct yab_handshake *handshake;
	const uint8_t how = fuzz_byte(input);
	bool there = false;
	int ours, theirs;

	if (leaving_vm) {
		if (fake_host(role) >= 0)
			send_hello(input, fake_host(role), role, how);
		fuzz_settle(supervisor.base);
		/* The preface, and where nothing comes between also the hello. */
		if (role == YAB_WIRE_CONTROL && fake_host(role) >= 0 && how < 200)
			send_hello(input, fake_host(role), role, how);
		return;
	}
	fuzz_pair(SOCK_STREAM, &ours, &theirs);
	handshake = yab_handshake_accept(supervisor.base, theirs, "host1",
					 YAB_HANDSHAKE_TIMEOUT_MS, on_stranger, &there);
	fuzz_check(handshake, "no handshake");
	send_hello(input, ours, role, how);
	fuzz_settle(supervisor.base);
	if (role == YAB_WIRE_CONTROL && how < 200) {
		send_hello(input, ours, role, how);
		fuzz_settle(supervisor.base);
	}
	if (!there)
		yab_handshake_cancel(handshake);
	if (role != YAB_WIRE_CONTROL) {
		close(ours);
		return;
	}
	leave_control();
	made++;
	current = made % CALLERS;
	if (callers[current] >= 0)
		close(callers[current]);
	callers[current] = ours;
}

static void disconnect(enum yab_wire_role role)
{
	if (role == YAB_WIRE_CONTROL)
		leave_control();
	if (leaving_vm) {
		fake_host_close(role);
	} else if (callers[current] >= 0) {
		close(callers[current]);
		callers[current] = -1;
	}
}

static void send_state(struct fuzz_input *input)
{
	static uint8_t state[4096];
	const uint8_t size = fuzz_byte(input);

	if (!leaving_vm) {
		send_frame(size ? YAB_WIRE_STATE : YAB_WIRE_STATE_END, state, 16 * (size_t)size);
		return;
	}
	/* QEMU's, into the socket that it was given. */
	monitor_listen(&fake_monitor);
	if (fake_monitor.passed_fd < 0)
		return;
	fuzz_send(fake_monitor.passed_fd, state, 16 * (size_t)size);
	if (!size) {
		close(fake_monitor.passed_fd);
		fake_monitor.passed_fd = -1;
	}
}

static void say_qemu(struct fuzz_input *input)
{
	const uint8_t which = fuzz_byte(input);
	size_t size;
	char *text;

	if (which < 200) {
		monitor_say(&fake_monitor, qemu_lines[which % 8]);
		return;
	}
	text = fuzz_text(input, &size);
	fuzz_send(fake_monitor.fd, text, size);
	monitor_say(&fake_monitor, "\n");
	free(text);
}

static void say_worker(struct fuzz_input *input)
{
	const uint8_t which = fuzz_byte(input);
	size_t size;
	char *text;

	if (which < 200) {
		fuzz_send(fake_worker(), worker_messages[which % WORKER_MESSAGES],
			  strlen(worker_messages[which % WORKER_MESSAGES]));
		return;
	}
	text = fuzz_text(input, &size);
	fuzz_send(fake_worker(), text, size);
	free(text);
}

/* The operator, at any time. */
static void ask_operator(uint8_t what)
{
	static const struct yab_address via = {
		.host = "host3", .port = "1", .text = "host3:1",
	};
	char text[YAB_WIRE_ERROR_MAX] = "";

	switch (what % 4) {
	case 0:
		if (!yab_rescue_resume(&supervisor, "vm", NULL, text, sizeof(text)))
			return;
		break;
	case 1:
		if (!yab_rescue_resume(&supervisor, "vm", &via, text, sizeof(text)))
			return;
		break;
	default:
		if (yab_rescue_abandon(&supervisor, "vm", what & 2, text, sizeof(text)) < 0)
			break;
		fuzz_check(!leaving_vm || ended, "abandoned before its end");
		fuzz_check(!leaving_vm || finish_called, "abandoned before the commit");
		abandoned = true;
		break;
	}
	fuzz_check_line(text);
}

static void do_step(struct fuzz_input *input)
{
	const uint8_t what = fuzz_byte(input);

	switch (what % 16) {
	case 0:
		send_known(input);
		break;
	case 1:
		send_any(input);
		break;
	case 2:
		send_state(input);
		break;
	case 3:
		/* All of them, one after the other. */
		for (int i = 0; i < 32 && monitor_answer(&fake_monitor, input, MONITOR_GOOD); i++)
			fuzz_settle(supervisor.base);
		break;
	case 4:
		monitor_answer(&fake_monitor, input, MONITOR_ERROR);
		break;
	case 5:
		monitor_answer(&fake_monitor, input, MONITOR_RESULT);
		break;
	case 6:
		say_qemu(input);
		break;
	case 7:
		if (what & 64)
			fake_qemu_exit();
		else
			monitor_greet(&fake_monitor);
		break;
	case 8:
		say_worker(input);
		break;
	case 9:
		/* Its region may be gone by then. */
		if (what & 128)
			fake_region_errno = what & 32 ? EIO : ENOENT;
		if (what & 64)
			fake_worker_exit();
		break;
	case 10:
		greet(input, YAB_WIRE_CONTROL);
		break;
	case 11:
		greet(input, YAB_WIRE_URGENT);
		break;
	case 12:
		greet(input, YAB_WIRE_BULK);
		break;
	case 13:
		disconnect(YAB_WIRE_CONTROL + what / 16 % 3);
		break;
	case 14:
		leave_control();
		current = what / 16 % CALLERS;
		break;
	default:
		if (!(what & 128)) {
			ask_operator(what / 16);
			break;
		}
		supervisor.leaving = true;
		yab_incomings_give_up(supervisor.incomings);
		yab_outgoings_give_up(supervisor.outgoings);
		break;
	}
	fuzz_settle(supervisor.base);
	listen_to_daemon();
	monitor_listen(&fake_monitor);
}

static void on_started(const char *error, void *arg)
{
	(void)arg;
	(void)error;
}

static void on_progress(void *arg)
{
	(void)arg;
	fuzz_check(!ended, "progress after the end");
}

static void on_ended(const char *error, void *arg)
{
	(void)arg;
	fuzz_check(!ended, "two ends");
	fuzz_check(!error || error[0], "an error without a text");
	ended = true;
}

static const struct yab_outgoing_ops outgoing_ops = {
	.progress = on_progress,
	.ended = on_ended,
};

/* A VM that runs here, and its migration. */
static void begin_outgoing(bool paused)
{
	const struct yab_outgoing_options options = {
		.destination = {
			.host = "host2", .port = "7655", .text = "host2:7655",
		},
		.paused = paused,
		.connections = 1,
	};
	char error[YAB_WIRE_ERROR_MAX] = "";

	fuzz_check(!yab_vms_start(supervisor.vms, "vm", on_started, NULL, error, sizeof(error)),
		   "%s", error);
	monitor_greet(&fake_monitor);
	fuzz_settle(supervisor.base);
	while (monitor_answer(&fake_monitor, NULL, MONITOR_GOOD))
		fuzz_settle(supervisor.base);
	fuzz_check(!yab_outgoing_begin(&supervisor, "vm", &options, &outgoing_ops, NULL, error,
				       sizeof(error)), "%s", error);
}

static void begin(uint8_t how)
{
	char error[YAB_WIRE_ERROR_MAX] = "";

	memset(&supervisor, 0, sizeof(supervisor));
	supervisor.run_dir = fuzz_folder();
	snprintf(supervisor.instance, sizeof(supervisor.instance), "%s", FAKE_TOKEN_TEXT);
	supervisor.base = fuzz_base();
	supervisor.group = (gid_t)-1;
	fuzz_check(!yab_supervisor_open(&supervisor, fuzz_folder(), NULL, error, sizeof(error)),
		   "%s", error);
	leaving_vm = how % 2;
	current = 0;
	made = 0;
	frame_size = 0;
	finish_called = false;
	guest_free = false;
	ended = false;
	abandoned = false;
	prepared = 0;
	fake_region_errno = 0;
	for (int i = 0; i < CALLERS; i++)
		callers[i] = -1;
	fake_begin(supervisor.base);
	fake_monitor.asked = on_asked;
	if (leaving_vm)
		begin_outgoing(how & 2);
}

/* As main.c does it; then the other ends, for connections that still linger. */
static void end(void)
{
	/* Who still waits for an answer is told that there will be none. */
	fake_qemu_exit();
	fuzz_settle(supervisor.base);
	yab_supervisor_close(&supervisor);
	for (int i = 0; i < CALLERS; i++)
		if (callers[i] >= 0)
			close(callers[i]);
	fake_end();
	event_base_free(supervisor.base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	json_t *json;

	fuzz_note_descriptors();
	begin(fuzz_byte(&input));
	fuzz_settle(supervisor.base);
	for (int step = 0; input.left && step < STEPS_MAX; step++) {
		do_step(&input);
		if (!yab_jobs_find(supervisor.jobs, "vm"))
			continue;
		json = yab_job_json(yab_jobs_find(supervisor.jobs, "vm"));
		fuzz_check(json, "no job for people");
		json_decref(json);
	}
	end();
	fuzz_check_descriptors();
	return 0;
}
