// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Workers as processes of their own, with the test as their supervisor: what they say
 * on the channel and when they leave. This program is its own worker.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/checksum.h"
#include "../../daemon/histogram.h"
#include "../../daemon/log.h"
#include "../../daemon/worker.h"
#include "certificates.h"
#include "script.h"

#define PAGES		1024
#define SEED		1

struct worker {
	struct yab_channel *channel;
	pid_t pid;
	json_t *statistics;	/* the last ones */
	int statistics_count;
	int complete;
	bool statistics_before_complete;
	int open;
	int lost;
	json_int_t number;	/* of the connection that the last of these is about */
	int failed;
	int gone;
};

static struct event_base *base;
static struct script_memory here, there;
static struct worker source, destination;
/* Of the tests with TLS. */
static bool tls;
static char folder[SCRIPT_FOLDER_SIZE];
static struct yab_security security;

static void on_message(json_t *message, const int *fds, size_t fd_count, void *arg)
{
	struct worker *worker = arg;
	const char *type;

	(void)fds;
	ck_assert_uint_eq(fd_count, 0);
	if (!message) {
		worker->gone++;
		return;
	}
	type = json_string_value(json_object_get(message, "type"));
	ck_assert_ptr_nonnull(type);
	if (!strcmp(type, "statistics")) {
		json_decref(worker->statistics);
		worker->statistics = json_incref(message);
		worker->statistics_count++;
	} else if (!strcmp(type, "complete")) {
		worker->complete++;
		worker->statistics_before_complete = worker->statistics &&
			json_integer_value(json_object_get(worker->statistics, "present")) == PAGES;
	} else if (!strcmp(type, "open")) {
		ck_assert(json_is_string(json_object_get(message, "role")));
		ck_assert(json_is_integer(json_object_get(message, "number")));
		worker->number = json_integer_value(json_object_get(message, "number"));
		worker->open++;
	} else if (!strcmp(type, "lost")) {
		ck_assert(json_is_string(json_object_get(message, "role")));
		ck_assert(json_is_string(json_object_get(message, "error")));
		ck_assert(json_is_integer(json_object_get(message, "number")));
		worker->number = json_integer_value(json_object_get(message, "number"));
		worker->lost++;
	} else if (!strcmp(type, "failed")) {
		ck_assert(json_is_string(json_object_get(message, "error")));
		worker->failed++;
	} else {
		ck_abort_msg("message of type %s", type);
	}
}

static void spawn(struct worker *worker)
{
	memset(worker, 0, sizeof(*worker));
	worker->pid = yab_worker_spawn(base, on_message, worker, &worker->channel);
	ck_assert_int_gt(worker->pid, 0);
}

static void start(struct worker *worker, const char *side, int fd)
{
	ck_assert_int_eq(yab_channel_send(worker->channel,
					  json_pack("{s:s, s:s, s:s, s:i}", "type", "start",
						    "side", side, "vm", "test", "pages", PAGES),
					  &fd, 1), 0);
}

/* Any start message; steals @start. */
static void start_as(struct worker *worker, const char *side, json_t *start, int fd)
{
	json_object_update_missing_new(start, json_pack("{s:s, s:s, s:s, s:i}", "type", "start",
							"side", side, "vm", "test", "pages",
							PAGES));
	ck_assert_int_eq(yab_channel_send(worker->channel, start, &fd, 1), 0);
}

static const uint8_t token[YAB_WIRE_TOKEN_SIZE] = { 't', 'o', 'k', 'e', 'n' };

static uint32_t next_number;

static void give(struct worker *worker, const char *role, int fd)
{
	const struct yab_worker_connection connection = {
		.role = strcmp(role, "urgent") ? YAB_WIRE_BULK : YAB_WIRE_URGENT,
		.number = next_number,
		.tls = tls,
		.side = worker == &source ? YAB_CREDENTIALS_CLIENT : YAB_CREDENTIALS_SERVER,
		.token = token,
		.name = worker == &source ? "host2:7655" : "host1:4444",
		.host = worker == &source ? "host2" : NULL,
	};
	char error[512] = "";

	ck_assert_msg(!yab_worker_connect(worker->channel, &connection, fd, &security, error,
					  sizeof(error)), "%s", error);
	close(fd);
}

