// SPDX-License-Identifier: GPL-2.0-or-later
/* The sums of what was stored, over workers that are killed. */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/checksum.h"
#include "script.h"

#define CHUNK	((uint64_t)YAB_WIRE_CHUNK_PAGES)
/* Two chunks and a short one. */
#define PAGES	(2 * CHUNK + 100)
#define CHUNKS	3
#define SEED	1

static struct script_memory memory;
static struct yab_checksums *checksums;
static int fd;

/* Of the source, whose pages are filled but for every fourth, which is zero. */
static uint64_t theirs[CHUNKS];

static bool is_zero_page(uint64_t page)
{
	return page % 4 == 3;
}

static void setup(void)
{
	uint8_t bytes[SCRIPT_PAGE];

	script_memory_make(&memory, PAGES);
	for (uint64_t page = 0; page < PAGES; page++) {
		if (is_zero_page(page))
			continue;
		script_fill(bytes, page, SEED);
		memcpy(script_at(&memory, page), bytes, sizeof(bytes));
		theirs[page / CHUNK] += yab_checksum_page(page, bytes);
	}
	fd = yab_checksums_make("test", PAGES);
	ck_assert_int_ge(fd, 0);
	checksums = yab_checksums_open(fd, PAGES);
	ck_assert_ptr_nonnull(checksums);
}

static void teardown(void)
{
	yab_checksums_close(checksums);
	close(fd);
	script_memory_drop(&memory);
}

static void add(uint64_t page, uint64_t count)
{
	yab_checksums_add(checksums, memory.fd, page, count);
}

/* Another worker has the file. */
static void replace(void)
{
	yab_checksums_close(checksums);
	checksums = yab_checksums_open(fd, PAGES);
	ck_assert_ptr_nonnull(checksums);
}

static void expect(uint64_t chunk, enum yab_checksum_verdict verdict)
{
	ck_assert_int_eq(yab_checksums_compare(checksums, chunk, theirs[chunk]), verdict);
}

static void expect_all(enum yab_checksum_verdict verdict)
{
	for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
		expect(chunk, verdict);
}

START_TEST(hashes)
{
	uint8_t one[SCRIPT_PAGE] = { 0 }, other[SCRIPT_PAGE] = { 0 };

	ck_assert_uint_eq(yab_checksum_page(0, one), 0);
	ck_assert_uint_eq(yab_checksum_page(7, one), 0);
	one[SCRIPT_PAGE - 1] = 1;
	ck_assert_uint_ne(yab_checksum_page(0, one), 0);
	/* Where it is counts, and so does every byte. */
	ck_assert_uint_ne(yab_checksum_page(0, one), yab_checksum_page(1, one));
	for (size_t i = 0; i < SCRIPT_PAGE; i++) {
		memcpy(other, one, sizeof(other));
		other[i] ^= 0x80;
		ck_assert_uint_ne(yab_checksum_page(3, one), yab_checksum_page(3, other));
	}
}
END_TEST

/* The order does not matter, nor does what is a hole and what is zero, nor how often. */
START_TEST(any_order)
{
	uint64_t state = (uint64_t)_i + 1, left[CHUNKS] = { CHUNK, CHUNK, 100 }, page, count;
	static bool added[PAGES];

	memset(added, 0, sizeof(added));
	memset(script_at(&memory, 7), 0, SCRIPT_PAGE);
	ck_assert(!script_is_hole(&memory, 7));
	while (left[0] || left[1] || left[2]) {
		for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
			expect(chunk, left[chunk] ? YAB_CHECKSUM_UNKNOWN : YAB_CHECKSUM_SAME);
		page = script_random(&state) % PAGES;
		count = 1 + script_random(&state) % 300;
		if (count > PAGES - page)
			count = PAGES - page;
		add(page, count);
		for (; count; count--, page++) {
			left[page / CHUNK] -= !added[page];
			added[page] = true;
		}
	}
	expect_all(YAB_CHECKSUM_SAME);
	add(0, PAGES);
	expect_all(YAB_CHECKSUM_SAME);
	for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
		ck_assert_int_eq(yab_checksums_compare(checksums, chunk, theirs[chunk] + 1),
				 YAB_CHECKSUM_DIFFERENT);
}
END_TEST

START_TEST(one_by_one)
{
	for (uint64_t page = PAGES; page; page--)
		add(page - 1, 1);
	expect_all(YAB_CHECKSUM_SAME);
}
END_TEST

