// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a process can and cannot do in a worker's sandbox. Each case is a child that enters
 * it. Programs with sanitizers have a wider filter: there some of the cases are left out,
 * so this one is to be run without, too.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../daemon/region.h"
#include "../../daemon/sandbox.h"
#include "../../daemon/channel.h"
#include "script.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED	1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED	1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED	0
#endif

static struct script_memory memory;
static int pair[2];
static pid_t parent;

static void setup(void)
{
	parent = getpid();
	script_memory_make(&memory, 64);
	script_pair(&pair[0], &pair[1]);
}

static void teardown(void)
{
	script_memory_drop(&memory);
	close(pair[0]);
	close(pair[1]);
}

/* Leaves without what sanitizers do at the end: that is not of interest here. */
static void __attribute__((noreturn)) leave(int status)
{
	syscall(SYS_exit_group, status);
	__builtin_unreachable();
}

static void enter(pid_t process)
{
	const struct yab_sandbox_needs needs = { .process = process };
	char error[256];

	if (yab_sandbox_enter(&needs, error, sizeof(error)) == 0)
		return;
	fprintf(stderr, "%s\n", error);
	leave(100);
}

static int status_of(pid_t child)
{
	int status;

	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static void expect_killed(int status, int number)
{
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == number, "wait status %#x", status);
}

static void expect_left(int status)
{
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %#x", status);
}

/* The line of the check that failed is the exit status' reason. */
#define CHECK(what)	do { \
		if (!(what)) { \
			dprintf(2, "%s:%d: %s: %s\n", __FILE__, __LINE__, #what, strerror(errno)); \
			leave(1); \
		} \
	} while (0)

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static void on_message(json_t *message, const int *fds, size_t fd_count, void *arg)
{
	const int off = 0;

	CHECK(message && fd_count == 1);
	/* Whatever the descriptor is, options and flags may be asked for and set. */
	CHECK(fcntl(fds[0], F_SETFL, fcntl(fds[0], F_GETFL) | O_NONBLOCK) == 0);
	setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &off, sizeof(off));
	setsockopt(fds[0], SOL_SOCKET, SO_PRIORITY, &off, sizeof(off));
	setsockopt(fds[0], IPPROTO_TCP, TCP_ULP, "tls", 3);
	close(fds[0]);
	event_base_loopbreak(arg);
}

/* Memory of all sizes, the memory file, sockets, descriptors that come, the event loop. */
START_TEST(work_goes_on)
{
	const struct timeval soon = { .tv_usec = 1000 };
	pid_t child = fork();

	if (!child) {
		struct event_base *base = script_base();
		struct yab_channel *channel, *other;
		unsigned char resident[64];
		struct event *timer;
		struct timespec now;
		off_t at = 0;
		void *map;
		int seq[2];

		/* It asks for random numbers once; a worker has parsed its first message. */
		json_object_seed(0);
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, seq) == 0);
		enter(0);
		for (size_t size = 16; size <= 64 << 20; size *= 4) {
			char *block = malloc(size);

			CHECK(block);
			memset(block, 1, size);
			block = realloc(block, 2 * size);
			CHECK(block);
			free(block);
		}
		map = mmap(NULL, SCRIPT_PAGE, PROT_READ, MAP_SHARED, memory.fd, 0);
		CHECK(map != MAP_FAILED && mprotect(map, SCRIPT_PAGE, PROT_NONE) == 0);
		CHECK(munmap(map, SCRIPT_PAGE) == 0);
		CHECK(pwrite(memory.fd, "x", 1, SCRIPT_PAGE) == 1);
		CHECK(mincore(memory.bytes, 64 * SCRIPT_PAGE, resident) == 0);
		CHECK(!(resident[0] & 1) && (resident[1] & 1));
		CHECK(lseek(memory.fd, 0, SEEK_DATA) == SCRIPT_PAGE);
		CHECK(sendfile(pair[0], memory.fd, &at, 100) == 100);
		CHECK(fallocate(memory.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				2 * SCRIPT_PAGE) == 0);
		CHECK(read(pair[1], resident, 10) == 10);
		CHECK(getrandom(resident, 10, 0) == 10);
		CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
		CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) == 0);
		channel = yab_channel_new(base, seq[0], on_message, base);
		CHECK(channel);
		/* The other end is in here, too: only a message and its descriptor matter. */
		CHECK(yab_channel_send(channel, json_pack("{s:s}", "type", "x"), &pair[0], 1) == 0);
		other = yab_channel_new(base, seq[1], on_message, base);
		CHECK(other);
		event_base_dispatch(base);
		yab_channel_free(other);
		timer = evtimer_new(base, on_timer, base);
		yab_channel_free(channel);
		CHECK(timer && evtimer_add(timer, &soon) == 0);
		event_base_dispatch(base);
		event_free(timer);
		event_base_free(base);
		ioctl(memory.fd, YAB_IOC_DECLARE, NULL);
		ioctl(memory.fd, YAB_IOC_PRESENT, NULL);
		leave(0);
	}
	expect_left(status_of(child));
}
END_TEST

