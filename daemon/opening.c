// SPDX-License-Identifier: GPL-2.0-or-later
#include "opening.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "tls.h"

#define YAB_OPENING_PARTING_SECONDS	1

enum yab_opening_step {
	YAB_OPENING_TLS,
	YAB_OPENING_SAYING,	/* our hello; the client speaks first */
	YAB_OPENING_HEARING,	/* theirs */
	YAB_OPENING_PARTING,	/* failed; the other side is to read why */
	YAB_OPENING_DONE,	/* or failed: the callback is next */
	YAB_OPENING_STEPS,
};

static const bool yab_opening_allowed[YAB_OPENING_STEPS][YAB_OPENING_STEPS] = {
	[YAB_OPENING_TLS] = { [YAB_OPENING_SAYING] = true, [YAB_OPENING_HEARING] = true,
			      [YAB_OPENING_PARTING] = true, [YAB_OPENING_DONE] = true },
	[YAB_OPENING_SAYING] = { [YAB_OPENING_HEARING] = true, [YAB_OPENING_PARTING] = true,
				 [YAB_OPENING_DONE] = true },
	[YAB_OPENING_HEARING] = { [YAB_OPENING_SAYING] = true, [YAB_OPENING_PARTING] = true,
				  [YAB_OPENING_DONE] = true },
	[YAB_OPENING_PARTING] = { [YAB_OPENING_DONE] = true },
};

struct yab_opening {
	enum yab_opening_step step;
	enum yab_credentials_side side;
	struct event_base *base;
	int fd;
	SSL *ssl;
	struct event *io;
	struct event *timer;
	int timeout_ms;
	short wanted;			/* what the operation that could not go on waits for */
	uint8_t token[YAB_WIRE_TOKEN_SIZE];
	struct yab_wire_hello hello;	/* ours */
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	size_t done;			/* of them */
	char name[272];
	char error[YAB_WIRE_ERROR_MAX];
	yab_opening_cb cb;
	void *arg;
};

static void yab_opening_free(struct yab_opening *opening)
{
	if (opening->io)
		event_free(opening->io);
	if (opening->timer)
		event_free(opening->timer);
	SSL_free(opening->ssl);
	if (opening->fd >= 0)
		close(opening->fd);
	OPENSSL_cleanse(opening, sizeof(*opening));
	free(opening);
}

void yab_opening_cancel(struct yab_opening *opening)
{
	if (opening)
		yab_opening_free(opening);
}

static void yab_opening_enter(struct yab_opening *opening, enum yab_opening_step step)
{
	assert(yab_opening_allowed[opening->step][step]);
	opening->step = step;
	opening->done = 0;
}

/* The callback comes from the event loop. Until then nothing that still comes counts. */
static void yab_opening_settle(struct yab_opening *opening)
{
	struct timeval now = { 0 };

	yab_opening_enter(opening, YAB_OPENING_DONE);
	event_del(opening->io);
	evtimer_add(opening->timer, &now);
}

static void yab_opening_fail(struct yab_opening *opening, const char *format, ...)
	__attribute__((__format__(printf, 2, 3)));

static void yab_opening_fail(struct yab_opening *opening, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(opening->error, sizeof(opening->error), format, args);
	va_end(args);
	yab_opening_settle(opening);
}

/*
 * TLS has failed, and OpenSSL has sent an alert that says so. Closed now, with input that is
 * unread, the kernel would reset the connection and the alert be lost: the other side's
 * end is awaited, for a short while.
 */
static void yab_opening_part(struct yab_opening *opening)
{
	struct timeval patience = { .tv_sec = YAB_OPENING_PARTING_SECONDS };

	yab_opening_enter(opening, YAB_OPENING_PARTING);
	shutdown(opening->fd, SHUT_WR);
	opening->wanted = EV_READ;
	evtimer_add(opening->timer, &patience);
}

