// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Are the pages that the destination has the source's? Both workers against each other, with
 * memory that does not keep what is written to it, then the destination against a source that
 * is played word for word.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../daemon/backing_file.h"
#include "../../daemon/backing_process.h"
#include "../../daemon/checksum.h"
#include "../../daemon/memory.h"
#include "../../daemon/pager.h"
#include "../../daemon/socket.h"
#include "../../daemon/source.h"
#include "../../daemon/window.h"
#include "script.h"

#define CHUNK		((uint64_t)YAB_WIRE_CHUNK_PAGES)
/* Eight chunks and a short one. */
#define PAGES		(8 * CHUNK + 100)
#define CHUNKS		9
#define SEED		1
#define GUEST		2
/* In the fourth chunk, with content. */
#define SPOILED		(3 * CHUNK + 256)

static struct script_memory here, there;	/* source's, destination's */
static uint64_t pages;
static struct event_base *base;
static struct yab_source *source;
static struct yab_pager *pager;
static const struct yab_store_statistics *statistics;
static int checksums_fd;
static int kernel, pager_fd;
static int completions, losses;
static uint64_t state;
static uint64_t declared;
static uint64_t present[16 * CHUNK / 64];	/* by page, as the kernel has it */
static int holds[2] = { -1, -1 };		/* what the test breaks: urgent, bulk */
static int breaks_left;
static unsigned int declarations_left;		/* until they are refused */
static bool refuses;
static bool reconnects;

/* What is written to the page SPOILED of the destination's memory file. */
static enum { KEPT, FLIPPED, LOST } spoiling;

typeof(yab_memory_write) __real_yab_memory_write, __wrap_yab_memory_write;

int __wrap_yab_memory_write(int fd, const void *bytes, size_t size, uint64_t at)
{
	const uint64_t spoiled = SPOILED * SCRIPT_PAGE + 1234;
	const int result = __real_yab_memory_write(fd, bytes, size, at);

	if (result || fd != there.fd || spoiled < at || spoiled >= at + size)
		return result;
	if (spoiling == FLIPPED)
		script_at(&there, 0)[spoiled] ^= 0x10;
	else if (spoiling == LOST)
		return yab_memory_punch(fd, SPOILED, 1);
	return result;
}

static bool has_content(uint64_t page)
{
	return page % 8 < 5;
}

static int on_declare(int fd, struct yab_range *ranges, size_t count)
{
	ck_assert_int_eq(fd, pager_fd);
	if (refuses && !declarations_left) {
		event_base_loopbreak(base);
		errno = EAGAIN;
		return -1;
	}
	if (refuses)
		declarations_left--;
	for (size_t i = 0; i < count; i++) {
		declared += ranges[i].count;
		for (uint64_t j = 0; j < ranges[i].count; j++) {
			const uint64_t page = ranges[i].page + j;

			present[page / 64] |= 1ULL << page % 64;
			/* The guest writes to it at once. */
			script_fill(script_at(&there, page), page, GUEST);
		}
	}
	if (breaks_left && script_random(&state) % 16 == 0) {
		breaks_left--;
		shutdown(holds[script_random(&state) % 2], SHUT_RDWR);
	}
	return 0;
}

static int on_declare_only(int fd, struct yab_range *ranges, size_t count)
{
	ck_assert_int_eq(fd, pager_fd);
	for (size_t i = 0; i < count; i++)
		declared += ranges[i].count;
	return 0;
}

static int on_present(int fd, uint64_t page, uint64_t count, uint64_t *bits)
{
	ck_assert_int_eq(fd, pager_fd);
	memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
	if (pages == PAGES)
		memcpy(bits, present + page / 64, (count + 63) / 64 * sizeof(*bits));
	return 0;
}

static void connect_both(enum yab_wire_role role)
{
	int *hold = &holds[role == YAB_WIRE_BULK];
	int ours, theirs;

	script_pair(&ours, &theirs);
	if (*hold >= 0)
		close(*hold);
	*hold = dup(ours);
	ck_assert_int_eq(yab_source_connect(source, role, 0, theirs, NULL), 0);
	ck_assert_int_eq(yab_pager_connect(pager, role, 0, ours, NULL), 0);
}

static void on_source_lost(enum yab_wire_role role, unsigned int index, const char *error,
			   void *arg)
{
	(void)role;
	(void)index;
	(void)error;
	(void)arg;
}

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	(void)index;
	(void)error;
	(void)arg;
	losses++;
	if (reconnects)
		connect_both(role);
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

