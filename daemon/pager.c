// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Why a page that is declared is never overwritten
 *
 * Pages are received into their final place, without a buffer between. A page may
 * arrive twice: it was on its way on the bulk connection when somebody touched it,
 * so it was asked for on the urgent one as well. Once it is declared, the guest
 * writes to it, and the second copy must not undo that.
 *
 * 1. Whether a page is present is known from the pagemap, and only this (single)
 *    thread changes that: when a declaration has succeeded.
 * 2. yab_pager_aim() looks it up for every page anew before each recvmsg(), also for a
 *    page of which half has arrived: bytes of a page that is present go to a
 *    scratch page. Nothing is declared during a recvmsg().
 * 3. So the place of a page is written to only while the page is not present, and
 *    a page is never not present again. (1, 2)
 * 4. A page that is not present when its last byte has been received was not present
 *    before either, so all its bytes went to its place, not to scratch: it is whole and
 *    can be declared. That another connection wrote some of the same bytes in
 *    between does no harm, for the source's memory stands still.
 *
 * Zero pages follow the same rule: only pages that are not present are cleared.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "pagemap.h"
#include "pager.h"
#include "request.h"
#include "socket.h"
#include "touch.h"

/* Pages that one recvmsg() takes at most. */
#define YAB_PAGER_AIM		32
/*
 * Bytes that a connection receives before the event loop looks for other work. Bulk:
 * what one recvmsg() takes, some 50 us of copying; an urgent page waits no longer than
 * that. Urgent: only so that faults and messages are seen, too.
 */
#define YAB_PAGER_BULK_SLICE	(YAB_PAGER_AIM * YAB_WIRE_PAGE_SIZE)
#define YAB_PAGER_URGENT_SLICE	1048576
/* Faults that are read at once. */
#define YAB_PAGER_FAULTS	128
/* Requests that are written at once. */
#define YAB_PAGER_REQUESTS	64
/* After a declaration failed for lack of memory. */
#define YAB_PAGER_RETRY_US	10000
/*
 * A frame names at most YAB_WIRE_PAGES_MAX pages, every second of which may be
 * present: so many ranges must be free before more is received.
 */
#define YAB_PAGER_RANGES_SPARE	(YAB_WIRE_PAGES_MAX / 2 + 1)

#if YAB_PAGER_RUN > YAB_WIRE_PAGES_MAX || YAB_PAGER_RANGES_SPARE > YAB_RANGES_MAX
#error "a run does not fit into a request, or a frame not into a declaration"
#endif

/* What comes next on a connection. */
enum yab_pager_link_state {
	YAB_PAGER_LINK_CLOSED,
	YAB_PAGER_LINK_HEADER,
	YAB_PAGER_LINK_PAYLOAD,	/* of a PAGES frame */
	YAB_PAGER_LINK_TEXT,		/* of an ERROR frame */
	YAB_PAGER_LINK_STATES,
};

static const bool yab_pager_link_moves[YAB_PAGER_LINK_STATES][YAB_PAGER_LINK_STATES] = {
	[YAB_PAGER_LINK_CLOSED] = {
		[YAB_PAGER_LINK_HEADER] = true,
	},
	[YAB_PAGER_LINK_HEADER] = {
		[YAB_PAGER_LINK_PAYLOAD] = true,
		[YAB_PAGER_LINK_TEXT] = true,
		[YAB_PAGER_LINK_CLOSED] = true,
	},
	[YAB_PAGER_LINK_PAYLOAD] = {
		[YAB_PAGER_LINK_HEADER] = true,
		[YAB_PAGER_LINK_CLOSED] = true,
	},
	[YAB_PAGER_LINK_TEXT] = {
		[YAB_PAGER_LINK_CLOSED] = true,
	},
};

struct yab_pager_link {
	struct yab_pager *pager;
	struct yab_socket socket;
	enum yab_pager_link_state state;
	size_t slice;
	struct yab_requests requests;

	uint8_t header[YAB_WIRE_HEADER_SIZE];
	size_t header_size;	/* received of it */
	struct yab_wire_header frame;
	size_t received;	/* of the frame's payload or text */
	uint8_t text[YAB_WIRE_ERROR_MAX];
};

