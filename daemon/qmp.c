// SPDX-License-Identifier: GPL-2.0-or-later
#include "qmp.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "text.h"
#include "yabusame/wire.h"

#define YAB_QMP_TIMEOUT_MS	30000
#define YAB_QMP_READ_SIZE	65536

enum yab_qmp_state {
	YAB_QMP_GREETING,
	YAB_QMP_NEGOTIATING,
	YAB_QMP_READY,
	YAB_QMP_LOST,
	YAB_QMP_STATES,
};

static const bool yab_qmp_allowed[YAB_QMP_STATES][YAB_QMP_STATES] = {
	[YAB_QMP_GREETING] = { [YAB_QMP_NEGOTIATING] = true, [YAB_QMP_LOST] = true },
	[YAB_QMP_NEGOTIATING] = { [YAB_QMP_READY] = true, [YAB_QMP_LOST] = true },
	[YAB_QMP_READY] = { [YAB_QMP_LOST] = true },
};

/*
 * A call is on two lists: calls until it was answered, and messages until its
 * last byte was written. A call that failed meanwhile stays as a message only,
 * for half a line must be followed by the other half.
 */
struct yab_qmp_message {
	STAILQ_ENTRY(yab_qmp_message) link;
	char *text;
	size_t length, sent;
	int fd;
};

struct yab_qmp_call {
	TAILQ_ENTRY(yab_qmp_call) link;
	struct yab_qmp *qmp;
	json_int_t id;
	char command[48];
	struct event *timer;
	int timeout_ms;
	yab_qmp_cb cb;
	void *arg;
};

struct yab_qmp_sequence {
	TAILQ_ENTRY(yab_qmp_sequence) link;
	struct yab_qmp *qmp;
	struct yab_qmp_step *steps;
	size_t count, next;
	json_t *results;
	yab_qmp_cb cb;
	void *arg;
};

struct yab_qmp {
	STAILQ_HEAD(, yab_qmp_message) messages;
	TAILQ_HEAD(, yab_qmp_call) calls;
	TAILQ_HEAD(, yab_qmp_sequence) sequences;
	struct event_base *base;
	int fd;
	char vm[64];
	enum yab_qmp_state state;
	const struct yab_qmp_ops *ops;
	void *arg;
	struct event *readable, *writable, *greeting;
	struct evbuffer *input;
	json_int_t next_id;
	int timeout_ms;
	bool heard;		/* read to its end, which QEMU has made */
	/*
	 * Callbacks may free the client. While one runs the structure stays, with
	 * nothing in it (doomed), and goes with the outermost yab_qmp_leave().
	 */
	unsigned int busy;
	bool doomed;
};

static void yab_qmp_lose(struct yab_qmp *qmp, const char *error);

static void yab_qmp_set_state(struct yab_qmp *qmp, enum yab_qmp_state state)
{
	assert(yab_qmp_allowed[qmp->state][state]);
	qmp->state = state;
}

static void yab_qmp_enter(struct yab_qmp *qmp)
{
	qmp->busy++;
}

static void yab_qmp_leave(struct yab_qmp *qmp)
{
	if (!--qmp->busy && qmp->doomed)
		free(qmp);
}

static void yab_qmp_message_free(struct yab_qmp_message *message)
{
	if (message->fd >= 0)
		close(message->fd);
	free(message->text);
	free(message);
}

static void yab_qmp_call_free(struct yab_qmp_call *call)
{
	if (call->timer)
		event_free(call->timer);
	free(call);
}

static void yab_qmp_call_end(struct yab_qmp_call *call, json_t *result, const char *error)
{
	TAILQ_REMOVE(&call->qmp->calls, call, link);
	call->cb(result, error, call->arg);
	yab_qmp_call_free(call);
}

static void yab_qmp_call_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct yab_qmp_call *call = arg;
	char error[YAB_WIRE_ERROR_MAX];

	(void)fd;
	(void)what;
	snprintf(error, sizeof(error), "QEMU gave no answer to %s for %d seconds", call->command,
		 call->timeout_ms / 1000);
	yab_qmp_call_end(call, NULL, error);
}

