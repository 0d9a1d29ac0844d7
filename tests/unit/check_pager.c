// SPDX-License-Identifier: GPL-2.0-or-later
/* The destination worker against a source, a kernel and a guest that are played. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../daemon/pager.h"
#include "../../daemon/socket.h"
#include "../../daemon/window.h"
#include "script.h"

#define PAGES		4096
#define SEED		1
/* What a guest writes is not what came. */
#define GUEST		0xee
#define DECLARED_MAX	4096
/* What the sweep begins with: so many pages on order, in such requests. */
#define WINDOW		YAB_WINDOW_FIRST
#define RUN		(WINDOW / 4)

static struct script_memory memory;
static struct event_base *base;
static struct yab_pager *pager;
static const struct yab_store_statistics *statistics;
static int urgent = -1, bulk = -1;
static int kernel;		/* faults are written here */
static int lost[4];
static char lost_text[YAB_SOCKET_TEXT_SIZE];
static int completions;
static int failures;

/* Declarations, as the kernel gets them. */
static struct yab_range declared[DECLARED_MAX];
static size_t declared_count;
static int declare_calls;
static int declare_error;	/* the errno that it fails with */

static int on_declare(int pager_fd, struct yab_range *ranges, size_t count)
{
	ck_assert_int_ge(pager_fd, 0);
	ck_assert_uint_ge(count, 1);
	ck_assert_uint_le(count, YAB_RANGES_MAX);
	declare_calls++;
	if (declare_error) {
		errno = declare_error;
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		ck_assert_uint_eq(ranges[i].state, YAB_RANGE_PRESENT);
		ck_assert_uint_eq(ranges[i].reserved, 0);
		ck_assert_uint_lt(ranges[i].page, PAGES);
		ck_assert_uint_ge(ranges[i].count, 1);
		ck_assert_uint_le(ranges[i].count, PAGES - ranges[i].page);
		ck_assert_uint_lt(declared_count, DECLARED_MAX);
		declared[declared_count++] = ranges[i];
	}
	return 0;
}

/* The kernel: none is present, but for these. */
static uint64_t present_from = PAGES, present_end = PAGES;

static int on_present(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits)
{
	ck_assert_int_ge(pager_fd, 0);
	ck_assert_uint_eq(page % 64, 0);
	memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
	for (uint64_t i = 0; i < count; i++)
		if (page + i >= present_from && page + i < present_end)
			bits[i / 64] |= 1ULL << i % 64;
	return 0;
}

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	ck_assert_ptr_eq(arg, &lost);
	ck_assert_uint_lt(index, role == YAB_WIRE_URGENT ? 1 : YAB_WIRE_BULKS_MAX);
	lost[role]++;
	snprintf(lost_text, sizeof(lost_text), "%s", error);
}

static void on_complete(void *arg)
{
	ck_assert_ptr_eq(arg, &lost);
	completions++;
}

static void on_failed(const char *error, void *arg)
{
	ck_assert_ptr_eq(arg, &lost);
	snprintf(lost_text, sizeof(lost_text), "%s", error);
	failures++;
}

static const struct yab_pager_ops ops = {
	.declare = on_declare,
	.present = on_present,
	.lost = on_lost,
	.complete = on_complete,
	.failed = on_failed,
};

static int pager_fd;

static void make_pager(void)
{
	pager = yab_pager_new(base, "test", memory.fd, pager_fd, PAGES, "sweep", &ops, &lost);
	ck_assert_ptr_nonnull(pager);
	statistics = yab_pager_statistics(pager);
}

/* Another worker takes over, with the first @present pages; it is not started yet. */
static void replace_pager(uint64_t present)
{
	yab_pager_free(pager);
	present_from = 0;
	present_end = present;
	make_pager();
}

static void setup(void)
{
	script_memory_make(&memory, PAGES);
	base = script_base();
	script_pair(&kernel, &pager_fd);
	ck_assert_int_eq(evutil_make_socket_nonblocking(pager_fd), 0);
	make_pager();
	ck_assert_int_eq(yab_pager_start(pager), 0);
}

static void teardown(void)
{
	yab_pager_free(pager);
	event_base_free(base);
	script_memory_drop(&memory);
	close(kernel);
	close(pager_fd);
	if (urgent >= 0)
		close(urgent);
	if (bulk >= 0)
		close(bulk);
}

static void connect_pager(enum yab_wire_role role)
{
	int *ours = role == YAB_WIRE_URGENT ? &urgent : &bulk;
	int theirs;

	if (*ours >= 0)
		close(*ours);
	script_pair(ours, &theirs);
	ck_assert_int_eq(yab_pager_connect(pager, role, 0, theirs, NULL), 0);
	script_settle(base);
}

static void disconnect(int *fd)
{
	close(*fd);
	*fd = -1;
	script_settle(base);
}

static void expect_survey(int fd, uint64_t page)
{
	struct yab_wire_header header;

	script_receive_header(fd, YAB_WIRE_BULK, PAGES, &header);
	ck_assert_uint_eq(header.type, YAB_WIRE_SURVEY);
	ck_assert_uint_eq(header.page, page);
	ck_assert_uint_eq(header.count, PAGES - page);
}

static bool surveyed;

/*
 * The first bulk requests: where the holes are, which is answered with "none", and the
 * window.
 */
static void expect_window(uint64_t page)
{
	if (!surveyed) {
		expect_survey(bulk, 0);
		script_send_header(bulk, YAB_WIRE_SURVEYED, 0, 0, PAGES);
		script_settle(base);
	}
	surveyed = true;
	for (uint64_t i = 0; i < WINDOW / RUN; i++)
		script_expect_request(bulk, page + i * RUN, RUN);
	script_expect_silence(bulk);
}

static void fault(uint64_t page)
{
	const struct yab_fault record = { .page = page, .time_ns = 1 };

	script_send(kernel, &record, sizeof(record));
}

/* The declarations since the last call are these pages, in one range. */
static void expect_declared(uint64_t page, uint64_t count)
{
	ck_assert_uint_eq(declared_count, 1);
	ck_assert_uint_eq(declared[0].page, page);
	ck_assert_uint_eq(declared[0].count, count);
	declared_count = 0;
}

