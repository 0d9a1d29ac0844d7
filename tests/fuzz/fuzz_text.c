// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is parsed in one piece. The first byte says what the rest is: 0 a hello, 1 a frame
 * header, 2 an address, 3 a VM's description or 4 a VM's name.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "../../daemon/address.h"
#include "../../daemon/description.h"
#include "../../daemon/ram.h"
#include "../../daemon/wire.h"
#include "fuzz.h"

/* What is well-formed means the same when it is written and read again. */
static void try_hello(struct fuzz_input *input)
{
	uint8_t in[YAB_WIRE_HELLO_SIZE] = { 0 }, out[YAB_WIRE_HELLO_SIZE];
	struct yab_wire_hello hello;
	size_t size = sizeof(in);

	memcpy(in, fuzz_bytes(input, &size), size);
	if (yab_wire_hello_decode(in, &hello) != YAB_WIRE_OK)
		return;
	fuzz_check(hello.version == YAB_WIRE_VERSION, "hello of version %d", hello.version);
	fuzz_check(strcmp(yab_wire_role_name(hello.role), "unknown"), "role %d", hello.role);
	yab_wire_hello_encode(out, &hello);
	fuzz_check(!memcmp(in, out, sizeof(in)), "a hello that reads as another");
}

/* The table of docs/protocol.md, once more and in another way. */
static void check_header(const struct yab_wire_header *header, enum yab_wire_role role,
			 uint64_t pages)
{
	const bool control = role == YAB_WIRE_CONTROL;
	uint64_t end;

	fuzz_check(!header->flags, "flags");
	switch (header->type) {
	case YAB_WIRE_CALL:
	case YAB_WIRE_REPLY:
	case YAB_WIRE_EVENT:
	case YAB_WIRE_STATE:
		fuzz_check(control && header->length && header->length <= 65536, "message");
		break;
	case YAB_WIRE_STATE_END:
		fuzz_check(control && !header->length, "end of state");
		break;
	case YAB_WIRE_PAGES:
		fuzz_check(header->length == header->count * FUZZ_PAGE, "length of pages");
		__attribute__((fallthrough));
	case YAB_WIRE_REQUEST:
		fuzz_check(header->count <= 256, "count of pages");
		__attribute__((fallthrough));
	case YAB_WIRE_ZERO:
	case YAB_WIRE_SURVEY:
	case YAB_WIRE_SURVEYED:
	case YAB_WIRE_PACKED:
		fuzz_check(!control && header->count, "pages");
		fuzz_check(!__builtin_add_overflow(header->page, header->count, &end) &&
			   end <= pages, "pages outside of the region");
		if (header->type == YAB_WIRE_PACKED)
			fuzz_check(role == YAB_WIRE_BULK && header->count <= 16 && header->length &&
				   header->length < header->count * FUZZ_PAGE, "pack");
		else
			fuzz_check(header->type == YAB_WIRE_PAGES || !header->length, "length");
		return;
	case YAB_WIRE_SUM:
	case YAB_WIRE_SUMMED:
		fuzz_check(!control && header->count && header->count <= 64 * 512, "chunks");
		fuzz_check(!__builtin_add_overflow(header->page, header->count, &end) &&
			   end <= pages, "chunks outside of the region");
		fuzz_check(!(header->page % 512) && (!(end % 512) || end == pages),
			   "parts of chunks");
		fuzz_check(header->length == (header->type == YAB_WIRE_SUM ? 0 :
					      (header->count + 511) / 512 * 8), "length of sums");
		return;
	case YAB_WIRE_ERROR:
		fuzz_check(header->length <= 512, "length of an error");
		break;
	default:
		fuzz_fail("type %d", header->type);
	}
	fuzz_check(!header->page && !header->count, "pages where there are none");
}

