#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A committed migration whose other side never comes back is given up by hand, on either
# host: nothing of it is left there, and nobody continues the guest.
. "$(dirname "$0")/lib.sh"

says() { on "$1" yabctl jobinfo $vm | grep -q "$2"; }

set_up
link shape rate=20
yabctl migrate $vm host2 >"$YAB_LAB_OUT/migrate.out" 2>&1 &
migration=$!
until_true 60 runs_on host2 || bail "the guest is not switched over"
link down
until_true 40 state_is host2 paused || bail "the destination is not paused"

said=$(on host2 yabctl abandon $vm --force)
echo "# $said"
ok "the destination's guest is given up" grep -q "^abandoned VM $vm: .* pages never came" <<<"$said"
ok "its QEMU ends" until_true 20 no_qemu host2
ok "its region is gone" until_true 20 no_region host2
ok "its job has failed" state_is host2 failed
ok "there is nothing left to abandon" sh -c "! on host2 yabctl abandon $vm --force"
link up
wait $migration
ok "the source is told when it is back" test $? != 0
sed 's/^/# /' "$YAB_LAB_OUT/migrate.out"
ok "and says what it was told" says host1 "is gone there"
ok "its guest is not continued" sh -c "yabctl list | grep -q '$vm.*paused'"
ok "the memory is not lost by mistake" sh -c "! yabctl abandon $vm"
ok "the source's guest is given up" yabctl abandon $vm --force
ok "its QEMU ends" until_true 20 no_qemu host1
ok "no VM is left" until_true 20 no_vm host1
ok "it can be started anew" yabctl start $vm
finish
