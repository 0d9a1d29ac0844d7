// SPDX-License-Identifier: GPL-2.0-or-later
/* Source and destination against each other, with a kernel and a guest that are played. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/backing_file.h"
#include "../../daemon/pager.h"
#include "../../daemon/socket.h"
#include "../../daemon/source.h"
#include "../../daemon/tls.h"
#include "certificates.h"
#include "script.h"

#define PAGES		4096
#define SEED		1
#define GUEST		2
#define BULKS		3

/* Of 8 pages: five of data, a zero one that is no hole, two holes. */
enum kind { DATA, ZEROED, HOLE };

static const enum kind pattern[] = { DATA, DATA, DATA, ZEROED, HOLE, DATA, DATA, HOLE };

static struct script_memory here, there;	/* source's, destination's */
static struct event_base *base;
static struct yab_source *source;
static struct yab_pager *pager;
static const struct yab_store_statistics *statistics;
static int kernel, pager_fd;
static int completions;
static int losses;

/* The guest of the destination. */
static uint64_t state;
static bool guest_is_there;	/* touches pages, and writes to them as soon as it may */
static bool stamped[PAGES];
static uint64_t declared;
static uint64_t faults_left;
/* The test's hold on the sockets that are in use, to break them. */
static int holds[1 + BULKS] = { -1, -1, -1, -1 };
static unsigned int bulks = 1;	/* connections of them that are made */
static int breaks_left;
static bool over_tcp, over_tls;
static struct yab_credentials *credentials[2];
static enum yab_codec_kind codec;	/* what packs bulk pages */

static enum kind kind_of(uint64_t page)
{
	return pattern[page % 8];
}

static void touch_something(void)
{
	const struct yab_fault record = {
		.page = script_random(&state) % PAGES,
		.time_ns = 1,
	};

	if (!faults_left)
		return;
	faults_left--;
	script_send(kernel, &record, sizeof(record));
}

/*
 * The guest sees a page when it is declared, so it must be right then. The guest
 * writes to it at once, so what comes late would be seen at the end.
 */
static int on_declare(int fd, struct yab_range *ranges, size_t count)
{
	ck_assert_int_eq(fd, pager_fd);
	for (size_t i = 0; i < count; i++) {
		for (uint64_t page = ranges[i].page; page < ranges[i].page + ranges[i].count;
		     page++) {
			ck_assert_mem_eq(script_at(&there, page), script_at(&here, page),
					 SCRIPT_PAGE);
			ck_assert(!stamped[page]);
			stamped[page] = true;
			if (guest_is_there)
				script_fill(script_at(&there, page), page, GUEST);
			declared++;
			if (script_random(&state) % 3 == 0)
				touch_something();
		}
	}
	if (breaks_left && script_random(&state) % 16 == 0) {
		breaks_left--;
		shutdown(holds[script_random(&state) % (1 + bulks)], SHUT_RDWR);
	}
	return 0;
}

/* An end of a connection, with its handshake to come. */
static SSL *make_session(enum yab_credentials_side side, int fd)
{
	char error[512];
	SSL *ssl;

	ck_assert_int_eq(evutil_make_socket_nonblocking(fd), 0);
	ssl = yab_tls_new(credentials[side], fd, "other",
			  side == YAB_CREDENTIALS_CLIENT ? "host2" : NULL, true, error,
			  sizeof(error));
	ck_assert_msg(ssl, "%s", error);
	return ssl;
}

/* Both ends in one thread: each in turn as far as it goes. */
static void shake_hands(SSL *client, SSL *server)
{
	int left = 2;

	for (int i = 0; left && i < 100; i++) {
		left = SSL_do_handshake(client) != 1;
		left += SSL_do_handshake(server) != 1;
	}
	ck_assert_int_eq(left, 0);
}

static void connect_both(enum yab_wire_role role, unsigned int index)
{
	SSL *server = NULL, *client = NULL;
	int ours, theirs, *hold;

	if (over_tcp)
		script_pair_tcp(&ours, &theirs);
	else
		script_pair(&ours, &theirs);
	hold = &holds[role == YAB_WIRE_URGENT ? 0 : 1 + index];
	if (*hold >= 0)
		close(*hold);
	*hold = dup(ours);
	if (over_tls) {
		client = make_session(YAB_CREDENTIALS_CLIENT, theirs);
		server = make_session(YAB_CREDENTIALS_SERVER, ours);
		shake_hands(client, server);
	}
	/* Each replaces what it has, whether it knows yet that it is broken or not. */
	ck_assert_int_eq(yab_source_connect(source, role, index, theirs, client), 0);
	ck_assert_int_eq(yab_pager_connect(pager, role, index, ours, server), 0);
}

