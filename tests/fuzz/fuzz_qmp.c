// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The client of a QEMU that says what it likes, with what asks it the most: the
 * inspection of a VM that is to leave. Every call is answered once; nobody is called
 * after the end, or after the client was freed, which any callback may do.
 *
 * The first byte says which callbacks free the client. Then each byte is one thing to do,
 * see LLVMFuzzerTestOneInput().
 */
#define _GNU_SOURCE 1
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/inspection.h"
#include "../../daemon/qmp.h"
#include "../../daemon/vm.h"
#include "fuzz.h"
#include "monitor.h"

#define STEPS_MAX	100

/* Which callbacks free the client. */
#define FREES_READY	1
#define FREES_EVENT	2
#define FREES_ANSWER	4
#define FREES_LOST	8

static struct event_base *base;
static struct yab_qmp *qmp;
static struct monitor monitor;	/* QEMU */
static uint8_t frees;
static bool lost;
static bool endless;		/* once is enough: it takes milliseconds */
static int pending;		/* calls and sequences without an answer */

/* The daemon's VM asks its QEMU for this. */
struct yab_qmp *__wrap_yab_qemu_qmp(struct yab_qemu *unused);
struct yab_qmp *__wrap_yab_qemu_qmp(struct yab_qemu *unused)
{
	(void)unused;
	return lost ? NULL : qmp;
}

static void release(uint8_t when)
{
	if (!(frees & when))
		return;
	yab_qmp_free(qmp);
	qmp = NULL;
	pending = 0;
}

static void on_ready(void *arg)
{
	(void)arg;
	fuzz_check(qmp && !lost, "ready after the end");
	release(FREES_READY);
}

static void on_event(const char *name, json_t *data, void *arg)
{
	(void)data;
	(void)arg;
	fuzz_check(qmp && !lost && name, "event after the end");
	release(FREES_EVENT);
}

static void on_lost(const char *error, void *arg)
{
	(void)arg;
	fuzz_check(qmp && !lost, "lost after the end");
	fuzz_check(!pending, "%d calls were forgotten", pending);
	fuzz_check_line(error);
	lost = true;
	release(FREES_LOST);
}

static const struct yab_qmp_ops ops = {
	.ready = on_ready,
	.event = on_event,
	.lost = on_lost,
};

static void on_answer(json_t *result, const char *error, void *arg)
{
	(void)result;
	(void)arg;
	fuzz_check(qmp && pending > 0, "an answer that nobody waits for");
	pending--;
	fuzz_check(!error || error[0], "an error without a text");
	release(FREES_ANSWER);
}

static void on_inspected(const struct yab_inspection *inspection, const char *error, void *arg)
{
	(void)arg;
	fuzz_check(qmp && pending > 0 && !inspection == !!error, "inspection");
	pending--;
	fuzz_check(!error || error[0], "an error without a text");
	/* It is the owner of the VM, and must be there for its end. */
}

static void say_line(struct fuzz_input *input)
{
	static const char * const lines[] = {
		"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n",
		"{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\n",
		"{\"event\": \"RESUME\"}\n",
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
		"{\"return\": {}, \"id\": 1000}\n",
		"\r\n",
	};
	const uint8_t which = fuzz_byte(input);
	size_t size;
	char *text;

	if (which < 128) {
		monitor_say(&monitor, lines[which % 6]);
		return;
	}
	text = fuzz_text(input, &size);
	fuzz_send(monitor.fd, text, size);
	if (which % 2)
		monitor_say(&monitor, "\n");
	free(text);
}

/* One that never ends. */
static void say_much(void)
{
	static char much[65536];

	if (endless)
		return;
	endless = true;
	memset(much, ' ', sizeof(much));
	for (size_t sent = 0; sent <= YAB_QMP_LINE_MAX && qmp && !lost; sent += sizeof(much)) {
		fuzz_send(monitor.fd, much, sizeof(much));
		fuzz_settle(base);
	}
	fuzz_check(!qmp || lost, "an endless line is taken");
}

static void ask(struct yab_vm *vm, uint8_t what)
{
	struct yab_qmp_step steps[2] = {
		{ .command = "one", .fd = -1 },
		{ .command = "two", .fd = STDIN_FILENO },
	};
	int result;

	if (!qmp || lost)
		return;
	pending++;
	if (what == 0) {
		result = yab_qmp_call(qmp, "call", json_object(), STDIN_FILENO, on_answer, NULL);
	} else if (what == 1) {
		steps[1].arguments = json_object();
		result = yab_qmp_run(qmp, steps, 2, on_answer, NULL);
	} else {
		/* Who frees the client while it is being asked frees the VM, too. */
		result = frees ? -1 : yab_inspect(vm, on_inspected, NULL);
	}
	if (result < 0 && pending)
		pending--;
}

static void begin(uint8_t how)
{
	int ours, theirs;

	frees = how & 16 ? how : 0;
	lost = false;
	endless = false;
	pending = 0;
	base = fuzz_base();
	fuzz_pair(SOCK_STREAM, &ours, &theirs);
	monitor_open(&monitor, ours);
	qmp = yab_qmp_new(base, theirs, "fuzz", &ops, NULL);
	fuzz_check(qmp, "no client");
	if (how & 32)
		return;
	/* Most of what can be said is said after the greeting. */
	monitor_greet(&monitor);
	fuzz_settle(base);
	monitor_answer(&monitor, NULL, MONITOR_GOOD);
	fuzz_settle(base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct yab_description description = { .name = "fuzz", .memory = MONITOR_MEMORY_SIZE };
	struct yab_vm vm = {
		.name = description.name,
		.description = &description,
		.memory_path = MONITOR_MEMORY,
	};
	struct fuzz_input input = { data, size };

	fuzz_note_descriptors();
	begin(fuzz_byte(&input));
	for (int step = 0; input.left && step < STEPS_MAX; step++) {
		const uint8_t what = fuzz_byte(&input) % 16;

		if (what < 3)
			monitor_answer(&monitor, &input, what);
		else if (what < 6)
			ask(&vm, what - 3);
		else if (what == 6)
			say_line(&input);
		else if (what == 7)
			monitor_close(&monitor);
		else if (what == 8 && qmp)
			yab_qmp_drain(qmp);
		else if (what == 9)
			say_much();
		else
			continue;	/* two things at once */
		fuzz_settle(base);
	}
	fuzz_settle(base);
	monitor_close(&monitor);
	fuzz_settle(base);
	fuzz_check(!qmp || lost, "the end was not told");
	yab_qmp_free(qmp);
	event_base_free(base);
	fuzz_check_descriptors();
	return 0;
}