/* A bug is to be seen as one. */
START_TEST(aborts)
{
	pid_t child = fork();

	if (!child) {
		enter(0);
		abort();
	}
	expect_killed(status_of(child), SIGABRT);
}
END_TEST

static void *map_of(int protection)
{
	return mmap(NULL, SCRIPT_PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void do_socket(void) { socket(AF_INET, SOCK_STREAM, 0); }
static void do_socketpair(void) { socketpair(AF_UNIX, SOCK_STREAM, 0, pair); }
static void do_connect(void) { connect(pair[0], NULL, 0); }
static void do_accept(void) { accept(pair[0], NULL, NULL); }
static void do_bind(void) { bind(pair[0], NULL, 0); }
static void do_map_code(void) { map_of(PROT_READ | PROT_EXEC); }
static void do_make_code(void) { mprotect(memory.bytes, SCRIPT_PAGE, PROT_READ | PROT_EXEC); }
static void do_memfd(void) { memfd_create("x", 0); }
static void do_uring(void) { syscall(SYS_io_uring_setup, 1, NULL); }
static void do_userfaultfd(void) { syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY); }
static void do_bpf(void) { syscall(SYS_bpf, 0, NULL, 0); }
static void do_unshare(void) { syscall(SYS_unshare, 0x10000000); }
static void do_create(void) { ioctl(memory.fd, YAB_IOC_CREATE, NULL); }
static void do_truncate(void) { ftruncate(memory.fd, 0) ? (void)0 : (void)0; }
static void do_seals(void) { fcntl(memory.fd, F_ADD_SEALS, F_SEAL_WRITE); }
static void do_attach_filter(void)
{
	setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, NULL, 0);
}
static void do_setuid(void) { syscall(SYS_setresuid, 0, 0, 0); }
static void do_ptrace(void) { ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static void do_kill_own(void) { syscall(SYS_tgkill, parent, parent, 0); }
static void do_ioctl(void) { ioctl(pair[0], FIONREAD, NULL); }
static void do_read_process(void) { process_vm_readv(parent, NULL, 0, NULL, 0, 0); }
#if !SANITIZED
static void do_open(void) { open("/etc/passwd", O_RDONLY); }
static void do_unlink(void) { unlink("/tmp/x"); }
static void do_execve(void) { execl("/bin/true", "true", NULL); }
static void do_fork(void) { fork(); }
static void do_kill(void) { kill(parent, 0); }
static void do_prctl(void) { prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }
#endif

static void (*const forbidden[])(void) = {
	do_socket, do_socketpair, do_connect, do_accept, do_bind, do_map_code, do_make_code,
	do_memfd, do_uring, do_userfaultfd, do_bpf, do_unshare, do_create, do_truncate, do_seals,
	do_attach_filter, do_setuid, do_ptrace, do_kill_own, do_ioctl, do_read_process,
#if !SANITIZED
	do_open, do_unlink, do_execve, do_fork, do_kill, do_prctl,
#endif
};

#define FORBIDDEN	((int)(sizeof(forbidden) / sizeof(*forbidden)))

START_TEST(ends_with_what_is_forbidden)
{
	pid_t child;

	child = fork();
	if (!child) {
		enter(0);
		forbidden[_i]();
		leave(0);
	}
	expect_killed(status_of(child), SIGSYS);
}
END_TEST

/* The memory of one process, as that of QEMU, and no other. */
START_TEST(reads_the_one_process)
{
	pid_t child = fork();

	if (!child) {
		static char there[64] = "there", here[64];
		struct iovec local = { here, sizeof(here) }, remote = { there, sizeof(there) };

		enter(getppid());
		/* Root's child keeps the right; others have it if they are let. */
		CHECK(process_vm_readv(parent, &local, 1, &remote, 1, 0) == sizeof(here) ||
		      errno == EPERM);
		CHECK(geteuid() != 0);
		leave(0);
	}
	expect_left(status_of(child));
	child = fork();
	if (!child) {
		enter(getppid());
		process_vm_readv(getpid(), NULL, 0, NULL, 0, 0);
		leave(0);
	}
	expect_killed(status_of(child), SIGSYS);
}
END_TEST

/* A child in its sandbox, until leave_held(). */
static pid_t hold(void)
{
	pid_t child = fork();
	char byte;

	if (!child) {
		/* Something to be dropped. */
		if (!geteuid())
			CHECK(setgroups(1, &(gid_t){ 12345 }) == 0);
		enter(0);
		write(pair[0], "", 1);
		read(pair[0], &byte, 1);
		leave(0);
	}
	ck_assert_int_eq(read(pair[1], &byte, 1), 1);
	return child;
}

static void leave_held(pid_t child)
{
	ck_assert_int_eq(write(pair[1], "", 1), 1);
	expect_left(status_of(child));
}

/* The line of @name in the file @what of the child's folder in /proc ends with @want. */
static void expect_line(pid_t child, const char *what, const char *name, const char *want)
{
	char path[64], line[256];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)child, what);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	while (!found && fgets(line, sizeof(line), file))
		found = !strncmp(line, name, strlen(name));
	fclose(file);
	ck_assert_msg(found, "%s", name);
	line[strcspn(line, "\n")] = '\0';
	ck_assert_msg(!strcmp(line + strlen(name), want), "%s", line);
}

