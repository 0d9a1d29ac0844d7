#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The page workers of both sides are killed while pages are outstanding, at random and
# again and again: the guest waits, others go on with what is missing, nothing that was
# there comes a second time. Meanwhile the sweep is limited, over several connections.
: "${YAB_GUEST_MIB:=96}" "${YAB_GUEST_SIZE:=256M}"	# long on its way
. "$(dirname "$0")/lib.sh"

kills=${YAB_KILLS:-4}
set_up
guest_goes_on host1 || bail "the guest does not run"

# Slow enough for pages to be outstanding all through the test.
yabctl migrate $vm host2 --postcopy-bandwidth 1 --connections 3 --json \
	>"$YAB_LAB_OUT/migrate.json" 2>"$YAB_LAB_OUT/migrate.err" &
migration=$!

until_true 60 runs_on host2 || bail "the guest is not switched over"
ok "pages are outstanding" test "$(present_on host2)" -lt "$pages"

for ((kill = 0; kill < kills; kill++)); do
	if ((kill % 2)); then
		host=host1 worker=yabusame-source
	else
		host=host2 worker=yabusame-pager
	fi
	pid=$(on $host pgrep -x $worker)
	before=$(present_on host2)
	ok "$worker is there to be killed" test -n "$pid"
	on $host kill -9 "$pid"
	ok "$worker killed: pages come again" until_true 60 has_more_than host2 "$before"
	ok "from another one" has_another $host $worker "$pid"
done
ok "no page was lost by it" test "$(present_on host2)" -ge "$before"
ok "the limit can be lifted" yabctl bandwidth $vm 0
wait $migration
ok "yabctl migrate succeeds" test $? = 0
sed 's/^/# /' "$YAB_LAB_OUT/migrate.err"
ok "every page is present" test "$(present_on host2)" = "$pages"
ok "the guest runs on host2" guest_goes_on host2
ok "and every page is right" guest_final host2
ok "no region is failed" test "$(on host2 cat /sys/class/yabusame/$vm/state)" = complete
ok "the source's QEMU is gone" until_true 10 no_qemu host1
finish
