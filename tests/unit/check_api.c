// SPDX-License-Identifier: GPL-2.0-or-later
/* The local socket: who may use it, and those who do not read what they are told. */
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/api.h"
#include "script.h"
#include "supervisor.h"

#define STRANGER	65534
#define SAVE	"{\"command\": \"save\", \"vm\": \"nosuch\", \"image\": \"/a\", \"state\": \"/b\"}\n"
#define RESTORE	"{\"command\": \"start\", \"vm\": \"nosuch\", \"image\": \"/a\", \"state\": \"/b\"}\n"
#define REQUEST		"{\"command\": \"jobinfo\", \"vm\": \"nosuch\"}\n"

static struct yab_supervisor supervisor;
static struct yab_api *api;
static char folder[SCRIPT_FOLDER_SIZE];
static struct sockaddr_un address;

static void open_api(gid_t group)
{
	char error[256];

	script_folder_make(folder);
	ck_assert_int_eq(chmod(folder, 0711), 0);
	supervisor_begin(&supervisor, folder, NULL);
	supervisor.group = group;
	api = yab_api_new(&supervisor, error, sizeof(error));
	ck_assert_msg(api, "%s", error);
	address.sun_family = AF_UNIX;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", folder, YAB_API_SOCKET);
}

static void close_api(void)
{
	yab_api_free(api);
	supervisor_end(&supervisor);
	/* Nothing is left in it. */
	ck_assert_int_eq(rmdir(folder), 0);
}

