/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's page service as the supervisor sees it: its worker, and the urgent
 * and the bulk connections to the destination that the worker is given.
 *
 * Until yab_supply_persist() every loss is reported and final. After it (a guest
 * runs on the other host and waits for its pages) what is lost is made anew, with
 * back-off, for as long as it takes.
 */
#ifndef YAB_DAEMON_SUPPLY_H
#define YAB_DAEMON_SUPPLY_H

#include <event2/dns.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "address.h"
#include "codec.h"
#include "security.h"
#include "wire.h"

struct yab_supply;

/* No callback but worker() comes from within a call. */
struct yab_supply_ops {
	/* There is this one; it knows nothing yet, and leaves when we end. */
	void (*worker)(pid_t pid, void *arg);
	void (*linked)(void *arg);	/* all connections are open, first time */
	/*
	 * After yab_supply_persist(): the urgent connection is there (@error is NULL) or not;
	 * then @next_try_us is by CLOCK_MONOTONIC. May come from within a call.
	 */
	void (*urgent)(const char *error, int64_t next_try_us, void *arg);
	/*
	 * The same for a bulk one that is lost, or could not be made; without an error when all
	 * of them are there again. NULL where nobody asks.
	 */
	void (*bulk)(const char *error, void *arg);
	/* As worker.h lists them, over all workers that there were. Borrowed. */
	void (*statistics)(json_t *statistics, void *arg);
	/* The last one; may free the supply. Only before yab_supply_persist(). */
	void (*failed)(const char *error, void *arg);
};

/* Copied, but for @memory_fd and @security, which are borrowed. */
struct yab_supply_terms {
	struct event_base *base;
	struct evdns_base *dns;
	const char *vm;
	const char *kind;		/* of the memory, as worker.h has it; a literal, or NULL */
	int memory_fd;
	uint64_t pages;
	const struct yab_address *address;
	const struct yab_security *security;
	const uint8_t *route;
	const uint8_t *token;
	unsigned int bulks;		/* for the sweep, 1 to YAB_WIRE_BULKS_MAX */
	enum yab_codec_kind codec;
};

/* NULL with one line in @error. */
struct yab_supply *yab_supply_new(const struct yab_supply_terms *terms,
				  const struct yab_supply_ops *ops, void *arg, char *error,
				  size_t error_size);
/*
 * Goes on where another supervisor has ended: it serves and is persistent from the first
 * moment, and linked() does not come. NULL without memory.
 */
struct yab_supply *yab_supply_adopt(const struct yab_supply_terms *terms,
				    const struct yab_supply_ops *ops, void *arg);
/*
 * A worker that serves goes on by itself if @goes_on, as long as it has connections. Else
 * nobody needs its pages any more, and the connections end without a warning.
 */
void yab_supply_free(struct yab_supply *supply, bool goes_on);
/* The guest is stopped: pages may be read from now on. 0, or -1 with errno. */
int yab_supply_serve(struct yab_supply *supply);
void yab_supply_persist(struct yab_supply *supply);
/* The destination says that it has lost the connection @number; 0: it does not say which. */
void yab_supply_relink(struct yab_supply *supply, enum yab_wire_role role, json_int_t index,
		       json_int_t number);
/*
 * After yab_supply_persist(): what is not there is tried at once, and pauses are short again.
 * With @via all connections are made anew and go there from now on; whoever is there must
 * still have the first address's certificate.
 */
void yab_supply_resume(struct yab_supply *supply, const struct yab_address *via);

#endif /* YAB_DAEMON_SUPPLY_H */
