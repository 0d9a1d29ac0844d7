/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names that nobody can guess, for sessions and processes. */
#ifndef YAB_DAEMON_TOKEN_H
#define YAB_DAEMON_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "yabusame/wire.h"

#define YAB_TOKEN_TEXT_SIZE	(2 * YAB_WIRE_TOKEN_SIZE + 1)

/* 0, or -1 with errno. */
int yab_token_new(uint8_t token[YAB_WIRE_TOKEN_SIZE]);
void yab_token_print(const uint8_t token[YAB_WIRE_TOKEN_SIZE], char text[YAB_TOKEN_TEXT_SIZE]);
/* @text may be NULL. 0, or -1 when it is no token. */
int yab_token_parse(const char *text, uint8_t token[YAB_WIRE_TOKEN_SIZE]);
/*
 * Whether @text (may be NULL) is the secret @token, in a time that does not tell how much of
 * it is right.
 */
bool yab_token_matches(const char *text, const uint8_t token[YAB_WIRE_TOKEN_SIZE]);

#endif /* YAB_DAEMON_TOKEN_H */
