// SPDX-License-Identifier: GPL-2.0-or-later
#include "supervisor.h"

#include <event2/dns.h>
#include <stdio.h>
#include <string.h>

#include "script.h"

void supervisor_begin(struct yab_supervisor *supervisor, const char *folder,
		      const char *state_dir)
{
	char error[512];

	memset(supervisor, 0, sizeof(*supervisor));
	supervisor->base = event_base_new();
	ck_assert_ptr_nonnull(supervisor->base);
	/* Addresses only. */
	supervisor->dns = evdns_base_new(supervisor->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	ck_assert_ptr_nonnull(supervisor->dns);
	supervisor->run_dir = folder;
	supervisor->security.plain = true;
	supervisor->group = (gid_t)-1;
	ck_assert_msg(!yab_supervisor_open(supervisor, folder, state_dir, error, sizeof(error)),
		      "%s", error);
}

void supervisor_end(struct yab_supervisor *supervisor)
{
	yab_supervisor_close(supervisor);
	evdns_base_free(supervisor->dns, 0);
	event_base_dispatch(supervisor->base);
	event_base_free(supervisor->base);
}

void supervisor_turn(struct yab_supervisor *supervisor)
{
	ck_assert_int_ge(event_base_loop(supervisor->base, EVLOOP_ONCE), 0);
}

const char *supervisor_job_says(struct yab_supervisor *supervisor, const char *member)
{
	static char text[512];
	json_t *json = yab_job_json(yab_jobs_find(supervisor->jobs, "vm1"));
	const char *value = json_string_value(json_object_get(json, member));

	snprintf(text, sizeof(text), "%s", value ? value : "");
	json_decref(json);
	return text;
}
