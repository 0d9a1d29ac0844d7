// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pagemap.h"

#define YAB_PAGEMAP_BITS	64	/* pages in a word */
/* present, wanted, and asked for by role */
#define YAB_PAGEMAP_MAPS	(2 + YAB_PAGEMAP_ROLES)
/*
 * One bit a word, set while the word holds an idle page: a search through 1 TiB reads
 * 0.5 MiB of these at most, not 96 MiB of the others.
 */
#define YAB_PAGEMAP_IDLE_WORDS(words)	(((words) + YAB_PAGEMAP_BITS - 1) / YAB_PAGEMAP_BITS)

/* What a search looks for: a role, or one of these. */
#define YAB_PAGEMAP_IDLE	(-1)
#define YAB_PAGEMAP_MISSING	(-2)

static int yab_pagemap_index(enum yab_wire_role role)
{
	return role == YAB_WIRE_URGENT ? 0 : 1;
}

static uint64_t yab_pagemap_words(const struct yab_pagemap *map)
{
	return (map->pages + YAB_PAGEMAP_BITS - 1) / YAB_PAGEMAP_BITS;
}

static uint64_t yab_pagemap_popcount(uint64_t word)
{
	return (uint64_t)__builtin_popcountll(word);
}

static bool yab_pagemap_test(const uint64_t *bits, uint64_t page)
{
	return bits[page / YAB_PAGEMAP_BITS] >> page % YAB_PAGEMAP_BITS & 1;
}

/*
 * The bits of [*page, end) that lie in the word of *page. Moves *page on to the
 * next word, so that a loop over *page < end takes each word once.
 */
static uint64_t yab_pagemap_slice(uint64_t *page, uint64_t end, uint64_t *word)
{
	const uint64_t first = *page % YAB_PAGEMAP_BITS;
	uint64_t mask = ~0ULL << first;

	*word = *page / YAB_PAGEMAP_BITS;
	*page += YAB_PAGEMAP_BITS - first;
	if (*page > end)
		mask &= ~0ULL >> (*page - end);
	return mask;
}

static uint64_t yab_pagemap_any_asked(const struct yab_pagemap *map, uint64_t word)
{
	uint64_t asked = 0;

	for (int i = 0; i < YAB_PAGEMAP_ROLES; i++)
		asked |= map->asked_bits[i][word];
	return asked;
}

/*
 * One word of what a search looks for. Bits behind the region's last page may be
 * set in it: callers cut at map->pages.
 */
static uint64_t yab_pagemap_sought(const struct yab_pagemap *map, int what, uint64_t word)
{
	if (what == YAB_PAGEMAP_IDLE)
		return ~(map->present_bits[word] | yab_pagemap_any_asked(map, word));
	if (what == YAB_PAGEMAP_MISSING)
		return ~map->present_bits[word];
	return map->wanted_bits[word] & ~map->asked_bits[what][word];
}

/* To be called when pages of @word may have become idle or ceased to be so. */
static void yab_pagemap_note_idle(struct yab_pagemap *map, uint64_t word)
{
	const uint64_t bit = 1ULL << word % YAB_PAGEMAP_BITS;
	uint64_t *const words = &map->idle_words[word / YAB_PAGEMAP_BITS];

	if (yab_pagemap_sought(map, YAB_PAGEMAP_IDLE, word))
		*words |= bit;
	else
		*words &= ~bit;
}

int yab_pagemap_init(struct yab_pagemap *map, uint64_t pages)
{
	uint64_t words;
	uint64_t *bits;

	*map = (struct yab_pagemap){ .pages = pages };
	if (!pages || pages > (uint64_t)INT64_MAX / YAB_WIRE_PAGE_SIZE) {
		errno = EINVAL;
		return -1;
	}
	words = yab_pagemap_words(map);
	bits = calloc(words * YAB_PAGEMAP_MAPS + YAB_PAGEMAP_IDLE_WORDS(words), sizeof(*bits));
	if (!bits)
		return -1;
	map->present_bits = bits;
	map->wanted_bits = bits + words;
	for (int i = 0; i < YAB_PAGEMAP_ROLES; i++)
		map->asked_bits[i] = bits + (2 + i) * words;
	map->idle_words = bits + YAB_PAGEMAP_MAPS * words;
	/* Also for words that there are not: whoever finds one is behind the region's end. */
	memset(map->idle_words, 0xff, YAB_PAGEMAP_IDLE_WORDS(words) * sizeof(*bits));
	map->idle = pages;
	return 0;
}

void yab_pagemap_release(struct yab_pagemap *map)
{
	free(map->present_bits);
	*map = (struct yab_pagemap){ 0 };
}

