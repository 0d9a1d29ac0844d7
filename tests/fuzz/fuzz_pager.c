// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The destination worker against a source that sends what it likes, a kernel that
 * refuses declarations, and a guest that writes. After every run:
 *
 * - pages that were declared hold what they held then, or what the guest wrote since;
 * - nothing was written to a page that the pager had not asked for;
 * - nothing was declared that it had not asked for, as pages or where holes are;
 * - it was complete when all pages were declared, and not before;
 * - as long as the source was honest, pages held what the source has;
 * - and then all of them were found to be the same, if they were to be compared, or not known.
 *
 * The first byte chooses the number of pages, the codec, and whether they are compared (bit 7).
 * Then each byte is one thing to do (low four bits, see LLVMFuzzerTestOneInput()), on the bulk
 * connection if bit 4 is set.
 */
#define _GNU_SOURCE 1
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/checksum.h"
#include "../../daemon/pager.h"
#include "fuzz.h"

#define PAGES_MAX	320
#define REQUESTS	64
/* An answer to the longest request, each page in a frame of its own. */
#define ANSWER_MAX	(YAB_WIRE_PAGES_MAX * (FUZZ_PAGE + YAB_WIRE_HEADER_SIZE))
/* Pages that an honest source looks at for a survey. */
#define SURVEY_MAX	100
#define STEPS_MAX	200

struct request {
	uint64_t page, count;
	enum yab_wire_type type;
};

/* The source's end of a connection. */
struct link {
	enum yab_wire_role role;
	int fd;
	uint8_t header[YAB_WIRE_HEADER_SIZE];	/* received, of what the pager sends */
	size_t header_size;
	size_t text_left;			/* of an ERROR */
	struct request requests[REQUESTS];
	unsigned int head, tail;
	uint8_t answer[ANSWER_MAX];		/* made, and sent up to answer_sent */
	size_t answer_size, answer_sent;
};

static struct link urgent = { .role = YAB_WIRE_URGENT }, bulk = { .role = YAB_WIRE_BULK };
static int memory_fd = -1;
static uint8_t *memory;
static uint8_t before[PAGES_MAX * FUZZ_PAGE];	/* pages as they were when declared */
static uint64_t pages;
static enum yab_codec_kind kind;	/* of the packs that were agreed on */
static struct yab_codec *codecs[YAB_CODEC_KINDS];
static bool asked[PAGES_MAX], surveyed[PAGES_MAX], declared[PAGES_MAX];
static uint64_t declared_count;
static bool honest, verifies;
static int checksums_fd = -1;
static int declare_error, declare_errors;	/* the next ones fail */
static int completions, failures;

/* Of the memory of the source some is zero. */
static bool is_zero_page(uint64_t page)
{
	return page % 5 == 3;
}

static void take_request(struct link *link, const struct yab_wire_header *header)
{
	fuzz_check(header->type != YAB_WIRE_SUM || (verifies && declared_count == pages),
		   "sums of what is not there");
	for (uint64_t i = 0; i < header->count; i++) {
		surveyed[header->page + i] |= header->type == YAB_WIRE_SURVEY;
		if (header->type != YAB_WIRE_REQUEST)
			continue;
		fuzz_check(!declared[header->page + i], "asked for page %llu, which is here",
			   (unsigned long long)(header->page + i));
		asked[header->page + i] = true;
	}
	if (link->tail - link->head == REQUESTS)
		link->head++;	/* will not be answered honestly */
	link->requests[link->tail++ % REQUESTS] = (struct request){ header->page, header->count,
								    header->type };
}

