// SPDX-License-Identifier: GPL-2.0-or-later
#include "description.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "yabusame/wire.h"

#define YAB_DESCRIPTION_FILE_MAX	65536
#define YAB_DESCRIPTION_MEMORY_MAX	0x400000000000ULL	/* 64 TiB */

/* Placeholders; those that a command must contain come first. */
enum yab_placeholder {
	YAB_PLACEHOLDER_MEMORY,
	YAB_PLACEHOLDER_INCOMING,
	YAB_PLACEHOLDER_MONITOR,
	YAB_PLACEHOLDERS_REQUIRED,
	YAB_PLACEHOLDER_MEMORY_SIZE = YAB_PLACEHOLDERS_REQUIRED,
	YAB_PLACEHOLDERS,
};

static const char * const yab_placeholder_names[YAB_PLACEHOLDERS] = {
	[YAB_PLACEHOLDER_MEMORY] = "${memory}",
	[YAB_PLACEHOLDER_INCOMING] = "${incoming}",
	[YAB_PLACEHOLDER_MONITOR] = "${monitor}",
	[YAB_PLACEHOLDER_MEMORY_SIZE] = "${memory_size}",
};

bool yab_description_name_valid(const char *name)
{
	size_t length = strnlen(name, YAB_NAME_SIZE);

	if (!length || length >= YAB_NAME_SIZE || name[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++) {
		char c = name[i];

		if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') &&
		    c != '.' && c != '_' && c != '-')
			return false;
	}
	return strcmp(name, "control");
}

int yab_description_name_check(const char *name, char *error, size_t error_size)
{
	char shown[YAB_NAME_SIZE];
	size_t i;

	if (yab_description_name_valid(name))
		return 0;
	for (i = 0; name[i] && i < sizeof(shown) - 1; i++)
		shown[i] = name[i] >= ' ' && name[i] < 127 ? name[i] : '?';
	shown[i] = '\0';
	snprintf(error, error_size,
		 "\"%s%s\" cannot name a VM: use 1 to 63 letters, digits, '.', '_' or '-', not starting with '.', and not \"control\"",
		 shown, name[i] ? "..." : "");
	return -1;
}

int yab_description_size(const char *text, uint64_t *size)
{
	unsigned long long value;
	unsigned int shift = 0;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -1;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -1;
	if (*end == 'K')
		shift = 10;
	else if (*end == 'M')
		shift = 20;
	else if (*end == 'G')
		shift = 30;
	else if (*end)
		return -1;
	if (shift && end[1])
		return -1;
	if (!value || value > YAB_DESCRIPTION_MEMORY_MAX >> shift)
		return -1;
	*size = (uint64_t)value << shift;
	return *size % YAB_WIRE_PAGE_SIZE ? -1 : 0;
}

/* The placeholder at @text ("${..."), or YAB_PLACEHOLDERS. */
static enum yab_placeholder yab_placeholder_find(const char *text)
{
	enum yab_placeholder i;

	for (i = 0; i < YAB_PLACEHOLDERS; i++)
		if (!strncmp(text, yab_placeholder_names[i], strlen(yab_placeholder_names[i])))
			break;
	return i;
}

/* One line on what is wrong with the placeholders of @command, 0 if nothing. */
static int yab_description_check(char **command, const char *file, char *error, size_t error_size)
{
	bool seen[YAB_PLACEHOLDERS] = { false };

	for (size_t i = 0; command[i]; i++) {
		for (const char *at = strstr(command[i], "${"); at; at = strstr(at + 2, "${")) {
			enum yab_placeholder found = yab_placeholder_find(at);

			if (found == YAB_PLACEHOLDERS) {
				snprintf(error, error_size,
					 "%s: unknown placeholder at \"%.32s\": use ${memory}, ${memory_size}, ${incoming} or ${monitor}",
					 file, at);
				return -1;
			}
			if (found == YAB_PLACEHOLDER_INCOMING &&
			    strcmp(command[i], yab_placeholder_names[found])) {
				snprintf(error, error_size,
					 "%s: ${incoming} must be an element of \"qemu\" of its own",
					 file);
				return -1;
			}
			seen[found] = true;
		}
	}
	for (enum yab_placeholder i = 0; i < YAB_PLACEHOLDERS_REQUIRED; i++) {
		if (seen[i])
			continue;
		snprintf(error, error_size,
			 "%s: \"qemu\" lacks the placeholder %s: see yabusame-vm(5)",
			 file, yab_placeholder_names[i]);
		return -1;
	}
	return 0;
}