/* Writes what the socket takes. A message's fd goes with its first byte. */
static int yab_qmp_flush(struct yab_qmp *qmp)
{
	struct yab_qmp_message *message;

	while ((message = STAILQ_FIRST(&qmp->messages))) {
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control = { .bytes = { 0 } };
		struct iovec part = {
			.iov_base = message->text + message->sent,
			.iov_len = message->length - message->sent,
		};
		struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
		ssize_t sent;

		if (message->fd >= 0) {
			struct cmsghdr *item;

			header.msg_control = control.bytes;
			header.msg_controllen = sizeof(control.bytes);
			item = CMSG_FIRSTHDR(&header);
			item->cmsg_level = SOL_SOCKET;
			item->cmsg_type = SCM_RIGHTS;
			item->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(item), &message->fd, sizeof(int));
		}
		sent = sendmsg(qmp->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN)
				return event_add(qmp->writable, NULL);
			return -1;
		}
		if (message->fd >= 0)
			close(message->fd);
		message->fd = -1;
		message->sent += (size_t)sent;
		if (message->sent < message->length)
			continue;
		STAILQ_REMOVE_HEAD(&qmp->messages, link);
		yab_qmp_message_free(message);
	}
	return 0;
}

static void yab_qmp_writable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_qmp *qmp = arg;

	(void)fd;
	(void)what;
	if (qmp->state == YAB_QMP_LOST || !yab_qmp_flush(qmp))
		return;
	/* What it has said before it closed counts. */
	yab_qmp_enter(qmp);
	yab_qmp_drain(qmp);
	if (!qmp->doomed)
		yab_qmp_lose(qmp, "QEMU's monitor closed");
	yab_qmp_leave(qmp);
}

static int yab_qmp_send(struct yab_qmp *qmp, const char *command, json_t *arguments, int fd,
			yab_qmp_cb cb, void *arg)
{
	const struct timeval timeout = yab_clock_pause((uint64_t)qmp->timeout_ms);
	struct yab_qmp_message *message = NULL;
	struct yab_qmp_call *call;
	json_t *json;
	char *text;

	json = json_pack("{s:s, s:o?, s:I}", "execute", command, "arguments", arguments,
			 "id", qmp->next_id);
	if (!json) {
		errno = ENOMEM;
		return -1;
	}
	if (!arguments)
		json_object_del(json, "arguments");
	call = calloc(1, sizeof(*call));
	if (!call)
		goto err_json;
	message = calloc(1, sizeof(*message));
	if (!message)
		goto err_call;
	message->fd = -1;
	text = json_dumps(json, JSON_COMPACT);
	if (!text || asprintf(&message->text, "%s\n", text) < 0) {
		message->text = NULL;
		free(text);
		goto err_message;
	}
	free(text);
	message->length = strlen(message->text);
	if (fd >= 0) {
		message->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (message->fd < 0)
			goto err_message;
	}
	call->qmp = qmp;
	call->id = qmp->next_id;
	call->cb = cb;
	call->arg = arg;
	call->timeout_ms = qmp->timeout_ms;
	snprintf(call->command, sizeof(call->command), "%s", command);
	call->timer = evtimer_new(qmp->base, yab_qmp_call_overdue, call);
	if (!call->timer || evtimer_add(call->timer, &timeout) < 0)
		goto err_message;
	/* Written by the event loop: a call must not call back before it returns. */
	if (event_add(qmp->writable, NULL) < 0)
		goto err_message;
	qmp->next_id++;
	STAILQ_INSERT_TAIL(&qmp->messages, message, link);
	TAILQ_INSERT_TAIL(&qmp->calls, call, link);
	json_decref(json);
	return 0;

err_message:
	yab_qmp_message_free(message);
err_call:
	yab_qmp_call_free(call);
err_json:
	json_decref(json);
	errno = ENOMEM;
	return -1;
}

int yab_qmp_call(struct yab_qmp *qmp, const char *command, json_t *arguments, int fd,
		 yab_qmp_cb cb, void *arg)
{
	if (qmp->state != YAB_QMP_READY) {
		json_decref(arguments);
		errno = ENOTCONN;
		return -1;
	}
	return yab_qmp_send(qmp, command, arguments, fd, cb, arg);
}

