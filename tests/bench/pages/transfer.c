// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * transfer [--verify] YABUSAMED SIZE DATA CONNECTIONS [TLS-FOLDER]
 *
 * One transfer of a memory file of SIZE MiB from a source worker to a destination worker,
 * over TCP on the loopback device, without a region: nobody touches the memory before it
 * is complete, so everything moves in bulk. Both workers are processes of the program
 * YABUSAMED, and this program is the supervisor of both. DATA MiB of the file are random
 * bytes, in runs of 1 MiB at equal distances (all of it if DATA is SIZE); the rest are holes.
 *
 * With --verify the workers compare all of it by checksums before they are done.
 *
 * Prints lines of "name value" once the destination's memory was compared with the source's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "checksum.h"
#include "region.h"
#include "security.h"
#include "wire.h"
#include "worker.h"

#define MIB	(1024UL * 1024)

enum { SOURCE, DESTINATION, SIDES };

static const char *const side_names[SIDES] = { "source", "destination" };

struct worker {
	int side;
	pid_t pid;
	struct yab_channel *channel;
	int memory_fd;
	/* The greatest that were seen, in KiB. */
	unsigned long anonymous;	/* the process's own pages */
	unsigned long tables;		/* page tables of all its mappings */
};

static struct event_base *base;
static struct worker workers[SIDES];
static bool complete, verifies;
static json_int_t verified;	/* chunks */
static unsigned int opened;	/* ends of connections */
static struct timespec completed;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("transfer: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(EXIT_FAILURE);
}

static double seconds(struct timespec from, struct timespec to)
{
	return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

/* A field of /proc/PID/status in KiB. */
static unsigned long status_field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	if (!at)
		die("/proc has no %s", name);
	return strtoul(at + strlen(name), NULL, 10);
}

/*
 * The region's pages are the VM's, not the worker's, so RSS says nothing. What the
 * worker itself needs only grows until the end: looking now and then finds the peak.
 */
static void look_at_memory(struct worker *worker)
{
	char path[64], status[8192];
	unsigned long value;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", worker->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);
	if (n < 0)
		die("cannot read %s: %s", path, strerror(errno));
	close(fd);
	status[n] = '\0';
	value = status_field(status, "\nRssAnon:");
	if (value > worker->anonymous)
		worker->anonymous = value;
	value = status_field(status, "\nVmPTE:");
	if (value > worker->tables)
		worker->tables = value;
}

static void on_message(json_t *message, const int *fds, size_t fd_count, void *arg)
{
	struct worker *worker = arg;
	const char *type = json_string_value(json_object_get(message, "type"));

	(void)fds;
	(void)fd_count;
	if (!message || !type)
		die("the %s worker is gone", side_names[worker->side]);
	if (!strcmp(type, "open")) {
		opened++;
		event_base_loopbreak(base);
	} else if (!strcmp(type, "complete")) {
		clock_gettime(CLOCK_MONOTONIC, &completed);
		complete = true;
		event_base_loopbreak(base);
	} else if (!strcmp(type, "statistics")) {
		verified = json_integer_value(json_object_get(message, "verified_chunks"));
	} else {
		die("the %s worker says: %s", side_names[worker->side],
		    json_string_value(json_object_get(message, "error")));
	}
	look_at_memory(worker);
}

static void tell_with(struct worker *worker, json_t *message, const int *fds, size_t count)
{
	if (yab_channel_send(worker->channel, message, fds, count) < 0)
		die("cannot tell the %s worker: %s", side_names[worker->side], strerror(errno));
}

static void tell(struct worker *worker, json_t *message)
{
	tell_with(worker, message, NULL, 0);
}