static void on_source_lost(enum yab_wire_role role, unsigned int index, const char *error,
			   void *arg)
{
	(void)index;
	(void)role;
	(void)error;
	(void)arg;
}

static int on_present(int fd, uint64_t page, uint64_t count, uint64_t *bits)
{
	(void)page;
	ck_assert_int_eq(fd, pager_fd);
	memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
	return 0;
}

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	(void)error;
	(void)arg;
	losses++;
	connect_both(role, index);
}

static void on_complete(void *arg)
{
	(void)arg;
	completions++;
	event_base_loopbreak(base);
}

static void on_failed(const char *error, void *arg)
{
	(void)arg;
	ck_abort_msg("%s", error);
}

static const struct yab_pager_ops ops = {
	.declare = on_declare,
	.present = on_present,
	.lost = on_lost,
	.complete = on_complete,
	.failed = on_failed,
};

static void setup(void)
{
	script_memory_make(&here, PAGES);
	script_memory_make(&there, PAGES);
	for (uint64_t page = 0; page < PAGES; page++) {
		if (kind_of(page) == DATA)
			script_fill(script_at(&here, page), page, SEED);
		else if (kind_of(page) == ZEROED)
			memset(script_at(&here, page), 0, SCRIPT_PAGE);
	}
	base = script_base();
	script_pair(&kernel, &pager_fd);
	ck_assert_int_eq(evutil_make_socket_nonblocking(pager_fd), 0);
	source = yab_source_new(base, "test", yab_backing_memory(here.fd, PAGES), on_source_lost,
				NULL);
	ck_assert_ptr_nonnull(source);
}

/* Of four: socket pairs or TCP, plain or with TLS. */
static void choose(int which)
{
	char folder[SCRIPT_FOLDER_SIZE];

	over_tcp = which & 1;
	over_tls = which & 2;
	if (!over_tls)
		return;
	script_folder_make(folder);
	certificates_make(folder);
	for (int side = 0; side < 2; side++)
		credentials[side] = certificates_load(folder, side, NULL);
	script_folder_drop(folder);
}

static void make_pager(int fd)
{
	pager = yab_pager_new(base, "test", there.fd, fd, PAGES, NULL, &ops, NULL);
	ck_assert_ptr_nonnull(pager);
	statistics = yab_pager_statistics(pager);
	ck_assert_int_eq(yab_source_pack(source, codec), 0);
	ck_assert_int_eq(yab_pager_unpack(pager, codec), 0);
	ck_assert_int_eq(yab_pager_start(pager), 0);
	connect_both(YAB_WIRE_URGENT, 0);
	for (unsigned int i = 0; i < bulks; i++)
		connect_both(YAB_WIRE_BULK, i);
	yab_source_serve(source);
}

static void teardown(void)
{
	yab_pager_free(pager);
	yab_source_free(source);
	event_base_free(base);
	script_memory_drop(&here);
	script_memory_drop(&there);
	close(kernel);
	close(pager_fd);
	for (unsigned int i = 0; i < 1 + bulks; i++)
		close(holds[i]);
	yab_credentials_free(credentials[YAB_CREDENTIALS_SERVER]);
	yab_credentials_free(credentials[YAB_CREDENTIALS_CLIENT]);
}

/* Nobody touches anything: the memories are the same, holes and all, nothing twice. */
START_TEST(undisturbed)
{
	const struct yab_source_statistics *sent = yab_source_statistics(source);

	choose(_i);
	make_pager(-1);
	event_base_dispatch(base);
	ck_assert_int_eq(completions, 1);
	ck_assert_mem_eq(here.bytes, there.bytes, PAGES * SCRIPT_PAGE);
	/* The comparison has looked into the holes. */
	ck_assert_uint_eq(statistics->present, PAGES);
	ck_assert_uint_eq(statistics->data_pages, PAGES / 8 * 5);
	ck_assert_uint_eq(statistics->zero_pages, PAGES / 8 * 3);
	ck_assert_uint_eq(statistics->bytes, statistics->data_pages * SCRIPT_PAGE);
	ck_assert_uint_eq(statistics->duplicate_pages, 0);
	ck_assert_uint_eq(statistics->bulk_pages, PAGES);
	ck_assert_uint_eq(statistics->urgent_pages, 0);
	ck_assert_uint_eq(sent->data_pages, statistics->data_pages);
	ck_assert_uint_eq(sent->zero_pages, statistics->zero_pages);
	ck_assert_uint_eq(sent->bytes, statistics->bytes);
	ck_assert_uint_ge(sent->bulk_requests, PAGES / YAB_WIRE_PAGES_MAX);
	ck_assert_int_eq(losses, 0);
}
END_TEST

