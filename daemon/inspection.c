// SPDX-License-Identifier: GPL-2.0-or-later
#include "inspection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ram.h"
#include "text.h"
#include "yabusame/wire.h"

/* The first round of questions, and where their answers are. */
enum {
	YAB_ASK_STATUS,
	YAB_ASK_MEMDEV,
	YAB_ASK_SUMMARY,
	YAB_ASK_VERSION,
	YAB_ASK_UUID,
	YAB_ASK_BACKEND,
	YAB_ASKED,
};

/* The second one, about the backend that the first one found. */
enum {
	YAB_ASK_TYPE,
	YAB_ASK_PATH,
	YAB_ASKED_BACKEND,
};

struct yab_inquiry {
	struct yab_vm *vm;
	struct yab_inspection result;
	yab_inspection_cb cb;
	void *arg;
};

static void yab_inspection_end(struct yab_inquiry *inquiry, const char *error)
{
	struct yab_inquiry ended = *inquiry;

	free(inquiry);
	ended.cb(error ? NULL : &ended.result, error, ended.arg);
}

/*
 * QEMU leaves RAM out of its stream (x-ignore-shared) only if it is a shared,
 * named file; and what is sent instead is our memory file.
 */
static void yab_inspection_backend(json_t *results, const char *error, void *arg)
{
	struct yab_inquiry *inquiry = arg;
	struct yab_vm *vm = inquiry->vm;
	struct yab_ram ram = { .memory = vm->memory_path, .shared = true, .size = -1 };
	char text[YAB_WIRE_ERROR_MAX];

	/* A backend of another type has no such property. */
	if (error) {
		snprintf(text, sizeof(text), "memory of VM %s: %.120s: " YAB_RAM_HINT, vm->name,
			 error);
		yab_inspection_end(inquiry, text);
		return;
	}
	ram.type = json_string_value(json_array_get(results, YAB_ASK_TYPE));
	ram.path = json_string_value(json_array_get(results, YAB_ASK_PATH));
	if (!ram.type)
		ram.type = "stranger";
	if (!ram.path)
		ram.path = "";
	if (yab_ram_check(&ram, vm->name, vm->description->memory, text, sizeof(text)) < 0) {
		yab_inspection_end(inquiry, text);
		return;
	}
	yab_inspection_end(inquiry, NULL);
}

/* The machine's memory backend among those of query-memdev. */
static json_t *yab_inspection_find(json_t *memdevs, const char *path)
{
	const char *id = path ? strrchr(path, '/') : NULL, *name;
	json_t *memdev;
	size_t i;

	id = id ? id + 1 : path;
	json_array_foreach(memdevs, i, memdev) {
		name = json_string_value(json_object_get(memdev, "id"));
		if (id && name && !strcmp(name, id))
			return memdev;
	}
	return NULL;
}

/* 0, or -1 with one line in @text. */
static int yab_inspection_check(struct yab_inquiry *inquiry, json_t *results, json_t *memdev,
				char *text, size_t size)
{
	json_t *summary = json_array_get(results, YAB_ASK_SUMMARY);
	json_int_t expected = (json_int_t)inquiry->vm->description->memory;
	json_t *status = json_array_get(results, YAB_ASK_STATUS);
	const char *name = inquiry->vm->name, *state;
	struct yab_ram ram = { .type = NULL };

	state = json_string_value(json_object_get(status, "status"));
	inquiry->result.running = json_is_true(json_object_get(status, "running"));
	if (!inquiry->result.running && (!state || strcmp(state, "paused"))) {
		snprintf(text, size,
			 "VM %s is in QEMU's state \"%.32s\": let its guest run first (cont, on a monitor of your own)",
			 name, state ? state : "?");
		return -1;
	}
	ram.shared = json_is_true(json_object_get(memdev, "share"));
	ram.size = json_integer_value(json_object_get(memdev, "size"));
	if (ram.size == expected &&
	    __builtin_add_overflow(json_integer_value(json_object_get(summary, "base-memory")),
				   json_integer_value(json_object_get(summary, "plugged-memory")),
				   &ram.size))
		ram.size = INT64_MAX;
	/* That would be one that is not known. */
	if (ram.size < 0)
		ram.size = INT64_MAX;
	return yab_ram_check(&ram, name, (uint64_t)expected, text, size);
}

