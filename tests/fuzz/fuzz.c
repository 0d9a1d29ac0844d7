// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/api.h"
#include "../../daemon/channel.h"
#include "../../daemon/socket.h"
#include "fuzz.h"

/* libFuzzer closes 1 and 2 (-close_fd_mask) to silence the daemon's log. */
static int fuzz_stderr = STDERR_FILENO;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	/* Before libFuzzer takes it: a worker's channel has this number. */
	if (fcntl(YAB_WORKER_FD, F_GETFD) < 0)
		open("/dev/null", O_RDWR | O_CLOEXEC);
	fuzz_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, YAB_WORKER_FD + 1);
	/* Objects then have the same order in every run. */
	json_object_seed(1);
	return 0;
}

uint8_t fuzz_byte(struct fuzz_input *input)
{
	if (!input->left)
		return 0;
	input->left--;
	return *input->at++;
}

uint16_t fuzz_short(struct fuzz_input *input)
{
	const uint8_t high = fuzz_byte(input);

	return (uint16_t)(high << 8 | fuzz_byte(input));
}

const uint8_t *fuzz_bytes(struct fuzz_input *input, size_t *size)
{
	const uint8_t *bytes = input->at;

	if (*size > input->left)
		*size = input->left;
	input->at += *size;
	input->left -= *size;
	return bytes;
}

char *fuzz_text(struct fuzz_input *input, size_t *size)
{
	const uint8_t *bytes;
	char *text;

	*size = fuzz_byte(input);
	bytes = fuzz_bytes(input, size);
	text = malloc(*size + 1);
	fuzz_check(text, "out of memory");
	memcpy(text, bytes, *size);
	text[*size] = '\0';
	return text;
}

void fuzz_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	dprintf(fuzz_stderr, "\nfuzz: ");
	vdprintf(fuzz_stderr, format, args);
	dprintf(fuzz_stderr, "\n");
	va_end(args);
	abort();
}

struct event_base *fuzz_base(void)
{
	struct event_base *base = event_base_new();

	fuzz_check(base && event_base_priority_init(base, YAB_PRIORITIES) == 0, "no event base");
	return base;
}

void fuzz_settle(struct event_base *base)
{
	/* With this flag alone, libevent goes on as long as there was something to run. */
	fuzz_check(event_base_loop(base, EVLOOP_NONBLOCK) >= 0, "event loop");
}

void fuzz_pair(int type, int *ours, int *theirs)
{
	int pair[2];

	fuzz_check(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
		   "socketpair: %s", strerror(errno));
	*ours = pair[0];
	*theirs = pair[1];
}

size_t fuzz_send(int fd, const void *bytes, size_t size)
{
	ssize_t n;

	if (fd < 0 || !size)
		return 0;
	n = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? 0 : (size_t)n;
}

void fuzz_discard(int fd)
{
	char bytes[16384];

	while (fd >= 0 && recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static int fuzz_lowest;		/* descriptor that was free */

static int fuzz_lowest_free(void)
{
	const int fd = fcntl(STDIN_FILENO, F_DUPFD, 0);

	fuzz_check(fd >= 0, "no descriptor: %s", strerror(errno));
	close(fd);
	return fd;
}

void fuzz_note_descriptors(void)
{
	fuzz_lowest = fuzz_lowest_free();
}

void fuzz_check_descriptors(void)
{
	static bool first = true;

	fuzz_check(first || fuzz_lowest_free() == fuzz_lowest, "descriptor %d is left open",
		   fuzz_lowest);
	first = false;
}

static char fuzz_folder_path[64];

static void fuzz_remove_folder(void)
{
	static const char * const names[] = { "vm.json", "vm.log", YAB_API_SOCKET };
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", fuzz_folder_path, names[i]);
		unlink(path);
	}
	rmdir(fuzz_folder_path);
}

const char *fuzz_folder(void)
{
	static const char text[] =
		"{\"name\": \"vm\", \"memory\": \"1M\", "
		"\"qemu\": [\"q\", \"${memory}\", \"${incoming}\", \"${monitor}\"]}";
	char path[128];
	int fd;

	if (fuzz_folder_path[0])
		return fuzz_folder_path;
	snprintf(fuzz_folder_path, sizeof(fuzz_folder_path), "/tmp/yabusame-fuzz.XXXXXX");
	fuzz_check(mkdtemp(fuzz_folder_path), "no folder: %s", strerror(errno));
	atexit(fuzz_remove_folder);
	snprintf(path, sizeof(path), "%s/vm.json", fuzz_folder_path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	fuzz_check(fd >= 0 && write(fd, text, sizeof(text) - 1) > 0, "no description");
	close(fd);
	return fuzz_folder_path;
}

void fuzz_check_line(const char *line)
{
	json_t *json = json_string(line);

	fuzz_check(line[0], "an error without a text");
	/* Else no client would ever be told. */
	fuzz_check(json, "an error that is not UTF-8");
	json_decref(json);
	for (; *line; line++)
		fuzz_check((unsigned char)*line >= ' ' && *line != 0x7f,
			   "control character %d in an error", *line);
}

void fuzz_fill(uint8_t *bytes, uint64_t page)
{
	uint64_t word;

	for (uint64_t i = 0; i < FUZZ_PAGE / sizeof(word); i++) {
		word = (page << 16 | i) + 1;
		memcpy(bytes + i * sizeof(word), &word, sizeof(word));
	}
}

bool fuzz_is_zero(const uint8_t *bytes)
{
	static const uint8_t zeros[FUZZ_PAGE];

	return !memcmp(bytes, zeros, sizeof(zeros));
}
