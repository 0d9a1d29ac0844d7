// SPDX-License-Identifier: GPL-2.0-or-later
#include <stddef.h>

#include "fault_stream.h"

/*
 * The figures below were chosen with the simulator in tests/bench/policy; docs/measurements.md
 * has its table. Unless said otherwise they are pages.
 */
/* Between two touches that make a stream, and between a frontier and "little further". */
#define YAB_FAULT_NEAR		16
#define YAB_FAULT_WINDOW_MIN	8
/* 2 MiB: 1.7 ms of 10 Gbit/s. */
#define YAB_FAULT_WINDOW_MAX	512
/*
 * How far a stream is followed in place of the sweep: so many times its length so far, and
 * this. The guest then waits once each time that the stream has grown by so much, and what
 * is spent on a stream that has ended is bounded.
 */
#define YAB_FAULT_FOLLOW	8
#define YAB_FAULT_FOLLOW_MIN	512
/* Around a lone touch: at first, ... */
#define YAB_FAULT_RADIUS_SWEEP	8
/* ... when all others had that, and nothing newer is to be followed, ... */
#define YAB_FAULT_BEFORE	16
#define YAB_FAULT_BEHIND	256
/* ... and how much of it ahead of hints, where that has paid. */
#define YAB_FAULT_RADIUS_MIN	4
#define YAB_FAULT_RADIUS_MAX	32
/* Lone touches after which that is thought over. */
#define YAB_FAULT_EPOCH		32
/*
 * Of these so many must have a neighbour for the radius to double; if less than FEW, it
 * halves. Touches at random have one now and then.
 */
#define YAB_FAULT_PAIRS_MANY	8
#define YAB_FAULT_PAIRS_FEW	4
/*
 * An answer begins at its lowest page, so the one that a backward stream needs first
 * arrives last: its requests are kept short.
 */
#define YAB_FAULT_BACKWARD_RUN	16

void yab_fault_streams_init(struct yab_fault_streams *streams, uint64_t pages)
{
	*streams = (struct yab_fault_streams){ .pages = pages };
}

/* A page as @stream counts it, and the other way round. */
static uint64_t yab_fault_stream_place(const struct yab_fault_streams *streams,
				       const struct yab_fault_stream *stream, uint64_t page)
{
	return stream->backward ? streams->pages - 1 - page : page;
}

static uint64_t yab_fault_stream_bit(const struct yab_fault_streams *streams,
				     const struct yab_fault_stream *stream)
{
	return 1ULL << (stream - streams->streams);
}

/* How far it may ask now. */
static void yab_fault_stream_aim(struct yab_fault_streams *streams,
				 struct yab_fault_stream *stream)
{
	const uint64_t bit = yab_fault_stream_bit(streams, stream);
	const uint64_t length = stream->page - stream->start + 1;
	const uint64_t left = streams->pages - 1 - stream->page;
	uint64_t ahead = stream->window;

	if (stream->frontier <= stream->page)
		stream->frontier = stream->page + 1;
	if (ahead > left)
		ahead = left;
	stream->target = stream->page + 1 + ahead;
	ahead += length > left / YAB_FAULT_FOLLOW ? left : length * YAB_FAULT_FOLLOW;
	ahead += YAB_FAULT_FOLLOW_MIN;
	if (ahead > left)
		ahead = left;
	stream->horizon = stream->page + 1 + ahead;
	streams->hungry &= ~bit;
	streams->following &= ~bit;
	if (stream->frontier < stream->target)
		streams->hungry |= bit;
	if (stream->frontier < stream->horizon)
		streams->following |= bit;
}

/* @place, the furthest touch from now on, bears out what was asked for before it. */
static void yab_fault_stream_advance(struct yab_fault_streams *streams,
				     struct yab_fault_stream *stream, uint64_t place)
{
	stream->page = place;
	if (stream->frontier <= place + 1)
		stream->unproved = 0;
	else if (stream->unproved > stream->frontier - place - 1)
		stream->unproved = stream->frontier - place - 1;
	stream->right = streams->touches;
	yab_fault_stream_aim(streams, stream);
}

