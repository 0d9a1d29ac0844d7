// SPDX-License-Identifier: GPL-2.0-or-later
/* The source worker against a destination that is played word for word. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/socket.h"
#include "../../daemon/backing_file.h"
#include "../../daemon/source.h"
#include "script.h"

#define PAGES		2048
#define SEED		1

/* Of 8 pages each: two of data, a zero one that is no hole, three holes, two of data. */
enum kind { DATA, ZEROED, HOLE };

static const enum kind pattern[] = { DATA, DATA, ZEROED, HOLE, HOLE, HOLE, DATA, DATA };

static struct script_memory memory;
static struct event_base *base;
static struct yab_source *source;
static int urgent, bulk;
static int lost[4];
static char lost_text[YAB_SOCKET_TEXT_SIZE];

/* The pages behind this have no holes and no zero pages. */
#define PATTERN_END	1024

static enum kind kind_of(uint64_t page)
{
	return page < PATTERN_END ? pattern[page % 8] : DATA;
}

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	ck_assert_uint_eq(index, 0);
	ck_assert_ptr_eq(arg, &lost);
	lost[role]++;
	snprintf(lost_text, sizeof(lost_text), "%s", error);
}

static int connect_source(enum yab_wire_role role)
{
	int ours, theirs;

	script_pair(&ours, &theirs);
	ck_assert_int_eq(yab_source_connect(source, role, 0, theirs, NULL), 0);
	return ours;
}

static void setup(void)
{
	script_memory_make(&memory, PAGES);
	for (uint64_t page = 0; page < PAGES; page++) {
		if (kind_of(page) == DATA)
			script_fill(script_at(&memory, page), page, SEED);
		else if (kind_of(page) == ZEROED)
			memset(script_at(&memory, page), 0, SCRIPT_PAGE);
	}
	ck_assert(script_is_hole(&memory, 3));
	ck_assert(!script_is_hole(&memory, 2));
	base = script_base();
	source = yab_source_new(base, "test", yab_backing_memory(memory.fd, PAGES), on_lost, &lost);
	ck_assert_ptr_nonnull(source);
	urgent = connect_source(YAB_WIRE_URGENT);
	bulk = connect_source(YAB_WIRE_BULK);
}

static void teardown(void)
{
	yab_source_free(source);
	event_base_free(base);
	script_memory_drop(&memory);
	close(urgent);
	close(bulk);
}

static void request(int fd, uint64_t page, uint64_t count)
{
	script_send_header(fd, YAB_WIRE_REQUEST, 0, page, count);
}

/* At once, or a socket pair would not take many of them. */
static void request_many(int fd, uint64_t page, uint64_t stride, uint64_t count)
{
	static uint8_t bytes[1024 * YAB_WIRE_HEADER_SIZE];
	struct yab_wire_header header = { .type = YAB_WIRE_REQUEST, .count = 1 };

	ck_assert_uint_le(count, 1024);
	for (uint64_t i = 0; i < count; i++) {
		header.page = page + i * stride;
		yab_wire_header_encode(bytes + i * YAB_WIRE_HEADER_SIZE, &header);
	}
	script_send(fd, bytes, count * YAB_WIRE_HEADER_SIZE);
}

/* Answers may be longer than what a socket pair holds. */
static void receive(int fd, void *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t n = script_waiting(fd);

		if (!n) {
			script_settle(base);
			n = script_waiting(fd);
		}
		ck_assert_uint_gt(n, 0);
		if (n > size - done)
			n = size - done;
		script_receive(fd, (uint8_t *)bytes + done, n);
		done += n;
	}
}

