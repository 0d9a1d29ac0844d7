#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A network that loses packets, and connections that are reset one at a time while pages
# are outstanding; daemons that start in the other order, or end and start again: nothing is
# lost by any of it.
. "$(dirname "$0")/lib.sh"

# ends HOST: its daemon is told to
ends() { daemon_kill "$1" TERM; }

# The source first; once it has ended and begun again, too.
daemon_start host1
ends host1
ok "a daemon with nothing to do ends" until_true 20 no_daemon host1
daemon_start host1
describe_on host1
describe_on host2
yabctl start $vm || bail "yabctl start $vm"
guest_says host1 'guest: tick=' 120 || bail "the guest does not boot"
guest_goes_on host1 || bail "the guest does not run"
error=$(yabctl migrate $vm host2 2>&1)
ok "nobody listens there: fails" test $? = 1
echo "# $error"
ok "with one line that says why" \
	test "$(grep -cE '^yabctl: .*host2:7655.*refused' <<<"$error")/$(wc -l <<<"$error")" = 1/1
ok "the guest goes on" guest_goes_on host1
daemon_start host2

for host in host1 host2; do
	# Slow enough for pages to be outstanding all through the test.
	on $host link shape delay=5,rate=10,loss=1
done
yabctl migrate $vm host2 --connections 3 >"$YAB_LAB_OUT/migrate.out" 2>&1 &
migration=$!
until_switched host2 $migration || bail "the guest is not switched over"
until_true 60 has_more_than host2 0 || bail "no page comes"

# The source's ends of the connections.
mapfile -t ports < <(ss -Htn state established dport = :7655 | awk '{ sub(".*:", "", $3); print $3 }')
ok "control, urgent, 3 bulk connections" test ${#ports[@]} = 5
is_whole() { (($(ss -Htn state established dport = :7655 | wc -l) == 5)); }
for port in "${ports[@]}"; do
	until_true 60 is_whole || bail "a connection stays away"
	before=$(present_on host2)
	ss -K sport = ":$port" >/dev/null
	ok "connection $port is reset: pages come" until_true 60 has_more_than host2 "$before"
done
ok "all connections are there again" until_true 60 is_whole
for lost in "urgent connection 0" "bulk connection 0" "bulk connection 1" "bulk connection 2"; do
	ok "one was the $lost" log_has_more host1 "$lost lost" 0
done
# It may be lost while the urgent one is still away.
ok "one was the control connection" log_has_more host1 "no control connection" 0
ok "pages were outstanding to the last" test "$(present_on host2)" -lt "$pages"
ok "no other worker was needed" test "$(log_count host1 'another one is started')$(log_count host2 'another one is started')" = 00

# The source's daemon ends, its worker goes on, and the next daemon sees to the end.
ends host1
ok "the source's daemon is told to end, and does" until_true 20 no_daemon host1
before=$(present_on host2)
ok "pages come all the same" until_true 60 has_more_than host2 "$before"
wait $migration
ok "yabctl migrate knows no end" test $? != 0
sed 's/^/# /' "$YAB_LAB_OUT/migrate.out"
daemon_start host1
for host in host1 host2; do
	on $host link shape delay=1
done
ok "every page is present" until_true 120 has_more_than host2 $((pages - 1))
ok "the guest runs on host2" guest_goes_on host2
ok "and found no wrong page" guest_is_right host2
ok "the source's QEMU is gone" until_true 60 no_qemu host1
ok "the daemon that was started takes the guest back" on host2 yabctl migrate $vm host1
ok "it runs there" guest_goes_on host1
ok "and every page is right" guest_final host1
finish
