/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What two yabusamed say to each other over TCP. docs/protocol.md is the text
 * to this header. All integers are little-endian.
 *
 * The source connects, for every connection, to the one port on which the
 * destination listens. A connection starts with a preface each way, in the clear; then,
 * inside of TLS if the prefaces say so, a hello each way; after that it carries
 * frames: a header of YAB_WIRE_HEADER_SIZE bytes and a payload of a length that is
 * bounded by the frame's type.
 */
#ifndef YABUSAME_WIRE_H
#define YABUSAME_WIRE_H

#define YAB_WIRE_MAGIC		"YABUSAME"	/* 8 bytes, without the NUL */
#define YAB_WIRE_MAGIC_SIZE	8
#define YAB_WIRE_VERSION	2
#define YAB_WIRE_TLS		1U		/* feature: TLS follows the prefaces */
#define YAB_WIRE_PORT		7655
/*
 * A session has two names, both from getrandom(): the route, which anybody may see and
 * which only finds it, and the token, which is secret.
 */
#define YAB_WIRE_TOKEN_SIZE	16

/*
 * magic[8] version:u16 role:u16 index:u32 features:u32 number:u32 token[16]; a preface
 * has the route where a hello has the token.
 */
#define YAB_WIRE_HELLO_SIZE	40
/* type:u16 flags:u16 length:u32 page:u64 count:u64 */
#define YAB_WIRE_HEADER_SIZE	24

#define YAB_WIRE_PAGE_SIZE	4096		/* the only one that is known */
#define YAB_WIRE_PAGES_MAX	256		/* pages in one PAGES frame and one REQUEST */
#define YAB_WIRE_PACK_PAGES	16		/* pages in one PACKED frame */
#define YAB_WIRE_BULKS_MAX	16		/* bulk connections of a migration */
#define YAB_WIRE_JSON_MAX	65536		/* bytes of a CALL, REPLY or EVENT */
#define YAB_WIRE_STATE_MAX	65536		/* bytes of one STATE frame */
#define YAB_WIRE_ERROR_MAX	512		/* bytes of an ERROR's text */
#define YAB_WIRE_CHUNK_PAGES	512		/* that have a sum together: 2 MiB */
#define YAB_WIRE_SUM_SIZE	8		/* bytes of it */
#define YAB_WIRE_SUMS_MAX	64		/* sums in a SUMMED frame */

/* What a connection is for. */
enum yab_wire_role {
	YAB_WIRE_CONTROL = 1,	/* calls, replies, device state; token all zero */
	YAB_WIRE_URGENT = 2,	/* pages that somebody waits for */
	YAB_WIRE_BULK = 3,	/* all other pages */
};

enum yab_wire_type {
	/* control */
	YAB_WIRE_CALL = 1,	/* source -> destination: JSON {"call": NAME, ...} */
	YAB_WIRE_REPLY = 2,	/* destination -> source: JSON, one a call, in order */
	YAB_WIRE_EVENT = 3,	/* destination -> source: JSON {"event": NAME, ...} */
	YAB_WIRE_STATE = 4,	/* source -> destination: device state, opaque */
	YAB_WIRE_STATE_END = 5,	/* source -> destination: all of it was sent */
	/* urgent, bulk */
	YAB_WIRE_REQUEST = 16,	/* destination -> source: send count pages from page */
	YAB_WIRE_PAGES = 17,	/* source -> destination: payload count * page size */
	YAB_WIRE_ZERO = 18,	/* source -> destination: count pages are zero */
	YAB_WIRE_SURVEY = 19,	/* destination -> source: which of count pages are holes? */
	YAB_WIRE_SURVEYED = 20,	/* source -> destination: so far was looked, ZERO came before */
	YAB_WIRE_PACKED = 21,	/* source -> destination: count pages, compressed; bulk only */
	YAB_WIRE_SUM = 22,	/* destination -> source: what are the sums of these chunks? */
	YAB_WIRE_SUMMED = 23,	/* source -> destination: these; a u64 for each chunk */
	/* any */
	YAB_WIRE_ERROR = 32,	/* either way: text; the sender closes after it */
};

#endif /* YABUSAME_WIRE_H */
