#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# After the commit every connection between the daemons is reset, and later the link is
# cut for a while: the guest waits, nothing is lost, and the migration ends as it should.
. "$(dirname "$0")/lib.sh"

set_up
guest_goes_on host1 || bail "the guest does not run"
# Slow enough for pages to be outstanding all through the test.
link shape rate=20

yabctl migrate $vm host2 >"$YAB_LAB_OUT/migrate.out" 2>&1 &
migration=$!

until_true 60 runs_on host2 || bail "the guest is not switched over"
ok "pages are outstanding" test "$(present_on host2)" -lt "$pages"
ss -K dport = 7655 >/dev/null
before=$(present_on host2)
ok "all connections reset: pages come again" until_true 60 has_more_than host2 "$before"
ok "the source's guest does not resume" sh -c "! yabctl list | grep -q '$vm.*running'"

link down
before=$(present_on host2)
sleep 3 # nothing to wait for: the cable is out
link up
ok "the link was cut: pages come again" until_true 90 has_more_than host2 "$before"
link shape
wait $migration
ok "yabctl migrate succeeds" test $? = 0
sed 's/^/# /' "$YAB_LAB_OUT/migrate.out"
ok "every page is present" test "$(present_on host2)" = "$pages"
ok "the guest runs on host2" guest_goes_on host2
ok "and every page is right" guest_final host2
ok "the source's QEMU is gone" until_true 10 no_qemu host1
finish
