// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections that are open, most of them with TLS: page connections, whose ends send and receive
 * at the same time, and control connections.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../../daemon/peer.h"
#include "../../daemon/socket.h"
#include "endpoint.h"

/* --- page connections ------------------------------------------------------------------ */

#define TOTAL	(6 * 1024 * 1024)

struct flow {
	struct yab_socket socket;
	struct flow *other;
	uint64_t random;
	int file;		/* what is sent, as a file */
	const uint8_t *bytes;	/* and mapped */
	size_t sent, received;
	size_t step;		/* received at once; 0: all sorts */
	int ended;		/* the errno that ended it, -1: not yet */
	bool holding;		/* receives nothing */
};

static struct script_memory content;

static void flow_readable(evutil_socket_t fd, short what, void *arg)
{
	uint8_t buffer[3][20000];
	struct flow *flow = arg;
	struct iovec iov[3];
	size_t expected = 0;
	ssize_t n;

	(void)fd;
	(void)what;
	ck_assert(!flow->holding);
	for (int i = 0; i < 3; i++) {
		iov[i].iov_base = buffer[i];
		iov[i].iov_len = flow->step ? flow->step :
				 1 + script_random(&flow->random) % sizeof(buffer[i]);
		expected += iov[i].iov_len;
	}
	n = yab_socket_receive(&flow->socket, iov, 3);
	if (n < 0) {
		flow->ended = errno;
		yab_socket_close(&flow->socket);
		return;
	}
	ck_assert_uint_le((size_t)n, expected);
	for (int i = 0; i < 3 && n; i++) {
		size_t part = iov[i].iov_len < (size_t)n ? iov[i].iov_len : (size_t)n;

		ck_assert_mem_eq(buffer[i], flow->other->bytes + flow->received, part);
		flow->received += part;
		n -= (ssize_t)part;
	}
	if (flow->received == TOTAL && flow->other->received == TOTAL)
		event_base_loopbreak(endpoints.base);
}

/* Sends a little of everything; what it tries next has nothing to do with what failed. */
static void flow_writable(evutil_socket_t fd, short what, void *arg)
{
	struct flow *flow = arg;
	ssize_t n = 1;

	(void)fd;
	(void)what;
	for (int i = 0; i < 8 && n > 0 && flow->sent < TOTAL; i++) {
		size_t size = 1 + script_random(&flow->random) % 70000;
		const uint8_t *at = flow->bytes + flow->sent;
		uint8_t copy[70000];

		if (size > TOTAL - flow->sent)
			size = TOTAL - flow->sent;
		if (script_random(&flow->random) % 2) {
			n = yab_socket_send_file(&flow->socket, flow->file, (off_t)flow->sent,
						 size);
			if (n < 0 && errno == EOPNOTSUPP)
				n = yab_socket_send(&flow->socket, at, size, false);
		} else {
			/* From a place that is gone when it is tried again. */
			memcpy(copy, at, size);
			n = yab_socket_send(&flow->socket, copy, size,
					    script_random(&flow->random) % 2);
			memset(copy, 0, size);
		}
		if (n < 0) {
			flow->ended = errno;
			yab_socket_close(&flow->socket);
			return;
		}
		flow->sent += (size_t)n;
	}
	ck_assert_int_eq(yab_socket_await_room(&flow->socket, flow->sent < TOTAL), 0);
}

static void flow_open(struct flow *flow, struct flow *other, int fd, SSL *ssl)
{
	memset(flow, 0, sizeof(*flow));
	flow->other = other;
	flow->ended = -1;
	flow->file = content.fd;
	flow->bytes = content.bytes;
	flow->random = ssl ? 7 : 9;
	yab_socket_init(&flow->socket, YAB_WIRE_BULK);
	ck_assert_int_eq(yab_socket_open(&flow->socket, endpoints.base, fd, ssl, flow_readable,
					 flow_writable, flow), 0);
}