static void expect_filled(uint64_t page, uint64_t count)
{
	for (; count; count--, page++)
		ck_assert_msg(script_is_filled(script_at(&memory, page), page, SEED),
			      "page %llu", (unsigned long long)page);
}

/* The bytes of a PAGES frame, to be sent in pieces. */
static size_t make_frame(uint8_t *bytes, uint64_t page, uint64_t count)
{
	const struct yab_wire_header header = {
		.type = YAB_WIRE_PAGES,
		.length = (uint32_t)(count * SCRIPT_PAGE),
		.page = page,
		.count = count,
	};

	yab_wire_header_encode(bytes, &header);
	for (uint64_t i = 0; i < count; i++)
		script_fill(bytes + YAB_WIRE_HEADER_SIZE + i * SCRIPT_PAGE, page + i, SEED);
	return YAB_WIRE_HEADER_SIZE + count * SCRIPT_PAGE;
}

/* Before the commit the bulk connection only helps out. */
START_TEST(sweeps_when_told)
{
	yab_pager_sweep(pager, false);
	connect_pager(YAB_WIRE_BULK);
	script_expect_silence(bulk);
	script_send(kernel, &(struct yab_fault){ .page = 7, .time_ns = 1 },
		    sizeof(struct yab_fault));
	script_settle(base);
	script_expect_request(bulk, 7, 1);
	script_expect_silence(bulk);
	script_send_pages(bulk, 7, 1, SEED);
	script_settle(base);
	yab_pager_sweep(pager, true);
	script_settle(base);
	expect_window(8);
}
END_TEST

START_TEST(urgent_while_bulk_is_stuck)
{
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	script_expect_silence(urgent);
	fault(1000);
	script_settle(base);
	script_expect_request(urgent, 1000, 1);
	script_send_pages(urgent, 1000, 1, SEED);
	script_settle(base);
	expect_declared(1000, 1);
	expect_filled(1000, 1);
	ck_assert_uint_eq(statistics->faults, 1);
	ck_assert_uint_eq(statistics->urgent_pages, 1);
	ck_assert_uint_eq(statistics->present, 1);
	ck_assert_uint_eq(yab_pager_latency(pager, YAB_WAIT_FAULT)->count, 1);
	script_expect_silence(bulk);
}
END_TEST

/* A page that is on its way in bulk is asked for again, once. */
START_TEST(asked_in_bulk_is_asked_again)
{
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	fault(70);
	script_settle(base);
	script_expect_request(urgent, 70, 1);
	fault(70);
	script_settle(base);
	script_expect_silence(urgent);
	ck_assert_uint_eq(statistics->faults, 2);
	/* When it is here, it is not asked for at all. */
	script_send_pages(urgent, 70, 1, SEED);
	script_settle(base);
	fault(70);
	script_settle(base);
	script_expect_silence(urgent);
}
END_TEST

/* Pages in the frame that comes late: less than a socket pair holds. */
#define LATE		32

/*
 * The heart of it: the bulk copy of a page stands still anywhere in the page, the
 * urgent copy overtakes it, the guest writes, the rest of the bulk copy comes.
 */
START_TEST(late_copy_does_not_clobber)
{
	static const size_t offsets[] = { 0, 1, 2048, 4095, 4096 };
	static uint8_t frame[YAB_WIRE_HEADER_SIZE + LATE * SCRIPT_PAGE];
	const uint64_t page = (uint64_t)(_i / 5) * 5;	/* 0, 5, 10 */
	const size_t first = YAB_WIRE_HEADER_SIZE + page * SCRIPT_PAGE + offsets[_i % 5];
	size_t size;

	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	size = make_frame(frame, 0, LATE);
	script_send(bulk, frame, first);
	script_settle(base);
	/* Whole pages are declared, the half one is not. */
	if (page + offsets[_i % 5] / SCRIPT_PAGE)
		expect_declared(0, page + offsets[_i % 5] / SCRIPT_PAGE);
	ck_assert_uint_eq(declared_count, 0);
	fault(page);
	script_settle(base);
	if (offsets[_i % 5] < SCRIPT_PAGE) {
		script_expect_request(urgent, page, 1);
		script_send_pages(urgent, page, 1, SEED);
		script_settle(base);
		expect_declared(page, 1);
	}
	script_expect_silence(urgent);
	expect_filled(page, 1);
	memset(script_at(&memory, page), GUEST, SCRIPT_PAGE);
	script_send(bulk, frame + first, size - first);
	script_settle(base);
	for (size_t i = 0; i < SCRIPT_PAGE; i++)
		ck_assert_uint_eq(script_at(&memory, page)[i], GUEST);
	expect_filled(0, page);
	expect_filled(page + 1, LATE - page - 1);
	ck_assert_uint_eq(statistics->present, LATE);
	ck_assert_uint_eq(statistics->duplicate_pages, offsets[_i % 5] < SCRIPT_PAGE);
	ck_assert_uint_eq(statistics->bulk_pages, LATE);
}
END_TEST

/* The other way round: the urgent copy is the late one. */
START_TEST(late_urgent_copy_does_not_clobber)
{
	uint8_t frame[YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE];
	const size_t first = YAB_WIRE_HEADER_SIZE + 1000;
	size_t size;

	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	fault(7);
	script_settle(base);
	script_expect_request(urgent, 7, 1);
	size = make_frame(frame, 7, 1);
	script_send(urgent, frame, first);
	script_settle(base);
	ck_assert_uint_eq(declared_count, 0);
	script_send_pages(bulk, 0, 32, SEED);
	script_settle(base);
	expect_declared(0, 32);
	memset(script_at(&memory, 7), GUEST, SCRIPT_PAGE);
	script_send(urgent, frame + first, size - first);
	script_settle(base);
	for (size_t i = 0; i < SCRIPT_PAGE; i++)
		ck_assert_uint_eq(script_at(&memory, 7)[i], GUEST);
	ck_assert_uint_eq(declared_count, 0);
	ck_assert_uint_eq(statistics->duplicate_pages, 1);
}
END_TEST

