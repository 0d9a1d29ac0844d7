#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A running guest moves to the other host, and the memories of both are compared by
# checksums before the source gives its own up: every chunk is the same. On the way back the
# destination's worker is killed in the middle: what is not sure any more is said not to be, and
# nothing is taken for different.
: "${YAB_GUEST_MIB:=96}" "${YAB_GUEST_SIZE:=256M}"	# long on its way
. "$(dirname "$0")/lib.sh"

# Chunks of 512 pages.
chunks=$(((pages + 511) / 512))

set_up
guest_goes_on host1 || bail "the guest does not run"

yabctl migrate $vm host2 --verify --json >"$YAB_LAB_OUT/migrate.json"
ok "yabctl migrate --verify succeeds" test $? = 0
ok "every chunk is verified" test "$(migrate_value verified_chunks)" = "$chunks"
ok "none could not be" test "$(migrate_value unverifiable_chunks)" = 0
ok "none is different" test "$(migrate_value different_chunks)" = 0
ok "jobinfo of the destination says the same" test "$(job_value host2 verified_chunks)" = "$chunks"
ok "the guest runs on host2" guest_goes_on host2
ok "and found no wrong page" guest_is_right host2
ok "the source's QEMU is gone" until_true 10 no_qemu host1

# Slow enough for pages to be outstanding when the worker ends.
on host2 yabctl migrate $vm host1 --verify --postcopy-bandwidth 1 --json \
	>"$YAB_LAB_OUT/migrate.json" 2>"$YAB_LAB_OUT/migrate.err" &
migration=$!
until_true 60 runs_on host1 || bail "the guest is not switched over"
pid=$(on host1 pgrep -x yabusame-pager)
before=$(present_on host1)
ok "pages are outstanding" test "$before" -lt "$pages"
on host1 kill -9 "$pid"
ok "the worker killed: pages come again" until_true 60 has_more_than host1 "$before"
ok "the limit can be lifted" on host2 yabctl bandwidth $vm 0
wait $migration
ok "yabctl migrate --verify succeeds" test $? = 0
sed 's/^/# /' "$YAB_LAB_OUT/migrate.err"
verified=$(migrate_value verified_chunks)
unverifiable=$(migrate_value unverifiable_chunks)
echo "# $verified chunks verified, $unverifiable could not be"
ok "each chunk is accounted for" test $((verified + unverifiable)) = "$chunks"
ok "most are verified" test "$verified" -gt $((chunks / 2))
ok "none is different" test "$(migrate_value different_chunks)" = 0
ok "the guest runs on host1" guest_goes_on host1
ok "and every page is right" guest_final host1
ok "no QEMU is left on host2" until_true 10 no_qemu host2
finish
