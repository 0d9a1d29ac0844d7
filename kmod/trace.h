/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM yabusame

#if !defined(YAB_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define YAB_TRACE_H

#include <linux/tracepoint.h>

#include "compat.h"

/* A missing page was touched for the first time. */
TRACE_EVENT(yabusame_fault,
	TP_PROTO(const char *region, u64 page, u32 flags),
	TP_ARGS(region, page, flags),
	TP_STRUCT__entry(
		__string(region, region)
		__field(u64, page)
		__field(u32, flags)
	),
	TP_fast_assign(
		YAB_ASSIGN_STR(region, region);
		__entry->page = page;
		__entry->flags = flags;
	),
	TP_printk("region=%s page=%llu flags=%s", __get_str(region), __entry->page,
		  __print_flags(__entry->flags, "|", { 1, "write" }, { 2, "nowait" }))
);

/* A task that waited for a page goes on. */
TRACE_EVENT(yabusame_wake,
	TP_PROTO(const char *region, u64 page, u64 waited_ns),
	TP_ARGS(region, page, waited_ns),
	TP_STRUCT__entry(
		__string(region, region)
		__field(u64, page)
		__field(u64, waited_ns)
	),
	TP_fast_assign(
		YAB_ASSIGN_STR(region, region);
		__entry->page = page;
		__entry->waited_ns = waited_ns;
	),
	TP_printk("region=%s page=%llu waited_ns=%llu", __get_str(region), __entry->page,
		  __entry->waited_ns)
);

/* The pager has declared a range; state as in struct yab_range. */
TRACE_EVENT(yabusame_present,
	TP_PROTO(const char *region, u64 page, u64 count, u64 fresh, u32 state),
	TP_ARGS(region, page, count, fresh, state),
	TP_STRUCT__entry(
		__string(region, region)
		__field(u64, page)
		__field(u64, count)
		__field(u64, fresh)
		__field(u32, state)
	),
	TP_fast_assign(
		YAB_ASSIGN_STR(region, region);
		__entry->page = page;
		__entry->count = count;
		__entry->fresh = fresh;
		__entry->state = state;
	),
	TP_printk("region=%s page=%llu count=%llu fresh=%llu state=%s", __get_str(region),
		  __entry->page, __entry->count, __entry->fresh,
		  __print_symbolic(__entry->state, { 0, "present" }, { 1, "zero" },
				   { 2, "failed" }, { 3, "discarded" }))
);

/* A pager has come or gone. */
TRACE_EVENT(yabusame_attach,
	TP_PROTO(const char *region, bool attached),
	TP_ARGS(region, attached),
	TP_STRUCT__entry(
		__string(region, region)
		__field(bool, attached)
	),
	TP_fast_assign(
		YAB_ASSIGN_STR(region, region);
		__entry->attached = attached;
	),
	TP_printk("region=%s attached=%d", __get_str(region), __entry->attached)
);

/* A region has changed its state. */
TRACE_EVENT(yabusame_state,
	TP_PROTO(const char *region, const char *from, const char *to),
	TP_ARGS(region, from, to),
	TP_STRUCT__entry(
		__string(region, region)
		__string(from, from)
		__string(to, to)
	),
	TP_fast_assign(
		YAB_ASSIGN_STR(region, region);
		YAB_ASSIGN_STR(from, from);
		YAB_ASSIGN_STR(to, to);
	),
	TP_printk("region=%s from=%s to=%s", __get_str(region), __get_str(from), __get_str(to))
);

#endif /* YAB_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