/* Late zero pages do not clear what the guest wrote either. */
START_TEST(late_zero_does_not_clobber)
{
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	fault(7);
	script_settle(base);
	script_expect_request(urgent, 7, 1);
	script_send_header(urgent, YAB_WIRE_ZERO, 0, 7, 1);
	script_settle(base);
	expect_declared(7, 1);
	memset(script_at(&memory, 7), GUEST, SCRIPT_PAGE);
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 0, RUN);
	script_settle(base);
	ck_assert_uint_eq(declared_count, 2);
	ck_assert_uint_eq(script_at(&memory, 7)[0], GUEST);
	ck_assert_uint_eq(script_at(&memory, 7)[SCRIPT_PAGE - 1], GUEST);
	ck_assert_uint_eq(statistics->zero_pages, RUN + 1);
	ck_assert_uint_eq(statistics->duplicate_pages, 1);
	/* Every second page of a frame is here already: ranges for the others. */
	for (uint64_t page = 64; page < 128; page += 2) {
		fault(page);
		script_settle(base);
		script_expect_request(urgent, page, 1);
		script_send_header(urgent, YAB_WIRE_ZERO, 0, page, 1);
	}
	script_settle(base);
	declared_count = 0;
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 64, 64);
	script_settle(base);
	ck_assert_uint_eq(declared_count, 32);
	ck_assert_uint_eq(statistics->present, 128);
}
END_TEST

/* A frame in pieces of any size: pages are declared as they become whole, in order. */
START_TEST(declared_when_whole)
{
	static const size_t pieces[] = { 1000, 4095, 4096, 4097, 8193, 30000 };
	static uint8_t frames[2 * YAB_WIRE_HEADER_SIZE + 12 * SCRIPT_PAGE];
	const size_t piece = pieces[_i];
	size_t size, sent = 0;

	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	size = make_frame(frames, 0, 5);
	size += make_frame(frames + size, 5, 7);
	while (sent < size) {
		const size_t n = piece < size - sent ? piece : size - sent;
		uint64_t whole, count = 0;

		script_send(bulk, frames + sent, n);
		script_settle(base);
		sent += n;
		/* The headers are before pages 0 and 5. */
		whole = (sent - YAB_WIRE_HEADER_SIZE) / SCRIPT_PAGE;
		if (whole > 5)
			whole = (sent - 2 * YAB_WIRE_HEADER_SIZE) / SCRIPT_PAGE;
		for (size_t i = 0; i < declared_count; i++) {
			ck_assert_uint_eq(declared[i].page, count);
			count += declared[i].count;
		}
		ck_assert_uint_eq(count, whole);
		expect_filled(0, whole);
	}
}
END_TEST

/* What comes together in bulk is declared together. */
START_TEST(declared_in_batches)
{
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	script_send_pages(bulk, 0, 10, SEED);
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 10, 20);
	script_settle(base);
	expect_declared(0, 30);
	ck_assert_int_eq(declare_calls, 1);
	ck_assert_uint_eq(statistics->data_pages, 10);
	ck_assert_uint_eq(statistics->zero_pages, 20);
	ck_assert_uint_eq(statistics->bytes, 10 * SCRIPT_PAGE);
	ck_assert(script_is_hole(&memory, 10));
}
END_TEST

START_TEST(window_moves_on)
{
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	/* Requests of one page for answers of one page would be wasteful. */
	script_send_pages(bulk, 0, 32, SEED);
	script_settle(base);
	script_expect_silence(bulk);
	script_send_pages(bulk, 32, 31, SEED);
	script_settle(base);
	script_expect_silence(bulk);
	script_send_pages(bulk, 63, 1, SEED);
	script_settle(base);
	script_expect_request(bulk, WINDOW, RUN);
	script_expect_silence(bulk);
}
END_TEST

START_TEST(sweep_follows_faults)
{
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	fault(1000);
	fault(PAGES - 10);
	script_settle(base);
	script_expect_request(urgent, 1000, 1);
	script_expect_request(urgent, PAGES - 10, 1);
	for (uint64_t i = 0; i < 3; i++)
		script_send_header(bulk, YAB_WIRE_ZERO, 0, i * RUN, RUN);
	script_settle(base);
	/* Behind the last fault to the end, then round to what is missing first. */
	script_expect_request(bulk, PAGES - 9, 9);
	script_expect_request(bulk, WINDOW, RUN);
	fault(990);
	script_settle(base);
	script_expect_request(urgent, 990, 1);
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 3 * RUN, RUN);
	script_settle(base);
	/* Up to the page that is asked for already. */
	script_expect_request(bulk, WINDOW + RUN, RUN);
	script_expect_request(bulk, 991, 9);
}
END_TEST

/* The default policy: around the page touched, ahead of who walks, and counted. */
START_TEST(prefetch_is_counted)
{
	struct script_memory other;

	yab_pager_free(pager);
	script_memory_make(&other, PAGES);
	pager = yab_pager_new(base, "test", other.fd, pager_fd, PAGES, NULL, &ops, &lost);
	ck_assert_ptr_nonnull(pager);
	statistics = yab_pager_statistics(pager);
	ck_assert_int_eq(yab_pager_start(pager), 0);
	fault(1000);
	fault(1001);
	script_settle(base);
	ck_assert_uint_eq(statistics->prefetched_pages, 0);
	connect_pager(YAB_WIRE_BULK);
	/* What is waited for first, then what is behind. */
	script_expect_request(bulk, 1000, 2);
	expect_survey(bulk, 0);
	script_expect_request(bulk, 1002, 8);
	ck_assert_uint_eq(statistics->prefetched_pages, 8);
	ck_assert_uint_eq(statistics->wasted_pages, 0);
	yab_pager_free(pager);
	script_memory_drop(&other);
	pager = NULL;
}
END_TEST