static char **yab_description_copy(json_t *array)
{
	size_t count = json_array_size(array);
	char **command = calloc(count + 1, sizeof(*command));

	if (!command)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		command[i] = strdup(json_string_value(json_array_get(array, i)));
		if (!command[i]) {
			yab_description_command_free(command);
			return NULL;
		}
	}
	return command;
}

static int yab_description_keys(json_t *root, const char *file, char *error, size_t error_size)
{
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach(root, key, value) {
		if (!strcmp(key, "name") || !strcmp(key, "memory") || !strcmp(key, "qemu"))
			continue;
		snprintf(error, error_size,
			 "%s: unknown key \"%.64s\": a VM has \"name\", \"memory\", \"qemu\"",
			 file, key);
		return -1;
	}
	if (!json_is_string(json_object_get(root, "name"))) {
		snprintf(error, error_size, "%s: \"name\" (a string) is missing", file);
		return -1;
	}
	if (!json_is_string(json_object_get(root, "memory"))) {
		snprintf(error, error_size, "%s: \"memory\" (a string like \"256M\") is missing",
			 file);
		return -1;
	}
	if (!json_array_size(json_object_get(root, "qemu"))) {
		snprintf(error, error_size, "%s: \"qemu\" (an array of strings) is missing", file);
		return -1;
	}
	json_array_foreach(json_object_get(root, "qemu"), i, value) {
		if (json_is_string(value) && json_string_length(value))
			continue;
		snprintf(error, error_size,
			 "%s: element %zu of \"qemu\" must be a string, not empty", file, i + 1);
		return -1;
	}
	return 0;
}

static void yab_description_identify(const char *text, size_t length,
				     char identity[YAB_DESCRIPTION_IDENTITY_SIZE])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)text, length, digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		sprintf(identity + 2 * i, "%02x", digest[i]);
}

struct yab_description *yab_description_parse(const char *text, size_t length, const char *file,
					      const char *name, char *error, size_t error_size)
{
	struct yab_description *description;
	json_error_t json_error;
	const char *value;
	json_t *root;

	root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &json_error);
	if (!root) {
		snprintf(error, error_size, "%s: line %d is no JSON: %s", file, json_error.line,
			 json_error.text);
		return NULL;
	}
	if (!json_is_object(root)) {
		snprintf(error, error_size,
			 "%s: must hold one JSON object: see yabusame-vm(5)", file);
		goto err_root;
	}
	if (yab_description_keys(root, file, error, error_size) < 0)
		goto err_root;

	value = json_string_value(json_object_get(root, "name"));
	if (strcmp(value, name)) {
		snprintf(error, error_size,
			 "%s: \"name\" is \"%.64s\": it must be that of the file, \"%s\"", file,
			 value, name);
		goto err_root;
	}
	description = calloc(1, sizeof(*description));
	if (!description) {
		snprintf(error, error_size, "%s: out of memory", file);
		goto err_root;
	}
	snprintf(description->name, sizeof(description->name), "%s", name);
	yab_description_identify(text, length, description->identity);

	value = json_string_value(json_object_get(root, "memory"));
	if (yab_description_size(value, &description->memory) < 0) {
		snprintf(error, error_size,
			 "%s: \"memory\" is \"%.32s\": write a number of bytes, K, M or G that is a multiple of %d bytes",
			 file, value, YAB_WIRE_PAGE_SIZE);
		goto err_description;
	}
	description->command = yab_description_copy(json_object_get(root, "qemu"));
	if (!description->command) {
		snprintf(error, error_size, "%s: out of memory", file);
		goto err_description;
	}
	if (yab_description_check(description->command, file, error, error_size) < 0)
		goto err_description;
	json_decref(root);
	return description;

err_description:
	yab_description_free(description);
err_root:
	json_decref(root);
	return NULL;
}