/* What still comes is for nobody. */
static void yab_opening_drain(struct yab_opening *opening)
{
	char bytes[4096];
	const ssize_t n = recv(opening->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		yab_opening_settle(opening);
}

static void yab_opening_timer(evutil_socket_t unused, short what, void *arg)
{
	struct yab_opening *opening = arg;
	char error[YAB_WIRE_ERROR_MAX];
	yab_opening_cb cb = opening->cb;
	void *cb_arg = opening->arg;
	SSL *ssl = NULL;
	int fd = -1;

	(void)unused;
	(void)what;
	if (opening->step == YAB_OPENING_PARTING) {
		yab_opening_settle(opening);
		return;
	}
	if (opening->step != YAB_OPENING_DONE) {
		yab_opening_fail(opening,
				 "%s goes silent while the connection is opened (%d s): check the network, and its log",
				 opening->name, (opening->timeout_ms + 999) / 1000);
		return;
	}
	memcpy(error, opening->error, sizeof(error));
	if (!error[0]) {
		fd = opening->fd;
		ssl = opening->ssl;
		opening->fd = -1;
		opening->ssl = NULL;
	}
	yab_opening_free(opening);
	cb(fd, ssl, fd < 0 ? error : NULL, cb_arg);
}

/*
 * What became of an operation of the session. True if it succeeded; if not, either the
 * opening has failed or opening->wanted says when to try again.
 */
static bool yab_opening_judge(struct yab_opening *opening, int result)
{
	const int code = SSL_get_error(opening->ssl, result);

	switch (code) {
	case SSL_ERROR_NONE:
		return true;
	case SSL_ERROR_WANT_READ:
		opening->wanted = EV_READ;
		return false;
	case SSL_ERROR_WANT_WRITE:
		opening->wanted = EV_WRITE;
		return false;
	}
	yab_tls_explain(opening->ssl, code, opening->error, sizeof(opening->error));
	if (code == SSL_ERROR_SSL)
		yab_opening_part(opening);
	else
		yab_opening_settle(opening);
	return false;
}

/* As yab_opening_judge(), for a system call on a plain connection. */
static bool yab_opening_judge_plain(struct yab_opening *opening, ssize_t result, short wanted)
{
	if (result > 0)
		return true;
	if (result < 0 && (errno == EAGAIN || errno == EINTR))
		opening->wanted = wanted;
	else if (result < 0)
		yab_opening_fail(opening, "lost the connection to %s (%s)", opening->name,
				 strerror(errno));
	else
		yab_opening_fail(opening, "%s closed the connection: see its log", opening->name);
	return false;
}

static bool yab_opening_shake(struct yab_opening *opening)
{
	if (!opening->ssl)
		return true;
	ERR_clear_error();
	errno = 0;
	return yab_opening_judge(opening, SSL_do_handshake(opening->ssl));
}

/* Our hello; true when all of it is sent. */
static bool yab_opening_say(struct yab_opening *opening)
{
	size_t sent;
	ssize_t n;

	if (!opening->done)
		yab_wire_hello_encode(opening->bytes, &opening->hello);
	while (opening->done < sizeof(opening->bytes)) {
		const uint8_t *at = opening->bytes + opening->done;
		const size_t left = sizeof(opening->bytes) - opening->done;

		if (!opening->ssl) {
			n = send(opening->fd, at, left, MSG_NOSIGNAL | MSG_DONTWAIT);
			if (!yab_opening_judge_plain(opening, n, EV_WRITE))
				return false;
			sent = (size_t)n;
		} else {
			ERR_clear_error();
			errno = 0;
			if (!yab_opening_judge(opening,
					       SSL_write_ex(opening->ssl, at, left, &sent)))
				return false;
		}
		opening->done += sent;
	}
	return true;
}

/* Theirs, and not one byte more; true when it is all there. */
static bool yab_opening_hear(struct yab_opening *opening)
{
	size_t got;
	ssize_t n;

	while (opening->done < sizeof(opening->bytes)) {
		uint8_t *at = opening->bytes + opening->done;
		const size_t left = sizeof(opening->bytes) - opening->done;

		if (!opening->ssl) {
			n = recv(opening->fd, at, left, MSG_DONTWAIT);
			if (!yab_opening_judge_plain(opening, n, EV_READ))
				return false;
			got = (size_t)n;
		} else {
			ERR_clear_error();
			errno = 0;
			if (!yab_opening_judge(opening,
					       SSL_read_ex(opening->ssl, at, left, &got)))
				return false;
		}
		opening->done += got;
	}
	return true;
}

/*
 * Their hello must say what the prefaces said, which anybody on the way could have
 * changed, and the source's must have the session's token.
 */
static bool yab_opening_accepts(struct yab_opening *opening)
{
	static const uint8_t nobody[YAB_WIRE_TOKEN_SIZE];
	const bool server = opening->side == YAB_CREDENTIALS_SERVER;
	struct yab_wire_hello hello;

	if (yab_wire_hello_decode(opening->bytes, &hello) != YAB_WIRE_OK ||
	    hello.role != opening->hello.role ||
	    hello.index != opening->hello.index ||
	    (server && hello.number != opening->hello.number) ||
	    (hello.features ^ opening->hello.features) & YAB_WIRE_TLS) {
		yab_opening_fail(opening,
				 "%s says another hello than before: somebody is in between, or it is no yabusamed of this version",
				 opening->name);
		return false;
	}
	/* In a time that does not depend on where they differ. */
	if (CRYPTO_memcmp(hello.token, server ? opening->token : nobody, sizeof(hello.token))) {
		yab_opening_fail(opening,
				 "%s has a wrong token: it is not the source of this migration",
				 opening->name);
		return false;
	}
	return true;
}

/* Goes on as far as it goes without waiting. */
static void yab_opening_advance(struct yab_opening *opening)
{
	const bool server = opening->side == YAB_CREDENTIALS_SERVER;

	if (opening->step == YAB_OPENING_TLS) {
		if (!yab_opening_shake(opening))
			return;
		yab_opening_enter(opening, server ? YAB_OPENING_HEARING : YAB_OPENING_SAYING);
	}
	for (;;) {
		const bool saying = opening->step == YAB_OPENING_SAYING;

		if (saying ? !yab_opening_say(opening) :
			     !yab_opening_hear(opening) || !yab_opening_accepts(opening))
			return;
		if (saying == server) {
			yab_opening_settle(opening);
			return;
		}
		yab_opening_enter(opening, saying ? YAB_OPENING_HEARING : YAB_OPENING_SAYING);
	}
}

/* One-shot: waits for what the last operation wanted. */
static int yab_opening_await(struct yab_opening *opening);

static void yab_opening_ready(evutil_socket_t fd, short what, void *arg)
{
	struct yab_opening *opening = arg;

	(void)fd;
	(void)what;
	/* It may have been active already when the timer settled everything. */
	if (opening->step == YAB_OPENING_DONE)
		return;
	if (opening->step == YAB_OPENING_PARTING)
		yab_opening_drain(opening);
	else
		yab_opening_advance(opening);
	if (opening->step != YAB_OPENING_DONE && yab_opening_await(opening) < 0)
		yab_opening_fail(opening, "out of memory");
}

static int yab_opening_await(struct yab_opening *opening)
{
	if (event_assign(opening->io, opening->base, opening->fd, opening->wanted,
			 yab_opening_ready, opening) < 0)
		return -1;
	return event_add(opening->io, NULL);
}

static int yab_opening_arm(struct yab_opening *opening)
{
	const struct timeval patience = yab_clock_pause((uint64_t)opening->timeout_ms);

	opening->timer = evtimer_new(opening->base, yab_opening_timer, opening);
	/* There is room to write at once: so the event loop takes the first step. */
	opening->wanted = EV_WRITE;
	opening->io = event_new(opening->base, opening->fd, EV_WRITE, yab_opening_ready, opening);
	if (!opening->timer || !opening->io || evtimer_add(opening->timer, &patience) < 0)
		return -1;
	return event_add(opening->io, NULL);
}

struct yab_opening *yab_opening_new(struct event_base *base, int fd,
				    const struct yab_opening_terms *terms, yab_opening_cb cb,
				    void *arg, char *error, size_t error_size)
{
	struct yab_opening *opening = calloc(1, sizeof(*opening));

	snprintf(error, error_size, "out of memory");
	if (!opening) {
		close(fd);
		return NULL;
	}
	opening->base = base;
	opening->fd = fd;
	opening->side = terms->side;
	opening->timeout_ms = terms->timeout_ms;
	opening->cb = cb;
	opening->arg = arg;
	snprintf(opening->name, sizeof(opening->name), "%s", terms->name);
	opening->hello.version = YAB_WIRE_VERSION;
	opening->hello.role = (uint16_t)terms->role;
	opening->hello.index = terms->index;
	opening->hello.number = terms->number;
	opening->hello.features = terms->credentials ? YAB_WIRE_TLS : 0;
	if (terms->token)
		memcpy(opening->token, terms->token, sizeof(opening->token));
	if (terms->side == YAB_CREDENTIALS_CLIENT)
		memcpy(opening->hello.token, opening->token, sizeof(opening->token));
	if (evutil_make_socket_nonblocking(fd) < 0)
		goto err;
	if (terms->credentials) {
		opening->ssl = yab_tls_new(terms->credentials, fd, terms->name, terms->host,
					   terms->kernel, error, error_size);
		if (!opening->ssl)
			goto err;
	}
	if (yab_opening_arm(opening) < 0)
		goto err;
	return opening;

err:
	yab_opening_free(opening);
	return NULL;
}
