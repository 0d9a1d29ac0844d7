// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an operator asks for a migration that is committed, at its source. The hosts that it
 * calls are played word for word; there is no QEMU any more, and so no pages.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/adoption.h"
#include "../../daemon/outgoing_state.h"
#include "../../daemon/rescue.h"
#include "script.h"
#include "supervisor.h"

#define TOKEN	"00112233445566778899aabbccddeeff"
#define ROUTE	"ffeeddccbbaa99887766554433221100"
#define OTHER	"0123456789abcdef0123456789abcdef"
#define SIZE	4096

struct host {
	int listener;
	int fd;			/* its control connection, or -1 */
	char name[32];
};

static struct yab_supervisor supervisor;
static struct host here, there;
static char folder[SCRIPT_FOLDER_SIZE], error[512];

static void open_host(struct host *host)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof(address);

	host->fd = -1;
	host->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert(!bind(host->listener, (struct sockaddr *)&address, size));
	ck_assert(!listen(host->listener, 4));
	ck_assert(!getsockname(host->listener, (struct sockaddr *)&address, &size));
	snprintf(host->name, sizeof(host->name), "127.0.0.1:%d", ntohs(address.sin_port));
}

static void close_host(struct host *host)
{
	if (host->fd >= 0)
		close(host->fd);
	close(host->listener);
}

static void set_up(void)
{
	script_folder_make(folder);
	supervisor_begin(&supervisor, folder, folder);
	open_host(&here);
	open_host(&there);
}

static void tear_down(void)
{
	close_host(&here);
	close_host(&there);
	supervisor_end(&supervisor);
	script_folder_drop(folder);
}

static void until_received(int fd, void *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		const ssize_t n = recv(fd, (char *)bytes + done, size - done, MSG_DONTWAIT);

		ck_assert_int_ne(n, 0);
		if (n > 0)
			done += (size_t)n;
		else
			supervisor_turn(&supervisor);
	}
}

/* Preface and hello are alike. */
static void until_greeted(struct host *host)
{
	const struct yab_wire_hello hello = { .version = YAB_WIRE_VERSION,
					      .role = YAB_WIRE_CONTROL };
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];

	until_received(host->fd, bytes, sizeof(bytes));
	yab_wire_hello_encode(bytes, &hello);
	script_send(host->fd, bytes, sizeof(bytes));
}

/* It is asked for the session. */
static void until_asked(struct host *host)
{
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];
	struct yab_wire_header header;
	char text[1024];
	json_t *json;

	if (host->fd >= 0)
		close(host->fd);
	do {
		supervisor_turn(&supervisor);
		host->fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC);
	} while (host->fd < 0);
	until_greeted(host);
	until_greeted(host);
	until_received(host->fd, bytes, sizeof(bytes));
	ck_assert_int_eq(yab_wire_header_decode(bytes, YAB_WIRE_CONTROL, 0, &header), YAB_WIRE_OK);
	ck_assert_int_eq(header.type, YAB_WIRE_CALL);
	ck_assert_uint_lt(header.length, sizeof(text));
	until_received(host->fd, text, header.length);
	json = json_loadb(text, header.length, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(json, "call")), "attach");
	ck_assert_str_eq(json_string_value(json_object_get(json, "token")), TOKEN);
	ck_assert_str_eq(json_string_value(json_object_get(json, "instance")), OTHER);
	json_decref(json);
}

static void answer(struct host *host, const char *state)
{
	char text[200];

	snprintf(text, sizeof(text), "{\"reply\": \"attach\", \"state\": \"%s\"}", state);
	script_send_header(host->fd, YAB_WIRE_REPLY, (uint32_t)strlen(text), 0, 0);
	script_send(host->fd, text, strlen(text));
}

/* As a supervisor finds it that has lost QEMU and memory: asked for at @here. */
static struct yab_outgoing *adopt(enum yab_record_state state)
{
	struct yab_record_migration migration = {
		.token = TOKEN, .route = ROUTE, .instance = OTHER, .connections = 1,
	};

	snprintf(migration.peer, sizeof(migration.peer), "%s", here.name);
	for (migration.state = YAB_RECORD_LEAVING; migration.state <= state; migration.state++)
		ck_assert(!yab_journal_promise_migration(supervisor.journal, "vm1", SIZE,
							 &migration, error, sizeof(error)));
	yab_adopt_all(&supervisor);
	until_asked(&here);
	ck_assert_ptr_nonnull(LIST_FIRST(&supervisor.outgoings->all));
	return LIST_FIRST(&supervisor.outgoings->all);
}

static struct yab_outgoing *adopt_connected(void)
{
	struct yab_outgoing *outgoing = adopt(YAB_RECORD_LEFT);

	answer(&here, "committed");
	while (yab_outage_is_lost(&outgoing->outage, YAB_OUTAGE_CONTROL))
		supervisor_turn(&supervisor);
	return outgoing;
}

static void resume_via(const char *name)
{
	struct yab_address via;

	ck_assert(!yab_address_parse(name, &via));
	ck_assert_msg(!yab_rescue_resume(&supervisor, "vm1", &via, error, sizeof(error)), "%s",
		      error);
}

