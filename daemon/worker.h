/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A worker is a process that does the page traffic of one migration on one
 * side. The supervisor starts it (yab_worker_spawn), and they talk over a
 * channel.
 *
 * Supervisor to worker:
 *   {"type": "start", "side": "source", "vm": NAME, "pages": N, "kind": KIND}	fds: memory
 *	KIND says what the memory is: "memory", a memory file (also without KIND), "image", a
 *	raw image file, or "process", a pidfd; with it comes "spans", a list of {"address": A,
 *	"length": BYTES, "page": N}, as backing_process.h has it.
 *   {"type": "start", "side": "destination", "vm": NAME, "pages": N}
 *						fds: memory[, pager]
 *	What the region has already is taken over.
 *   With "codec": "lz4" or "zstd" in it, either start message says that bulk pages may be
 *	packed so.
 *   {"type": "connection", "role": "urgent"|"bulk", "index": N}	fds: socket
 *	The hellos were exchanged. A new connection replaces the old of its role and index.
 *   {"type": "serve"}		source only: the guest is stopped, pages may be
 *				read from now on. Requests wait until then.
 *   {"type": "limit", "bandwidth": N}	destination only: bytes a second for the sweep,
 *				0 for no limit
 *
 * Worker to supervisor:
 *   {"type": "statistics", ...}	see below; on change, at most 5 a second,
 *				and right before "complete"
 *   {"type": "lost", "role": "urgent"|"bulk", "index": N, "error": TEXT}	a
 *				connection ended; the worker waits for another one
 *   {"type": "complete"}	destination only: every page is present
 *   {"type": "failed", "error": TEXT}	cannot go on (start message or a file
 *				descriptor unusable); the worker then exits with 1
 *
 * The worker leaves with 0 when the supervisor closes the channel, except that a
 * destination worker whose region is not complete and a source worker that serves
 * go on as long as they have connections: a guest may be waiting.
 *
 * Fields of "statistics" (integers; bytes and microseconds):
 *   both sides: pages, bytes (payload of PAGES and PACKED frames), zero_pages,
 *     data_pages, packed_pages, packed_bytes (those of PACKED frames alone)
 *   source: urgent_requests, bulk_requests, urgent_pages, bulk_pages
 *   destination: present, faults, urgent_pages, bulk_pages, duplicate_pages,
 *     fault_us: {"count", "p50", "p99", "max"}  time from the first touch of a
 *     page to its declaration
 */
#ifndef YAB_DAEMON_WORKER_H
#define YAB_DAEMON_WORKER_H

#include <sys/types.h>

#include "channel.h"

/*
 * Starts /proc/self/exe --worker with a channel. Returns the child's pid, or -1
 * with errno. The caller reaps it.
 */
pid_t yab_worker_spawn(struct event_base *base, yab_channel_cb cb, void *arg,
		       struct yab_channel **channel);

/* main() of a worker: returns its exit status. */
int yab_worker_main(void);

#endif /* YAB_DAEMON_WORKER_H */
