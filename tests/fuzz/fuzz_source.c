// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The source worker against a destination that sends what it likes. What it answers is
 * compared with what was asked, byte by byte: the pages of the well-formed requests, in
 * their order, up to the first frame that is none, and nothing before the guest is
 * stopped. Free memory of the guest stays free.
 *
 * Each byte is one thing to do (low four bits, see LLVMFuzzerTestOneInput()), on the bulk
 * connection if bit 4 is set.
 */
#define _GNU_SOURCE 1
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/backing_file.h"
#include "../../daemon/checksum.h"
#include "../../daemon/source.h"
#include "fuzz.h"

#define PAGES		300
/* A hole that is worth telling of. */
#define HOLE		200
#define HOLE_END	240
#define REQUESTS_MAX	4096
#define STEPS_MAX	200

struct request {
	uint64_t page, count;
	enum yab_wire_type type;
};

/* The destination's end of a connection. */
struct link {
	enum yab_wire_role role;
	int fd;
	/* What was sent: requests, until something else comes. */
	uint8_t out[YAB_WIRE_HEADER_SIZE];
	size_t out_size;
	bool broken;
	struct request requests[REQUESTS_MAX];
	size_t asked, answered;		/* requests */
	uint64_t answered_pages;	/* of the request at answered */
	/* What came. */
	uint8_t in[YAB_WIRE_HEADER_SIZE];
	size_t in_size;
	struct yab_wire_header frame;
	size_t payload_left;
};

static struct link urgent = { .role = YAB_WIRE_URGENT }, bulk = { .role = YAB_WIRE_BULK };
static int memory_fd = -1;
static uint8_t *memory;
static bool serving;

static bool is_data_page(uint64_t page)
{
	return page % 7 > 1 && (page < HOLE || page >= HOLE_END);
}

