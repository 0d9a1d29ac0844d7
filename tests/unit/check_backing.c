// SPDX-License-Identifier: GPL-2.0-or-later
/* The kinds of memory that a source reads: each tells the same of the same pages. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/backing_file.h"
#include "../../daemon/backing_process.h"
#include "../../daemon/source.h"
#include "script.h"

#define PAGES	1024
#define SEED	1
#define PATTERN	512	/* pages from here on are data, but for one hole */
#define HOLE	600
#define HOLE_END	700

enum kind { MEMORY, IMAGE, PROCESS, KINDS };
enum content { DATA, ZEROED, ABSENT };

static const enum content pattern[] = { DATA, DATA, ZEROED, ABSENT, ABSENT, ABSENT, DATA, DATA };

static enum kind kind;
static int fd = -1;
static pid_t child;
static uint8_t *private;
static struct yab_backing *backing;

static enum content content_of(uint64_t page)
{
	if (page >= HOLE && page < HOLE_END)
		return ABSENT;
	return page < PATTERN ? pattern[page % 8] : DATA;
}

static void make_file(void)
{
	uint8_t bytes[SCRIPT_PAGE];

	ck_assert_int_eq(ftruncate(fd, PAGES * SCRIPT_PAGE), 0);
	for (uint64_t page = 0; page < PAGES; page++) {
		if (content_of(page) == ABSENT)
			continue;
		memset(bytes, 0, sizeof(bytes));
		if (content_of(page) == DATA)
			script_fill(bytes, page, SEED);
		ck_assert_int_eq(pwrite(fd, bytes, sizeof(bytes), (off_t)(page * SCRIPT_PAGE)),
				 SCRIPT_PAGE);
	}
}

/*
 * A child with private memory that it alone has, in two parts that lie apart and in the
 * order that the addresses do not have.
 */
static struct yab_backing *make_process(void)
{
	struct yab_backing_span spans[2];
	int pair[2];
	char byte;

