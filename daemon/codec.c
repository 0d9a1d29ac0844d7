// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "codec.h"

/*
 * 0.33 GiB/s and 1/2.75. -1 is 12 % faster and leaves 1/2.45; 3 takes 40 % more for 1/2.9.
 */
#define YAB_CODEC_ZSTD_LEVEL	1
/* lz4's own default: the best that its fast compressor does. */
#define YAB_CODEC_LZ4_ACCELERATION	1

/* How a zstd frame of the one format begins that is made today. */
static const uint8_t yab_codec_zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };

struct yab_codec {
	enum yab_codec_kind kind;
	void *lz4;
	ZSTD_CCtx *zstd_packer;
	ZSTD_DCtx *zstd_unpacker;
};

static const char * const yab_codec_names[YAB_CODEC_KINDS] = {
	[YAB_CODEC_NONE] = "none",
	[YAB_CODEC_LZ4] = "lz4",
	[YAB_CODEC_ZSTD] = "zstd",
};

const char *yab_codec_name(enum yab_codec_kind kind)
{
	return kind < YAB_CODEC_KINDS ? yab_codec_names[kind] : "none";
}

enum yab_codec_kind yab_codec_named(const char *name)
{
	enum yab_codec_kind kind = YAB_CODEC_KINDS - 1;

	while (kind > YAB_CODEC_NONE && (!name || strcmp(name, yab_codec_names[kind])))
		kind--;
	return kind;
}

enum yab_codec_kind yab_codec_choose(json_t *names)
{
	enum yab_codec_kind kind = YAB_CODEC_NONE;
	json_t *name;
	size_t i;

	json_array_foreach(names, i, name)
		if (kind == YAB_CODEC_NONE)
			kind = yab_codec_named(json_string_value(name));
	return kind;
}

/* zstd allocates when it first sees what it has to do. */
static int yab_codec_warm_up(struct yab_codec *codec)
{
	static const uint8_t plain[YAB_CODEC_PLAIN_MAX];
	uint8_t *pack = malloc(YAB_CODEC_PACK_MAX);
	size_t size;

	if (!pack)
		return -1;
	size = yab_codec_pack(codec, pack, plain, sizeof(plain));
	free(pack);
	return size ? 0 : -1;
}

struct yab_codec *yab_codec_new(enum yab_codec_kind kind)
{
	struct yab_codec *codec = calloc(1, sizeof(*codec));

	if (!codec)
		return NULL;
	codec->kind = kind;
	if (kind == YAB_CODEC_LZ4) {
		codec->lz4 = malloc((size_t)LZ4_sizeofState());
		if (!codec->lz4)
			goto err_codec;
	} else {
		codec->zstd_packer = ZSTD_createCCtx();
		codec->zstd_unpacker = ZSTD_createDCtx();
		if (!codec->zstd_packer || !codec->zstd_unpacker ||
		    ZSTD_isError(ZSTD_CCtx_setParameter(codec->zstd_packer,
							ZSTD_c_compressionLevel,
							YAB_CODEC_ZSTD_LEVEL)))
			goto err_codec;
	}
	if (yab_codec_warm_up(codec) < 0)
		goto err_codec;
	return codec;

err_codec:
	yab_codec_free(codec);
	errno = ENOMEM;
	return NULL;
}

void yab_codec_free(struct yab_codec *codec)
{
	if (!codec)
		return;
	free(codec->lz4);
	ZSTD_freeCCtx(codec->zstd_packer);
	ZSTD_freeDCtx(codec->zstd_unpacker);
	free(codec);
}

size_t yab_codec_pack(struct yab_codec *codec, uint8_t pack[YAB_CODEC_PACK_MAX],
		      const uint8_t *plain, size_t size)
{
	/* With no more room than this, what does not get smaller fails. */
	const size_t room = size - 1;
	size_t zstd;
	int lz4;

	if (codec->kind == YAB_CODEC_LZ4) {
		lz4 = LZ4_compress_fast_extState(codec->lz4, (const char *)plain, (char *)pack,
						 (int)size, (int)room,
						 YAB_CODEC_LZ4_ACCELERATION);
		return lz4 > 0 ? (size_t)lz4 : 0;
	}
	zstd = ZSTD_compress2(codec->zstd_packer, pack, room, plain, size);
	return ZSTD_isError(zstd) ? 0 : zstd;
}

int yab_codec_unpack(struct yab_codec *codec, uint8_t *plain, size_t size, const uint8_t *pack,
		     size_t pack_size)
{
	size_t zstd;

	if (codec->kind == YAB_CODEC_LZ4)
		return LZ4_decompress_safe((const char *)pack, (char *)plain, (int)pack_size,
					   (int)size) == (int)size ? 0 : -1;
	/*
	 * One frame and nothing else. The library may read frames of its first versions
	 * as well: old code, that allocates.
	 */
	if (pack_size < sizeof(yab_codec_zstd_magic) ||
	    memcmp(pack, yab_codec_zstd_magic, sizeof(yab_codec_zstd_magic)) ||
	    ZSTD_findFrameCompressedSize(pack, pack_size) != pack_size)
		return -1;
	zstd = ZSTD_decompressDCtx(codec->zstd_unpacker, plain, size, pack, pack_size);
	return ZSTD_isError(zstd) || zstd != size ? -1 : 0;
}
