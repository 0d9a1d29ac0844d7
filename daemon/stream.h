/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device state on its way: out of the source QEMU's socket into STATE frames, and
 * out of those into the destination QEMU's socket. Bounded: a slow network stops
 * the one QEMU, a slow QEMU stops the network.
 */
#ifndef YAB_DAEMON_STREAM_H
#define YAB_DAEMON_STREAM_H

#include <event2/event.h>
#include <stdint.h>

#include "peer.h"

struct yab_stream;

/* The reader came to the end of what QEMU writes; @error is NULL or one line. */
typedef void (*yab_stream_cb)(const char *error, void *arg);

/*
 * A socket pair: @qemu_fd is to be given to QEMU (and closed here), the stream
 * keeps the other end. NULL with errno.
 */
struct yab_stream *yab_stream_new_reader(struct event_base *base, struct yab_peer *peer,
					 yab_stream_cb cb, void *arg, int *qemu_fd);
struct yab_stream *yab_stream_new_writer(struct event_base *base, struct yab_peer *peer,
					 int *qemu_fd);
void yab_stream_free(struct yab_stream *stream);

/* To the reader: its peer's output has drained. */
void yab_stream_go_on(struct yab_stream *stream);
/* To the writer; 0 bytes are the end. 0, or -1 with errno. */
int yab_stream_write(struct yab_stream *stream, const void *data, size_t length);
/* Bytes that came through, to see progress. */
uint64_t yab_stream_bytes(const struct yab_stream *stream);

#endif /* YAB_DAEMON_STREAM_H */