enum yab_pager_state {
	YAB_PAGER_FILLING,
	YAB_PAGER_STALLED,	/* a declaration must be tried again: receives nothing */
	YAB_PAGER_COMPLETE,	/* only late duplicates still come */
	YAB_PAGER_FAILED,
	YAB_PAGER_STATES,
};

static const bool yab_pager_moves[YAB_PAGER_STATES][YAB_PAGER_STATES] = {
	[YAB_PAGER_FILLING] = { [YAB_PAGER_STALLED] = true, [YAB_PAGER_COMPLETE] = true,
				[YAB_PAGER_FAILED] = true },
	[YAB_PAGER_STALLED] = { [YAB_PAGER_FILLING] = true, [YAB_PAGER_FAILED] = true },
};

struct yab_pager {
	struct event_base *base;
	const char *vm;
	int memory_fd;
	int pager_fd;
	uint8_t *memory;	/* the view that is not trapped */
	const struct yab_pager_ops *ops;
	void *arg;

	enum yab_pager_state state;
	struct yab_pagemap map;
	uint64_t cursor;	/* where the bulk sweep goes on */
	bool sweeps;
	struct yab_pager_link urgent;
	struct yab_pager_link bulk;
	struct event fault;
	struct event retry;

	/* Whole in place, not declared yet. */
	struct yab_range ranges[YAB_RANGES_MAX];
	size_t range_count;

	struct yab_touches touches;
	struct yab_histogram latency;
	struct yab_pager_statistics statistics;
	uint8_t scratch[YAB_WIRE_PAGE_SIZE];	/* written to, never read */
};

static struct yab_pager_link *yab_pager_link(struct yab_pager *pager, enum yab_wire_role role)
{
	return role == YAB_WIRE_URGENT ? &pager->urgent : &pager->bulk;
}

static bool yab_pager_move(struct yab_pager *pager, enum yab_pager_state state)
{
	if (!yab_pager_moves[pager->state][state]) {
		yab_log_error(pager->vm, "bug: pager moves from state %d to %d", pager->state,
			      state);
		return false;
	}
	pager->state = state;
	return true;
}

static void yab_pager_link_move(struct yab_pager_link *link, enum yab_pager_link_state state)
{
	if (!yab_pager_link_moves[link->state][state])
		yab_log_error(link->pager->vm, "bug: %s connection moves from state %d to %d",
			      yab_wire_role_name(link->socket.role), link->state, state);
	link->state = state;
}

static void yab_pager_reset(struct yab_pager_link *link)
{
	if (link->state == YAB_PAGER_LINK_CLOSED)
		return;
	yab_pager_link_move(link, YAB_PAGER_LINK_CLOSED);
	yab_socket_close(&link->socket);
	yab_requests_reset(&link->requests);
	yab_pagemap_forget(&link->pager->map, link->socket.role);
	link->header_size = 0;
}

static void yab_pager_lose(struct yab_pager_link *link, const char *error)
{
	struct yab_pager *pager = link->pager;
	const enum yab_wire_role role = link->socket.role;

	yab_pager_reset(link);
	if (pager->state == YAB_PAGER_COMPLETE) {
		yab_log_debug(pager->vm, "%s connection ended: %s", yab_wire_role_name(role),
			      error);
		return;
	}
	yab_log_warn(pager->vm, "%s connection lost: %s", yab_wire_role_name(role), error);
	pager->ops->lost(role, error, pager->arg);
}

/* The peer broke the protocol. */
static void yab_pager_reject(struct yab_pager_link *link, const char *error)
{
	if (!link->requests.sent_bytes)
		yab_socket_refuse(&link->socket, error);
	yab_pager_lose(link, error);
}

static void yab_pager_fail(struct yab_pager *pager, const char *what, int error)
{
	char text[128];

	if (!yab_pager_move(pager, YAB_PAGER_FAILED))
		return;
	if (pager->pager_fd >= 0)
		event_del(&pager->fault);
	event_del(&pager->retry);
	yab_pager_reset(&pager->urgent);
	yab_pager_reset(&pager->bulk);
	snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
	yab_log_error(pager->vm, "%s", text);
	pager->ops->failed(text, pager->arg);
}

