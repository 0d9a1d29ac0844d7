// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "script.h"

static void say(FILE *stream, json_t *json)
{
	json_dumpf(json, stream, JSON_COMPACT);
	fputs("\r\n", stream);
	fflush(stream);
	json_decref(json);
}

static void say_event(FILE *stream, const char *name, const char *status)
{
	say(stream, json_pack("{s:s, s:{s:s*}, s:{s:i, s:i}}", "event", name, "data", "status",
			      status, "timestamp", "seconds", 1, "microseconds", 1));
}

/* A line, and what came along. NULL at the end. */
static char *hear(int fd, int *came)
{
	static char line[65536];
	char control[CMSG_SPACE(sizeof(int))];
	size_t length = 0;

	while (length < sizeof(line) - 1) {
		struct iovec byte = { line + length, 1 };
		struct msghdr message = {
			.msg_iov = &byte, .msg_iovlen = 1,
			.msg_control = control, .msg_controllen = sizeof(control),
		};
		struct cmsghdr *rights;

		if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) <= 0)
			return NULL;
		rights = CMSG_FIRSTHDR(&message);
		if (rights)
			memcpy(came, CMSG_DATA(rights), sizeof(*came));
		if (line[length++] == '\n')
			break;
	}
	line[length] = '\0';
	return line;
}

/* The device state, to its end: as it was saved, or QEMU says that it failed. */
static void load(FILE *stream, int fd)
{
	char bytes[sizeof(MACHINE_STATE)] = "";
	size_t length = 0;
	ssize_t n;

	while (length < sizeof(bytes) &&
	       (n = read(fd, bytes + length, sizeof(bytes) - length)) > 0)
		length += (size_t)n;
	close(fd);
	if (length == sizeof(MACHINE_STATE) && !strcmp(bytes, MACHINE_STATE) &&
	    !getenv(MACHINE_FAILS)) {
		say_event(stream, "MIGRATION", "completed");
		return;
	}
	fprintf(stderr, "played: no such device\n");
	say_event(stream, "MIGRATION", "failed");
	exit(1);
}

struct machine {
	const char *memory;
	uint64_t pages;
	const char *status;
};

/* What inspection.c asks; anything else is answered with the status. */
static json_t *answer(const struct machine *machine, const char *name, json_t *arguments)
{
	const char *property = json_string_value(json_object_get(arguments, "property"));
	const json_int_t size = (json_int_t)(machine->pages * SCRIPT_PAGE);

	if (!strcmp(name, "query-migrate"))
		return json_object();
	if (!strcmp(name, "query-memdev"))
		return json_pack("[{s:s, s:b, s:I}]", "id", "ram0", "share", 1, "size", size);
	if (!strcmp(name, "query-memory-size-summary"))
		return json_pack("{s:I, s:I}", "base-memory", size, "plugged-memory",
				 (json_int_t)0);
	if (property && !strcmp(property, "memory-backend"))
		return json_string("/objects/ram0");
	if (property && !strcmp(property, "type"))
		return json_string("memory-backend-file");
	if (property && !strcmp(property, "mem-path"))
		return json_string(machine->memory);
	return json_pack("{s:b, s:s}", "running", !strcmp(machine->status, "running"), "status",
			 machine->status);
}

/* All that it has to write: the memory is in its file. */
static void save(struct machine *machine, FILE *stream, int fd)
{
	if (write(fd, MACHINE_STATE, sizeof(MACHINE_STATE)) != sizeof(MACHINE_STATE))
		abort();
	if (!getenv(MACHINE_HOLDS))
		close(fd);
	say_event(stream, "MIGRATION", "completed");
	machine->status = "postmigrate";
}

/* One client of the monitor. False when QEMU is to end. */
static bool serve(struct machine *machine, int fd)
{
	FILE *stream = fdopen(dup(fd), "w");
	bool hangs_up = false;
	int state = -1;
	char *line;

	say(stream, json_pack("{s:{s:{}, s:[]}}", "QMP", "version", "capabilities"));
	while (!hangs_up && (line = hear(fd, &state))) {
		json_t *json = json_loads(line, 0, NULL);
		const char *name = json_string_value(json_object_get(json, "execute"));

		if (!name)
			return false;
		say(stream, json_pack("{s:o, s:O*}", "return",
				      answer(machine, name, json_object_get(json, "arguments")),
				      "id", json_object_get(json, "id")));
		if (!strcmp(name, "quit"))
			return false;
		if (!strcmp(name, "migrate-incoming")) {
			load(stream, state);
		} else if (!strcmp(name, "migrate")) {
			machine->status = "finish-migrate";
			say_event(stream, "STOP", NULL);
			say_event(stream, "MIGRATION", "pre-switchover");
		} else if (!strcmp(name, "migrate-continue")) {
			hangs_up = getenv(MACHINE_HANGS_UP);
			if (!hangs_up)
				save(machine, stream, state);
		} else if (!strcmp(name, "cont")) {
			machine->status = "running";
			say_event(stream, "RESUME", NULL);
		}
		json_decref(json);
	}
	fclose(stream);
	close(fd);
	return true;
}

int machine_run(const char *monitor, const char *memory, uint64_t pages)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	struct machine machine = { .memory = memory, .pages = pages, .status = "inmigrate" };
	int fd;

	/* As yab_vm_spawn() gives it: unix:PATH,server=on,wait=off */
	snprintf(address.sun_path, sizeof(address.sun_path), "%.*s",
		 (int)strcspn(monitor + 5, ","), monitor + 5);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 1) < 0)
		return 1;
	/* Whoever has started it may be gone. */
	alarm(120);
	do {
		fd = accept(listener, NULL, NULL);
	} while (fd >= 0 && serve(&machine, fd));
	return 0;
}
