// SPDX-License-Identifier: GPL-2.0-or-later
/* What the guest wrote of late, for the destination. */
#include <errno.h>
#include <string.h>

#include "outgoing_state.h"
#include "region.h"

/* The destination is told what to ask for first. */
static void yab_outgoing_hint(const struct yab_hints *hints, void *arg)
{
	struct yab_outgoing *outgoing = arg;
	json_t *ranges, *call;

	/* It may be in doubt by now. Hints are not worth a second try. */
	if (outgoing->state != YAB_OUTGOING_COMMITTING && outgoing->state != YAB_OUTGOING_PULLING)
		return;
	ranges = yab_hints_json(hints, (uint64_t)outgoing->hints_max);
	call = json_pack("{s:s, s:s, s:o}", "call", "dirty", "token", outgoing->token_text,
			 "ranges", ranges);
	if (yab_outgoing_call(outgoing, call) < 0)
		yab_log_debug(outgoing->vm->name, "%s was not told what was written of late: %s",
			      outgoing->options.destination.text, strerror(errno));
}

void yab_outgoing_watch(struct yab_outgoing *outgoing)
{
	const struct yab_vm *vm = outgoing->vm;
	const struct yab_dirty_target target = {
		.vm = vm->name,
		.on_region = !strncmp(vm->memory_path, YAB_REGION_FOLDER "/",
				      strlen(YAB_REGION_FOLDER "/")),
		.memory_fd = vm->memory_fd,
		.pages = vm->pages,
		.pid = vm->qemu ? yab_qemu_process(vm->qemu)->pid : -1,
	};

	if (!outgoing->options.paused)
		outgoing->dirty = yab_dirty_log_new(outgoing->supervisor->base, &target,
						    yab_dirty_kinds, yab_outgoing_hint, outgoing);
}

void yab_outgoing_unwatch(struct yab_outgoing *outgoing)
{
	yab_dirty_log_free(outgoing->dirty);
	outgoing->dirty = NULL;
}