/* The best first, also if they come while others are under way; and counted. */
START_TEST(hints_come_first)
{
	const struct yab_hints hints = {
		.ranges = { { 1200, 5 }, { 1100, 8 }, { 1202, 4 } }, .count = 3,
	};

	yab_pager_hint(pager, &hints);
	ck_assert_uint_eq(statistics->hinted_pages, 0);
	connect_pager(YAB_WIRE_BULK);
	expect_survey(bulk, 0);
	script_expect_request(bulk, 1200, 5);
	script_expect_request(bulk, 1100, 8);
	script_expect_request(bulk, 1205, 1);
	script_expect_request(bulk, 0, RUN);
	ck_assert_uint_eq(statistics->hinted_pages, 14);
	ck_assert_uint_eq(statistics->prefetched_pages, 0);
}
END_TEST

START_TEST(neighbours_are_asked_together)
{
	struct yab_fault faults[4] = {
		{ .page = 10, .time_ns = 1 },
		{ .page = 11, .time_ns = 1 },
		{ .page = 12, .time_ns = 1 },
		{ .page = 9, .time_ns = 1 },
	};

	connect_pager(YAB_WIRE_URGENT);
	script_send(kernel, faults, sizeof(faults));
	script_settle(base);
	script_expect_request(urgent, 10, 3);
	script_expect_request(urgent, 9, 1);
	script_expect_silence(urgent);
}
END_TEST

START_TEST(faults_before_connections)
{
	for (uint64_t page = 100; page < 500; page += 2)
		fault(page);
	script_settle(base);
	ck_assert_uint_eq(statistics->faults, 200);
	connect_pager(YAB_WIRE_URGENT);
	for (uint64_t page = 100; page < 500; page += 2)
		script_expect_request(urgent, page, 1);
	script_expect_silence(urgent);
	/* Lost, and all that is not here comes again. */
	for (uint64_t page = 100; page < 400; page += 2)
		script_send_header(urgent, YAB_WIRE_ZERO, 0, page, 1);
	script_settle(base);
	disconnect(&urgent);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 1);
	connect_pager(YAB_WIRE_URGENT);
	for (uint64_t page = 400; page < 500; page += 2)
		script_expect_request(urgent, page, 1);
	script_expect_silence(urgent);
}
END_TEST

/* More faults than requests may be under way: the others follow, none is forgotten. */
START_TEST(more_faults_than_requests)
{
	static uint8_t bytes[1024 * YAB_WIRE_HEADER_SIZE];
	uint64_t asked = 0, answered = 0;

	connect_pager(YAB_WIRE_URGENT);
	for (uint64_t page = 0; page < PAGES; page += 2) {
		fault(page);
		if (page % 256 == 0)
			script_settle(base);
	}
	script_settle(base);
	while (answered < PAGES / 2) {
		const size_t waiting = script_waiting(urgent);

		ck_assert_uint_gt(waiting, 0);
		ck_assert_uint_eq(waiting % YAB_WIRE_HEADER_SIZE, 0);
		script_receive(urgent, bytes, waiting);
		asked += waiting / YAB_WIRE_HEADER_SIZE;
		ck_assert_uint_le(asked - answered, 256);
		for (size_t i = 0; i < waiting; i += YAB_WIRE_HEADER_SIZE, answered++) {
			struct yab_wire_header header;

			ck_assert_int_eq(yab_wire_header_decode(bytes + i, YAB_WIRE_URGENT, PAGES,
								&header), YAB_WIRE_OK);
			ck_assert_uint_eq(header.count, 1);
			ck_assert_uint_eq(header.page % 2, 0);
			script_send_header(urgent, YAB_WIRE_ZERO, 0, header.page, 1);
			script_settle(base);
		}
	}
	ck_assert_uint_eq(statistics->present, PAGES / 2);
	ck_assert_uint_eq(statistics->duplicate_pages, 0);
	script_expect_silence(urgent);
}
END_TEST

START_TEST(without_urgent_faults_go_in_bulk)
{
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	/* On its way already, and not. */
	fault(5);
	fault(1500);
	script_settle(base);
	script_expect_request(bulk, 1500, 1);
	script_expect_silence(bulk);
	/* Both are asked for when there is an urgent connection. */
	connect_pager(YAB_WIRE_URGENT);
	script_expect_request(urgent, 5, 1);
	script_expect_request(urgent, 1500, 1);
	fault(1700);
	script_settle(base);
	script_expect_request(urgent, 1700, 1);
	/* It is lost: only what is not on its way in bulk is asked for there. */
	disconnect(&urgent);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 1);
	script_expect_request(bulk, 1700, 1);
	script_expect_silence(bulk);
}
END_TEST

/* A source that sends what it was not asked for places nothing. */
START_TEST(hostile_source)
{
	static const struct {
		enum yab_wire_role role;
		struct yab_wire_header header;
	} cases[] = {
		/* asked for on the other connection only, or not at all */
		{ YAB_WIRE_URGENT, { YAB_WIRE_ZERO, 0, 0, 0, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_PAGES, 0, 4096, 1000, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 1500, 1 } },
		/* too long */
		{ YAB_WIRE_URGENT, { YAB_WIRE_PAGES, 0, 8192, 1000, 2 } },
		{ YAB_WIRE_URGENT, { YAB_WIRE_ZERO, 0, 0, 1000, 2 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 0, 65 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 0, PAGES } },
		{ YAB_WIRE_BULK, { YAB_WIRE_PAGES, 0, 256 * 4096, 0, 256 } },
		/* the wrong order */
		{ YAB_WIRE_URGENT, { YAB_WIRE_ZERO, 0, 0, 1002, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 64, 64 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_PAGES, 0, 4096, 1, 1 } },
		/* malformed */
		{ YAB_WIRE_BULK, { YAB_WIRE_PAGES, 0, 4095, 0, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 1, 0, 0, 1 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, 0, UINT64_MAX } },
		{ YAB_WIRE_BULK, { YAB_WIRE_ZERO, 0, 0, UINT64_MAX, 2 } },
		{ YAB_WIRE_BULK, { YAB_WIRE_REQUEST, 0, 0, 0, 1 } },
		{ YAB_WIRE_URGENT, { YAB_WIRE_STATE, 0, 100, 0, 0 } },
		{ YAB_WIRE_URGENT, { YAB_WIRE_ERROR, 0, 513, 0, 0 } },
	};
	static uint8_t bytes[YAB_WIRE_HEADER_SIZE + 2 * SCRIPT_PAGE];
	struct stat st;
	int fd;

	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	fault(1000);
	script_settle(base);
	fault(1002);
	script_settle(base);
	script_expect_request(urgent, 1000, 1);
	script_expect_request(urgent, 1002, 1);
	fd = urgent;
	if (cases[_i].role == YAB_WIRE_BULK)
		fd = bulk;
	memset(bytes, GUEST, sizeof(bytes));
	yab_wire_header_encode(bytes, &cases[_i].header);
	script_send(fd, bytes, sizeof(bytes));
	script_settle(base);
	ck_assert_int_eq(lost[cases[_i].role], 1);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT] + lost[YAB_WIRE_BULK], 1);
	ck_assert_uint_eq(declared_count, 0);
	ck_assert_uint_eq(statistics->present, 0);
	ck_assert_int_eq(fstat(memory.fd, &st), 0);
	ck_assert_int_eq(st.st_blocks, 0);
	script_expect_refusal(fd);
}
END_TEST

