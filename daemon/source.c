// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "payoff.h"
#include "source.h"
#include "socket.h"
#include "summation.h"

/* Requests that wait behind the one being answered; a power of two. */
#define YAB_SOURCE_QUEUE	256
/* Pages that a survey looks at before it says how far it got. */
#define YAB_SOURCE_SURVEY_SPAN	65536
/* Smaller holes are not worth a frame: they are found when they are asked for. */
#define YAB_SOURCE_SURVEY_HOLE	16
/* One urgent connection, and the bulk ones. */
#define YAB_SOURCE_LINKS	(1 + YAB_WIRE_BULKS_MAX)
/* Frames that are taken from the socket at once. An ERROR must fit with its text. */
#define YAB_SOURCE_INPUT	(64 * YAB_WIRE_HEADER_SIZE)

#if YAB_CODEC_PLAIN_MAX > YAB_BACKING_BLOCK
#error "a pack's pages cannot be read at once"
#endif
#if YAB_WIRE_HEADER_SIZE + YAB_WIRE_ERROR_MAX > YAB_SOURCE_INPUT
#error "an ERROR frame does not fit into the input"
#endif

struct yab_source_request {
	uint64_t page;
	uint64_t count;
	enum yab_wire_type type;	/* REQUEST, SURVEY or SUM */
	uint64_t read_ns;	/* CLOCK_MONOTONIC; 0: not timed */
};

/*
 * One connection. Answers are made a frame at a time, when the one before is
 * written, so the queue of requests is all that a slow peer can make us hold.
 */
struct yab_source_link {
	struct yab_source *source;
	struct yab_socket socket;
	unsigned int index;	/* among those of its role */
	size_t slice;

	uint8_t input[YAB_SOURCE_INPUT];
	size_t input_size;
	uint64_t read_ns;	/* when there was input last; 0: it is not timed */
	struct yab_source_request queue[YAB_SOURCE_QUEUE];
	unsigned int head;	/* free running; places are modulo YAB_SOURCE_QUEUE */
	unsigned int tail;

	/* The request being answered: pages [at, end) are left; at == end: none. */
	uint64_t first;
	uint64_t at;
	uint64_t end;
	struct yab_backing_view view;	/* what was seen stays true, the guest is stopped */
	enum yab_wire_type type;	/* what is being answered; REQUEST, too, if nothing is */
	struct yab_summation summation;	/* the answer to a SUM */
	uint64_t timed_ns;	/* when it was read; 0: it is not timed, or no more */

	/* The frame being written. */
	uint8_t header[YAB_WIRE_HEADER_SIZE];
	size_t header_left;
	uint64_t payload;	/* where in the memory */
	size_t payload_left;
	uint64_t data_pages;	/* of a frame of data, until it is written; else 0 */
	uint8_t *pack;		/* room for one; NULL: nothing is ever packed here */
	const void *made;	/* the payload, if it is a pack or sums, */
	size_t made_size;	/* and all that it is; else 0 */
};

enum yab_source_state {
	YAB_SOURCE_WAITING,	/* the guest may run: its memory is not to be read */
	YAB_SOURCE_SERVING,
	YAB_SOURCE_STATES,
};

static const bool yab_source_moves[YAB_SOURCE_STATES][YAB_SOURCE_STATES] = {
	[YAB_SOURCE_WAITING] = { [YAB_SOURCE_SERVING] = true },
};

struct yab_source {
	struct event_base *base;
	const char *vm;
	struct yab_backing *backing;
	uint64_t pages;
	struct yab_codec *codec;	/* NULL: nothing is packed */
	uint8_t *packs;			/* those of all bulk connections */
	struct yab_payoff payoff;	/* of all of them together */
	enum yab_source_state state;
	struct yab_source_link links[YAB_SOURCE_LINKS];	/* the urgent one first */
	struct yab_source_statistics statistics;
	struct yab_histogram service;
	yab_source_lost_cb lost;
	void *arg;
};

static bool yab_source_is_full(const struct yab_source_link *link)
{
	return link->tail - link->head == YAB_SOURCE_QUEUE;
}

/* Something is to be written. */
static bool yab_source_is_busy(const struct yab_source_link *link)
{
	return link->header_left || link->payload_left || link->type != YAB_WIRE_REQUEST ||
	       link->at < link->end || link->head != link->tail;
}

