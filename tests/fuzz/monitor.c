// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor.h"

void monitor_open(struct monitor *monitor, int fd)
{
	monitor->fd = fd;
	monitor->passed_fd = -1;
	monitor->line_size = 0;
	monitor->head = 0;
	monitor->tail = 0;
	monitor->properties = 0;
	monitor->running = true;
}

static void monitor_drop_passed(struct monitor *monitor)
{
	if (monitor->passed_fd >= 0)
		close(monitor->passed_fd);
	monitor->passed_fd = -1;
}

void monitor_close(struct monitor *monitor)
{
	if (monitor->fd < 0)
		return;
	monitor_listen(monitor);
	monitor_drop_passed(monitor);
	close(monitor->fd);
	monitor->fd = -1;
	monitor->head = monitor->tail;
}

static void monitor_take_line(struct monitor *monitor)
{
	json_t *json = json_loadb(monitor->line, monitor->line_size, 0, NULL);
	const char *name = json_string_value(json_object_get(json, "execute"));
	struct monitor_command *command;

	fuzz_check(name, "no command for QEMU");
	if (monitor->tail - monitor->head == MONITOR_COMMANDS)
		monitor->head++;
	command = &monitor->commands[monitor->tail++ % MONITOR_COMMANDS];
	snprintf(command->name, sizeof(command->name), "%s", name);
	command->id = json_integer_value(json_object_get(json, "id"));
	json_decref(json);
	if (monitor->asked)
		monitor->asked(command->name);
}

/* Bytes received, and a descriptor if one came along. */
static ssize_t monitor_receive(struct monitor *monitor, char *bytes, size_t size)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { bytes, size };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n = recvmsg(monitor->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0 && CMSG_FIRSTHDR(&header)) {
		monitor_drop_passed(monitor);
		memcpy(&monitor->passed_fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(int));
	}
	return n;
}

void monitor_listen(struct monitor *monitor)
{
	char bytes[4096];
	ssize_t n;

	while (monitor->fd >= 0 && (n = monitor_receive(monitor, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (bytes[i] == '\n') {
				monitor_take_line(monitor);
				monitor->line_size = 0;
				continue;
			}
			fuzz_check(monitor->line_size < sizeof(monitor->line), "endless line");
			monitor->line[monitor->line_size++] = bytes[i];
		}
	}
}

void monitor_say(struct monitor *monitor, const char *text)
{
	fuzz_send(monitor->fd, text, strlen(text));
}

void monitor_greet(struct monitor *monitor)
{
	monitor_say(monitor, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
}

static const char *monitor_result(struct monitor *monitor, const char *command)
{
	if (!strcmp(command, "cont"))
		monitor->running = true;
	if (!strcmp(command, "stop"))
		monitor->running = false;
	if (!strcmp(command, "query-status"))
		return monitor->running ? "{\"status\": \"running\", \"running\": true}" :
					  "{\"status\": \"paused\", \"running\": false}";
	if (!strcmp(command, "query-memdev"))
		return "[{\"id\": \"ram0\", \"size\": 1048576, \"share\": true}]";
	if (!strcmp(command, "query-memory-size-summary"))
		return "{\"base-memory\": 1048576, \"plugged-memory\": 0}";
	if (!strcmp(command, "query-version"))
		return "{\"qemu\": {\"major\": 10, \"minor\": 0, \"micro\": 2}}";
	if (!strcmp(command, "query-uuid"))
		return "{\"UUID\": \"6b8f9d1c-0000-4000-8000-000000000001\"}";
	if (strcmp(command, "qom-get"))
		return "{}";
	/* In the order in which an inspection asks. */
	monitor->properties++;
	return monitor->properties % 3 == 1 ? "\"/objects/ram0\"" :
	       monitor->properties % 3 == 2 ? "\"memory-backend-file\"" :
					      "\"" MONITOR_MEMORY "\"";
}

bool monitor_answer(struct monitor *monitor, struct fuzz_input *input, enum monitor_answer how)
{
	const struct monitor_command *command;
	char *text, *result = NULL;
	size_t size;

	monitor_listen(monitor);
	if (monitor->head == monitor->tail)
		return false;
	command = &monitor->commands[monitor->head++ % MONITOR_COMMANDS];
	if (how != MONITOR_GOOD)
		result = fuzz_text(input, &size);
	fuzz_check(asprintf(&text, "{\"%s\": %s, \"id\": %lld}\n",
			    how == MONITOR_ERROR ? "error" : "return",
			    result ? result : monitor_result(monitor, command->name),
			    (long long)command->id) >= 0, "out of memory");
	monitor_say(monitor, text);
	free(text);
	free(result);
	return true;
}
