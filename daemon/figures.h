/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A migration's figures, as yabusamed tells them (yabctl(1), jobinfo), for people. The other
 * host may be of another version, or lie: any of them may be missing, or be any number.
 */
#ifndef YAB_DAEMON_FIGURES_H
#define YAB_DAEMON_FIGURES_H

#include <jansson.h>
#include <stddef.h>

/* 0 or "" where @json has no such thing. */
json_int_t yab_figure_number(json_t *json, const char *key);
const char *yab_figure_text(json_t *json, const char *key);
/* "1.5 GiB". Returns @text. */
const char *yab_figure_bytes(json_int_t bytes, char *text, size_t size);
/* One line of a table, to standard output. */
void yab_figure_print(const char *name, const char *value);
/* All that are known of @job, a line each, to standard output. */
void yab_figures_print(json_t *job);

#endif /* YAB_DAEMON_FIGURES_H */