static void flows_open_with(struct flow *a, struct flow *b, bool tls, bool tcp, bool kernel)
{
	/* TCP takes little steps badly, and waits. */
	const int small = tcp ? 65536 : 8192;
	struct endpoint client = { .fd = -1 }, server = { .fd = -1 };

	script_memory_make(&content, TOTAL / SCRIPT_PAGE);
	for (uint64_t page = 0; page < content.pages; page++)
		script_fill(script_at(&content, page), page, 3);
	if (tls)
		endpoints_open(&client, &server, tcp, kernel);
	else
		endpoints_pair(tcp, &client.fd, &server.fd);
	/* So that writes end amid a record. */
	setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(server.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	flow_open(a, b, client.fd, client.ssl);
	flow_open(b, a, server.fd, server.ssl);
	b->random = 11;
}

static void flows_open(struct flow *a, struct flow *b, bool tls, bool tcp)
{
	flows_open_with(a, b, tls, tcp, true);
}

static void flows_close(struct flow *a, struct flow *b)
{
	yab_socket_close(&a->socket);
	yab_socket_close(&b->socket);
	script_memory_drop(&content);
}

START_TEST(both_directions)
{
	struct flow a, b;

	flows_open(&a, &b, _i & 1, _i & 2);
	yab_socket_await_data(&a.socket, true);
	yab_socket_await_data(&b.socket, true);
	yab_socket_await_room(&a.socket, true);
	yab_socket_await_room(&b.socket, true);
	event_base_dispatch(endpoints.base);
	ck_assert_uint_eq(a.received, TOTAL);
	ck_assert_uint_eq(b.received, TOTAL);
	ck_assert_int_eq(a.ended, -1);
	ck_assert_int_eq(b.ended, -1);
	flows_close(&a, &b);
}
END_TEST

static void receive_all(struct flow *flow, size_t size)
{
	while (flow->received < size) {
		const size_t before = flow->received;

		script_settle(endpoints.base);
		ck_assert_msg(flow->received > before, "stuck at %zu of %zu", before, size);
	}
}

/*
 * One record, taken a few bytes at a time: after the first look the socket knows nothing of
 * the rest. And again after a time in which nothing was wanted.
 */
START_TEST(pending)
{
	struct flow a, b;

	flows_open(&a, &b, true, true);
	b.step = 8;
	ck_assert_int_eq(yab_socket_send(&a.socket, content.bytes, 4000, false), 4000);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	while (!b.received)
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	ck_assert_uint_eq(b.received, 24);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, false), 0);
	b.holding = true;
	script_settle(endpoints.base);
	ck_assert_uint_eq(b.received, 24);
	b.holding = false;
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	receive_all(&b, 4000);
	ck_assert_uint_eq(b.received, 4000);
	flows_close(&a, &b);
}
END_TEST