/* Reads what the pager has sent. */
static void listen_to(struct link *link)
{
	uint8_t bytes[4096];
	struct yab_wire_header header;
	ssize_t n;

	while (link->fd >= 0 && (n = recv(link->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (link->text_left) {
				fuzz_check(bytes[i] >= ' ' && bytes[i] < 127, "text of an error");
				link->text_left--;
				continue;
			}
			link->header[link->header_size++] = bytes[i];
			if (link->header_size < sizeof(link->header))
				continue;
			link->header_size = 0;
			fuzz_check(yab_wire_header_decode(link->header, link->role, pages,
							  &header) == YAB_WIRE_OK,
				   "malformed frame from the pager");
			if (header.type == YAB_WIRE_REQUEST || header.type == YAB_WIRE_SURVEY ||
			    header.type == YAB_WIRE_SUM)
				take_request(link, &header);
			else
				fuzz_check(header.type == YAB_WIRE_ERROR, "type %d", header.type);
			link->text_left = header.length;
		}
	}
}

static void declare_page(uint64_t page)
{
	const uint8_t *bytes = memory + page * FUZZ_PAGE;
	uint8_t want[FUZZ_PAGE] = { 0 };

	fuzz_check(page < pages, "declared a page outside of the region");
	fuzz_check(asked[page] || surveyed[page], "declared page %llu, which was not asked for",
		   (unsigned long long)page);
	if (!is_zero_page(page))
		fuzz_fill(want, page);
	fuzz_check(!honest || !memcmp(bytes, want, sizeof(want)), "page %llu is not whole",
		   (unsigned long long)page);
	/* It may have come twice since the last declaration. */
	if (declared[page])
		return;
	declared[page] = true;
	declared_count++;
	memcpy(before + page * FUZZ_PAGE, bytes, FUZZ_PAGE);
}

static int on_declare(int pager_fd, struct yab_range *ranges, size_t count)
{
	fuzz_check(pager_fd >= 0 && count && count <= YAB_RANGES_MAX, "%zu ranges", count);
	/* What it asked for is in our sockets by now. */
	listen_to(&urgent);
	listen_to(&bulk);
	if (declare_errors) {
		declare_errors--;
		errno = declare_error;
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		fuzz_check(ranges[i].state == YAB_RANGE_PRESENT && !ranges[i].reserved &&
			   ranges[i].count && ranges[i].count <= pages, "range");
		for (uint64_t k = 0; k < ranges[i].count; k++)
			declare_page(ranges[i].page + k);
	}
	return 0;
}

static int on_present(int pager_fd, uint64_t page, uint64_t count, uint64_t *bits)
{
	fuzz_check(pager_fd >= 0 && page % 64 == 0 && page < pages && count <= pages - page,
		   "presence of %llu pages", (unsigned long long)count);
	memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
	for (uint64_t i = 0; i < count; i++)
		bits[i / 64] |= (uint64_t)declared[page + i] << i % 64;
	return 0;
}

static void on_lost(enum yab_wire_role role, unsigned int index, const char *error, void *arg)
{
	(void)arg;
	fuzz_check(index == 0, "index %u", index);
	fuzz_check(role == YAB_WIRE_URGENT || role == YAB_WIRE_BULK, "role %d", role);
	fuzz_check_line(error);
}

static void on_complete(void *arg)
{
	(void)arg;
	fuzz_check(declared_count == pages, "complete with %llu of %llu pages",
		   (unsigned long long)declared_count, (unsigned long long)pages);
	completions++;
}

static void on_failed(const char *error, void *arg)
{
	(void)arg;
	fuzz_check_line(error);
	failures++;
}

static const struct yab_pager_ops ops = {
	.declare = on_declare,
	.present = on_present,
	.lost = on_lost,
	.complete = on_complete,
	.failed = on_failed,
};

static size_t put_frame(uint8_t *out, enum yab_wire_type type, uint64_t page, uint64_t count)
{
	const struct yab_wire_header header = {
		.type = (uint16_t)type,
		.length = type == YAB_WIRE_PAGES ? (uint32_t)(count * FUZZ_PAGE) : 0,
		.page = page,
		.count = count,
	};
	size_t size = YAB_WIRE_HEADER_SIZE;

	yab_wire_header_encode(out, &header);
	for (uint64_t i = 0; i < count && type == YAB_WIRE_PAGES; i++, size += FUZZ_PAGE)
		fuzz_fill(out + size, page + i);
	return size;
}

/* The same pages packed, if that was agreed on; not too many for the input's length. */
static size_t put_pack(uint8_t *out, uint64_t page, uint64_t count)
{
	struct yab_wire_header header = {
		.type = YAB_WIRE_PACKED,
		.page = page,
		.count = count,
	};
	uint8_t plain[YAB_CODEC_PLAIN_MAX];

	for (uint64_t i = 0; i < count; i++)
		fuzz_fill(plain + i * FUZZ_PAGE, page + i);
	header.length = (uint32_t)yab_codec_pack(codecs[kind], out + YAB_WIRE_HEADER_SIZE, plain,
						 count * FUZZ_PAGE);
	if (!header.length)
		return put_frame(out, YAB_WIRE_PAGES, page, count);
	yab_wire_header_encode(out, &header);
	return YAB_WIRE_HEADER_SIZE + header.length;
}

/* There are less pages than a chunk has. */
static size_t put_sum(uint8_t *out)
{
	const struct yab_wire_header header = {
		.type = YAB_WIRE_SUMMED,
		.length = YAB_WIRE_SUM_SIZE,
		.count = pages,
	};
	uint8_t bytes[FUZZ_PAGE];
	uint64_t sum = 0;

	for (uint64_t page = 0; page < pages; page++) {
		if (is_zero_page(page))
			continue;
		fuzz_fill(bytes, page);
		sum += yab_checksum_page(page, bytes);
	}
	sum = htole64(sum);
	yab_wire_header_encode(out, &header);
	memcpy(out + YAB_WIRE_HEADER_SIZE, &sum, sizeof(sum));
	return YAB_WIRE_HEADER_SIZE + sizeof(sum);
}

/* Makes the answer to the oldest request, as a source does. */
static void make_answer(struct link *link)
{
	const struct request *request = &link->requests[link->head % REQUESTS];
	uint64_t page = request->page, end = request->page + request->count;

	if (link->answer_sent < link->answer_size || link->head == link->tail)
		return;
	link->head++;
	link->answer_size = 0;
	link->answer_sent = 0;
	if (request->type == YAB_WIRE_SUM) {
		link->answer_size = put_sum(link->answer);
		return;
	}
	if (request->type == YAB_WIRE_SURVEY && end > page + SURVEY_MAX)
		end = page + SURVEY_MAX;
	while (page < end) {
		const bool zero = is_zero_page(page);
		uint64_t next = page + 1;

		if (request->type == YAB_WIRE_SURVEY && !zero) {
			page++;
			continue;
		}

		while (next < end && is_zero_page(next) == zero)
			next++;
		/* Every second run, of those that may be. */
		if (!zero && kind && link == &bulk && page % 2) {
			if (next > page + YAB_WIRE_PACK_PAGES)
				next = page + YAB_WIRE_PACK_PAGES;
			link->answer_size += put_pack(link->answer + link->answer_size, page,
						      next - page);
			page = next;
			continue;
		}
		link->answer_size += put_frame(link->answer + link->answer_size,
					       zero ? YAB_WIRE_ZERO : YAB_WIRE_PAGES, page,
					       next - page);
		page = next;
	}
	if (request->type == YAB_WIRE_SURVEY)
		link->answer_size += put_frame(link->answer + link->answer_size,
					       YAB_WIRE_SURVEYED, request->page,
					       end - request->page);
}

static void send_answer(struct link *link, size_t size)
{
	const size_t left = link->answer_size - link->answer_sent;

	link->answer_sent += fuzz_send(link->fd, link->answer + link->answer_sent,
				       size < left ? size : left);
}

/* All of it: the socket may not take it at once. */
static void send_whole_answer(struct event_base *base, struct link *link)
{
	for (size_t sent = SIZE_MAX; sent != link->answer_sent;) {
		sent = link->answer_sent;
		send_answer(link, ANSWER_MAX);
		fuzz_settle(base);
	}
}

/* A frame with any header, and the payload that belongs to it. */
static void send_frame(struct fuzz_input *input, struct link *link)
{
	static uint8_t frame[YAB_WIRE_HEADER_SIZE + 8 * FUZZ_PAGE];
	static const enum yab_wire_type types[] = { YAB_WIRE_PAGES, YAB_WIRE_ZERO,
						    YAB_WIRE_REQUEST, YAB_WIRE_ERROR,
						    YAB_WIRE_SURVEY, YAB_WIRE_SURVEYED,
						    YAB_WIRE_PACKED, YAB_WIRE_SUMMED,
						    YAB_WIRE_SUM };
	const uint8_t type = fuzz_byte(input);
	uint64_t page = fuzz_short(input) % (pages + 2);

	honest = false;
	fuzz_send(link->fd, frame, put_frame(frame, types[type % 9], page, fuzz_byte(input) % 9));
}

/*
 * A pack for what is asked for next, of a number of pages, that is right but for some
 * bytes of it.
 */
static void send_pack(struct fuzz_input *input, struct link *link)
{
	static uint8_t frame[YAB_WIRE_HEADER_SIZE + YAB_CODEC_PLAIN_MAX];
	const struct request *request = &link->requests[link->head % REQUESTS];
	const uint64_t page = link->head == link->tail ? 0 : request->page;
	const enum yab_codec_kind agreed = kind;
	const uint8_t what = fuzz_byte(input);
	size_t size;

	honest = false;
	kind = YAB_CODEC_LZ4 + what % 2;
	size = put_pack(frame, page, 1 + what / 2 % YAB_WIRE_PACK_PAGES);
	kind = agreed;
	for (int i = what / 32; i; i--) {
		const size_t at = fuzz_short(input) % size;

		frame[at] = fuzz_byte(input);
	}
	fuzz_send(link->fd, frame, size);
}

static void send_bytes(struct fuzz_input *input, struct link *link)
{
	size_t size = fuzz_byte(input);
	const uint8_t *bytes = fuzz_bytes(input, &size);

	honest = false;
	fuzz_send(link->fd, bytes, size);
}

static void disconnect(struct link *link)
{
	listen_to(link);
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
	link->header_size = 0;
	link->text_left = 0;
	link->head = 0;
	link->tail = 0;
	link->answer_size = 0;
	link->answer_sent = 0;
}

static void connect_pager(struct yab_pager *pager, struct link *link)
{
	int theirs;

	disconnect(link);
	fuzz_pair(SOCK_STREAM, &link->fd, &theirs);
	fuzz_check(!yab_pager_connect(pager, link->role, 0, theirs, NULL) || failures, "no connection");
}

static void touch(struct fuzz_input *input, int kernel)
{
	const struct yab_fault fault = { .page = fuzz_short(input) % (pages + 1), .time_ns = 1 };

	fuzz_send(kernel, &fault, sizeof(fault));
}

/* The guest writes to a page that is present. */
static void write_guest(struct fuzz_input *input)
{
	const uint64_t page = fuzz_short(input) % pages;

	if (!declared[page])
		return;
	memset(memory + page * FUZZ_PAGE, 0xee, FUZZ_PAGE);
	memset(before + page * FUZZ_PAGE, 0xee, FUZZ_PAGE);
}

static void refuse_declarations(struct fuzz_input *input)
{
	static const int errors[] = { ENOMEM, EAGAIN, EINTR, EIO };
	const uint8_t which = fuzz_byte(input);

	declare_error = errors[which % 4];
	declare_errors = 1 + which / 4 % 4;
}

static void check(const struct yab_pager *pager)
{
	off_t data;

	for (uint64_t page = 0; page < pages; page++)
		fuzz_check(!declared[page] || !memcmp(memory + page * FUZZ_PAGE,
						      before + page * FUZZ_PAGE, FUZZ_PAGE),
			   "page %llu changed after it was declared", (unsigned long long)page);
	/* Holes stay holes, but for those that declare_page() has looked at in the mapping. */
	for (off_t at = 0; (data = lseek(memory_fd, at, SEEK_DATA)) >= 0; at = data + FUZZ_PAGE)
		fuzz_check((uint64_t)data / FUZZ_PAGE < pages &&
			   (asked[data / FUZZ_PAGE] || declared[data / FUZZ_PAGE]),
			   "page %lld was written and not asked for", (long long)data / FUZZ_PAGE);
	fuzz_check(yab_pager_is_complete(pager) == (declared_count == pages), "%llu pages",
		   (unsigned long long)declared_count);
	fuzz_check(verifies ? completions <= yab_pager_is_complete(pager) :
			      completions == yab_pager_is_complete(pager), "%d completions",
		   completions);
	if (completions && verifies && honest)
		fuzz_check(!yab_pager_statistics(pager)->different_chunks &&
			   yab_pager_statistics(pager)->verified_chunks +
			   yab_pager_statistics(pager)->unverifiable_chunks == 1, "another sum");
	fuzz_check(failures <= 1, "%d failures", failures);
	fuzz_check(yab_pager_statistics(pager)->present == declared_count, "present");
}

static void begin(uint8_t size)
{
	static const uint64_t sizes[] = { 1, 64, 96, PAGES_MAX };

	if (memory_fd < 0) {
		memory_fd = memfd_create("fuzz", MFD_CLOEXEC);
		fuzz_check(!ftruncate(memory_fd, PAGES_MAX * FUZZ_PAGE), "memory file");
		memory = mmap(NULL, PAGES_MAX * FUZZ_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			      memory_fd, 0);
		fuzz_check(memory != MAP_FAILED, "memory");
	}
	fuzz_check(!fallocate(memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			      PAGES_MAX * FUZZ_PAGE), "memory file");
	pages = sizes[size % 4];
	kind = size / 4 % YAB_CODEC_KINDS;
	verifies = size & 128;
	if (verifies)
		checksums_fd = yab_checksums_make("fuzz", pages);
	fuzz_check(!verifies || checksums_fd >= 0, "checksums");
	for (int i = YAB_CODEC_LZ4; i < YAB_CODEC_KINDS; i++) {
		if (!codecs[i])
			codecs[i] = yab_codec_new(i);
		fuzz_check(codecs[i], "no codec");
	}
	memset(asked, 0, sizeof(asked));
	memset(surveyed, 0, sizeof(surveyed));
	memset(declared, 0, sizeof(declared));
	declared_count = 0;
	honest = true;
	declare_errors = 0;
	urgent.fd = -1;
	bulk.fd = -1;
}

static struct yab_pager *make_pager(struct event_base *base, int pager_fd)
{
	struct yab_pager *pager;

	completions = 0;
	failures = 0;
	pager = yab_pager_new(base, "fuzz", memory_fd, pager_fd, pages, NULL, &ops,
			      NULL);
	fuzz_check(pager, "no pager");
	fuzz_check(!yab_pager_unpack(pager, kind), "no codec");
	fuzz_check(!verifies || !yab_pager_verify(pager, checksums_fd), "no checksums");
	fuzz_check(!yab_pager_start(pager), "not started");
	return pager;
}

/* The worker dies, and another one takes its place. */
static struct yab_pager *replace(struct yab_pager *pager, struct event_base *base, int pager_fd)
{
	listen_to(&urgent);
	listen_to(&bulk);
	check(pager);
	yab_pager_free(pager);
	disconnect(&urgent);
	disconnect(&bulk);
	return make_pager(base, pager_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct event_base *base;
	struct yab_pager *pager;
	int kernel, pager_fd;

	fuzz_note_descriptors();
	base = fuzz_base();
	begin(fuzz_byte(&input));
	fuzz_pair(SOCK_STREAM, &kernel, &pager_fd);
	pager = make_pager(base, pager_fd);
	connect_pager(pager, &urgent);
	connect_pager(pager, &bulk);
	fuzz_settle(base);
	for (int step = 0; input.left && step < STEPS_MAX; step++) {
		const uint8_t what = fuzz_byte(&input);
		struct link *link = what & 16 ? &bulk : &urgent;

		listen_to(&urgent);
		listen_to(&bulk);
		switch (what % 16) {
		case 0:
			make_answer(link);
			send_answer(link, fuzz_short(&input));
			break;
		case 1:
			send_answer(link, fuzz_short(&input));
			break;
		case 2:
			make_answer(link);
			send_whole_answer(base, link);
			break;
		case 3:
			touch(&input, kernel);
			break;
		case 4:
			write_guest(&input);
			break;
		case 5:
			send_frame(&input, link);
			break;
		case 6:
			send_bytes(&input, link);
			break;
		case 7:
			refuse_declarations(&input);
			break;
		case 8:
			connect_pager(pager, link);
			break;
		case 9:
			disconnect(link);
			break;
		case 10:
			pager = replace(pager, base, pager_fd);
			break;
		case 11:
			yab_pager_limit(pager, fuzz_short(&input) * 100ULL);
			break;
		case 12:
			send_pack(&input, link);
			break;
		default:
			continue;	/* two things at once */
		}
		fuzz_settle(base);
	}
	listen_to(&urgent);
	listen_to(&bulk);
	check(pager);
	yab_pager_free(pager);
	disconnect(&urgent);
	disconnect(&bulk);
	event_base_free(base);
	close(kernel);
	close(pager_fd);
	if (checksums_fd >= 0)
		close(checksums_fd);
	checksums_fd = -1;
	fuzz_check_descriptors();
	return 0;
}
