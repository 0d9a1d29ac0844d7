# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154
# What is measured of a guest that moves, for both ways of moving it. After tests/migration/lib.sh.

# trace_start HOST FUNCTION: has the kernel time each call of a function, and hooks no other
# one, which would make all of the host slower
trace_start()
{
	on "$1" sh -c "cd /sys/kernel/tracing && echo 0 >tracing_on && echo 8192 >buffer_size_kb &&
		echo $2 >set_ftrace_filter && echo 1 >max_graph_depth &&
		echo function_graph >current_tracer &&
		echo 1 >tracing_on" || bail "$1: cannot trace $2"
}

# trace_figures HOST: p50, p99, max and the number of the calls that waited, as
# name=value. (handle_userfault also serves those that may not wait: they take less than
# 50 us, which is less than any page takes to come.)
trace_figures()
{
	on "$1" cat /sys/kernel/tracing/trace |
		sed -n 's/.* \([0-9.]*\) us *|.*/\1/p' | awk '$1 >= 50' | sort -n |
		awk '{ v[NR] = $1 } END {
			printf "faults=%d\np50_us=%d\np99_us=%d\nmax_us=%d\n", NR,
				v[int(NR * .5) + 1], v[int(NR * .99) + (NR > 1)], v[NR] }'
}

# guest_warm: the guest on host1 has run for three seconds (12 ticks) that count as its full
# speed; $warm is the last tick of these.
guest_warm()
{
	guest_goes_on host1 || bail "the guest does not run"
	guest_command host1 reset "guest: reset" || bail "the guest does not answer"
	guest_ticks host1 13 || bail "the guest does not run"
	warm=$(guest_figure host1 tick)
}

# guest_speed: name=value lines; false as long as the guest on host2 is not back.
# speed: pages checked a second while it was warm. before: that from then until it stopped, as
# a part of it. back_us: from its last tick on host1 to the first second (four ticks) on host2 with
# 90 % of it; by the guest's clock, which stands still while the guest does.
guest_speed()
{
	{
		on host1 grep -a '^guest: tick=.* late_us=' "$console" | sed 's/^/here /'
		on host2 grep -a '^guest: tick=.* late_us=' "$console" | sed 's/^/there /'
	} | tr -d '\r' | awk -v warm="$warm" '
		function rate(from, to) { return (checks[to] - checks[from]) / (at[to] - at[from]) }
		{
			for (i = 2; i <= NF; i++)
				if (split($i, pair, "=") == 2)
					v[pair[1]] = pair[2]
			t = v["tick"]
			checks[t] = v["checks"]; at[t] = v["at_us"]
		}
		$1 == "here" { last = t; next }
		!first { first = t; full = rate(warm - 12, warm) }
		!back && t >= first + 4 && rate(t - 4, t) >= 0.9 * full {
			back = 1
			printf "speed=%d\n", full * 1e6
			printf "before=%.2f\n", (last > warm) ? rate(warm, last) / full : 1
			printf "back_us=%d\n", at[t - 4] - at[last]
		}
		END { exit !back }'
}

# guest_back DOWNTIME: waits until it is, and prints its figures. The downtime in
# microseconds is added, for the guest's clock does not have it.
guest_back()
{
	local figures

	until_true 60 guest_speed >"$YAB_LAB_OUT/speed" || bail "the guest does not get its speed back"
	figures=$(guest_speed)
	awk -F= -v down="$1" '{ if ($1 == "back_us") $2 += down; print $1 "=" $2 }' <<<"$figures"
}
