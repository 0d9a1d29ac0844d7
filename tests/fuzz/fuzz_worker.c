// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The channel between supervisor and worker, both ends of it. If the first byte is even, a
 * channel gets any messages with any descriptors, while its owner sends, too. If it is odd,
 * all of a worker (yab_worker_main()) gets them, from a supervisor that has gone by the time
 * it looks.
 *
 * A message is a byte for its descriptors (how many, and what they are), then a byte that
 * chooses one of those that workers know or says that the input brings its text.
 */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/channel.h"
#include "../../daemon/worker.h"
#include "fuzz.h"

#define PAGES		64
#define MESSAGES_MAX	16
/* More than a channel takes. */
#define FDS_MAX		(YAB_CHANNEL_FDS + 2)

static const char * const messages[] = {
	"{\"type\": \"start\", \"side\": \"source\", \"vm\": \"vm\", \"pages\": 64}",
	"{\"type\": \"start\", \"side\": \"destination\", \"vm\": \"vm\", \"pages\": 64}",
	"{\"type\": \"start\", \"side\": \"destination\", \"vm\": \"vm\", \"pages\": 65}",
	"{\"type\": \"connection\", \"role\": \"urgent\", \"index\": 0, \"token\": "
	"\"00112233445566778899aabbccddeeff\", \"tls\": false, \"name\": \"host1\"}",
	"{\"type\": \"connection\", \"role\": \"bulk\", \"index\": 0, \"token\": "
	"\"00112233445566778899aabbccddeeff\", \"tls\": false, \"name\": \"host1\"}",
	"{\"type\": \"serve\"}",
	"{\"type\": \"start\", \"side\": \"source\", \"vm\": \"vm\", \"pages\": 64, "
	"\"kind\": \"image\", \"codec\": \"lz4\"}",
	"{\"type\": \"start\", \"side\": \"source\", \"vm\": \"vm\", \"pages\": 64, "
	"\"kind\": \"process\", "
	"\"spans\": [{\"address\": 4096, \"length\": 262144, \"page\": 0}]}",
	"{\"type\": \"hints\", \"ranges\": [[60, 4], [0, 2]]}",
	"{\"type\": \"hints\", \"ranges\": [[60, 5]]}",
};

#define MESSAGES	ARRAY_SIZE(messages)
/* Inputs of before the others came choose among these. */
#define MESSAGES_FIRST	6

static int memory_fd = -1;

/* A socket with a hello and frames for either side in it, whose other end is closed. */
static int make_connection(struct fuzz_input *input)
{
	struct yab_wire_header header = {
		.type = YAB_WIRE_REQUEST + fuzz_byte(input) % 3,
		.page = fuzz_byte(input) % (PAGES + 1),
		.count = fuzz_byte(input) % (PAGES + 1),
	};
	const struct yab_wire_hello hello = {
		.version = YAB_WIRE_VERSION,
		.role = YAB_WIRE_URGENT + fuzz_byte(input) % 2,
		.token = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
			   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff },
	};
	uint8_t greeting[YAB_WIRE_HELLO_SIZE], bytes[YAB_WIRE_HEADER_SIZE];
	int ours, theirs;

	if (header.type == YAB_WIRE_PAGES)
		header.length = (uint32_t)(header.count * FUZZ_PAGE);
	fuzz_pair(SOCK_STREAM, &ours, &theirs);
	yab_wire_hello_encode(greeting, &hello);
	fuzz_send(ours, greeting, sizeof(greeting));
	yab_wire_header_encode(bytes, &header);
	fuzz_send(ours, bytes, sizeof(bytes));
	close(ours);
	return theirs;
}

static int make_fd(struct fuzz_input *input, uint8_t what)
{
	switch (what % 4) {
	case 0:
		return fcntl(memory_fd, F_DUPFD_CLOEXEC, 3);
	case 1:
		return make_connection(input);
	case 2:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	default:
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
}

static void send_message(struct fuzz_input *input, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { .bytes = { 0 } };
	const uint8_t what = fuzz_byte(input), which = fuzz_byte(input);
	const size_t count = what % (FDS_MAX + 1);
	struct iovec iov = { 0 };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[FDS_MAX];
	char *text = NULL;

	if (which < 16 * MESSAGES) {
		iov.iov_base = (void *)messages[which < 16 * MESSAGES_FIRST ?
						which % MESSAGES_FIRST : which % MESSAGES];
		iov.iov_len = strlen(iov.iov_base);
	} else if (which < 240) {
		text = fuzz_text(input, &iov.iov_len);
		iov.iov_base = text;
	} else {
		/* Around the longest one. */
		iov.iov_len = YAB_CHANNEL_MESSAGE_MAX - 8 + which % 16;
		text = malloc(iov.iov_len);
		fuzz_check(text, "out of memory");
		memset(text, ' ', iov.iov_len);
		memcpy(text, "{}", 2);
		iov.iov_base = text;
	}
	for (size_t i = 0; i < count; i++)
		fds[i] = make_fd(input, (uint8_t)(what / 8 + i));
	if (count) {
		struct cmsghdr *part;

		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(count * sizeof(int));
		part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(part), fds, count * sizeof(int));
	}
	sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	free(text);
}

