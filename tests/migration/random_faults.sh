#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# One guest moves back and forth, checking its memory all the time, and during each
# migration something fails at some moment. Whatever it is: one host has the guest, it
# goes on there, and no page is wrong. YAB_FAULTS: how many migrations; YAB_SEED: the same
# ones again; YAB_FAULT_KINDS: which faults.
# A small guest, so that there are many migrations.
. "$(dirname "$0")/lib.sh"

faults=${YAB_FAULTS:-50}
seed=${YAB_SEED:-$RANDOM}
# A supervisor that is killed is started again.
read -d '' -ra kinds <<<"${YAB_FAULT_KINDS:-source_worker destination_worker source_supervisor
	destination_supervisor cut reset loss stop slow bandwidth}"
# When: as soon as it has begun, the destination's QEMU is there, the page worker is
# there, the guest has been switched over, pages have come.
moments=(begun prepared linked committed pulling)
shape=delay=1,rate=300

# --- when ------------------------------------------------------------------------------

switched() { runs_on "$to"; }
migration_ended() { ! kill -0 "$migration" 2>/dev/null; }
has_qemu() { ! no_qemu "$1"; }
has_pages() { (($(present_on "$to") * 1000 > pages * $1)); }

# The moment's condition, or what makes it come no more.
moment_is_here()
{
	migration_ended && return 0
	case $moment in
	begun) true ;;
	prepared) has_qemu "$to" ;;
	linked) on "$from" pgrep -x yabusame-source >/dev/null ;;
	committed) switched ;;
	pulling) switched && has_pages "$depth" ;;
	esac
}

# --- what --------------------------------------------------------------------------------

# worker_pid HOST: of the page worker there, which may not be there yet
worker_pid() { on "$1" pgrep -x 'yabusame-.*' | head -n 1; }

# pause [TIMES]: the length of the fault itself, of tenths of a second
pause()
{
	local tenths=$((length * ${1:-1}))
	sleep "$((tenths / 10)).$((tenths % 10))"
}

kill_worker()
{
	local pid
	pid=$(worker_pid "$1")

	[[ -z $pid ]] || on "$1" kill -9 "$pid"
}

stop_worker()
{
	local pid
	pid=$(worker_pid "$1")

	[[ $pid ]] || return 0
	on "$1" kill -STOP "$pid"
	pause
	on "$1" kill -CONT "$pid"
}

# One of the connections between the daemons, whichever the source has at the moment.
reset_connection()
{
	local ports
	mapfile -t ports < <(on "$from" ss -Htn state established dport = :7655 |
		awk '{ sub(".*:", "", $3); print $3 }')

	((${#ports[@]} > 0)) || return 0
	on "$from" ss -K sport = ":${ports[pick % ${#ports[@]}]}" >/dev/null
}

cut_link()
{
	on "$1" link down
	pause 4 # connections end after 10 s
	on "$1" link up
}

# reshape HOST SPEC: for a while
reshape()
{
	on "$1" link shape "$2"
	pause
	on "$1" link shape "$shape"
}

kill_supervisor()
{
	daemon_kill "$1"
	pause
	daemon_start "$1"
}

inject()
{
	local host=$from
	((pick % 2)) || host=$to

	case $kind in
	source_worker) kill_worker "$from" ;;
	destination_worker) kill_worker "$to" ;;
	cut) cut_link "$host" ;;
	reset) reset_connection ;;
	loss) reshape "$host" "$shape,loss=$((5 + pick % 30))" ;;
	stop) stop_worker "$host" ;;
	slow) reshape "$host" "delay=$((pick % 50)),rate=$((1 + pick % 20))" ;;
	bandwidth) on "$host" yabctl bandwidth $vm $((1 + pick % 50)) 2>/dev/null ;;
	source_supervisor) kill_supervisor "$from" ;;
	destination_supervisor) kill_supervisor "$to" ;;
	*) bail "no such fault: $kind" ;;
	esac
}

# --- what has become of it ------------------------------------------------------------------

# Where the guest is: one host has a QEMU of it, that host's daemon says it runs, and nothing
# else is left of the migration.
guest_is_only_on()
{
	local other=host1
	[[ $1 != host1 ]] || other=host2

	until_true 30 runs_on "$1" && until_true 30 no_qemu "$other" &&
		until_true 30 no_vm "$other" && until_true 30 no_region "$other" &&
		until_true 30 no_worker host1 && until_true 30 no_worker host2
}

guest_is_well_on() { guest_goes_on "$1" && guest_is_right "$1"; }

# migrate_begins: in the background, the sweep slow enough for a fault in its midst
migrate_begins()
{
	on "$from" yabctl migrate $vm "$to" --postcopy-bandwidth 4 --connections 3 \
		>"$YAB_LAB_OUT/migrate.out" 2>&1 &
	migration=$!
}

# The sweep is let go: by the source, which cannot while it has no connection.
lift_limit()
{
	migration_ended || { switched && on "$from" yabctl bandwidth $vm 0 2>/dev/null; }
}

# Its exit status; 124 if it does not end.
migrate_ends()
{
	until_true 150 lift_limit && until_true 150 migration_ended || return 124
	wait "$migration"
}

# Somebody says so.
guest_is_somewhere() { runs_on "$from" || runs_on "$to"; }

# Nobody is left to tell yabctl how it went on: it had moved.
moved_unseen()
{
	[[ $kind == source_supervisor ]] && until_true 60 guest_is_somewhere && runs_on "$to" ||
		return 1
	on "$from" yabctl bandwidth $vm 0 2>/dev/null
	return 0
}

# --- the test ---------------------------------------------------------------------------

set_up
guest_goes_on host1 || bail "the guest does not run"
echo "# YAB_SEED=$seed YAB_FAULTS=$faults"
RANDOM=$seed
for host in host1 host2; do
	on $host link shape $shape
done

from=host1 to=host2
for ((fault = 1; fault <= faults; fault++)); do
	# All drawn before anything happens: a seed gives the same faults however long things take.
	kind=${kinds[RANDOM % ${#kinds[@]}]}
	moment=${moments[RANDOM % ${#moments[@]}]}
	depth=$((RANDOM % 900)) pick=$RANDOM length=$((1 + RANDOM % 50))
	name="$fault: $from to $to, $kind when $moment"
	start=$SECONDS
	migrate_begins
	until_true 60 moment_is_here || bail "$name: does not come to that"
	inject
	migrate_ends
	status=$?
	sed 's/^/# /' "$YAB_LAB_OUT/migrate.out"
	echo "# $name (depth $depth, pick $pick, length $length): exit status $status after $((SECONDS - start)) s"
	((status != 124)) || bail "$name: the migration does not end"
	if ((status)) && ! moved_unseen; then
		ok "$name: given back" guest_is_only_on "$from"
		ok "$name: it goes on, no page is wrong" guest_is_well_on "$from"
		migrate_begins
		migrate_ends
		status=$?
		sed 's/^/# /' "$YAB_LAB_OUT/migrate.out"
		ok "$name: once more without" test $status = 0
	fi
	ok "$name: moved" guest_is_only_on "$to"
	ok "$name: it goes on there, no page is wrong" guest_is_well_on "$to"
	((tap_failed == 0)) || bail "$name: stops here, as it is (YAB_SEED=$seed)"
	host=$from from=$to to=$host
done
ok "every page is right at the end" guest_final "$from"
finish