static void yab_inspection_answered(json_t *results, const char *error, void *arg)
{
	struct yab_inquiry *inquiry = arg;
	struct yab_inspection *result = &inquiry->result;
	struct yab_vm *vm = inquiry->vm;
	char text[YAB_WIRE_ERROR_MAX], object[128];
	const char *uuid, *id;
	json_t *memdev, *version;
	struct yab_qmp_step steps[YAB_ASKED_BACKEND];
	static const char * const properties[YAB_ASKED_BACKEND] = {
		[YAB_ASK_TYPE] = "type",
		[YAB_ASK_PATH] = "mem-path",
	};

	if (error) {
		yab_inspection_end(inquiry, error);
		return;
	}
	id = json_string_value(json_array_get(results, YAB_ASK_BACKEND));
	memdev = yab_inspection_find(json_array_get(results, YAB_ASK_MEMDEV), id);
	if (yab_inspection_check(inquiry, results, memdev, text, sizeof(text)) < 0) {
		yab_inspection_end(inquiry, text);
		return;
	}
	version = json_object_get(json_array_get(results, YAB_ASK_VERSION), "qemu");
	snprintf(result->qemu, sizeof(result->qemu), "%d.%d.%d",
		 (int)json_integer_value(json_object_get(version, "major")),
		 (int)json_integer_value(json_object_get(version, "minor")),
		 (int)json_integer_value(json_object_get(version, "micro")));
	uuid = json_string_value(json_object_get(json_array_get(results, YAB_ASK_UUID), "UUID"));
	if (uuid && strcmp(uuid, "00000000-0000-0000-0000-000000000000"))
		snprintf(result->uuid, sizeof(result->uuid), "%s", uuid);
	yab_text_tame(result->uuid);

	snprintf(object, sizeof(object), "/objects/%s",
		 json_string_value(json_object_get(memdev, "id")));
	for (int i = 0; i < YAB_ASKED_BACKEND; i++) {
		steps[i].command = "qom-get";
		steps[i].arguments = json_pack("{s:s, s:s}", "path", object, "property",
					       properties[i]);
		steps[i].fd = -1;
	}
	if (yab_qmp_run(yab_vm_qmp(vm), steps, YAB_ASKED_BACKEND, yab_inspection_backend,
			inquiry) < 0)
		yab_inspection_end(inquiry, YAB_QMP_UNASKED);
}

int yab_inspect(struct yab_vm *vm, yab_inspection_cb cb, void *arg)
{
	struct yab_qmp_step steps[YAB_ASKED] = {
		[YAB_ASK_STATUS] = { .command = "query-status", .fd = -1 },
		[YAB_ASK_MEMDEV] = { .command = "query-memdev", .fd = -1 },
		[YAB_ASK_SUMMARY] = { .command = "query-memory-size-summary", .fd = -1 },
		[YAB_ASK_VERSION] = { .command = "query-version", .fd = -1 },
		[YAB_ASK_UUID] = { .command = "query-uuid", .fd = -1 },
		[YAB_ASK_BACKEND] = { .command = "qom-get", .fd = -1 },
	};
	struct yab_qmp *qmp = yab_vm_qmp(vm);
	struct yab_inquiry *inquiry;

	if (!qmp) {
		errno = ENOTCONN;
		return -1;
	}
	inquiry = calloc(1, sizeof(*inquiry));
	if (!inquiry)
		return -1;
	inquiry->vm = vm;
	inquiry->cb = cb;
	inquiry->arg = arg;
	steps[YAB_ASK_BACKEND].arguments = json_pack("{s:s, s:s}", "path", "/machine",
						     "property", "memory-backend");
	if (yab_qmp_run(qmp, steps, YAB_ASKED, yab_inspection_answered, inquiry) < 0) {
		free(inquiry);
		return -1;
	}
	return 0;
}
