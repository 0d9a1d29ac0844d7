// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>

#include "../../daemon/pagemap.h"
#include "script.h"

#define ROLE(i)		((i) ? YAB_WIRE_BULK : YAB_WIRE_URGENT)

/* The same, a struct a page. */
struct model {
	bool present;
	bool wanted;
	bool asked[2];
};

static bool model_is_idle(const struct model *page)
{
	return !page->present && !page->asked[0] && !page->asked[1];
}

static bool model_is_unmet(const struct model *page, int role)
{
	return page->wanted && !page->asked[role];
}

static void compare(const struct yab_pagemap *map, const struct model *model)
{
	uint64_t present = 0, idle = 0, unmet[2] = { 0 }, wrong = 0;

	/* libcheck's assertions write to a pipe: one for all pages. */
	for (uint64_t i = 0; i < map->pages; i++) {
		wrong += yab_pagemap_is_present(map, i) != model[i].present;
		for (int role = 0; role < 2; role++) {
			wrong += yab_pagemap_is_asked(map, i, ROLE(role)) != model[i].asked[role];
			unmet[role] += model_is_unmet(&model[i], role);
		}
		present += model[i].present;
		idle += model_is_idle(&model[i]);
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(map->present, present);
	ck_assert_uint_eq(map->idle, idle);
	ck_assert_uint_eq(map->unmet[0], unmet[0]);
	ck_assert_uint_eq(map->unmet[1], unmet[1]);
}

static void compare_next_idle(const struct yab_pagemap *map, const struct model *model,
			      uint64_t cursor, uint64_t limit)
{
	uint64_t page = 0, count = 0, want = 0, first = map->pages;

	for (uint64_t i = 0; i < map->pages && first == map->pages; i++)
		if (model_is_idle(&model[(cursor + i) % map->pages]))
			first = (cursor + i) % map->pages;
	if (first == map->pages) {
		ck_assert(!yab_pagemap_next_idle(map, cursor, limit, &page, &count));
		return;
	}
	while (first + want < map->pages && want < limit && model_is_idle(&model[first + want]))
		want++;
	ck_assert(yab_pagemap_next_idle(map, cursor, limit, &page, &count));
	ck_assert_uint_eq(page, first);
	ck_assert_uint_eq(count, want);
}

static void compare_idle_within(const struct yab_pagemap *map, const struct model *model,
				uint64_t from, uint64_t end, uint64_t limit)
{
	uint64_t page = 0, count = 0, first = from, last = end, want = 0;

	while (first < end && !model_is_idle(&model[first]))
		first++;
	if (first == end) {
		ck_assert(!yab_pagemap_first_idle(map, from, end, limit, &page, &count));
		ck_assert(!yab_pagemap_last_idle(map, from, end, limit, &page, &count));
		return;
	}
	while (first + want < end && want < limit && model_is_idle(&model[first + want]))
		want++;
	ck_assert(yab_pagemap_first_idle(map, from, end, limit, &page, &count));
	ck_assert_uint_eq(page, first);
	ck_assert_uint_eq(count, want);
	while (!model_is_idle(&model[last - 1]))
		last--;
	want = 1;
	while (want < limit && last - want > from && model_is_idle(&model[last - want - 1]))
		want++;
	ck_assert(yab_pagemap_last_idle(map, from, end, limit, &page, &count));
	ck_assert_uint_eq(page, last - want);
	ck_assert_uint_eq(count, want);
}

static void compare_next_unmet(struct yab_pagemap *map, const struct model *model, int role,
			       uint64_t limit)
{
	uint64_t page = 0, count = 0, want = 0, first = 0;

	while (first < map->pages && !model_is_unmet(&model[first], role))
		first++;
	if (first == map->pages) {
		ck_assert(!yab_pagemap_next_unmet(map, ROLE(role), limit, &page, &count));
		return;
	}
	while (first + want < map->pages && want < limit &&
	       model_is_unmet(&model[first + want], role))
		want++;
	ck_assert(yab_pagemap_next_unmet(map, ROLE(role), limit, &page, &count));
	ck_assert_uint_eq(page, first);
	ck_assert_uint_eq(count, want);
}

START_TEST(against_model)
{
	static const uint64_t sizes[] = { 1, 2, 63, 64, 65, 127, 128, 129, 200, 1000, 4096 };
	const uint64_t pages = sizes[_i];
	struct model *model = calloc(pages, sizeof(*model));
	uint64_t state = 11 + (uint64_t)_i;
	struct yab_pagemap map;

	ck_assert_int_eq(yab_pagemap_init(&map, pages), 0);
	for (int step = 0; step < 400; step++) {
		const uint64_t page = script_random(&state) % pages;
		const uint64_t most = pages - page < 150 ? pages - page : 150;
		const uint64_t count = 1 + script_random(&state) % most;
		const int role = (int)(script_random(&state) % 2);
		uint64_t fresh = 0;

		switch (script_random(&state) % 8) {
		case 0:
			for (uint64_t i = page; i < page + count; i++) {
				fresh += !model[i].present;
				model[i] = (struct model){ .present = true };
			}
			ck_assert_uint_eq(yab_pagemap_mark_present(&map, page, count), fresh);
			break;
		case 1:
			/* Present single pages make for holes of all sizes. */
			fresh = !model[page].present;
			model[page] = (struct model){ .present = true };
			ck_assert_uint_eq(yab_pagemap_mark_present(&map, page, 1), fresh);
			break;
		case 2:
		case 3:
			for (uint64_t i = page; i < page + count; i++)
				model[i].asked[role] |= !model[i].present;
			yab_pagemap_ask(&map, page, count, ROLE(role));
			break;
		case 4:
			for (uint64_t i = page; i < page + count; i++)
				model[i].asked[role] = false;
			yab_pagemap_forget(&map, page, count, ROLE(role));
			break;
		default:
			for (uint64_t i = page; i < page + count && i < page + 5; i++) {
				model[i].wanted = !model[i].present;
				ck_assert_int_eq(yab_pagemap_want(&map, i), model[i].wanted);
			}
			break;
		}
		compare(&map, model);
		compare_next_idle(&map, model, script_random(&state) % (pages + 1),
				  1 + script_random(&state) % 100);
		compare_idle_within(&map, model, page, page + count,
				    1 + script_random(&state) % 200);
		compare_next_unmet(&map, model, role, 1 + script_random(&state) % 100);
	}
	yab_pagemap_release(&map);
	free(model);
}
END_TEST

/* Sweeping with any run length takes each page once, beginning at the cursor. */
START_TEST(sweep)
{
	const uint64_t pages = 1000 + (uint64_t)_i;
	uint64_t page, count, cursor = 777, seen = 0;
	struct yab_pagemap map;

	ck_assert_int_eq(yab_pagemap_init(&map, pages), 0);
	while (yab_pagemap_next_idle(&map, cursor, 64, &page, &count)) {
		ck_assert_uint_eq(page, seen ? cursor % pages : 777);
		ck_assert_uint_le(page + count, pages);
		yab_pagemap_ask(&map, page, count, YAB_WIRE_BULK);
		cursor = page + count;
		seen += count;
	}
	ck_assert_uint_eq(seen, pages);
	ck_assert_uint_eq(map.idle, 0);
	yab_pagemap_release(&map);
}
END_TEST

START_TEST(never_back)
{
	uint64_t page, count;
	struct yab_pagemap map;

	ck_assert_int_eq(yab_pagemap_init(&map, 65), 0);
	yab_pagemap_ask(&map, 64, 1, YAB_WIRE_URGENT);
	ck_assert_uint_eq(yab_pagemap_mark_present(&map, 64, 1), 1);
	ck_assert_uint_eq(yab_pagemap_mark_present(&map, 64, 1), 0);
	yab_pagemap_forget(&map, 0, 65, YAB_WIRE_URGENT);
	ck_assert(!yab_pagemap_want(&map, 64));
	yab_pagemap_ask(&map, 64, 1, YAB_WIRE_BULK);
	ck_assert(yab_pagemap_is_present(&map, 64));
	ck_assert(!yab_pagemap_is_asked(&map, 64, YAB_WIRE_BULK));
	ck_assert(!yab_pagemap_next_unmet(&map, YAB_WIRE_URGENT, 1, &page, &count));
	ck_assert_uint_eq(map.idle, 64);
	yab_pagemap_release(&map);
}
END_TEST

START_TEST(absurd_sizes)
{
	struct yab_pagemap map;

	ck_assert_int_eq(yab_pagemap_init(&map, 0), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(yab_pagemap_init(&map, UINT64_MAX), -1);
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pagemap");
	TCase *tcase = tcase_create("pagemap");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, against_model, 0, 11);
	tcase_add_loop_test(tcase, sweep, 0, 64);
	tcase_add_test(tcase, never_back);
	tcase_add_test(tcase, absurd_sizes);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