static void yab_source_reset(struct yab_source_link *link)
{
	yab_socket_close(&link->socket);
	link->input_size = 0;
	link->head = 0;
	link->tail = 0;
	link->at = 0;
	link->end = 0;
	memset(&link->view, 0, sizeof(link->view));
	link->type = YAB_WIRE_REQUEST;
	link->header_left = 0;
	link->payload_left = 0;
	link->data_pages = 0;
	link->made_size = 0;
}

static void yab_source_lose(struct yab_source_link *link, const char *error)
{
	struct yab_source *source = link->source;
	const enum yab_wire_role role = link->socket.role;

	yab_log_warn(source->vm, "%s connection %u lost: %s", yab_wire_role_name(role),
		     link->index, error);
	yab_source_reset(link);
	yab_payoff_disturb(&source->payoff);
	source->lost(role, link->index, error, source->arg);
}

/* The peer broke the protocol. */
static void yab_source_reject(struct yab_source_link *link, const char *error)
{
	if (!link->header_left && !link->payload_left)
		yab_socket_refuse(&link->socket, error);
	yab_source_lose(link, error);
}

/*
 * Moves whole frames from the input to the queue, as far as that has room. False
 * if the connection was lost over it.
 */
static bool yab_source_parse(struct yab_source_link *link)
{
	struct yab_source_statistics *statistics = &link->source->statistics;
	size_t used = 0;

	while (link->input_size - used >= YAB_WIRE_HEADER_SIZE &&
	       !yab_source_is_full(link)) {
		struct yab_source_request *request = &link->queue[link->tail % YAB_SOURCE_QUEUE];
		const uint8_t *in = link->input + used;
		struct yab_wire_header header;

		if (yab_wire_header_decode(in, link->socket.role, link->source->pages, &header) !=
		    YAB_WIRE_OK) {
			yab_source_reject(link, "malformed frame from the destination");
			return false;
		}
		if (header.type == YAB_WIRE_ERROR) {
			char text[YAB_SOCKET_TEXT_SIZE];

			if (link->input_size - used < YAB_WIRE_HEADER_SIZE + header.length)
				break;
			yab_socket_quote(text, "destination", in + YAB_WIRE_HEADER_SIZE,
					 header.length);
			yab_source_lose(link, text);
			return false;
		}
		if (header.type != YAB_WIRE_REQUEST && header.type != YAB_WIRE_SURVEY &&
		    header.type != YAB_WIRE_SUM) {
			yab_source_reject(link, "destination sent pages");
			return false;
		}
		request->page = header.page;
		request->count = header.count;
		request->type = header.type;
		/* Nobody waits for a sum. */
		request->read_ns = header.type == YAB_WIRE_SUM ? 0 : link->read_ns;
		link->tail++;
		used += YAB_WIRE_HEADER_SIZE;
		if (header.type == YAB_WIRE_REQUEST && link->socket.role == YAB_WIRE_URGENT)
			statistics->urgent_requests++;
		else if (header.type == YAB_WIRE_REQUEST)
			statistics->bulk_requests++;
	}
	link->input_size -= used;
	memmove(link->input, link->input + used, link->input_size);
	return true;
}

/* Starts on the next request. False if there is none, or the connection was lost. */
static bool yab_source_next_request(struct yab_source_link *link)
{
	const struct yab_source_request *request;

	if (link->head == link->tail && (!yab_source_parse(link) || link->head == link->tail))
		return false;
	request = &link->queue[link->head++ % YAB_SOURCE_QUEUE];
	link->first = request->page;
	link->at = request->page;
	link->end = request->page + request->count;
	link->type = request->type;
	if (link->type == YAB_WIRE_SUM)
		yab_summation_begin(&link->summation, request->page, request->count);
	link->timed_ns = request->read_ns;
	return true;
}

static void yab_source_put_header(struct yab_source_link *link,
				  const struct yab_wire_header *header)
{
	yab_wire_header_encode(link->header, header);
	link->header_left = sizeof(link->header);
}

/* The memory cannot be read: nobody gets other pages instead, nor is told that they are zero. */
static void yab_source_lose_memory(struct yab_source_link *link)
{
	yab_source_reject(link, yab_backing_reason(link->source->backing, errno));
}

/*
 * Packs the pages that @header names, if that makes them smaller. False if they cannot be
 * read.
 */