/* A third of what is zero is so by content, the rest are holes. */
static void make_memory(void)
{
	if (memory_fd >= 0)
		return;
	memory_fd = memfd_create("fuzz", MFD_CLOEXEC);
	fuzz_check(!ftruncate(memory_fd, PAGES * FUZZ_PAGE), "memory file");
	memory = mmap(NULL, PAGES * FUZZ_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	fuzz_check(memory != MAP_FAILED, "memory");
	for (uint64_t page = 0; page < PAGES; page++) {
		if (is_data_page(page))
			fuzz_fill(memory + page * FUZZ_PAGE, page);
		else if (page % 3 == 0 && page < HOLE)
			memset(memory + page * FUZZ_PAGE, 0, FUZZ_PAGE);
	}
}

static void note_sent(struct link *link, const uint8_t *bytes, size_t size)
{
	struct yab_wire_header header;

	for (size_t i = 0; i < size && !link->broken; i++) {
		link->out[link->out_size++] = bytes[i];
		if (link->out_size < sizeof(link->out))
			continue;
		link->out_size = 0;
		if (yab_wire_header_decode(link->out, link->role, PAGES, &header) != YAB_WIRE_OK ||
		    (header.type != YAB_WIRE_REQUEST && header.type != YAB_WIRE_SURVEY &&
		     header.type != YAB_WIRE_SUM))
			link->broken = true;
		else
			link->requests[link->asked++] = (struct request){
				header.page, header.count, header.type };
	}
}

/* Nothing is sent that could not be noted: each answer must have been asked for. */
static void send_noted(struct link *link, const void *bytes, size_t size)
{
	if (link->asked + size / YAB_WIRE_HEADER_SIZE >= REQUESTS_MAX)
		return;
	note_sent(link, bytes, fuzz_send(link->fd, bytes, size));
}

/* Holes in ascending order, then how far the source has looked. */
static void take_survey(struct link *link, const struct request *request)
{
	const struct yab_wire_header *frame = &link->frame;
	const uint64_t done = frame->page + frame->count - request->page;

	fuzz_check(frame->type == YAB_WIRE_ZERO || frame->type == YAB_WIRE_SURVEYED, "type %d",
		   frame->type);
	fuzz_check(done <= request->count && done >= link->answered_pages, "other than asked");
	if (frame->type == YAB_WIRE_SURVEYED) {
		fuzz_check(frame->page == request->page, "another survey");
		link->answered++;
		link->answered_pages = 0;
		return;
	}
	fuzz_check(frame->page >= request->page + link->answered_pages, "holes out of order");
	link->answered_pages = done;
	for (uint64_t i = 0; i < frame->count; i++)
		fuzz_check(!is_data_page(frame->page + i), "page %llu is no hole",
			   (unsigned long long)(frame->page + i));
}

/* A whole header came. */
static void take_header(struct link *link)
{
	const struct request *request = &link->requests[link->answered];
	struct yab_wire_header *frame = &link->frame;

	fuzz_check(yab_wire_header_decode(link->in, link->role, PAGES, frame) == YAB_WIRE_OK,
		   "malformed frame from the source");
	if (frame->type == YAB_WIRE_ERROR) {
		fuzz_check(link->broken, "an error without a reason");
		link->payload_left = frame->length;
		return;
	}
	fuzz_check(serving, "pages of a guest that runs");
	fuzz_check(link->answered < link->asked, "nobody asked");
	if (request->type == YAB_WIRE_SURVEY) {
		take_survey(link, request);
		return;
	}
	if (request->type == YAB_WIRE_SUM) {
		fuzz_check(frame->type == YAB_WIRE_SUMMED && frame->page == request->page &&
			   frame->count == request->count, "other sums than asked");
		link->answered++;
		link->payload_left = frame->length;
		return;
	}
	fuzz_check(frame->type == YAB_WIRE_PAGES || frame->type == YAB_WIRE_ZERO, "type %d",
		   frame->type);
	fuzz_check(frame->page == request->page + link->answered_pages &&
		   frame->count <= request->count - link->answered_pages, "other pages than asked");
	link->answered_pages += frame->count;
	if (link->answered_pages == request->count) {
		link->answered++;
		link->answered_pages = 0;
	}
	for (uint64_t i = 0; i < frame->count; i++)
		fuzz_check(is_data_page(frame->page + i) == (frame->type == YAB_WIRE_PAGES),
			   "kind of page %llu", (unsigned long long)(frame->page + i));
	link->payload_left = frame->length;
}

static void take_payload(struct link *link, const uint8_t *bytes, size_t size)
{
	const struct yab_wire_header *frame = &link->frame;
	const uint8_t *want = memory + frame->page * FUZZ_PAGE + frame->length -
			      link->payload_left;
	uint64_t sum = 0;

	/* The pages are less than a chunk. */
	if (frame->type == YAB_WIRE_SUMMED) {
		for (uint64_t page = 0; page < PAGES; page++)
			sum += is_data_page(page) ?
			       yab_checksum_page(page, memory + page * FUZZ_PAGE) : 0;
		sum = htole64(sum);
		fuzz_check(!memcmp(bytes, (uint8_t *)&sum + frame->length - link->payload_left,
				   size), "sum of pages");
	}
	if (frame->type == YAB_WIRE_PAGES)
		fuzz_check(!memcmp(bytes, want, size), "content of pages");
	link->payload_left -= size;
}

/* Reads at most @most bytes of what the source has sent. */
static size_t listen_to(struct link *link, size_t most)
{
	uint8_t bytes[16384];
	size_t done = 0;
	ssize_t n;

	while (link->fd >= 0 && done < most) {
		n = recv(link->fd, bytes, most - done < sizeof(bytes) ? most - done : sizeof(bytes),
			 MSG_DONTWAIT);
		if (n <= 0)
			break;
		done += (size_t)n;
		for (size_t i = 0; i < (size_t)n;) {
			size_t part = (size_t)n - i;

			if (link->payload_left) {
				if (part > link->payload_left)
					part = link->payload_left;
				take_payload(link, bytes + i, part);
				i += part;
				continue;
			}
			link->in[link->in_size++] = bytes[i++];
			if (link->in_size == sizeof(link->in)) {
				link->in_size = 0;
				take_header(link);
			}
		}
	}
	return done;
}

static void send_frame(struct fuzz_input *input, struct link *link, uint16_t type)
{
	struct yab_wire_header header = { .type = type };
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	header.page = fuzz_short(input) % (PAGES + 2);
	header.count = fuzz_short(input) % (YAB_WIRE_PAGES_MAX + 2);
	/* One of all pages is the only one that there may be. */
	if (type == YAB_WIRE_SUM && header.page % 2) {
		header.page = 0;
		header.count = PAGES;
	}
	if (type == YAB_WIRE_ERROR) {
		header.length = (uint32_t)header.count;
		header.page = 0;
		header.count = 0;
	}
	yab_wire_header_encode(bytes, &header);
	send_noted(link, bytes, sizeof(bytes));
}

/* As many as a source holds, and more. */
static void send_flood(struct fuzz_input *input, struct link *link)
{
	struct yab_wire_header header = { .type = YAB_WIRE_REQUEST, .count = 1 };
	uint8_t bytes[16 * YAB_WIRE_HEADER_SIZE];
	const uint8_t times = fuzz_byte(input);

	for (size_t i = 0; i < 16; i++) {
		header.page = times + i;
		yab_wire_header_encode(bytes + i * YAB_WIRE_HEADER_SIZE, &header);
	}
	for (int i = 0; i < times % 20; i++)
		send_noted(link, bytes, sizeof(bytes));
}

static void send_bytes(struct fuzz_input *input, struct link *link)
{
	size_t size = fuzz_byte(input);
	const uint8_t *bytes = fuzz_bytes(input, &size);

	send_noted(link, bytes, size);
}

static void disconnect(struct link *link)
{
	const enum yab_wire_role role = link->role;

	listen_to(link, SIZE_MAX);
	if (link->fd >= 0)
		close(link->fd);
	memset(link, 0, sizeof(*link));
	link->role = role;
	link->fd = -1;
}

static void connect_source(struct yab_source *source, struct link *link)
{
	int theirs;

	disconnect(link);
	fuzz_pair(SOCK_STREAM, &link->fd, &theirs);
	fuzz_check(yab_source_connect(source, link->role, 0, theirs, NULL) == 0, "no connection");
}

/* Reads until nothing more comes: all is answered then. */
static void check_answers(struct event_base *base, struct link *link)
{
	size_t n;

	do {
		n = listen_to(link, SIZE_MAX);
		fuzz_settle(base);
	} while (n);
	if (link->fd >= 0 && serving && !link->broken)
		fuzz_check(link->answered == link->asked && !link->in_size && !link->payload_left,
			   "%zu of %zu requests answered", link->answered, link->asked);
}

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	(void)arg;
	fuzz_check(index == 0, "index %u", index);
	fuzz_check(role == YAB_WIRE_URGENT || role == YAB_WIRE_BULK, "role %d", role);
	fuzz_check_line(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct stat at_first, at_last;
	struct yab_source *source;
	struct event_base *base;

	fuzz_note_descriptors();
	base = fuzz_base();
	make_memory();
	fuzz_check(!fstat(memory_fd, &at_first), "memory file");
	serving = false;
	urgent.fd = -1;
	bulk.fd = -1;
	source = yab_source_new(base, "fuzz", yab_backing_memory(memory_fd, PAGES), on_lost, NULL);
	fuzz_check(source, "no source");
	connect_source(source, &urgent);
	connect_source(source, &bulk);
	for (int step = 0; input.left && step < STEPS_MAX; step++) {
		const uint8_t what = fuzz_byte(&input);
		struct link *link = what & 16 ? &bulk : &urgent;

		switch (what % 16) {
		case 0:
			send_frame(&input, link, YAB_WIRE_REQUEST);
			break;
		case 1:
			send_flood(&input, link);
			break;
		case 2:
			send_bytes(&input, link);
			break;
		case 3:
			send_frame(&input, link, YAB_WIRE_ERROR);
			break;
		case 4:
			listen_to(link, 16 * (size_t)fuzz_short(&input));
			break;
		case 5:
			serving = true;
			yab_source_serve(source);
			break;
		case 6:
			connect_source(source, link);
			break;
		case 7:
			disconnect(link);
			break;
		case 8:
			send_frame(&input, link, fuzz_byte(&input));
			break;
		default:
			continue;	/* two things at once */
		}
		fuzz_settle(base);
	}
	check_answers(base, &urgent);
	check_answers(base, &bulk);
	fuzz_check(!fstat(memory_fd, &at_last) && at_first.st_blocks == at_last.st_blocks,
		   "the guest's memory grew");
	yab_source_free(source);
	disconnect(&urgent);
	disconnect(&bulk);
	event_base_free(base);
	fuzz_check_descriptors();
	return 0;
}