void yab_pagemap_load_present(struct yab_pagemap *map, uint64_t page, const uint64_t *bits,
			      uint64_t count)
{
	const uint64_t end = page + count;
	const uint64_t first = page / YAB_PAGEMAP_BITS;
	uint64_t word, present;

	while (page < end) {
		present = yab_pagemap_slice(&page, end, &word);
		present &= bits[word - first];
		map->present_bits[word] |= present;
		map->present += yab_pagemap_popcount(present);
		map->idle -= yab_pagemap_popcount(present);
		yab_pagemap_note_idle(map, word);
	}
}

bool yab_pagemap_is_present(const struct yab_pagemap *map, uint64_t page)
{
	return yab_pagemap_test(map->present_bits, page);
}

bool yab_pagemap_is_asked(const struct yab_pagemap *map, uint64_t page, enum yab_wire_role role)
{
	return yab_pagemap_test(map->asked_bits[yab_pagemap_index(role)], page);
}

uint64_t yab_pagemap_mark_present(struct yab_pagemap *map, uint64_t page, uint64_t count)
{
	const uint64_t end = page + count;
	uint64_t word, fresh_pages = 0;

	while (page < end) {
		const uint64_t mask = yab_pagemap_slice(&page, end, &word);
		const uint64_t fresh = mask & ~map->present_bits[word];

		fresh_pages += yab_pagemap_popcount(fresh);
		map->idle -= yab_pagemap_popcount(fresh & ~yab_pagemap_any_asked(map, word));
		/* Words that stay zero are not written to: they cost no memory (calloc()). */
		for (int i = 0; i < YAB_PAGEMAP_ROLES; i++) {
			map->unmet[i] -= yab_pagemap_popcount(fresh & map->wanted_bits[word] &
							      ~map->asked_bits[i][word]);
			if (map->asked_bits[i][word] & fresh)
				map->asked_bits[i][word] &= ~fresh;
		}
		if (map->wanted_bits[word] & fresh)
			map->wanted_bits[word] &= ~fresh;
		map->present_bits[word] |= fresh;
		yab_pagemap_note_idle(map, word);
	}
	map->present += fresh_pages;
	return fresh_pages;
}

void yab_pagemap_ask(struct yab_pagemap *map, uint64_t page, uint64_t count,
		     enum yab_wire_role role)
{
	const int index = yab_pagemap_index(role);
	const uint64_t end = page + count;
	uint64_t word;

	while (page < end) {
		const uint64_t mask = yab_pagemap_slice(&page, end, &word);
		const uint64_t missing = mask & ~map->present_bits[word];

		map->idle -= yab_pagemap_popcount(missing & ~yab_pagemap_any_asked(map, word));
		map->unmet[index] -= yab_pagemap_popcount(missing & map->wanted_bits[word] &
							  ~map->asked_bits[index][word]);
		map->asked_bits[index][word] |= missing;
		yab_pagemap_note_idle(map, word);
	}
}

bool yab_pagemap_want(struct yab_pagemap *map, uint64_t page)
{
	if (yab_pagemap_is_present(map, page))
		return false;
	if (yab_pagemap_test(map->wanted_bits, page))
		return true;
	map->wanted_bits[page / YAB_PAGEMAP_BITS] |= 1ULL << page % YAB_PAGEMAP_BITS;
	for (int i = 0; i < YAB_PAGEMAP_ROLES; i++) {
		map->unmet[i] += !yab_pagemap_test(map->asked_bits[i], page);
		if (page < map->unmet_from[i])
			map->unmet_from[i] = page;
	}
	return true;
}

void yab_pagemap_forget(struct yab_pagemap *map, uint64_t page, uint64_t count,
			enum yab_wire_role role)
{
	const int index = yab_pagemap_index(role);
	const uint64_t end = page + count;
	uint64_t word;

	if (page < map->unmet_from[index])
		map->unmet_from[index] = page;
	while (page < end) {
		const uint64_t mask = yab_pagemap_slice(&page, end, &word);
		const uint64_t asked = mask & map->asked_bits[index][word];

		map->asked_bits[index][word] &= ~asked;
		map->unmet[index] += yab_pagemap_popcount(asked & map->wanted_bits[word]);
		map->idle += yab_pagemap_popcount(asked & ~yab_pagemap_any_asked(map, word));
		yab_pagemap_note_idle(map, word);
	}
}

/* The first page at or after @page, a word's first one, in a word that holds an idle page. */
static uint64_t yab_pagemap_skip(const struct yab_pagemap *map, uint64_t page)
{
	const uint64_t word = page / YAB_PAGEMAP_BITS;
	uint64_t at = word / YAB_PAGEMAP_BITS;
	uint64_t bits;

	if (page >= map->pages)
		return map->pages;
	bits = map->idle_words[at] & ~0ULL << word % YAB_PAGEMAP_BITS;
	while (!bits) {
		if (++at == YAB_PAGEMAP_IDLE_WORDS(yab_pagemap_words(map)))
			return map->pages;
		bits = map->idle_words[at];
	}
	return (at * YAB_PAGEMAP_BITS + (uint64_t)__builtin_ctzll(bits)) * YAB_PAGEMAP_BITS;
}

