# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
# What the migration tests share. They run on host1 of the lab; host2 is the other
# host. The guest is tests/guest: it checks its own memory all the time, says so on
# its console, and takes commands there.
set -uo pipefail

guest=$YAB_ROOT/build/guest
vm=vm1
mib=${YAB_GUEST_MIB:-32}	# memory that the guest checks
size=${YAB_GUEST_SIZE:-128M}	# memory that it has
pages=$((${size%M} * 256))
console=/run/$vm.console
serial=/run/$vm.serial
monitor=/run/$vm.test-qmp	# a second QMP of the test's own

# --- TAP ---------------------------------------------------------------------------

tap_count=0 tap_failed=0

# ok WHAT COMMAND...: a test point, true if COMMAND is
ok()
{
	local what=$1 guest_said=''
	shift

	tap_count=$((tap_count + 1))
	if "$@"; then
		echo "ok $tap_count - $what"
	else
		echo "not ok $tap_count - $what${guest_said:+ ($guest_said)}"
		tap_failed=$((tap_failed + 1))
	fi
}

bail()
{
	echo "Bail out! $*"
	show_logs
	exit 1
}

finish()
{
	echo "1..$tap_count"
	((tap_failed == 0)) || show_logs
	exit $((tap_failed > 0))
}

show_logs()
{
	local host

	for host in host1 host2; do
		{
			echo "$host: the daemon's log ends:"
			on "$host" tail -n 30 "$(daemon_log "$host")"
			echo "$host: the guest's console ends:"
			on "$host" tail -n 5 "$console"
			echo "$host: QEMU says:"
			on "$host" sh -c "tail -n 5 /run/yabusame/$vm*.log"
		} 2>/dev/null | sed 's/^/# /'
	done
}

# --- waiting for states ------------------------------------------------------------

# until_true SECONDS COMMAND...: asks again until it is true; the seconds, times YAB_PATIENCE,
# bound a failure. More and more seldom: to ask costs an emulated host a good part of its time.
until_true()
{
	local end=$((SECONDS + $1 * ${YAB_PATIENCE:-1})) pause=1
	shift

	until "$@"; do
		((SECONDS < end)) || return 1
		sleep "0.$pause"
		pause=$((pause < 5 ? pause + 1 : 5))
	done
}

# --- hosts, daemons, the VM -----------------------------------------------------------

# $daemon_options are options for both daemons.
#
# Certificates of both hosts, made once, to where the daemon looks for them.
certificates_install()
{
	local host=$1 made=$YAB_LAB_OUT/tls

	[[ -e $made ]] || "$YAB_ROOT/tests/tls/make-certificates" "$made" || bail "no certificates"
	on "$host" sh -c "mkdir -p /etc/pki && rm -rf /etc/pki/yabusame &&
		cp -r $made/$host /etc/pki/yabusame" || bail "$host: cannot install certificates"
}

# Its log; $daemon_log is one that each host has for itself.
daemon_log() { echo "${daemon_log:-$YAB_LAB_OUT/yabusamed.$1}"; }
# log_count HOST PATTERN: how many of its lines are like it
log_count() { on "$1" grep -cE "$2" "$(daemon_log "$1")" 2>/dev/null; }
# log_has_more HOST PATTERN COUNT
log_has_more() { (($(log_count "$1" "$2") > $3)); }

# Starts the daemon, for the first time or once more.
daemon_start()
{
	local host=$1 log before
	log=$(daemon_log "$host")

	on "$host" test -e "$log" || certificates_install "$host"
	before=$(log_count "$host" "listening on")
	on "$host" setsid sh -c \
		"exec yabusamed --listen 0.0.0.0 ${daemon_options:-} </dev/null >>$log 2>&1 &"
	until_true 10 log_has_more "$host" "listening on" "${before:-0}" ||
		bail "$host: yabusamed does not start"
}

daemon_pid() { on "$1" pgrep -xo yabusamed; }
no_daemon() { ! daemon_pid "$1" >/dev/null; }
# daemon_kill HOST [SIGNAL]
daemon_kill() { on "$1" kill -s "${2:-KILL}" "$(daemon_pid "$1")"; }