/* Is @place where @stream was to go on? Then it has. */
static bool yab_fault_stream_prove(struct yab_fault_streams *streams,
				   struct yab_fault_stream *stream, uint64_t place)
{
	/* Little behind it: several walk together. That proves nothing. */
	if (place <= stream->page)
		return place >= stream->start && stream->page - place <= YAB_FAULT_NEAR;
	if (place > stream->frontier + YAB_FAULT_NEAR)
		return false;
	if (place - stream->grown >= stream->window / 2) {
		stream->window *= 2;
		if (stream->window > YAB_FAULT_WINDOW_MAX)
			stream->window = YAB_FAULT_WINDOW_MAX;
		stream->grown = place;
	}
	yab_fault_stream_advance(streams, stream, place);
	return true;
}

/* Is @place further ahead, but no more than a window? Then the stream begins anew there. */
static bool yab_fault_stream_jump(struct yab_fault_streams *streams,
				  struct yab_fault_stream *stream, uint64_t place)
{
	if (place <= stream->frontier || place - stream->frontier > stream->window)
		return false;
	streams->wasted += stream->unproved;
	stream->window /= 2;
	if (stream->window < YAB_FAULT_WINDOW_MIN)
		stream->window = YAB_FAULT_WINDOW_MIN;
	stream->start = place;
	stream->grown = place;
	yab_fault_stream_advance(streams, stream, place);
	return true;
}

/* A free one, or that which was right least recently. */
static struct yab_fault_stream *yab_fault_streams_room(struct yab_fault_streams *streams)
{
	struct yab_fault_stream *room = &streams->streams[0];

	if (~streams->used)
		return &streams->streams[__builtin_ctzll(~streams->used)];
	for (size_t i = 1; i < YAB_FAULT_STREAMS; i++)
		if (streams->streams[i].right < room->right)
			room = &streams->streams[i];
	streams->wasted += room->unproved;
	return room;
}

static void yab_fault_streams_begin(struct yab_fault_streams *streams, uint64_t start,
				    uint64_t page)
{
	struct yab_fault_stream *stream = yab_fault_streams_room(streams);

	*stream = (struct yab_fault_stream){
		.window = YAB_FAULT_WINDOW_MIN,
		.right = streams->touches,
		.backward = page < start,
	};
	stream->start = yab_fault_stream_place(streams, stream, start);
	stream->page = yab_fault_stream_place(streams, stream, page);
	stream->grown = stream->page;
	streams->used |= yab_fault_stream_bit(streams, stream);
	streams->backward &= ~yab_fault_stream_bit(streams, stream);
	if (stream->backward)
		streams->backward |= yab_fault_stream_bit(streams, stream);
	yab_fault_stream_aim(streams, stream);
}

/* Touches of YAB_FAULT_NEAR neighbouring pages have one place. */
static struct yab_fault_lone *yab_fault_lone_at(struct yab_fault_streams *streams,
						uint64_t block)
{
	return &streams->lone[(block * 0x9e3779b97f4a7c15ULL) >> 32 & (YAB_FAULT_LONE - 1)];
}

/* A remembered touch that is near @page. */
static struct yab_fault_lone *yab_fault_lone_near(struct yab_fault_streams *streams,
						  uint64_t page)
{
	const uint64_t block = page / YAB_FAULT_NEAR;

	for (uint64_t at = block ? block - 1 : 0; at <= block + 1; at++) {
		struct yab_fault_lone *lone = yab_fault_lone_at(streams, at);
		const uint64_t gap = lone->page > page ? lone->page - page : page - lone->page;

		if (lone->used && gap && gap <= YAB_FAULT_NEAR)
			return lone;
	}
	return NULL;
}

static struct yab_fault_around *yab_fault_ring_newest(struct yab_fault_ring *ring)
{
	return &ring->entries[(ring->top - 1) % YAB_FAULT_AROUND];
}

static void yab_fault_ring_push(struct yab_fault_ring *ring, struct yab_fault_around around)
{
	ring->top++;
	*yab_fault_ring_newest(ring) = around;
	if (ring->count < YAB_FAULT_AROUND)
		ring->count++;
}

static void yab_fault_ring_pop(struct yab_fault_ring *ring)
{
	ring->top--;
	ring->count--;
}

static void yab_fault_streams_remember(struct yab_fault_streams *streams, uint64_t page)
{
	struct yab_fault_lone *lone = yab_fault_lone_at(streams, page / YAB_FAULT_NEAR);

	streams->wasted += lone->asked;
	*lone = (struct yab_fault_lone){ .page = page, .used = true };
	yab_fault_ring_push(&streams->near, (struct yab_fault_around){
		.page = page,
		.touches = streams->touches,
	});
}