/*
 * While a declaration is to be tried again, nothing is received, unless there is no
 * memory even for the timer: then data that comes in makes for the retries.
 */
static bool yab_pager_receives(const struct yab_pager *pager)
{
	return pager->state != YAB_PAGER_STALLED || !evtimer_pending(&pager->retry, NULL);
}

static void yab_pager_link_await_data(struct yab_pager_link *link)
{
	if (link->state != YAB_PAGER_LINK_CLOSED &&
	    yab_socket_await_data(&link->socket, yab_pager_receives(link->pager)) < 0)
		yab_pager_lose(link, "no memory to wait for it");
}

/*
 * What cannot be declared must not pile up. The ranges stay, and their pages stay
 * not present, so nothing is decided about them meanwhile.
 */
static void yab_pager_stall(struct yab_pager *pager)
{
	static const struct timeval retry = { .tv_usec = YAB_PAGER_RETRY_US };

	if (pager->state == YAB_PAGER_FILLING) {
		yab_pager_move(pager, YAB_PAGER_STALLED);
		yab_log_warn(pager->vm, "declaring pages: %s; trying again", strerror(errno));
	}
	evtimer_add(&pager->retry, &retry);
	yab_pager_link_await_data(&pager->urgent);
	yab_pager_link_await_data(&pager->bulk);
}

/*
 * Declares what is whole. The content is in place before the call, which makes it
 * visible before anybody is woken; the pagemap learns of it after. False if not
 * everything was declared.
 */
static bool yab_pager_flush(struct yab_pager *pager)
{
	if (pager->range_count && pager->pager_fd >= 0 &&
	    pager->ops->declare(pager->pager_fd, pager->ranges, pager->range_count) < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ENOMEM)
			yab_pager_stall(pager);
		else
			yab_pager_fail(pager, "declaring pages", errno);
		return false;
	}
	for (size_t i = 0; i < pager->range_count; i++) {
		const struct yab_range *range = &pager->ranges[i];

		yab_pagemap_mark_present(&pager->map, range->page, range->count);
		yab_touches_end(&pager->touches, range->page, range->count, &pager->latency);
	}
	pager->range_count = 0;
	pager->statistics.present = pager->map.present;
	if (pager->state == YAB_PAGER_STALLED)
		yab_pager_move(pager, YAB_PAGER_FILLING);
	if (pager->state == YAB_PAGER_FILLING && pager->map.present == pager->map.pages) {
		yab_pager_move(pager, YAB_PAGER_COMPLETE);
		pager->ops->complete(pager->arg);
	}
	return true;
}

static bool yab_pager_has_spare_ranges(const struct yab_pager *pager)
{
	return pager->range_count + YAB_PAGER_RANGES_SPARE <= YAB_RANGES_MAX;
}

/* @page is whole in its place; counts it as arrived on @link. */
static void yab_pager_settle(struct yab_pager_link *link, uint64_t page)
{
	struct yab_pager *pager = link->pager;
	struct yab_range *last = pager->range_count ? &pager->ranges[pager->range_count - 1] : NULL;

	if (link->socket.role == YAB_WIRE_URGENT)
		pager->statistics.urgent_pages++;
	else
		pager->statistics.bulk_pages++;
	if (yab_pagemap_is_present(&pager->map, page)) {
		pager->statistics.duplicate_pages++;
		return;
	}
	if (last && last->page + last->count == page) {
		last->count++;
		return;
	}
	pager->ranges[pager->range_count++] = (struct yab_range){
		.page = page,
		.count = 1,
		.state = YAB_RANGE_PRESENT,
	};
}

/* 0, or -1 with errno. */
static int yab_pager_punch(struct yab_pager *pager, uint64_t page)
{
	int ret;

	do {
		ret = fallocate(pager->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)(page * YAB_WIRE_PAGE_SIZE), YAB_WIRE_PAGE_SIZE);
	} while (ret < 0 && errno == EINTR);
	return ret;
}

/*
 * Makes those of [page, page + count) zero that are not present. Nearly always they
 * are holes and that is that. A page that a lost connection, another connection or
 * a worker before this one left half received is not a hole: the file is asked,
 * nobody's memory of it. A system call punches the hole, for a store that finds no
 * memory would be a signal, not an error. 0, or -1 with errno.
 */
