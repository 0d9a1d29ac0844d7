#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The supervisors of both sides are killed and started again: with a VM that is in no
# migration, before the commit, in the middle of it and while pages are outstanding. The
# guest waits at most; it runs on one host only, with all its memory.
: "${YAB_GUEST_MIB:=96}" "${YAB_GUEST_SIZE:=256M}"	# long on its way
. "$(dirname "$0")/lib.sh"

state=/var/lib/yabusame
set_up
guest_goes_on host1 || bail "the guest does not run"

answers() { on "$1" yabctl list >/dev/null 2>&1; }
runs_not() { answers "$1" && ! runs_on "$1"; }
record_says() { on "$1" grep -qs "\"state\": \"$2\"" "$state/$vm.json"; }
no_record() { ! on "$1" sh -c "ls $state/*.json $state/*.session" >/dev/null 2>&1; }

# start_again HOST: the log says "listening" already
start_again()
{
	daemon_start "$1"
	until_true 30 answers "$1" || bail "$1: yabusamed does not start again"
}

daemon_kill host1
start_again host1
ok "a VM is found again" until_true 30 runs_on host1
ok "and runs on" guest_goes_on host1

# Before the commit: QEMU on host2 waits for somebody to connect, before all else.
describe_on host2 -chardev socket,id=hold,path=/run/hold,server=on,wait=on
is_held() { record_says host1 leaving && record_says host2 arriving && qemu_pid host2 >/dev/null; }
for killed in host1 host2; do
	yabctl migrate $vm host2 >"$YAB_LAB_OUT/held.$killed" 2>&1 &
	migration=$!
	until_true 60 is_held || bail "QEMU on host2 is not waiting"
	daemon_kill $killed
	[[ $killed != host2 ]] || ok "host2 killed before the commit: QEMU is still there" \
		eval "qemu_pid host2 >/dev/null"
	ok "$killed killed before the commit: yabctl fails" eval "! wait $migration"
	start_again $killed
	ok "the guest is host1's" until_true 60 runs_on host1
	ok "and runs" guest_goes_on host1
	ok "no QEMU is left on host2" until_true 30 no_qemu host2
	ok "no region" until_true 30 no_region host2
	ok "no VM" until_true 30 no_vm host2
	ok "no record" until_true 30 no_record host2
done
describe_on host2

# After it: slow enough for pages to be outstanding all through the test.
yabctl migrate $vm host2 --postcopy-bandwidth 1 --connections 2 >"$YAB_LAB_OUT/killed" 2>&1 &
until_true 60 runs_on host2 || bail "the guest is not switched over"
for killed in host1 host2 "host1 host2"; do
	source=$(on host1 pgrep -x yabusame-source)
	pager=$(on host2 pgrep -x yabusame-pager)
	before=$(present_on host2)
	ok "pages are outstanding" test "$before" -lt "$pages"
	for host in $killed; do daemon_kill $host; done
	for host in $killed; do start_again $host; done
	[[ $killed = host2 ]] ||
		ok "$killed killed: another worker serves" until_true 30 has_another host1 yabusame-source "$source"
	[[ $killed = host1 ]] ||
		ok "$killed killed: another worker fetches" until_true 30 has_another host2 yabusame-pager "$pager"
	ok "$killed killed: pages come again" until_true 60 has_more_than host2 "$before"
	ok "the guest is listed where it is" until_true 30 runs_on host2
	ok "and runs" guest_goes_on host2
	ok "and nowhere else" until_true 30 runs_not host1
done
# On a slow machine all of them may have come by now.
limit_is_lifted() { yabctl bandwidth $vm 0 2>/dev/null || no_qemu host1; }
ok "the limit can be lifted" until_true 30 limit_is_lifted
ok "the source's QEMU ends" until_true 120 no_qemu host1
ok "every page is present" test "$(present_on host2)" = "$pages"
ok "the migration is completed" until_true 30 eval \
	"yabctl jobinfo $vm --json | grep -q '\"state\": *\"completed\"'"
ok "the source's record is gone" until_true 30 no_record host1
ok "every page is right" guest_final host2
finish