# describe_on HOST [ARGUMENT...]: the VM's description; the arguments go to QEMU
describe_on()
{
	local host=$1 more='' argument file
	shift

	for argument in "$@"; do
		more+="\"$argument\", "
	done
	file=$YAB_LAB_OUT/$vm.$host.json
	cat >"$file" <<END
{
	"name": "$vm",
	"memory": "$size",
	"qemu": [
		"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "pc,accel=kvm,memory-backend=ram0", "-cpu", "host", "-smp", "2",
		"-m", "$size", "-object",
		"memory-backend-file,id=ram0,size=\${memory_size},mem-path=\${memory},share=on",
		"-kernel", "$YAB_LAB_VMLINUZ", "-initrd", "$guest/initramfs",
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check nokaslr yab.mib=$mib",
		"-chardev", "socket,id=serial0,path=$serial,server=on,wait=off,logfile=$console,logappend=on",
		"-serial", "chardev:serial0", "-device", "virtio-rng-pci",
		"-qmp", "unix:$monitor,server=on,wait=off", $more
		"-qmp", "\${monitor}", "\${incoming}"
	]
}
END
	on "$host" mkdir -p /etc/yabusame/vms
	on "$host" cp "$file" "/etc/yabusame/vms/$vm.json"
}

set_up()
{
	daemon_start host1
	daemon_start host2
	describe_on host1 "$@"
	describe_on host2 "$@"
	yabctl start "$vm" || bail "yabctl start $vm"
	guest_says host1 'guest: tick=' 120 || bail "the guest does not boot"
}

qemu_command="^[^ ]*qemu-system-x86_64 .*$monitor"
qemu_pid() { on "$1" pgrep -f "$qemu_command"; }

no_qemu() { ! qemu_pid "$1" >/dev/null; }
no_worker() { ! on "$1" pgrep -x 'yabusame-.*' >/dev/null; }
no_region() { ! on "$1" test -e "/dev/yabusame/$vm"; }
has_vm() { on "$1" yabctl list 2>/dev/null | grep -q "^$vm "; }
no_vm() { on "$1" yabctl list >/dev/null && ! has_vm "$1"; }
runs_on() { on "$1" yabctl list 2>/dev/null | grep -q "^$vm .*running"; }

# until_switched HOST MIGRATION: waits for the guest there; false if that process ends before
until_switched()
{
	until_true 60 switched_or_over "$1" "$2"
	runs_on "$1"
}

switched_or_over() { runs_on "$1" || ! kill -0 "$2" 2>/dev/null; }

# Pages that the VM has on HOST.
present_on() { on "$1" cat "/sys/class/yabusame/$vm/present" 2>/dev/null || echo 0; }
has_more_than() { (($(present_on "$1") > $2)); }

# state_is HOST STATE: of the migration there
state_is() { on "$1" yabctl jobinfo $vm --json 2>/dev/null | grep -q "\"state\": \"$2\""; }
# has_another HOST NAME PIDS: processes of that name are others now
has_another() { [[ $(on "$1" pgrep -x "$2") != "$3" ]]; }

nothing_on_host2() { no_qemu host2 && no_region host2 && no_vm host2; }

# refused WHAT DESTINATION PATTERN
refused()
{
	local error status
	error=$(timeout $((120 * ${YAB_PATIENCE:-1})) yabctl migrate $vm "$2" 2>&1)
	status=$?
	echo "# $error"
	ok "$1: fails with one line that says why" \
		test $status = 1 -a "$(grep -cE "^yabctl: .*$3" <<<"$error")/$(wc -l <<<"$error")" = 1/1
	ok "$1: the guest goes on" guest_goes_on host1
	ok "$1: nothing is left on host2" nothing_on_host2
}

# qmp_raw HOST JSON: the answer to one QMP command over the test's own monitor
qmp_raw()
{
	on "$1" sh -c "{ echo '{\"execute\": \"qmp_capabilities\"}'; echo '$2'; } |
		socat -t 2 - UNIX-CONNECT:$monitor" | tail -n 1
}