/* The frames that come answer [page, page + count) exactly, and rightly. */
static void expect_answer(int fd, uint64_t page, uint64_t count)
{
	const uint64_t end = page + count;
	struct yab_wire_header header;
	uint8_t bytes[SCRIPT_PAGE];
	bool zero;

	while (page < end) {
		receive(fd, bytes, YAB_WIRE_HEADER_SIZE);
		ck_assert_int_eq(yab_wire_header_decode(bytes, YAB_WIRE_BULK, PAGES, &header),
				 YAB_WIRE_OK);
		ck_assert_uint_eq(header.page, page);
		ck_assert_uint_le(header.count, end - page);
		zero = header.type == YAB_WIRE_ZERO;
		ck_assert(zero || header.type == YAB_WIRE_PAGES);
		for (; header.count; header.count--, page++) {
			ck_assert_int_eq(zero, kind_of(page) != DATA);
			if (zero)
				continue;
			receive(fd, bytes, sizeof(bytes));
			ck_assert(script_is_filled(bytes, page, SEED));
		}
	}
}

START_TEST(nothing_before_serve)
{
	request(urgent, 0, 1);
	request(bulk, 8, 1);
	script_settle(base);
	script_expect_silence(urgent);
	script_expect_silence(bulk);
	ck_assert_uint_eq(yab_source_statistics(source)->urgent_requests, 0);
	yab_source_serve(source);
	script_settle(base);
	expect_answer(urgent, 0, 1);
	expect_answer(bulk, 8, 1);
}
END_TEST

/* Runs of zero and other pages, alternating, of all lengths and alignments. */
START_TEST(answers_are_exact)
{
	const struct yab_source_statistics *statistics = yab_source_statistics(source);
	uint64_t page = (uint64_t)_i, pages = 0;

	yab_source_serve(source);
	for (uint64_t count = 1; page + count <= PATTERN_END; count = count * 2 + 1, pages++) {
		if (count > YAB_WIRE_PAGES_MAX)
			count = YAB_WIRE_PAGES_MAX;
		request(bulk, page, count);
		expect_answer(bulk, page, count);
		script_expect_silence(bulk);
		page += count;
	}
	request(urgent, PAGES - 1, 1);
	expect_answer(urgent, PAGES - 1, 1);
	ck_assert_uint_eq(statistics->bulk_requests, pages);
	ck_assert_uint_eq(statistics->urgent_requests, 1);
	ck_assert_uint_eq(statistics->bulk_pages, page - (uint64_t)_i);
	ck_assert_uint_eq(statistics->urgent_pages, 1);
	ck_assert_uint_eq(statistics->zero_pages + statistics->data_pages,
			  page - (uint64_t)_i + 1);
	ck_assert_uint_eq(statistics->bytes, statistics->data_pages * SCRIPT_PAGE);
}
END_TEST

START_TEST(hole_at_the_end)
{
	struct script_memory empty;
	struct yab_wire_header header;

	script_memory_make(&empty, 300);
	yab_source_free(source);
	source = yab_source_new(base, "test", yab_backing_memory(empty.fd, 300), on_lost, &lost);
	close(urgent);
	urgent = connect_source(YAB_WIRE_URGENT);
	yab_source_serve(source);
	request(urgent, 44, 256);
	script_settle(base);
	script_receive_header(urgent, YAB_WIRE_URGENT, 300, &header);
	ck_assert_uint_eq(header.type, YAB_WIRE_ZERO);
	ck_assert_uint_eq(header.page, 44);
	ck_assert_uint_eq(header.count, 256);
	script_memory_drop(&empty);
}
END_TEST

/* Looking at a hole through a mapping would allocate a page of the source's memory. */
START_TEST(holes_stay_holes)
{
	struct stat before, after;

	ck_assert_int_eq(fstat(memory.fd, &before), 0);
	yab_source_serve(source);
	for (uint64_t page = 0; page < PAGES; page += 128) {
		request(bulk, page, 128);
		expect_answer(bulk, page, 128);
	}
	ck_assert_int_eq(fstat(memory.fd, &after), 0);
	ck_assert_int_eq(before.st_blocks, after.st_blocks);
	ck_assert(script_is_hole(&memory, 3));
}
END_TEST

struct watch {
	struct event *event;
	int seen;
	size_t urgent_bytes;
	size_t bulk_bytes;
};

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct watch *watch = arg;
	char byte;

	(void)what;
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	watch->seen++;
	watch->urgent_bytes = script_waiting(urgent);
	watch->bulk_bytes = script_waiting(bulk);
}

