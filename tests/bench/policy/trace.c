// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

#define VCPUS_MAX	4096
#define PAGES_MAX	(1ULL << 28)	/* 1 TiB */
#define US		1000

static uint64_t seed;

/* splitmix64: the same numbers everywhere. */
static uint64_t draw(uint64_t below)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return (z ^ z >> 31) % below;
}

static void *grow(void *array, size_t size)
{
	array = realloc(array, size);
	if (!array) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return array;
}

static void add(struct trace_vcpu *vcpu, uint64_t page, uint64_t think_ns)
{
	if (vcpu->count == vcpu->room) {
		vcpu->room = vcpu->room ? vcpu->room * 2 : 256;
		vcpu->touches = grow(vcpu->touches, vcpu->room * sizeof(*vcpu->touches));
	}
	vcpu->touches[vcpu->count++] = (struct trace_touch){ page, think_ns };
}

static struct trace_vcpu *add_vcpu(struct trace *trace, uint64_t number)
{
	trace->vcpus = grow(trace->vcpus, (trace->count + 1) * sizeof(*trace->vcpus));
	trace->vcpus[trace->count] = (struct trace_vcpu){ .number = number };
	return &trace->vcpus[trace->count++];
}

static void add_vcpus(struct trace *trace, uint64_t count)
{
	while (trace->count < count)
		add_vcpu(trace, trace->count);
}

/* @count pages from @page on, @stride pages apart, round the region. */
static void walk(struct trace *trace, uint64_t vcpu, uint64_t page, int64_t stride,
		 uint64_t count, uint64_t think_ns)
{
	const int64_t pages = (int64_t)trace->pages;

	for (uint64_t i = 0; i < count; i++) {
		const int64_t at = ((int64_t)page + (int64_t)i * stride) % pages;

		add(&trace->vcpus[vcpu], (uint64_t)(at < 0 ? at + pages : at), think_ns);
	}
}

static void make_sequential(struct trace *trace)
{
	add_vcpus(trace, 1);
	walk(trace, 0, trace->pages / 3, 1, trace->pages / 4, 10 * US);
}

static void make_backward(struct trace *trace)
{
	add_vcpus(trace, 1);
	walk(trace, 0, trace->pages / 3 * 2, -1, trace->pages / 4, 10 * US);
}

/* Each vCPU walks through a part of its own, every second one backward. */
static void make_streams(struct trace *trace, uint64_t vcpus, uint64_t think_ns)
{
	add_vcpus(trace, vcpus);
	for (uint64_t i = 0; i < vcpus; i++)
		walk(trace, i, (2 * i + 1) * trace->pages / (2 * vcpus), i % 2 ? -1 : 1,
		     trace->pages / (4 * vcpus), think_ns);
}

static void make_streams_8(struct trace *trace)
{
	make_streams(trace, 8, 60 * US);
}

static void make_streams_48(struct trace *trace)
{
	make_streams(trace, 48, 300 * US);
}

/* A stream, and seven vCPUs that touch anything. */
static void make_stream_in_noise(struct trace *trace)
{
	add_vcpus(trace, 8);
	walk(trace, 0, trace->pages / 3, 1, trace->pages / 8, 20 * US);
	for (uint64_t i = 1; i < 8; i++)
		for (uint64_t n = 0; n < 2000; n++)
			add(&trace->vcpus[i], draw(trace->pages), 200 * US);
}

static void make_random(struct trace *trace, uint64_t vcpus, uint64_t touches)
{
	add_vcpus(trace, vcpus);
	for (uint64_t i = 0; i < vcpus; i++)
		for (uint64_t n = 0; n < touches / vcpus; n++)
			add(&trace->vcpus[i], draw(trace->pages), 100 * US);
}

static void make_random_8(struct trace *trace)
{
	make_random(trace, 8, trace->pages / 8);
}

static void make_random_256(struct trace *trace)
{
	make_random(trace, 256, trace->pages / 4);
}

/*
 * Zipf's law (s = 1) over places of @size pages, spread over the region at random: rank r
 * is drawn as n^u - 1, u even in [0, 1), by halving an interval of ranks in the ratio of
 * logarithms, in integers.
 */
static uint64_t draw_zipf(uint64_t places)
{
	unsigned int bits = 0;
	uint64_t low, width;

	while (places >> (bits + 1))
		bits++;
	/* An octave of ranks is as likely as any other. */
	low = 1ULL << draw(bits);
	width = low;
	return low + draw(width) - 1;
}

static void make_zipf(struct trace *trace, uint64_t size)
{
	const uint64_t places = trace->pages / size;

	add_vcpus(trace, 8);
	for (uint64_t i = 0; i < 8; i++)
		for (uint64_t n = 0; n < 6000; n++) {
			/* An odd factor: a permutation where the places are a power of two. */
			const uint64_t place = draw_zipf(places) * 0x9e3779b1 % places;

			add(&trace->vcpus[i], place * size + draw(size), 50 * US);
		}
}

static void make_zipf_pages(struct trace *trace)
{
	make_zipf(trace, 1);
}