/* As yab_worker_spawn() does, but any yabusamed may be the worker. */
static void start(struct worker *worker, int side, const char *program, unsigned long size)
{
	const bool sums = verifies && side == DESTINATION;
	int pair[2], fds[2];

	worker->side = side;
	worker->memory_fd = yab_region_memory(side_names[side], size);
	if (worker->memory_fd < 0)
		die("cannot make a memory file: %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair: %s", strerror(errno));
	worker->pid = fork();
	if (worker->pid < 0)
		die("fork: %s", strerror(errno));
	if (!worker->pid) {
		/* So that none is left behind, whatever becomes of this program. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pair[1] == YAB_WORKER_FD)
			fcntl(pair[1], F_SETFD, 0);
		else
			dup2(pair[1], YAB_WORKER_FD);
		execl(program, program, "--worker", NULL);
		die("cannot run %s: %s", program, strerror(errno));
	}
	close(pair[1]);
	worker->channel = yab_channel_new(base, pair[0], on_message, worker);
	if (!worker->channel)
		die("no channel: %s", strerror(errno));
	fds[0] = worker->memory_fd;
	fds[1] = sums ? yab_checksums_make("bench", size / YAB_WIRE_PAGE_SIZE) : -1;
	if (sums && fds[1] < 0)
		die("cannot make a file for checksums: %s", strerror(errno));
	tell_with(worker, json_pack("{s:s, s:s, s:s, s:I, s:b, s:b}", "type", "start", "side",
				    side_names[side], "vm", "bench", "pages",
				    (json_int_t)(size / YAB_WIRE_PAGE_SIZE), "sweep", 0, "verify",
				    sums), fds, sums ? 2 : 1);
	if (sums)
		close(fds[1]);
}

static void connect_pair(int *here, int *there)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*here = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || *here < 0 ||
	    bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
	    connect(*here, (struct sockaddr *)&address, length) < 0)
		die("no TCP on the loopback device: %s", strerror(errno));
	*there = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*there < 0)
		die("accept: %s", strerror(errno));
	close(listener);
}

/* The prefaces are the supervisors' business, and the workers do not miss them. */
static void connect_role(enum yab_wire_role role, unsigned int index, const char *tls_dir)
{
	static const uint8_t token[YAB_WIRE_TOKEN_SIZE] = "bench";
	const struct yab_security security = { .plain = !tls_dir, .folder = tls_dir };
	struct yab_worker_connection connection = {
		.role = role,
		.index = index,
		.tls = tls_dir,
		.token = token,
		.name = "bench",
	};
	const unsigned int before = opened;
	char error[YAB_WIRE_ERROR_MAX];
	int fds[SIDES];

	connect_pair(&fds[SOURCE], &fds[DESTINATION]);
	for (int side = 0; side < SIDES; side++) {
		connection.side = side == SOURCE ? YAB_CREDENTIALS_CLIENT : YAB_CREDENTIALS_SERVER;
		connection.host = side == SOURCE ? "host1" : NULL;
		if (yab_worker_connect(workers[side].channel, &connection, fds[side], &security,
				       error, sizeof(error)) < 0)
			die("%s", error);
		close(fds[side]);
	}
	while (opened < before + SIDES)
		if (event_base_dispatch(base) == 1)
			die("a connection does not open");
}

/* xorshift64: no two pages alike, none zero, nothing to compress. */
static void fill(int fd, unsigned long size, unsigned long data)
{
	const unsigned long stride = size / data * MIB;
	static uint64_t state = 0x9e3779b97f4a7c15;
	uint64_t *words = malloc(MIB);

	if (!words)
		die("no memory");
	for (unsigned long run = 0; run < data; run++) {
		for (size_t i = 0; i < MIB / sizeof(*words); i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			words[i] = state;
		}
		if (pwrite(fd, words, MIB, (off_t)(run * stride)) != (ssize_t)MIB)
			die("cannot fill the source's memory: %s", strerror(errno));
	}
	free(words);
}

/*
 * All data of the source is in the destination byte by byte. It has no page that is zero, so if
 * the destination has as many pages, they are the same ones, and its holes are too.
 */
static void compare(void)
{
	static char here[MIB], there[MIB];
	struct stat st[SIDES];
	off_t at = 0, end = 0;

	for (int side = 0; side < SIDES; side++)
		fstat(workers[side].memory_fd, &st[side]);
	if (st[SOURCE].st_blocks != st[DESTINATION].st_blocks)
		die("the destination uses %lld KiB, the source %lld",
		    (long long)st[DESTINATION].st_blocks / 2, (long long)st[SOURCE].st_blocks / 2);
	for (;;) {
		if (at >= end) {
			at = lseek(workers[SOURCE].memory_fd, end, SEEK_DATA);
			if (at < 0)
				return;
			end = lseek(workers[SOURCE].memory_fd, at, SEEK_HOLE);
		}
		const size_t length = (size_t)(end - at) < MIB ? (size_t)(end - at) : MIB;

		if (pread(workers[SOURCE].memory_fd, here, length, at) != (ssize_t)length ||
		    pread(workers[DESTINATION].memory_fd, there, length, at) != (ssize_t)length)
			die("cannot read the memory: %s", strerror(errno));
		if (memcmp(here, there, length))
			die("the memory differs in the MiB at byte %lld", (long long)at);
		at += (off_t)length;
	}
}

/* Lets the worker leave and says what it used. */
static void end(struct worker *worker)
{
	const char *name = side_names[worker->side];
	struct rusage usage;
	int status;

	yab_channel_free(worker->channel);
	if (wait4(worker->pid, &status, 0, &usage) < 0 || status)
		die("the %s worker ended with status %d", name, status);
	printf("%s_user %.3f\n%s_system %.3f\n", name,
	       (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6, name,
	       (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6);
	printf("%s_anonymous %lu\n%s_tables %lu\n", name, worker->anonymous, name,
	       worker->tables);
}

static unsigned long number(const char *text)
{
	char *rest;
	unsigned long value = strtoul(text, &rest, 10);

	if (!value || *rest)
		die("%s is not a number above 0", text);
	return value;
}

int main(int argc, char **argv)
{
	struct timespec began;
	unsigned long size, data, connections;

	if (argc > 1 && !strcmp(argv[1], "--verify")) {
		verifies = true;
		argv++;
		argc--;
	}
	if (argc != 5 && argc != 6)
		die("usage: transfer [--verify] YABUSAMED SIZE DATA CONNECTIONS [TLS-FOLDER] (MiB)");
	size = number(argv[2]);
	data = number(argv[3]);
	if (data > size)
		die("more data than memory");
	connections = number(argv[4]);
	if (connections > YAB_WIRE_BULKS_MAX)
		die("at most %d connections", YAB_WIRE_BULKS_MAX);
	base = event_base_new();
	if (!base)
		die("no event base");
	for (int side = 0; side < SIDES; side++)
		start(&workers[side], side, argv[1], size * MIB);
	fill(workers[SOURCE].memory_fd, size, data);
	tell(&workers[SOURCE], json_pack("{s:s}", "type", "serve"));
	connect_role(YAB_WIRE_URGENT, 0, argv[5]);
	for (unsigned long i = 0; i < connections; i++)
		connect_role(YAB_WIRE_BULK, (unsigned int)i, argv[5]);
	clock_gettime(CLOCK_MONOTONIC, &began);
	tell(&workers[DESTINATION], json_pack("{s:s}", "type", "sweep"));
	while (!complete)
		if (event_base_dispatch(base) == 1)
			die("nothing to wait for");
	for (int side = 0; side < SIDES; side++)
		look_at_memory(&workers[side]);
	compare();
	if (verifies && (uint64_t)verified != yab_wire_chunks(size * MIB / YAB_WIRE_PAGE_SIZE))
		die("only %lld chunks are verified", (long long)verified);
	printf("seconds %.3f\nbytes %lu\n", seconds(began, completed), data * MIB);
	/* The destination first: the source goes on while it has connections. */
	end(&workers[DESTINATION]);
	end(&workers[SOURCE]);
	return EXIT_SUCCESS;
}