/* The test as a source: its hello, and the destination's answer to it. */
static void open_plain(int fd, enum yab_wire_role role)
{
	struct yab_wire_hello hello = { .version = YAB_WIRE_VERSION, .role = (uint16_t)role,
					.number = next_number };
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];

	memcpy(hello.token, token, sizeof(token));
	yab_wire_hello_encode(bytes, &hello);
	script_send(fd, bytes, sizeof(bytes));
	ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
	ck_assert_int_eq(yab_wire_hello_decode(bytes, &hello), YAB_WIRE_OK);
}

static void serve(struct worker *worker)
{
	ck_assert_int_eq(yab_channel_send(worker->channel, json_pack("{s:s}", "type", "serve"),
					  NULL, 0), 0);
}

static void hang_up(struct worker *worker)
{
	yab_channel_free(worker->channel);
	worker->channel = NULL;
}

static void expect_exit(struct worker *worker, int status)
{
	int got;

	ck_assert_int_eq(waitpid(worker->pid, &got, 0), worker->pid);
	ck_assert_msg(WIFEXITED(got) && WEXITSTATUS(got) == status, "wait status %d", got);
	json_decref(worker->statistics);
	worker->statistics = NULL;
}

static void connect_workers(const char *role)
{
	int a, b;

	if (tls)
		script_pair_tcp(&a, &b);
	else
		script_pair(&a, &b);
	give(&source, role, a);
	give(&destination, role, b);
}

static void setup(void)
{
	base = script_base();
	script_memory_make(&here, PAGES);
	script_memory_make(&there, PAGES);
	for (uint64_t page = 0; page < PAGES; page += 2)
		script_fill(script_at(&here, page), page, SEED);
}

static void teardown(void)
{
	if (tls)
		script_folder_drop(folder);
	event_base_free(base);
	script_memory_drop(&here);
	script_memory_drop(&there);
}

static void use_tls(bool on)
{
	tls = on;
	if (!on)
		return;
	script_folder_make(folder);
	certificates_make(folder);
	security.folder = folder;
}

static json_int_t number(const struct worker *worker, const char *name)
{
	const json_t *value = json_object_get(worker->statistics, name);

	ck_assert_msg(json_is_integer(value), "%s", name);
	return json_integer_value(value);
}

START_TEST(whole_migration)
{
	const json_t *fault_us;

	use_tls(_i);
	spawn(&source);
	spawn(&destination);
	start(&source, "source", here.fd);
	start(&destination, "destination", there.fd);
	connect_workers("urgent");
	connect_workers("bulk");
	serve(&source);
	while (!destination.complete || !source.statistics_count ||
	       number(&source, "bulk_pages") < PAGES)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(destination.complete, 1);
	ck_assert(destination.statistics_before_complete);
	ck_assert_mem_eq(here.bytes, there.bytes, PAGES * SCRIPT_PAGE);
	ck_assert_int_eq(number(&destination, "pages"), PAGES);
	ck_assert_int_eq(number(&destination, "data_pages"), PAGES / 2);
	ck_assert_int_eq(number(&destination, "zero_pages"), PAGES / 2);
	ck_assert_int_eq(number(&destination, "bytes"), PAGES / 2 * SCRIPT_PAGE);
	ck_assert_int_eq(number(&destination, "bulk_pages"), PAGES);
	ck_assert_int_eq(number(&destination, "urgent_pages"), 0);
	ck_assert_int_eq(number(&destination, "duplicate_pages"), 0);
	ck_assert_int_eq(number(&destination, "faults"), 0);
	fault_us = json_object_get(destination.statistics, "fault_us");
	ck_assert(json_is_integer(json_object_get(fault_us, "count")));
	ck_assert(json_is_integer(json_object_get(fault_us, "p50")));
	ck_assert(json_is_integer(json_object_get(fault_us, "p90")));
	ck_assert(json_is_integer(json_object_get(fault_us, "p99")));
	ck_assert(json_is_integer(json_object_get(fault_us, "sum")));
	ck_assert(json_is_integer(json_object_get(fault_us, "max")));
	ck_assert_uint_eq(json_array_size(json_object_get(fault_us, "buckets")),
			  YAB_HISTOGRAM_COARSE);
	ck_assert(json_is_object(json_object_get(destination.statistics, "queue_us")));
	ck_assert(json_is_object(json_object_get(destination.statistics, "round_trip_us")));
	ck_assert(json_is_object(json_object_get(destination.statistics, "install_us")));
	ck_assert(json_is_object(json_object_get(source.statistics, "service_us")));
	ck_assert_int_eq(number(&source, "bytes"), PAGES / 2 * SCRIPT_PAGE);
	ck_assert_int_eq(number(&source, "data_pages"), PAGES / 2);
	ck_assert_int_eq(number(&source, "zero_pages"), PAGES / 2);
	ck_assert_int_ge(number(&source, "bulk_requests"), PAGES / YAB_WIRE_PAGES_MAX);
	ck_assert_int_eq(number(&source, "urgent_requests"), 0);
	ck_assert_int_eq(number(&source, "urgent_pages"), 0);
	ck_assert_int_eq(number(&source, "pages"), PAGES);
	ck_assert_int_eq(source.open, 2);
	ck_assert_int_eq(destination.open, 2);
	ck_assert_int_eq(source.lost + destination.lost, 0);
	hang_up(&destination);
	expect_exit(&destination, 0);
	hang_up(&source);
	expect_exit(&source, 0);
}
END_TEST

