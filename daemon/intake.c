// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "intake.h"
#include "log.h"

/* Requests that are written at once. */
#define YAB_INTAKE_REQUESTS	64

#if YAB_CODEC_PLAIN_MAX > YAB_STORE_BUFFER
#error "the pages of a pack do not fit into the store's buffer"
#endif

static const bool yab_intake_moves[YAB_INTAKE_STATES][YAB_INTAKE_STATES] = {
	[YAB_INTAKE_CLOSED] = {
		[YAB_INTAKE_HEADER] = true,
	},
	[YAB_INTAKE_HEADER] = {
		[YAB_INTAKE_PAYLOAD] = true,
		[YAB_INTAKE_PACK] = true,
		[YAB_INTAKE_ZERO] = true,
		[YAB_INTAKE_SUMS] = true,
		[YAB_INTAKE_TEXT] = true,
		[YAB_INTAKE_CLOSED] = true,
	},
	[YAB_INTAKE_PAYLOAD] = {
		[YAB_INTAKE_HEADER] = true,
		[YAB_INTAKE_CLOSED] = true,
	},
	[YAB_INTAKE_PACK] = {
		[YAB_INTAKE_HEADER] = true,
		[YAB_INTAKE_CLOSED] = true,
	},
	[YAB_INTAKE_ZERO] = {
		[YAB_INTAKE_HEADER] = true,
		[YAB_INTAKE_CLOSED] = true,
	},
	[YAB_INTAKE_SUMS] = {
		[YAB_INTAKE_HEADER] = true,
		[YAB_INTAKE_CLOSED] = true,
	},
	[YAB_INTAKE_TEXT] = {
		[YAB_INTAKE_CLOSED] = true,
	},
};

static void yab_intake_move(struct yab_intake *intake, enum yab_intake_state state)
{
	if (!yab_intake_moves[intake->state][state])
		yab_log_error(NULL, "bug: %s connection %u moves from state %d to %d",
			      yab_wire_role_name(intake->socket.role), intake->index,
			      intake->state, state);
	intake->state = state;
}

void yab_intake_init(struct yab_intake *intake, enum yab_wire_role role, unsigned int index,
		     struct yab_store *store, struct yab_window *window,
		     void (*lost)(struct yab_intake *intake, const char *error), void *owner)
{
	memset(intake, 0, sizeof(*intake));
	yab_socket_init(&intake->socket, role);
	intake->index = index;
	intake->store = store;
	intake->window = window;
	intake->lost = lost;
	intake->owner = owner;
}

void yab_intake_unpack(struct yab_intake *intake, struct yab_codec *codec, uint8_t *pack)
{
	intake->codec = codec;
	intake->pack = pack;
}

void yab_intake_verify(struct yab_intake *intake, struct yab_verification *verification)
{
	intake->verification = verification;
}

int yab_intake_open(struct yab_intake *intake, struct event_base *base, int fd, SSL *ssl,
		    event_callback_fn readable, event_callback_fn writable)
{
	yab_intake_close(intake);
	if (yab_socket_open(&intake->socket, base, fd, ssl, readable, writable, intake) < 0)
		return -1;
	yab_intake_move(intake, YAB_INTAKE_HEADER);
	return 0;
}

void yab_intake_close(struct yab_intake *intake)
{
	uint64_t page, count;

	if (intake->state == YAB_INTAKE_CLOSED)
		return;
	yab_intake_move(intake, YAB_INTAKE_CLOSED);
	yab_socket_close(&intake->socket);
	while (yab_requests_drop(&intake->requests, &page, &count)) {
		yab_pagemap_forget(&intake->store->map, page, count, intake->socket.role);
		yab_touches_dropped(&intake->store->touches, page, count);
		if (intake->window)
			yab_window_dropped(intake->window, count);
	}
	yab_requests_reset(&intake->requests);
	intake->header_size = 0;
	intake->surveyed = 0;
}