	private = mmap(NULL, (PAGES + 64) * SCRIPT_PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(private, MAP_FAILED);
	/* A huge page would be there wherever a part of it was touched. */
	madvise(private, (PAGES + 64) * SCRIPT_PAGE, MADV_NOHUGEPAGE);
	ck_assert_int_eq(pipe(pair), 0);
	child = fork();
	if (!child) {
		for (uint64_t page = 0; page < PAGES; page++) {
			uint8_t *at = private + (page < PAGES / 2 ? page + PAGES / 2 + 64 :
						 page - PAGES / 2) * SCRIPT_PAGE;

			if (content_of(page) == DATA)
				script_fill(at, page, SEED);
			else if (content_of(page) == ZEROED)
				memset(at, 0, SCRIPT_PAGE);
		}
		if (write(pair[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	ck_assert_int_eq(read(pair[0], &byte, 1), 1);
	close(pair[0]);
	close(pair[1]);
	fd = (int)syscall(SYS_pidfd_open, child, 0);
	ck_assert_int_ge(fd, 0);
	spans[0] = (struct yab_backing_span){
		(uintptr_t)private + (PAGES / 2 + 64) * SCRIPT_PAGE, PAGES / 2 * SCRIPT_PAGE, 0 };
	spans[1] = (struct yab_backing_span){
		(uintptr_t)private, PAGES / 2 * SCRIPT_PAGE, PAGES / 2 };
	return yab_backing_process(fd, spans, 2, PAGES);
}

static void make(enum kind of)
{
	char path[] = "check_backing.XXXXXX";

	kind = of;
	if (kind == PROCESS) {
		backing = make_process();
	} else {
		fd = kind == MEMORY ? memfd_create("check", MFD_CLOEXEC) : mkstemp(path);
		ck_assert_int_ge(fd, 0);
		if (kind == IMAGE)
			unlink(path);
		make_file();
		backing = kind == MEMORY ? yab_backing_memory(fd, PAGES) :
					   yab_backing_image(fd, PAGES);
	}
	ck_assert_ptr_nonnull(backing);
}

static void end_child(void)
{
	if (child <= 0)
		return;
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	child = 0;
}

static void teardown(void)
{
	yab_backing_free(backing);
	backing = NULL;
	end_child();
	if (fd >= 0)
		close(fd);
	fd = -1;
	if (private)
		munmap(private, (PAGES + 64) * SCRIPT_PAGE);
	private = NULL;
}

/* Runs cover all pages, each of one kind, none longer than asked for; bytes are right. */
START_TEST(runs)
{
	static const uint64_t counts[] = { 1, 3, 64, 256 };
	struct yab_backing_view view = { 0 };
	const uint64_t count = counts[_i / KINDS];
	uint64_t run;
	bool zero;

	make(_i % KINDS);
	for (uint64_t page = 0; page < PAGES; page += run) {
		const uint64_t most = count < PAGES - page ? count : PAGES - page;

		ck_assert_int_eq(yab_backing_run(backing, &view, page, most, 20, &zero, &run), 0);
		ck_assert_uint_ge(run, 1);
		ck_assert_uint_le(run, zero ? most : 20);
		for (uint64_t i = 0; i < run; i++) {
			const uint8_t *bytes = yab_backing_bytes(backing, (page + i) * SCRIPT_PAGE,
								 SCRIPT_PAGE);

			ck_assert_msg(zero == (content_of(page + i) != DATA), "page %llu",
				      (unsigned long long)(page + i));
			ck_assert_ptr_nonnull(bytes);
			if (!zero)
				ck_assert(script_is_filled(bytes, page + i, SEED));
		}
	}
}
END_TEST

/* A read over the border of two spans, and of any alignment. */
START_TEST(bytes)
{
	uint8_t want[YAB_BACKING_BLOCK];
	const uint64_t first = PAGES / 2 - 2;
	const uint8_t *got;

	make(_i);
	for (uint64_t i = 0; i < 4; i++) {
		memset(want + i * SCRIPT_PAGE, 0, SCRIPT_PAGE);
		if (content_of(first + i) == DATA)
			script_fill(want + i * SCRIPT_PAGE, first + i, SEED);
	}
	got = yab_backing_bytes(backing, first * SCRIPT_PAGE + 1000, 3 * SCRIPT_PAGE);
	ck_assert_ptr_nonnull(got);
	ck_assert_mem_eq(got, want + 1000, 3 * SCRIPT_PAGE);
}
END_TEST

/* Large holes are found without reading, and nothing else is called one. */
START_TEST(survey)
{
	uint64_t page = PATTERN, hole_end, found = 0;

	make(_i);
	while (page < PAGES) {
		ck_assert_int_eq(yab_backing_seek_hole(backing, &page, PAGES, 16, &hole_end), 0);
		for (; page < hole_end; page++, found++)
			ck_assert_int_eq(content_of(page), ABSENT);
	}
	/* Not every file system tells, nor every kernel everybody. */
	if (kind == MEMORY || found)
		ck_assert_uint_eq(found, HOLE_END - HOLE);
}
END_TEST

static struct event_base *base;
static int lost;
static char lost_text[YAB_SOCKET_TEXT_SIZE];

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	(void)role;
	(void)index;
	(void)arg;
	lost++;
	snprintf(lost_text, sizeof(lost_text), "%s", error);
}

static void take_memory_away(void)
{
	if (kind == PROCESS)
		end_child();
	else
		ck_assert_int_eq(ftruncate(fd, PATTERN * SCRIPT_PAGE), 0);
}

/*
 * The memory goes away while it is served. What is lost is data, a hole, or is being
 * surveyed: none of it is answered, least of all with zeros, and nobody dies of it.
 */
START_TEST(taken_away)
{
	static const char *const reasons[] = {
		[MEMORY] = "memory file was truncated", [IMAGE] = "image was truncated",
		[PROCESS] = "is gone",
	};
	static const struct yab_wire_header asked[] = {
		{ YAB_WIRE_REQUEST, 0, 0, PATTERN + 32, 4 },
		{ YAB_WIRE_REQUEST, 0, 0, HOLE + 10, 4 },
		{ YAB_WIRE_SURVEY, 0, 0, PATTERN, PAGES - PATTERN },
	};
	const struct yab_wire_header *header = &asked[_i / KINDS];
	static uint8_t got[16 * SCRIPT_PAGE];
	struct yab_source *source;
	int ours, theirs;

	make(_i % KINDS);
	base = script_base();
	source = yab_source_new(base, "test", backing, on_lost, NULL);
	backing = NULL;
	ck_assert_ptr_nonnull(source);
	script_pair(&ours, &theirs);
	ck_assert_int_eq(yab_source_connect(source, YAB_WIRE_URGENT, 0, theirs, NULL), 0);
	yab_source_serve(source);
	script_send_header(ours, YAB_WIRE_REQUEST, 0, PATTERN, 8);
	script_settle(base);
	script_receive(ours, got, YAB_WIRE_HEADER_SIZE + 8 * SCRIPT_PAGE);
	ck_assert(script_is_filled(got + YAB_WIRE_HEADER_SIZE, PATTERN, SEED));
	script_expect_silence(ours);
	lost = 0;
	take_memory_away();
	script_send_header(ours, header->type, 0, header->page, header->count);
	script_settle(base);
	if (kind == PROCESS && header->type == YAB_WIRE_SURVEY) {
		/* The page tables went with it: there are no holes any more, which is no lie. */
		struct yab_wire_header frame;

		script_receive_header(ours, YAB_WIRE_URGENT, PAGES, &frame);
		ck_assert_uint_eq(frame.type, YAB_WIRE_SURVEYED);
		script_send_header(ours, YAB_WIRE_REQUEST, 0, HOLE + 10, 4);
		script_settle(base);
	}
	ck_assert_int_eq(lost, 1);
	ck_assert_msg(strstr(lost_text, reasons[kind]), "%s", lost_text);
	script_expect_refusal(ours);
	close(ours);
	yab_source_free(source);
	event_base_free(base);
}
END_TEST

/* Less than the region has; a number that was another's; spans that are none. */
START_TEST(refused)
{
	struct yab_backing_span spans[] = { { 0x10000, 4096, 0 }, { 0x20000, 8192, 1 } };
	static const struct yab_backing_span bad[] = {
		{ 0x20000, 8192, 2 }, { 0x20000, 8192, 0 }, { 0x20001, 8192, 1 },
		{ 0x20000, 8193, 1 }, { 0x20000, 4096, 1 }, { 0x20000, 0, 1 },
		{ UINT64_MAX - 4095, 8192, 1 }, { 0x20000, UINT64_MAX - 4095, 1 },
	};
	struct yab_backing *made;

	make(PROCESS);
	made = yab_backing_process(fd, spans, 2, 3);
	ck_assert_ptr_nonnull(made);
	yab_backing_free(made);
	for (size_t i = 0; i < 8; i++) {
		spans[1] = bad[i];
		ck_assert_ptr_null(yab_backing_process(fd, spans, 2, 3));
		ck_assert_int_eq(errno, EINVAL);
	}
	ck_assert_ptr_null(yab_backing_process(fd, spans, 0, 0));
	ck_assert_ptr_null(yab_backing_process(STDIN_FILENO, spans, 1, 1));
	ck_assert_int_eq(errno, EBADF);
	end_child();
	ck_assert_ptr_null(yab_backing_process(fd, spans, 1, 1));
	ck_assert_int_eq(errno, ESRCH);
	teardown();
	make(IMAGE);
	ck_assert_ptr_null(yab_backing_image(fd, PAGES + 1));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(yab_backing_image(fd, UINT64_MAX));
	ck_assert_ptr_null(yab_backing_memory(fd, 0));
}
END_TEST

/* Memory that is not the process's any more is no zero either. */
START_TEST(unmapped)
{
	struct yab_backing_span span = { 0x10000, 4096, 0 };
	struct yab_backing_view view = { 0 };
	uint64_t run;
	bool zero;

	make(PROCESS);
	yab_backing_free(backing);
	backing = yab_backing_process(fd, &span, 1, 1);
	ck_assert_ptr_nonnull(backing);
	ck_assert_int_eq(yab_backing_run(backing, &view, 0, 1, 1, &zero, &run), -1);
	ck_assert_int_eq(errno, EFAULT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("backing");
	TCase *tcase = tcase_create("backing");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_loop_test(tcase, runs, 0, 4 * KINDS);
	tcase_add_loop_test(tcase, bytes, 0, KINDS);
	tcase_add_loop_test(tcase, survey, 0, KINDS);
	tcase_add_loop_test(tcase, taken_away, 0, 3 * KINDS);
	tcase_add_test(tcase, refused);
	tcase_add_test(tcase, unmapped);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