/* A memory file on tmpfs that is ours alone, in place of a memfd, which everyone may write. */
static void replace_memory(void)
{
	script_memory_drop(&here);
	here.fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(here.fd, 0);
	ck_assert_int_eq(ftruncate(here.fd, PAGES * SCRIPT_PAGE), 0);
	here.bytes = mmap(NULL, PAGES * SCRIPT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, here.fd,
			  0);
	ck_assert_ptr_ne(here.bytes, MAP_FAILED);
	for (uint64_t page = 0; page < PAGES; page += 2)
		script_fill(script_at(&here, page), page, SEED);
}

/* Also for a worker that is somebody else: a guest's free memory stays free. */
START_TEST(holes_stay_holes)
{
	if (_i)
		replace_memory();
	spawn(&source);
	spawn(&destination);
	start(&source, "source", here.fd);
	start(&destination, "destination", there.fd);
	connect_workers("bulk");
	serve(&source);
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	for (uint64_t page = 1; page < PAGES; page += 2) {
		ck_assert(script_is_hole(&here, page));
		ck_assert(script_is_hole(&there, page));
	}
	ck_assert_mem_eq(here.bytes, there.bytes, PAGES * SCRIPT_PAGE);
	hang_up(&destination);
	expect_exit(&destination, 0);
	hang_up(&source);
	expect_exit(&source, 0);
}
END_TEST

/* From a raw image, with codecs: it is as whole. */
START_TEST(other_starts)
{
	static const char *const codecs[] = { "none", "lz4", "zstd", "brotli" };

	spawn(&source);
	spawn(&destination);
	start_as(&source, "source", json_pack("{s:s, s:s}", "kind", "image", "codec", codecs[_i]),
		 here.fd);
	start_as(&destination, "destination", json_pack("{s:s}", "codec", codecs[_i]), there.fd);
	connect_workers("urgent");
	connect_workers("bulk");
	serve(&source);
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_mem_eq(here.bytes, there.bytes, PAGES * SCRIPT_PAGE);
	ck_assert_int_ge(number(&destination, "packed_pages"), 0);
	ck_assert_int_ge(number(&destination, "packed_bytes"), 0);
	hang_up(&destination);
	expect_exit(&destination, 0);
	hang_up(&source);
	expect_exit(&source, 0);
}
END_TEST