static void yab_qmp_negotiated(json_t *result, const char *error, void *arg)
{
	struct yab_qmp *qmp = arg;

	(void)result;
	if (error) {
		if (qmp->state != YAB_QMP_LOST)
			yab_qmp_lose(qmp, error);
		return;
	}
	event_del(qmp->greeting);
	yab_qmp_set_state(qmp, YAB_QMP_READY);
	qmp->ops->ready(qmp->arg);
}

static void yab_qmp_answered(struct yab_qmp *qmp, json_t *json)
{
	json_t *id = json_object_get(json, "id"), *failed = json_object_get(json, "error");
	char error[YAB_WIRE_ERROR_MAX];
	struct yab_qmp_call *call;
	const char *text;

	TAILQ_FOREACH(call, &qmp->calls, link)
		if (json_is_integer(id) && json_integer_value(id) == call->id)
			break;
	if (!call) {
		/* Late, after its timeout; or QEMU did not understand a line. */
		yab_log_debug(qmp->vm, "monitor: an answer nobody waits for");
		return;
	}
	if (!failed) {
		yab_qmp_call_end(call, json_object_get(json, "return"), NULL);
		return;
	}
	text = json_string_value(json_object_get(failed, "desc"));
	snprintf(error, sizeof(error), "QEMU refused %s: %s", call->command,
		 text ? text : "it does not say why");
	yab_text_tame(error);
	yab_qmp_call_end(call, NULL, error);
}

/* One line from QEMU; the caller holds the client. */
static void yab_qmp_line(struct yab_qmp *qmp, const char *line, size_t length)
{
	json_t *json = json_loadb(line, length, 0, NULL), *event;
	const char *command = "qmp_capabilities";

	if (!json_is_object(json)) {
		json_decref(json);
		yab_qmp_lose(qmp, "QEMU's monitor does not speak QMP");
		return;
	}
	event = json_object_get(json, "event");
	if (qmp->state == YAB_QMP_GREETING) {
		if (!json_object_get(json, "QMP")) {
			yab_qmp_lose(qmp, "QEMU's monitor does not speak QMP");
		} else {
			yab_qmp_set_state(qmp, YAB_QMP_NEGOTIATING);
			if (yab_qmp_send(qmp, command, NULL, -1, yab_qmp_negotiated, qmp) < 0)
				yab_qmp_lose(qmp, "out of memory");
		}
	} else if (json_is_string(event)) {
		yab_log_debug(qmp->vm, "monitor: event %s", json_string_value(event));
		qmp->ops->event(json_string_value(event), json_object_get(json, "data"), qmp->arg);
	} else {
		yab_qmp_answered(qmp, json);
	}
	json_decref(json);
}

/* Hands on the complete lines; the caller holds the client. */
static void yab_qmp_lines(struct yab_qmp *qmp)
{
	char *line;
	size_t length;

	while (!qmp->doomed && qmp->state != YAB_QMP_LOST) {
		line = evbuffer_readln(qmp->input, &length, EVBUFFER_EOL_CRLF);
		if (!line)
			break;
		if (length)
			yab_qmp_line(qmp, line, length);
		free(line);
	}
	if (qmp->doomed || qmp->state == YAB_QMP_LOST)
		return;
	if (evbuffer_get_length(qmp->input) > YAB_QMP_LINE_MAX)
		yab_qmp_lose(qmp, "QEMU's monitor sent a line that is too long");
}

/* QEMU has closed it: there is nothing left to read. */
static void yab_qmp_closed(struct yab_qmp *qmp)
{
	qmp->heard = true;
	yab_qmp_lose(qmp, "QEMU's monitor closed");
}

void yab_qmp_drain(struct yab_qmp *qmp)
{
	int got;

	yab_qmp_enter(qmp);
	while (!qmp->doomed && qmp->state != YAB_QMP_LOST) {
		got = evbuffer_read(qmp->input, qmp->fd, YAB_QMP_READ_SIZE);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (got > 0)
			yab_qmp_lines(qmp);
		else
			yab_qmp_closed(qmp);
	}
	yab_qmp_leave(qmp);
}

static void yab_qmp_readable(evutil_socket_t fd, short what, void *arg)
{
	struct yab_qmp *qmp = arg;
	int got = evbuffer_read(qmp->input, fd, YAB_QMP_READ_SIZE);

	(void)what;
	yab_qmp_enter(qmp);
	if (got > 0)
		yab_qmp_lines(qmp);
	else if (!got || (errno != EAGAIN && errno != EINTR))
		yab_qmp_closed(qmp);
	yab_qmp_leave(qmp);
}

