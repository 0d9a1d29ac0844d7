// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "pagemap.h"
#include "policy.h"

#define NEVER		UINT64_MAX
#define PAGE_BITS	((YAB_WIRE_PAGE_SIZE + 6) * 8ULL)	/* headers: 24 bytes a frame */
#define NONE		UINT32_MAX

/* Pages in order, each with the time from which on it counts. */
struct queue {
	struct entry {
		uint64_t page;
		uint64_t time_ns;
		bool urgent;
	} *entries;
	size_t head, tail, room;
};

struct vcpu {
	size_t next;		/* touch */
	uint64_t due_ns;	/* of it; NEVER while it waits or when it is done */
	uint64_t since_ns;	/* waits */
	uint32_t waits_next;	/* the next one that waits for the same page, or NONE */
};

struct model {
	const struct trace *trace;
	const struct model_link *link;
	struct model_result *result;
	uint64_t page_ns;	/* a page on the link */
	uint64_t now_ns;

	struct vcpu *vcpus;
	uint32_t *waits;	/* by page: the first vCPU that waits for it */
	uint32_t *heap;		/* vCPUs by due_ns */
	size_t heap_count;

	struct yab_pagemap map;
	struct yab_policy *policy;
	uint8_t *prefetched;	/* by page: prefetched and not touched yet */
	uint64_t ordered;	/* pages on order in bulk */

	struct queue requests[2];	/* to the source: urgent, bulk */
	struct queue arrivals;
	uint64_t link_ns;	/* until when the link is busy with what it was handed */

	uint64_t *stalls;
	size_t stall_room;
};

static void *make(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return memory;
}

static void queue_add(struct queue *queue, uint64_t page, uint64_t time_ns, bool urgent)
{
	if (queue->tail == queue->room) {
		queue->room = queue->room ? queue->room * 2 : 1024;
		queue->entries = realloc(queue->entries, queue->room * sizeof(*queue->entries));
		if (!queue->entries) {
			fprintf(stderr, "out of memory\n");
			exit(1);
		}
	}
	queue->entries[queue->tail++] = (struct entry){ page, time_ns, urgent };
}

static const struct entry *queue_first(const struct queue *queue)
{
	return queue->head < queue->tail ? &queue->entries[queue->head] : NULL;
}

/* Ties go to the lower number, so that a run is the same each time. */
static bool is_before(const struct model *model, uint32_t a, uint32_t b)
{
	const uint64_t x = model->vcpus[a].due_ns, y = model->vcpus[b].due_ns;

	return x < y || (x == y && a < b);
}

static void heap_swap(struct model *model, size_t a, size_t b)
{
	const uint32_t vcpu = model->heap[a];

	model->heap[a] = model->heap[b];
	model->heap[b] = vcpu;
}

static void heap_add(struct model *model, uint32_t vcpu)
{
	size_t at = model->heap_count++;

	model->heap[at] = vcpu;
	for (; at && is_before(model, model->heap[at], model->heap[(at - 1) / 2]);
	     at = (at - 1) / 2)
		heap_swap(model, at, (at - 1) / 2);
}

static uint32_t heap_take(struct model *model)
{
	const uint32_t first = model->heap[0];

	heap_swap(model, 0, --model->heap_count);
	for (size_t at = 0, child; (child = 2 * at + 1) < model->heap_count; at = child) {
		if (child + 1 < model->heap_count &&
		    is_before(model, model->heap[child + 1], model->heap[child]))
			child++;
		if (!is_before(model, model->heap[child], model->heap[at]))
			break;
		heap_swap(model, at, child);
	}
	return first;
}

static void order(struct model *model, uint64_t page, uint64_t count, enum yab_wire_role role)
{
	const bool urgent = role == YAB_WIRE_URGENT;

	yab_pagemap_ask(&model->map, page, count, role);
	for (uint64_t i = 0; i < count; i++)
		queue_add(&model->requests[!urgent], page + i,
			  model->now_ns + model->link->rtt_us * 500, urgent);
}

/* As the pager does it. */
static void pump(struct model *model)
{
	const struct yab_policy_statistics *statistics = yab_policy_statistics(model->policy);
	uint64_t page, count;

	while (model->ordered + model->link->run <= model->link->window) {
		const uint64_t prefetched = statistics->prefetched;

		if (!yab_policy_next(model->policy, &model->map, model->link->run, &page, &count))
			break;
		if (statistics->prefetched != prefetched)
			memset(model->prefetched + page, 1, count);
		order(model, page, count, YAB_WIRE_BULK);
		model->ordered += count;
	}
}

/* The vCPU has its page. */
static void advance(struct model *model, uint32_t index)
{
	const struct trace_vcpu *trace = &model->trace->vcpus[index];
	struct vcpu *vcpu = &model->vcpus[index];

	vcpu->next++;
	if (vcpu->next == trace->count) {
		model->result->guest_ns = model->now_ns;
		return;
	}
	vcpu->due_ns = model->now_ns + trace->touches[vcpu->next].think_ns;
	heap_add(model, index);
}

static void touch(struct model *model)
{
	const uint32_t index = heap_take(model);
	struct vcpu *vcpu = &model->vcpus[index];
	const uint64_t page = model->trace->vcpus[index].touches[vcpu->next].page;

	model->prefetched[page] = 0;
	if (yab_pagemap_is_present(&model->map, page)) {
		advance(model, index);
		return;
	}
	vcpu->since_ns = model->now_ns;
	vcpu->waits_next = model->waits[page];
	model->waits[page] = index;
	/* The kernel queues a page once. */
	if (vcpu->waits_next != NONE)
		return;
	model->result->faults++;
	yab_pagemap_want(&model->map, page);
	yab_policy_touch(model->policy, page);
	order(model, page, 1, YAB_WIRE_URGENT);
	pump(model);
}