/* Pages of a pack, which is at @pack. */
#define PACK		4

static size_t make_pack(enum yab_codec_kind kind, uint8_t *pack, uint64_t page, uint64_t count)
{
	struct yab_codec *codec = yab_codec_new(kind);
	uint8_t plain[YAB_CODEC_PLAIN_MAX];
	size_t size;

	ck_assert_ptr_nonnull(codec);
	for (uint64_t i = 0; i < count; i++)
		script_fill(plain + i * SCRIPT_PAGE, page + i, SEED);
	size = yab_codec_pack(codec, pack, plain, count * SCRIPT_PAGE);
	yab_codec_free(codec);
	ck_assert_uint_gt(size, 0);
	return size;
}

/*
 * A pack in two pieces. Between them one of its pages comes on the urgent connection and
 * is written to: the pack brings the others.
 */
START_TEST(pack)
{
	static uint8_t bytes[YAB_CODEC_PLAIN_MAX];
	const enum yab_codec_kind kind = YAB_CODEC_LZ4 + _i % 2;
	const size_t size = make_pack(kind, bytes, 0, PACK);
	const size_t cut = _i / 2 ? size - 1 : 1;

	ck_assert_int_eq(yab_pager_unpack(pager, kind), 0);
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	script_send_header(bulk, YAB_WIRE_PACKED, (uint32_t)size, 0, PACK);
	script_send(bulk, bytes, cut);
	script_settle(base);
	ck_assert_uint_eq(declared_count, 0);
	fault(1);
	script_settle(base);
	script_expect_request(urgent, 1, 1);
	script_send_pages(urgent, 1, 1, SEED);
	script_settle(base);
	expect_declared(1, 1);
	memset(script_at(&memory, 1), GUEST, SCRIPT_PAGE);
	/* With what comes behind it. */
	script_send(bulk, bytes + cut, size - cut);
	script_send_header(bulk, YAB_WIRE_ZERO, 0, PACK, 2);
	script_settle(base);
	ck_assert_uint_eq(script_at(&memory, 1)[0], GUEST);
	ck_assert_uint_eq(script_at(&memory, 1)[SCRIPT_PAGE - 1], GUEST);
	expect_filled(0, 1);
	expect_filled(2, PACK - 2);
	ck_assert_uint_eq(statistics->present, PACK + 2);
	ck_assert_uint_eq(statistics->duplicate_pages, 1);
	ck_assert_uint_eq(statistics->packed_pages, PACK);
	ck_assert_uint_eq(statistics->packed_bytes, size);
	ck_assert_uint_eq(statistics->bytes, size + SCRIPT_PAGE);
	ck_assert_uint_eq(statistics->data_pages, PACK + 1);
	ck_assert_int_eq(lost[YAB_WIRE_BULK], 0);
}
END_TEST

/* Packs that are none, or hold other than they should: nothing of them is declared or kept. */
START_TEST(hostile_pack)
{
	static uint8_t bytes[YAB_CODEC_PLAIN_MAX + SCRIPT_PAGE];
	const enum yab_codec_kind kind = YAB_CODEC_LZ4 + _i % 2;
	enum yab_wire_role role = YAB_WIRE_BULK;
	uint64_t page = 0, count = PACK;
	bool agreed = true;
	struct stat st;
	size_t size;

	size = make_pack(kind, bytes, 0, PACK);
	switch (_i / 2) {
	case 0:
		memset(bytes, 0xff, size);
		break;
	case 1:
		size--;
		break;
	case 2:
		size++;
		break;
	case 3:
		count++;
		break;
	case 4:
		/* A bomb: much more than it should. */
		size = make_pack(kind, bytes, 0, YAB_WIRE_PACK_PAGES);
		count = size / SCRIPT_PAGE + 1;
		break;
	case 5:
		agreed = false;
		break;
	case 6:
		role = YAB_WIRE_URGENT;
		page = 1000;
		break;
	case 7:
		page = 1;
		break;
	case 8:
		count = RUN + 1;
		break;
	case 9:
		size = PACK * SCRIPT_PAGE;
		break;
	}
	if (agreed)
		ck_assert_int_eq(yab_pager_unpack(pager, kind), 0);
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	fault(1000);
	script_settle(base);
	script_expect_request(urgent, 1000, 1);
	script_send_header(role == YAB_WIRE_BULK ? bulk : urgent, YAB_WIRE_PACKED, (uint32_t)size,
			   page, count);
	script_send(role == YAB_WIRE_BULK ? bulk : urgent, bytes, size);
	script_settle(base);
	ck_assert_int_eq(lost[role], 1);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT] + lost[YAB_WIRE_BULK], 1);
	ck_assert_uint_eq(declared_count, 0);
	ck_assert_uint_eq(statistics->present, 0);
	ck_assert_uint_eq(statistics->packed_pages, 0);
	ck_assert_int_eq(fstat(memory.fd, &st), 0);
	ck_assert_int_eq(st.st_blocks, 0);
	script_expect_refusal(role == YAB_WIRE_BULK ? bulk : urgent);
}
END_TEST