/* The radius grows while most lone touches turn out to have neighbours. */
static void yab_fault_streams_think(struct yab_fault_streams *streams)
{
	if (++streams->epoch < YAB_FAULT_EPOCH)
		return;
	if (streams->pairs >= YAB_FAULT_PAIRS_MANY)
		streams->radius = streams->radius ? streams->radius * 2 : YAB_FAULT_RADIUS_MIN;
	else if (streams->pairs < YAB_FAULT_PAIRS_FEW)
		streams->radius = streams->radius > YAB_FAULT_RADIUS_MIN ? streams->radius / 2 : 0;
	if (streams->radius > YAB_FAULT_RADIUS_MAX)
		streams->radius = YAB_FAULT_RADIUS_MAX;
	streams->epoch = 0;
	streams->pairs = 0;
}

/* Some stream takes the touch of @page by @rule. */
static bool yab_fault_streams_any(struct yab_fault_streams *streams, uint64_t page,
				  bool (*rule)(struct yab_fault_streams *,
					       struct yab_fault_stream *, uint64_t))
{
	for (uint64_t left = streams->used; left; left &= left - 1) {
		struct yab_fault_stream *stream = &streams->streams[__builtin_ctzll(left)];

		if (rule(streams, stream, yab_fault_stream_place(streams, stream, page)))
			return true;
	}
	return false;
}

void yab_fault_streams_touch(struct yab_fault_streams *streams, uint64_t page)
{
	struct yab_fault_lone *lone;

	streams->touches++;
	if (yab_fault_streams_any(streams, page, yab_fault_stream_prove))
		return;
	lone = yab_fault_lone_near(streams, page);
	if (lone) {
		lone->asked = 0;
		lone->used = false;
		streams->pairs++;
		yab_fault_streams_begin(streams, lone->page, page);
	} else if (!yab_fault_streams_any(streams, page, yab_fault_stream_jump)) {
		yab_fault_streams_remember(streams, page);
	} else {
		return;
	}
	yab_fault_streams_think(streams);
}

/* What @stream asks for next before @end, which is one of its own places. */
static bool yab_fault_stream_next(const struct yab_fault_streams *streams,
				  struct yab_fault_stream *stream, uint64_t end,
				  const struct yab_pagemap *map, uint64_t limit, uint64_t *page,
				  uint64_t *count)
{
	bool found;

	if (stream->backward) {
		if (limit > YAB_FAULT_BACKWARD_RUN)
			limit = YAB_FAULT_BACKWARD_RUN;
		found = yab_pagemap_last_idle(map, streams->pages - end,
					      streams->pages - stream->frontier, limit, page,
					      count);
		stream->frontier = found ? streams->pages - *page : end;
	} else {
		found = yab_pagemap_first_idle(map, stream->frontier, end, limit, page, count);
		stream->frontier = found ? *page + *count : end;
	}
	return found;
}

/* The next in turn of those in @bits. */
static struct yab_fault_stream *yab_fault_streams_turn(struct yab_fault_streams *streams,
						       uint64_t bits)
{
	const uint64_t later = bits & ~0ULL << streams->turn;
	const unsigned int next = (unsigned int)__builtin_ctzll(later ? later : bits);

	streams->turn = (next + 1) % YAB_FAULT_STREAMS;
	return &streams->streams[next];
}

/* Idle pages near @page: up to @behind of them behind it, then up to @before before it. */
static bool yab_fault_streams_idle(const struct yab_fault_streams *streams, uint64_t at,
				   uint64_t before, uint64_t behind,
				   const struct yab_pagemap *map, uint64_t limit, uint64_t *page,
				   uint64_t *count)
{
	const uint64_t from = at > before ? at - before : 0;
	const uint64_t end = streams->pages - at > behind ? at + 1 + behind : streams->pages;

	return yab_pagemap_first_idle(map, at, end, limit, page, count) ||
	       yab_pagemap_last_idle(map, from, at, limit, page, count);
}

