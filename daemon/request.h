/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests of one connection that are not wholly answered, in the order in
 * which they were made. The answers must come in that order and cover exactly
 * these pages: what the other side may send is decided here.
 */
#ifndef YAB_DAEMON_REQUEST_H
#define YAB_DAEMON_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

/* More urgent ones than this wait in the pagemap; a power of two. */
#define YAB_REQUESTS_MAX	256

struct yab_request {
	uint64_t page;
	uint64_t count;
	enum yab_wire_type type;	/* REQUEST; SURVEY and SUM ask for no pages */
};

/*
 * head <= sent <= tail, taken modulo YAB_REQUESTS_MAX as places in the ring:
 * [head, sent) is on its way, [sent, tail) is still to be written. There is no
 * buffer of bytes to write: they are made from the ring when the socket has room.
 */
struct yab_requests {
	struct yab_request ring[YAB_REQUESTS_MAX];
	unsigned int head;
	unsigned int sent;
	unsigned int tail;
	size_t sent_bytes;	/* of the request at sent */
	uint64_t answered;	/* pages of the request at head, whatever its type */
	uint64_t pages;		/* asked for and not answered */
};

void yab_requests_reset(struct yab_requests *requests);
bool yab_requests_is_full(const struct yab_requests *requests);

/*
 * Must not be full. A request that goes on where the last unsent one ends joins it, if
 * they are no more than @most pages together.
 */
void yab_requests_add(struct yab_requests *requests, uint64_t page, uint64_t count,
		      uint64_t most);

/* Must not be full. SURVEY or SUM. */
void yab_requests_add_question(struct yab_requests *requests, enum yab_wire_type type,
			       uint64_t page, uint64_t count);

/* Fills @out with bytes to be written; returns how many, 0 if there are none. */
size_t yab_requests_encode(const struct yab_requests *requests, uint8_t *out, size_t size);
/* @bytes of them were written. */
void yab_requests_wrote(struct yab_requests *requests, size_t bytes);

/*
 * True if @frame (PAGES, PACKED, ZERO, SURVEYED or SUMMED) may come next: the next pages of the
 * oldest request, holes of the oldest survey in ascending order, or all that a SUM asked for.
 */
bool yab_requests_expect(const struct yab_requests *requests, const struct yab_wire_header *frame);
/* It came. Returns how many pages that were asked for it has brought. */
uint64_t yab_requests_answer(struct yab_requests *requests, const struct yab_wire_header *frame);

/*
 * The connection is lost. Takes out the oldest pages that were asked for and not
 * answered; false if there are none. To be called until then, and reset after it.
 */
bool yab_requests_drop(struct yab_requests *requests, uint64_t *page, uint64_t *count);

#endif /* YAB_DAEMON_REQUEST_H */
