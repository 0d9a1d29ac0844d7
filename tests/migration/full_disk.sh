#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# No room: on the file system of the run directory, the daemon's log and the guest's console, on
# either host, or in memory. Before the commit that is a refusal in one line, with nothing
# left, or changes nothing; after it the guest and its pages go on.
. "$(dirname "$0")/lib.sh"

small=/run/yabusame	# the daemon's run directory
daemon_log=$small/daemon.log
console=$small/console

# One small file system for everything that is written.
for host in host1 host2; do
	on $host sh -c "mkdir -p $small && mount -t tmpfs -o size=2M,nr_inodes=64 small $small" ||
		bail "$host: no small file system"
done

# fill HOST: not a byte and not a name is left, nor room in the last pages of the logs
fill()
{
	on "$1" sh -c "exec 2>/dev/null; i=0; cat /dev/zero >$small/filler
		while true >$small/filler.\$((i += 1)); do :; done
		for log in $daemon_log $console; do yes '' | head -c 4096 >>\$log; done
		! echo >>$small/filler" || bail "$1: $small takes more"
}

# empty HOST: as it was
empty() { on "$1" sh -c "rm -f $small/filler*"; }

# another_daemon PORT COMMAND: one more on host2, by a shell that runs COMMAND first
another_daemon()
{
	on host2 setsid sh -c "$2; exec yabusamed --listen 0.0.0.0:$1 --run-dir /run/other.$1 \
		--state-dir /run/other.$1.state \
		</dev/null >/run/other.$1.log 2>&1 &"
	until_true 10 on host2 grep -q "listening on" "/run/other.$1.log" ||
		bail "no daemon after $2"
}

set_up
guest_goes_on host1 || bail "the guest does not run"

fill host2
refused "no room there" host2 "No space left on device"
empty host2

# Memory: what that daemon may use is less than the guest has in use.
on host2 sh -c 'cd /sys/fs/cgroup && echo +memory >cgroup.subtree_control && mkdir -p narrow &&
	echo 32M >narrow/memory.max' || bail "no control groups for memory"
another_daemon 7700 'echo $$ >/sys/fs/cgroup/narrow/cgroup.procs'
refused "no memory there" host2:7700 "[0-9]+ MiB of memory .*/narrow"
another_daemon 7701 'ulimit -f 65536'	# 32 MiB
refused "no file that large there" host2:7701 "File too large"
ok "no file that large there: the daemon goes on" sh -c "on host2 pgrep -f 0.0.0.0:7701 >/dev/null"

# After the commit, on both hosts.
yabctl migrate $vm host2 --postcopy-bandwidth 1 >/run/migrate.out 2>&1 &
migration=$!
until_switched host2 $migration || bail "the guest is not switched over"
fill host2
fill host1
before=$(present_on host2)
ok "full after the commit: pages are outstanding" test "$before" -lt "$pages"
ok "pages come" until_true 60 has_more_than host2 "$before"
# One more worker, and new connections, with nowhere to write to.
on host2 pkill -9 -x yabusame-pager
before=$(present_on host2)
ok "from another worker, too" until_true 60 has_more_than host2 "$before"
yabctl bandwidth $vm 0
wait $migration
ok "yabctl migrate succeeds" test $? = 0
sed 's/^/# /' /run/migrate.out
ok "every page is present" test "$(present_on host2)" = "$pages"
ok "the source's QEMU is gone" until_true 10 no_qemu host1
empty host1
empty host2
ok "the guest runs on host2" guest_goes_on host2
ok "and found no wrong page" guest_is_right host2

# Before the commit at the source: what needs no room there is done, or it is refused.
fill host2
error=$(on host2 yabctl migrate $vm host1 2>&1 >/dev/null)
status=$?
empty host2
if ((status)); then
	echo "# $error"
	ok "no room here: one line that says why" test "$(grep -cE "No space left" <<<"$error")" = 1
	ok "and the guest goes on" guest_goes_on host2
	ok "with room it moves" on host2 yabctl migrate $vm host1
fi
on host2 yabctl bandwidth $vm 0 2>/dev/null	# refused, which is one more line for the log
ok "the log tells that lines of it are lost" log_has_more host2 "lines of this log were lost" 0
ok "the guest runs on host1" guest_goes_on host1
ok "and every page is right" guest_final host1
finish
