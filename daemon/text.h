/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that others wrote, on its way to people. */
#ifndef YAB_DAEMON_TEXT_H
#define YAB_DAEMON_TEXT_H

/*
 * Makes @text one line of printable ASCII, fit for terminals, logs and JSON: white
 * space becomes a space and all else '?'. Also what is left of a character of several
 * bytes that snprintf() has cut would be no JSON.
 */
void yab_text_tame(char *text);

#endif /* YAB_DAEMON_TEXT_H */