struct yab_description *yab_description_load(const char *folder, const char *name, char *error,
					     size_t error_size)
{
	struct yab_description *description = NULL;
	struct stat status;
	char file[4096];
	ssize_t length;
	char *text;
	int fd;

	if (yab_description_name_check(name, error, error_size) < 0)
		return NULL;
	if (snprintf(file, sizeof(file), "%s/%s.json", folder, name) >= (int)sizeof(file)) {
		snprintf(error, error_size,
			 "the path of the folder of VMs is too long: give a shorter --vm-dir");
		return NULL;
	}
	/* O_NONBLOCK: a FIFO there must not stop the daemon. */
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		if (errno == ENOENT)
			snprintf(error, error_size,
				 "no VM %s: %s does not exist: describe it there (yabusame-vm(5))",
				 name, file);
		else
			snprintf(error, error_size, "%s: %s", file, strerror(errno));
		return NULL;
	}
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		snprintf(error, error_size, "%s: is no regular file", file);
		goto err_close;
	}
	/* Its command runs with the daemon's rights. */
	if (status.st_mode & 0002) {
		snprintf(error, error_size, "%s: everybody may write it: chmod o-w it", file);
		goto err_close;
	}
	if (status.st_size > YAB_DESCRIPTION_FILE_MAX) {
		snprintf(error, error_size, "%s: is longer than %d bytes: shorten it", file,
			 YAB_DESCRIPTION_FILE_MAX);
		goto err_close;
	}
	text = malloc(YAB_DESCRIPTION_FILE_MAX);
	if (!text) {
		snprintf(error, error_size, "%s: out of memory", file);
		goto err_close;
	}
	length = read(fd, text, YAB_DESCRIPTION_FILE_MAX);
	if (length < 0) {
		snprintf(error, error_size, "%s: %s", file, strerror(errno));
		goto err_text;
	}
	description = yab_description_parse(text, (size_t)length, file, name, error, error_size);

err_text:
	free(text);
err_close:
	close(fd);
	return description;
}

struct yab_description *yab_description_known(const char *name, uint64_t memory,
					      const char *identity)
{
	struct yab_description *description = calloc(1, sizeof(*description));

	if (!description)
		return NULL;
	description->command = calloc(1, sizeof(*description->command));
	if (!description->command) {
		free(description);
		return NULL;
	}
	snprintf(description->name, sizeof(description->name), "%s", name);
	snprintf(description->identity, sizeof(description->identity), "%s", identity);
	description->memory = memory;
	return description;
}

void yab_description_free(struct yab_description *description)
{
	if (!description)
		return;
	yab_description_command_free(description->command);
	free(description);
}

/* @element with its placeholders replaced, in memory of its own. */
static char *yab_description_expand(const char *element, const char * const *values)
{
	const char *at = element;
	char *out = NULL;
	size_t size = 0;
	FILE *stream;
	bool bad;

	stream = open_memstream(&out, &size);
	if (!stream)
		return NULL;
	while (*at) {
		enum yab_placeholder found = YAB_PLACEHOLDERS;

		if (at[0] == '$' && at[1] == '{')
			found = yab_placeholder_find(at);
		if (found == YAB_PLACEHOLDERS) {
			fputc(*at++, stream);
		} else {
			fputs(values[found], stream);
			at += strlen(yab_placeholder_names[found]);
		}
	}
	bad = ferror(stream);
	if (fclose(stream) || bad) {
		free(out);
		return NULL;
	}
	return out;
}

char **yab_description_command(const struct yab_description *description,
			       const struct yab_description_values *values)
{
	static const char * const incoming[] = { "-S", "-incoming", "defer" };
	const char *expanded[YAB_PLACEHOLDERS];
	size_t count = 0, used = 0;
	char **command, size[24];

	while (description->command[count])
		count++;
	/* Every element might be ${incoming}. */
	command = calloc(count * 3 + 1, sizeof(*command));
	if (!command)
		return NULL;
	snprintf(size, sizeof(size), "%llu",
		 (unsigned long long)description->memory);
	expanded[YAB_PLACEHOLDER_MEMORY] = values->memory;
	expanded[YAB_PLACEHOLDER_MEMORY_SIZE] = size;
	expanded[YAB_PLACEHOLDER_MONITOR] = values->monitor;
	expanded[YAB_PLACEHOLDER_INCOMING] = "";

	for (size_t i = 0; i < count; i++) {
		const char *element = description->command[i];

		if (strcmp(element, yab_placeholder_names[YAB_PLACEHOLDER_INCOMING])) {
			command[used] = yab_description_expand(element, expanded);
			if (!command[used++])
				goto err_command;
			continue;
		}
		for (size_t k = 0; values->incoming && k < 3; k++) {
			command[used] = strdup(incoming[k]);
			if (!command[used++])
				goto err_command;
		}
	}
	return command;

err_command:
	yab_description_command_free(command);
	errno = ENOMEM;
	return NULL;
}

void yab_description_command_free(char **command)
{
	if (!command)
		return;
	for (size_t i = 0; command[i]; i++)
		free(command[i]);
	free(command);
}