static const struct yab_pager_ops large_ops = {
	.declare = on_declare_only,
	.present = on_present,
	.lost = on_lost,
	.complete = on_complete,
	.failed = on_failed,
};

static void make_memories(uint64_t count)
{
	pages = count;
	script_memory_make(&here, pages);
	script_memory_make(&there, pages);
	checksums_fd = yab_checksums_make("test", pages);
	ck_assert_int_ge(checksums_fd, 0);
	base = script_base();
	script_pair(&kernel, &pager_fd);
	ck_assert_int_eq(evutil_make_socket_nonblocking(pager_fd), 0);
	reconnects = true;
}

static void make_source(struct yab_backing *backing)
{
	source = yab_source_new(base, "test", backing, on_source_lost, NULL);
	ck_assert_ptr_nonnull(source);
}

static void setup(void)
{
	make_memories(PAGES);
	for (uint64_t page = 0; page < PAGES; page++) {
		if (has_content(page))
			script_fill(script_at(&here, page), page, SEED);
		else if (page % 8 == 5)
			memset(script_at(&here, page), 0, SCRIPT_PAGE);
	}
	make_source(yab_backing_memory(here.fd, PAGES));
}

/* It is 256 MiB and a short chunk, nearly all holes: more than are asked for at once. */
static void setup_large(void)
{
	make_memories(5ULL * YAB_WIRE_SUMS_MAX * CHUNK + 1);
	for (uint64_t page = 0; page < pages; page += CHUNK)
		script_fill(script_at(&here, page), page, SEED);
	make_source(yab_backing_memory(here.fd, pages));
}

static void teardown(void)
{
	yab_pager_free(pager);
	yab_source_free(source);
	event_base_free(base);
	script_memory_drop(&here);
	script_memory_drop(&there);
	close(checksums_fd);
	close(kernel);
	close(pager_fd);
	for (int i = 0; i < 2; i++)
		if (holds[i] >= 0)
			close(holds[i]);
}

static void make_pager_of(const struct yab_pager_ops *with)
{
	pager = yab_pager_new(base, "test", there.fd, pager_fd, pages, NULL, with, NULL);
	ck_assert_ptr_nonnull(pager);
	statistics = yab_pager_statistics(pager);
	ck_assert_int_eq(yab_pager_verify(pager, checksums_fd), 0);
}

static void start_pager(void)
{
	ck_assert_int_eq(yab_pager_start(pager), 0);
	connect_both(YAB_WIRE_URGENT);
	connect_both(YAB_WIRE_BULK);
	yab_source_serve(source);
}

static void make_pager(enum yab_codec_kind codec)
{
	make_pager_of(&ops);
	ck_assert_int_eq(yab_source_pack(source, codec), 0);
	ck_assert_int_eq(yab_pager_unpack(pager, codec), 0);
	start_pager();
}

static void expect_found(uint64_t verified, uint64_t unverifiable, uint64_t different)
{
	ck_assert_int_eq(completions, 1);
	ck_assert_uint_eq(statistics->present, pages);
	ck_assert_uint_eq(statistics->verified_chunks, verified);
	ck_assert_uint_eq(statistics->unverifiable_chunks, unverifiable);
	ck_assert_uint_eq(statistics->different_chunks, different);
}

/* As it should be, packed or not, while the guest writes to whatever comes. */
START_TEST(all_the_same)
{
	make_pager(_i);
	event_base_dispatch(base);
	expect_found(CHUNKS, 0, 0);
	ck_assert_uint_eq(statistics->different_page, 0);
	ck_assert_uint_eq(declared, PAGES);
}
END_TEST

/* The source's memory may be elsewhere. */
START_TEST(other_backings)
{
	const struct yab_backing_span span = { (uint64_t)(uintptr_t)here.bytes,
					       PAGES * SCRIPT_PAGE, 0 };
	int pidfd = -1;

	yab_source_free(source);
	if (_i) {
		pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
		ck_assert_int_ge(pidfd, 0);
		make_source(yab_backing_process(pidfd, &span, 1, PAGES));
	} else {
		make_source(yab_backing_image(here.fd, PAGES));
	}
	make_pager(YAB_CODEC_NONE);
	event_base_dispatch(base);
	expect_found(CHUNKS, 0, 0);
	if (pidfd >= 0)
		close(pidfd);
}
END_TEST