bool yab_intake_is_open(const struct yab_intake *intake)
{
	return intake->state != YAB_INTAKE_CLOSED;
}

static void yab_intake_lose(struct yab_intake *intake, const char *error)
{
	yab_intake_close(intake);
	intake->lost(intake, error);
}

/* The peer broke the protocol. */
static void yab_intake_reject(struct yab_intake *intake, const char *error)
{
	if (!intake->requests.sent_bytes)
		yab_socket_refuse(&intake->socket, error);
	yab_intake_lose(intake, error);
}

void yab_intake_await_data(struct yab_intake *intake, bool on)
{
	if (yab_intake_is_open(intake) && yab_socket_await_data(&intake->socket, on) < 0)
		yab_intake_lose(intake, "no memory to wait for it");
}

void yab_intake_go_on(struct yab_intake *intake)
{
	if (intake->state == YAB_INTAKE_ZERO)
		event_active(&intake->socket.readable, EV_READ, 0);
}

bool yab_intake_is_full(const struct yab_intake *intake)
{
	return yab_requests_is_full(&intake->requests);
}

void yab_intake_ask(struct yab_intake *intake, uint64_t page, uint64_t count, uint64_t most)
{
	yab_requests_add(&intake->requests, page, count, most);
	yab_pagemap_ask(&intake->store->map, page, count, intake->socket.role);
	if (intake->window)
		yab_window_asked(intake->window, count);
}

/* Requests from the place @first on are on their way. */
static void yab_intake_note_asked(struct yab_intake *intake, unsigned int first)
{
	for (unsigned int place = first; place != intake->requests.sent; place++) {
		const struct yab_request *request =
			&intake->requests.ring[place % YAB_REQUESTS_MAX];

		if (request->type == YAB_WIRE_REQUEST)
			yab_touches_asked(&intake->store->touches, request->page, request->count);
	}
}

void yab_intake_write(struct yab_intake *intake)
{
	const unsigned int first = intake->requests.sent;
	uint8_t bytes[YAB_INTAKE_REQUESTS * YAB_WIRE_HEADER_SIZE];
	size_t size;
	ssize_t n;

	if (!yab_intake_is_open(intake))
		return;
	while ((size = yab_requests_encode(&intake->requests, bytes, sizeof(bytes)))) {
		n = yab_socket_send(&intake->socket, bytes, size, false);
		if (n < 0) {
			yab_intake_lose(intake, yab_socket_reason(errno));
			return;
		}
		if (n == 0)
			break;
		yab_requests_wrote(&intake->requests, (size_t)n);
	}
	yab_intake_note_asked(intake, first);
	if (yab_socket_await_room(&intake->socket, size != 0) < 0)
		yab_intake_lose(intake, "no memory to wait for it");
}

static void yab_intake_take_text(struct yab_intake *intake)
{
	char text[YAB_SOCKET_TEXT_SIZE];

	if (intake->received < intake->frame.length)
		return;
	yab_socket_quote(text, "source", intake->text, intake->frame.length);
	yab_intake_lose(intake, text);
}

/* Pages that were asked for have come. */
static void yab_intake_answered(struct yab_intake *intake, uint64_t pages)
{
	if (intake->window && pages)
		yab_window_arrived(intake->window, pages, yab_clock_ns());
}

/* Settles a ZERO frame, as much of it as the store has room for. */
static void yab_intake_take_zero(struct yab_intake *intake)
{
	const struct yab_wire_header *frame = &intake->frame;
	uint64_t done;

	if (yab_store_clear(intake->store, frame->page + intake->settled,
			    frame->count - intake->settled, intake->socket.role, &done) < 0) {
		yab_intake_lose(intake, yab_socket_reason(errno));
		return;
	}
	intake->settled += done;
	if (intake->settled < frame->count)
		return;
	yab_intake_answered(intake, yab_requests_answer(&intake->requests, frame));
	yab_intake_move(intake, YAB_INTAKE_HEADER);
}