static bool yab_source_make_pack(struct yab_source_link *link, struct yab_wire_header *header)
{
	struct yab_source_statistics *statistics = &link->source->statistics;
	const uint8_t *bytes;
	size_t size;

	if (header->count > YAB_WIRE_PACK_PAGES)
		header->count = YAB_WIRE_PACK_PAGES;
	size = header->count * YAB_WIRE_PAGE_SIZE;
	bytes = yab_backing_bytes(link->source->backing, header->page * YAB_WIRE_PAGE_SIZE, size);
	if (!bytes)
		return false;
	link->made = link->pack;
	link->made_size = yab_codec_pack(link->source->codec, link->pack, bytes, size);
	if (!link->made_size)
		return true;
	header->type = YAB_WIRE_PACKED;
	header->length = (uint32_t)link->made_size;
	statistics->packed_pages += header->count;
	statistics->packed_bytes += link->made_size;
	return true;
}

/* A frame's payload is written. */
static void yab_source_wrote_payload(struct yab_source_link *link)
{
	if (link->pack && link->data_pages)
		yab_payoff_sent(&link->source->payoff, link->data_pages, yab_clock_ns());
	link->data_pages = 0;
	link->made_size = 0;
}

/*
 * Makes the next frame of the request: a run of pages that are all zero or all not. False
 * if the connection was lost.
 */
static bool yab_source_next_frame(struct yab_source_link *link)
{
	struct yab_source_statistics *statistics = &link->source->statistics;
	const bool packs = link->pack && yab_payoff_packs(&link->source->payoff);
	struct yab_wire_header header = { .page = link->at };
	bool zero;

	if (yab_backing_run(link->source->backing, &link->view, link->at, link->end - link->at,
			    packs ? YAB_WIRE_PACK_PAGES :
				    yab_backing_best_run(link->source->backing, &link->socket),
			    &zero, &header.count) < 0) {
		yab_source_lose_memory(link);
		return false;
	}
	header.type = zero ? YAB_WIRE_ZERO : YAB_WIRE_PAGES;
	if (!zero && packs && !yab_source_make_pack(link, &header)) {
		yab_source_lose_memory(link);
		return false;
	}
	link->at += header.count;
	if (!zero) {
		if (header.type == YAB_WIRE_PAGES)
			header.length = (uint32_t)(header.count * YAB_WIRE_PAGE_SIZE);
		link->payload = header.page * YAB_WIRE_PAGE_SIZE;
		link->payload_left = header.length;
		link->data_pages = header.count;
		statistics->bytes += header.length;
		statistics->data_pages += header.count;
	} else {
		statistics->zero_pages += header.count;
	}
	if (link->socket.role == YAB_WIRE_URGENT)
		statistics->urgent_pages += header.count;
	else
		statistics->bulk_pages += header.count;
	yab_source_put_header(link, &header);
	return true;
}

/*
 * A turn of a survey, which makes a frame if there is something to say. A survey ends
 * early, so that a large memory does not hold up the requests behind it; but what one
 * look at the memory tells is said, however far that is. False if the connection was lost.
 */
static bool yab_source_survey(struct yab_source_link *link)
{
	struct yab_source_statistics *statistics = &link->source->statistics;
	struct yab_wire_header header = { .type = YAB_WIRE_ZERO };
	uint64_t end = link->at + YAB_BACKING_LOOK;
	uint64_t hole_end;

	if (end > link->end)
		end = link->end;
	if (link->at < end && link->at - link->first < YAB_SOURCE_SURVEY_SPAN) {
		if (yab_backing_seek_hole(link->source->backing, &link->at, end,
					  YAB_SOURCE_SURVEY_HOLE, &hole_end) < 0) {
			yab_source_lose_memory(link);
			return false;
		}
		if (hole_end > link->end)
			hole_end = link->end;
		if (hole_end > link->at) {
			header.page = link->at;
			header.count = hole_end - link->at;
			link->at = hole_end;
			statistics->zero_pages += header.count;
			statistics->bulk_pages += header.count;
			yab_source_put_header(link, &header);
		}
		return true;
	}
	header.type = YAB_WIRE_SURVEYED;
	header.page = link->first;
	header.count = link->at - link->first;
	link->type = YAB_WIRE_REQUEST;
	link->end = link->at;
	yab_source_put_header(link, &header);
	return true;
}

/* A turn of the sums, which makes the frame when they are done. As yab_source_survey(). */
static bool yab_source_sum(struct yab_source_link *link)
{
	struct yab_wire_header header = {
		.type = YAB_WIRE_SUMMED,
		.length = (uint32_t)yab_summation_size(&link->summation),
		.page = link->first,
		.count = link->end - link->first,
	};
	bool done;

	if (yab_summation_go_on(&link->summation, link->source->backing, &link->view, &done) < 0) {
		yab_source_lose_memory(link);
		return false;
	}
	if (!done)
		return true;
	link->type = YAB_WIRE_REQUEST;
	link->at = link->end;
	link->made = link->summation.sums;
	link->made_size = header.length;
	link->payload_left = header.length;
	yab_source_put_header(link, &header);
	return true;
}