static void expect_status(pid_t child, const char *name, const char *want)
{
	expect_line(child, "status", name, want);
}

START_TEST(has_no_privileges)
{
	pid_t child = hold();

	expect_status(child, "NoNewPrivs:", "\t1");
	expect_status(child, "Seccomp:", "\t2");
	expect_status(child, "CapEff:", "\t0000000000000000");
	expect_status(child, "CapPrm:", "\t0000000000000000");
	expect_status(child, "CapInh:", "\t0000000000000000");
	expect_status(child, "CapAmb:", "\t0000000000000000");
	if (!geteuid())
		expect_status(child, "CapBnd:", "\t0000000000000000");
	leave_held(child);
}
END_TEST

/* As root, on a host without the account: nobody, in an empty folder. */
START_TEST(is_another)
{
	struct stat self, root;
	char path[64];
	pid_t child;
	int folder;

	if (geteuid())
		return;
	child = hold();
	snprintf(path, sizeof(path), "/proc/%d/root", (int)child);
	ck_assert_int_eq(stat("/", &self), 0);
	ck_assert_int_eq(stat(path, &root), 0);
	if (!SANITIZED) {
		ck_assert(self.st_dev != root.st_dev);
		ck_assert_uint_eq(root.st_nlink, 2);
		folder = openat(AT_FDCWD, path, O_DIRECTORY | O_RDONLY);
		ck_assert_int_ge(folder, 0);
		ck_assert_int_lt(mkdirat(folder, "x", 0700), 0);
		ck_assert_int_eq(errno, EROFS);
		close(folder);
	}
	expect_status(child, "Groups:", "\t ");
	snprintf(path, sizeof(path), "/proc/%d/status", (int)child);
	/* Not dumpable: its files are root's. */
	ck_assert_int_eq(stat(path, &self), 0);
	ck_assert(self.st_uid == 0);
	leave_held(child);
}
END_TEST

START_TEST(has_limits)
{
	pid_t child = hold();

	expect_line(child, "limits", "Max core file size ",
		    "       0                    0                    bytes     ");
	expect_line(child, "limits", "Max open files ",
		    "           128                  128                  files     ");
	leave_held(child);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sandbox");
	TCase *tcase = tcase_create("sandbox");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, work_goes_on);
	tcase_add_test(tcase, aborts);
	tcase_add_loop_test(tcase, ends_with_what_is_forbidden, 0, FORBIDDEN);
	tcase_add_test(tcase, reads_the_one_process);
	tcase_add_test(tcase, has_no_privileges);
	tcase_add_test(tcase, is_another);
	tcase_add_test(tcase, has_limits);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