/* From the private memory of a process, which is this one. */
START_TEST(from_a_process)
{
	uint8_t *memory = mmap(NULL, PAGES * SCRIPT_PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	json_t *spans;

	ck_assert_ptr_ne(memory, MAP_FAILED);
	ck_assert_int_ge(pidfd, 0);
	/* Where a host's rules let a child trace its parent only if that says so. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	for (uint64_t page = 0; page < PAGES; page += 3)
		script_fill(memory + page * SCRIPT_PAGE, page, SEED);
	spans = json_pack("[{s:I, s:i, s:i}]", "address", (json_int_t)(uintptr_t)memory, "length",
			  PAGES * SCRIPT_PAGE, "page", 0);
	spawn(&source);
	spawn(&destination);
	start_as(&source, "source", json_pack("{s:s, s:o}", "kind", "process", "spans", spans),
		 pidfd);
	start(&destination, "destination", there.fd);
	connect_workers("bulk");
	serve(&source);
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_mem_eq(memory, there.bytes, PAGES * SCRIPT_PAGE);
	hang_up(&destination);
	expect_exit(&destination, 0);
	hang_up(&source);
	expect_exit(&source, 0);
	munmap(memory, PAGES * SCRIPT_PAGE);
	close(pidfd);
}
END_TEST

START_TEST(lost_connection_is_told)
{
	int ours, theirs;

	spawn(&destination);
	start(&destination, "destination", there.fd);
	script_pair(&ours, &theirs);
	give(&destination, "bulk", theirs);
	open_plain(ours, YAB_WIRE_BULK);
	close(ours);
	while (!destination.lost)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	/* And a new one is taken. */
	spawn(&source);
	start(&source, "source", here.fd);
	serve(&source);
	connect_workers("bulk");
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_mem_eq(here.bytes, there.bytes, PAGES * SCRIPT_PAGE);
	hang_up(&destination);
	expect_exit(&destination, 0);
	hang_up(&source);
	expect_exit(&source, 0);
}
END_TEST

static void await_news(struct worker *worker, int open, int lost, json_int_t number)
{
	while (worker->open < open || worker->lost < lost)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(worker->open, open);
	ck_assert_int_eq(worker->lost, lost);
	ck_assert_int_eq(worker->number, number);
}

/* All that is said of a connection says of which. */
START_TEST(news_have_numbers)
{
	int first, second, theirs;

	spawn(&destination);
	start(&destination, "destination", there.fd);
	script_pair(&first, &theirs);
	next_number = 4000000000U;
	give(&destination, "urgent", theirs);
	open_plain(first, YAB_WIRE_URGENT);
	await_news(&destination, 1, 0, 4000000000);
	script_pair(&second, &theirs);
	next_number = 7;
	give(&destination, "urgent", theirs);
	open_plain(second, YAB_WIRE_URGENT);
	/* It takes the place of the first, whose end is no loss. */
	await_news(&destination, 2, 0, 7);
	close(first);
	close(second);
	await_news(&destination, 2, 1, 7);
	hang_up(&destination);
	expect_exit(&destination, 0);
	next_number = 0;
}
END_TEST

/* A source's that cannot be opened is not the one in use. */
START_TEST(failed_opening_has_its_number)
{
	struct yab_wire_hello hello = { .version = YAB_WIRE_VERSION, .role = YAB_WIRE_URGENT };
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	int first, second, theirs;

	spawn(&source);
	start(&source, "source", here.fd);
	serve(&source);
	script_pair(&first, &theirs);
	next_number = 1;
	give(&source, "urgent", theirs);
	yab_wire_hello_encode(bytes, &hello);
	script_send(first, bytes, sizeof(bytes));
	await_news(&source, 1, 0, 1);
	script_pair(&second, &theirs);
	next_number = 2;
	give(&source, "urgent", theirs);
	close(second);
	await_news(&source, 1, 1, 2);
	close(first);
	await_news(&source, 1, 2, 1);
	hang_up(&source);
	expect_exit(&source, 0);
	next_number = 0;
}
END_TEST

/* Who does not know the token replaces nothing, and is no loss. */
START_TEST(stranger_changes_nothing)
{
	struct yab_wire_hello hello = { .version = YAB_WIRE_VERSION, .role = YAB_WIRE_BULK };
	uint8_t bytes[YAB_WIRE_HELLO_SIZE], request[YAB_WIRE_HEADER_SIZE];
	int ours, stranger, theirs;

	spawn(&destination);
	start(&destination, "destination", there.fd);
	script_pair(&ours, &theirs);
	give(&destination, "bulk", theirs);
	open_plain(ours, YAB_WIRE_BULK);
	for (int i = 0; i < 2; i++) {
		script_pair(&stranger, &theirs);
		give(&destination, "bulk", theirs);
		/* With no token; and one that ends without a word. */
		yab_wire_hello_encode(bytes, &hello);
		if (i)
			shutdown(stranger, SHUT_WR);
		else
			script_send(stranger, bytes, sizeof(bytes));
		ck_assert_int_eq(recv(stranger, bytes, sizeof(bytes), MSG_WAITALL), 0);
		close(stranger);
	}
	for (uint64_t done = 0; done < PAGES; ) {
		struct yab_wire_header header;

		ck_assert_int_eq(recv(ours, request, sizeof(request), MSG_WAITALL),
				 sizeof(request));
		ck_assert_int_eq(yab_wire_header_decode(request, YAB_WIRE_BULK, PAGES, &header),
				 YAB_WIRE_OK);
		done += header.count;
		script_send_header(ours, YAB_WIRE_ZERO, 0, header.page, header.count);
	}
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(destination.lost, 0);
	ck_assert_int_eq(destination.open, 1);
	hang_up(&destination);
	expect_exit(&destination, 0);
	close(ours);
}
END_TEST

/* Without a supervisor the pages still come: somebody may wait for them. */
START_TEST(outlives_its_supervisor)
{
	uint8_t request[YAB_WIRE_HEADER_SIZE];
	int ours, theirs;

	spawn(&destination);
	start(&destination, "destination", there.fd);
	script_pair(&ours, &theirs);
	give(&destination, "bulk", theirs);
	open_plain(ours, YAB_WIRE_BULK);
	/* It has its connection when it asks for something. */
	ck_assert_int_eq(recv(ours, request, sizeof(request), MSG_WAITALL), sizeof(request));
	hang_up(&destination);
	for (uint64_t done = 0; ; ) {
		struct yab_wire_header header;

		ck_assert_int_eq(yab_wire_header_decode(request, YAB_WIRE_BULK, PAGES, &header),
				 YAB_WIRE_OK);
		ck_assert_uint_eq(header.page, done);
		done += header.count;
		script_send_header(ours, YAB_WIRE_ZERO, 0, header.page, header.count);
		if (done == PAGES)
			break;
		ck_assert_int_eq(recv(ours, request, sizeof(request), MSG_WAITALL),
				 sizeof(request));
	}
	expect_exit(&destination, 0);
	close(ours);
}
END_TEST

/* The destination depends on the source's worker, too. */
START_TEST(source_outlives_its_supervisor)
{
	spawn(&source);
	spawn(&destination);
	start(&source, "source", here.fd);
	start(&destination, "destination", there.fd);
	connect_workers("urgent");
	connect_workers("bulk");
	serve(&source);
	hang_up(&source);
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_mem_eq(here.bytes, there.bytes, PAGES * SCRIPT_PAGE);
	hang_up(&destination);
	expect_exit(&destination, 0);
	expect_exit(&source, 0);
}
END_TEST

/* Without a supervisor and connections nothing can come any more. */
START_TEST(leaves_when_nothing_can_come)
{
	uint8_t request[YAB_WIRE_HEADER_SIZE];
	int urgent, bulk, theirs;

	spawn(&destination);
	start(&destination, "destination", there.fd);
	script_pair(&urgent, &theirs);
	give(&destination, "urgent", theirs);
	open_plain(urgent, YAB_WIRE_URGENT);
	script_pair(&bulk, &theirs);
	give(&destination, "bulk", theirs);
	open_plain(bulk, YAB_WIRE_BULK);
	ck_assert_int_eq(recv(bulk, request, sizeof(request), MSG_WAITALL), sizeof(request));
	hang_up(&destination);
	close(bulk);
	close(urgent);
	expect_exit(&destination, 1);
}
END_TEST

START_TEST(leaves_with_its_supervisor)
{
	spawn(&source);
	hang_up(&source);
	expect_exit(&source, 0);
	spawn(&source);
	start(&source, "source", here.fd);
	hang_up(&source);
	expect_exit(&source, 0);
	/* A destination without a connection waits for nothing. */
	spawn(&destination);
	start(&destination, "destination", there.fd);
	hang_up(&destination);
	expect_exit(&destination, 0);
}
END_TEST

START_TEST(bad_start)
{
	static const char *const cases[] = {
		"{\"type\":\"start\"}",
		"{\"type\":\"start\",\"side\":\"middle\",\"vm\":\"test\",\"pages\":1}",
		"{\"type\":\"start\",\"side\":\"source\",\"vm\":\"test\",\"pages\":0}",
		"{\"type\":\"start\",\"side\":\"source\",\"vm\":\"test\",\"pages\":-1}",
		"{\"type\":\"start\",\"side\":\"source\",\"vm\":7,\"pages\":1}",
		"{\"type\":\"start\",\"side\":\"destination\",\"vm\":\"test\",\"pages\":1000000}",
		"{\"type\":\"start\",\"side\":\"source\",\"vm\":\"test\",\"pages\":1,\"kind\":\"disk\"}",
		"{\"type\":\"start\",\"side\":\"source\",\"vm\":\"test\",\"pages\":1,\"kind\":\"process\"}",
		"{\"type\":\"start\",\"side\":\"source\",\"vm\":\"test\",\"pages\":1,"
		"\"kind\":\"process\",\"spans\":[{\"address\":4096,\"length\":-4096,\"page\":0}]}",
		"{\"type\":\"start\",\"side\":\"source\",\"vm\":\"test\",\"pages\":1,"
		"\"kind\":\"process\",\"spans\":[{\"address\":4096,\"length\":4096,\"page\":0}]}",
		"{\"type\":\"start\",\"side\":\"destination\",\"vm\":\"test\",\"pages\":1,"
			"\"policy\":\"fastest\"}",
		"{\"type\":\"start\",\"side\":\"destination\",\"vm\":\"test\",\"pages\":1,"
			"\"policy\":3}",
	};

	spawn(&source);
	ck_assert_int_eq(yab_channel_send(source.channel, json_loads(cases[_i], 0, NULL), &here.fd,
					  1), 0);
	while (!source.failed)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	expect_exit(&source, 1);
	hang_up(&source);
}
END_TEST

/* What is not understood is closed, logged and passed over. */
START_TEST(odd_messages)
{
	spawn(&source);
	serve(&source);
	ck_assert_int_eq(yab_channel_send(source.channel, json_object(), &here.fd, 1), 0);
	give(&source, "urgent", dup(here.fd));
	start(&source, "source", here.fd);
	start(&source, "source", here.fd);
	give(&source, "control", dup(here.fd));
	spawn(&destination);
	start(&destination, "destination", there.fd);
	connect_workers("bulk");
	serve(&source);
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	hang_up(&destination);
	expect_exit(&destination, 0);
	hang_up(&source);
	expect_exit(&source, 0);
}
END_TEST

static void hint(const char *ranges)
{
	json_t *message = json_loads(ranges, 0, NULL);

	ck_assert_ptr_nonnull(message);
	message = json_pack("{s:s, s:o}", "type", "hints", "ranges", message);
	ck_assert_int_eq(yab_channel_send(destination.channel, message, NULL, 0), 0);
}

/* They reach the policy, and what is none is passed over. */
START_TEST(hints_are_taken)
{
	uint8_t request[YAB_WIRE_HEADER_SIZE];
	struct yab_wire_header header = { .type = YAB_WIRE_SURVEY };
	int ours, theirs;

	spawn(&destination);
	start(&destination, "destination", there.fd);
	hint("[[1020, 4], [700, 2]]");
	hint("[[100, 4], [1020, 5]]");
	hint("{}");
	script_pair(&ours, &theirs);
	give(&destination, "bulk", theirs);
	open_plain(ours, YAB_WIRE_BULK);
	for (uint64_t done = 0; done < PAGES; ) {
		static const uint64_t first[] = { 1020, 4, 700, 2, 0 };
		static unsigned int which;

		ck_assert_int_eq(recv(ours, request, sizeof(request), MSG_WAITALL),
				 sizeof(request));
		ck_assert_int_eq(yab_wire_header_decode(request, YAB_WIRE_BULK, PAGES, &header),
				 YAB_WIRE_OK);
		if (header.type == YAB_WIRE_SURVEY) {
			script_send_header(ours, YAB_WIRE_SURVEYED, 0, header.page, header.count);
			continue;
		}
		if (which < 5)
			ck_assert_uint_eq(header.page, first[which++]);
		if (which < 5)
			ck_assert_uint_eq(header.count, first[which++]);
		done += header.count;
		script_send_header(ours, YAB_WIRE_ZERO, 0, header.page, header.count);
	}
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(destination.statistics,
							    "hinted_pages")), 6);
	hang_up(&destination);
	expect_exit(&destination, 0);
	close(ours);
}
END_TEST

