// SPDX-License-Identifier: GPL-2.0-or-later
#include "token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int yab_token_new(uint8_t token[YAB_WIRE_TOKEN_SIZE])
{
	ssize_t got = getrandom(token, YAB_WIRE_TOKEN_SIZE, 0);

	if (got == YAB_WIRE_TOKEN_SIZE)
		return 0;
	if (got >= 0)
		errno = EIO;
	return -1;
}

void yab_token_print(const uint8_t token[YAB_WIRE_TOKEN_SIZE], char text[YAB_TOKEN_TEXT_SIZE])
{
	for (int i = 0; i < YAB_WIRE_TOKEN_SIZE; i++)
		sprintf(text + 2 * i, "%02x", token[i]);
}

int yab_token_parse(const char *text, uint8_t token[YAB_WIRE_TOKEN_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	if (!text || strlen(text) != 2 * YAB_WIRE_TOKEN_SIZE ||
	    strspn(text, digits) != 2 * YAB_WIRE_TOKEN_SIZE)
		return -1;
	for (int i = 0; i < YAB_WIRE_TOKEN_SIZE; i++)
		token[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 |
				     (strchr(digits, text[2 * i + 1]) - digits));
	return 0;
}

bool yab_token_matches(const char *text, const uint8_t token[YAB_WIRE_TOKEN_SIZE])
{
	uint8_t said[YAB_WIRE_TOKEN_SIZE];

	return !yab_token_parse(text, said) && !CRYPTO_memcmp(said, token, sizeof(said));
}