/* Like yab_socket_send(). */
static ssize_t yab_source_send_payload(struct yab_source_link *link, size_t size)
{
	const uint8_t *made = link->made;

	if (link->made_size)
		return yab_socket_send(&link->socket, made + link->made_size - link->payload_left,
				       size, false);
	return yab_backing_send(link->source->backing, &link->socket, link->payload, size);
}

/*
 * To pack took longer than to write what it made: a turn packs no more than a slice of pages
 * (0.2 ms). What is taken off @left for it leaves room for the pack.
 */
static size_t yab_source_pack_cost(const struct yab_source_link *link, size_t left)
{
	const size_t need = sizeof(link->header) + link->made_size;
	const size_t saved = link->data_pages * YAB_WIRE_PAGE_SIZE - link->made_size;

	if (!link->made_size || left <= need)
		return 0;
	return saved < left - need ? saved : left - need;
}

/* The first header of the answer is with the socket: what follows is the network. */
static void yab_source_time(struct yab_source_link *link)
{
	yab_histogram_record(&link->source->service, (yab_clock_ns() - link->timed_ns) / 1000);
	link->timed_ns = 0;
}

/* Writes a slice at most, and waits for room if something is left after it. */
static void yab_source_write(struct yab_source_link *link)
{
	size_t left = link->slice;
	bool looked = false;
	ssize_t n;

	while (left) {
		if (link->header_left) {
			const size_t size = link->header_left < left ? link->header_left : left;
			/* Small frames share a packet with what comes right after them. */
			const bool more = link->payload_left || link->type != YAB_WIRE_REQUEST ||
					  link->at < link->end || link->head != link->tail;

			n = yab_socket_send(&link->socket,
					    link->header + sizeof(link->header) - link->header_left,
					    size, more);
			if (n > 0)
				link->header_left -= (size_t)n;
			if (!link->header_left && link->timed_ns)
				yab_source_time(link);
		} else if (link->payload_left) {
			n = yab_source_send_payload(link, link->payload_left < left ?
							  link->payload_left : left);
			if (n > 0) {
				link->payload += (uint64_t)n;
				link->payload_left -= (size_t)n;
			}
			if (!link->payload_left)
				yab_source_wrote_payload(link);
		} else if (link->type != YAB_WIRE_REQUEST) {
			/* A look takes time, whether or not it makes a frame: one a turn. */
			if (looked)
				break;
			if (!(link->type == YAB_WIRE_SURVEY ? yab_source_survey(link) :
							      yab_source_sum(link)))
				return;
			looked = true;
			continue;
		} else if (link->at < link->end) {
			if (!yab_source_next_frame(link))
				return;
			left -= yab_source_pack_cost(link, left);
			continue;
		} else if (yab_source_next_request(link)) {
			continue;
		} else {
			break;
		}
		if (n < 0) {
			yab_source_lose(link, yab_backing_reason(link->source->backing, errno));
			return;
		}
		if (n == 0)
			break;
		left -= (size_t)n;
	}
	/*
	 * Frames that found the queue full may be whole in the input, and no event would
	 * tell of them. After this, the input holds part of a frame or the queue is full.
	 */
	if (!yab_socket_is_open(&link->socket) || !yab_source_parse(link))
		return;
	/*
	 * With a slice used up or a socket full, go on in another turn. With a full queue
	 * stop reading: the peer finds its own socket full in the end.
	 */
	if (yab_socket_await_room(&link->socket, yab_source_is_busy(link)) < 0 ||
	    yab_socket_await_data(&link->socket, !yab_source_is_full(link)) < 0)
		yab_source_lose(link, "no memory to wait for it");
}

static void yab_source_on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	yab_source_write(arg);
}

static void yab_source_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_source_link *link = arg;
	struct iovec iov = {
		.iov_base = link->input + link->input_size,
		.iov_len = sizeof(link->input) - link->input_size,
	};
	ssize_t n;

	(void)fd;
	(void)what;
	n = yab_socket_receive(&link->socket, &iov, 1);
	if (n < 0) {
		yab_source_lose(link, yab_socket_reason(errno));
		return;
	}
	link->input_size += (size_t)n;
	if (link->socket.role == YAB_WIRE_URGENT)
		link->read_ns = yab_clock_ns();
	if (!yab_source_parse(link))
		return;
	/* When room is awaited already, that callback writes: one slice a turn. */
	if (!yab_socket_awaits_room(&link->socket))
		yab_source_write(link);
	else if (yab_source_is_full(link))
		yab_socket_await_data(&link->socket, false);
}

