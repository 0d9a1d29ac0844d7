#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the destination's kernel refuses: the region's name is in use, no permission, no
# module. Each is one line that says what to do, and the guest goes on at the source.
# (What needs no kernel is in tests/daemon/errors.sh.)
. "$(dirname "$0")/lib.sh"

set_up
guest_goes_on host1 || bail "the guest does not run"

# refused WHAT DESTINATION PATTERN
refused()
{
	local error status
	error=$(yabctl migrate $vm "$2" 2>&1)
	status=$?
	echo "# $error"
	ok "$1: fails" test $status != 0
	ok "$1: one line that says why" grep -qE "^yabctl: .*$3" <<<"$error"
	ok "$1: only that line" test "$(wc -l <<<"$error")" = 1
	ok "$1: the guest goes on" guest_goes_on host1
	ok "$1: no QEMU is left on host2" no_qemu host2
}

on host2 setsid sh -c "exec hold_region $vm >/run/held 2>&1 &"
until_true 10 on host2 grep -q held /run/held || bail "cannot hold a region"
refused "name in use" host2 "exists already"
on host2 pkill hold_region
until_true 10 no_region host2 || bail "the held region stays"

on host2 sh -c "mkdir -p /run/other && cp -r /etc/pki/yabusame /run/other/pki &&
	chown -R nobody /run/other &&
	setsid setpriv --reuid=nobody --clear-groups yabusamed --listen 0.0.0.0:7700 \
		--tls-dir /run/other/pki --run-dir /run/other --state-dir /run/other/state \
		</dev/null >/run/other.log 2>&1 &"
until_true 10 on host2 grep -q "listening on" /run/other.log || bail "no daemon of nobody's"
refused "no permission" host2:7700 "permi"
on host2 pkill -u nobody yabusamed

on host2 rmmod yabusame || bail "rmmod"
refused "no module" host2 "not loaded"
on host2 insmod "$YAB_LAB_OUT/yabusame.ko" || bail "insmod"

ok "after all of it the guest can move" yabctl migrate $vm host2
ok "and runs there" guest_goes_on host2
ok "and every page is right" guest_final host2
finish
