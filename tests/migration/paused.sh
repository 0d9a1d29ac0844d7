#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# After the commit the link is cut for good: both sides say that the migration is paused, and
# another network between the hosts brings it to its end.
. "$(dirname "$0")/lib.sh"

# refuses PATTERN COMMAND...: fails with one line that has PATTERN in it
refuses()
{
	local pattern=$1 said
	shift

	said=$("$@" 2>&1) && return 1
	[[ $said =~ $pattern && $said != *$'\n'* ]] && return
	guest_said=$said
	return 1
}

daemon_options='--metrics 127.0.0.1:9464'
set_up
ok "nothing to resume" refuses "is in no migration" yabctl resume $vm
ok "nothing to abandon" refuses "is in no migration" yabctl abandon $vm --force
# Slow enough for pages to be outstanding all through the test.
link shape rate=20
yabctl migrate $vm host2 >"$YAB_LAB_OUT/migrate.out" 2>&1 &
migration=$!
until_true 60 runs_on host2 || bail "the guest is not switched over"
ok "active while the network is there" state_is host1 active

link down
ok "the link was cut: paused, says the source" until_true 40 state_is host1 paused
ok "and the destination" until_true 40 state_is host2 paused
on host1 yabctl jobinfo $vm | sed 's/^/# host1: /'
on host2 yabctl jobinfo $vm | sed 's/^/# host2: /'
ok "pages are outstanding" test "$(present_on host2)" -lt "$pages"
ok "jobinfo says why and what next" sh -c \
	"yabctl jobinfo $vm | grep -q 'paused  *for [0-9]* s, no .* connection: .*; next try in [0-9]* s'"
ok "the metrics say so, too" bash -c \
	"exec 3<>/dev/tcp/127.0.0.1/9464; printf 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n' >&3
	grep -q 'yabusame_job_state=\"paused\"} 1' <&3"
ok "resume: of no use, but no error" yabctl resume $vm
ok "it is still paused" state_is host1 paused
ok "it is resumed on the source" refuses "resume it on the source" on host2 yabctl resume $vm
ok "an address that is none" refuses "is no ADDRESS" yabctl resume $vm --via "a b"
ok "nothing is abandoned by mistake" refuses "give --force" yabctl abandon $vm
ok "nor on the destination" refuses "give --force" on host2 yabctl abandon $vm

ok "over the other network" yabctl resume $vm --via mgmt2
wait $migration
ok "yabctl migrate succeeds" test $? = 0
sed 's/^/# /' "$YAB_LAB_OUT/migrate.out"
for host in host1 host2; do
	ok "one line when it was paused ($host)" test "$(log_count $host "warning.* paused, no")" = 1
	ok "and one when it went on ($host)" test "$(log_count $host "info.* goes on after")" = 1
done
ok "every page is present" test "$(present_on host2)" = "$pages"
ok "the guest runs on host2" guest_goes_on host2
ok "and every page is right" guest_final host2
ok "the source's QEMU is gone" until_true 10 no_qemu host1
finish
