/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The channel between the supervisor and a worker: a SOCK_SEQPACKET socket
 * pair that carries one JSON object a message, with up to YAB_CHANNEL_FDS file
 * descriptors. Both ends are non-blocking and driven by libevent. The worker
 * gets its end as file descriptor YAB_WORKER_FD.
 */
#ifndef YAB_DAEMON_CHANNEL_H
#define YAB_DAEMON_CHANNEL_H

#include <event2/event.h>
#include <jansson.h>
#include <stddef.h>

#define YAB_CHANNEL_FDS		4
#define YAB_CHANNEL_MESSAGE_MAX	65536	/* bytes of JSON */
#define YAB_WORKER_FD		3

struct yab_channel;

/*
 * @message is borrowed and NULL when the other end is gone (the callback is then
 * called once and never again). The callback owns @fds and must close or keep them. It may free the
 * channel.
 */
typedef void (*yab_channel_cb)(json_t *message, const int *fds, size_t fd_count, void *arg);

/* Takes @fd over, also on failure (NULL, with errno). */
struct yab_channel *yab_channel_new(struct event_base *base, int fd, yab_channel_cb cb, void *arg);
void yab_channel_free(struct yab_channel *channel);

/*
 * Steals the reference to @message. Copies the @fds (the caller still closes its
 * own). Queues when the socket is full. Returns 0, or -1 with errno.
 */
int yab_channel_send(struct yab_channel *channel, json_t *message, const int *fds, size_t fd_count);

#endif /* YAB_DAEMON_CHANNEL_H */