/* What is next to lone touches, those first that came last. */
static bool yab_fault_streams_near(struct yab_fault_streams *streams, uint64_t radius,
				   const struct yab_pagemap *map, uint64_t limit, uint64_t *page,
				   uint64_t *count)
{
	while (streams->near.count) {
		const struct yab_fault_around around = *yab_fault_ring_newest(&streams->near);

		if (yab_fault_streams_idle(streams, around.page, radius, radius, map, limit, page,
					   count))
			return true;
		yab_fault_ring_pop(&streams->near);
		yab_fault_ring_push(&streams->far, around);
	}
	return false;
}

static bool yab_fault_streams_far(struct yab_fault_streams *streams,
				  const struct yab_pagemap *map, uint64_t limit, uint64_t *page,
				  uint64_t *count)
{
	while (streams->far.count) {
		if (yab_fault_streams_idle(streams, yab_fault_ring_newest(&streams->far)->page,
					   YAB_FAULT_BEFORE, YAB_FAULT_BEHIND, map, limit, page,
					   count))
			return true;
		yab_fault_ring_pop(&streams->far);
	}
	return false;
}

/* The radius pays: the surroundings of lone touches come before hints. */
static bool yab_fault_streams_around(struct yab_fault_streams *streams,
				     const struct yab_pagemap *map, uint64_t limit,
				     uint64_t *page, uint64_t *count)
{
	struct yab_fault_lone *lone;

	if (!streams->radius ||
	    !yab_fault_streams_near(streams, streams->radius, map, limit, page, count))
		return false;
	lone = yab_fault_lone_at(streams, yab_fault_ring_newest(&streams->near)->page /
				 YAB_FAULT_NEAR);
	if (lone->used && lone->page == yab_fault_ring_newest(&streams->near)->page)
		lone->asked += *count;
	return true;
}

bool yab_fault_streams_next(struct yab_fault_streams *streams, const struct yab_pagemap *map,
			    uint64_t limit, uint64_t *page, uint64_t *count)
{
	bool found = false;

	while (!found && streams->hungry) {
		struct yab_fault_stream *stream = yab_fault_streams_turn(streams, streams->hungry);

		found = yab_fault_stream_next(streams, stream, stream->target, map, limit, page,
					      count);
		if (found)
			stream->unproved += *count;
		if (stream->frontier >= stream->target)
			streams->hungry &= ~yab_fault_stream_bit(streams, stream);
	}
	if (!found)
		found = yab_fault_streams_around(streams, map, limit, page, count);
	if (found)
		streams->prefetched += *count;
	return found;
}

/* Of those in @bits the one that was right last, or NULL. */
static struct yab_fault_stream *yab_fault_streams_latest(struct yab_fault_streams *streams,
							 uint64_t bits)
{
	struct yab_fault_stream *latest = NULL;

	for (; bits; bits &= bits - 1) {
		struct yab_fault_stream *stream = &streams->streams[__builtin_ctzll(bits)];

		if (!latest || stream->right > latest->right)
			latest = stream;
	}
	return latest;
}

bool yab_fault_streams_follow(struct yab_fault_streams *streams, const struct yab_pagemap *map,
			      uint64_t limit, uint64_t *page, uint64_t *count)
{
	if (yab_fault_streams_near(streams, YAB_FAULT_RADIUS_SWEEP, map, limit, page, count))
		return true;
	/* Searched piece by piece, and not for ever: the sweep finds what is left, too. */
	for (unsigned int pieces = YAB_FAULT_STREAMS; pieces && streams->following; pieces--) {
		struct yab_fault_stream *stream =
			yab_fault_streams_latest(streams, streams->following);
		uint64_t end = stream->frontier + YAB_FAULT_WINDOW_MAX;
		bool found;

		if (streams->far.count &&
		    yab_fault_ring_newest(&streams->far)->touches > stream->right &&
		    yab_fault_streams_far(streams, map, limit, page, count))
			return true;
		if (end > stream->horizon)
			end = stream->horizon;
		found = yab_fault_stream_next(streams, stream, end, map, limit, page, count);
		if (stream->frontier >= stream->horizon)
			streams->following &= ~yab_fault_stream_bit(streams, stream);
		if (found)
			return true;
	}
	return yab_fault_streams_far(streams, map, limit, page, count);
}

void yab_fault_streams_lead(struct yab_fault_streams *streams, uint64_t *cursor)
{
	const struct yab_fault_stream *latest =
		yab_fault_streams_latest(streams, streams->used & ~streams->backward);

	if (!latest || latest->right <= streams->led)
		return;
	streams->led = latest->right;
	*cursor = latest->frontier;
}