/* The same, packed, at least while it is tried whether that pays. */
START_TEST(packed)
{
	const struct yab_source_statistics *sent = yab_source_statistics(source);

	choose(_i);
	bulks = _i & 4 ? BULKS : 1;
	codec = YAB_CODEC_LZ4 + _i / 8;
	make_pager(-1);
	event_base_dispatch(base);
	ck_assert_int_eq(completions, 1);
	ck_assert_int_eq(losses, 0);
	ck_assert_mem_eq(here.bytes, there.bytes, PAGES * SCRIPT_PAGE);
	ck_assert_uint_eq(statistics->data_pages, PAGES / 8 * 5);
	ck_assert_uint_ge(statistics->packed_pages, 1024);
	ck_assert_uint_lt(statistics->packed_bytes, statistics->packed_pages * SCRIPT_PAGE);
	ck_assert_uint_eq(statistics->bytes, statistics->packed_bytes + SCRIPT_PAGE *
			  (statistics->data_pages - statistics->packed_pages));
	ck_assert_uint_eq(sent->packed_pages, statistics->packed_pages);
	ck_assert_uint_eq(sent->packed_bytes, statistics->packed_bytes);
	ck_assert_uint_eq(sent->bytes, statistics->bytes);
}
END_TEST

/* Nearly nothing: the holes are told in a few frames, and not asked for. */
START_TEST(sparse)
{
	const uint64_t pages = 64ULL << 20;	/* 256 GiB */
	const struct yab_source_statistics *sent;

	yab_source_free(source);
	script_memory_drop(&here);
	script_memory_drop(&there);
	script_memory_make(&here, pages);
	script_memory_make(&there, pages);
	for (uint64_t page = 1000; page < pages; page += pages / 50)
		script_fill(script_at(&here, page), page, SEED);
	source = yab_source_new(base, "test", yab_backing_memory(here.fd, pages), on_source_lost,
				NULL);
	ck_assert_ptr_nonnull(source);
	sent = yab_source_statistics(source);
	pager = yab_pager_new(base, "test", there.fd, -1, pages, NULL, &ops, NULL);
	ck_assert_ptr_nonnull(pager);
	statistics = yab_pager_statistics(pager);
	ck_assert_int_eq(yab_pager_start(pager), 0);
	connect_both(YAB_WIRE_URGENT, 0);
	connect_both(YAB_WIRE_BULK, 0);
	yab_source_serve(source);
	event_base_dispatch(base);
	ck_assert_int_eq(completions, 1);
	ck_assert_uint_eq(statistics->present, pages);
	for (uint64_t page = 1000; page < pages; page += pages / 50)
		ck_assert(script_is_filled(script_at(&there, page), page, SEED));
	ck_assert_uint_le(sent->bulk_requests, 1000);
	ck_assert_uint_eq(sent->data_pages, 50);
}
END_TEST

START_TEST(holes_stay_holes)
{
	make_pager(-1);
	event_base_dispatch(base);
	ck_assert_int_eq(completions, 1);
	for (uint64_t page = 0; page < PAGES; page++) {
		ck_assert_int_eq(script_is_hole(&there, page), kind_of(page) != DATA);
		ck_assert_int_eq(script_is_hole(&here, page), kind_of(page) == HOLE);
	}
}
END_TEST

static void expect_guest_is_whole(void)
{
	ck_assert_int_eq(completions, 1);
	ck_assert_uint_eq(declared, PAGES);
	for (uint64_t page = 0; page < PAGES; page++)
		ck_assert(script_is_filled(script_at(&there, page), page, GUEST));
	ck_assert_uint_eq(statistics->urgent_pages + statistics->bulk_pages,
			  statistics->present + statistics->duplicate_pages);
}

