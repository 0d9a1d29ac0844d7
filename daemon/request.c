// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "request.h"

static struct yab_request *yab_requests_at(struct yab_requests *requests, unsigned int place)
{
	return &requests->ring[place % YAB_REQUESTS_MAX];
}

void yab_requests_reset(struct yab_requests *requests)
{
	memset(requests, 0, sizeof(*requests));
}

bool yab_requests_is_full(const struct yab_requests *requests)
{
	return requests->tail - requests->head == YAB_REQUESTS_MAX;
}

static void yab_requests_push(struct yab_requests *requests, uint64_t page, uint64_t count,
			      enum yab_wire_type type)
{
	*yab_requests_at(requests, requests->tail++) = (struct yab_request){
		.page = page,
		.count = count,
		.type = type,
	};
}

void yab_requests_add(struct yab_requests *requests, uint64_t page, uint64_t count,
		      uint64_t most)
{
	/* The first place whose bytes have not started on their way. */
	const unsigned int unsent = requests->sent + (requests->sent_bytes ? 1 : 0);
	struct yab_request *last;

	requests->pages += count;
	if (requests->tail - requests->sent > unsent - requests->sent) {
		last = yab_requests_at(requests, requests->tail - 1);
		if (last->type == YAB_WIRE_REQUEST && last->page + last->count == page &&
		    last->count + count <= most) {
			last->count += count;
			return;
		}
	}
	yab_requests_push(requests, page, count, YAB_WIRE_REQUEST);
}

void yab_requests_add_question(struct yab_requests *requests, enum yab_wire_type type,
			       uint64_t page, uint64_t count)
{
	yab_requests_push(requests, page, count, type);
}

size_t yab_requests_encode(const struct yab_requests *requests, uint8_t *out, size_t size)
{
	size_t skip = requests->sent_bytes;
	size_t done = 0;

	for (unsigned int place = requests->sent; place != requests->tail && done < size; place++) {
		const struct yab_request *request = &requests->ring[place % YAB_REQUESTS_MAX];
		const struct yab_wire_header header = {
			.type = (uint16_t)request->type,
			.page = request->page,
			.count = request->count,
		};
		uint8_t bytes[YAB_WIRE_HEADER_SIZE];
		size_t n = sizeof(bytes) - skip;

		yab_wire_header_encode(bytes, &header);
		if (n > size - done)
			n = size - done;
		memcpy(out + done, bytes + skip, n);
		done += n;
		skip = 0;
	}
	return done;
}

void yab_requests_wrote(struct yab_requests *requests, size_t bytes)
{
	bytes += requests->sent_bytes;
	requests->sent += (unsigned int)(bytes / YAB_WIRE_HEADER_SIZE);
	requests->sent_bytes = bytes % YAB_WIRE_HEADER_SIZE;
}

bool yab_requests_expect(const struct yab_requests *requests, const struct yab_wire_header *frame)
{
	const struct yab_request *request = &requests->ring[requests->head % YAB_REQUESTS_MAX];
	const uint64_t next = request->page + requests->answered;
	const uint64_t end = request->page + request->count;

	/* Only what was wholly sent can be answered. */
	if (requests->head == requests->sent)
		return false;
	if (frame->type == YAB_WIRE_SURVEYED)
		return request->type == YAB_WIRE_SURVEY && frame->page == request->page &&
		       frame->count >= requests->answered && frame->count <= request->count;
	if (frame->type == YAB_WIRE_SUMMED || request->type == YAB_WIRE_SUM)
		return frame->type == YAB_WIRE_SUMMED && request->type == YAB_WIRE_SUM &&
		       frame->page == request->page && frame->count == request->count;
	if (frame->page < next || frame->page >= end || frame->count > end - frame->page)
		return false;
	return request->type == YAB_WIRE_SURVEY ? frame->type == YAB_WIRE_ZERO :
						  frame->page == next;
}

uint64_t yab_requests_answer(struct yab_requests *requests, const struct yab_wire_header *frame)
{
	const struct yab_request *request = yab_requests_at(requests, requests->head);
	uint64_t pages = 0;

	requests->answered = frame->page + frame->count - request->page;
	if (request->type == YAB_WIRE_REQUEST) {
		pages = frame->count;
		requests->pages -= pages;
	}
	if (request->type == YAB_WIRE_SURVEY ? frame->type == YAB_WIRE_SURVEYED :
					       requests->answered == request->count) {
		requests->answered = 0;
		requests->head++;
	}
	return pages;
}

bool yab_requests_drop(struct yab_requests *requests, uint64_t *page, uint64_t *count)
{
	const struct yab_request *request;

	do {
		if (requests->head == requests->tail)
			return false;
		request = yab_requests_at(requests, requests->head++);
		*page = request->page + requests->answered;
		*count = request->count - requests->answered;
		requests->answered = 0;
	} while (request->type != YAB_WIRE_REQUEST);
	requests->pages -= *count;
	return true;
}
