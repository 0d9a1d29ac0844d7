// SPDX-License-Identifier: GPL-2.0-or-later
#include "pull.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct pull pull = { .urgent = -1, .bulk = -1 };

static int on_declare(int pager_fd, struct yab_range *ranges, size_t count)
{
	ck_assert_int_ge(pager_fd, 0);
	ck_assert_uint_ge(count, 1);
	ck_assert_uint_le(count, YAB_RANGES_MAX);
	pull.declare_calls++;
	if (pull.declare_error) {
		errno = pull.declare_error;
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		ck_assert_uint_eq(ranges[i].state, YAB_RANGE_PRESENT);
		ck_assert_uint_eq(ranges[i].reserved, 0);
		ck_assert_uint_lt(ranges[i].page, PAGES);
		ck_assert_uint_ge(ranges[i].count, 1);
		ck_assert_uint_le(ranges[i].count, PAGES - ranges[i].page);
		ck_assert_uint_lt(pull.declared_count, PAGES);
		pull.declared[pull.declared_count++] = ranges[i];
	}
	return 0;
}

static int on_present(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits)
{
	ck_assert_int_ge(pager_fd, 0);
	ck_assert_uint_eq(page % 64, 0);
	memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
	for (uint64_t i = 0; i < count; i++)
		if (page + i < pull.present)
			bits[i / 64] |= 1ULL << i % 64;
	return 0;
}

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	ck_assert_ptr_eq(arg, &pull);
	ck_assert_uint_lt(index, role == YAB_WIRE_URGENT ? 1 : YAB_WIRE_BULKS_MAX);
	pull.lost[role]++;
	snprintf(pull.lost_text, sizeof(pull.lost_text), "%s", error);
}

static void on_complete(void *arg)
{
	ck_assert_ptr_eq(arg, &pull);
	pull.completions++;
}

static void on_failed(const char *error, void *arg)
{
	ck_assert_ptr_eq(arg, &pull);
	snprintf(pull.lost_text, sizeof(pull.lost_text), "%s", error);
	pull.failures++;
}

const struct yab_pager_ops pull_ops = {
	.declare = on_declare,
	.present = on_present,
	.lost = on_lost,
	.complete = on_complete,
	.failed = on_failed,
};

static void make_pager(const char *policy)
{
	pull.pager = yab_pager_new(pull.base, "test", pull.memory.fd, pull.pager_fd, PAGES,
				   policy, &pull_ops, &pull);
	ck_assert_ptr_nonnull(pull.pager);
	pull.statistics = yab_pager_statistics(pull.pager);
}

void pull_replace(const char *policy)
{
	yab_pager_free(pull.pager);
	make_pager(policy);
}

void pull_setup(void)
{
	script_memory_make(&pull.memory, PAGES);
	pull.base = script_base();
	script_pair(&pull.kernel, &pull.pager_fd);
	ck_assert_int_eq(evutil_make_socket_nonblocking(pull.pager_fd), 0);
	make_pager("sweep");
	ck_assert_int_eq(yab_pager_start(pull.pager), 0);
}

void pull_teardown(void)
{
	yab_pager_free(pull.pager);
	event_base_free(pull.base);
	script_memory_drop(&pull.memory);
	close(pull.kernel);
	close(pull.pager_fd);
	if (pull.urgent >= 0)
		close(pull.urgent);
	if (pull.bulk >= 0)
		close(pull.bulk);
}

void pull_connect(enum yab_wire_role role)
{
	int *ours = role == YAB_WIRE_URGENT ? &pull.urgent : &pull.bulk;
	int theirs;

	if (*ours >= 0)
		close(*ours);
	script_pair(ours, &theirs);
	ck_assert_int_eq(yab_pager_connect(pull.pager, role, 0, theirs, NULL), 0);
	script_settle(pull.base);
}

void pull_disconnect(int *fd)
{
	close(*fd);
	*fd = -1;
	script_settle(pull.base);
}

void pull_expect_survey(int fd, uint64_t page)
{
	struct yab_wire_header header;

	script_receive_header(fd, YAB_WIRE_BULK, PAGES, &header);
	ck_assert_uint_eq(header.type, YAB_WIRE_SURVEY);
	ck_assert_uint_eq(header.page, page);
	ck_assert_uint_eq(header.count, PAGES - page);
}

void pull_expect_window(uint64_t page)
{
	if (!pull.surveyed) {
		pull_expect_survey(pull.bulk, 0);
		script_send_header(pull.bulk, YAB_WIRE_SURVEYED, 0, 0, PAGES);
		script_settle(pull.base);
	}
	pull.surveyed = true;
	for (uint64_t i = 0; i < WINDOW / RUN; i++)
		script_expect_request(pull.bulk, page + i * RUN, RUN);
	script_expect_silence(pull.bulk);
}

void pull_fault(uint64_t page)
{
	const struct yab_fault record = { .page = page, .time_ns = 1 };

	script_send(pull.kernel, &record, sizeof(record));
}

void pull_expect_declared(uint64_t page, uint64_t count)
{
	ck_assert_uint_eq(pull.declared_count, 1);
	ck_assert_uint_eq(pull.declared[0].page, page);
	ck_assert_uint_eq(pull.declared[0].count, count);
	pull.declared_count = 0;
}

void pull_expect_filled(uint64_t page, uint64_t count)
{
	for (; count; count--, page++)
		ck_assert_msg(script_is_filled(script_at(&pull.memory, page), page, SEED),
			      "page %llu", (unsigned long long)page);
}

void pull_expect_bytes(uint64_t page, uint8_t byte)
{
	for (size_t i = 0; i < SCRIPT_PAGE; i++)
		ck_assert_uint_eq(script_at(&pull.memory, page)[i], byte);
}

size_t pull_frame(uint8_t *bytes, uint64_t page, uint64_t count)
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