static void yab_qmp_silent(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	yab_qmp_lose(arg, "QEMU's monitor says nothing");
}

/* Fails every pending call, then tells the owner; may free the client. */
static void yab_qmp_lose(struct yab_qmp *qmp, const char *error)
{
	struct yab_qmp_call *call;

	if (qmp->state == YAB_QMP_LOST)
		return;
	yab_qmp_set_state(qmp, YAB_QMP_LOST);
	event_del(qmp->readable);
	event_del(qmp->writable);
	event_del(qmp->greeting);
	yab_qmp_enter(qmp);
	while ((call = TAILQ_FIRST(&qmp->calls)))
		yab_qmp_call_end(call, NULL, error);
	if (!qmp->doomed)
		qmp->ops->lost(error, qmp->arg);
	yab_qmp_leave(qmp);
}

struct yab_qmp *yab_qmp_new(struct event_base *base, int fd, const char *vm,
			    const struct yab_qmp_ops *ops, void *arg)
{
	struct timeval patience = { .tv_sec = YAB_QMP_TIMEOUT_MS / 1000 };
	struct yab_qmp *qmp = calloc(1, sizeof(*qmp));

	if (!qmp)
		goto err_fd;
	qmp->base = base;
	qmp->fd = fd;
	qmp->ops = ops;
	qmp->arg = arg;
	qmp->timeout_ms = YAB_QMP_TIMEOUT_MS;
	snprintf(qmp->vm, sizeof(qmp->vm), "%s", vm);
	STAILQ_INIT(&qmp->messages);
	TAILQ_INIT(&qmp->calls);
	TAILQ_INIT(&qmp->sequences);
	qmp->input = evbuffer_new();
	if (!qmp->input)
		goto err_qmp;
	qmp->readable = event_new(base, fd, EV_READ | EV_PERSIST, yab_qmp_readable, qmp);
	if (!qmp->readable)
		goto err_input;
	qmp->writable = event_new(base, fd, EV_WRITE, yab_qmp_writable, qmp);
	if (!qmp->writable)
		goto err_readable;
	qmp->greeting = evtimer_new(base, yab_qmp_silent, qmp);
	if (!qmp->greeting)
		goto err_writable;
	if (evutil_make_socket_nonblocking(fd) < 0 || event_add(qmp->readable, NULL) < 0 ||
	    evtimer_add(qmp->greeting, &patience) < 0)
		goto err_greeting;
	return qmp;

err_greeting:
	event_free(qmp->greeting);
err_writable:
	event_free(qmp->writable);
err_readable:
	event_free(qmp->readable);
err_input:
	evbuffer_free(qmp->input);
err_qmp:
	free(qmp);
err_fd:
	close(fd);
	errno = ENOMEM;
	return NULL;
}

static void yab_qmp_sequence_free(struct yab_qmp_sequence *sequence)
{
	TAILQ_REMOVE(&sequence->qmp->sequences, sequence, link);
	for (size_t i = sequence->next; i < sequence->count; i++)
		json_decref(sequence->steps[i].arguments);
	for (size_t i = 0; i < sequence->count; i++)
		if (sequence->steps[i].fd >= 0)
			close(sequence->steps[i].fd);
	json_decref(sequence->results);
	free(sequence->steps);
	free(sequence);
}

void yab_qmp_free(struct yab_qmp *qmp)
{
	struct yab_qmp_sequence *sequence;
	struct yab_qmp_message *message;
	struct yab_qmp_call *call;

	if (!qmp)
		return;
	while ((call = TAILQ_FIRST(&qmp->calls))) {
		TAILQ_REMOVE(&qmp->calls, call, link);
		yab_qmp_call_free(call);
	}
	while ((sequence = TAILQ_FIRST(&qmp->sequences)))
		yab_qmp_sequence_free(sequence);
	while ((message = STAILQ_FIRST(&qmp->messages))) {
		STAILQ_REMOVE_HEAD(&qmp->messages, link);
		yab_qmp_message_free(message);
	}
	event_free(qmp->greeting);
	event_free(qmp->writable);
	event_free(qmp->readable);
	evbuffer_free(qmp->input);
	close(qmp->fd);
	if (qmp->busy)
		qmp->doomed = true;
	else
		free(qmp);
}

