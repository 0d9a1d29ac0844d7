// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/channel.h"
#include "script.h"

/* What one end's callback was given. */
struct end {
	struct yab_channel *channel;
	int messages;
	int gone;
	json_t *last;
	int fds[YAB_CHANNEL_FDS];
	size_t fd_count;
	bool free_on_message;
};

static struct event_base *base;
static struct end end;
static int raw;			/* the other end, without a channel */

static void on_message(json_t *message, const int *fds, size_t fd_count, void *arg)
{
	struct end *to = arg;

	if (!message) {
		to->gone++;
		return;
	}
	to->messages++;
	json_decref(to->last);
	to->last = json_incref(message);
	for (size_t i = 0; i < fd_count; i++)
		to->fds[i] = fds[i];
	to->fd_count = fd_count;
	if (to->free_on_message) {
		yab_channel_free(to->channel);
		to->channel = NULL;
	}
}

static void setup(void)
{
	int pair[2];

	base = script_base();
	memset(&end, 0, sizeof(end));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	raw = pair[0];
	end.channel = yab_channel_new(base, pair[1], on_message, &end);
	ck_assert_ptr_nonnull(end.channel);
}

static void teardown(void)
{
	json_decref(end.last);
	yab_channel_free(end.channel);
	if (raw >= 0)
		close(raw);
	event_base_free(base);
}

/* Open descriptors of this process. */
static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void send_raw(const void *bytes, size_t size, const int *fds, size_t fd_count)
{
	char control[CMSG_SPACE(16 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (void *)bytes, size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd_count) {
		struct cmsghdr *part;

		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(part), fds, fd_count * sizeof(int));
	}
	ck_assert_int_eq(sendmsg(raw, &header, MSG_NOSIGNAL), (ssize_t)size);
}

/* Who closes with something unread has said its last words all the same. */
START_TEST(last_words)
{
	ck_assert_int_eq(yab_channel_send(end.channel, json_pack("{s:i}", "n", 1), NULL, 0), 0);
	send_raw("{\"n\": 2}", 8, NULL, 0);
	close(raw);
	raw = -1;
	script_settle(base);
	ck_assert_int_eq(end.messages, 1);
	ck_assert_int_eq(json_integer_value(json_object_get(end.last, "n")), 2);
	ck_assert_int_eq(end.gone, 1);
}
END_TEST

START_TEST(message_with_fds)
{
	struct end other = { 0 };
	int pipe_fds[2], fds[2];
	char byte = 'x';

	other.channel = yab_channel_new(base, raw, on_message, &other);
	raw = -1;
	ck_assert_int_eq(pipe(pipe_fds), 0);
	fds[0] = pipe_fds[1];
	fds[1] = pipe_fds[0];
	ck_assert_int_eq(yab_channel_send(other.channel, json_pack("{s:i}", "n", 3), fds, 2), 0);
	close(pipe_fds[0]);
	script_settle(base);
	ck_assert_int_eq(end.messages, 1);
	ck_assert_int_eq(json_integer_value(json_object_get(end.last, "n")), 3);
	ck_assert_uint_eq(end.fd_count, 2);
	/* They are the same pipe, in the same order, and do not leak into programs. */
	ck_assert_int_eq(write(end.fds[0], &byte, 1), 1);
	ck_assert_int_eq(read(end.fds[1], &byte, 1), 1);
	ck_assert_int_eq(fcntl(end.fds[0], F_GETFD), FD_CLOEXEC);
	close(end.fds[0]);
	close(end.fds[1]);
	close(pipe_fds[1]);
	/* And the other way, without any. */
	ck_assert_int_eq(yab_channel_send(end.channel, json_pack("{s:b}", "ok", 1), NULL, 0), 0);
	script_settle(base);
	ck_assert_int_eq(other.messages, 1);
	ck_assert_uint_eq(other.fd_count, 0);
	json_decref(other.last);
	yab_channel_free(other.channel);
	script_settle(base);
	ck_assert_int_eq(end.gone, 1);
}
END_TEST