START_TEST(broken_connections)
{
	state = 300 + (uint64_t)_i;
	breaks_left = 40;
	make_pager(_i % YAB_CODEC_KINDS);
	event_base_dispatch(base);
	expect_found(CHUNKS, 0, 0);
	ck_assert_int_gt(losses, 1);
}
END_TEST

/* One page of the destination is not what was written to it. */
START_TEST(spoiled_page)
{
	spoiling = _i % 2 ? LOST : FLIPPED;
	make_pager(_i / 2);
	event_base_dispatch(base);
	expect_found(CHUNKS - 1, 0, 1);
	ck_assert_uint_eq(statistics->different_page, SPOILED / CHUNK * CHUNK);
}
END_TEST

/*
 * A worker ends in the middle, perhaps between adding pages and declaring them: what is not sure
 * is said not to be, and nothing is different.
 */
START_TEST(replaced_workers)
{
	uint64_t before;

	for (int i = 0; i < 3; i++) {
		refuses = true;
		declarations_left = 5;
		before = declared;
		make_pager(YAB_CODEC_NONE);
		event_base_dispatch(base);
		ck_assert_uint_gt(declared, before);
		ck_assert_uint_lt(declared, PAGES);
		yab_pager_free(pager);
	}
	refuses = false;
	make_pager(YAB_CODEC_NONE);
	event_base_dispatch(base);
	expect_found(CHUNKS - statistics->unverifiable_chunks, statistics->unverifiable_chunks, 0);
	ck_assert_uint_gt(statistics->unverifiable_chunks, 0);
	ck_assert_uint_lt(statistics->unverifiable_chunks, CHUNKS);
	ck_assert_uint_eq(declared, PAGES);
}
END_TEST

/* One that ends when all was declared leaves no doubt. */
START_TEST(replaced_at_the_end)
{
	make_pager(YAB_CODEC_NONE);
	while (declared < PAGES)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(completions, 0);
	yab_pager_free(pager);
	make_pager(YAB_CODEC_NONE);
	event_base_dispatch(base);
	expect_found(CHUNKS, 0, 0);
}
END_TEST

/* Pages that were there before the first worker. */
START_TEST(present_before)
{
	present[2 * CHUNK / 64] = 1;
	make_pager(YAB_CODEC_NONE);
	event_base_dispatch(base);
	expect_found(CHUNKS - 1, 1, 0);
}
END_TEST

/* Every chunk is counted once, whenever the connection breaks. */
START_TEST(large)
{
	make_pager_of(&large_ops);
	start_pager();
	while (!completions) {
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
		if (declared == pages && losses < _i && script_random(&state) % 4 == 0)
			shutdown(holds[1], SHUT_RDWR);
	}
	expect_found(yab_wire_chunks(pages), 0, 0);
	ck_assert_int_eq(losses, _i);
}
END_TEST

/* Pages that the source can send, but not read again. */
static uint64_t unreadable[3];
static size_t unreadable_count;
static struct yab_backing_ops failing_ops;
static int (*read_backing)(struct yab_backing *backing, uint8_t *bytes, uint64_t at, size_t size);

static int read_what_is_left(struct yab_backing *backing, uint8_t *bytes, uint64_t at, size_t size)
{
	for (size_t i = 0; declared == pages && i < unreadable_count; i++) {
		if (unreadable[i] * SCRIPT_PAGE >= at && unreadable[i] * SCRIPT_PAGE < at + size) {
			errno = EIO;
			return -1;
		}
	}
	return read_backing(backing, bytes, at, size);
}

static void make_failing_source(void)
{
	struct yab_backing *backing = yab_backing_memory(here.fd, pages);

	yab_source_free(source);
	read_backing = backing->ops->read;
	failing_ops = *backing->ops;
	failing_ops.read = read_what_is_left;
	backing->ops = &failing_ops;
	make_source(backing);
	unreadable_count = 0;
}

/*
 * Chunks that cannot be read at the source any more cost some connections, and are the only
 * ones that are given up: the first of a question, one in the middle, the last of all.
 */
START_TEST(unreadable_pages)
{
	static const int losses_of[] = { 3 + 3, 3 + 3 + 3, 3 + 3 + 3 + 3 + 3 };

	make_failing_source();
	unreadable[0] = YAB_WIRE_SUMS_MAX * CHUNK;
	unreadable[1] = (YAB_WIRE_SUMS_MAX + 7) * CHUNK;
	unreadable[2] = pages - 1;
	unreadable_count = (size_t)_i + 1;
	make_pager_of(&large_ops);
	start_pager();
	while (!completions && losses < 100)
		ck_assert_int_eq(event_base_loop(base, EVLOOP_ONCE), 0);
	expect_found(yab_wire_chunks(pages) - unreadable_count, unreadable_count, 0);
	ck_assert_int_eq(losses, losses_of[_i]);
}
END_TEST