/* What is split adds up, and no more faults have parts than there are. */
static void expect_parts(void)
{
	const struct yab_histogram *fault = yab_pager_latency(pager, YAB_WAIT_FAULT);
	const struct yab_histogram *queue = yab_pager_latency(pager, YAB_WAIT_QUEUE);
	uint64_t sum = 0;

	ck_assert_uint_gt(queue->count, 0);
	ck_assert_uint_le(queue->count, fault->count);
	for (int wait = YAB_WAIT_QUEUE; wait < YAB_WAITS; wait++) {
		ck_assert_uint_eq(yab_pager_latency(pager, wait)->count, queue->count);
		sum += yab_pager_latency(pager, wait)->sum;
	}
	ck_assert_uint_le(sum, fault->sum);
}

/* The guest touches pages at random and writes to each page as soon as it may. */
START_TEST(busy_guest)
{
	state = 100 + (uint64_t)_i;
	choose(_i);
	bulks = _i & 4 ? BULKS : 1;
	guest_is_there = true;
	faults_left = 3000;
	for (int i = 0; i < 20; i++)
		touch_something();
	make_pager(pager_fd);
	event_base_dispatch(base);
	expect_guest_is_whole();
	ck_assert_uint_gt(statistics->urgent_pages, 20);
	ck_assert_uint_gt(yab_pager_latency(pager, YAB_WAIT_FAULT)->count, 20);
	expect_parts();
	ck_assert_int_eq(losses, 0);
}
END_TEST

/* The same, and the connections break again and again. */
START_TEST(busy_guest_and_broken_connections)
{
	state = 200 + (uint64_t)_i;
	choose(_i);
	bulks = _i & 4 ? BULKS : 1;
	codec = YAB_CODEC_NONE + _i / 8;
	guest_is_there = true;
	faults_left = 3000;
	breaks_left = 40;
	for (int i = 0; i < 20; i++)
		touch_something();
	make_pager(pager_fd);
	event_base_dispatch(base);
	expect_guest_is_whole();
	expect_parts();
	ck_assert_int_gt(losses, 5);
}
END_TEST

/* Only faults, no bulk connection: each page is fetched as it is touched. */
START_TEST(faults_alone)
{
	choose(_i * 2);
	guest_is_there = true;
	pager = yab_pager_new(base, "test", there.fd, pager_fd, PAGES, NULL, &ops, NULL);
	ck_assert_ptr_nonnull(pager);
	statistics = yab_pager_statistics(pager);
	ck_assert_int_eq(yab_pager_start(pager), 0);
	connect_both(YAB_WIRE_URGENT, 0);
	yab_source_serve(source);
	state = 5;
	for (uint64_t page = 0; page < PAGES; page++) {
		const struct yab_fault record = { .page = page * 5 % PAGES, .time_ns = 1 };

		script_send(kernel, &record, sizeof(record));
		script_settle(base);
		ck_assert_uint_eq(declared, page + 1);
	}
	expect_guest_is_whole();
	ck_assert_uint_eq(statistics->urgent_pages, PAGES);
	ck_assert_uint_eq(yab_source_statistics(source)->urgent_requests, PAGES);
	/* Every one of them was asked for after it was touched. */
	for (int wait = 0; wait < YAB_WAITS; wait++)
		ck_assert_uint_eq(yab_pager_latency(pager, wait)->count, PAGES);
	expect_parts();
	ck_assert_uint_eq(yab_source_service(source)->count, PAGES);
	/* The source's time is within the round trips; each is rounded down by itself. */
	ck_assert_uint_le(yab_source_service(source)->sum,
			  yab_pager_latency(pager, YAB_WAIT_ROUND_TRIP)->sum + PAGES);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("service");
	TCase *tcase = tcase_create("service");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, undisturbed, 0, 4);
	tcase_add_loop_test(tcase, packed, 0, 16);
	tcase_add_test(tcase, sparse);
	tcase_add_test(tcase, holes_stay_holes);
	tcase_add_loop_test(tcase, busy_guest, 0, 8);
	tcase_add_loop_test(tcase, busy_guest_and_broken_connections, 0, 8 * YAB_CODEC_KINDS);
	tcase_add_loop_test(tcase, faults_alone, 0, 2);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
