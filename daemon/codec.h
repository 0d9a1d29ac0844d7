/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packs of pages, compressed by lz4 or zstd, in the libraries' own formats.
 *
 * A pack has at most YAB_WIRE_PACK_PAGES pages. With 16 (64 KiB), zstd brings 56 MiB of
 * programs down to 1/2.75 and takes 190 us a pack; with 64 it is 1/2.89, and 690 us during
 * which an urgent page waits; with 4 it is 1/2.67, and with 1 it is 1/2.38. lz4: 1/2.12 and
 * 110 us, 1/2.13 and 400 us, 1/1.99, 1/1.81 (2-core x86-64 virtual machine).
 */
#ifndef YAB_DAEMON_CODEC_H
#define YAB_DAEMON_CODEC_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define YAB_CODEC_PLAIN_MAX	(YAB_WIRE_PACK_PAGES * YAB_WIRE_PAGE_SIZE)
/* A pack is smaller than what it holds. */
#define YAB_CODEC_PACK_MAX	(YAB_CODEC_PLAIN_MAX - 1)

enum yab_codec_kind {
	YAB_CODEC_NONE,
	YAB_CODEC_LZ4,
	YAB_CODEC_ZSTD,
	YAB_CODEC_KINDS,
};

struct yab_codec;

/* "none" for those that there are not. */
const char *yab_codec_name(enum yab_codec_kind kind);
/* NULL and unknown names: YAB_CODEC_NONE. */
enum yab_codec_kind yab_codec_named(const char *name);
/* The first of a list of names (from another host) that is known; if there is none: none. */
enum yab_codec_kind yab_codec_choose(json_t *names);

/* All memory that it needs is allocated here. NULL with errno. */
struct yab_codec *yab_codec_new(enum yab_codec_kind kind);
void yab_codec_free(struct yab_codec *codec);

/*
 * Packs the @size bytes at @plain (at most YAB_CODEC_PLAIN_MAX). Returns the size of the
 * pack, 0 if it would not be smaller.
 */
size_t yab_codec_pack(struct yab_codec *codec, uint8_t pack[YAB_CODEC_PACK_MAX],
		      const uint8_t *plain, size_t size);
/*
 * Unpacks exactly @size bytes from a pack that anybody may have made. 0, or -1 if it holds
 * anything else; nothing is written behind them, and no more memory is taken.
 */
int yab_codec_unpack(struct yab_codec *codec, uint8_t *plain, size_t size, const uint8_t *pack,
		     size_t pack_size);

#endif /* YAB_DAEMON_CODEC_H */