static int yab_pager_clear(struct yab_pager *pager, uint64_t page, uint64_t count)
{
	const uint64_t end = page + count;

	while (page < end) {
		const off_t data = lseek(pager->memory_fd, (off_t)(page * YAB_WIRE_PAGE_SIZE),
					 SEEK_DATA);

		if (data < 0)
			return errno == ENXIO ? 0 : -1;
		page = (uint64_t)data / YAB_WIRE_PAGE_SIZE;
		if (page >= end)
			break;
		if (!yab_pagemap_is_present(&pager->map, page) && yab_pager_punch(pager, page) < 0)
			return -1;
		page++;
	}
	return 0;
}

static void yab_pager_take_text(struct yab_pager_link *link)
{
	char text[YAB_SOCKET_TEXT_SIZE];

	if (link->received < link->frame.length)
		return;
	yab_socket_quote(text, "source", link->text, link->frame.length);
	yab_pager_lose(link, text);
}

/* A whole header is there. */
static void yab_pager_take_header(struct yab_pager_link *link)
{
	struct yab_pager *pager = link->pager;
	struct yab_wire_header *frame = &link->frame;

	link->header_size = 0;
	link->received = 0;
	if (yab_wire_header_decode(link->header, link->socket.role, pager->map.pages, frame) !=
	    YAB_WIRE_OK) {
		yab_pager_reject(link, "malformed frame from the source");
		return;
	}
	if (frame->type == YAB_WIRE_ERROR) {
		yab_pager_link_move(link, YAB_PAGER_LINK_TEXT);
		yab_pager_take_text(link);
		return;
	}
	if (frame->type == YAB_WIRE_REQUEST) {
		yab_pager_reject(link, "source asks for pages");
		return;
	}
	if (!yab_requests_expect(&link->requests, frame->page, frame->count)) {
		yab_pager_reject(link, "source sent pages that were not asked for next");
		return;
	}
	if (frame->type == YAB_WIRE_PAGES) {
		yab_pager_link_move(link, YAB_PAGER_LINK_PAYLOAD);
		return;
	}
	if (yab_pager_clear(pager, frame->page, frame->count) < 0) {
		yab_pager_lose(link, yab_socket_reason(errno));
		return;
	}
	pager->statistics.zero_pages += frame->count;
	for (uint64_t i = 0; i < frame->count; i++)
		yab_pager_settle(link, frame->page + i);
	yab_requests_answer(&link->requests, frame->count);
}

/*
 * Where the next bytes of a PAGES frame go: each page to its place, or to scratch if
 * it is present (see the top of this file). Returns how many of @iov are used; *size
 * becomes the bytes they hold.
 */
static size_t yab_pager_aim(struct yab_pager_link *link, struct iovec *iov, size_t *size)
{
	struct yab_pager *pager = link->pager;
	const size_t left = link->frame.length - link->received;
	size_t used = 0;

	*size = 0;
	for (int i = 0; i < YAB_PAGER_AIM && *size < left; i++) {
		const size_t at = link->received + *size;
		const size_t offset = at % YAB_WIRE_PAGE_SIZE;
		const size_t length = YAB_WIRE_PAGE_SIZE - offset;
		const uint64_t page = link->frame.page + at / YAB_WIRE_PAGE_SIZE;
		uint8_t *place = pager->memory + page * YAB_WIRE_PAGE_SIZE + offset;

		if (yab_pagemap_is_present(&pager->map, page))
			place = pager->scratch + offset;
		*size += length;
		if (used && (uint8_t *)iov[used - 1].iov_base + iov[used - 1].iov_len == place) {
			iov[used - 1].iov_len += length;
			continue;
		}
		iov[used].iov_base = place;
		iov[used].iov_len = length;
		used++;
	}
	return used;
}

/* @size bytes went where yab_pager_aim() said. */
static void yab_pager_take_payload(struct yab_pager_link *link, size_t size)
{
	const size_t first = link->received / YAB_WIRE_PAGE_SIZE;
	const size_t end = (link->received + size) / YAB_WIRE_PAGE_SIZE;
	const struct yab_wire_header *frame = &link->frame;

	link->received += size;
	link->pager->statistics.bytes += size;
	for (size_t i = first; i < end; i++) {
		link->pager->statistics.data_pages++;
		yab_pager_settle(link, frame->page + i);
	}
	if (link->received < frame->length)
		return;
	yab_requests_answer(&link->requests, frame->count);
	yab_pager_link_move(link, YAB_PAGER_LINK_HEADER);
}