# qmp HOST COMMAND: one without arguments
qmp() { qmp_raw "$1" "{\"execute\": \"$2\"}"; }

# --- the guest ----------------------------------------------------------------------

# guest_says HOST PATTERN [SECONDS]: waits for a line on its console. Nothing asks again and
# again: the guest that boots needs the processor.
guest_says()
{
	local seconds=$((${3:-30} * ${YAB_PATIENCE:-1}))

	on "$1" sh -c "timeout $seconds tail -n +1 -F $console 2>/dev/null | grep -qaE -m 1 '$2'"
}

# guest_command HOST WORD PATTERN: types a command, true once the console answers with one
# more line like PATTERN. The line is held until then: when the other end hangs up, QEMU
# drops what the guest has not taken yet. And what the guest says is read: where nobody does,
# QEMU stops its serial port in the middle of a word after some 300 characters.
guest_command()
{
	local tries=$((300 * ${YAB_PATIENCE:-1}))

	on "$1" sh -c "before=\$(grep -caE '$3' $console); tries=0
		answered() { [ \$(grep -caE '$3' $console) -gt \$before ]; }
		{
			echo $2
			until answered || [ \$((tries += 1)) -gt $tries ]; do sleep 0.1; done
		} | socat -t 0 - UNIX-CONNECT:$serial >/dev/null
		answered"
}

# where_it_waits HOST: the region there, what QEMU's threads are in, how the console ends, on
# one line
where_it_waits()
{
	on "$1" sh -c "cd /sys/class/yabusame/$vm 2>/dev/null &&
		echo region: \$(grep -H . state pages present failed faults pager)
		for task in /proc/\$(pgrep -f '$qemu_command')/task/*; do
			echo \$(cat \$task/comm): \$(head -n 4 \$task/stack | cut -d' ' -f2)
		done
		grep -a 'guest: waits' $console | tail -n 4
		echo console: \$(tail -c 60 $console)" | tr -d '\r' | tr '\n' ';'
}

# guest_line HOST: the newest tick line that is whole
guest_line()
{
	on "$1" sh -c "grep -a '^guest: tick=.* late_us=' $console | tail -n 1 | tr -d '\r'"
}

# guest_figure HOST NAME: a figure of that line
guest_figure()
{
	guest_line "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"
}

# guest_goes_on HOST: true once the guest has checked more pages than it had
guest_goes_on()
{
	local checks
	checks=$(guest_figure "$1" checks)

	until_true 60 guest_has_checked "$1" "${checks:-0}"
}

guest_has_checked()
{
	local checks
	checks=$(guest_figure "$1" checks)

	((${checks:-0} > $2))
}

guest_is_right()
{
	[[ $(guest_figure "$1" wrong) == 0 ]] && ! on "$1" grep -qa 'guest: WRONG' "$console"
}

# The guest's last word on its memory: every page checked, none wrong.
guest_final()
{
	if guest_command "$1" final 'guest: final pages=[0-9]+ wrong='; then
		guest_said=$(on "$1" grep -aE 'guest: (final|WRONG)' "$console" | tr -d '\r' | tail -n 1)
		[[ $guest_said =~ 'guest: final pages='[1-9][0-9]*' wrong=0'$ ]]
	else
		guest_said="no answer after '$(guest_line "$1")'; $(where_it_waits "$1")"
		return 1
	fi
}

# --- figures ---------------------------------------------------------------------------

# figure NAME: the last number of that name in the JSON on stdin
figure() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" | tail -n 1; }
# migrate_value NAME: of yabctl migrate --json in migrate.json
migrate_value() { figure "$1" <"$YAB_LAB_OUT/migrate.json"; }
# job_value HOST NAME: of the migration there
job_value() { on "$1" yabctl jobinfo $vm --json | figure "$2"; }

# guest_ticks HOST COUNT: waits for so many more tick lines
guest_ticks()
{
	local from
	from=$(guest_figure "$1" tick)

	until_true 60 guest_has_ticked "$1" $((${from:-0} + $2))
}

guest_has_ticked()
{
	local tick
	tick=$(guest_figure "$1" tick)

	[[ -n $tick ]] && ((tick >= $2))
}
