/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source side of a worker: answers requests for pages out of the stopped
 * guest's memory, wherever that is.
 */
#ifndef YAB_DAEMON_SOURCE_H
#define YAB_DAEMON_SOURCE_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "backing.h"
#include "codec.h"
#include "histogram.h"
#include "wire.h"

/*
 * What a connection writes before the event loop looks for other work. Bulk: one
 * pipe's worth of sendfile(), 50 us at 10 Gbit/s; an urgent request waits no longer than
 * that for the worker. Urgent: only so that messages from the supervisor are
 * seen, too.
 */
#define YAB_SOURCE_BULK_SLICE	65536
#define YAB_SOURCE_URGENT_SLICE	1048576

struct yab_source;

struct yab_source_statistics {
	uint64_t bytes;			/* payload of PAGES and PACKED frames */
	uint64_t zero_pages;
	uint64_t data_pages;
	uint64_t urgent_requests;
	uint64_t bulk_requests;
	uint64_t urgent_pages;
	uint64_t bulk_pages;
	uint64_t packed_pages;		/* data pages of PACKED frames */
	uint64_t packed_bytes;		/* their payload */
};

/*
 * A connection ended. It may be replaced from within the callback, but the
 * source must not be freed there.
 */
typedef void (*yab_source_lost_cb)(enum yab_wire_role role, unsigned int index,
				   const char *error, void *arg);

/*
 * @backing is taken over, also on failure; for convenience a NULL of what makes one is
 * passed on with its errno. @vm is for the log. NULL with errno.
 */
struct yab_source *yab_source_new(struct event_base *base, const char *vm,
				  struct yab_backing *backing, yab_source_lost_cb lost, void *arg);
void yab_source_free(struct yab_source *source);

/*
 * From now on bulk pages are packed by @kind where that pays (payoff.h). Once, before any
 * connection. 0, or -1 with errno; all memory for it is allocated here.
 */
int yab_source_pack(struct yab_source *source, enum yab_codec_kind kind);

/*
 * A new connection, in place of the old one of that role and index (0 for urgent, less
 * than YAB_WIRE_BULKS_MAX for bulk). Takes @fd and its session @ssl (NULL: plain TCP)
 * over; on failure (-1 with errno) there is none.
 */
int yab_source_connect(struct yab_source *source, enum yab_wire_role role, unsigned int index,
		       int fd, SSL *ssl);

/* The guest is stopped: from now on its memory may be read. */
void yab_source_serve(struct yab_source *source);

/* Somebody may be waiting for its pages: it serves, and has a connection. */
bool yab_source_is_in_use(const struct yab_source *source);

const struct yab_source_statistics *yab_source_statistics(const struct yab_source *source);
/* From reading an urgent request to handing the header of its answer to the socket. */
const struct yab_histogram *yab_source_service(const struct yab_source *source);

#endif /* YAB_DAEMON_SOURCE_H */
