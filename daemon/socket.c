// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "socket.h"
#include "tls.h"

/*
 * Bulk data that the source's kernel holds unsent. Enough to keep a fast link
 * busy until the worker runs again (100 us at 10 Gbit/s), little enough to not
 * stand between an urgent page and a slow link (1 ms at 1 Gbit/s).
 */
#define YAB_SOCKET_BULK_UNSENT		131072

/*
 * A host that vanished without a word is noticed after 10 s, whether something
 * is on its way to it (user timeout) or not (keepalive: 4 + 3 * 2 s). Until then
 * guests wait; TCP's own default is a quarter of an hour.
 */
#define YAB_SOCKET_TIMEOUT_MS		10000
#define YAB_SOCKET_KEEPALIVE_IDLE	4
#define YAB_SOCKET_KEEPALIVE_INTERVAL	2
#define YAB_SOCKET_KEEPALIVE_PROBES	3

/*
 * Records that one key of AES-GCM encrypts at most; 2^24.5 full ones are what RFC 8446
 * (5.5) allows. After these, 256 GiB, the connection ends as any lost one does, and the
 * next one has new keys.
 */
#define YAB_SOCKET_RECORDS_MAX		(UINT64_C(1) << 24)

/* The greatest SO_PRIORITY that needs no privilege: pfifo_fast's first band. */
#define YAB_SOCKET_URGENT_PRIORITY	6

/*
 * All of these make things better and none is needed for them to be right; a
 * socket that is not TCP's takes few of them.
 */
static void yab_socket_tune(struct yab_socket *socket)
{
	const bool bulk = socket->role == YAB_WIRE_BULK;
	const struct {
		int level;
		int name;
		int value;
		bool wanted;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1, true },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, YAB_SOCKET_BULK_UNSENT, bulk },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, YAB_SOCKET_TIMEOUT_MS, true },
		{ IPPROTO_TCP, TCP_KEEPIDLE, YAB_SOCKET_KEEPALIVE_IDLE, true },
		{ IPPROTO_TCP, TCP_KEEPINTVL, YAB_SOCKET_KEEPALIVE_INTERVAL, true },
		{ IPPROTO_TCP, TCP_KEEPCNT, YAB_SOCKET_KEEPALIVE_PROBES, true },
		{ SOL_SOCKET, SO_KEEPALIVE, 1, true },
		{ SOL_SOCKET, SO_PRIORITY, YAB_SOCKET_URGENT_PRIORITY, !bulk },
		{ -1, 0, 0, false },
	}, *option;

	for (option = options; option->level >= 0; option++)
		if (option->wanted)
			setsockopt(socket->fd, option->level, option->name, &option->value,
				   sizeof(option->value));
}

void yab_socket_init(struct yab_socket *socket, enum yab_wire_role role)
{
	memset(socket, 0, sizeof(*socket));
	socket->fd = -1;
	socket->role = role;
}