/* --- the destination against a source that is played ---------------------------------- */

static int bulk = -1, urgent = -1;
static int bulk_theirs;		/* the pager's end, for as long as it has it */

static void connect_pager(enum yab_wire_role role)
{
	int *ours = role == YAB_WIRE_BULK ? &bulk : &urgent;
	int theirs;

	if (*ours >= 0)
		close(*ours);
	script_pair(ours, &theirs);
	if (role == YAB_WIRE_BULK)
		bulk_theirs = theirs;
	ck_assert_int_eq(yab_pager_connect(pager, role, 0, theirs, NULL), 0);
	script_settle(base);
}

static void expect_frame(int fd, enum yab_wire_type type, uint64_t page, uint64_t count)
{
	struct yab_wire_header header;

	script_receive_header(fd, YAB_WIRE_BULK, PAGES, &header);
	ck_assert_uint_eq(header.type, type);
	ck_assert_uint_eq(header.page, page);
	ck_assert_uint_eq(header.count, count);
}

/* The source has nothing but holes, and says so. */
static void fill_pager(void)
{
	reconnects = false;
	make_pager_of(&ops);
	ck_assert_int_eq(yab_pager_start(pager), 0);
	yab_pager_sweep(pager, false);
	connect_pager(YAB_WIRE_BULK);
	yab_pager_sweep(pager, true);
	script_settle(base);
	expect_frame(bulk, YAB_WIRE_SURVEY, 0, PAGES);
	while (script_waiting(bulk))
		script_receive(bulk, &(uint8_t){ 0 }, 1);
}

static void tell_holes(void)
{
	script_send_header(bulk, YAB_WIRE_ZERO, 0, 0, PAGES);
	script_settle(base);
	ck_assert_uint_eq(declared, PAGES);
}

static void teardown_played(void)
{
	teardown();
	close(bulk);
	if (urgent >= 0)
		close(urgent);
}

static const uint8_t zeros[YAB_WIRE_SUMS_MAX * YAB_WIRE_SUM_SIZE];

static void answer(int fd)
{
	expect_frame(fd, YAB_WIRE_SUM, 0, PAGES);
	script_expect_silence(fd);
	ck_assert_int_eq(completions, 0);
	script_send_header(fd, YAB_WIRE_SUMMED, CHUNKS * YAB_WIRE_SUM_SIZE, 0, PAGES);
	script_send(fd, zeros, CHUNKS * YAB_WIRE_SUM_SIZE);
	script_settle(base);
}

/* Nothing is asked before everything is there, then all of it; also without a bulk connection. */
START_TEST(asks_at_the_end)
{
	fill_pager();
	ck_assert_uint_eq(declared, 0);
	ck_assert(!yab_pager_is_complete(pager));
	tell_holes();
	ck_assert(yab_pager_is_complete(pager));
	/* The oldest question comes first; what is told again is thrown away. */
	script_send_header(bulk, YAB_WIRE_SURVEYED, 0, 0, PAGES);
	for (uint64_t page = 0; page < YAB_WINDOW_FIRST; page += 16)
		script_send_header(bulk, YAB_WIRE_ZERO, 0, page, 16);
	script_settle(base);
	ck_assert_int_eq(losses, 0);
	if (_i) {
		connect_pager(YAB_WIRE_URGENT);
		close(bulk);
		bulk = -1;
		script_settle(base);
		ck_assert_int_eq(losses, 1);
		answer(urgent);
	} else {
		answer(bulk);
	}
	expect_found(CHUNKS, 0, 0);
	script_expect_silence(_i ? urgent : bulk);
}
END_TEST

START_TEST(answer_in_pieces)
{
	uint8_t bytes[YAB_WIRE_HEADER_SIZE + CHUNKS * YAB_WIRE_SUM_SIZE] = { 0 };
	const struct yab_wire_header header = {
		.type = YAB_WIRE_SUMMED,
		.length = CHUNKS * YAB_WIRE_SUM_SIZE,
		.count = PAGES,
	};

	fill_pager();
	tell_holes();
	connect_pager(YAB_WIRE_BULK);
	expect_frame(bulk, YAB_WIRE_SUM, 0, PAGES);
	yab_wire_header_encode(bytes, &header);
	bytes[sizeof(bytes) - 1] = 1;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		ck_assert_int_eq(completions, 0);
		script_send(bulk, bytes + i, 1);
		script_settle(base);
	}
	expect_found(CHUNKS - 1, 0, 1);
	ck_assert_uint_eq(statistics->different_page, (CHUNKS - 1) * CHUNK);
}
END_TEST