/*
 * One recvmsg(). Returns the bytes received, 0 if there were none or the connection
 * was lost.
 */
static size_t yab_pager_receive(struct yab_pager_link *link)
{
	struct iovec iov[YAB_PAGER_AIM + 1];
	size_t used = 0, size = 0;
	ssize_t n;

	if (link->state == YAB_PAGER_LINK_PAYLOAD)
		used = yab_pager_aim(link, iov, &size);
	if (link->state == YAB_PAGER_LINK_TEXT) {
		iov[used].iov_base = link->text + link->received;
		iov[used++].iov_len = link->frame.length - link->received;
	} else if (link->state == YAB_PAGER_LINK_HEADER ||
		   link->received + size == link->frame.length) {
		/* The next header comes along with the end of the payload. */
		iov[used].iov_base = link->header + link->header_size;
		iov[used++].iov_len = sizeof(link->header) - link->header_size;
	}
	n = yab_socket_receive(&link->socket, iov, used);
	if (n < 0)
		yab_pager_lose(link, yab_socket_reason(errno));
	if (n <= 0)
		return 0;
	if (link->state == YAB_PAGER_LINK_TEXT) {
		link->received += (size_t)n;
		yab_pager_take_text(link);
		return (size_t)n;
	}
	if (size > (size_t)n)
		size = (size_t)n;
	if (size)
		yab_pager_take_payload(link, size);
	link->header_size += (size_t)n - size;
	if (link->header_size == sizeof(link->header))
		yab_pager_take_header(link);
	return (size_t)n;
}

/* Writes what was asked for, as far as the socket takes it. */
static void yab_pager_write(struct yab_pager_link *link)
{
	uint8_t bytes[YAB_PAGER_REQUESTS * YAB_WIRE_HEADER_SIZE];
	size_t size;
	ssize_t n;

	while ((size = yab_requests_encode(&link->requests, bytes, sizeof(bytes)))) {
		n = yab_socket_send(&link->socket, bytes, size, false);
		if (n < 0) {
			yab_pager_lose(link, yab_socket_reason(errno));
			return;
		}
		if (n == 0)
			break;
		yab_requests_wrote(&link->requests, (size_t)n);
	}
	if (yab_socket_await_room(&link->socket, size != 0) < 0)
		yab_pager_lose(link, "no memory to wait for it");
}

static void yab_pager_ask(struct yab_pager_link *link, uint64_t page, uint64_t count)
{
	yab_requests_add(&link->requests, page, count, YAB_PAGER_RUN);
	yab_pagemap_ask(&link->pager->map, page, count, link->socket.role);
}

/* Asks for the pages that somebody waits for and that were not asked for on @link. */
static void yab_pager_ask_unmet(struct yab_pager_link *link)
{
	uint64_t page, count;

	while (!yab_requests_is_full(&link->requests) &&
	       yab_pagemap_next_unmet(&link->pager->map, link->socket.role, YAB_PAGER_RUN, &page,
				      &count))
		yab_pager_ask(link, page, count);
}

/*
 * Keeps both connections busy. Called after everything that may change what is to be
 * asked for.
 */
static void yab_pager_pump(struct yab_pager *pager)
{
	uint64_t page, count;

	if (pager->state == YAB_PAGER_COMPLETE || pager->state == YAB_PAGER_FAILED)
		return;
	if (pager->urgent.state != YAB_PAGER_LINK_CLOSED) {
		yab_pager_ask_unmet(&pager->urgent);
		yab_pager_write(&pager->urgent);
	}
	if (pager->bulk.state == YAB_PAGER_LINK_CLOSED)
		return;
	/* Looked up again: the urgent connection may have been lost just now. */
	if (pager->urgent.state == YAB_PAGER_LINK_CLOSED)
		yab_pager_ask_unmet(&pager->bulk);
	/* Full runs only, or an answer of one page would be followed by a request of one. */
	while (pager->sweeps && pager->bulk.requests.pages + YAB_PAGER_RUN <= YAB_PAGER_WINDOW &&
	       !yab_requests_is_full(&pager->bulk.requests) &&
	       yab_pagemap_next_idle(&pager->map, pager->cursor, YAB_PAGER_RUN, &page, &count)) {
		yab_pager_ask(&pager->bulk, page, count);
		pager->cursor = page + count;
	}
	yab_pager_write(&pager->bulk);
}