/* One message of TLS that is no data, before, amid and behind what is. */
static void change_keys(SSL *ssl)
{
	ck_assert_int_eq(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
	ck_assert_int_eq(SSL_do_handshake(ssl), 1);
}

START_TEST(keys_change)
{
	struct flow a, b;

	/* Kernel TLS changes no keys. */
	flows_open_with(&a, &b, true, true, false);
	b.step = 8;
	for (int i = 0; i < 8; i++) {
		change_keys(a.socket.ssl);
		ck_assert_int_eq(yab_socket_send(&a.socket, content.bytes + i * 500, 500, false),
				 500);
		change_keys(a.socket.ssl);
	}
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	while (b.received < 4000)
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	ck_assert_int_eq(b.ended, -1);
	flows_close(&a, &b);
}
END_TEST

/* And no end of them: no call gets lost in it, and the connection ends. */
START_TEST(keys_change_for_ever)
{
	struct flow a, b;
	int sent = 0;

	flows_open_with(&a, &b, true, true, false);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	while (sent < 10000 && SSL_key_update(a.socket.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
	       SSL_do_handshake(a.socket.ssl) == 1)
		sent++;
	ERR_clear_error();
	ck_assert_int_gt(sent, 100);
	while (b.ended < 0)
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	ck_assert_int_eq(b.ended, EBADMSG);
	flows_close(&a, &b);
}
END_TEST

/* A host that is gone without a word is noticed on page connections, too. */
START_TEST(silence_has_an_end)
{
	struct flow a, b;

	flows_open(&a, &b, _i, true);
	script_expect_keepalive(a.socket.fd, 10000, 4, 2, 3);
	flows_close(&a, &b);
}
END_TEST

/* What was sent with more to come leaves when nothing more comes, and fits into one record. */
START_TEST(more)
{
	struct flow a, b;

	flows_open(&a, &b, true, true);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(yab_socket_send(&a.socket, content.bytes + i * 24, 24, true), 24);
	script_settle(endpoints.base);
	ck_assert_uint_eq(b.received, 0);
	ck_assert_int_eq(yab_socket_await_room(&a.socket, false), 0);
	receive_all(&b, 240);
	ck_assert_uint_eq(a.socket.records, 1);
	flows_close(&a, &b);
}
END_TEST

/* What the socket does not take at once leaves by itself, without its owner. */
START_TEST(left_behind)
{
	struct flow a, b;
	size_t sent = 0;
	ssize_t n;

	flows_open(&a, &b, true, true);
	while ((n = yab_socket_send(&a.socket, content.bytes + sent, 16384, false)) > 0)
		sent += (size_t)n;
	ck_assert_int_eq(n, 0);
	ck_assert(a.socket.record_begun);
	ck_assert_int_eq(yab_socket_await_room(&a.socket, false), 0);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	while (b.received < sent)
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	ck_assert(!a.socket.record_begun);
	flows_close(&a, &b);
}
END_TEST

/* An end in order, and one that is not. */
START_TEST(ends)
{
	static const char forged[] = "\x17\x03\x03\x00\x20 what comes from somebody in between";
	static const int reasons[] = { 0, ECONNRESET, EBADMSG };
	struct flow a, b;

	flows_open(&a, &b, true, true);
	/* The kernel would encrypt what is forged, too. */
	if (_i == 2 && BIO_get_ktls_send(SSL_get_wbio(a.socket.ssl))) {
		flows_close(&a, &b);
		return;
	}
	ck_assert_int_eq(yab_socket_send(&a.socket, content.bytes, 100, false), 100);
	ck_assert_int_eq(yab_socket_await_data(&b.socket, true), 0);
	if (_i == 0)
		yab_socket_close(&a.socket);
	else if (_i == 1)
		shutdown(a.socket.fd, SHUT_WR);
	else
		script_send(a.socket.fd, forged, sizeof(forged) - 1);
	while (b.ended == -1)
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	/* What came before it is not lost. */
	ck_assert_uint_eq(b.received, 100);
	ck_assert_int_eq(b.ended, reasons[_i]);
	ck_assert(!yab_socket_is_open(&b.socket));
	flows_close(&a, &b);
}
END_TEST

/* A write fails while nothing is received: the owner is told when it looks. */
START_TEST(write_fails)
{
	struct flow a, b;
	ssize_t n = 1;

	flows_open(&a, &b, true, true);
	yab_socket_close(&b.socket);
	for (int i = 0; i < 1000 && n >= 0; i++)
		n = yab_socket_send(&a.socket, content.bytes, 16384, false);
	ck_assert_int_eq(n, -1);
	ck_assert_int_ne(errno, 0);
	ck_assert_int_eq(yab_socket_await_data(&a.socket, true), 0);
	while (a.ended == -1)
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	flows_close(&a, &b);
}
END_TEST

START_TEST(keys_wear_out)
{
	struct flow a, b;

	flows_open(&a, &b, true, true);
	a.socket.records = UINT64_C(1) << 24;
	ck_assert_int_eq(yab_socket_send(&a.socket, "x", 1, false), -1);
	ck_assert_int_eq(errno, EKEYEXPIRED);
	ck_assert_int_eq(yab_socket_send_file(&a.socket, a.file, 0, 65536), -1);
	ck_assert_int_eq(errno, EKEYEXPIRED);
	ck_assert(strstr(yab_socket_reason(EKEYEXPIRED), "keys are used up"));
	flows_close(&a, &b);
}
END_TEST

/* --- control connections: device state both ways, messages, an ERROR at the end --------- */

struct side {
	struct yab_peer *peer;
	size_t sent, received;
	int messages;
	char lost[512];
	bool answered;
};

#define STATE_TOTAL	(3 * 1024 * 1024)

static void side_message(enum yab_wire_type type, json_t *json, void *arg)
{
	struct side *side = arg;

	(void)type;
	(void)json;
	side->messages++;
}

static void side_state(const void *data, size_t length, void *arg)
{
	struct side *side = arg;

	ck_assert_mem_eq(data, content.bytes + side->received, length);
	side->received += length;
	/* Now and then it does not read for a turn. */
	if (side->received % 5 == 0) {
		yab_peer_pause(side->peer, true);
		yab_peer_pause(side->peer, false);
	}
}

static void side_send(void *arg)
{
	struct side *side = arg;
	size_t size;

	while (side->sent < STATE_TOTAL && !yab_peer_congested(side->peer)) {
		size = 1 + side->sent * 7 % YAB_WIRE_STATE_MAX;
		if (size > STATE_TOTAL - side->sent)
			size = STATE_TOTAL - side->sent;
		ck_assert_int_eq(yab_peer_send_state(side->peer, content.bytes + side->sent, size),
				 0);
		side->sent += size;
		if (side->sent == STATE_TOTAL)
			ck_assert_int_eq(yab_peer_send(side->peer, YAB_WIRE_EVENT,
						       json_pack("{s:s}", "event", "end")), 0);
	}
}

static void side_lost(const char *error, bool answered, void *arg)
{
	struct side *side = arg;

	snprintf(side->lost, sizeof(side->lost), "%s", error);
	side->answered = answered;
	yab_peer_free(side->peer);
	side->peer = NULL;
}

static const struct yab_peer_ops side_ops = {
	.message = side_message,
	.state = side_state,
	.drained = side_send,
	.lost = side_lost,
};

/* The same to a control connection. */
START_TEST(control_keys_change_for_ever)
{
	struct side b = { .sent = 0 };
	struct endpoint client, server;
	int sent = 0;

	endpoints_open(&client, &server, true, false);
	b.peer = yab_peer_new(endpoints.base, server.fd, server.ssl, "host1", &side_ops, &b);
	while (sent < 5000 && SSL_key_update(client.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
	       SSL_do_handshake(client.ssl) == 1)
		sent++;
	ERR_clear_error();
	while (!b.lost[0])
		event_base_loop(endpoints.base, EVLOOP_ONCE);
	ck_assert_msg(strstr(b.lost, "changes its keys again and again"), "%s", b.lost);
	endpoint_drop(&client);
}
END_TEST

START_TEST(peers)
{
	struct side a = { .sent = 0 }, b = { .sent = 0 };
	const struct linger reset = { .l_onoff = 1 };
	struct endpoint client, server;

	script_memory_make(&content, STATE_TOTAL / SCRIPT_PAGE);
	for (uint64_t page = 0; page < content.pages; page++)
		script_fill(script_at(&content, page), page, 4);
	endpoints_open(&client, &server, true, true);
	a.peer = yab_peer_new(endpoints.base, client.fd, client.ssl, "host2", &side_ops, &a);
	b.peer = yab_peer_new(endpoints.base, server.fd, server.ssl, "host1", &side_ops, &b);
	ck_assert(a.peer && b.peer);
	side_send(&a);
	side_send(&b);
	while (!a.messages || !b.messages)
		ck_assert_int_eq(event_base_loop(endpoints.base, EVLOOP_ONCE), 0);
	ck_assert_uint_eq(a.received, STATE_TOTAL);
	ck_assert_uint_eq(b.received, STATE_TOTAL);
	ck_assert_str_eq(a.lost, "");
	if (_i == 0) {
		yab_peer_fail(a.peer, "sorry");
		a.peer = NULL;
	} else if (_i == 1) {
		yab_peer_finish(a.peer);
		a.peer = NULL;
	} else {
		/* As when the process dies, or somebody resets the connection. */
		if (_i == 3)
			setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		yab_peer_free(a.peer);
		a.peer = NULL;
	}
	while (!b.lost[0])
		ck_assert_int_eq(event_base_loop(endpoints.base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(b.answered, _i == 0);
	if (_i == 0)
		ck_assert_str_eq(b.lost, "sorry");
	else
		ck_assert_msg(strstr(b.lost, "host1") || strstr(b.lost, "10.0.0.1"), "%s", b.lost);
	if (_i == 3)
		ck_assert_msg(strstr(b.lost, "(Connection reset by peer)"), "%s", b.lost);
	ck_assert_ptr_null(strchr(b.lost, '\n'));
	event_base_loop(endpoints.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	script_memory_drop(&content);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("socket");
	TCase *tcase = tcase_create("socket");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, endpoints_setup, endpoints_teardown);
	tcase_add_loop_test(tcase, both_directions, 0, 4);
	tcase_add_test(tcase, pending);
	tcase_add_test(tcase, keys_change);
	tcase_add_test(tcase, keys_change_for_ever);
	tcase_add_test(tcase, control_keys_change_for_ever);
	tcase_add_loop_test(tcase, silence_has_an_end, 0, 2);
	tcase_add_test(tcase, more);
	tcase_add_test(tcase, left_behind);
	tcase_add_loop_test(tcase, ends, 0, 3);
	tcase_add_test(tcase, write_fails);
	tcase_add_test(tcase, keys_wear_out);
	tcase_add_loop_test(tcase, peers, 0, 4);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