/*
 * With requests of both roles waiting, the urgent one is answered before bulk gets
 * its turn. The watch becomes ready last, so it runs after the urgent connection's
 * event, and before the bulk one's only if that is less urgent.
 */
START_TEST(urgent_first)
{
	struct watch watch = { 0 };
	int ours, theirs;

	script_pair(&ours, &theirs);
	watch.event = event_new(base, theirs, EV_READ | EV_PERSIST, on_watch, &watch);
	event_priority_set(watch.event, YAB_PRIORITY_URGENT);
	yab_source_serve(source);
	event_add(watch.event, NULL);
	request(bulk, PATTERN_END, 256);
	request(urgent, 1, 1);
	script_send(ours, "x", 1);
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(watch.seen, 1);
	ck_assert_uint_eq(watch.urgent_bytes, YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE);
	ck_assert_uint_eq(watch.bulk_bytes, 0);
	event_free(watch.event);
	close(ours);
	close(theirs);
}
END_TEST

struct turns {
	struct event *event;
	int count;
	size_t all;
	size_t most;		/* bulk bytes in one turn */
};

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t bytes[1 << 20];
	struct turns *turns = arg;
	const size_t written = script_waiting(bulk);

	(void)fd;
	(void)what;
	script_receive(bulk, bytes, written);
	turns->all += written;
	if (written > turns->most)
		turns->most = written;
	if (++turns->count == 100)
		event_del(turns->event);
}

/* A long bulk answer is written in slices, between which urgent requests are seen. */
START_TEST(bulk_in_slices)
{
	struct turns turns = { 0 };
	int ours, theirs;

	/* What stays readable has its callback run in each turn of the loop. */
	script_pair(&ours, &theirs);
	script_send(ours, "x", 1);
	turns.event = event_new(base, theirs, EV_READ | EV_PERSIST, on_turn, &turns);
	event_priority_set(turns.event, YAB_PRIORITY_BULK);
	yab_source_serve(source);
	event_add(turns.event, NULL);
	for (uint64_t i = 0; i < 4; i++)
		request(bulk, PATTERN_END + i * 64, 64);
	script_settle(base);
	ck_assert_int_eq(turns.count, 100);
	ck_assert_uint_eq(turns.all, 4 * YAB_WIRE_HEADER_SIZE + 256 * SCRIPT_PAGE);
	ck_assert_uint_le(turns.most, YAB_SOURCE_BULK_SLICE);
	event_free(turns.event);
	close(ours);
	close(theirs);
}
END_TEST

/*
 * A turn packs no more than a slice of pages, however small they get: what an urgent
 * request waits for.
 */
START_TEST(packs_in_slices)
{
	struct turns turns = { 0 };
	struct yab_wire_header header;
	uint8_t bytes[SCRIPT_PAGE];
	int ours, theirs;

	ck_assert_int_eq(yab_source_pack(source, YAB_CODEC_LZ4 + _i), 0);
	for (uint64_t page = PATTERN_END; page < PAGES; page++)
		memset(script_at(&memory, page), 1, SCRIPT_PAGE);
	yab_source_serve(source);
	/* Plain pages first, to compare with: until packing is tried. */
	for (uint64_t i = 0; i < 5; i++) {
		request(bulk, PATTERN_END, 256);
		for (uint64_t page = PATTERN_END; page < PATTERN_END + 256; page += header.count) {
			receive(bulk, bytes, YAB_WIRE_HEADER_SIZE);
			ck_assert_int_eq(yab_wire_header_decode(bytes, YAB_WIRE_BULK, PAGES,
								&header), YAB_WIRE_OK);
			ck_assert_uint_eq(header.type, YAB_WIRE_PAGES);
			for (uint64_t k = 0; k < header.count; k++)
				receive(bulk, bytes, SCRIPT_PAGE);
		}
	}
	script_pair(&ours, &theirs);
	script_send(ours, "x", 1);
	turns.event = event_new(base, theirs, EV_READ | EV_PERSIST, on_turn, &turns);
	event_priority_set(turns.event, YAB_PRIORITY_BULK);
	event_add(turns.event, NULL);
	request(bulk, PATTERN_END, 256);
	script_settle(base);
	ck_assert_uint_eq(yab_source_statistics(source)->packed_pages, 256);
	ck_assert_uint_eq(turns.all, 256 / YAB_WIRE_PACK_PAGES * YAB_WIRE_HEADER_SIZE +
			  yab_source_statistics(source)->packed_bytes);
	/* One, and what was left of the one before. */
	ck_assert_uint_le(turns.most, turns.all / (256 / YAB_WIRE_PACK_PAGES) * 2);
	event_free(turns.event);
	close(ours);
	close(theirs);
}
END_TEST