static void try_header(struct fuzz_input *input)
{
	static const uint64_t regions[] = { 1, 64, 1000, 1ULL << 34, INT64_MAX / FUZZ_PAGE,
					    UINT64_MAX };
	enum yab_wire_role role = YAB_WIRE_CONTROL + fuzz_byte(input) % 3;
	uint64_t pages = regions[fuzz_byte(input) % 6];
	uint8_t in[YAB_WIRE_HEADER_SIZE] = { 0 }, out[YAB_WIRE_HEADER_SIZE];
	struct yab_wire_header header;
	size_t size = sizeof(in);

	memcpy(in, fuzz_bytes(input, &size), size);
	if (role == YAB_WIRE_CONTROL)
		pages = 0;
	if (yab_wire_header_decode(in, role, pages, &header) != YAB_WIRE_OK)
		return;
	check_header(&header, role, pages);
	yab_wire_header_encode(out, &header);
	fuzz_check(!memcmp(in, out, sizeof(in)), "a header that reads as another");
}

/* What it understands it understands the same way when it reads what it wrote. */
static void try_address(const char *text)
{
	struct yab_address address, again;

	memset(&address, 0xff, sizeof(address));
	if (yab_address_parse(text, &address) < 0)
		return;
	fuzz_check(strlen(address.host) < sizeof(address.host) && address.host[0], "host");
	fuzz_check(atoi(address.port) > 0 && atoi(address.port) <= 65535, "port");
	fuzz_check_line(address.text);
	fuzz_check(yab_address_parse(address.text, &again) == 0, "%s is no address",
		   address.text);
	fuzz_check(!strcmp(address.host, again.host) && !strcmp(address.port, again.port) &&
		   !strcmp(address.text, again.text), "%s reads as %s", address.text, again.text);
}

static void check_command(const struct yab_description *description, bool incoming)
{
	struct yab_description_values values = {
		.memory = "/dev/yabusame/vm",
		.monitor = "unix:/run/vm.qmp,server=on,wait=off",
		.incoming = incoming,
	};
	char **command = yab_description_command(description, &values);
	bool memory = false, monitor = false;
	size_t i;

	fuzz_check(command && command[0], "no command");
	for (i = 0; command[i]; i++) {
		memory |= !!strstr(command[i], values.memory);
		monitor |= !!strstr(command[i], values.monitor);
		fuzz_check(!strstr(command[i], "${incoming}"), "a placeholder is left");
	}
	fuzz_check(memory && monitor, "a command without its memory or monitor");
	yab_description_command_free(command);
}

static void try_description(const uint8_t *text, size_t size)
{
	struct yab_description *description;
	char error[YAB_WIRE_ERROR_MAX] = "";

	description = yab_description_parse((const char *)text, size, "/etc/vm.json", "vm", error,
					    sizeof(error));
	if (!description) {
		fuzz_check(error[0], "an error without a text");
		return;
	}
	fuzz_check(description->memory && !(description->memory % FUZZ_PAGE) &&
		   description->memory <= 1ULL << 46, "memory");
	check_command(description, false);
	check_command(description, true);
	error[0] = '\0';
	if (yab_ram_check_description(description, error, sizeof(error)) < 0)
		fuzz_check(error[0], "RAM is refused without a text");
	yab_description_free(description);
}

static void try_name(const char *name)
{
	char error[YAB_WIRE_ERROR_MAX] = "";

	if (yab_description_name_check(name, error, sizeof(error)) < 0) {
		fuzz_check_line(error);
		return;
	}
	fuzz_check(strlen(name) < YAB_NAME_SIZE && !strchr(name, '/') && name[0] != '.',
		   "name %s", name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	const uint8_t what = fuzz_byte(&input);
	/* With an end of its own, so that a step too far is seen. */
	char *text = malloc(input.left + 1);

	fuzz_note_descriptors();
	fuzz_check(text, "out of memory");
	memcpy(text, input.at, input.left);
	text[input.left] = '\0';
	switch (what) {
	case 0:
		try_hello(&input);
		break;
	case 1:
		try_header(&input);
		break;
	case 2:
		try_address(text);
		break;
	case 3:
		try_description((const uint8_t *)text, input.left);
		break;
	case 4:
		try_name(text);
		break;
	default:
		break;
	}
	free(text);
	fuzz_check_descriptors();
	return 0;
}