static void expect_unharmed(const struct yab_outgoing *outgoing)
{
	ck_assert(strstr(supervisor_job_says(&supervisor, "warning"), "stay as they are"));
	ck_assert_str_eq(supervisor_job_says(&supervisor, "via"), "");
	ck_assert_int_eq(outgoing->state, YAB_OUTGOING_PULLING);
	ck_assert_ptr_null(outgoing->detour);
	ck_assert(!yab_outage_is_lost(&outgoing->outage, YAB_OUTAGE_CONTROL));
	script_expect_silence(here.fd);
}

/* It knows neither the session nor the instance, and takes nothing from those that do. */
START_TEST(another_host)
{
	struct yab_outgoing *outgoing = adopt_connected();

	resume_via(there.name);
	until_asked(&there);
	script_expect_silence(here.fd);
	answer(&there, "restarted");
	while (!supervisor_job_says(&supervisor, "warning")[0])
		supervisor_turn(&supervisor);
	expect_unharmed(outgoing);
}
END_TEST

START_TEST(nobody)
{
	struct yab_outgoing *outgoing = adopt_connected();

	close(there.listener);
	resume_via(there.name);
	while (!supervisor_job_says(&supervisor, "warning")[0])
		supervisor_turn(&supervisor);
	expect_unharmed(outgoing);
	there.listener = -1;
}
END_TEST

START_TEST(same_host)
{
	struct yab_outgoing *outgoing = adopt_connected();
	char byte;

	resume_via(there.name);
	until_asked(&there);
	answer(&there, "committed");
	while (recv(here.fd, &byte, 1, MSG_DONTWAIT) != 0)
		supervisor_turn(&supervisor);
	ck_assert_str_eq(supervisor_job_says(&supervisor, "via"), there.name);
	ck_assert_str_eq(supervisor_job_says(&supervisor, "warning"), "");
	ck_assert_int_eq(outgoing->state, YAB_OUTGOING_PULLING);
	/* From now on it is looked for there. */
	close(there.fd);
	there.fd = -1;
	until_asked(&there);
}
END_TEST

/* What the destination says over the other network is as good as over the first. */
START_TEST(not_committed)
{
	adopt(YAB_RECORD_ASKED);
	resume_via(there.name);
	until_asked(&there);
	answer(&there, "unknown");
	while (LIST_FIRST(&supervisor.outgoings->all))
		supervisor_turn(&supervisor);
	ck_assert_str_eq(supervisor_job_says(&supervisor, "state"), "failed");
}
END_TEST

/* The second request counts, and the end of the migration takes it along. */
START_TEST(twice)
{
	struct yab_outgoing *outgoing = adopt_connected();

	resume_via(there.name);
	until_asked(&there);
	resume_via(there.name);
	until_asked(&there);
	ck_assert_ptr_nonnull(outgoing->detour);
	yab_outgoing_strand(outgoing, "stranded");
	ck_assert_ptr_null(outgoing->detour);
}
END_TEST

/* What abandon does not do without being told twice nothing else does, either. */
START_TEST(permit)
{
	struct yab_outgoing *outgoing = adopt_connected();
	json_t *statistics;
	char text[512];

	ck_assert(!yab_rescue_permit(&supervisor, "vm2", false, error, sizeof(error)));
	for (int stranded = 0; stranded < 2; stranded++) {
		ck_assert_int_eq(yab_rescue_permit(&supervisor, "vm1", false, error,
						   sizeof(error)), -1);
		ck_assert(strstr(error, "1 of 1 pages of VM vm1 may be nowhere else"));
		ck_assert_int_eq(yab_rescue_abandon(&supervisor, "vm1", false, text,
						    sizeof(text)), -1);
		ck_assert_str_eq(text, error);
		ck_assert(!yab_rescue_permit(&supervisor, "vm1", true, error, sizeof(error)));
		if (!stranded)
			yab_outgoing_strand(outgoing, "stranded");
	}
	/* All are there, and are not the same: these may be the right ones. */
	statistics = json_pack("{s:i, s:i}", "present", 1, "different_chunks", 1);
	yab_job_statistics(outgoing->job, YAB_JOB_DESTINATION, statistics);
	json_decref(statistics);
	ck_assert_int_eq(yab_rescue_permit(&supervisor, "vm1", false, error, sizeof(error)), -1);
	ck_assert_msg(strstr(error, "may be the only right one"), "%s", error);
	ck_assert(!yab_rescue_permit(&supervisor, "vm1", true, error, sizeof(error)));
	ck_assert(!yab_rescue_abandon(&supervisor, "vm1", true, text, sizeof(text)));
	ck_assert(!yab_rescue_permit(&supervisor, "vm1", false, error, sizeof(error)));
	ck_assert_ptr_null(yab_vms_find(supervisor.vms, "vm1"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rescue");
	TCase *tcase = tcase_create("rescue");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, another_host);
	tcase_add_test(tcase, nobody);
	tcase_add_test(tcase, same_host);
	tcase_add_test(tcase, not_committed);
	tcase_add_test(tcase, twice);
	tcase_add_test(tcase, permit);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
