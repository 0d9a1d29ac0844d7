// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Both ends of the daemon's local socket. If the first byte is even, the rest is what
 * clients write to a daemon that has a VM whose QEMU is gone (0xff in it changes to the next of
 * three clients, 0xfe closes it). If it is odd, it is what a daemon answers to yabctl, whose
 * command the byte chooses.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../daemon/api.h"
#include "fuzz.h"

/* All of yabctl, connected to a daemon of ours. */
static int connect_yabctl(int fd, const struct sockaddr *address, socklen_t size);
static int yabctl_main(int argc, char **argv);
#define main yabctl_main
#define connect connect_yabctl
#include "../../daemon/yabctl.c"
#undef connect
#undef main

#define CLIENTS		3

static const char *folder;
static int answer_fd = -1;

static int connect_yabctl(int fd, const struct sockaddr *address, socklen_t size)
{
	(void)address;
	(void)size;
	return dup2(answer_fd, fd) < 0 ? -1 : 0;
}

/* Nothing is started here: the kernel's part is asked first, and there is none. */
int __wrap_yab_region_memory(const char *name, uint64_t size);
int __wrap_yab_region_memory(const char *name, uint64_t size)
{
	(void)name;
	(void)size;
	errno = ENOMEM;
	return -1;
}

static int connect_client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", folder, YAB_API_SOCKET);
	fuzz_check(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)),
		   "no client: %s", strerror(errno));
	return fd;
}

/* Answers are objects, one a line, and errors are for people. */
static void check_answers(int fd)
{
	static char bytes[1024 * 1024];
	size_t size = 0;
	char *line, *end;
	ssize_t n;

	while (size < sizeof(bytes) - 1 &&
	       (n = recv(fd, bytes + size, sizeof(bytes) - 1 - size, MSG_DONTWAIT)) > 0)
		size += (size_t)n;
	bytes[size] = '\0';
	for (line = bytes; (end = strchr(line, '\n')); line = end + 1) {
		json_t *json = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
		const char *error = json_string_value(json_object_get(json, "error"));

		fuzz_check(json_is_object(json), "an answer that is no object");
		fuzz_check(error || json_object_get(json, "ok") || json_object_get(json, "event"),
			   "an answer that says nothing");
		if (error) {
			fuzz_check_line(error);
			fuzz_check(strcmp(error, "out of memory"), "an error that got lost");
		}
		json_decref(json);
	}
}

static void try_daemon(struct fuzz_input *input)
{
	struct yab_supervisor supervisor = { .run_dir = folder };
	char error[YAB_WIRE_ERROR_MAX] = "";
	int clients[CLIENTS] = { -1, -1, -1 };
	struct yab_api *api;
	int which = 0;

	supervisor.base = fuzz_base();
	fuzz_check(!yab_supervisor_open(&supervisor, folder, NULL, error, sizeof(error)), "%s",
		   error);
	fuzz_check(yab_vms_add(supervisor.vms, "vm", YAB_VM_GONE, error, sizeof(error)), "%s",
		   error);
	supervisor.group = (gid_t)-1;
	api = yab_api_new(&supervisor, error, sizeof(error));
	fuzz_check(api, "%s", error);
	while (input->left) {
		const uint8_t *end = input->at;
		size_t size = 0;

		while (size < input->left && end[size] < 0xfe)
			size++;
		if (clients[which] < 0)
			clients[which] = connect_client();
		fuzz_send(clients[which], fuzz_bytes(input, &size), size);
		fuzz_settle(supervisor.base);
		check_answers(clients[which]);
		if (fuzz_byte(input) == 0xfe) {
			close(clients[which]);
			clients[which] = -1;
		} else {
			which = (which + 1) % CLIENTS;
		}
	}
	for (int i = 0; i < CLIENTS; i++) {
		if (clients[i] >= 0 && i % 2)
			close(clients[i]);
	}
	fuzz_settle(supervisor.base);
	yab_api_free(api);
	yab_supervisor_close(&supervisor);
	event_base_free(supervisor.base);
	for (int i = 0; i < CLIENTS; i++) {
		if (clients[i] >= 0 && !(i % 2))
			close(clients[i]);
	}
}

static void try_yabctl(struct fuzz_input *input, uint8_t what)
{
	static const char * const lines[][5] = {
		{ "start", "vm" },
		{ "migrate", "vm", "host" },
		{ "list" },
		{ "jobinfo", "vm" },
		{ "jobinfo", "vm", "--json" },
		{ "list", "--json" },
		{ "migrate", "vm", "\xff" },
		{ "destroy", "vm" },
	};
	const char * const *words = lines[what / 4 % 8];
	struct yabctl ctl = { .bar = true };
	char *argv[8] = { (char *)"yabctl" };
	int argc = 1, daemon_fd;
	json_t *job;

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)words[argc - 1];
	fuzz_pair(SOCK_STREAM, &daemon_fd, &answer_fd);
	/* yabctl waits. */
	fcntl(answer_fd, F_SETFL, 0);
	fuzz_send(daemon_fd, input->at, input->left);
	shutdown(daemon_fd, SHUT_WR);
	if (what & 2) {
		optind = 0;
		yabctl_main(argc, argv);
	} else {
		/* The bar, which needs a terminal. */
		job = json_loadb((const char *)input->at, input->left, 0, NULL);
		yabctl_progress(&ctl, job);
		yabctl_clear_bar(&ctl);
		json_decref(job);
	}
	close(answer_fd);
	close(daemon_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	uint8_t what;

	fuzz_note_descriptors();
	folder = fuzz_folder();
	what = fuzz_byte(&input);
	if (what % 2)
		try_yabctl(&input, what);
	else
		try_daemon(&input);
	fuzz_check_descriptors();
	return 0;
}