/* A worker has nothing open but its ends and what it is sent. */
START_TEST(inherits_nothing)
{
	char path[64];
	int pair[2];
	char byte;

	/* Held without close-on-exec, as a library might. */
	ck_assert_int_eq(pipe(pair), 0);
	spawn(&source);
	close(pair[1]);
	/* The worker's copy of the write end went with exec(), so this is the end. */
	ck_assert_int_eq(read(pair[0], &byte, 1), 0);
	close(pair[0]);
	snprintf(path, sizeof(path), "/proc/%d/fd/3", (int)source.pid);
	ck_assert_int_eq(access(path, F_OK), 0);
	hang_up(&source);
	expect_exit(&source, 0);
}
END_TEST

static void send_start(struct worker *worker, const char *side, int fd)
{
	ck_assert_int_eq(yab_channel_send(worker->channel,
					  yab_worker_start_message(side, "test", PAGES,
								   YAB_CODEC_NONE, NULL, true,
								   false),
					  &fd, 1),
			 0);
}

/* With a file for checksums all pages are compared, in the sandbox; without one none are. */
START_TEST(verified)
{
	const int fds[2] = { there.fd, yab_checksums_make("test", PAGES) };

	ck_assert_int_ge(fds[1], 0);
	spawn(&source);
	spawn(&destination);
	send_start(&source, "source", here.fd);
	ck_assert_int_eq(yab_channel_send(destination.channel,
					  yab_worker_start_message("destination", "test", PAGES,
								   YAB_CODEC_NONE, NULL, true,
								   true),
					  fds, _i ? 2 : 1),
			 0);
	close(fds[1]);
	connect_workers("bulk");
	serve(&source);
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(number(&destination, "verified_chunks"),
			 _i ? (json_int_t)yab_wire_chunks(PAGES) : 0);
	ck_assert_int_eq(number(&destination, "unverifiable_chunks"), 0);
	ck_assert_int_eq(number(&destination, "different_chunks"), 0);
	hang_up(&destination);
	expect_exit(&destination, 0);
}
END_TEST

