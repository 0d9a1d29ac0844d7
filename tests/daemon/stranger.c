// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For errors.sh: the odd ones that a daemon meets.
 *
 *   stranger listen http|version|silent|close|plain|tls
 *				prints its port, serves for ever
 *   stranger send PORT garbage|magic|token|frame|version
 *				connects, sends, waits for the end
 *   stranger crowd PORT silent|drip|half|call NUMBER
 *				so many connections that say nothing, part of a hello, a
 *				byte of one every now and then, or a hello and half of a
 *				call; prints a line when they are made, holds them until
 *				its input ends, then prints how many the other side has closed
 *   stranger status PATH	asks the QMP socket whether the guest runs
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* magic, version, role, reserved, features, token */
static const char hello_other[40] = "YABUSAME\3\0\1";
static const char hello_token[40] = "YABUSAME\2\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0nobody's route!";
static const char hello_tls[40] = "YABUSAME\2\0\1\0\0\0\0\0\1";
/* A good preface or hello of 40 bytes, then a frame's header that is all ones. */
static const char hello_frame[40] = "YABUSAME\2\0\1";
static const char frame[24] = "\xff\xff\xff\xff\xff\xff\xff\xff";

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int listen_as(const char *what)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	char input[4096];
	int fd, peer;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return fail("listen");
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	fclose(stdout);
	for (;;) {
		peer = accept(fd, NULL, NULL);
		if (peer < 0)
			return fail("accept");
		if (!strcmp(what, "http")) {
			static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";

			if (read(peer, input, sizeof(input)) > 0)
				send(peer, answer, strlen(answer), MSG_NOSIGNAL);
		} else if (!strcmp(what, "version")) {
			if (read(peer, input, sizeof(input)) > 0)
				send(peer, hello_other, sizeof(hello_other), MSG_NOSIGNAL);
		} else if (!strcmp(what, "plain") || !strcmp(what, "tls")) {
			/* A good preface, for the one or the other; then nothing. */
			if (read(peer, input, sizeof(input)) > 0)
				send(peer, strcmp(what, "tls") ? hello_frame : hello_tls,
				     sizeof(hello_tls), MSG_NOSIGNAL);
			while (read(peer, input, sizeof(input)) > 0)
				;
		} else if (!strcmp(what, "silent")) {
			/* Until the other side has had enough. */
			while (read(peer, input, sizeof(input)) > 0)
				;
		}
		close(peer);
	}
}

static int send_to(const char *port, const char *what)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)atoi(port)),
	};
	char garbage[4096];
	int fd;

	memset(garbage, 0xa5, sizeof(garbage));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail("connect");
	if (!strcmp(what, "garbage"))
		send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
	else if (!strcmp(what, "magic"))
		send(fd, "YABUSAME\2", 9, MSG_NOSIGNAL);
	else if (!strcmp(what, "token"))
		send(fd, hello_token, sizeof(hello_token), MSG_NOSIGNAL);
	else if (!strcmp(what, "frame") &&
		 send(fd, hello_frame, sizeof(hello_frame), MSG_NOSIGNAL) > 0 &&
		 send(fd, hello_frame, sizeof(hello_frame), MSG_NOSIGNAL) > 0)
		send(fd, frame, sizeof(frame), MSG_NOSIGNAL);
	else if (!strcmp(what, "version"))
		send(fd, hello_other, sizeof(hello_other), MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	alarm(30);
	while (read(fd, garbage, sizeof(garbage)) > 0)
		;
	return 0;
}

/* Has the other side closed it? */
static int is_closed(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0 ||
	       (errno != EAGAIN && errno != EWOULDBLOCK);
}

static int connect_to(const char *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)atoi(port)),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : fd;
}

static void begin(int fd, const char *what)
{
	if (!strcmp(what, "half")) {
		send(fd, hello_frame, 20, MSG_NOSIGNAL);
	} else if (!strcmp(what, "call")) {
		/* CALL of 60000 bytes, of which none come. */
		static const char call[24] = "\1\0\0\0\x60\xea";
		char answer[40];

		/* The preface, then the hello, both answered: it is a control connection now. */
		for (int i = 0; i < 2; i++) {
			send(fd, hello_frame, sizeof(hello_frame), MSG_NOSIGNAL);
			recv(fd, answer, sizeof(answer), MSG_WAITALL);
		}
		send(fd, call, sizeof(call), MSG_NOSIGNAL);
	}
}

static int crowd(const char *port, const char *what, int number)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	int *fds = calloc((size_t)number, sizeof(*fds));
	int closed = 0;

	for (int i = 0; i < number; i++) {
		fds[i] = connect_to(port);
		if (fds[i] < 0)
			return fail("connect");
		begin(fds[i], what);
	}
	printf("made\n");
	fflush(stdout);
	/* A hello that takes longer than any patience, but is never silent for long. */
	for (int at = 0; !poll(&input, 1, 500); at++)
		for (int i = 0; !strcmp(what, "drip") && at < 39 && i < number; i++)
			send(fds[i], hello_frame + at, 1, MSG_NOSIGNAL);
	for (int i = 0; i < number; i++)
		closed += is_closed(fds[i]);
	printf("%d\n", closed);
	return 0;
}

static int ask_status(const char *path)
{
	static const char ask[] =
		"{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"query-status\"}\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char line[65536];
	FILE *stream;
	int fd;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail(path);
	alarm(30);
	if (write(fd, ask, strlen(ask)) < 0)
		return fail(path);
	stream = fdopen(fd, "r");
	while (stream && fgets(line, sizeof(line), stream)) {
		if (!strstr(line, "\"status\""))
			continue;
		return !strstr(line, "\"running\": true");
	}
	return 1;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "listen"))
		return listen_as(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "send"))
		return send_to(argv[2], argv[3]);
	if (argc == 5 && !strcmp(argv[1], "crowd"))
		return crowd(argv[2], argv[3], atoi(argv[4]));
	if (argc == 3 && !strcmp(argv[1], "status"))
		return ask_status(argv[2]);
	return 2;
}