static int connect_client(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* 300000 requests at once would be some 30 MiB of answers. */
START_TEST(client_that_does_not_read)
{
	static char requests[100 * (sizeof(REQUEST) - 1)], answers[65536];
	size_t sent = 0, asked = 0, answered = 0;
	bool full = false;
	ssize_t n;
	int fd;

	for (size_t i = 0; i < 100; i++)
		memcpy(requests + i * (sizeof(REQUEST) - 1), REQUEST, sizeof(REQUEST) - 1);
	open_api((gid_t)-1);
	fd = connect_client();
	while (!full && sent < 300000 * (sizeof(REQUEST) - 1)) {
		n = send(fd, requests + sent % sizeof(requests),
			 sizeof(requests) - sent % sizeof(requests), MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		script_settle(supervisor.base);
		/* Twice: what it has read by then made room once more. */
		full = n < 0 && send(fd, "", 0, MSG_DONTWAIT) == 0;
	}
	/* It has stopped reading: what is on its way is what sockets and buffers hold. */
	ck_assert(full);
	ck_assert_uint_lt(sent, 4 << 20);
	/* And goes on when it is read: every request has its answer. */
	asked = sent / (sizeof(REQUEST) - 1);
	while (answered < asked) {
		script_settle(supervisor.base);
		n = recv(fd, answers, sizeof(answers), MSG_DONTWAIT);
		ck_assert_int_gt(n, 0);
		for (ssize_t i = 0; i < n; i++)
			answered += answers[i] == '\n';
	}
	ck_assert_uint_eq(answered, asked);
	close(fd);
	script_settle(supervisor.base);
	close_api();
}
END_TEST

/* As another user, with @groups: what the one line says that comes for @request. */
static void ask_as(uid_t uid, size_t count, const gid_t *groups, const char *request,
		   const char *want)
{
	int status;
	pid_t child = fork();

	if (!child) {
		char line[4096];
		FILE *stream;
		int fd;

		if (setgroups(count, groups) < 0 || setresgid(uid, uid, uid) < 0 ||
		    setresuid(uid, uid, uid) < 0)
			_exit(2);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
			_exit(3);
		if (write(fd, request, strlen(request)) < 0)
			_exit(4);
		stream = fdopen(fd, "r");
		if (!stream || !fgets(line, sizeof(line), stream) || !strstr(line, want))
			_exit(5);
		_exit(0);
	}
	ck_assert_int_gt(child, 0);
	while (waitpid(child, &status, WNOHANG) == 0)
		ck_assert_int_ge(event_base_loop(supervisor.base, EVLOOP_NONBLOCK), 0);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "wait status %#x", status);
}

START_TEST(peers)
{
	static const gid_t group = 12345;
	struct stat st;

	if (geteuid())
		return;
	open_api((gid_t)-1);
	ck_assert_int_eq(stat(address.sun_path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	/* If its permissions were ever opened by hand. */
	ck_assert_int_eq(chmod(address.sun_path, 0666), 0);
	ask_as(STRANGER, 1, &group, REQUEST, "only root and the members");
	close_api();

	open_api(group);
	ck_assert_int_eq(stat(address.sun_path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0660);
	ck_assert_uint_eq(st.st_gid, group);
	ask_as(STRANGER, 1, &group, REQUEST, "had no migration");
	ask_as(0, 0, NULL, REQUEST, "had no migration");
	/* What the daemon would open with its own rights. */
	ask_as(STRANGER, 1, &group, SAVE, "only root may save");
	ask_as(0, 0, NULL, SAVE, "no VM nosuch");
	ask_as(STRANGER, 1, &group, RESTORE, "only root may save");
	ask_as(0, 0, NULL, RESTORE, "nosuch");
	ck_assert_int_eq(chmod(address.sun_path, 0666), 0);
	ask_as(STRANGER, 0, NULL, REQUEST, "only root and the members");
	close_api();
}
END_TEST

START_TEST(too_many)
{
	char line[256];
	int fds[65];
	ssize_t n;

	open_api((gid_t)-1);
	for (int i = 0; i < 65; i++) {
		fds[i] = connect_client();
		script_settle(supervisor.base);
	}
	n = recv(fds[64], line, sizeof(line) - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	line[n] = '\0';
	ck_assert_ptr_nonnull(strstr(line, "too many clients"));
	script_send(fds[0], REQUEST, strlen(REQUEST));
	script_settle(supervisor.base);
	ck_assert_int_gt(recv(fds[0], line, sizeof(line), MSG_DONTWAIT), 0);
	for (int i = 0; i < 65; i++)
		close(fds[i]);
	script_settle(supervisor.base);
	close_api();
}
END_TEST

/* What an operator may ask for at the wrong time, or wrongly. */
static const struct {
	const char *request;
	const char *want;
} refusals[] = {
	{ "{\"command\": \"resume\", \"vm\": \"v\"}", "VM v is in no migration" },
	{ "{\"command\": \"resume\", \"vm\": \"../v\"}", "cannot name a VM" },
	{ "{\"command\": \"resume\"}", "cannot name a VM" },
	{ "{\"command\": \"resume\", \"vm\": \"v\", \"via\": \"a b\"}", "is no ADDRESS" },
	{ "{\"command\": \"resume\", \"vm\": \"v\", \"via\": \"\"}", "is no ADDRESS" },
	{ "{\"command\": \"resume\", \"vm\": \"v\", \"via\": \"[::1\"}", "is no ADDRESS" },
	{ "{\"command\": \"resume\", \"vm\": \"v\", \"via\": 7}", "is no ADDRESS" },
	{ "{\"command\": \"resume\", \"vm\": \"v\", \"via\": \"h:99999\"}", "is no ADDRESS" },
	{ "{\"command\": \"resume\", \"vm\": \"in\"}",
	  "resume it on the source (10.0.0.1:4444)" },
	{ "{\"command\": \"resume\", \"vm\": \"in\", \"via\": \"h:1\"}",
	  "resume it on the source (10.0.0.1:4444)" },
	{ "{\"command\": \"abandon\", \"vm\": \"v\"}", "VM v is in no migration" },
	{ "{\"command\": \"abandon\", \"vm\": \"v\", \"force\": true}",
	  "VM v is in no migration" },
	{ "{\"command\": \"abandon\", \"vm\": \"\"}", "cannot name a VM" },
};

#define REFUSALS	((int)(sizeof(refusals) / sizeof(*refusals)))

START_TEST(refused)
{
	char line[1024];
	ssize_t n;
	int fd;

	open_api((gid_t)-1);
	ck_assert_ptr_nonnull(yab_job_start(supervisor.jobs, "in", YAB_JOB_INCOMING,
					    "10.0.0.1:4444", 1));
	fd = connect_client();
	script_send(fd, refusals[_i].request, strlen(refusals[_i].request));
	script_send(fd, "\n", 1);
	script_settle(supervisor.base);
	n = recv(fd, line, sizeof(line) - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	line[n] = '\0';
	ck_assert_msg(!strncmp(line, "{\"error\":", 9) && strstr(line, refusals[_i].want), "%s",
		      line);
	ck_assert_ptr_eq(strchr(line, '\n'), line + n - 1);
	close(fd);
	script_settle(supervisor.base);
	close_api();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("api");
	TCase *tcase = tcase_create("api");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, client_that_does_not_read);
	tcase_add_test(tcase, peers);
	tcase_add_test(tcase, too_many);
	tcase_add_loop_test(tcase, refused, 0, REFUSALS);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