START_TEST(urgent_while_bulk_is_stuck)
{
	yab_source_serve(source);
	/* Nobody reads the answers to these. */
	for (int i = 0; i < 100; i++)
		request(bulk, PATTERN_END, 256);
	script_settle(base);
	ck_assert_uint_gt(script_waiting(bulk), 0);
	for (uint64_t page = 0; page < 40; page++) {
		request(urgent, page, 1);
		script_settle(base);
		expect_answer(urgent, page, 1);
	}
	/* And then somebody does. */
	for (int i = 0; i < 100; i++)
		expect_answer(bulk, PATTERN_END, 256);
	script_expect_silence(bulk);
}
END_TEST

/*
 * More requests than there is room for, in the queue and in the input, while the
 * socket for the answers is full: memory is bounded, and none is forgotten.
 */
START_TEST(many_requests)
{
	const uint64_t first = 60, count = 760;

	yab_source_serve(source);
	/* These fill the socket; of those after them the queue then takes a part of a read. */
	request_many(urgent, PATTERN_END, 1, first);
	script_settle(base);
	request_many(urgent, PATTERN_END + first, 1, count - first);
	script_settle(base);
	/* Some wait in the socket: it is not read while the queue is full. */
	ck_assert_uint_lt(yab_source_statistics(source)->urgent_requests, count);
	for (uint64_t i = 0; i < count; i++)
		expect_answer(urgent, PATTERN_END + i, 1);
	script_expect_silence(urgent);
}
END_TEST

/* Zero pages need no room to speak of: all requests at once, more than the queue holds. */
START_TEST(many_small_requests)
{
	const uint64_t count = 1000;

	yab_source_serve(source);
	request_many(urgent, 3, 0, count);
	script_settle(base);
	for (uint64_t i = 0; i < count; i++)
		expect_answer(urgent, 3, 1);
	script_expect_silence(urgent);
}
END_TEST

START_TEST(request_in_pieces)
{
	const struct yab_wire_header header = {
		.type = YAB_WIRE_REQUEST,
		.page = 5,
		.count = 4,
	};
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	yab_wire_header_encode(bytes, &header);
	yab_source_serve(source);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		script_expect_silence(bulk);
		script_send(bulk, bytes + i, 1);
		script_settle(base);
	}
	expect_answer(bulk, 5, 4);
}
END_TEST

