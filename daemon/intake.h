/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One page connection of the destination: the requests on it, and the frames that
 * answer them, which go to the store.
 */
#ifndef YAB_DAEMON_INTAKE_H
#define YAB_DAEMON_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "request.h"
#include "socket.h"
#include "store.h"
#include "verification.h"
#include "window.h"

/* What comes next on the connection. */
enum yab_intake_state {
	YAB_INTAKE_CLOSED,
	YAB_INTAKE_HEADER,
	YAB_INTAKE_PAYLOAD,	/* of a PAGES frame */
	YAB_INTAKE_PACK,	/* payload of a PACKED frame */
	YAB_INTAKE_ZERO,	/* a ZERO frame is being settled; nothing is received */
	YAB_INTAKE_SUMS,	/* payload of a SUMMED frame */
	YAB_INTAKE_TEXT,	/* of an ERROR frame */
	YAB_INTAKE_STATES,
};

struct yab_intake {
	struct yab_store *store;
	struct yab_window *window;	/* paces it; NULL: nothing does */
	struct yab_socket socket;
	unsigned int index;		/* among those of its role */
	enum yab_intake_state state;
	struct yab_requests requests;

	uint8_t header[YAB_WIRE_HEADER_SIZE];
	size_t header_size;	/* received of it */
	struct yab_wire_header frame;
	size_t received;	/* of the frame's payload or text */
	struct yab_codec *codec;	/* NULL: no packs were agreed on */
	uint8_t *pack;		/* YAB_CODEC_PLAIN_MAX bytes for one, not ours */
	uint64_t settled;	/* pages of a ZERO frame */
	uint64_t surveyed;	/* holes before this page are known, says the last SURVEYED */
	uint8_t text[YAB_WIRE_ERROR_MAX];
	struct yab_verification *verification;	/* gets the sums; NULL: none are asked for */
	uint8_t sums[YAB_WIRE_SUMS_MAX * YAB_WIRE_SUM_SIZE];

	/* The connection is lost: told once, closed by then. May be given a new one. */
	void (*lost)(struct yab_intake *intake, const char *error);
	void *owner;
};

/* Without a connection. @name of the connection in messages is its role and index. */
void yab_intake_init(struct yab_intake *intake, enum yab_wire_role role, unsigned int index,
		     struct yab_store *store, struct yab_window *window,
		     void (*lost)(struct yab_intake *intake, const char *error), void *owner);
/* Packs may come, made by @codec; both are borrowed. */
void yab_intake_unpack(struct yab_intake *intake, struct yab_codec *codec, uint8_t *pack);
/* Sums may be asked for, for @verification, which is borrowed. */
void yab_intake_verify(struct yab_intake *intake, struct yab_verification *verification);
/*
 * Takes @fd and @ssl (NULL: plain TCP) over, in place of the connection there is. 0, or -1
 * with errno.
 */
int yab_intake_open(struct yab_intake *intake, struct event_base *base, int fd, SSL *ssl,
		    event_callback_fn readable, event_callback_fn writable);
/* Without telling. What was asked for is missing again. */
void yab_intake_close(struct yab_intake *intake);
bool yab_intake_is_open(const struct yab_intake *intake);

/* Room for requests, and pages on order. */
bool yab_intake_is_full(const struct yab_intake *intake);
void yab_intake_ask(struct yab_intake *intake, uint64_t page, uint64_t count, uint64_t most);
/* Writes what was asked for, as far as the socket takes it. */
void yab_intake_write(struct yab_intake *intake);
/*
 * One recvmsg(), for which the store must have room. Returns the bytes dealt with,
 * 0 if there were none or the connection was lost.
 */
size_t yab_intake_receive(struct yab_intake *intake);
void yab_intake_await_data(struct yab_intake *intake, bool on);
/* Has the readable callback called if there is something left that no data will tell of. */
void yab_intake_go_on(struct yab_intake *intake);

#endif /* YAB_DAEMON_INTAKE_H */
