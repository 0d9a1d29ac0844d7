// SPDX-License-Identifier: GPL-2.0-or-later
#include "capabilities.h"

json_t *yab_capabilities(bool source, bool on)
{
	/*
	 * x-ignore-shared keeps guest RAM out of the stream. pause-before-switchover
	 * tells when the guest's memory is final: at the event STOP disks may still
	 * write into it. late-block-activate leaves the locks of disk images to the
	 * source until the destination's guest is continued: before, the guest can be
	 * given back at once.
	 */
	const char * const names[] = {
		"events", "x-ignore-shared", source ? "pause-before-switchover" :
						      "late-block-activate",
	};
	json_t *list = json_array();

	for (int i = 0; i < 3; i++)
		json_array_append_new(list, json_pack("{s:s, s:b}", "capability", names[i],
						      "state", on));
	return json_pack("{s:o}", "capabilities", list);
}