START_TEST(peer_gone)
{
	send_raw("{}", 2, NULL, 0);
	close(raw);
	raw = -1;
	script_settle(base);
	script_settle(base);
	ck_assert_int_eq(end.messages, 1);
	ck_assert_int_eq(end.gone, 1);
	ck_assert_int_eq(yab_channel_send(end.channel, json_object(), NULL, 0), -1);
	ck_assert_int_eq(errno, EPIPE);
}
END_TEST

/* What ends the channel, once, and leaks no descriptor. */
START_TEST(garbage)
{
	static const struct {
		const char *text;
		size_t size;	/* filled up with spaces to this; 0: not */
		int fds;
	} cases[] = {
		{ "not json", 0, 0 },
		{ "[]", 0, 1 },
		{ "{\"a\":1,\"a\":2}", 0, 2 },
		{ "{\"a\":1} trailing", 0, 0 },
		{ "{\"a\":\"\xff\"}", 0, 0 },
		{ "\"text\"", 0, 0 },
		{ "{}", YAB_CHANNEL_MESSAGE_MAX + 1, 1 },
		{ "{}", YAB_CHANNEL_MESSAGE_MAX + 1000, 0 },
		{ "{}", 0, YAB_CHANNEL_FDS + 1 },
		{ "{}", 0, 16 },
	};
	size_t size = strlen(cases[_i].text);
	int fds[16], before;
	char *text;

	for (int i = 0; i < 16; i++)
		fds[i] = STDERR_FILENO;
	if (size < cases[_i].size)
		size = cases[_i].size;
	text = malloc(size);
	memset(text, ' ', size);
	memcpy(text, cases[_i].text, strlen(cases[_i].text));
	before = count_fds();
	send_raw(text, size, fds, (size_t)cases[_i].fds);
	script_settle(base);
	ck_assert_int_eq(end.messages, 0);
	ck_assert_int_eq(end.gone, 1);
	ck_assert_int_eq(count_fds(), before);
	free(text);
}
END_TEST

