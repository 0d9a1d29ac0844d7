// SPDX-License-Identifier: GPL-2.0-or-later
/* What the destination found when it compared the pages that it has with ours. */
#include <stdio.h>

#include "finding.h"
#include "log.h"
#include "outgoing_state.h"

bool yab_outgoing_verified(struct yab_outgoing *outgoing, json_t *statistics)
{
	const struct yab_vm *vm = outgoing->vm;
	char text[256], error[YAB_WIRE_ERROR_MAX];
	struct yab_finding finding;

	yab_finding_read(statistics, vm->pages, &finding);
	/* Its supervisor may have been restarted, and know nothing of it any more. */
	if (outgoing->options.verify)
		yab_finding_expect(statistics, vm->pages, &finding);
	if (!yab_finding_tell(&finding, text, sizeof(text))) {
		if (finding.verified)
			yab_log_info(vm->name, "all %llu chunks of its memory are the same on %s",
				     (unsigned long long)finding.verified,
				     outgoing->options.destination.text);
		return true;
	}
	if (!finding.different) {
		yab_log_warn(vm->name, "%s", text);
		return true;
	}
	snprintf(error, sizeof(error),
		 "%.200s on %.120s, where the guest runs: its memory stays here until 'yabctl abandon %s'",
		 text, outgoing->options.destination.text, vm->name);
	/* Every page is there: nobody will ask for one. */
	yab_supply_free(outgoing->supply, false);
	outgoing->supply = NULL;
	yab_outgoing_strand(outgoing, error);
	return false;
}
