// SPDX-License-Identifier: GPL-2.0-or-later
/* The destination's end of a control connection, when there is no memory for an answer. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/calls.h"
#include "script.h"
#include "supervisor.h"

static struct yab_supervisor supervisor;
static char folder[SCRIPT_FOLDER_SIZE];
/* Of jansson: how many there were, and from which on there is no memory; 0: always some. */
static unsigned int allocations, last;

static void *counted_malloc(size_t size)
{
	allocations++;
	return last && allocations >= last ? NULL : malloc(size);
}

static void setup(void)
{
	script_folder_make(folder);
	supervisor_begin(&supervisor, folder, folder);
	snprintf(supervisor.instance, sizeof(supervisor.instance), "%032d", 1);
}

static void teardown(void)
{
	supervisor_end(&supervisor);
	script_folder_drop(folder);
}

/* A connection that is open. */
static int connect_source(void)
{
	struct yab_wire_hello hello = { .version = YAB_WIRE_VERSION, .role = YAB_WIRE_CONTROL };
	const struct yab_origin origin = { .name = "host1" };
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	char error[512];
	int ours, theirs;

	script_pair(&ours, &theirs);
	ck_assert_int_eq(yab_caller_new(&supervisor, theirs, false, &origin, &yab_calls, error,
					sizeof(error)), 0);
	yab_wire_hello_encode(bytes, &hello);
	script_send(ours, bytes, sizeof(bytes));
	script_settle(supervisor.base);
	script_receive(ours, bytes, sizeof(bytes));
	return ours;
}

static void call(int fd, const char *text)
{
	script_send_header(fd, YAB_WIRE_CALL, (uint32_t)strlen(text), 0, 0);
	script_send(fd, text, strlen(text));
	script_settle(supervisor.base);
}

/* With the answer, or with the end of the connection; never with silence. */
START_TEST(answer_or_end)
{
	static const char attach[] =
		"{\"call\": \"attach\", \"token\": \"30313233343536373839616263646566\", "
		"\"instance\": \"00000000000000000000000000000001\"}";
	struct yab_wire_header header;
	unsigned int all;
	char text[256];
	int fd;

	json_set_alloc_funcs(counted_malloc, free);
	fd = connect_source();
	allocations = 0;
	call(fd, attach);
	all = allocations;
	script_receive_header(fd, YAB_WIRE_CONTROL, 0, &header);
	ck_assert_int_eq(header.type, YAB_WIRE_REPLY);
	ck_assert_uint_lt(header.length, sizeof(text));
	script_receive(fd, text, header.length);
	text[header.length] = '\0';
	ck_assert_msg(strstr(text, "unknown"), "%s", text);
	close(fd);
	script_settle(supervisor.base);
	for (last = 1; last <= all; last++) {
		const unsigned int short_of = last;

		last = 0;
		fd = connect_source();
		allocations = 0;
		last = short_of;
		call(fd, attach);
		last = 0;
		ck_assert_msg(recv(fd, text, sizeof(text), MSG_DONTWAIT) == 0,
			      "no end, and no memory from allocation %u of %u on", short_of, all);
		close(fd);
		script_settle(supervisor.base);
		last = short_of;
	}
	last = 0;
}
END_TEST

/* Who has no session's token, whatever it is like, has no session. */
START_TEST(tokens)
{
	static const char * const calls[] = {
		"{\"call\": \"finish\", \"token\": \"\"}",
		"{\"call\": \"finish\"}",
		"{\"call\": \"abort\", \"token\": 7}",
		"{\"call\": \"confirm\", \"token\": \"30313233343536373839616263646566\"}",
	};
	struct yab_wire_header header;
	int fd = connect_source();

	call(fd, calls[_i]);
	script_receive_header(fd, YAB_WIRE_CONTROL, 0, &header);
	ck_assert_int_eq(header.type, YAB_WIRE_ERROR);
	close(fd);
	script_settle(supervisor.base);
}
END_TEST

/* A session that the journal knows and nobody took up: what became of it nobody knows. */
START_TEST(not_taken_up)
{
	static const struct yab_record_migration migration = {
		.state = YAB_RECORD_ARRIVING,
		.token = "30313233343536373839616263646566",
		.route = "30313233343536373839616263646566",
		.instance = "30313233343536373839616263646566",
	};
	struct yab_wire_header header;
	char text[512];
	int fd;

	ck_assert(!yab_journal_promise_migration(supervisor.journal, "vm1", SCRIPT_PAGE, &migration,
						 text, sizeof(text)));
	fd = connect_source();
	snprintf(text, sizeof(text),
		 "{\"call\": \"attach\", \"token\": \"%s\", \"instance\": \"%s\"}",
		 migration.token, supervisor.instance);
	call(fd, text);
	script_receive_header(fd, YAB_WIRE_CONTROL, 0, &header);
	ck_assert_int_eq(header.type, YAB_WIRE_REPLY);
	ck_assert_uint_lt(header.length, sizeof(text));
	script_receive(fd, text, header.length);
	text[header.length] = '\0';
	ck_assert_msg(strstr(text, "restarted"), "%s", text);
	close(fd);
	script_settle(supervisor.base);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("caller");
	TCase *tcase = tcase_create("caller");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, answer_or_end);
	tcase_add_loop_test(tcase, tokens, 0, 4);
	tcase_add_test(tcase, not_taken_up);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