/* The first run in [page, end), cut at @limit pages; not beyond @end. */
static bool yab_pagemap_find(const struct yab_pagemap *map, int what, uint64_t page, uint64_t end,
			     uint64_t limit, uint64_t *run, uint64_t *count)
{
	uint64_t word, bits, first, at;

	while (page < end) {
		bits = yab_pagemap_slice(&page, end, &word);
		bits &= yab_pagemap_sought(map, what, word);
		if (!bits) {
			if (what == YAB_PAGEMAP_IDLE)
				page = yab_pagemap_skip(map, page);
			continue;
		}
		first = word * YAB_PAGEMAP_BITS + (uint64_t)__builtin_ctzll(bits);
		if (end - first > limit)
			end = first + limit;
		/* The run ends before the first bit that is not sought. */
		for (at = first; at < end; ) {
			bits = yab_pagemap_slice(&at, end, &word);
			if (word == first / YAB_PAGEMAP_BITS)
				bits &= ~0ULL << first % YAB_PAGEMAP_BITS;
			bits &= ~yab_pagemap_sought(map, what, word);
			if (bits) {
				end = word * YAB_PAGEMAP_BITS + (uint64_t)__builtin_ctzll(bits);
				break;
			}
		}
		*run = first;
		*count = end - first;
		return true;
	}
	return false;
}

bool yab_pagemap_next_idle(const struct yab_pagemap *map, uint64_t cursor, uint64_t limit,
			   uint64_t *page, uint64_t *count)
{
	/* Without this, the last pages on their way would cost a full scan each. */
	if (!map->idle || !limit)
		return false;
	if (cursor >= map->pages)
		cursor = 0;
	return yab_pagemap_find(map, YAB_PAGEMAP_IDLE, cursor, map->pages, limit, page, count) ||
	       yab_pagemap_find(map, YAB_PAGEMAP_IDLE, 0, cursor, limit, page, count);
}

bool yab_pagemap_next_missing(const struct yab_pagemap *map, uint64_t page, uint64_t end,
			      uint64_t *run, uint64_t *count)
{
	return yab_pagemap_find(map, YAB_PAGEMAP_MISSING, page, end, map->pages, run, count);
}

bool yab_pagemap_first_idle(const struct yab_pagemap *map, uint64_t page, uint64_t end,
			    uint64_t limit, uint64_t *run, uint64_t *count)
{
	return map->idle && limit &&
	       yab_pagemap_find(map, YAB_PAGEMAP_IDLE, page, end, limit, run, count);
}

/* Idle pages among the 64 that end with @page, the highest bit being @page itself. */
static uint64_t yab_pagemap_idle_before(const struct yab_pagemap *map, uint64_t page)
{
	const uint64_t word = page / YAB_PAGEMAP_BITS;
	const uint64_t above = YAB_PAGEMAP_BITS - 1 - page % YAB_PAGEMAP_BITS;
	uint64_t bits = yab_pagemap_sought(map, YAB_PAGEMAP_IDLE, word) << above;

	if (above && word)
		bits |= yab_pagemap_sought(map, YAB_PAGEMAP_IDLE, word - 1) >>
			(YAB_PAGEMAP_BITS - above);
	return bits;
}

bool yab_pagemap_last_idle(const struct yab_pagemap *map, uint64_t page, uint64_t end,
			   uint64_t limit, uint64_t *run, uint64_t *count)
{
	uint64_t bits, length;

	if (!map->idle || !limit)
		return false;
	while (page < end) {
		bits = yab_pagemap_idle_before(map, end - 1);
		if (bits)
			break;
		end -= end - page < YAB_PAGEMAP_BITS ? end - page : YAB_PAGEMAP_BITS;
	}
	if (page >= end)
		return false;
	end -= (uint64_t)__builtin_clzll(bits);
	if (page >= end)
		return false;
	if (end - page < limit)
		limit = end - page;
	for (*count = 0; *count < limit; *count += length) {
		bits = ~yab_pagemap_idle_before(map, end - *count - 1);
		length = bits ? (uint64_t)__builtin_clzll(bits) : YAB_PAGEMAP_BITS;
		if (!length)
			break;
	}
	if (*count > limit)
		*count = limit;
	*run = end - *count;
	return true;
}

bool yab_pagemap_next_unmet(struct yab_pagemap *map, enum yab_wire_role role, uint64_t limit,
			    uint64_t *page, uint64_t *count)
{
	const int index = yab_pagemap_index(role);

	if (!map->unmet[index] || !limit)
		return false;
	if (!yab_pagemap_find(map, index, map->unmet_from[index], map->pages, limit, page, count))
		return false;
	map->unmet_from[index] = *page;
	return true;
}
