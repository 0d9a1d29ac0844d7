#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A running guest moves to the other host by zstd and back by lz4, over a bandwidth at which
# packing pays: its pages are right, and some came in packs.
. "$(dirname "$0")/lib.sh"

# move CODEC HOST TO: both sides count the same packs, which are smaller than their pages
move()
{
	local packed bytes

	on "$2" yabctl migrate $vm "$3" --compress "$1" --postcopy-bandwidth 16 --json \
		>"$YAB_LAB_OUT/migrate.json"
	ok "yabctl migrate --compress $1 succeeds" test $? = 0
	packed=$(migrate_value packed_pages)
	bytes=$(migrate_value packed_bytes)
	echo "# $1: ${packed:-0} of $(migrate_value data_pages) pages in ${bytes:-0} bytes"
	ok "pages came in packs" test "${packed:-0}" -gt 0
	ok "which are smaller" test "${bytes:-0}" -lt $((${packed:-0} * 4096))
	ok "the guest runs on $3" guest_goes_on "$3"
	ok "and found no wrong page" guest_is_right "$3"
	ok "no QEMU is left on $2" until_true 10 no_qemu "$2"
}

set_up
guest_goes_on host1 || bail "the guest does not run"
move zstd host1 host2
move lz4 host2 host1
ok "every page is right at the end" guest_final host1
ok "yabctl destroy ends it" yabctl destroy $vm
ok "no QEMU is left" until_true 10 no_qemu host1
finish