/* An answer that is right is not a licence for another one. */
START_TEST(hostile_source_repeats)
{
	connect_pager(YAB_WIRE_URGENT);
	fault(5);
	script_settle(base);
	script_expect_request(urgent, 5, 1);
	script_send_pages(urgent, 5, 1, SEED);
	script_send_pages(urgent, 5, 1, SEED + 1);
	script_settle(base);
	expect_declared(5, 1);
	expect_filled(5, 1);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 1);
	script_expect_refusal(urgent);
}
END_TEST

START_TEST(error_is_passed_on)
{
	connect_pager(YAB_WIRE_URGENT);
	script_send_header(urgent, YAB_WIRE_ERROR, 4, 0, 0);
	script_send(urgent, "gr\n", 3);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 0);
	script_send(urgent, "r", 1);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 1);
	ck_assert_str_eq(lost_text, "source says: gr?r");
	connect_pager(YAB_WIRE_URGENT);
	script_send_header(urgent, YAB_WIRE_ERROR, 0, 0, 0);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT], 2);
	ck_assert_str_eq(lost_text, "source says: ");
}
END_TEST

/* Half a page and the connection is gone: the next one brings the page anew. */
START_TEST(lost_in_mid_page)
{
	static uint8_t frame[YAB_WIRE_HEADER_SIZE + 2 * SCRIPT_PAGE];
	const bool zero = _i % 2;
	const bool reported = _i >= 2;

	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	make_frame(frame, 0, 2);
	memset(frame + YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE, GUEST, SCRIPT_PAGE);
	script_send(bulk, frame, YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE + 3000);
	script_settle(base);
	expect_declared(0, 1);
	ck_assert(!script_is_hole(&memory, 1));
	if (reported) {
		disconnect(&bulk);
		ck_assert_int_eq(lost[YAB_WIRE_BULK], 1);
	}
	/* Otherwise it is replaced. The sweep goes on, and takes the lost pages up last. */
	connect_pager(YAB_WIRE_BULK);
	ck_assert_int_eq(lost[YAB_WIRE_BULK], reported);
	expect_window(WINDOW);
	fault(1);
	script_settle(base);
	script_expect_request(bulk, 1, 1);
	for (uint64_t i = 0; i < 4; i++)
		script_send_header(bulk, YAB_WIRE_ZERO, 0, 256 + i * RUN, RUN);
	script_settle(base);
	ck_assert_uint_eq(script_at(&memory, 1)[0], GUEST);
	declared_count = 0;
	if (zero)
		script_send_header(bulk, YAB_WIRE_ZERO, 0, 1, 1);
	else
		script_send_pages(bulk, 1, 1, SEED);
	script_settle(base);
	expect_declared(1, 1);
	ck_assert_int_eq(script_is_hole(&memory, 1), zero);
	if (zero)
		for (size_t i = 0; i < SCRIPT_PAGE; i++)
			ck_assert_uint_eq(script_at(&memory, 1)[i], 0);
	else
		expect_filled(1, 1);
}
END_TEST

/* Half a page in bulk, then the same page as zero on the urgent connection. */
START_TEST(zero_over_half_a_page)
{
	uint8_t frame[YAB_WIRE_HEADER_SIZE + SCRIPT_PAGE];
	const size_t first = YAB_WIRE_HEADER_SIZE + 100;

	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	make_frame(frame, 0, 1);
	script_send(bulk, frame, first);
	script_settle(base);
	fault(0);
	script_settle(base);
	script_expect_request(urgent, 0, 1);
	script_send_header(urgent, YAB_WIRE_ZERO, 0, 0, 1);
	script_settle(base);
	expect_declared(0, 1);
	script_send(bulk, frame + first, sizeof(frame) - first);
	script_settle(base);
	for (size_t i = 0; i < SCRIPT_PAGE; i++)
		ck_assert_uint_eq(script_at(&memory, 0)[i], 0);
}
END_TEST

/* While the kernel has no memory for a declaration, everything waits; then it goes on. */
START_TEST(declaring_is_tried_again)
{
	static const int errors[] = { ENOMEM, EAGAIN, EINTR };

	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	declare_error = errors[_i];
	fault(1000);
	script_settle(base);
	script_expect_request(urgent, 1000, 1);
	script_send_pages(urgent, 1000, 1, SEED);
	script_settle(base);
	ck_assert_uint_eq(statistics->present, 0);
	/* Nothing is received any more, so nothing piles up. */
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 0, RUN);
	script_settle(base);
	ck_assert_uint_eq(statistics->zero_pages, 0);
	while (declare_calls < 3)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(failures, 0);
	/* A new connection has to wait, too. What is here already is not asked for again. */
	connect_pager(YAB_WIRE_URGENT);
	script_expect_silence(urgent);
	fault(1002);
	script_settle(base);
	script_expect_request(urgent, 1002, 1);
	script_send_pages(urgent, 1002, 1, SEED);
	script_settle(base);
	ck_assert_uint_eq(statistics->data_pages, 1);
	declare_error = 0;
	while (!statistics->present)
		event_base_loop(base, EVLOOP_ONCE);
	script_settle(base);
	ck_assert_uint_eq(statistics->present, 2 + RUN);
	ck_assert_uint_eq(statistics->duplicate_pages, 0);
	ck_assert_uint_eq(declared[0].page, 1000);
	expect_filled(1000, 1);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT] + lost[YAB_WIRE_BULK], 0);
}
END_TEST

START_TEST(declaring_fails)
{
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	declare_error = ENODEV;
	script_send_pages(bulk, 0, 10, SEED);
	script_settle(base);
	ck_assert_int_eq(failures, 1);
	ck_assert_str_eq(lost_text, "declaring pages: No such device");
	ck_assert(!yab_pager_has_connections(pager));
	ck_assert_uint_eq(statistics->present, 0);
	fault(5);
	script_settle(base);
	ck_assert_int_eq(failures, 1);
	ck_assert_int_eq(completions, 0);
}
END_TEST

