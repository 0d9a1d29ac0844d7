/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the vCPUs of a guest touch, in which order, and how long they think in between. */
#ifndef YAB_BENCH_TRACE_H
#define YAB_BENCH_TRACE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct trace_touch {
	uint64_t page;
	uint64_t think_ns;	/* before it, since the one before was done */
};

struct trace_vcpu {
	uint64_t number;	/* as in a recorded file */
	struct trace_touch *touches;
	size_t count;
	size_t room;
	uint64_t time_us;	/* of the last touch, while the file is read */
};

struct trace {
	uint64_t pages;		/* in the region */
	struct trace_vcpu *vcpus;
	size_t count;
};

/* The names of the generated ones, up to NULL. */
extern const char *const trace_names[];

/* Always the same for the same name and pages. -1 if there is none of that name. */
int trace_generate(struct trace *trace, const char *name, uint64_t pages);
/*
 * Lines of "time_us vcpu page", times ascending per vCPU, # begins a comment. The region is
 * as large as the greatest page needs, or @pages if that is more. -1 after a message.
 */
int trace_read(struct trace *trace, const char *path, uint64_t pages);
/* The other way round, as if no touch had waited. */
void trace_print(const struct trace *trace, FILE *out);
void trace_release(struct trace *trace);

#endif /* YAB_BENCH_TRACE_H */
