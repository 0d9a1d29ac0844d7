// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs commands in the lab's hosts. One program, three parts:
 *
 *   lab-agent serve PORT     in a host, as process 1: serves TCP on the
 *                            management network and, once, the virtio port
 *   lab-agent start SOCKET ENV... -- COMMAND...
 *                            on the machine: runs COMMAND in the host whose
 *                            virtio port SOCKET is, when that host is up
 *   on HOST COMMAND...       in a host: runs COMMAND in another one
 *
 * Either way both streams and the exit status come back, the arguments travel as
 * they are, and the command dies with whoever asked for it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AGENT_PORT	4900
#define FRAME_MAX	(1u << 20)	/* longest single argument */
#define ARGS_MAX	4096

/* what is still in the pipes of a command that has ended is waited for this long */
#define DRAIN_MS	200

/* exit status of our own failures, as env(1) and others have it */
#define STATUS_LOST	125

enum frame_type {
	FRAME_READY = 'R',	/* host to machine: up; text for the user */
	FRAME_CWD = 'D',
	FRAME_ENV = 'V',
	FRAME_ARG = 'A',
	FRAME_GO = 'G',
	FRAME_OUT = 'O',
	FRAME_ERR = 'E',
	FRAME_EXIT = 'X',	/* one byte: exit status */
};

struct frame {
	uint8_t type;
	uint32_t len;		/* network order */
} __attribute__((packed));

struct request {
	char *cwd;
	char *argv[ARGS_MAX + 1];
	int argc;
};

static const char *self;

__attribute__((format(printf, 1, 2), noreturn))
static void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", self);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(STATUS_LOST);
}

static bool write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool send_frame(int fd, enum frame_type type, const void *data, size_t len)
{
	struct frame head = { .type = (uint8_t)type, .len = htonl((uint32_t)len) };

	return len <= FRAME_MAX && write_all(fd, &head, sizeof(head)) &&
	       write_all(fd, data, len);
}

/* The payload is the caller's to free, and ends with a NUL. */
static bool recv_frame(int fd, enum frame_type *type, char **data, size_t *len)
{
	struct frame head;

	if (!read_all(fd, &head, sizeof(head)))
		return false;
	*type = head.type;
	*len = ntohl(head.len);
	if (*len > FRAME_MAX)
		return false;
	*data = malloc(*len + 1);
	if (!*data)
		return false;
	(*data)[*len] = '\0';
	if (read_all(fd, *data, *len))
		return true;
	free(*data);
	return false;
}

/* --- the host's side ------------------------------------------------------ */

static bool recv_request(int fd, struct request *rq)
{
	enum frame_type type;
	char *data;
	size_t len;

	memset(rq, 0, sizeof(*rq));
	while (recv_frame(fd, &type, &data, &len)) {
		switch (type) {
		case FRAME_CWD:
			rq->cwd = data;
			break;
		case FRAME_ENV:
			putenv(data);	/* keeps it */
			break;
		case FRAME_ARG:
			if (rq->argc == ARGS_MAX)
				return false;
			rq->argv[rq->argc++] = data;
			break;
		case FRAME_GO:
			free(data);
			return rq->argc > 0;
		default:
			return false;
		}
	}
	return false;
}

__attribute__((noreturn))
static void run_command(const struct request *rq, int out, int err)
{
	int null = open("/dev/null", O_RDONLY);

	setsid();
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(STATUS_LOST);
	/* a folder of the caller's that is not here: stay at the root of the project */
	if (rq->cwd && chdir(rq->cwd) < 0 && errno != ENOENT)
		fprintf(stderr, "%s: %s\n", rq->cwd, strerror(errno));
	execvp(rq->argv[0], rq->argv);
	null = errno;
	fprintf(stderr, "%s: %s\n", rq->argv[0], strerror(null));
	_exit(null == ENOENT ? 127 : 126);
}

/* Pass what is in the pipe on; false at its end. */
static bool forward(int from, int to, enum frame_type type)
{
	static char buf[32 * 1024];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0)
		return false;
	if (!send_frame(to, type, buf, (size_t)n))
		exit(1);
	return true;
}

/* Serve one request, in a process of its own. */
static void session(int fd)
{
	struct request rq;
	int out[2], err[2], status;
	bool ended = false;
	uint8_t code;
	pid_t child;

	signal(SIGCHLD, SIG_DFL);
	if (!recv_request(fd, &rq))
		return;
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return;
	child = fork();
	if (child < 0)
		return;
	if (!child) {
		signal(SIGPIPE, SIG_DFL);
		run_command(&rq, out[1], err[1]);
	}
	close(out[1]);
	close(err[1]);

	struct pollfd fds[] = {
		{ .fd = out[0], .events = POLLIN },
		{ .fd = err[0], .events = POLLIN },
		{ .fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN },
		{ .fd = fd, .events = POLLIN },		/* nothing but its end is expected */
	};

	while (!ended || fds[0].fd >= 0 || fds[1].fd >= 0) {
		int n = poll(fds, 4, ended ? DRAIN_MS : -1);

		if (n < 0 && errno == EINTR)
			continue;
		/* the command has ended, something it left behind keeps the pipe open */
		if (n == 0)
			break;
		if (fds[3].revents) {
			kill(-child, SIGTERM);
			usleep(100 * 1000);
			kill(-child, SIGKILL);
			return;
		}
		if (fds[0].revents && !forward(out[0], fd, FRAME_OUT))
			fds[0].fd = -1;
		if (fds[1].revents && !forward(err[0], fd, FRAME_ERR))
			fds[1].fd = -1;
		if (fds[2].revents) {
			ended = true;
			fds[2].fd = -1;
		}
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	code = WIFEXITED(status) ? (uint8_t)WEXITSTATUS(status) :
				   (uint8_t)(128 + WTERMSIG(status));
	send_frame(fd, FRAME_EXIT, &code, sizeof(code));
}

static int listen_tcp(void)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_port = htons(AGENT_PORT),
		.sin_addr.s_addr = htonl(INADDR_ANY),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 || listen(fd, 64) < 0)
		die("port %d: %s", AGENT_PORT, strerror(errno));
	return fd;
}