/* Answers that are none cost the connection, and the question is asked again on the next one. */
START_TEST(bad_answers)
{
	static const struct {
		uint16_t type;
		uint32_t length;
		uint64_t page, count;
	} cases[] = {
		{ YAB_WIRE_SUMMED, (CHUNKS - 1) * YAB_WIRE_SUM_SIZE, 0, PAGES },
		{ YAB_WIRE_SUMMED, (CHUNKS + 1) * YAB_WIRE_SUM_SIZE, 0, PAGES },
		{ YAB_WIRE_SUMMED, 0, 0, PAGES },
		{ YAB_WIRE_SUMMED, UINT32_MAX, 0, PAGES },
		{ YAB_WIRE_SUMMED, YAB_WIRE_SUM_SIZE, 0, CHUNK },
		{ YAB_WIRE_SUMMED, (CHUNKS - 1) * YAB_WIRE_SUM_SIZE, CHUNK, PAGES - CHUNK },
		{ YAB_WIRE_SUMMED, CHUNKS * YAB_WIRE_SUM_SIZE, 1, PAGES - 1 },
		{ YAB_WIRE_SUM, 0, 0, PAGES },
		{ YAB_WIRE_ZERO, 0, 0, PAGES },
		{ YAB_WIRE_ZERO, 0, 0, 1 },
		{ YAB_WIRE_PAGES, SCRIPT_PAGE, 0, 1 },
		{ YAB_WIRE_SURVEYED, 0, 0, PAGES },
	};

	fill_pager();
	tell_holes();
	connect_pager(YAB_WIRE_BULK);
	expect_frame(bulk, YAB_WIRE_SUM, 0, PAGES);
	script_send_header(bulk, cases[_i].type, cases[_i].length, cases[_i].page,
			   cases[_i].count);
	script_settle(base);
	script_expect_refusal(bulk);
	ck_assert_int_eq(losses, 1);
	connect_pager(YAB_WIRE_BULK);
	answer(bulk);
	expect_found(CHUNKS, 0, 0);
}
END_TEST

static void hang_up(int *fd)
{
	close(*fd);
	*fd = -1;
	script_settle(base);
}

static void answer_chunk(int fd, uint64_t chunk, uint64_t count)
{
	expect_frame(fd, YAB_WIRE_SUM, chunk * CHUNK, count);
	script_expect_silence(fd);
	script_send_header(fd, YAB_WIRE_SUMMED, YAB_WIRE_SUM_SIZE, chunk * CHUNK, count);
	script_send(fd, zeros, YAB_WIRE_SUM_SIZE);
	script_settle(base);
}

/* The connection is lost over a question, @times times. */
static void lose_questions(int times, uint64_t page, uint64_t count)
{
	while (times--) {
		if (bulk < 0)
			connect_pager(YAB_WIRE_BULK);
		expect_frame(bulk, YAB_WIRE_SUM, page, count);
		script_expect_silence(bulk);
		hang_up(&bulk);
	}
}

/* First the question becomes smaller, then a chunk is given up; what is answered counts anew. */
START_TEST(smaller_questions)
{
	fill_pager();
	tell_holes();
	lose_questions(3, 0, PAGES);
	lose_questions(2, 0, CHUNK);
	connect_pager(YAB_WIRE_BULK);
	answer_chunk(bulk, 0, CHUNK);
	lose_questions(3, CHUNK, CHUNK);
	connect_pager(YAB_WIRE_BULK);
	for (uint64_t chunk = 2; chunk < CHUNKS - 1; chunk++)
		answer_chunk(bulk, chunk, CHUNK);
	ck_assert_int_eq(completions, 0);
	if (_i) {
		lose_questions(2, 8 * CHUNK, 100);
		connect_pager(YAB_WIRE_BULK);
		expect_frame(bulk, YAB_WIRE_SUM, 8 * CHUNK, 100);
		/* The end of the connection is not seen before the next one replaces it. */
		connect_pager(YAB_WIRE_BULK);
		expect_found(CHUNKS - 2, 2, 0);
	} else {
		answer_chunk(bulk, CHUNKS - 1, 100);
		expect_found(CHUNKS - 1, 1, 0);
	}
}
END_TEST

