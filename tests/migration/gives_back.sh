#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The destination fails while it loads the device state (its VM lacks a device): the
# guest is given back to the source, nothing is left, and a second try succeeds.
. "$(dirname "$0")/lib.sh"

set_up -device virtio-balloon-pci,addr=7
describe_on host2
guest_goes_on host1 || bail "the guest does not run"

error=$(yabctl migrate $vm host2 2>&1)
ok "yabctl migrate fails" test $? != 0
echo "# $error"
ok "with one line" test "$(wc -l <<<"$error")" = 1
ok "the guest goes on where it was" guest_goes_on host1
ok "and is listed so" sh -c "yabctl list | grep -q '$vm.*running'"
ok "no QEMU is left on host2" until_true 10 no_qemu host2
ok "no region" until_true 10 no_region host2
ok "no VM" no_vm host2

describe_on host2 -device virtio-balloon-pci,addr=7
ok "with the device it can move" yabctl migrate $vm host2
ok "the guest runs on host2" guest_goes_on host2
ok "and every page is right" guest_final host2
finish