/* A byte, a page that is lost, one too many, two that are swapped: in their chunk only. */
START_TEST(differences)
{
	const uint64_t page = CHUNK + 8;
	uint8_t bytes[SCRIPT_PAGE];

	switch (_i) {
	case 0:
		script_at(&memory, page)[4095] ^= 1;
		break;
	case 1:
		ck_assert_int_eq(fallocate(memory.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   (off_t)(page * SCRIPT_PAGE), SCRIPT_PAGE), 0);
		break;
	case 2:
		script_at(&memory, page + 3)[0] = 1;
		break;
	case 3:
		memcpy(bytes, script_at(&memory, page), sizeof(bytes));
		memcpy(script_at(&memory, page), script_at(&memory, page + 1), SCRIPT_PAGE);
		memcpy(script_at(&memory, page + 1), bytes, sizeof(bytes));
		break;
	}
	add(0, PAGES);
	expect(0, YAB_CHECKSUM_SAME);
	expect(1, YAB_CHECKSUM_DIFFERENT);
	expect(2, YAB_CHECKSUM_SAME);
	/* What the guest writes afterwards is its own business. */
	script_at(&memory, 0)[0] ^= 1;
	add(0, PAGES);
	replace();
	expect(0, YAB_CHECKSUM_SAME);
}
END_TEST

/* A page that nobody added leaves its chunk without a verdict, also over workers. */
START_TEST(missing_page)
{
	static const uint64_t cases[] = { 0, 63, 64, CHUNK - 1, CHUNK, PAGES - 1 };
	const uint64_t page = cases[_i];

	add(0, page);
	replace();
	add(page + 1, PAGES - page - 1);
	for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
		expect(chunk, chunk == page / CHUNK ? YAB_CHECKSUM_UNKNOWN : YAB_CHECKSUM_SAME);
	add(page, 1);
	expect_all(YAB_CHECKSUM_SAME);
}
END_TEST

/* A worker is killed after it has added pages and before it has declared them. */
START_TEST(added_and_not_declared)
{
	/* Of the first worker nothing is doubted, whatever is there. */
	yab_checksums_doubt(checksums, 0, PAGES);
	add(0, CHUNK + 10);
	replace();
	/* Up to page CHUNK they were declared. */
	yab_checksums_doubt(checksums, CHUNK, PAGES - CHUNK);
	add(CHUNK, PAGES - CHUNK);
	expect(0, YAB_CHECKSUM_SAME);
	expect(1, YAB_CHECKSUM_UNKNOWN);
	expect(2, YAB_CHECKSUM_SAME);
	/* Once doubted, always. */
	replace();
	expect(1, YAB_CHECKSUM_UNKNOWN);
}
END_TEST

/* The chunk that is being added to is noted in the second word of the file. */
static void set_busy(uint64_t chunk)
{
	chunk++;
	ck_assert_int_eq(pwrite(fd, &chunk, sizeof(chunk), sizeof(chunk)), sizeof(chunk));
}

/* A worker is killed in the middle of adding, anywhere in the region or nowhere in it. */
START_TEST(killed_while_adding)
{
	add(0, PAGES);
	set_busy((uint64_t)_i);
	replace();
	for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
		expect(chunk, chunk == (uint64_t)_i ? YAB_CHECKSUM_UNKNOWN : YAB_CHECKSUM_SAME);
	set_busy(UINT64_MAX / 2);
	replace();
	expect((uint64_t)_i ? 0 : 1, YAB_CHECKSUM_SAME);
}
END_TEST

START_TEST(unreadable)
{
	const int closed = dup(memory.fd);

	close(closed);
	yab_checksums_add(checksums, closed, 0, PAGES);
	expect_all(YAB_CHECKSUM_UNKNOWN);
	add(0, PAGES);
	expect_all(YAB_CHECKSUM_SAME);
}
END_TEST

/* Its size is known to the page, and it is all there from the start. */
START_TEST(file)
{
	const uint64_t pages = 1ULL << 28;	/* 1 TiB */
	struct stat st;
	int other;

	ck_assert_ptr_null(yab_checksums_open(fd, PAGES + CHUNK));
	ck_assert_ptr_null(yab_checksums_open(fd, 1));
	ck_assert_int_lt(ftruncate(fd, 0), 0);
	other = yab_checksums_make("test", pages);
	ck_assert_int_ge(other, 0);
	ck_assert_int_eq(fstat(other, &st), 0);
	ck_assert_int_le(st.st_size, (40 << 20) + SCRIPT_PAGE);
	ck_assert_int_ge(st.st_blocks * 512, st.st_size);
	close(other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("checksum");
	TCase *tcase = tcase_create("checksum");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, hashes);
	tcase_add_loop_test(tcase, any_order, 0, 5);
	tcase_add_test(tcase, one_by_one);
	tcase_add_loop_test(tcase, differences, 0, 4);
	tcase_add_loop_test(tcase, missing_page, 0, 6);
	tcase_add_test(tcase, added_and_not_declared);
	tcase_add_loop_test(tcase, killed_while_adding, 0, CHUNKS);
	tcase_add_test(tcase, unreadable);
	tcase_add_test(tcase, file);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
