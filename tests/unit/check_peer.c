// SPDX-License-Identifier: GPL-2.0-or-later
/* Addresses, the hellos of two daemons, and the frames of a control connection. */
#include <errno.h>
#include <event2/dns.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/address.h"
#include "../../daemon/handshake.h"
#include "../../daemon/peer.h"
#include "../../daemon/token.h"
#include "script.h"

#define PATIENCE_MS	60000	/* never reached */

struct meeting {
	struct event_base *base;
	int other;		/* the other side's end */
	bool settled;
	int fd;
	struct yab_wire_hello hello;
	char error[512];
};

static void on_greeted(int fd, const struct yab_wire_hello *hello, const char *error, void *arg)
{
	struct meeting *meeting = arg;

	meeting->settled = true;
	meeting->fd = fd;
	if (fd >= 0)
		meeting->hello = *hello;
	else
		snprintf(meeting->error, sizeof(meeting->error), "%s", error);
}

static int open_meeting(struct meeting *meeting)
{
	int ours;

	memset(meeting, 0, sizeof(*meeting));
	meeting->fd = -1;
	meeting->base = script_base();
	script_pair(&meeting->other, &ours);
	return ours;
}

static void close_meeting(struct meeting *meeting)
{
	if (meeting->fd >= 0)
		close(meeting->fd);
	close(meeting->other);
	event_base_free(meeting->base);
}

