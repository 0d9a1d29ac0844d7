// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Packs that anybody may have made: unpacking them writes what was asked for and not a byte
 * more, and what was packed is what comes out. The first byte chooses the codec, the next
 * the number of pages; the rest is the pack, or what pages are made of.
 */
#include <string.h>

#include "../../daemon/codec.h"
#include "fuzz.h"

#define GUARD	16

static struct yab_codec *codecs[YAB_CODEC_KINDS];
static uint8_t plain[YAB_CODEC_PLAIN_MAX], pack[YAB_CODEC_PLAIN_MAX];
static uint8_t out[YAB_CODEC_PLAIN_MAX + GUARD];

static int unpack(struct yab_codec *codec, size_t size, const uint8_t *bytes, size_t pack_size)
{
	int result;

	memset(out + size, 0x5a, GUARD);
	result = yab_codec_unpack(codec, out, size, bytes, pack_size);
	for (size_t i = size; i < size + GUARD; i++)
		fuzz_check(out[i] == 0x5a, "written behind the end");
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	const enum yab_codec_kind kind = YAB_CODEC_LZ4 + fuzz_byte(&input) % 2;
	const size_t plain_size = (1 + fuzz_byte(&input) % YAB_WIRE_PACK_PAGES) * FUZZ_PAGE;
	size_t n = input.left < sizeof(pack) ? input.left : sizeof(pack);
	const uint8_t *bytes = fuzz_bytes(&input, &n);

	if (!codecs[kind])
		codecs[kind] = yab_codec_new(kind);
	fuzz_check(codecs[kind], "no codec");
	if (!n)
		return 0;
	unpack(codecs[kind], plain_size, bytes, n);
	for (size_t at = 0; at < plain_size; at++)
		plain[at] = (uint8_t)(bytes[at % n] + at / n % 3);
	n = yab_codec_pack(codecs[kind], pack, plain, plain_size);
	fuzz_check(n < plain_size, "a pack that is not smaller");
	if (n)
		fuzz_check(!unpack(codecs[kind], plain_size, pack, n) &&
			   !memcmp(out, plain, plain_size), "other pages than were packed");
	return 0;
}
