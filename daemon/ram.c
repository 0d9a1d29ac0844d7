// SPDX-License-Identifier: GPL-2.0-or-later
#include "ram.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define YAB_RAM_BACKEND	"memory-backend-"

int yab_ram_check(const struct yab_ram *ram, const char *vm, uint64_t size, char *error,
		  size_t error_size)
{
	if (ram->type && strcmp(ram->type, YAB_RAM_BACKEND "file")) {
		snprintf(error, error_size,
			 "memory of VM %s is a %.64s, not a memory-backend-file: %s", vm,
			 ram->type, YAB_RAM_HINT);
		return -1;
	}
	if (!ram->shared) {
		snprintf(error, error_size, "memory of VM %s is not shared: %s", vm, YAB_RAM_HINT);
		return -1;
	}
	if (ram->path && strcmp(ram->path, ram->memory)) {
		snprintf(error, error_size,
			 "memory of VM %s is not the file that ${memory} stands for: %s", vm,
			 YAB_RAM_HINT);
		return -1;
	}
	if (ram->size >= 0 && (uint64_t)ram->size != size) {
		snprintf(error, error_size,
			 "VM %s has %lld bytes of memory in QEMU and %llu in its description: make size=, -m and \"memory\" equal",
			 vm, (long long)ram->size, (unsigned long long)size);
		return -1;
	}
	return 0;
}

/* Up to the next comma, of which two stand for one; @at is after it then. NULL without memory. */
static json_t *yab_ram_word(const char **at)
{
	char *word = malloc(strlen(*at) + 1);
	size_t length = 0;
	json_t *json;

	if (!word)
		return NULL;
	for (; **at; (*at)++) {
		if (**at == ',' && *++*at != ',')
			break;
		word[length++] = **at;
	}
	json = json_stringn(word, length);
	free(word);
	return json;
}

/* "KEY=VALUE", "KEY", which is on, or the value of @implied. -1 without memory. */
static int yab_ram_pair(json_t *option, const char *word, const char *implied)
{
	const char *equals = strchr(word, '=');

	if (equals)
		return json_object_setn_new(option, word, (size_t)(equals - word),
					    json_string(equals + 1));
	if (implied)
		return json_object_set_new(option, implied, json_string(word));
	return json_object_set_new(option, word, json_true());
}

/* KEY=VALUE,... whose first key may be left out, where it is @implied. NULL without memory. */
static json_t *yab_ram_pairs(const char *text, const char *implied)
{
	json_t *option = json_object(), *word;
	int result = option ? 0 : -1;

	for (; *text && !result; implied = NULL) {
		word = yab_ram_word(&text);
		result = word ? yab_ram_pair(option, json_string_value(word), implied) : -1;
		json_decref(word);
	}
	if (!result)
		return option;
	json_decref(option);
	return NULL;
}

/* What a command says of its guest's RAM. */
struct yab_ram_command {
	json_t *machine;	/* all -machine in one, as QEMU reads them */
	json_t *backends;	/* memory backends by their id */
	bool own;		/* RAM that is of some file or backend */
	bool elsewhere;		/* some of it is in a file that QEMU reads */
};

static int yab_ram_read_machine(struct yab_ram_command *command, json_t *option)
{
	/* Keys of a machine, and of nothing else, may have underscores. */
	json_t *backend = json_object_get(option, "memory_backend");

	if (backend && json_object_set(option, "memory-backend", backend) < 0)
		return -1;
	return json_object_update(command->machine, option);
}

static int yab_ram_read_object(struct yab_ram_command *command, json_t *option)
{
	const char *type = json_string_value(json_object_get(option, "qom-type"));
	const char *id = json_string_value(json_object_get(option, "id"));

	if (!id || !type || strncmp(type, YAB_RAM_BACKEND, strlen(YAB_RAM_BACKEND)))
		return 0;
	command->own = true;
	return json_object_set(command->backends, id, option);
}

/* -1 without memory. What is not understood is left to QEMU. */
static int yab_ram_read(struct yab_ram_command *command, const char *name, const char *value)
{
	const bool is_machine = !strcmp(name, "machine") || !strcmp(name, "M");
	json_t *option;
	int result;

	if (!strcmp(name, "readconfig"))
		command->elsewhere = true;
	if (!strcmp(name, "mem-path"))
		command->own = true;
	if (!is_machine && strcmp(name, "object"))
		return 0;
	if (*value == '{')
		option = json_loads(value, 0, NULL);
	else
		option = yab_ram_pairs(value, is_machine ? "type" : "qom-type");
	if (!option)
		return *value == '{' ? 0 : -1;
	result = is_machine ? yab_ram_read_machine(command, option) :
		 yab_ram_read_object(command, option);
	json_decref(option);
	return result;
}

/* As QEMU reads a boolean of either notation. */
static bool yab_ram_is_on(json_t *value)
{
	static const char * const words[] = { "on", "yes", "true", "y", NULL };
	const char *text = json_string_value(value);

	for (size_t i = 0; text && words[i]; i++)
		if (!strcmp(text, words[i]))
			return true;
	return json_is_true(value);
}

/* Negative: @value has none that is understood here, which QEMU may understand. */
static int64_t yab_ram_size(json_t *value, uint64_t memory)
{
	const char *text = json_string_value(value);
	uint64_t size;

	if (json_is_integer(value))
		return json_integer_value(value);
	if (!text)
		return -1;
	if (!strcmp(text, "${memory_size}"))
		return (int64_t)memory;
	return yab_description_size(text, &size) < 0 ? -1 : (int64_t)size;
}

static bool yab_ram_is_qemu(const char *program)
{
	const char *slash = strrchr(program, '/');
	const char *name = slash ? slash + 1 : program;

	return !strncmp(name, "qemu", strlen("qemu")) || !strcmp(name, "kvm");
}

static int yab_ram_judge(const struct yab_ram_command *command,
			 const struct yab_description *description, char *error,
			 size_t error_size)
{
	json_t *id = json_object_get(command->machine, "memory-backend");
	json_t *backend = json_object_get(command->backends, json_string_value(id));
	struct yab_ram ram = { .memory = "${memory}", .size = -1 };

	if (command->elsewhere || !command->own)
		return 0;
	/* A wrapper may name the machine. */
	if (!id && !yab_ram_is_qemu(description->command[0]))
		return 0;
	/* Without one of its own the machine makes RAM that is nobody else's. */
	if (!id)
		return yab_ram_check(&ram, description->name, description->memory, error,
				     error_size);
	/* QEMU knows no such backend, and will say so. */
	if (!backend)
		return 0;
	ram.type = json_string_value(json_object_get(backend, "qom-type"));
	ram.path = json_string_value(json_object_get(backend, "mem-path"));
	ram.shared = yab_ram_is_on(json_object_get(backend, "share"));
	ram.size = yab_ram_size(json_object_get(backend, "size"), description->memory);
	return yab_ram_check(&ram, description->name, description->memory, error, error_size);
}

int yab_ram_check_description(const struct yab_description *description, char *error,
			      size_t error_size)
{
	struct yab_ram_command command = {
		.machine = json_object(),
		.backends = json_object(),
	};
	int result = command.machine && command.backends ? 0 : -1;

	for (char **word = description->command; !result && word[0] && word[1]; word++)
		if (word[0][0] == '-')
			result = yab_ram_read(&command, word[0] + 1 + (word[0][1] == '-'), word[1]);
	if (!result)
		result = yab_ram_judge(&command, description, error, error_size);
	else
		snprintf(error, error_size, "VM %s: out of memory: try again", description->name);
	json_decref(command.machine);
	json_decref(command.backends);
	return result;
}