static void send_hello(struct meeting *meeting, uint16_t version, enum yab_wire_role role)
{
	struct yab_wire_hello hello = { .version = version, .role = (uint16_t)role };
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];

	memset(hello.token, 7, sizeof(hello.token));
	yab_wire_hello_encode(bytes, &hello);
	ck_assert_int_eq(send(meeting->other, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	script_settle(meeting->base);
}

START_TEST(offered)
{
	uint8_t token[YAB_WIRE_TOKEN_SIZE] = { 1, 2, 3 }, bytes[YAB_WIRE_HELLO_SIZE];
	struct yab_wire_hello hello;
	struct meeting meeting;
	int ours = open_meeting(&meeting);

	ck_assert_ptr_nonnull(yab_handshake_offer(meeting.base, ours, "host2", false,
						  YAB_WIRE_URGENT, 0, 7, token, PATIENCE_MS,
						  on_greeted, &meeting));
	script_settle(meeting.base);
	ck_assert_int_eq(read(meeting.other, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_int_eq(yab_wire_hello_decode(bytes, &hello), YAB_WIRE_OK);
	ck_assert_int_eq(hello.role, YAB_WIRE_URGENT);
	ck_assert_uint_eq(hello.number, 7);
	ck_assert_mem_eq(hello.token, token, sizeof(token));
	ck_assert(!meeting.settled);
	send_hello(&meeting, YAB_WIRE_VERSION, YAB_WIRE_URGENT);
	ck_assert(meeting.settled);
	ck_assert_int_ge(meeting.fd, 0);
	close_meeting(&meeting);
}
END_TEST

/* Byte by byte, and what follows the hello stays in the socket. */
START_TEST(accepted)
{
	struct yab_wire_hello hello = { .version = YAB_WIRE_VERSION, .role = YAB_WIRE_BULK };
	uint8_t bytes[YAB_WIRE_HELLO_SIZE + 1];
	struct meeting meeting;
	int ours = open_meeting(&meeting);

	ck_assert_ptr_nonnull(yab_handshake_accept(meeting.base, ours, "host1", PATIENCE_MS,
						   on_greeted, &meeting));
	memset(hello.token, 9, sizeof(hello.token));
	yab_wire_hello_encode(bytes, &hello);
	bytes[YAB_WIRE_HELLO_SIZE] = 'x';
	for (int i = 0; i < YAB_WIRE_HELLO_SIZE - 1; i++) {
		ck_assert_int_eq(write(meeting.other, bytes + i, 1), 1);
		script_settle(meeting.base);
		ck_assert(!meeting.settled);
	}
	ck_assert_int_eq(write(meeting.other, bytes + YAB_WIRE_HELLO_SIZE - 1, 2), 2);
	script_settle(meeting.base);
	ck_assert(meeting.settled);
	ck_assert_int_eq(meeting.hello.role, YAB_WIRE_BULK);
	ck_assert_mem_eq(meeting.hello.token, hello.token, sizeof(hello.token));
	ck_assert_int_eq(read(meeting.fd, bytes, sizeof(bytes)), 1);
	ck_assert_int_eq(bytes[0], 'x');
	/* The answer is a hello with no token. */
	ck_assert_int_eq(yab_handshake_answer(meeting.fd, YAB_WIRE_BULK, false), 0);
	ck_assert_int_eq(read(meeting.other, bytes, sizeof(bytes)), YAB_WIRE_HELLO_SIZE);
	ck_assert_int_eq(yab_wire_hello_decode(bytes, &hello), YAB_WIRE_OK);
	ck_assert_int_eq(hello.role, YAB_WIRE_BULK);
	ck_assert_int_eq(hello.token[0], 0);
	close_meeting(&meeting);
}
END_TEST

START_TEST(other_version)
{
	uint8_t bytes[2 * YAB_WIRE_HELLO_SIZE];
	struct yab_wire_hello hello;
	struct meeting meeting;
	int ours = open_meeting(&meeting);

	if (_i)
		yab_handshake_offer(meeting.base, ours, "host2:1", false, YAB_WIRE_CONTROL, 0, 0,
				    NULL, PATIENCE_MS, on_greeted, &meeting);
	else
		yab_handshake_accept(meeting.base, ours, "host2:1", PATIENCE_MS, on_greeted,
				     &meeting);
	send_hello(&meeting, YAB_WIRE_VERSION + 1, YAB_WIRE_CONTROL);
	ck_assert(meeting.settled);
	ck_assert_int_eq(meeting.fd, -1);
	ck_assert(strstr(meeting.error, "host2:1 speaks protocol version 3, this host 2: "));
	/* Either way the other side learns our version before the connection ends. */
	ck_assert_int_eq(read(meeting.other, bytes, sizeof(bytes)), YAB_WIRE_HELLO_SIZE);
	ck_assert_int_eq(yab_wire_hello_decode(bytes, &hello), YAB_WIRE_OK);
	ck_assert_int_eq(read(meeting.other, bytes, sizeof(bytes)), 0);
	close_meeting(&meeting);
}
END_TEST

static const struct {
	const char *bytes, *says;
	size_t length;
} strangers[] = {
	{ "HTTP/1.1 400 Bad Request\r\n\r\n", "no yabusamed", 28 },
	{ "SSH-2.0-", "no yabusamed", 8 },
	{ "\0\0\0\0\0\0\0\0", "no yabusamed", 8 },
	/* The right magic, then nonsense: role 0, role 9, a second control connection. */
	{ "YABUSAME\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "makes no sense",
	  40 },
	{ "YABUSAME\2\0\11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
	  "makes no sense", 40 },
	{ "YABUSAME\2\0\1\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
	  "makes no sense", 40 },
	/* Another role than was asked for. */
	{ "YABUSAME\2\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
	  "makes no sense", 40 },
};

START_TEST(no_yabusamed)
{
	struct meeting meeting;
	int ours = open_meeting(&meeting);

	yab_handshake_offer(meeting.base, ours, "host2:1", false, YAB_WIRE_CONTROL, 0, 0,
			    NULL, PATIENCE_MS, on_greeted, &meeting);
	ck_assert_int_gt(write(meeting.other, strangers[_i].bytes, strangers[_i].length), 0);
	script_settle(meeting.base);
	ck_assert(meeting.settled);
	ck_assert_msg(strstr(meeting.error, strangers[_i].says), "%s", meeting.error);
	ck_assert(strstr(meeting.error, "host2:1") == meeting.error);
	close_meeting(&meeting);
}
END_TEST

/* What each side says of TLS must be the same: nobody gives in. */
START_TEST(tls_or_not)
{
	const bool ours_tls = _i & 1, theirs_tls = _i & 2;
	struct yab_wire_hello hello = {
		.version = YAB_WIRE_VERSION,
		.role = YAB_WIRE_CONTROL,
		.features = theirs_tls ? YAB_WIRE_TLS : 0,
	};
	uint8_t bytes[YAB_WIRE_HELLO_SIZE];
	struct meeting meeting;
	int ours = open_meeting(&meeting);

	yab_handshake_offer(meeting.base, ours, "host2:1", ours_tls, YAB_WIRE_CONTROL, 0, 0,
			    NULL, PATIENCE_MS, on_greeted, &meeting);
	script_settle(meeting.base);
	script_receive(meeting.other, bytes, sizeof(bytes));
	ck_assert_int_eq(bytes[16], ours_tls);
	/* Bits that nobody knows change nothing. */
	hello.features |= 0x8000000000000100ULL;
	yab_wire_hello_encode(bytes, &hello);
	script_send(meeting.other, bytes, sizeof(bytes));
	script_settle(meeting.base);
	ck_assert(meeting.settled);
	ck_assert_int_eq(meeting.fd >= 0, ours_tls == theirs_tls);
	if (ours_tls && !theirs_tls)
		ck_assert_msg(strstr(meeting.error, "host2:1 does not take TLS"), "%s",
			      meeting.error);
	if (!ours_tls && theirs_tls)
		ck_assert_msg(strstr(meeting.error, "host2:1 takes only TLS"), "%s",
			      meeting.error);
	close_meeting(&meeting);
}
END_TEST

START_TEST(closed)
{
	struct meeting meeting;
	int ours = open_meeting(&meeting);

	yab_handshake_offer(meeting.base, ours, "host2:1", false, YAB_WIRE_CONTROL, 0, 0,
			    NULL, PATIENCE_MS, on_greeted, &meeting);
	shutdown(meeting.other, SHUT_WR);
	script_settle(meeting.base);
	ck_assert(strstr(meeting.error, "without a hello"));
	close_meeting(&meeting);
}
END_TEST

START_TEST(silent)
{
	struct meeting meeting;
	int ours = open_meeting(&meeting);

	yab_handshake_accept(meeting.base, ours, "host2:1", 1, on_greeted, &meeting);
	while (!meeting.settled)
		event_base_loop(meeting.base, EVLOOP_ONCE);
	ck_assert_str_eq(meeting.error, "host2:1 says nothing for 1 s: is it a yabusamed?");
	close_meeting(&meeting);
}
END_TEST

START_TEST(cancelled)
{
	struct meeting meeting;
	int ours = open_meeting(&meeting);
	uint8_t bytes[2 * YAB_WIRE_HELLO_SIZE];

	yab_handshake_cancel(yab_handshake_offer(meeting.base, ours, "host2:1", false,
						 YAB_WIRE_CONTROL, 0, 0, NULL, PATIENCE_MS,
						 on_greeted, &meeting));
	ck_assert_int_eq(read(meeting.other, bytes, sizeof(bytes)), YAB_WIRE_HELLO_SIZE);
	ck_assert_int_eq(read(meeting.other, bytes, sizeof(bytes)), 0);
	script_settle(meeting.base);
	ck_assert(!meeting.settled);
	close_meeting(&meeting);
}
END_TEST

/* Nobody listens on a port that was just free: refused, in words. */
START_TEST(refused)
{
	struct sockaddr_in bound = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	socklen_t length = sizeof(bound);
	const struct yab_security security = { .plain = true };
	struct yab_address address;
	struct evdns_base *dns;
	struct meeting meeting;
	char text[32];
	int holder;

	close(open_meeting(&meeting));
	holder = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(holder, (struct sockaddr *)&bound, sizeof(bound)), 0);
	ck_assert_int_eq(getsockname(holder, (struct sockaddr *)&bound, &length), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%d", ntohs(bound.sin_port));
	ck_assert_int_eq(yab_address_parse(text, &address), 0);
	dns = evdns_base_new(meeting.base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	ck_assert_ptr_nonnull(yab_handshake_connect(meeting.base, dns, &address, &security,
						    YAB_WIRE_CONTROL, 0, 0, NULL, PATIENCE_MS,
						    on_greeted, &meeting));
	ck_assert(!meeting.settled);
	while (!meeting.settled)
		event_base_loop(meeting.base, EVLOOP_ONCE);
	ck_assert(strstr(meeting.error, "refused: is yabusamed running"));
	evdns_base_free(dns, 0);
	close(holder);
	close_meeting(&meeting);
}
END_TEST

/* Frames. */

struct talk {
	struct event_base *base;
	struct yab_peer *peer;
	int other;
	char said[1024];
	bool free_on_message;
	bool answered;
};

static void note(struct talk *talk, const char *word, const char *more)
{
	size_t used = strlen(talk->said);

	snprintf(talk->said + used, sizeof(talk->said) - used, "%s:%s;", word, more);
}

static void on_message(enum yab_wire_type type, json_t *json, void *arg)
{
	char *text = json_dumps(json, JSON_COMPACT);
	struct talk *talk = arg;

	note(talk, type == YAB_WIRE_CALL ? "call" : type == YAB_WIRE_REPLY ? "reply" : "event",
	     text);
	free(text);
	if (talk->free_on_message) {
		yab_peer_free(talk->peer);
		talk->peer = NULL;
	}
}

static void on_state(const void *data, size_t length, void *arg)
{
	char text[16];

	(void)data;
	snprintf(text, sizeof(text), "%zu", length);
	note(arg, "state", text);
}

static void on_peer_lost(const char *error, bool answered, void *arg)
{
	struct talk *talk = arg;

	talk->answered = answered;
	note(talk, "lost", error);
	yab_peer_free(talk->peer);
	talk->peer = NULL;
}

static const struct yab_peer_ops peer_ops = {
	.message = on_message,
	.state = on_state,
	.lost = on_peer_lost,
};

static void open_talk(struct talk *talk)
{
	int ours;

	memset(talk, 0, sizeof(*talk));
	talk->base = script_base();
	script_pair(&talk->other, &ours);
	talk->peer = yab_peer_new(talk->base, ours, NULL, "host2", &peer_ops, talk);
	ck_assert_ptr_nonnull(talk->peer);
}

static void close_talk(struct talk *talk)
{
	yab_peer_free(talk->peer);
	close(talk->other);
	script_settle(talk->base);
	event_base_free(talk->base);
}

static void send_frame(struct talk *talk, uint16_t type, const void *payload, uint32_t length)
{
	struct yab_wire_header header = { .type = type, .length = length };
	uint8_t bytes[YAB_WIRE_HEADER_SIZE];

	yab_wire_header_encode(bytes, &header);
	ck_assert_int_eq(send(talk->other, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	if (payload)
		ck_assert_int_eq(send(talk->other, payload, length, MSG_NOSIGNAL), (int)length);
	script_settle(talk->base);
}

START_TEST(frames)
{
	uint8_t bytes[256];
	struct talk talk;

	open_talk(&talk);
	send_frame(&talk, YAB_WIRE_CALL, "{\"call\":1}", 10);
	send_frame(&talk, YAB_WIRE_STATE, "abc", 3);
	send_frame(&talk, YAB_WIRE_STATE_END, NULL, 0);
	send_frame(&talk, YAB_WIRE_EVENT, "{}", 2);
	ck_assert_str_eq(talk.said, "call:{\"call\":1};state:3;state:0;event:{};");
	ck_assert_int_eq(yab_peer_send(talk.peer, YAB_WIRE_REPLY, json_object()), 0);
	script_settle(talk.base);
	ck_assert_int_eq(read(talk.other, bytes, sizeof(bytes)), YAB_WIRE_HEADER_SIZE + 2);
	ck_assert_int_eq(bytes[0], YAB_WIRE_REPLY);
	ck_assert_mem_eq(bytes + YAB_WIRE_HEADER_SIZE, "{}", 2);
	close_talk(&talk);
}
END_TEST

/* Types that have no place here, lengths beyond their bound, no JSON. */
static const struct {
	uint16_t type;
	uint32_t length;
	const char *payload;
} broken[] = {
	{ 0, 0, NULL }, { 99, 0, NULL }, { 0xffff, 0xffffffff, NULL },
	{ YAB_WIRE_REQUEST, 0, NULL }, { YAB_WIRE_PAGES, 4096, NULL }, { YAB_WIRE_ZERO, 0, NULL },
	{ YAB_WIRE_CALL, YAB_WIRE_JSON_MAX + 1, NULL }, { YAB_WIRE_STATE_END, 1, NULL },
	{ YAB_WIRE_STATE, YAB_WIRE_STATE_MAX + 1, NULL },
	{ YAB_WIRE_ERROR, YAB_WIRE_ERROR_MAX + 1, NULL },
	{ YAB_WIRE_CALL, 2, "[]" }, { YAB_WIRE_CALL, 2, "{x" }, { YAB_WIRE_EVENT, 4, "null" },
	{ YAB_WIRE_REPLY, 13, "{\"a\":1,\"a\":2}" }, { YAB_WIRE_CALL, 4, "{}{}" },
};

START_TEST(broken_frames)
{
	struct talk talk;

	open_talk(&talk);
	send_frame(&talk, broken[_i].type, broken[_i].payload, broken[_i].length);
	ck_assert_msg(strstr(talk.said, "lost:host2 broke the protocol") == talk.said, "%s",
		      talk.said);
	ck_assert(!talk.answered);
	ck_assert_ptr_null(talk.peer);
	close_talk(&talk);
}
END_TEST

START_TEST(error_frame)
{
	struct talk talk;

	open_talk(&talk);
	send_frame(&talk, YAB_WIRE_ERROR, "no\n\x1b[2Jway\xff", 11);
	ck_assert_str_eq(talk.said, "lost:no??[2Jway?;");
	ck_assert(talk.answered);
	close_talk(&talk);
}
END_TEST

START_TEST(lost_connection)
{
	struct talk talk;

	open_talk(&talk);
	send_frame(&talk, YAB_WIRE_CALL, NULL, 100);
	shutdown(talk.other, SHUT_RDWR);
	script_settle(talk.base);
	ck_assert_str_eq(talk.said, "lost:host2 closed the connection;");
	ck_assert(!talk.answered);
	close_talk(&talk);
}
END_TEST

/* What could not be sent: the connection ends, from the event loop. */
START_TEST(broken_off)
{
	struct talk talk;
	char byte;

	open_talk(&talk);
	if (_i)
		talk.free_on_message = true;
	yab_peer_break(talk.peer);
	ck_assert_str_eq(talk.said, "");
	yab_peer_break(talk.peer);
	if (_i)
		yab_peer_finish(talk.peer);
	if (_i)
		talk.peer = NULL;
	script_settle(talk.base);
	if (!_i)
		ck_assert_msg(strstr(talk.said, "lost:ended the connection to host2"), "%s",
			      talk.said);
	ck_assert_ptr_null(talk.peer);
	ck_assert_int_eq(recv(talk.other, &byte, 1, MSG_DONTWAIT), 0);
	close_talk(&talk);
}
END_TEST

/* A host that is gone without a word, on either side of a control connection. */
START_TEST(silence_has_an_end)
{
	struct yab_handshake *handshake;
	struct meeting meeting;
	int ours;

	close(open_meeting(&meeting));
	close(meeting.other);
	script_pair_tcp(&meeting.other, &ours);
	handshake = _i ? yab_handshake_accept(meeting.base, ours, "host1", PATIENCE_MS, on_greeted,
					      &meeting) :
			 yab_handshake_offer(meeting.base, ours, "host2", false, YAB_WIRE_CONTROL,
					     0, 0, NULL, PATIENCE_MS, on_greeted, &meeting);
	script_expect_keepalive(ours, 15000, 5, 2, 5);
	yab_handshake_cancel(handshake);
	close_meeting(&meeting);
}
END_TEST

START_TEST(freed_in_message)
{
	struct talk talk;

	open_talk(&talk);
	talk.free_on_message = true;
	send_frame(&talk, YAB_WIRE_CALL, "{}", 2);
	ck_assert_str_eq(talk.said, "call:{};");
	ck_assert_ptr_null(talk.peer);
	close_talk(&talk);
}
END_TEST

/* ERROR leaves although the peer is gone for its owner, and input is unread. */
START_TEST(fails_politely)
{
	uint8_t bytes[256];
	struct talk talk;

	open_talk(&talk);
	yab_peer_fail(talk.peer, "sorry");
	talk.peer = NULL;
	script_settle(talk.base);
	ck_assert_int_eq(read(talk.other, bytes, sizeof(bytes)), YAB_WIRE_HEADER_SIZE + 5);
	ck_assert_int_eq(bytes[0], YAB_WIRE_ERROR);
	ck_assert_mem_eq(bytes + YAB_WIRE_HEADER_SIZE, "sorry", 5);
	send_frame(&talk, YAB_WIRE_CALL, "{}", 2);
	ck_assert_int_eq(read(talk.other, bytes, sizeof(bytes)), 0);
	ck_assert_str_eq(talk.said, "");
	close_talk(&talk);
}
END_TEST

START_TEST(bounds)
{
	char *text = malloc(YAB_WIRE_JSON_MAX + 1), state[YAB_WIRE_STATE_MAX] = "";
	struct talk talk;
	int i;

	open_talk(&talk);
	memset(text, 'x', YAB_WIRE_JSON_MAX);
	text[YAB_WIRE_JSON_MAX] = '\0';
	ck_assert_int_eq(yab_peer_send(talk.peer, YAB_WIRE_CALL, json_pack("{s:s}", "a", text)),
			 -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	free(text);
	/* A side that does not read is noticed, first softly, then hard. */
	for (i = 0; i < 1000 && !yab_peer_congested(talk.peer); i++)
		ck_assert_int_eq(yab_peer_send_state(talk.peer, state, sizeof(state)), 0);
	ck_assert_int_lt(i, 100);
	for (i = 0; i < 1000; i++)
		if (yab_peer_send_state(talk.peer, state, sizeof(state)) < 0)
			break;
	ck_assert_int_lt(i, 200);
	ck_assert_int_eq(errno, ENOBUFS);
	close_talk(&talk);
}
END_TEST

START_TEST(paused)
{
	struct talk talk;

	open_talk(&talk);
	yab_peer_pause(talk.peer, true);
	send_frame(&talk, YAB_WIRE_STATE, "abc", 3);
	ck_assert_str_eq(talk.said, "");
	yab_peer_pause(talk.peer, false);
	script_settle(talk.base);
	ck_assert_str_eq(talk.said, "state:3;");
	close_talk(&talk);
}
END_TEST

static const struct {
	const char *text, *host, *port, *shown;	/* no host: refused */
} addresses[] = {
	{ "host2", "host2", "7655", "host2:7655" },
	{ "host2:1", "host2", "1", "host2:1" },
	{ "10.0.0.1:65535", "10.0.0.1", "65535", "10.0.0.1:65535" },
	{ "::1", "::1", "7655", "[::1]:7655" },
	{ "[::1]", "::1", "7655", "[::1]:7655" },
	{ "[fe80::1%eth0]:99", "fe80::1%eth0", "99", "[fe80::1%eth0]:99" },
	{ "", NULL, NULL, NULL }, { ":1", NULL, NULL, NULL }, { "host:", NULL, NULL, NULL },
	{ "host:0", NULL, NULL, NULL }, { "host:65536", NULL, NULL, NULL },
	{ "host:-1", NULL, NULL, NULL }, { "host:1x", NULL, NULL, NULL },
	{ "host:123456", NULL, NULL, NULL }, { "a b", NULL, NULL, NULL },
	{ "a/b", NULL, NULL, NULL }, { "[::1", NULL, NULL, NULL }, { "[::1]x", NULL, NULL, NULL },
	{ "[]:1", NULL, NULL, NULL }, { "a\n", NULL, NULL, NULL },
};

START_TEST(address_forms)
{
	struct yab_address address;

	if (!addresses[_i].host) {
		ck_assert_int_eq(yab_address_parse(addresses[_i].text, &address), -1);
		return;
	}
	ck_assert_int_eq(yab_address_parse(addresses[_i].text, &address), 0);
	ck_assert_str_eq(address.host, addresses[_i].host);
	ck_assert_str_eq(address.port, addresses[_i].port);
	ck_assert_str_eq(address.text, addresses[_i].shown);
}
END_TEST

START_TEST(tokens)
{
	uint8_t token[YAB_WIRE_TOKEN_SIZE], again[YAB_WIRE_TOKEN_SIZE];
	char text[YAB_TOKEN_TEXT_SIZE];

	ck_assert_int_eq(yab_token_new(token), 0);
	yab_token_print(token, text);
	ck_assert_int_eq(yab_token_parse(text, again), 0);
	ck_assert_mem_eq(token, again, sizeof(token));
	ck_assert_int_eq(yab_token_parse(NULL, again), -1);
	ck_assert_int_eq(yab_token_parse("", again), -1);
	ck_assert(yab_token_matches(text, token));
	ck_assert(!yab_token_matches(NULL, token));
	ck_assert(!yab_token_matches("", token));
	again[0] ^= 0x80;
	ck_assert(!yab_token_matches(text, again));
	again[0] ^= 0x80;
	again[YAB_WIRE_TOKEN_SIZE - 1] ^= 1;
	ck_assert(!yab_token_matches(text, again));
	text[31] = 'g';
	ck_assert(!yab_token_matches(text, token));
	ck_assert_int_eq(yab_token_parse(text, again), -1);
	text[31] = '\0';
	ck_assert_int_eq(yab_token_parse(text, again), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("peer");
	TCase *tcase = tcase_create("peer");

	tcase_add_test(tcase, offered);
	tcase_add_test(tcase, accepted);
	tcase_add_loop_test(tcase, other_version, 0, 2);
	tcase_add_loop_test(tcase, no_yabusamed, 0, 7);
	tcase_add_loop_test(tcase, tls_or_not, 0, 4);
	tcase_add_test(tcase, closed);
	tcase_add_test(tcase, silent);
	tcase_add_test(tcase, cancelled);
	tcase_add_test(tcase, refused);
	tcase_add_test(tcase, frames);
	tcase_add_loop_test(tcase, broken_frames, 0, 15);
	tcase_add_test(tcase, error_frame);
	tcase_add_test(tcase, lost_connection);
	tcase_add_loop_test(tcase, broken_off, 0, 2);
	tcase_add_loop_test(tcase, silence_has_an_end, 0, 2);
	tcase_add_test(tcase, freed_in_message);
	tcase_add_test(tcase, fails_politely);
	tcase_add_test(tcase, bounds);
	tcase_add_test(tcase, paused);
	tcase_add_loop_test(tcase, address_forms, 0, 20);
	tcase_add_test(tcase, tokens);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