bool yab_qmp_is_lost(const struct yab_qmp *qmp)
{
	return qmp->state == YAB_QMP_LOST;
}

bool yab_qmp_was_heard(const struct yab_qmp *qmp)
{
	return qmp->heard;
}

void yab_qmp_set_timeout(struct yab_qmp *qmp, int milliseconds)
{
	qmp->timeout_ms = milliseconds;
}

static void yab_qmp_stepped(json_t *result, const char *error, void *arg);
static int yab_qmp_step(struct yab_qmp_sequence *sequence);
static void yab_qmp_sequence_next(struct yab_qmp *qmp);

static void yab_qmp_sequence_end(struct yab_qmp_sequence *sequence, const char *error)
{
	json_t *results = error ? NULL : json_incref(sequence->results);
	yab_qmp_cb cb = sequence->cb;
	void *arg = sequence->arg;

	struct yab_qmp *qmp = sequence->qmp;

	/* Gone before the callback, which may free the client with what it owns. */
	yab_qmp_enter(qmp);
	yab_qmp_sequence_free(sequence);
	cb(results, error, arg);
	json_decref(results);
	if (!qmp->doomed)
		yab_qmp_sequence_next(qmp);
	yab_qmp_leave(qmp);
}

/*
 * One sequence after the other: whoever is called at the end of one knows that none
 * from before it is under way.
 */
static void yab_qmp_sequence_next(struct yab_qmp *qmp)
{
	struct yab_qmp_sequence *first = TAILQ_FIRST(&qmp->sequences);

	if (first && !first->next && yab_qmp_step(first) < 0)
		yab_qmp_sequence_end(first, YAB_QMP_UNASKED);
}

static int yab_qmp_step(struct yab_qmp_sequence *sequence)
{
	struct yab_qmp_step *step = &sequence->steps[sequence->next++];

	return yab_qmp_call(sequence->qmp, step->command, step->arguments, step->fd,
			    yab_qmp_stepped, sequence);
}

static void yab_qmp_stepped(json_t *result, const char *error, void *arg)
{
	struct yab_qmp_sequence *sequence = arg;

	if (!error && json_array_append(sequence->results, result) < 0)
		error = "out of memory";
	if (error || sequence->next == sequence->count)
		yab_qmp_sequence_end(sequence, error);
	else if (yab_qmp_step(sequence) < 0)
		yab_qmp_sequence_end(sequence, YAB_QMP_UNASKED);
}

int yab_qmp_run(struct yab_qmp *qmp, const struct yab_qmp_step *steps, size_t count,
		yab_qmp_cb cb, void *arg)
{
	struct yab_qmp_sequence *sequence = NULL;
	int error = ENOTCONN;

	if (qmp->state != YAB_QMP_READY)
		goto err_arguments;
	error = ENOMEM;
	sequence = calloc(1, sizeof(*sequence));
	if (!sequence)
		goto err_arguments;
	sequence->steps = calloc(count, sizeof(*steps));
	sequence->results = json_array();
	if (!sequence->steps || !sequence->results)
		goto err_sequence;
	sequence->qmp = qmp;
	sequence->count = count;
	sequence->cb = cb;
	sequence->arg = arg;
	for (size_t i = 0; i < count; i++) {
		sequence->steps[i] = steps[i];
		if (steps[i].fd >= 0)
			sequence->steps[i].fd = fcntl(steps[i].fd, F_DUPFD_CLOEXEC, 3);
	}
	TAILQ_INSERT_TAIL(&qmp->sequences, sequence, link);
	if (TAILQ_FIRST(&qmp->sequences) == sequence && yab_qmp_step(sequence) < 0) {
		error = errno;
		yab_qmp_sequence_free(sequence);
		errno = error;
		return -1;
	}
	return 0;

err_sequence:
	json_decref(sequence->results);
	free(sequence->steps);
	free(sequence);
err_arguments:
	for (size_t i = 0; i < count; i++)
		json_decref(steps[i].arguments);
	errno = error;
	return -1;
}