static void record_stall(struct model *model, uint64_t stall_ns)
{
	struct model_result *result = model->result;

	if (result->stalls == model->stall_room) {
		model->stall_room = model->stall_room ? model->stall_room * 2 : 1024;
		model->stalls = realloc(model->stalls,
					model->stall_room * sizeof(*model->stalls));
		if (!model->stalls) {
			fprintf(stderr, "out of memory\n");
			exit(1);
		}
	}
	model->stalls[result->stalls++] = stall_ns;
	result->stall_ns += stall_ns;
}

static void arrive(struct model *model)
{
	const struct entry *entry = &model->arrivals.entries[model->arrivals.head++];
	const uint64_t page = entry->page;
	uint32_t index, next;

	if (!entry->urgent)
		model->ordered--;
	if (!yab_pagemap_mark_present(&model->map, page, 1))
		model->result->duplicates++;
	for (index = model->waits[page]; index != NONE; index = next) {
		next = model->vcpus[index].waits_next;
		record_stall(model, model->now_ns - model->vcpus[index].since_ns);
		advance(model, index);
	}
	model->waits[page] = NONE;
	if (model->map.present == model->map.pages && !model->result->complete_ns)
		model->result->complete_ns = model->now_ns;
	pump(model);
}

/* The request that the source serves next, if one has arrived by @time_ns. */
static struct queue *source_choose(struct model *model, uint64_t time_ns)
{
	for (int i = 0; i < 2; i++) {
		const struct entry *first = queue_first(&model->requests[i]);

		if (first && first->time_ns <= time_ns)
			return &model->requests[i];
	}
	return NULL;
}

/* When the source can hand the link another page. */
static uint64_t source_due(const struct model *model)
{
	const uint64_t queued = (model->link->handed - 1) * model->page_ns;
	const uint64_t room = model->link_ns > queued ? model->link_ns - queued : 0;
	uint64_t due = NEVER;

	for (int i = 0; i < 2; i++) {
		const struct entry *first = queue_first(&model->requests[i]);

		if (first && first->time_ns < due)
			due = first->time_ns;
	}
	return due == NEVER || due > room ? due : room;
}

static void source_send(struct model *model)
{
	struct queue *queue = source_choose(model, model->now_ns);
	const struct entry *entry = &queue->entries[queue->head++];

	if (model->link_ns < model->now_ns)
		model->link_ns = model->now_ns;
	model->link_ns += model->page_ns;
	queue_add(&model->arrivals, entry->page, model->link_ns + model->link->rtt_us * 500,
		  entry->urgent);
}

/* One event. False if there is none left. */
static bool step(struct model *model)
{
	const struct entry *arrival = queue_first(&model->arrivals);
	const uint64_t source_ns = source_due(model);
	const uint64_t arrival_ns = arrival ? arrival->time_ns : NEVER;
	const uint64_t touch_ns = model->heap_count ? model->vcpus[model->heap[0]].due_ns : NEVER;

	if (arrival_ns != NEVER && arrival_ns <= source_ns && arrival_ns <= touch_ns) {
		model->now_ns = arrival_ns;
		arrive(model);
	} else if (source_ns != NEVER && source_ns <= touch_ns) {
		model->now_ns = source_ns;
		source_send(model);
	} else if (touch_ns != NEVER) {
		model->now_ns = touch_ns;
		touch(model);
	} else {
		return false;
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sum_up(struct model *model)
{
	const struct yab_policy_statistics *statistics = yab_policy_statistics(model->policy);
	struct model_result *result = model->result;

	result->prefetched = statistics->prefetched;
	result->wasted = statistics->wasted;
	for (uint64_t page = 0; page < model->map.pages; page++)
		result->untouched += model->prefetched[page];
	if (!result->stalls)
		return;
	qsort(model->stalls, result->stalls, sizeof(*model->stalls), compare);
	result->p50_ns = model->stalls[result->stalls / 2];
	result->p99_ns = model->stalls[result->stalls - 1 - result->stalls / 100];
	result->max_ns = model->stalls[result->stalls - 1];
}

void model_run(const struct trace *trace, const struct model_link *link, const char *policy,
	       struct model_result *result)
{
	struct model model = {
		.trace = trace,
		.link = link,
		.result = result,
		.page_ns = PAGE_BITS * 1000 / link->mbit,
		.vcpus = make(trace->count, sizeof(*model.vcpus)),
		.heap = make(trace->count, sizeof(*model.heap)),
		.waits = make(trace->pages, sizeof(*model.waits)),
		.prefetched = make(trace->pages, 1),
		.policy = yab_policy_new(policy, trace->pages),
	};

	*result = (struct model_result){ 0 };
	if (!model.policy || yab_pagemap_init(&model.map, trace->pages) < 0) {
		fprintf(stderr, "policy %s: %s\n", policy, strerror(errno));
		exit(1);
	}
	memset(model.waits, 0xff, trace->pages * sizeof(*model.waits));
	for (uint32_t i = 0; i < trace->count; i++) {
		model.vcpus[i].due_ns = trace->vcpus[i].touches[0].think_ns;
		heap_add(&model, i);
	}
	pump(&model);
	while (step(&model))
		;
	sum_up(&model);
	yab_policy_free(model.policy);
	yab_pagemap_release(&model.map);
	free(model.requests[0].entries);
	free(model.requests[1].entries);
	free(model.arrivals.entries);
	free(model.stalls);
	free(model.prefetched);
	free(model.waits);
	free(model.heap);
	free(model.vcpus);
}