/* A network that goes takes all connections: however many they are, that is one loss. */
START_TEST(all_connections_lost)
{
	fill_pager();
	connect_pager(YAB_WIRE_URGENT);
	tell_holes();
	for (int losses_left = 5; losses_left; losses_left--) {
		expect_frame(bulk, YAB_WIRE_SUM, 0, losses_left > 2 ? PAGES : CHUNK);
		hang_up(&bulk);
		expect_frame(urgent, YAB_WIRE_SUM, 0, losses_left > 3 ? PAGES : CHUNK);
		hang_up(&urgent);
		connect_pager(YAB_WIRE_BULK);
		if (losses_left > 1)
			connect_pager(YAB_WIRE_URGENT);
	}
	for (uint64_t chunk = 0; chunk < CHUNKS - 1; chunk++)
		answer_chunk(bulk, chunk, CHUNK);
	answer_chunk(bulk, CHUNKS - 1, 100);
	expect_found(CHUNKS, 0, 0);
}
END_TEST

/* Nothing that is written to @fd arrives any more, and who writes is told. */
static void refuse_input(int fd)
{
	ck_assert_int_eq(shutdown(fd, SHUT_RD), 0);
}

/* The connection that was to be asked is lost over the question: another one is asked. */
START_TEST(lost_while_asking)
{
	fill_pager();
	connect_pager(YAB_WIRE_URGENT);
	refuse_input(bulk);
	tell_holes();
	ck_assert_int_eq(losses, 1);
	answer(urgent);
	expect_found(CHUNKS, 0, 0);
}
END_TEST

/* The same when it had no room for the question at first. */
START_TEST(lost_while_waiting_for_room)
{
	static uint8_t bytes[65536];
	int full;

	fill_pager();
	connect_pager(YAB_WIRE_URGENT);
	full = dup(bulk_theirs);
	while (send(full, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	ck_assert_int_eq(errno, EAGAIN);
	tell_holes();
	ck_assert_int_eq(losses, 0);
	while (script_waiting(bulk))
		ck_assert_int_gt(recv(bulk, bytes, sizeof(bytes), 0), 0);
	refuse_input(bulk);
	script_settle(base);
	ck_assert_int_eq(losses, 1);
	answer(urgent);
	expect_found(CHUNKS, 0, 0);
	close(full);
}
END_TEST

/* Twice, or before anybody asked. */
START_TEST(answers_to_nothing)
{
	fill_pager();
	if (_i) {
		tell_holes();
		connect_pager(YAB_WIRE_BULK);
		answer(bulk);
		expect_found(CHUNKS, 0, 0);
	}
	script_send_header(bulk, YAB_WIRE_SUMMED, CHUNKS * YAB_WIRE_SUM_SIZE, 0, PAGES);
	script_send(bulk, zeros, CHUNKS * YAB_WIRE_SUM_SIZE);
	script_settle(base);
	script_expect_refusal(bulk);
	ck_assert_int_eq(completions, _i);
	ck_assert_uint_eq(statistics->verified_chunks, _i ? CHUNKS : 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("verification");
	TCase *tcase = tcase_create("verification");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, all_the_same, 0, YAB_CODEC_KINDS);
	tcase_add_loop_test(tcase, other_backings, 0, 2);
	tcase_add_loop_test(tcase, broken_connections, 0, 6);
	tcase_add_loop_test(tcase, spoiled_page, 0, 2 * YAB_CODEC_KINDS);
	tcase_add_test(tcase, replaced_workers);
	tcase_add_test(tcase, replaced_at_the_end);
	tcase_add_test(tcase, present_before);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("large");
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup_large, teardown);
	tcase_add_loop_test(tcase, large, 0, 4);
	tcase_add_loop_test(tcase, unreadable_pages, 0, 3);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("played");
	tcase_add_checked_fixture(tcase, setup, teardown_played);
	tcase_add_loop_test(tcase, asks_at_the_end, 0, 2);
	tcase_add_test(tcase, answer_in_pieces);
	tcase_add_loop_test(tcase, bad_answers, 0, 12);
	tcase_add_loop_test(tcase, smaller_questions, 0, 2);
	tcase_add_test(tcase, all_connections_lost);
	tcase_add_test(tcase, lost_while_asking);
	tcase_add_test(tcase, lost_while_waiting_for_room);
	tcase_add_loop_test(tcase, answers_to_nothing, 0, 2);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