static int connect_host(const char *host)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(AGENT_PORT) };
	struct timeval patience = { .tv_sec = 10 };
	int fd, one = 1;
	unsigned int nr;
	char end;

	if (sscanf(host, "host%u%c", &nr, &end) != 1 || nr < 1 || nr > 250)
		die("no such host: %s", host);
	sin.sin_addr.s_addr = htonl(0x0aff0000u + nr);	/* 10.255.0.NR */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	/* bounds connect() */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* a host that died silently must not hang its callers for ever */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 10 }, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){ 5 }, sizeof(int));
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The machine's request: answered when all hosts are up. */
static void serve_port(const char *path, int hosts)
{
	char text[256], host[16];
	struct utsname uts;
	int fd, i, lost;

	for (i = 2; i <= hosts; i++) {
		snprintf(host, sizeof(host), "host%d", i);
		while ((lost = connect_host(host)) < 0)
			usleep(50 * 1000);
		close(lost);
	}
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	uname(&uts);
	snprintf(text, sizeof(text), "%s", uts.release);
	if (send_frame(fd, FRAME_READY, text, strlen(text)))
		session(fd);
}

__attribute__((noreturn))
static void serve(const char *port)
{
	const char *hosts = getenv("YAB_LAB_HOSTS");
	int listener, fd;

	/* children are reaped by the kernel; as process 1 that means all orphans */
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	listener = listen_tcp();
	if (*port && fork() == 0) {
		close(listener);
		serve_port(port, hosts ? atoi(hosts) : 1);
		_exit(0);
	}
	for (;;) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		if (fork() == 0) {
			close(listener);
			session(fd);
			_exit(0);
		}
		close(fd);
	}
}

/* --- the caller's side ---------------------------------------------------- */

static void send_request(int fd, const char *cwd, char **env, char **argv)
{
	bool ok = true;

	if (cwd)
		ok = send_frame(fd, FRAME_CWD, cwd, strlen(cwd));
	for (; ok && *env; env++)
		ok = send_frame(fd, FRAME_ENV, *env, strlen(*env));
	for (; ok && *argv; argv++)
		ok = send_frame(fd, FRAME_ARG, *argv, strlen(*argv));
	if (!ok || !send_frame(fd, FRAME_GO, "", 0))
		die("cannot send the command: %s", strerror(errno));
}

static void say_up(const char *release, time_t since)
{
	const char *hosts = getenv("YAB_LAB_HOSTS");
	int i, n = hosts ? atoi(hosts) : 1;

	fputs("lab: ", stderr);
	for (i = 1; i <= n; i++)
		fprintf(stderr, "%shost%d", i > 1 ? ", " : "", i);
	fprintf(stderr, " up after %ld s (%s)\n", (long)(time(NULL) - since), release);
}

/* Until the command's end; returns its status. */
static int receive(int fd, time_t since)
{
	enum frame_type type;
	int status = -1;
	char *data;
	size_t len;

	while (status < 0 && recv_frame(fd, &type, &data, &len)) {
		switch (type) {
		case FRAME_READY:
			say_up(data, since);
			break;
		case FRAME_OUT:
		case FRAME_ERR:
			if (!write_all(type == FRAME_OUT ? 1 : 2, data, len))
				exit(STATUS_LOST);
			break;
		case FRAME_EXIT:
			status = len ? (uint8_t)data[0] : STATUS_LOST;
			break;
		default:
			die("protocol error");
		}
		free(data);
	}
	return status;
}

static int on(char **argv)
{
	char cwd[PATH_MAX], *env[ARGS_MAX], **e;
	int fd, n = 0, status;

	if (!argv[0] || !argv[1]) {
		fprintf(stderr, "usage: on HOST COMMAND [ARGUMENT...]\n");
		return 2;
	}
	for (e = environ; *e && n < ARGS_MAX - 1; e++)
		if (!strncmp(*e, "YAB_", 4) && strncmp(*e, "YAB_LAB_", 8))
			env[n++] = *e;
	env[n] = NULL;
	fd = connect_host(argv[0]);
	if (fd < 0)
		die("%s: %s", argv[0], strerror(errno));
	send_request(fd, getcwd(cwd, sizeof(cwd)), env, argv + 1);
	status = receive(fd, 0);
	if (status < 0)
		die("%s: connection lost", argv[0]);
	return status;
}

static int start(const char *path, char **argv)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	time_t since = time(NULL);
	char **env = argv;
	int fd, i, status;

	/* whoever started us has died: so shall the command */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (*argv && strcmp(*argv, "--"))
		argv++;
	if (!*argv)
		die("no command");
	*argv++ = NULL;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* QEMU takes a moment to make it */
	for (i = 0; connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0; i++) {
		if (i == 500)
			die("%s: %s", path, strerror(errno));
		usleep(20 * 1000);
	}
	send_request(fd, NULL, env, argv);
	status = receive(fd, since);
	if (status < 0)
		die("host1 is gone");
	return status;
}

int main(int argc, char **argv)
{
	self = strrchr(argv[0], '/');
	self = self ? self + 1 : argv[0];
	if (!strcmp(self, "on"))
		return on(argv + 1);
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	if (argc > 4 && !strcmp(argv[1], "start"))
		return start(argv[2], argv + 3);
	fprintf(stderr, "usage: %s serve PORT | start SOCKET ENV... -- COMMAND...\n", self);
	return 2;
}