/* A whole header is there. */
static void yab_intake_take_header(struct yab_intake *intake)
{
	struct yab_wire_header *frame = &intake->frame;

	intake->header_size = 0;
	intake->received = 0;
	intake->settled = 0;
	if (yab_wire_header_decode(intake->header, intake->socket.role, intake->store->map.pages,
				   frame) != YAB_WIRE_OK) {
		yab_intake_reject(intake, "malformed frame from the source");
		return;
	}
	switch (frame->type) {
	case YAB_WIRE_ERROR:
		yab_intake_move(intake, YAB_INTAKE_TEXT);
		yab_intake_take_text(intake);
		return;
	case YAB_WIRE_REQUEST:
	case YAB_WIRE_SURVEY:
	case YAB_WIRE_SUM:
		yab_intake_reject(intake, "source asks for pages");
		return;
	}
	if (!yab_requests_expect(&intake->requests, frame)) {
		yab_intake_reject(intake, "source sent pages that were not asked for next");
		return;
	}
	if (frame->type != YAB_WIRE_SURVEYED && frame->type != YAB_WIRE_SUMMED)
		yab_touches_answered(&intake->store->touches, frame->page, frame->count);
	switch (frame->type) {
	case YAB_WIRE_PAGES:
		yab_intake_move(intake, YAB_INTAKE_PAYLOAD);
		break;
	case YAB_WIRE_PACKED:
		if (!intake->codec) {
			yab_intake_reject(intake, "source sent a pack, which was not agreed on");
			return;
		}
		yab_intake_move(intake, YAB_INTAKE_PACK);
		break;
	case YAB_WIRE_ZERO:
		yab_intake_move(intake, YAB_INTAKE_ZERO);
		yab_intake_take_zero(intake);
		break;
	case YAB_WIRE_SUMMED:
		yab_intake_move(intake, YAB_INTAKE_SUMS);
		break;
	case YAB_WIRE_SURVEYED:
		yab_requests_answer(&intake->requests, frame);
		intake->surveyed = frame->page + frame->count;
		break;
	}
}

/*
 * The @size bytes of the frame's pages from byte @at on are in the buffer. False if that
 * lost us.
 */
static bool yab_intake_store(struct yab_intake *intake, size_t at, size_t size)
{
	const struct yab_wire_header *frame = &intake->frame;
	const size_t first = at / YAB_WIRE_PAGE_SIZE;
	const size_t end = (at + size) / YAB_WIRE_PAGE_SIZE;

	if (yab_store_write(intake->store, frame->page * YAB_WIRE_PAGE_SIZE + at, size) < 0) {
		yab_intake_lose(intake, yab_socket_reason(errno));
		return false;
	}
	for (size_t i = first; i < end; i++)
		yab_store_settle(intake->store, frame->page + i, intake->socket.role);
	return true;
}

/*
 * The next @size bytes of a PACKED frame are there. It is unpacked whole, and into the
 * buffer, from where its pages go the way of all others. False if that lost us.
 */
static bool yab_intake_take_pack(struct yab_intake *intake, size_t size)
{
	struct yab_store_statistics *statistics = &intake->store->statistics;
	const struct yab_wire_header *frame = &intake->frame;

	intake->received += size;
	if (intake->received < frame->length)
		return true;
	if (yab_codec_unpack(intake->codec, intake->store->buffer,
			     frame->count * YAB_WIRE_PAGE_SIZE, intake->pack, frame->length) < 0) {
		yab_intake_reject(intake, "source sent a pack that does not hold its pages");
		return false;
	}
	if (!yab_intake_store(intake, 0, frame->count * YAB_WIRE_PAGE_SIZE))
		return false;
	statistics->bytes += frame->length;
	statistics->packed_bytes += frame->length;
	statistics->packed_pages += frame->count;
	yab_intake_answered(intake, yab_requests_answer(&intake->requests, frame));
	yab_intake_move(intake, YAB_INTAKE_HEADER);
	return true;
}

