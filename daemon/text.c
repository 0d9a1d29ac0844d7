// SPDX-License-Identifier: GPL-2.0-or-later
#include "text.h"

#include <ctype.h>

void yab_text_tame(char *text)
{
	/* The C locale's classes: nobody calls setlocale(). */
	for (; *text; text++) {
		if (isspace((unsigned char)*text))
			*text = ' ';
		else if (!isprint((unsigned char)*text))
			*text = '?';
	}
}
