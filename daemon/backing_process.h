/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages in the private memory of another process, which must not run, or at least not
 * write to them.
 */
#ifndef YAB_DAEMON_BACKING_PROCESS_H
#define YAB_DAEMON_BACKING_PROCESS_H

#include "backing.h"

#define YAB_BACKING_SPANS_MAX	64

/* Pages from @page of the region on are at @address of the process. */
struct yab_backing_span {
	uint64_t address;	/* bytes; a multiple of the page size, like length */
	uint64_t length;
	uint64_t page;
};

/*
 * @pidfd is borrowed and must stay open. The spans, 1 to YAB_BACKING_SPANS_MAX, make up the
 * region of @pages pages in ascending order. NULL with errno: EINVAL if they do not, ESRCH
 * if the process is gone. What needs /proc is opened here; to read later takes the right to
 * trace the process.
 */
struct yab_backing *yab_backing_process(int pidfd, const struct yab_backing_span *spans,
					size_t count, uint64_t pages);

#endif /* YAB_DAEMON_BACKING_PROCESS_H */