/* The next @size bytes of a SUMMED frame are there. */
static void yab_intake_take_sums(struct yab_intake *intake, size_t size)
{
	const struct yab_wire_header *frame = &intake->frame;

	intake->received += size;
	if (intake->received < frame->length)
		return;
	yab_requests_answer(&intake->requests, frame);
	yab_verification_take(intake->verification, frame, intake->sums);
	yab_intake_move(intake, YAB_INTAKE_HEADER);
}

/* The next @size bytes of a PAGES frame are in the buffer. False if that lost us. */
static bool yab_intake_take_payload(struct yab_intake *intake, size_t size)
{
	const struct yab_wire_header *frame = &intake->frame;

	if (!yab_intake_store(intake, intake->received, size))
		return false;
	intake->received += size;
	intake->store->statistics.bytes += size;
	if (intake->received < frame->length)
		return true;
	yab_intake_answered(intake, yab_requests_answer(&intake->requests, frame));
	yab_intake_move(intake, YAB_INTAKE_HEADER);
	return true;
}

/* The next @size bytes of a payload are there. False if that lost us. */
static bool yab_intake_take(struct yab_intake *intake, size_t size)
{
	switch (intake->state) {
	case YAB_INTAKE_SUMS:
		yab_intake_take_sums(intake, size);
		return true;
	case YAB_INTAKE_PACK:
		return yab_intake_take_pack(intake, size);
	default:
		return yab_intake_take_payload(intake, size);
	}
}

size_t yab_intake_receive(struct yab_intake *intake)
{
	struct iovec iov[2];
	size_t used = 0, size = 0;
	ssize_t n;

	switch (intake->state) {
	case YAB_INTAKE_ZERO:
		yab_intake_take_zero(intake);
		return YAB_WIRE_HEADER_SIZE;
	case YAB_INTAKE_PAYLOAD:
		size = intake->frame.length - intake->received;
		if (size > sizeof(intake->store->buffer))
			size = sizeof(intake->store->buffer);
		iov[used].iov_base = intake->store->buffer;
		iov[used++].iov_len = size;
		break;
	case YAB_INTAKE_HEADER:
		break;
	case YAB_INTAKE_PACK:
		size = intake->frame.length - intake->received;
		iov[used].iov_base = intake->pack + intake->received;
		iov[used++].iov_len = size;
		break;
	case YAB_INTAKE_SUMS:
		size = intake->frame.length - intake->received;
		iov[used].iov_base = intake->sums + intake->received;
		iov[used++].iov_len = size;
		break;
	case YAB_INTAKE_TEXT:
		iov[used].iov_base = intake->text + intake->received;
		iov[used++].iov_len = intake->frame.length - intake->received;
		break;
	case YAB_INTAKE_CLOSED:
	case YAB_INTAKE_STATES:
		return 0;
	}
	/* The next header comes along with the end of a payload. */
	if (intake->state == YAB_INTAKE_HEADER ||
	    (size && intake->received + size == intake->frame.length)) {
		iov[used].iov_base = intake->header + intake->header_size;
		iov[used++].iov_len = sizeof(intake->header) - intake->header_size;
	}
	n = yab_socket_receive(&intake->socket, iov, used);
	if (n < 0)
		yab_intake_lose(intake, yab_socket_reason(errno));
	if (n <= 0)
		return 0;
	if (intake->state == YAB_INTAKE_TEXT) {
		intake->received += (size_t)n;
		yab_intake_take_text(intake);
		return (size_t)n;
	}
	if (size > (size_t)n)
		size = (size_t)n;
	if (size && !yab_intake_take(intake, size))
		return 0;
	intake->header_size += (size_t)n - size;
	if (intake->header_size == sizeof(intake->header))
		yab_intake_take_header(intake);
	return (size_t)n;
}