static void yab_source_link_init(struct yab_source_link *link, struct yab_source *source,
				 enum yab_wire_role role, unsigned int index, size_t slice)
{
	link->source = source;
	link->index = index;
	link->slice = slice;
	link->type = YAB_WIRE_REQUEST;
	yab_socket_init(&link->socket, role);
}

struct yab_source *yab_source_new(struct event_base *base, const char *vm,
				  struct yab_backing *backing, yab_source_lost_cb lost, void *arg)
{
	struct yab_source *source;

	if (!backing)
		return NULL;
	source = calloc(1, sizeof(*source));
	if (!source) {
		yab_backing_free(backing);
		errno = ENOMEM;
		return NULL;
	}
	source->base = base;
	source->vm = vm;
	source->backing = backing;
	source->pages = backing->pages;
	yab_payoff_init(&source->payoff);
	source->state = YAB_SOURCE_WAITING;
	source->lost = lost;
	source->arg = arg;
	yab_source_link_init(&source->links[0], source, YAB_WIRE_URGENT, 0,
			     YAB_SOURCE_URGENT_SLICE);
	for (unsigned int i = 1; i < YAB_SOURCE_LINKS; i++)
		yab_source_link_init(&source->links[i], source, YAB_WIRE_BULK, i - 1,
				     YAB_SOURCE_BULK_SLICE);
	return source;
}

void yab_source_free(struct yab_source *source)
{
	if (!source)
		return;
	for (unsigned int i = 0; i < YAB_SOURCE_LINKS; i++)
		yab_source_reset(&source->links[i]);
	yab_backing_free(source->backing);
	yab_codec_free(source->codec);
	free(source->packs);
	free(source);
}

int yab_source_pack(struct yab_source *source, enum yab_codec_kind kind)
{
	if (kind == YAB_CODEC_NONE)
		return 0;
	/* What is never packed into takes no memory either. */
	source->packs = malloc((size_t)YAB_WIRE_BULKS_MAX * YAB_CODEC_PLAIN_MAX);
	if (!source->packs)
		return -1;
	source->codec = yab_codec_new(kind);
	if (!source->codec) {
		free(source->packs);
		source->packs = NULL;
		errno = ENOMEM;
		return -1;
	}
	for (size_t i = 0; i < YAB_WIRE_BULKS_MAX; i++)
		source->links[1 + i].pack = source->packs + i * YAB_CODEC_PLAIN_MAX;
	return 0;
}

int yab_source_connect(struct yab_source *source, enum yab_wire_role role, unsigned int index,
		       int fd, SSL *ssl)
{
	struct yab_source_link *link;

	if (index >= YAB_WIRE_BULKS_MAX) {
		SSL_free(ssl);
		close(fd);
		errno = EINVAL;
		return -1;
	}
	link = &source->links[role == YAB_WIRE_URGENT ? 0 : 1 + index];
	yab_source_reset(link);
	if (yab_socket_open(&link->socket, source->base, fd, ssl, yab_source_on_readable,
			    yab_source_on_writable, link) < 0)
		return -1;
	if (source->state == YAB_SOURCE_SERVING && yab_socket_await_data(&link->socket, true) < 0) {
		yab_source_reset(link);
		errno = ENOMEM;
		return -1;
	}
	return 0;
}

static void yab_source_link_serve(struct yab_source_link *link)
{
	if (yab_socket_is_open(&link->socket) && yab_socket_await_data(&link->socket, true) < 0)
		yab_source_lose(link, "no memory to wait for it");
}

void yab_source_serve(struct yab_source *source)
{
	if (!yab_source_moves[source->state][YAB_SOURCE_SERVING])
		return;
	source->state = YAB_SOURCE_SERVING;
	for (unsigned int i = 0; i < YAB_SOURCE_LINKS; i++)
		yab_source_link_serve(&source->links[i]);
}

bool yab_source_is_in_use(const struct yab_source *source)
{
	if (source->state != YAB_SOURCE_SERVING)
		return false;
	for (unsigned int i = 0; i < YAB_SOURCE_LINKS; i++)
		if (yab_socket_is_open(&source->links[i].socket))
			return true;
	return false;
}

const struct yab_source_statistics *yab_source_statistics(const struct yab_source *source)
{
	return &source->statistics;
}

const struct yab_histogram *yab_source_service(const struct yab_source *source)
{
	return &source->service;
}