static void migrate_and_end(void *arg)
{
	(void)arg;
	spawn(&source);
	spawn(&destination);
	send_start(&source, "source", here.fd);
	send_start(&destination, "destination", there.fd);
	connect_workers("urgent");
	connect_workers("bulk");
	serve(&source);
	while (!destination.complete)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	/* As the supervisor does, when the destination says that it has all pages. */
	ck_assert_int_eq(yab_channel_send(source.channel, json_pack("{s:s}", "type", "end"), NULL,
					  0), 0);
	hang_up(&source);
	expect_exit(&source, 0);
	hang_up(&destination);
	expect_exit(&destination, 0);
}

/*
 * Both sides' lines have the name of the migration; and when it is complete, the end of its
 * connections is no warning on either.
 */
START_TEST(quiet_end)
{
	struct yab_log_session session = { .vm = NULL };
	char *log;

	yab_log_session_begin(&session, "test", "0123abcd");
	yab_log_set_debug(true);
	log = script_logged(migrate_and_end, NULL);
	yab_log_set_debug(false);
	yab_log_session_end(&session);
	ck_assert_ptr_nonnull(strstr(log, " info test 0123abcd: all "));
	ck_assert_msg(!strstr(log, "warning") && !strstr(log, "error"), "%s", log);
	free(log);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tcase;

	if (argc > 1 && !strcmp(argv[1], "--worker"))
		return yab_worker_main(true);
	suite = suite_create("worker");
	tcase = tcase_create("worker");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, whole_migration, 0, 2);
	tcase_add_loop_test(tcase, other_starts, 0, 4);
	tcase_add_test(tcase, from_a_process);
	tcase_add_loop_test(tcase, holes_stay_holes, 0, 2);
	tcase_add_test(tcase, lost_connection_is_told);
	tcase_add_test(tcase, news_have_numbers);
	tcase_add_test(tcase, failed_opening_has_its_number);
	tcase_add_test(tcase, stranger_changes_nothing);
	tcase_add_test(tcase, outlives_its_supervisor);
	tcase_add_test(tcase, source_outlives_its_supervisor);
	tcase_add_test(tcase, leaves_when_nothing_can_come);
	tcase_add_test(tcase, leaves_with_its_supervisor);
	tcase_add_loop_test(tcase, bad_start, 0, 12);
	tcase_add_test(tcase, odd_messages);
	tcase_add_test(tcase, hints_are_taken);
	tcase_add_test(tcase, inherits_nothing);
	tcase_add_loop_test(tcase, verified, 0, 2);
	tcase_add_test(tcase, quiet_end);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