/* Hot are not pages but objects of 128 KiB. */
static void make_zipf_objects(struct trace *trace)
{
	make_zipf(trace, 32);
}

static void make_stride_8(struct trace *trace)
{
	add_vcpus(trace, 1);
	walk(trace, 0, trace->pages / 3, 8, trace->pages / 16, 20 * US);
}

static void make_stride_512(struct trace *trace)
{
	add_vcpus(trace, 1);
	for (uint64_t i = 0; i < 16; i++)
		walk(trace, 0, trace->pages / 3 + 7 * i, 512, trace->pages / 512, 20 * US);
}

/*
 * What a guest does that starts programs: files are read in runs (8 to 512 pages, from
 * the front), between them single pages of the heap, of which a few are touched over
 * and over.
 */
static void make_boot(struct trace *trace)
{
	const uint64_t heap = trace->pages / 2;

	add_vcpus(trace, 4);
	for (uint64_t i = 0; i < 4; i++)
		for (uint64_t n = 0; n < 120; n++) {
			walk(trace, i, draw(trace->pages - heap) + heap, 1,
			     8ULL << draw(7), 15 * US);
			for (uint64_t k = 0; k < 40; k++)
				add(&trace->vcpus[i],
				    draw(4) ? draw(heap / 64) : draw(heap), 30 * US);
		}
}

const char *const trace_names[] = {
	"sequential", "backward", "streams-8", "streams-48", "stream-in-noise", "random-8",
	"random-256", "zipf-pages", "zipf-objects", "stride-8", "stride-512", "boot", NULL,
};

static void (*const trace_makers[])(struct trace *trace) = {
	make_sequential, make_backward, make_streams_8, make_streams_48, make_stream_in_noise,
	make_random_8, make_random_256, make_zipf_pages, make_zipf_objects, make_stride_8,
	make_stride_512, make_boot,
};

int trace_generate(struct trace *trace, const char *name, uint64_t pages)
{
	*trace = (struct trace){ .pages = pages };
	for (size_t i = 0; trace_names[i]; i++) {
		if (strcmp(trace_names[i], name))
			continue;
		seed = 1;
		trace_makers[i](trace);
		return 0;
	}
	return -1;
}

static struct trace_vcpu *find_vcpu(struct trace *trace, uint64_t number)
{
	for (size_t i = 0; i < trace->count; i++)
		if (trace->vcpus[i].number == number)
			return &trace->vcpus[i];
	return trace->count < VCPUS_MAX ? add_vcpu(trace, number) : NULL;
}

/* NULL, or what is wrong with @line. */
static const char *take_line(struct trace *trace, char *line)
{
	uint64_t time_us, number, page;
	struct trace_vcpu *vcpu;
	char rest;
	int found;

	line[strcspn(line, "#\n")] = '\0';
	if (!line[strspn(line, " \t\r")])
		return NULL;
	found = strchr(line, '-') ? 0 :
		sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %c", &time_us, &number, &page,
		       &rest);
	if (found != 3)
		return "is not \"time_us vcpu page\"";
	if (page >= PAGES_MAX)
		return "names a page beyond 1 TiB";
	vcpu = find_vcpu(trace, number);
	if (!vcpu)
		return "is of one vCPU too many";
	if (time_us < vcpu->time_us)
		return "is earlier than the one before of the same vCPU";
	if (time_us > UINT64_MAX / US)
		return "has a time out of range";
	add(vcpu, page, (time_us - vcpu->time_us) * US);
	vcpu->time_us = time_us;
	if (page >= trace->pages)
		trace->pages = page + 1;
	return NULL;
}

int trace_read(struct trace *trace, const char *path, uint64_t pages)
{
	const char *error = NULL;
	size_t size = 0, number;
	char *line = NULL;
	FILE *file = fopen(path, "re");

	*trace = (struct trace){ .pages = pages };
	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	for (number = 1; !error && getline(&line, &size, file) >= 0; number++)
		error = take_line(trace, line);
	free(line);
	fclose(file);
	if (!error && !trace->count)
		fprintf(stderr, "%s: no touches in it\n", path);
	if (error)
		fprintf(stderr, "%s: line %zu %s\n", path, number - 1, error);
	if (!error && trace->count)
		return 0;
	trace_release(trace);
	return -1;
}

void trace_print(const struct trace *trace, FILE *out)
{
	fprintf(out, "# time_us vcpu page; region of %" PRIu64 " pages\n", trace->pages);
	for (size_t i = 0; i < trace->count; i++) {
		const struct trace_vcpu *vcpu = &trace->vcpus[i];
		uint64_t time_ns = 0;

		for (size_t n = 0; n < vcpu->count; n++) {
			time_ns += vcpu->touches[n].think_ns;
			fprintf(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", time_ns / US,
				vcpu->number, vcpu->touches[n].page);
		}
	}
}

void trace_release(struct trace *trace)
{
	for (size_t i = 0; i < trace->count; i++)
		free(trace->vcpus[i].touches);
	free(trace->vcpus);
	*trace = (struct trace){ 0 };
}
