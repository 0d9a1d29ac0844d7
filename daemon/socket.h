/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A page connection's socket, as source and pager share it: non-blocking, driven
 * by libevent, with the socket options its role asks for, plain or with TLS. What is
 * read and written is their business.
 */
#ifndef YAB_DAEMON_SOCKET_H
#define YAB_DAEMON_SOCKET_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "wire.h"

/*
 * Priorities of events in a worker's base (event_base_priority_init()). libevent
 * looks for new events after it has run those of one priority, so what is
 * urgent waits for one callback of the bulk connection at most.
 */
#define YAB_PRIORITY_URGENT	0
#define YAB_PRIORITY_BULK	1	/* also what has no priority of its own */
#define YAB_PRIORITIES		2

/* The most that a record of TLS holds. */
#define YAB_SOCKET_RECORD	16384

/*
 * The events are part of it, not allocated: a connection that comes while memory
 * is short can be taken.
 */
struct yab_socket {
	struct event readable;
	struct event writable;
	int fd;			/* -1: no connection */
	enum yab_wire_role role;
	bool no_sendfile;	/* the file's kind cannot do it */

	/* All below is for TLS. */
	SSL *ssl;		/* NULL: plain TCP */
	struct event again;	/* OpenSSL holds data, of which the socket knows nothing */
	bool drained;		/* no, it does not: it was asked for more than it had */
	bool wants_data;	/* what the owner waits for */
	bool wants_room;
	int error;		/* once the session has failed: errno */
	uint64_t records;	/* sent with the session's key, at most */
	/*
	 * A record that is being made or sent. Once a write of it has begun, OpenSSL
	 * wants the same bytes at the same place until it is through; what comes next
	 * is the owner's to change as it likes.
	 */
	uint8_t record[YAB_SOCKET_RECORD];
	size_t record_size;
	bool record_begun;
	/* What each direction waits for; TLS may have to write in order to read. */
	short record_wanted, data_wanted;

	event_callback_fn on_readable, on_writable;
	void *arg;
};

/* Without a connection. */
void yab_socket_init(struct yab_socket *socket, enum yab_wire_role role);
/*
 * Takes @fd and its session @ssl (NULL: plain TCP) over, also on failure (-1 with errno). No
 * event is awaited yet. The socket must have no connection. Callbacks may close the
 * socket and open it anew, but not free it.
 */
int yab_socket_open(struct yab_socket *socket, struct event_base *base, int fd, SSL *ssl,
		    event_callback_fn readable, event_callback_fn writable, void *arg);
void yab_socket_close(struct yab_socket *socket);
bool yab_socket_is_open(const struct yab_socket *socket);

/*
 * Wait for data, or for room to write; not to wait for room says that nothing more is to be
 * written for now. 0, or -1 if there is no memory for it.
 */
int yab_socket_await_data(struct yab_socket *socket, bool on);
int yab_socket_await_room(struct yab_socket *socket, bool on);
bool yab_socket_awaits_room(const struct yab_socket *socket);

/*
 * Bytes done, 0 if nothing can be done now, -1 with errno on the connection's
 * end, errno being 0 if the other side closed it in order.
 */
ssize_t yab_socket_receive(struct yab_socket *socket, struct iovec *iov, size_t count);
/* @more: what comes right after it may go along with it. */
ssize_t yab_socket_send(struct yab_socket *socket, const void *bytes, size_t size, bool more);
/*
 * Sends what the file @fd has from @offset on out of the page cache, plain or encrypted by
 * the kernel. EOPNOTSUPP where that cannot be done, or costs more than to read and to send.
 */
ssize_t yab_socket_send_file(struct yab_socket *socket, int fd, off_t offset, size_t size);
/* False if that cannot be done, as far as is known. */
bool yab_socket_sends_files(const struct yab_socket *socket);
/* The text to errno after one of them failed. */
const char *yab_socket_reason(int error);

/* Enough for "WHO says: " and an ERROR's text. */
#define YAB_SOCKET_TEXT_SIZE	(YAB_WIRE_ERROR_MAX + 32)

/*
 * Writes "WHO says: TEXT". The text comes from the other host: what is not printable
 * ASCII becomes '?', so that it is fit for logs and JSON.
 */
void yab_socket_quote(char out[YAB_SOCKET_TEXT_SIZE], const char *who, const uint8_t *text,
		      size_t size);

/*
 * Tells the other side why the connection is about to be closed, if that can be
 * told at once. Only where no frame is half sent.
 */
void yab_socket_refuse(struct yab_socket *socket, const char *text);

#endif /* YAB_DAEMON_SOCKET_H */
