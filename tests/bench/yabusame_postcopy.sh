#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yabusame_postcopy.sh: moves the guest with yabctl and prints the figures as name=value
# lines.
. "$(dirname "$0")/../migration/lib.sh"

# As QEMU's own migration, with which this is compared.
daemon_options=--plain

trace_start host2 yab_region_wait
set_up
guest_goes_on host1 || bail "the guest does not run"
guest_command host1 reset "guest: reset" || bail "the guest does not answer"
yabctl migrate $vm host2 --json >"$YAB_LAB_OUT/migrate.json" || bail "yabctl migrate failed"
guest_goes_on host2 || bail "the guest does not run on host2"
guest_final host2 || bail "wrong pages"
echo "downtime_us=$(migrate_value downtime_us)"
echo "total_us=$(migrate_value total_us)"
trace_figures host2
echo "worst_us=$(guest_figure host2 worst_us)"
echo "bytes=$(migrate_value bytes)"
