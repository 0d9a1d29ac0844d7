#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A running guest moves to the other host and back, over a link with delay, checking
# its own memory all the time.
: "${YAB_GUEST_MIB:=96}" "${YAB_GUEST_SIZE:=256M}"	# as in the bench
. "$(dirname "$0")/lib.sh"

# What is written while the destination gets ready comes first (docs/design.md). QEMU itself
# writes to some dozen pages in that time: more than that is what KVM wrote for the guest.
hints_worked()
{
	local host=$1 kind=$2 hinted
	hinted=$(migrate_value hinted_pages)

	echo "# $(grep -h "$kind" "$YAB_LAB_OUT/yabusamed.$host" | sed 's/.*: t/t/' | tr '\n' ' ') hinted pages: $hinted"
	grep -q "$kind: [0-9]* ranges" "$YAB_LAB_OUT/yabusamed.$host" && ((hinted > 1000))
}

daemon_options=--debug
set_up
guest_goes_on host1 || bail "the guest does not run"

yabctl migrate $vm host2 --json >"$YAB_LAB_OUT/migrate.json"
ok "yabctl migrate succeeds" test $? = 0
ok "pages that were soft-dirty came first" hints_worked host1 "soft-dirty bits"
ok "the source's QEMU is gone" until_true 10 no_qemu host1
ok "urgent pages came over TLS" grep -q "urgent connection 0 of host2:7655: TLS 1.3" \
	"$YAB_LAB_OUT/yabusamed.host1"
ok "and bulk ones" grep -q "bulk connection 0 of host2:7655: TLS 1.3" "$YAB_LAB_OUT/yabusamed.host1"
ok "the kernel encrypts them" test 2 = \
	"$(grep -c "connection 0 of host2:7655: TLS 1.3, .*kernel TLS: sends" "$YAB_LAB_OUT/yabusamed.host1")"
grep -h "kernel TLS" "$YAB_LAB_OUT"/yabusamed.host[12] | sed 's/^/# /'
ok "the guest runs on host2" guest_goes_on host2
ok "and found no wrong page" guest_is_right host2
ok "it waited for pages" test "$(on host2 cat /sys/class/yabusame/$vm/faults)" -gt 0
ok "every page is present" test "$(on host2 cat /sys/class/yabusame/$vm/present)" = "$pages"
ok "the region is complete" test "$(on host2 cat /sys/class/yabusame/$vm/state)" = complete
ok "the source keeps no VM" sh -c "! yabctl list | grep -q $vm"
ok "host2 lists it" sh -c "on host2 yabctl list | grep -q '$vm.*running'"

on host2 yabctl migrate $vm host1 --json >"$YAB_LAB_OUT/migrate.json"
ok "yabctl migrate back succeeds" test $? = 0
ok "pages that were written to the region came first" hints_worked host2 "the module's tracking"
ok "the guest runs on host1 again" guest_goes_on host1
ok "no QEMU is left on host2" until_true 10 no_qemu host2
ok "and no region" until_true 10 no_region host2
ok "every page is right at the end" guest_final host1
ok "yabctl destroy ends it" yabctl destroy $vm
ok "no QEMU is left" until_true 10 no_qemu host1
ok "and no region" until_true 10 no_region host1
finish