static void yab_pager_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_pager_link *link = arg;
	struct yab_pager *pager = link->pager;
	size_t left = link->slice;
	size_t n;

	(void)fd;
	(void)what;
	if (pager->state == YAB_PAGER_STALLED && !yab_pager_flush(pager))
		return;
	while (left && link->state != YAB_PAGER_LINK_CLOSED && yab_pager_has_spare_ranges(pager)) {
		n = yab_pager_receive(link);
		if (!n)
			break;
		left -= n < left ? n : left;
		/* Somebody waits for these; bulk pages are declared together. */
		if (link->socket.role == YAB_WIRE_URGENT && pager->range_count &&
		    !yab_pager_flush(pager))
			return;
	}
	if (yab_pager_flush(pager))
		yab_pager_pump(pager);
}

static void yab_pager_on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	yab_pager_write(arg);
}

static void yab_pager_on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct yab_pager *pager = arg;

	(void)fd;
	(void)what;
	if (!yab_pager_flush(pager))
		return;
	yab_pager_link_await_data(&pager->urgent);
	yab_pager_link_await_data(&pager->bulk);
	yab_pager_pump(pager);
}

static void yab_pager_take_fault(struct yab_pager *pager, const struct yab_fault *fault)
{
	struct yab_pager_link *urgent = &pager->urgent;

	if (fault->page >= pager->map.pages) {
		yab_log_warn(pager->vm, "bug: fault on page %llu of %llu",
			     (unsigned long long)fault->page,
			     (unsigned long long)pager->map.pages);
		return;
	}
	pager->statistics.faults++;
	if (!yab_pagemap_want(&pager->map, fault->page))
		return;
	yab_touches_note(&pager->touches, fault->page, fault->time_ns);
	/* The pages behind it are the likeliest to be touched next. */
	pager->cursor = fault->page + 1;
	/*
	 * In the order of the faults. One that was asked for in bulk is asked for again:
	 * it must not wait behind what else is under way there. What finds no room stays
	 * wanted in the pagemap, for yab_pager_pump().
	 */
	if (urgent->state != YAB_PAGER_LINK_CLOSED && !yab_requests_is_full(&urgent->requests) &&
	    !yab_pagemap_is_asked(&pager->map, fault->page, YAB_WIRE_URGENT))
		yab_pager_ask(urgent, fault->page, 1);
}

static void yab_pager_on_fault(evutil_socket_t fd, short what, void *arg)
{
	struct yab_fault faults[YAB_PAGER_FAULTS];
	struct yab_pager *pager = arg;
	ssize_t n;

	(void)what;
	n = read(fd, faults, sizeof(faults));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (size_t)n % sizeof(faults[0])) {
		yab_pager_fail(pager, "reading faults", n < 0 ? errno : EPROTO);
		return;
	}
	if (!n) {
		yab_log_debug(pager->vm, "no more faults will come");
		event_del(&pager->fault);
		return;
	}
	for (size_t i = 0; i < (size_t)n / sizeof(faults[0]); i++)
		yab_pager_take_fault(pager, &faults[i]);
	yab_pager_pump(pager);
}

static void yab_pager_link_init(struct yab_pager *pager, enum yab_wire_role role, size_t slice)
{
	struct yab_pager_link *link = yab_pager_link(pager, role);

	link->pager = pager;
	link->slice = slice;
	link->state = YAB_PAGER_LINK_CLOSED;
	yab_socket_init(&link->socket, role);
}

