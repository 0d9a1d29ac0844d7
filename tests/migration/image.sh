#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A guest is saved to files and started from them, lazily: on the same host, where a page worker
# is killed on the way, and then on the other one. Its pages are right, and it can be
# moved when they are all there.
: "${YAB_GUEST_MIB:=32}" "${YAB_GUEST_SIZE:=128M}"	# soon moved
. "$(dirname "$0")/lib.sh"

image=$YAB_LAB_OUT/$vm.image
state=$YAB_LAB_OUT/$vm.state

# save HOST: to files that both hosts see
save()
{
	rm -f "$image" "$state"
	on "$1" yabctl save $vm "$image" "$state"
	ok "yabctl save succeeds on $1" test $? = 0
	ok "its QEMU has ended" until_true 10 no_qemu "$1"
	ok "the image is as large as its memory" test "$(stat -c %s "$image")" = $((pages * 4096))
	ok "and no other file is left" test -z "$(compgen -G "$YAB_LAB_OUT/*.part")"
	sum=$(sha256sum "$image" "$state")
}

# start HOST [OPTION...]
start()
{
	local host=$1
	shift

	on "$host" yabctl start $vm --from "$image" --state "$state" "$@"
	ok "yabctl start --from succeeds on $host" test $? = 0
	ok "the guest goes on" guest_goes_on "$host"
}

# arrived HOST: the image is let go
arrived()
{
	ok "all its pages come" until_true 60 state_is "$1" completed
	ok "the page workers end" until_true 10 no_worker "$1"
	ok "the guest found no wrong page" guest_is_right "$1"
	ok "nobody wrote to the files" test "$sum" = "$(sha256sum "$image" "$state")"
}

set_up
guest_goes_on host1 || bail "the guest does not run"

save host1
start host1 --postcopy-bandwidth 1
error=$(yabctl migrate $vm host2 2>&1)
ok "it cannot be moved while pages are missing" grep -q "still under way" <<<"$error"
for worker in yabusame-pager yabusame-source; do
	pids=$(on host1 pgrep -x $worker)
	# shellcheck disable=SC2086 # one or more
	on host1 kill -9 $pids
	ok "another $worker follows" until_true 30 has_another host1 $worker "$pids"
	ok "the guest goes on with it" guest_goes_on host1
done
pid=$(daemon_pid host1)
on host1 kill -9 "$pid"
until_true 10 no_daemon host1
daemon_start host1
ok "the guest goes on when yabusamed was killed and started again" guest_goes_on host1
yabctl bandwidth $vm 0
arrived host1

save host1
start host2
arrived host2
on host2 yabctl migrate $vm host1 --json >"$YAB_LAB_OUT/migrate.json"
ok "it can be moved then" test $? = 0
ok "the guest runs on host1" guest_goes_on host1
ok "every page is right at the end" guest_final host1
ok "yabctl destroy ends it" yabctl destroy $vm
ok "no QEMU is left" until_true 10 no_qemu host1
rm -f "$image" "$state"
finish