struct owner {
	struct yab_channel *channel;
	bool gone, frees;
};

static void on_message(json_t *message, const int *fds, size_t fd_count, void *arg)
{
	struct owner *owner = arg;

	fuzz_check(!owner->gone, "a message after the end");
	fuzz_check(fd_count <= YAB_CHANNEL_FDS, "%zu descriptors", fd_count);
	fuzz_check(!message || json_is_object(message), "no object");
	for (size_t i = 0; i < fd_count; i++)
		fuzz_check(close(fds[i]) == 0, "descriptor %d", fds[i]);
	owner->gone = !message;
	if (message && !owner->frees) {
		yab_channel_send(owner->channel, json_pack("{s:O}", "echo", message), NULL, 0);
		return;
	}
	if (owner->frees) {
		yab_channel_free(owner->channel);
		owner->channel = NULL;
	}
}

static void try_channel(struct fuzz_input *input, bool frees)
{
	struct event_base *base = fuzz_base();
	struct owner owner = { .frees = frees };
	int ours, theirs;

	fuzz_pair(SOCK_SEQPACKET, &ours, &theirs);
	owner.channel = yab_channel_new(base, theirs, on_message, &owner);
	fuzz_check(owner.channel, "no channel");
	for (int i = 0; input->left && i < MESSAGES_MAX; i++) {
		const uint8_t what = fuzz_byte(input);

		if (what % 4 == 0) {
			fuzz_settle(base);
		} else if (what % 8 == 1 && owner.channel) {
			for (int k = 0; k < what / 2; k++)
				yab_channel_send(owner.channel, json_pack("{s:i}", "n", k),
						 &memory_fd, k % 3 == 0);
		} else if (what % 8 == 2) {
			fuzz_discard(ours);
		} else {
			send_message(input, ours);
		}
	}
	fuzz_settle(base);
	close(ours);
	fuzz_settle(base);
	fuzz_check(owner.gone || !owner.channel, "the end was not told");
	yab_channel_free(owner.channel);
	event_base_free(base);
}

/*
 * Never waits: the supervisor and all other ends of connections have gone, so that
 * nobody needs the worker once it has read its messages.
 */
static void try_worker(struct fuzz_input *input)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction old[3];
	char name[16] = "";
	int ours, theirs;

	fuzz_pair(SOCK_SEQPACKET, &ours, &theirs);
	for (int i = 0; input->left && i < MESSAGES_MAX; i++)
		send_message(input, ours);
	if (theirs != YAB_WORKER_FD) {
		fuzz_check(dup2(theirs, YAB_WORKER_FD) == YAB_WORKER_FD, "no channel");
		close(theirs);
	}
	close(ours);
	for (int i = 0; i < 3; i++)
		sigaction(signals[i], NULL, &old[i]);
	prctl(PR_GET_NAME, name);
	yab_worker_main(false);
	prctl(PR_SET_NAME, name);
	for (int i = 0; i < 3; i++)
		sigaction(signals[i], &old[i], NULL);
	/* It closes the channel. Nobody else may take its number. */
	fuzz_check(open("/dev/null", O_RDWR | O_CLOEXEC) == YAB_WORKER_FD, "descriptor");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	uint8_t what;

	fuzz_note_descriptors();
	if (memory_fd < 0) {
		memory_fd = memfd_create("fuzz", MFD_CLOEXEC);
		fuzz_check(!ftruncate(memory_fd, PAGES * FUZZ_PAGE), "memory file");
	}
	what = fuzz_byte(&input);
	if (what % 2)
		try_worker(&input);
	else
		try_channel(&input, what & 2);
	fuzz_check_descriptors();
	return 0;
}