/* Listens for faults. 0, or -1 with errno. */
static int yab_pager_listen(struct yab_pager *pager)
{
	if (pager->pager_fd < 0)
		return 0;
	if (event_assign(&pager->fault, pager->base, pager->pager_fd, EV_READ | EV_PERSIST,
			 yab_pager_on_fault, pager) < 0 ||
	    event_priority_set(&pager->fault, YAB_PRIORITY_URGENT) < 0 ||
	    event_add(&pager->fault, NULL) < 0) {
		errno = EINVAL;
		return -1;
	}
	return 0;
}

struct yab_pager *yab_pager_new(struct event_base *base, const char *vm, int memory_fd,
				int pager_fd, uint64_t pages, const struct yab_pager_ops *ops,
				void *arg)
{
	struct yab_pager *pager;
	struct stat st;
	void *memory;
	int error;

	if (fstat(memory_fd, &st) < 0)
		return NULL;
	if (!pages || st.st_size < 0 || pages > (uint64_t)st.st_size / YAB_WIRE_PAGE_SIZE) {
		errno = EINVAL;
		return NULL;
	}
	pager = calloc(1, sizeof(*pager));
	if (!pager)
		return NULL;
	if (yab_pagemap_init(&pager->map, pages) < 0)
		goto free_pager;
	memory = mmap(NULL, pages * YAB_WIRE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_NORESERVE, memory_fd, 0);
	if (memory == MAP_FAILED)
		goto release_map;
	pager->base = base;
	pager->vm = vm;
	pager->memory_fd = memory_fd;
	pager->pager_fd = pager_fd;
	pager->memory = memory;
	pager->ops = ops;
	pager->arg = arg;
	pager->state = YAB_PAGER_FILLING;
	pager->sweeps = true;
	yab_pager_link_init(pager, YAB_WIRE_URGENT, YAB_PAGER_URGENT_SLICE);
	yab_pager_link_init(pager, YAB_WIRE_BULK, YAB_PAGER_BULK_SLICE);
	evtimer_assign(&pager->retry, base, yab_pager_on_retry, pager);
	if (yab_pager_listen(pager) < 0)
		goto unmap;
	return pager;

unmap:
	munmap(memory, pages * YAB_WIRE_PAGE_SIZE);
release_map:
	yab_pagemap_release(&pager->map);
free_pager:
	error = errno;
	free(pager);
	errno = error;
	return NULL;
}

void yab_pager_free(struct yab_pager *pager)
{
	if (!pager)
		return;
	yab_pager_reset(&pager->urgent);
	yab_pager_reset(&pager->bulk);
	if (pager->pager_fd >= 0)
		event_del(&pager->fault);
	event_del(&pager->retry);
	munmap(pager->memory, pager->map.pages * YAB_WIRE_PAGE_SIZE);
	yab_pagemap_release(&pager->map);
	free(pager);
}

int yab_pager_connect(struct yab_pager *pager, enum yab_wire_role role, int fd, SSL *ssl)
{
	struct yab_pager_link *link = yab_pager_link(pager, role);

	yab_pager_reset(link);
	if (pager->state == YAB_PAGER_FAILED) {
		SSL_free(ssl);
		close(fd);
		errno = ESHUTDOWN;
		return -1;
	}
	if (yab_socket_open(&link->socket, pager->base, fd, ssl, yab_pager_on_readable,
			    yab_pager_on_writable, link) < 0)
		return -1;
	yab_pager_link_move(link, YAB_PAGER_LINK_HEADER);
	if (yab_socket_await_data(&link->socket, yab_pager_receives(pager)) < 0) {
		yab_pager_reset(link);
		errno = ENOMEM;
		return -1;
	}
	yab_pager_pump(pager);
	return 0;
}

void yab_pager_sweep(struct yab_pager *pager, bool on)
{
	pager->sweeps = on;
	yab_pager_pump(pager);
}

bool yab_pager_is_complete(const struct yab_pager *pager)
{
	return pager->state == YAB_PAGER_COMPLETE;
}

bool yab_pager_has_connections(const struct yab_pager *pager)
{
	return pager->urgent.state != YAB_PAGER_LINK_CLOSED ||
	       pager->bulk.state != YAB_PAGER_LINK_CLOSED;
}

const struct yab_pager_statistics *yab_pager_statistics(const struct yab_pager *pager)
{
	return &pager->statistics;
}

const struct yab_histogram *yab_pager_latency(const struct yab_pager *pager)
{
	return &pager->latency;
}
