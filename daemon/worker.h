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
 *   {"type": "start", "side": "destination", "vm": NAME, "pages": N[, "policy": SPEC]
 *    [, "sweep": false] [, "verify": true]}	fds: memory[, pager][, checksums]
 *	With "verify", and the file for checksums (checksum.h), all pages are compared with the
 *	source's before "complete".
 *	The policy is the order of bulk pages, see policy.h. What the region has already is
 *	taken over. Both may have "codec", "lz4" or "zstd": bulk pages may be packed so;
 *	"session", the name of the migration in the log, and "debug": true, to log more.
 *	It then enters its sandbox (sandbox.h), where it stays to its end.
 *   {"type": "connection", "role": "urgent"|"bulk", "index": N, "number": N,
 *    "token": HEX, "tls": true|false, "name": NAME, "host": HOST}
 *				fds: socket[, credentials if "tls"]
 *	The prefaces were exchanged. The worker opens the connection (opening.h): a
 *	new one replaces the old of its role and index once it is open. NAME is the other
 *	side, for messages; HOST is the one whose certificate the source expects. "number"
 *	tells this connection from others of its role and index, in all that is said of it.
 *   {"type": "sweep"}		destination only: the guest is here, all its pages may
 *				be asked for
 *   {"type": "serve"}		source only: the guest is stopped, pages may be
 *				read from now on. Requests wait until then.
 *   {"type": "limit", "bandwidth": N}	destination only: bytes a second for the sweep,
 *				0 for no limit
 *   {"type": "hints", "ranges": [[PAGE, COUNT], ...]}	destination only: pages that the
 *				guest used of late, best first (hints.h)
 *   {"type": "end"}		nobody needs what is here any more: leave with 0
 *
 * Worker to supervisor:
 *   {"type": "statistics", ...}	see below; on change, at most 5 a second,
 *				and right before "complete"
 *   {"type": "open", "role": "urgent"|"bulk", "index": N, "number": N}	a connection is
 *				in use
 *   {"type": "lost", "role": "urgent"|"bulk", "index": N, "number": N, "error": TEXT}
 *				a connection ended or (source) could not be opened; the
 *				worker waits for another one
 *	Of each role and index only the last of these is sure to be sent: it is what counts.
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
 *   source: urgent_requests, bulk_requests, urgent_pages, bulk_pages,
 *     service_us: from reading an urgent request to handing the header of its answer
 *     to the socket
 *   destination: present, faults, urgent_pages, bulk_pages, duplicate_pages,
 *     prefetched_pages, wasted_pages, hinted_pages (see policy.h), verified_chunks,
 *     unverifiable_chunks, different_chunks, different_page (see verification.h; 0 before the end),
 *     fault_us: from the first touch of a page to its declaration, and its parts
 *     (touch.h): queue_us, round_trip_us, install_us
 *   What ends in _us is a histogram as statistics.h has it. The time in the network is
 *   round_trip_us less service_us, as distributions (or sums), not for a single fault: no
 *   clock is shared, and no time goes over the wire.
 * The supervisor of each side adds connections_lost and workers_replaced.
 */
#ifndef YAB_DAEMON_WORKER_H
#define YAB_DAEMON_WORKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "channel.h"
#include "codec.h"
#include "security.h"
#include "wire.h"

/*
 * Starts /proc/self/exe --worker with a channel. Returns the child's pid, or -1
 * with errno. The caller reaps it.
 */
pid_t yab_worker_spawn(struct event_base *base, yab_channel_cb cb, void *arg,
		       struct yab_channel **channel);

/* From now on workers are started with --no-sandbox. */
void yab_worker_spawn_unconfined(void);
/* A page connection for a worker. */
struct yab_worker_connection {
	enum yab_wire_role role;
	unsigned int index;
	uint32_t number;
	bool tls;		/* what the prefaces agreed on */
	enum yab_credentials_side side;
	const uint8_t *token;
	const char *name;
	const char *host;	/* the source's side only */
};

/*
 * Sends "connection", with credentials that are read for it. Borrows @fd. 0, or -1 with
 * one line in @error.
 */
int yab_worker_connect(struct yab_channel *channel, const struct yab_worker_connection *connection,
		       int fd, const struct yab_security *security, char *error,
		       size_t error_size);

/* main() of a worker: returns its exit status. */
int yab_worker_main(bool confined);

/*
 * "start", without its descriptors; NULL without memory. @side as above; a source's memory is
 * a memory file. @policy (NULL: the default), @sweep and @verify are the destination's.
 */
json_t *yab_worker_start_message(const char *side, const char *vm, uint64_t pages,
				 enum yab_codec_kind codec, const char *policy, bool sweep,
				 bool verify);

#endif /* YAB_DAEMON_WORKER_H */