START_TEST(torn_faults)
{
	script_send(kernel, "torn", 4);
	script_settle(base);
	ck_assert_int_eq(failures, 1);
}
END_TEST

START_TEST(absurd_fault)
{
	connect_pager(YAB_WIRE_URGENT);
	fault(PAGES);
	fault(UINT64_MAX);
	fault(3);
	script_settle(base);
	script_expect_request(urgent, 3, 1);
	script_expect_silence(urgent);
	ck_assert_int_eq(failures, 0);
}
END_TEST

/* The answer to a survey are holes; what was not looked at yet is asked about next. */
START_TEST(survey)
{
	connect_pager(YAB_WIRE_BULK);
	expect_survey(bulk, 0);
	for (uint64_t i = 0; i < WINDOW / RUN; i++)
		script_expect_request(bulk, i * RUN, RUN);
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 10, 20);
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 300, 200);
	script_settle(base);
	ck_assert_uint_eq(statistics->present, 220);
	script_expect_silence(bulk);
	script_send_header(bulk, YAB_WIRE_SURVEYED, 0, 0, 600);
	script_settle(base);
	expect_survey(bulk, 600);
	/* The pages that were on order come as ever; those that are holes are skipped. */
	script_send_pages(bulk, 0, 32, SEED);
	script_settle(base);
	script_send_pages(bulk, 32, 32, SEED);
	script_settle(base);
	ck_assert_uint_eq(statistics->duplicate_pages, 20);
	for (size_t i = 0; i < SCRIPT_PAGE; i++)
		ck_assert_uint_eq(script_at(&memory, 10)[i], 0);
	script_expect_request(bulk, WINDOW, 300 - WINDOW);
	/* A lost connection takes the survey along. */
	disconnect(&bulk);
	connect_pager(YAB_WIRE_BULK);
	expect_survey(bulk, 600);
}
END_TEST

/* More gaps than one declaration has ranges: a ZERO frame is taken in several. */
START_TEST(zero_frame_with_many_gaps)
{
	connect_pager(YAB_WIRE_URGENT);
	for (uint64_t page = 0; page < PAGES; page += 2) {
		fault(page);
		script_settle(base);
		script_expect_request(urgent, page, 1);
		script_send_header(urgent, YAB_WIRE_ZERO, 0, page, 1);
		script_settle(base);
	}
	ck_assert_uint_eq(statistics->present, PAGES / 2);
	declared_count = 0;
	declare_calls = 0;
	connect_pager(YAB_WIRE_BULK);
	expect_survey(bulk, 0);
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 0, PAGES);
	script_settle(base);
	ck_assert_uint_eq(declared_count, PAGES / 2);
	ck_assert_int_gt(declare_calls, 1);
	ck_assert_int_eq(completions, 1);
}
END_TEST

/* A worker before this one brought pages: they are not asked for again. */
START_TEST(goes_on_with_what_is_missing)
{
	replace_pager(PAGES - 10);
	ck_assert_int_eq(yab_pager_start(pager), 0);
	ck_assert_uint_eq(statistics->present, PAGES - 10);
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	expect_survey(bulk, 0);
	script_expect_request(bulk, PAGES - 10, 10);
	script_expect_silence(bulk);
	fault(5);
	script_settle(base);
	script_expect_silence(urgent);
	script_send_header(bulk, YAB_WIRE_SURVEYED, 0, 0, PAGES);
	script_send_pages(bulk, PAGES - 10, 10, SEED);
	script_settle(base);
	ck_assert_int_eq(completions, 1);
}
END_TEST

/* All of them, even: it is complete at once, and says so. */
START_TEST(has_nothing_left_to_do)
{
	replace_pager(PAGES);
	ck_assert_int_eq(completions, 0);
	ck_assert_int_eq(yab_pager_start(pager), 0);
	ck_assert_int_eq(completions, 1);
	ck_assert_uint_eq(statistics->present, PAGES);
}
END_TEST

/* Several bulk connections share the window, and what one loses another one asks for. */
START_TEST(several_bulk_connections)
{
	int ours[3], theirs;

	for (unsigned int i = 0; i < 3; i++) {
		script_pair(&ours[i], &theirs);
		ck_assert_int_eq(yab_pager_connect(pager, YAB_WIRE_BULK, 13 + i, theirs, NULL), 0);
	}
	script_settle(base);
	/* The first took all of the window; now the others have their turns. */
	expect_survey(ours[0], 0);
	for (uint64_t i = 0; i < WINDOW / RUN; i++)
		script_expect_request(ours[0], i * RUN, RUN);
	script_expect_silence(ours[1]);
	script_send_header(ours[0], YAB_WIRE_SURVEYED, 0, 0, PAGES);
	script_send_pages(ours[0], 0, 32, SEED);
	script_settle(base);
	script_send_pages(ours[0], 32, 32, SEED);
	script_settle(base);
	script_expect_request(ours[1], WINDOW, RUN);
	script_expect_silence(ours[2]);
	close(ours[0]);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_BULK], 1);
	script_expect_request(ours[2], WINDOW + RUN, RUN);
	script_expect_request(ours[1], WINDOW + 2 * RUN, RUN);
	script_expect_request(ours[2], WINDOW + 3 * RUN, RUN);
	script_expect_silence(ours[1]);
	script_expect_silence(ours[2]);
	close(ours[1]);
	close(ours[2]);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_BULK], 3);
	/* They come round again, and none is forgotten. */
	connect_pager(YAB_WIRE_BULK);
	while (statistics->present < PAGES) {
		struct yab_wire_header header;

		script_receive_header(bulk, YAB_WIRE_BULK, PAGES, &header);
		script_send_header(bulk, YAB_WIRE_ZERO, 0, header.page, header.count);
		script_settle(base);
	}
	ck_assert_uint_eq(statistics->duplicate_pages, 0);
	ck_assert_int_eq(yab_pager_connect(pager, YAB_WIRE_BULK, YAB_WIRE_BULKS_MAX,
					   dup(kernel), NULL), -1);
}
END_TEST