START_TEST(longest_message)
{
	char *text = malloc(YAB_CHANNEL_MESSAGE_MAX + 2);
	struct end other = { 0 };

	other.channel = yab_channel_new(base, raw, on_message, &other);
	raw = -1;
	/* {"a":"..."} has 8 bytes around the text. */
	memset(text, 'x', YAB_CHANNEL_MESSAGE_MAX);
	text[YAB_CHANNEL_MESSAGE_MAX - 8] = '\0';
	ck_assert_int_eq(yab_channel_send(other.channel, json_pack("{s:s}", "a", text), NULL, 0),
			 0);
	text[YAB_CHANNEL_MESSAGE_MAX - 8] = 'x';
	text[YAB_CHANNEL_MESSAGE_MAX - 7] = '\0';
	ck_assert_int_eq(yab_channel_send(other.channel, json_pack("{s:s}", "a", text), NULL, 0),
			 -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	script_settle(base);
	ck_assert_int_eq(end.messages, 1);
	ck_assert_int_eq(end.gone, 0);
	yab_channel_free(other.channel);
	free(text);
}
END_TEST

/* A full socket: messages and their descriptors queue, in order, up to a bound. */
START_TEST(queue)
{
	char filler[2048];
	struct end other = { 0 };
	int sent = 0, got = -1, pipe_fds[2];

	other.channel = yab_channel_new(base, raw, on_message, &other);
	raw = -1;
	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	ck_assert_int_eq(pipe(pipe_fds), 0);
	while (yab_channel_send(other.channel, json_pack("{s:i, s:s}", "n", sent, "x", filler),
				pipe_fds, 1) == 0)
		sent++;
	ck_assert_int_eq(errno, ENOBUFS);
	ck_assert_int_gt(sent, 64);
	/* The sender's own can be closed at once. */
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	while (end.messages < sent) {
		const int before = end.messages;

		ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
		if (end.messages == before)
			continue;
		ck_assert_int_gt(json_integer_value(json_object_get(end.last, "n")), got);
		got = (int)json_integer_value(json_object_get(end.last, "n"));
		ck_assert_uint_eq(end.fd_count, 1);
		ck_assert_int_ge(fcntl(end.fds[0], F_GETFD), 0);
		close(end.fds[0]);
	}
	ck_assert_int_eq(got, sent - 1);
	yab_channel_free(other.channel);
}
END_TEST

static int send_number(int number)
{
	static char text[4096];

	memset(text, 'x', sizeof(text) - 1);
	return yab_channel_send(end.channel, json_pack("{s:i, s:s}", "n", 1000 + number, "x", text),
				NULL, 0);
}

/* The number of the message that has come, or -1. */
static int receive_number(void)
{
	char message[8192];
	const ssize_t n = recv(raw, message, sizeof(message), MSG_DONTWAIT);
	json_t *json;
	int number;

	if (n < 0)
		return -1;
	json = json_loadb(message, (size_t)n, 0, NULL);
	number = (int)json_integer_value(json_object_get(json, "n")) - 1000;
	json_decref(json);
	return number;
}

/* A message that finds room in the socket does not overtake those that found none. */
START_TEST(queue_keeps_order)
{
	const int queued = 10;
	int room = 0, got = 0;

	/* How many the socket holds; then it is emptied again. */
	while (send_number(room) == 0)
		room++;
	room -= 64;
	while (got < room + 64) {
		const int number = receive_number();

		if (number < 0) {
			script_settle(base);
			continue;
		}
		ck_assert_int_eq(number, got++);
	}
	for (int i = 0; i < room + queued; i++)
		ck_assert_int_eq(send_number(i), 0);
	for (int i = 0; i < room; i++)
		ck_assert_int_eq(receive_number(), i);
	ck_assert_int_eq(send_number(room + queued), 0);
	ck_assert_int_eq(receive_number(), -1);
	script_settle(base);
	for (int i = room; i <= room + queued; i++)
		ck_assert_int_eq(receive_number(), i);
}
END_TEST

START_TEST(freed_in_callback)
{
	end.free_on_message = true;
	send_raw("{}", 2, NULL, 0);
	send_raw("{}", 2, NULL, 0);
	script_settle(base);
	ck_assert_int_eq(end.messages, 1);
	ck_assert_int_eq(end.gone, 0);
}
END_TEST

static bool memory_is_short;

static void *short_malloc(size_t size)
{
	return memory_is_short ? NULL : malloc(size);
}

/* Without memory a message waits, with its descriptors, and nothing overtakes it. */
START_TEST(short_memory)
{
	const int fd = STDERR_FILENO;

	json_set_alloc_funcs(short_malloc, free);
	memory_is_short = true;
	send_raw("{\"n\":1}", 7, &fd, 1);
	send_raw("{\"n\":2}", 7, NULL, 0);
	script_settle(base);
	ck_assert_int_eq(end.messages, 0);
	ck_assert_int_eq(end.gone, 0);
	ck_assert_int_eq(yab_channel_send(end.channel, NULL, NULL, 0), -1);
	ck_assert_int_eq(errno, ENOMEM);
	memory_is_short = false;
	while (end.messages < 1)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(json_integer_value(json_object_get(end.last, "n")), 1);
	ck_assert_uint_eq(end.fd_count, 1);
	close(end.fds[0]);
	script_settle(base);
	ck_assert_int_eq(end.messages, 2);
	ck_assert_int_eq(json_integer_value(json_object_get(end.last, "n")), 2);
	ck_assert_uint_eq(end.fd_count, 0);
	ck_assert_int_eq(end.gone, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel");
	TCase *tcase = tcase_create("channel");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, message_with_fds);
	tcase_add_test(tcase, peer_gone);
	tcase_add_test(tcase, last_words);
	tcase_add_loop_test(tcase, garbage, 0, 10);
	tcase_add_test(tcase, longest_message);
	tcase_add_test(tcase, queue);
	tcase_add_test(tcase, queue_keeps_order);
	tcase_add_test(tcase, freed_in_callback);
	tcase_add_test(tcase, short_memory);
	suite_add_tcase(suite, tcase);
	return script_run(suite);
}