START_TEST(hostile_destination)
{
	static const struct yab_wire_header cases[] = {
		{ 0, 0, 0, 0, 0 },
		{ YAB_WIRE_REQUEST, 0, 0, PAGES, 1 },
		{ YAB_WIRE_REQUEST, 0, 0, PAGES - 1, 2 },
		{ YAB_WIRE_REQUEST, 0, 0, UINT64_MAX, 2 },
		{ YAB_WIRE_REQUEST, 0, 0, 0, 0 },
		{ YAB_WIRE_REQUEST, 0, 0, 0, YAB_WIRE_PAGES_MAX + 1 },
		{ YAB_WIRE_REQUEST, 1, 0, 0, 1 },
		{ YAB_WIRE_REQUEST, 0, 4096, 0, 1 },
		{ YAB_WIRE_PAGES, 0, 4096, 0, 1 },
		{ YAB_WIRE_ZERO, 0, 0, 0, 1 },
		{ YAB_WIRE_CALL, 0, 10, 0, 0 },
		{ YAB_WIRE_ERROR, 0, 100000, 0, 0 },
	};
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	yab_source_serve(source);
	request(urgent, 3, 1);
	yab_wire_header_encode(bytes, &cases[_i]);
	script_send(urgent, bytes, sizeof(bytes));
	request(urgent, 3, 1);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 1);
	script_expect_refusal(urgent);
	/* The other connection is none the worse, and a new one is welcome. */
	request(bulk, 3, 1);
	script_settle(base);
	expect_answer(bulk, 3, 1);
	ck_assert_int_eq(lost[YAB_WIRE_BULK], 0);
	close(urgent);
	urgent = connect_source(YAB_WIRE_URGENT);
	request(urgent, 1, 1);
	script_settle(base);
	expect_answer(urgent, 1, 1);
}
END_TEST

START_TEST(error_is_passed_on)
{
	static const char text[] = "no\x1b[31m space\xff";

	yab_source_serve(source);
	script_send_header(urgent, YAB_WIRE_ERROR, sizeof(text) - 1, 0, 0);
	script_send(urgent, text, 4);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 0);
	script_send(urgent, text + 4, sizeof(text) - 5);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 1);
	ck_assert_str_eq(lost_text, "destination says: no?[31m space?");
}
END_TEST

START_TEST(closed_in_mid_frame)
{
	yab_source_serve(source);
	request(bulk, PATTERN_END, 256);
	script_send(bulk, "xxx", 3);
	script_settle(base);
	close(bulk);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_BULK], 1);
	bulk = connect_source(YAB_WIRE_BULK);
	request(bulk, 0, 16);
	expect_answer(bulk, 0, 16);
	script_expect_silence(bulk);
}
END_TEST

/* The old connection's unfinished answer does not go on in the new one. */
START_TEST(replaced_in_mid_answer)
{
	int old;

	yab_source_serve(source);
	request(bulk, PATTERN_END, 256);
	request(bulk, PATTERN_END, 256);
	script_settle(base);
	ck_assert_uint_gt(script_waiting(bulk), 0);
	old = bulk;
	bulk = connect_source(YAB_WIRE_BULK);
	script_settle(base);
	script_expect_silence(bulk);
	request(bulk, 8, 8);
	expect_answer(bulk, 8, 8);
	script_expect_silence(bulk);
	/* Replacing is not losing. */
	ck_assert_int_eq(lost[YAB_WIRE_BULK], 0);
	close(old);
}
END_TEST

START_TEST(memory_too_short)
{
	static const uint64_t sizes[] = { PAGES + 1, UINT64_MAX, 0 };

	for (int i = 0; i < 3; i++) {
		ck_assert_ptr_null(yab_source_new(base, "test",
						  yab_backing_memory(memory.fd, sizes[i]), on_lost,
						  NULL));
		ck_assert_int_eq(errno, EINVAL);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("source");
	TCase *tcase = tcase_create("source");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, nothing_before_serve);
	tcase_add_loop_test(tcase, answers_are_exact, 0, 9);
	tcase_add_test(tcase, hole_at_the_end);
	tcase_add_test(tcase, holes_stay_holes);
	tcase_add_test(tcase, urgent_first);
	tcase_add_test(tcase, bulk_in_slices);
	tcase_add_loop_test(tcase, packs_in_slices, 0, 2);
	tcase_add_test(tcase, urgent_while_bulk_is_stuck);
	tcase_add_test(tcase, many_requests);
	tcase_add_test(tcase, many_small_requests);
	tcase_add_test(tcase, request_in_pieces);
	tcase_add_loop_test(tcase, hostile_destination, 0, 12);
	tcase_add_test(tcase, error_is_passed_on);
	tcase_add_test(tcase, closed_in_mid_frame);
	tcase_add_test(tcase, replaced_in_mid_answer);
	tcase_add_test(tcase, memory_too_short);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
