#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yabusame_postcopy.sh [faults-only]: moves the guest with yabctl and prints the figures as
# name=value lines. faults-only: until the guest has touched all its memory twice nothing
# comes in bulk (1 MiB/s).
: "${YAB_GUEST_MIB:=96}" "${YAB_GUEST_SIZE:=256M}"
. "$(dirname "$0")/../migration/lib.sh"
. "$(dirname "$0")/figures.sh"

# As QEMU's own migration, with which this is compared.
daemon_options=--plain

guest_has_rounds()
{
	local rounds
	rounds=$(guest_figure "$1" rounds)

	((${rounds:-0} >= $2))
}

trace_start host2 yab_region_wait
set_up
guest_warm
if [[ ${1:-} == faults-only ]]; then
	yabctl migrate $vm host2 --json --postcopy-bandwidth 1 >"$YAB_LAB_OUT/migrate.json" &
	migration=$!
	until_true 60 guest_has_ticked host2 0 || bail "the guest does not run on host2"
	rounds=$(guest_figure host2 rounds)
	until_true 120 guest_has_rounds host2 $((rounds + 2)) || bail "the guest does not go on"
	yabctl bandwidth $vm 0 || bail "yabctl bandwidth failed"
	wait $migration || bail "yabctl migrate failed"
else
	yabctl migrate $vm host2 --json >"$YAB_LAB_OUT/migrate.json" || bail "yabctl migrate failed"
fi
guest_goes_on host2 || bail "the guest does not run on host2"
guest_back "$(migrate_value downtime_us)"
guest_final host2 || bail "wrong pages"
echo "downtime_us=$(migrate_value downtime_us)"
# QEMU's own total is without the start of the destination's QEMU, too.
total=$(migrate_value total_us)
echo "total_us=$((total - $(migrate_value prepare)))"
echo "prepare_us=$(migrate_value prepare)"
trace_figures host2
echo "worst_us=$(guest_figure host2 worst_us)"
echo "bytes=$(migrate_value bytes)"
