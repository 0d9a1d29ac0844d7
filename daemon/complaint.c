// SPDX-License-Identifier: GPL-2.0-or-later
#include "complaint.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define YAB_COMPLAINT_HOSTS	64
#define YAB_COMPLAINT_SECONDS	60
#define YAB_COMPLAINT_TEXT	512

struct yab_complaint {
	bool used;
	struct yab_origin origin;	/* of the one that was logged */
	unsigned long more;
};

struct yab_complaints {
	struct event *minute;	/* pending while an entry is used */
	struct yab_complaint hosts[YAB_COMPLAINT_HOSTS];
	struct yab_complaint others;	/* without an origin */
};

static void yab_complaints_report(struct yab_complaints *complaints)
{
	for (size_t i = 0; i < YAB_COMPLAINT_HOSTS; i++) {
		struct yab_complaint *host = &complaints->hosts[i];

		if (host->used && host->more)
			yab_log_warn(NULL, "%lu more complaints like that about the host of %s",
				     host->more, host->origin.name);
		host->used = false;
	}
	if (complaints->others.used && complaints->others.more)
		yab_log_warn(NULL, "%lu more complaints like that about other hosts",
			     complaints->others.more);
	complaints->others.used = false;
}

static void yab_complaints_minute(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	yab_complaints_report(arg);
}

struct yab_complaints *yab_complaints_new(struct event_base *base)
{
	struct yab_complaints *complaints = calloc(1, sizeof(*complaints));

	if (!complaints)
		return NULL;
	complaints->minute = evtimer_new(base, yab_complaints_minute, complaints);
	if (complaints->minute)
		return complaints;
	free(complaints);
	return NULL;
}

void yab_complaints_free(struct yab_complaints *complaints)
{
	if (!complaints)
		return;
	yab_complaints_report(complaints);
	event_free(complaints->minute);
	free(complaints);
}

/* The entry of @origin, or one for it. */
static struct yab_complaint *yab_complaints_find(struct yab_complaints *complaints,
						 const struct yab_origin *origin)
{
	struct yab_complaint *unused = &complaints->others;

	for (size_t i = 0; i < YAB_COMPLAINT_HOSTS; i++) {
		struct yab_complaint *host = &complaints->hosts[i];

		if (!host->used)
			unused = host;
		else if (yab_origin_is_same(&host->origin, origin))
			return host;
	}
	return unused;
}

void yab_complain(struct yab_complaints *complaints, const struct yab_origin *origin,
		  const char *format, ...)
{
	const struct timeval minute = { .tv_sec = YAB_COMPLAINT_SECONDS };
	struct yab_complaint *host = NULL;
	char text[YAB_COMPLAINT_TEXT];
	va_list args;

	if (complaints)
		host = yab_complaints_find(complaints, origin);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (host && host->used) {
		host->more++;
		yab_log_debug(NULL, "%s", text);
		return;
	}
	yab_log_warn(NULL, "%s", text);
	/* Without the timer nobody would ever report what is counted. */
	if (!host || (!evtimer_pending(complaints->minute, NULL) &&
		      evtimer_add(complaints->minute, &minute) < 0))
		return;
	host->used = true;
	host->more = 0;
	host->origin = *origin;
}
