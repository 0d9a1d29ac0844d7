/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef YAB_DAEMON_WIRE_H
#define YAB_DAEMON_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "yabusame/wire.h"

/* A preface or a hello. */
struct yab_wire_hello {
	uint16_t version;
	uint16_t role;		/* enum yab_wire_role */
	uint32_t index;		/* which bulk connection; 0 for the other roles */
	uint32_t features;
	/* Which of the connections of this role and index, as the source counts them. */
	uint32_t number;
	uint8_t token[YAB_WIRE_TOKEN_SIZE];	/* the route, in a preface */
};

struct yab_wire_header {
	uint16_t type;		/* enum yab_wire_type */
	uint16_t flags;		/* 0 */
	uint32_t length;	/* bytes of payload that follow */
	uint64_t page;
	uint64_t count;
};

enum yab_wire_verdict {
	YAB_WIRE_OK,
	YAB_WIRE_NOT_YABUSAME,	/* the magic is wrong */
	YAB_WIRE_OTHER_VERSION,	/* hello->version is filled in */
	YAB_WIRE_MALFORMED,	/* unknown role or type, reserved bits set, bad length */
};

void yab_wire_hello_encode(uint8_t out[YAB_WIRE_HELLO_SIZE], const struct yab_wire_hello *hello);
enum yab_wire_verdict yab_wire_hello_decode(const uint8_t in[YAB_WIRE_HELLO_SIZE],
					    struct yab_wire_hello *hello);

void yab_wire_header_encode(uint8_t out[YAB_WIRE_HEADER_SIZE],
			    const struct yab_wire_header *header);

/*
 * Checks everything that the header alone can tell: the type, that it belongs
 * on a connection of this role, that flags are 0, the length's bound for the
 * type, and for page frames that page + count neither overflows nor passes
 * @pages (pages in the region; control connections pass 0).
 */
enum yab_wire_verdict yab_wire_header_decode(const uint8_t in[YAB_WIRE_HEADER_SIZE],
					     enum yab_wire_role role, uint64_t pages,
					     struct yab_wire_header *header);

/* Chunks of a region of @pages pages, each of which has a sum. */
uint64_t yab_wire_chunks(uint64_t pages);

const char *yab_wire_role_name(enum yab_wire_role role);
/* The role of that name; control if there is none, or for NULL. */
enum yab_wire_role yab_wire_role_named(const char *name);

#endif /* YAB_DAEMON_WIRE_H */