/* Not an end: try again when libevent says so. */
static bool yab_socket_is_passing(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/*
 * An operation of the session did not succeed. 0: it is to be tried again, and *wanted says
 * when (EV_READ, EV_WRITE); else -1, with errno as the headers say, and for good.
 */
static int yab_socket_judge(struct yab_socket *socket, int result, short *wanted)
{
	const int number = errno;
	const int code = SSL_get_error(socket->ssl, result);
	const int reason = ERR_GET_REASON(ERR_peek_last_error());

	ERR_clear_error();
	*wanted = code == SSL_ERROR_WANT_READ ? EV_READ :
		  code == SSL_ERROR_WANT_WRITE ? EV_WRITE : 0;
	if (yab_tls_is_flooded(socket->ssl)) {
		socket->error = EBADMSG;
		errno = EBADMSG;
		return -1;
	}
	if (*wanted)
		return 0;
	if (code == SSL_ERROR_ZERO_RETURN) {
		errno = 0;
		return -1;
	}
	if (code == SSL_ERROR_SYSCALL && number)
		socket->error = number;
	else if (code == SSL_ERROR_SYSCALL || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		socket->error = ECONNRESET;
	else
		socket->error = EBADMSG;
	errno = socket->error;
	return -1;
}

static int yab_socket_update(struct yab_socket *socket);

/*
 * Writes the record, as far as that goes. 1: it is through, 0: not yet, and its event is
 * awaited, -1 with errno.
 */
static int yab_socket_flush(struct yab_socket *socket)
{
	size_t sent;
	int result;

	if (socket->error) {
		errno = socket->error;
		return -1;
	}
	if (!socket->record_size)
		return 1;
	if (!socket->record_begun)
		socket->records++;
	socket->record_begun = true;
	ERR_clear_error();
	errno = 0;
	result = SSL_write_ex(socket->ssl, socket->record, socket->record_size, &sent);
	if (result > 0) {
		/* All of it: a record is what is sent, or not. */
		socket->record_size = 0;
		socket->record_begun = false;
		return 1;
	}
	if (yab_socket_judge(socket, result, &socket->record_wanted) < 0) {
		if (!errno) {
			socket->error = EPIPE;
			errno = EPIPE;
		}
		return -1;
	}
	if (yab_socket_update(socket) < 0) {
		errno = ENOMEM;
		return -1;
	}
	return 0;
}

/* True if data can be had without the socket becoming readable. */
static bool yab_socket_holds_data(const struct yab_socket *socket)
{
	return socket->ssl && (socket->error || (!socket->drained && SSL_has_pending(socket->ssl)));
}

static void yab_socket_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_socket *socket = arg;

	/* What TLS had to read for the sake of a write may have come. */
	if (socket->record_begun)
		yab_socket_flush(socket);
	if (socket->wants_data)
		socket->on_readable(fd, what, socket->arg);
	/* That may have closed it, and opened it for another connection. */
	if (yab_socket_is_open(socket) && socket->ssl)
		yab_socket_update(socket);
}

static void yab_socket_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_socket *socket = arg;

	/* The owner learns of a failure by what it does next. */
	if (socket->record_size && !yab_socket_flush(socket))
		return;
	if (socket->wants_data && (socket->error || socket->data_wanted == EV_WRITE))
		socket->on_readable(fd, what, socket->arg);
	else if (socket->wants_room)
		socket->on_writable(fd, what, socket->arg);
	if (yab_socket_is_open(socket) && socket->ssl)
		yab_socket_update(socket);
}

/* One turn of the loop later, so that others have theirs. */
static void yab_socket_on_again(evutil_socket_t fd, short what, void *arg)
{
	struct yab_socket *socket = arg;

	(void)fd;
	yab_socket_on_readable(socket->fd, what, socket);
}

static int yab_socket_assign(struct yab_socket *socket, struct event_base *base, int fd)
{
	const int priority = socket->role == YAB_WIRE_URGENT ? YAB_PRIORITY_URGENT :
							       YAB_PRIORITY_BULK;
	const bool tls = socket->ssl;

	if (event_assign(&socket->readable, base, fd, EV_READ | EV_PERSIST,
			 tls ? yab_socket_on_readable : socket->on_readable,
			 tls ? socket : socket->arg) < 0 ||
	    event_assign(&socket->writable, base, fd, EV_WRITE | EV_PERSIST,
			 tls ? yab_socket_on_writable : socket->on_writable,
			 tls ? socket : socket->arg) < 0 ||
	    evtimer_assign(&socket->again, base, yab_socket_on_again, socket) < 0)
		return -1;
	event_priority_set(&socket->again, priority);
	event_priority_set(&socket->readable, priority);
	event_priority_set(&socket->writable, priority);
	return 0;
}

int yab_socket_open(struct yab_socket *socket, struct event_base *base, int fd, SSL *ssl,
		    event_callback_fn readable, event_callback_fn writable, void *arg)
{
	int error;

	yab_socket_init(socket, socket->role);
	socket->ssl = ssl;
	socket->on_readable = readable;
	socket->on_writable = writable;
	socket->arg = arg;
	if (evutil_make_socket_nonblocking(fd) < 0 || evutil_make_socket_closeonexec(fd) < 0) {
		error = errno;
		goto close_fd;
	}
	if (yab_socket_assign(socket, base, fd) < 0) {
		error = EINVAL;
		goto close_fd;
	}
	socket->fd = fd;
	yab_socket_tune(socket);
	/* Several records a system call; not before it was known whether the kernel decrypts. */
	if (ssl && !BIO_get_ktls_recv(SSL_get_rbio(ssl)))
		SSL_set_read_ahead(ssl, 1);
	return 0;

close_fd:
	SSL_free(ssl);
	socket->ssl = NULL;
	close(fd);
	errno = error;
	return -1;
}

/* So that the other side knows an end from being cut off; not amid a record. */
static void yab_socket_bid_farewell(struct yab_socket *socket)
{
	if (!socket->error && !socket->record_begun)
		SSL_shutdown(socket->ssl);
	SSL_free(socket->ssl);
	ERR_clear_error();
	socket->ssl = NULL;
}

