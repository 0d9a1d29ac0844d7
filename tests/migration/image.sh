#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A guest is saved to files and started from them, lazily. Page workers and the daemon are killed
# on the way: it waits at most, its pages are right, and it can be moved when they are all there.
. "$(dirname "$0")/lib.sh"

folder=/run/$vm.saved
image=$folder/$vm.image
state=$folder/$vm.state

set_up
guest_goes_on host1 || bail "the guest does not run"

mkdir -p $folder
yabctl save $vm $image $state
ok "yabctl save succeeds" test $? = 0
ok "its QEMU has ended" until_true 10 no_qemu host1
ok "the image is as large as its memory" test "$(stat -c %s $image)" = $((pages * 4096))
ok "and no other file is left" test "$(find $folder -type f | wc -l)" = 2
sum=$(sha256sum $image $state)
yabctl start $vm --from $image --state $state --postcopy-bandwidth 1
ok "yabctl start --from succeeds" test $? = 0
ok "the guest goes on" guest_goes_on host1
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
ok "all its pages come" until_true 60 state_is host1 completed
ok "the page workers end" until_true 10 no_worker host1
ok "the guest found no wrong page" guest_is_right host1
ok "nobody wrote to the files" test "$sum" = "$(sha256sum $image $state)"

yabctl migrate $vm host2
ok "it can be moved then" test $? = 0
ok "the guest runs on host2" guest_goes_on host2
ok "every page is right at the end" guest_final host2
ok "yabctl destroy ends it" on host2 yabctl destroy $vm
ok "no QEMU is left" until_true 10 no_qemu host2
rm -r $folder
finish
