#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Byte for byte: the guest is stopped by the switchover and not continued, and then
# the memory of both sides is compared. The source's memory file is held open for it:
# nobody writes to it after the switchover.
. "$(dirname "$0")/lib.sh"

set_up
guest_goes_on host1 || bail "the guest does not run"

pid=$(qemu_pid host1)
for fd in "/proc/$pid/fd"/*; do
	if [[ $(readlink "$fd") == /memfd:* ]]; then
		exec 9<"$fd"
	fi
done
[[ -e /proc/self/fd/9 ]] || bail "the source QEMU has no memfd"

ok "yabctl migrate --paused succeeds" yabctl migrate $vm host2 --paused
ok "the guest is paused on host2" sh -c "on host2 yabctl list | grep -q '$vm.*paused'"
ok "the source's QEMU is gone" until_true 10 no_qemu host1
ok "every page is present" test "$(on host2 cat /sys/class/yabusame/$vm/present)" = "$pages"

# Through the node, as the VMM sees it.
same_memory()
{
	on host2 memory_cat /dev/yabusame/$vm | memory_diff /proc/self/fd/9
}
ok "the memory is more than zeros" test "$(memory_cat /proc/self/fd/9 | tr -d '\0' | head -c 1000000 | wc -c)" = 1000000
ok "both sides are the same byte by byte (but for the clock)" same_memory

qmp host2 cont >/dev/null
ok "continued, the guest runs" guest_goes_on host2
ok "and every page is right" guest_final host2
finish