/* A limit stops the sweep and nobody who waits; without it the sweep goes on. */
START_TEST(bandwidth)
{
	yab_pager_limit(pager, 1);
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	/* The first window goes out before anything has been spent. */
	expect_window(0);
	script_send_pages(bulk, 0, 32, SEED);
	script_settle(base);
	script_send_pages(bulk, 32, 32, SEED);
	script_settle(base);
	script_expect_silence(bulk);
	fault(1000);
	script_settle(base);
	script_expect_request(urgent, 1000, 1);
	script_send_pages(urgent, 1000, 1, SEED);
	script_settle(base);
	ck_assert_uint_eq(statistics->urgent_pages, 1);
	yab_pager_limit(pager, 0);
	script_expect_request(bulk, 1001, RUN);
}
END_TEST

START_TEST(completion)
{
	connect_pager(YAB_WIRE_URGENT);
	connect_pager(YAB_WIRE_BULK);
	fault(3);
	script_settle(base);
	script_expect_request(urgent, 3, 1);
	while (statistics->present < PAGES) {
		struct yab_wire_header header;

		ck_assert_int_eq(completions, 0);
		script_receive_header(bulk, YAB_WIRE_BULK, PAGES, &header);
		script_send_header(bulk, YAB_WIRE_ZERO, 0, header.page, header.count);
		script_settle(base);
	}
	ck_assert_int_eq(completions, 1);
	ck_assert(yab_pager_is_complete(pager));
	/* The late copy is taken and thrown away, and the end is no loss. */
	memset(script_at(&memory, 3), GUEST, SCRIPT_PAGE);
	script_send_pages(urgent, 3, 1, SEED);
	script_settle(base);
	ck_assert_uint_eq(script_at(&memory, 3)[0], GUEST);
	ck_assert_uint_eq(statistics->duplicate_pages, 1);
	disconnect(&urgent);
	disconnect(&bulk);
	ck_assert_int_eq(lost[YAB_WIRE_URGENT] + lost[YAB_WIRE_BULK], 0);
	ck_assert_int_eq(completions, 1);
	ck_assert_uint_eq(statistics->urgent_pages + statistics->bulk_pages,
			  statistics->present + statistics->duplicate_pages);
}
END_TEST

/* As when there is no memory for a page: nothing of the frame is declared. */
START_TEST(memory_refuses_content)
{
	connect_pager(YAB_WIRE_BULK);
	expect_window(0);
	script_send_pages(bulk, 0, 4, SEED);
	script_settle(base);
	ck_assert_uint_eq(statistics->present, 4);
	ck_assert_int_eq(fcntl(memory.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	script_send_pages(bulk, 4, 4, SEED);
	script_settle(base);
	ck_assert_int_eq(lost[YAB_WIRE_BULK], 1);
	ck_assert_str_eq(lost_text, "Operation not permitted");
	ck_assert_int_eq(failures, 0);
	ck_assert_uint_eq(statistics->present, 4);
	ck_assert_uint_eq(declared_count, 1);
	ck_assert_uint_eq(declared[0].count, 4);
}
END_TEST

START_TEST(memory_not_writable)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory.fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_null(yab_pager_new(base, "test", fd, -1, PAGES, NULL, &ops, &lost));
	ck_assert_int_eq(errno, EACCES);
	close(fd);
}
END_TEST

START_TEST(memory_too_short)
{
	ck_assert_ptr_null(yab_pager_new(base, "test", memory.fd, -1, PAGES + 1, NULL, &ops,
					 &lost));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(yab_pager_new(base, "test", memory.fd, -1, UINT64_MAX, NULL, &ops,
					 &lost));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(yab_pager_new(base, "test", memory.fd, -1, PAGES, "no", &ops,
					 &lost));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pager");
	TCase *tcase = tcase_create("pager");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, sweeps_when_told);
	tcase_add_test(tcase, urgent_while_bulk_is_stuck);
	tcase_add_test(tcase, asked_in_bulk_is_asked_again);
	tcase_add_loop_test(tcase, late_copy_does_not_clobber, 0, 15);
	tcase_add_test(tcase, late_urgent_copy_does_not_clobber);
	tcase_add_test(tcase, late_zero_does_not_clobber);
	tcase_add_loop_test(tcase, declared_when_whole, 0, 6);
	tcase_add_test(tcase, declared_in_batches);
	tcase_add_test(tcase, window_moves_on);
	tcase_add_test(tcase, sweep_follows_faults);
	tcase_add_test(tcase, prefetch_is_counted);
	tcase_add_test(tcase, hints_come_first);
	tcase_add_test(tcase, neighbours_are_asked_together);
	tcase_add_test(tcase, faults_before_connections);
	tcase_add_test(tcase, more_faults_than_requests);
	tcase_add_test(tcase, without_urgent_faults_go_in_bulk);
	tcase_add_loop_test(tcase, hostile_source, 0, 18);
	tcase_add_loop_test(tcase, pack, 0, 4);
	tcase_add_loop_test(tcase, hostile_pack, 0, 20);
	tcase_add_test(tcase, hostile_source_repeats);
	tcase_add_test(tcase, error_is_passed_on);
	tcase_add_loop_test(tcase, lost_in_mid_page, 0, 4);
	tcase_add_test(tcase, zero_over_half_a_page);
	tcase_add_loop_test(tcase, declaring_is_tried_again, 0, 3);
	tcase_add_test(tcase, declaring_fails);
	tcase_add_test(tcase, torn_faults);
	tcase_add_test(tcase, absurd_fault);
	tcase_add_test(tcase, survey);
	tcase_add_test(tcase, zero_frame_with_many_gaps);
	tcase_add_test(tcase, goes_on_with_what_is_missing);
	tcase_add_test(tcase, has_nothing_left_to_do);
	tcase_add_test(tcase, several_bulk_connections);
	tcase_add_test(tcase, bandwidth);
	tcase_add_test(tcase, completion);
	tcase_add_test(tcase, memory_refuses_content);
	tcase_add_test(tcase, memory_not_writable);
	tcase_add_test(tcase, memory_too_short);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