void yab_socket_close(struct yab_socket *socket)
{
	if (!yab_socket_is_open(socket))
		return;
	event_del(&socket->readable);
	event_del(&socket->writable);
	if (socket->ssl) {
		event_del(&socket->again);
		yab_socket_bid_farewell(socket);
	}
	close(socket->fd);
	socket->fd = -1;
}

bool yab_socket_is_open(const struct yab_socket *socket)
{
	return socket->fd >= 0;
}

static int yab_socket_await(struct event *event, short what, bool on)
{
	/* Most calls change nothing, and this costs no system call. */
	if (!!event_pending(event, what, NULL) == on)
		return 0;
	return on ? event_add(event, NULL) : event_del(event);
}

/* Awaits what the owner and the session wait for. 0, or -1 if there is no memory for it. */
static int yab_socket_update(struct yab_socket *socket)
{
	static const struct timeval now;
	const short record = socket->record_begun && !socket->error ? socket->record_wanted : 0;
	const short data = socket->wants_data ? EV_READ | socket->data_wanted : 0;
	const short room = socket->wants_room ? EV_WRITE : 0;
	const short wanted = record | data | room;

	if (yab_socket_await(&socket->readable, EV_READ, wanted & EV_READ) < 0 ||
	    yab_socket_await(&socket->writable, EV_WRITE, wanted & EV_WRITE) < 0)
		return -1;
	if (!socket->wants_data || !yab_socket_holds_data(socket))
		return evtimer_del(&socket->again);
	return evtimer_pending(&socket->again, NULL) ? 0 : evtimer_add(&socket->again, &now);
}

int yab_socket_await_data(struct yab_socket *socket, bool on)
{
	if (!socket->ssl)
		return yab_socket_await(&socket->readable, EV_READ, on);
	socket->wants_data = on;
	return yab_socket_update(socket);
}

int yab_socket_await_room(struct yab_socket *socket, bool on)
{
	if (!socket->ssl)
		return yab_socket_await(&socket->writable, EV_WRITE, on);
	socket->wants_room = on;
	/* Nothing more to go along with what is there; how that ends is told later. */
	if (!on && socket->record_size && !socket->record_begun)
		yab_socket_flush(socket);
	return yab_socket_update(socket);
}

bool yab_socket_awaits_room(const struct yab_socket *socket)
{
	if (socket->ssl)
		return socket->wants_room;
	return event_pending(&socket->writable, EV_WRITE, NULL);
}

/* yab_socket_receive() of a session. */
static ssize_t yab_socket_decrypt(struct yab_socket *socket, struct iovec *iov, size_t count)
{
	size_t total = 0, part = 0, got;
	int result = 0;

	if (socket->error) {
		errno = socket->error;
		return -1;
	}
	while (count) {
		if (part == iov->iov_len) {
			iov++;
			count--;
			part = 0;
			continue;
		}
		ERR_clear_error();
		errno = 0;
		result = SSL_read_ex(socket->ssl, (uint8_t *)iov->iov_base + part,
				     iov->iov_len - part, &got);
		if (result <= 0)
			break;
		part += got;
		total += got;
	}
	socket->data_wanted = 0;
	socket->drained = count && !yab_socket_judge(socket, result, &socket->data_wanted);
	/* An end is told when asked again; a failure is kept. */
	return total || !count || socket->drained ? (ssize_t)total : -1;
}

ssize_t yab_socket_receive(struct yab_socket *socket, struct iovec *iov, size_t count)
{
	struct msghdr header = { .msg_iov = iov, .msg_iovlen = count };
	ssize_t n;

	if (socket->ssl)
		return yab_socket_decrypt(socket, iov, count);
	n = recvmsg(socket->fd, &header, MSG_DONTWAIT);
	if (n > 0)
		return n;
	if (n == 0) {
		errno = 0;
		return -1;
	}
	return yab_socket_is_passing(errno) ? 0 : -1;
}

/* True, or false with errno: the key has encrypted as much as it should. */
static bool yab_socket_key_lasts(struct yab_socket *socket)
{
	if (socket->records < YAB_SOCKET_RECORDS_MAX)
		return true;
	errno = EKEYEXPIRED;
	return false;
}

/* yab_socket_send() of a session: into a record, which is sent when there is no more. */
static ssize_t yab_socket_encrypt(struct yab_socket *socket, const void *bytes, size_t size,
				  bool more)
{
	size_t room;
	int result;

	if (!yab_socket_key_lasts(socket))
		return -1;
	if (socket->record_begun || socket->record_size == YAB_SOCKET_RECORD || socket->error) {
		result = yab_socket_flush(socket);
		if (result <= 0)
			return result;
	}
	room = YAB_SOCKET_RECORD - socket->record_size;
	if (size > room)
		size = room;
	memcpy(socket->record + socket->record_size, bytes, size);
	socket->record_size += size;
	if ((!more || size == room) && yab_socket_flush(socket) < 0)
		return -1;
	return (ssize_t)size;
}

/* Plain, or through a session whose sending the kernel does. As yab_socket_send(). */
static ssize_t yab_socket_sendfile(struct yab_socket *socket, int fd, off_t offset, size_t size)
{
	short wanted;
	ssize_t n;

	if (!socket->ssl) {
		n = sendfile(socket->fd, fd, &offset, size);
	} else {
		n = yab_socket_flush(socket);
		if (n <= 0)
			return n;
		ERR_clear_error();
		errno = 0;
		n = SSL_sendfile(socket->ssl, fd, offset, size, 0);
		if (n > 0)
			socket->records += (uint64_t)n / YAB_SOCKET_RECORD + 1;
	}
	if (n > 0)
		return n;
	if (n == 0) {
		errno = ENODATA;	/* the file was truncated */
		return -1;
	}
	if (yab_socket_is_passing(errno) || errno == EBUSY)
		n = 0;
	else if (errno == EINVAL)
		socket->no_sendfile = true;
	else if (socket->ssl && errno)
		socket->error = errno;	/* OpenSSL only says that it was not TLS */
	else if (socket->ssl)
		n = yab_socket_judge(socket, (int)n, &wanted);
	ERR_clear_error();
	return n;
}

bool yab_socket_sends_files(const struct yab_socket *socket)
{
	return !socket->no_sendfile &&
	       (!socket->ssl || BIO_get_ktls_send(SSL_get_wbio(socket->ssl)));
}

ssize_t yab_socket_send_file(struct yab_socket *socket, int fd, off_t offset, size_t size)
{
	ssize_t n;

	if (!yab_socket_key_lasts(socket))
		return -1;
	/* With less, a record and a system call of its own would cost more than a copy. */
	if (yab_socket_sends_files(socket) && (!socket->ssl || size >= YAB_SOCKET_RECORD)) {
		n = yab_socket_sendfile(socket, fd, offset, size);
		if (n >= 0 || !socket->no_sendfile)
			return n;
	}
	errno = EOPNOTSUPP;
	return -1;
}

ssize_t yab_socket_send(struct yab_socket *socket, const void *bytes, size_t size, bool more)
{
	ssize_t n;

	if (socket->ssl)
		return yab_socket_encrypt(socket, bytes, size, more);
	n = send(socket->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
	if (n >= 0)
		return n;
	return yab_socket_is_passing(errno) ? 0 : -1;
}

const char *yab_socket_reason(int error)
{
	switch (error) {
	case 0:
		return "closed by the other side";
	case EBADMSG:
		return "TLS fails: what comes is no TLS, or was changed on its way";
	case EKEYEXPIRED:
		return "its keys are used up; the next one has new ones";
	default:
		return strerror(error);
	}
}

void yab_socket_quote(char out[YAB_SOCKET_TEXT_SIZE], const char *who, const uint8_t *text,
		      size_t size)
{
	const int n = snprintf(out, YAB_SOCKET_TEXT_SIZE, "%s says: ", who);
	size_t at = n < 0 ? 0 : (size_t)n;

	for (size_t i = 0; i < size && at < YAB_SOCKET_TEXT_SIZE - 1; i++)
		out[at++] = text[i] >= ' ' && text[i] < 0x7f ? (char)text[i] : '?';
	out[at] = '\0';
}

void yab_socket_refuse(struct yab_socket *socket, const char *text)
{
	uint8_t frame[YAB_WIRE_HEADER_SIZE + YAB_WIRE_ERROR_MAX];
	struct yab_wire_header header = { .type = YAB_WIRE_ERROR };

	header.length = (uint32_t)strnlen(text, YAB_WIRE_ERROR_MAX);
	yab_wire_header_encode(frame, &header);
	memcpy(frame + YAB_WIRE_HEADER_SIZE, text, header.length);
	/* A courtesy: the connection is closed whether this arrives or not. */
	(void)yab_socket_send(socket, frame, YAB_WIRE_HEADER_SIZE + header.length, false);
}
