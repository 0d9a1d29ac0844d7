#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bad input to yabctl and yabusamed, as TAP. Two daemons on this host's loopback,
# with folders of their own, and a guest that is nothing but its firmware. Each
# failure must be one line on stderr and an exit status that is not 0; the guest
# must still run where it was (QEMU itself is asked), and no process, socket or
# region may be left.
#
#   BIN=FOLDER   yabusamed and yabctl (build/bin)
#   ACCEL=tcg    how QEMU runs the guest

set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
bin=${BIN:-$root/build/bin}
accel=${ACCEL:-tcg}
work=$(mktemp -d /tmp/yab.XXXXXX)
stranger=$work/stranger
count=0
bad=0
children=()

finish() {
	exec 2>/dev/null
	for pid in "${children[@]}"; do
		kill "$pid" && wait "$pid"
	done
	for file in "$work"/*/qemu.pid*; do
		kill -9 "$(cat "$file")"
	done
	rm -rf "$work"
}
trap finish EXIT

ok() {
	count=$((count + 1))
	echo "ok $count - $1"
}

not_ok() {
	count=$((count + 1))
	bad=$((bad + 1))
	echo "not ok $count - $1"
	shift
	printf '# %s\n' "$@"
}

skip() {
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

bail() {
	echo "Bail out! $1"
	sed 's/^/# /' "$work"/*.log
	exit 1
}

# describe FOLDER NAME MEMORY [BACKEND]: a VM with a second monitor for us
describe() {
	local backend=${4:-memory-backend-file,id=ram0,size=\$\{memory_size\},mem-path=\$\{memory\},share=on}

	cat >"$work/$1/vms/$2.json" <<-JSON
	{"name": "$2", "memory": "$3", "qemu": ["qemu-system-x86_64", "-nodefaults",
	 "-display", "none", "-object", "$backend", "-machine",
	 "pc,accel=$accel,memory-backend=ram0", "-m", "$3", "\${incoming}", "-qmp",
	 "\${monitor}", "-qmp", "unix:$work/$1/$2.second,server=on,wait=off",
	 "-name", "\${memory}", "-pidfile", "$work/$1/qemu.pid.$2"]}
	JSON
}

# unseen NAME KEY VALUE...: a VM whose memory is described in a file that QEMU alone reads
unseen() {
	describe a "$1" 32M
	{
		echo '[object "ram0"]'
		printf '%s = "%s"\n' size 32M "${@:2}"
	} >"$work/$1.cfg"
	sed -i "s|\"-object\", \"[^\"]*\"|\"-readconfig\", \"$work/$1.cfg\"|" "$work/a/vms/$1.json"
}

# daemon SIDE [OPTION...]: starts it on ports that are free, which go to \$port and \$metrics
daemon() {
	mkdir -p "$work/$1/vms"
	for _ in 1 2 3 4 5 6 7 8; do
		port=$((20000 + RANDOM % 20000))
		: >"$work/$1.log"
		metrics=$((20000 + RANDOM % 20000))
		"$bin/yabusamed" --debug --listen "${listen_on:-127.0.0.1}:$port" \
			--metrics "127.0.0.1:$metrics" \
			--run-dir "$work/$1/run" --vm-dir "$work/$1/vms" \
			--state-dir "$work/$1/state" "${@:2}" 2>>"$work/$1.log" &
		daemon_pid=$!
		for _ in $(seq 100); do
			grep -q 'listening on' "$work/$1.log" && break 2
			kill -0 "$daemon_pid" 2>/dev/null || continue 2
			sleep 0.05
		done
	done
	grep -q 'listening on' "$work/$1.log" || bail "yabusamed does not start"
	children+=("$daemon_pid")
}

on() {
	local side=$1

	shift
	timeout 60 "$bin/yabctl" --socket "$work/$side/run/control.sock" "$@"
}

# What must hold after a failure: empty, or what does not.
leftovers() {
	local vm

	for vm in $running; do
		"$stranger" status "$work/a/$vm.second" || echo "guest $vm does not run"
		[ ! -e "/dev/yabusame/$vm" ] || echo "region $vm is left"
	done
	[ "$(pgrep -cP "$pid_a")" = "$(wc -w <<<"$running")" ] || echo "processes of the source"
	[ "$(pgrep -cP "$pid_b")" = 0 ] || echo "processes of the destination"
	compgen -G "$work/b/run/*.qmp"
	on a list --json | grep -q '"job"' && echo "a job of the source is active"
	on b list --json | grep -q '"vm"' && echo "the destination has a VM"
}

# refuses NAME PATTERN COMMAND...: fails with one line that has PATTERN in it
refuses() {
	local name=$1 pattern=$2 status lines left

	shift 2
	"$@" >"$work/out" 2>"$work/err"
	status=$?
	lines=$(wc -l <"$work/err")
	left=$(leftovers)
	if [ $status = 0 ] || [ $status -ge 124 ]; then
		not_ok "$name" "exit status $status" "$(cat "$work/err")"
	elif [ "$lines" != 1 ]; then
		not_ok "$name" "$lines lines on stderr" "$(cat "$work/err")"
	elif ! grep -q -- "$pattern" "$work/err"; then
		not_ok "$name" "no \"$pattern\" in: $(cat "$work/err")"
	elif [ -n "$left" ]; then
		not_ok "$name" "$left"
	else
		ok "$name"
	fi
}

# certify HOST SUBJECT_ALT_NAME [DAYS]: a folder of certificates, of the CA of host1 and host2
certify() {
	mkdir "$work/tls/$1"
	{
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
			-addext "subjectAltName=$2" -keyout "$work/tls/$1/server-key.pem" \
			-out "$work/tls/request.pem" &&
		openssl x509 -req -in "$work/tls/request.pem" -CA "$work/tls/ca-cert.pem" \
			-CAkey "$work/tls/ca-key.pem" -days "${3:-9}" -copy_extensions copy \
			-out "$work/tls/$1/server-cert.pem" &&
		cp "$work/tls/ca-cert.pem" "$work/tls/$1" &&
		cp "$work/tls/$1/server-cert.pem" "$work/tls/$1/client-cert.pem" &&
		cp "$work/tls/$1/server-key.pem" "$work/tls/$1/client-key.pem"
	} >"$work/openssl.log" 2>&1 || bail "$(cat "$work/openssl.log")"
}

# listener KIND: a stranger, whose port goes to \$port
listener() {
	: >"$work/port"
	"$stranger" listen "$1" >"$work/port" &
	stranger_pid=$!
	children+=("$stranger_pid")
	for _ in $(seq 100); do
		read -r port <"$work/port" && return
		sleep 0.05
	done
	bail "no stranger"
}

${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O1 -Wall "$root/tests/daemon/stranger.c" -o "$stranger" ||
	bail "cannot build the stranger"
mkdir -p "$work/a/vms" "$work/b/vms"
for vm in plain undescribed sizes; do
	describe a $vm 32M
done
describe b plain 32M
describe b sizes 64M
unseen private qom-type memory-backend-file mem-path /proc/self/fd/3 share off
unseen memfd qom-type memory-backend-memfd share on
unseen other qom-type memory-backend-file mem-path "$work/other" share on
for vm in private memfd other; do
	describe b $vm 32M
done

daemon a
pid_a=$daemon_pid port_a=$port metrics_a=$metrics
daemon b
pid_b=$daemon_pid port_b=$port
b=127.0.0.1:$port_b

running=
for vm in plain undescribed sizes private memfd other; do
	on a start $vm || bail "cannot start $vm"
	running="$running $vm"
done
[ -z "$(leftovers)" ] || bail "$(leftovers)"
long=$(printf 'x%.0s' $(seq 300))

# What yabctl is told.
refuses "no command" "see yabctl --help" on a
refuses "an unknown command" "no command" on a migrat
refuses "an unknown option" "yabctl --help" on a list --nonsense
refuses "an option without its value" "needs a value" on a list --socket
refuses "too few operands" "usage: yabctl migrate" on a migrate plain
refuses "too many operands" "usage: yabctl start" on a start plain plain
refuses "no daemon" "no yabusamed listens" on nowhere list
refuses "an unknown VM" "no VM nosuch" on a migrate nosuch "$b"
refuses "a name with a slash" "cannot name a VM" on a migrate ../plain "$b"
refuses "a name of 300 characters" "cannot name a VM" on a migrate "$long" "$b"
refuses "an empty name" "cannot name a VM" on a migrate "" "$b"
refuses "a start with a slash" "cannot name a VM" on a start a/b
refuses "a start of what is not described" "does not exist" on a start nosuch
refuses "a second start" "already" on a start plain
refuses "a destroy of nothing" "no VM nosuch" on a destroy nosuch
refuses "jobinfo without a job" "no migration" on a jobinfo plain
refuses "a destination that is none" "destination" on a migrate plain "a b"
refuses "a port that is none" "destination" on a migrate plain "127.0.0.1:99999"

# Saving, and starting from files. No guest is lost, and no file is left of what failed.
refuses "a save of nothing" "no VM nosuch" on a save nosuch "$work/i" "$work/s"
refuses "a save to one file" "usage: yabctl save" on a save plain "$work/i"
refuses "a save of both into one file" "a file each" on a save plain "$work/i" "$work/i"
refuses "a save to a folder" "exists: remove it" on a save plain "$work" "$work/s"
refuses "a save to what exists" "exists: remove it" on a save plain "$work/i" "$work/a.log"
refuses "a save to where there is no folder" "No such file" on a save plain "$work/no/i" "$work/s"
refuses "a save of memory that is not shared" "is not shared" on a save private "$work/i" "$work/s"
prlimit --pid "$pid_a" --fsize=131072:
refuses "a save to a disk that is full" "cannot be written: File too large" \
	on a save plain "$work/i" "$work/s"
prlimit --pid "$pid_a" --fsize=unlimited:
if compgen -G "$work/[is]*" | grep -v "$stranger"; then
	not_ok "no file is left" "$(ls "$work")"
else
	ok "no file is left"
fi
describe a saved 32M
describe a large 64M
(cd "$work" && on a start saved && on a save saved i s) || bail "cannot save"
on a jobinfo saved >"$work/out"
if grep -qx "saved: save to $work/i: completed" "$work/out"; then
	ok "jobinfo of a save"
else
	not_ok "jobinfo of a save" "$(cat "$work/out")"
fi
refuses "a start that only looks paused" "without --from" on a start saved --paused
refuses "an option that would be dropped" "paused does not go with destroy" on a destroy saved --paused
refuses "an image without its device state" "go together" on a start saved --from "$work/i"
refuses "device state without an image" "go together" on a start saved --state "$work/s"
refuses "--from in a migration" "from does not go with migrate" on a migrate plain "$b" --from "$work/i"
refuses "an image that is not there" "nosuch: No such file" \
	on a start saved --from "$work/nosuch" --state "$work/s"
refuses "device state that is not there" "nosuch: No such file" \
	on a start saved --from "$work/i" --state "$work/nosuch"
refuses "a folder as an image" "is no regular file" on a start saved --from "$work" --state "$work/s"
refuses "an image of another size" "has 33554432 bytes and the VM 67108864" \
	on a start large --from "$work/i" --state "$work/s"
refuses "an image for what is not described" "does not exist" \
	on a start nosuch --from "$work/i" --state "$work/s"
refuses "an image for a VM that runs" "on this host already" \
	on a start plain --from "$work/i" --state "$work/s"
[ -e /dev/yabusame/control ] ||
	refuses "an image without the kernel module" "kernel module yabusame is not loaded" \
		on a start saved --from "$work/i" --state "$work/s"
rm "$work/i" "$work/s"

# Descriptions.
echo '{"name": "broken", "memory": "1M"' >"$work/a/vms/broken.json"
refuses "a description that is no JSON" "broken.json" on a start broken
echo '{"name": "broken", "memory": "1M", "qemu": ["x"]}' >"$work/a/vms/broken.json"
# shellcheck disable=SC2016 # the placeholder itself
refuses "a description without placeholders" 'lacks the placeholder ${memory}' on a start broken
sed 's/plain/broken/; s/qemu-system-x86_64/no-such-qemu/' "$work/a/vms/plain.json" \
	>"$work/a/vms/broken.json"
refuses "a QEMU that is not there" "no-such-qemu" on a start broken
sed 's/plain/broken/; s/"-nodefaults"/"-nonsense"/' "$work/a/vms/plain.json" \
	>"$work/a/vms/broken.json"
refuses "a QEMU that refuses its command" "nonsense" on a start broken

# What QEMU would do, and no migration of it could ever succeed.
describe a doomed 32M "memory-backend-file,id=ram0,size=\${memory_size},mem-path=\${memory}"
refuses "a start with memory that is not shared" "doomed is not shared: describe it with -object" \
	on a start doomed
describe a doomed 32M "memory-backend-memfd,id=ram0,size=\${memory_size},share=on"
refuses "a start with a memfd of QEMU's own" "a memory-backend-memfd, not a memory-backend-file" \
	on a start doomed
describe a doomed 32M "memory-backend-file,id=ram0,size=\${memory_size},mem-path=$work/other,share=on"
refuses "a start with another file" "doomed is not the file" on a start doomed
describe a doomed 32M "memory-backend-file,id=ram0,size=64M,mem-path=\${memory},share=on"
refuses "a start with memory of another size" "has 67108864 bytes of memory in QEMU and 33554432" \
	on a start doomed
describe b doomed 32M "memory-backend-file,id=ram0,size=\${memory_size},mem-path=\${memory}"
describe a doomed 32M
on a start doomed || bail "cannot start doomed"
running="$running doomed"
refuses "a destination whose memory is not shared" "^yabctl: $b: memory of VM doomed is not shared" \
	on a migrate doomed "$b"

# The way to the destination.
refuses "a host name that is unknown" "no-such-host.invalid" \
	on a migrate plain no-such-host.invalid
listener close
closed=$port
kill "$stranger_pid"
wait "$stranger_pid" 2>/dev/null
refuses "a port where nobody listens" "refused: is yabusamed running" \
	on a migrate plain "127.0.0.1:$closed"
listener http
refuses "a peer that is no yabusamed" "is no yabusamed" on a migrate plain "127.0.0.1:$port"
listener close
refuses "a peer that closes" "without a hello" on a migrate plain "127.0.0.1:$port"
listener version
refuses "another protocol version" "speaks protocol version 3, this host 2" \
	on a migrate plain "127.0.0.1:$port"
listener silent
refuses "a peer that is silent" "says nothing" on a migrate plain "127.0.0.1:$port"

# What the two hosts know of the VM.
refuses "a VM that the destination has no description of" "undescribed.json does not exist" \
	on a migrate undescribed "$b"
refuses "sizes that differ" "33554432 bytes of memory on the source and 67108864" \
	on a migrate sizes "$b"
refuses "source memory that is not shared" "is not shared" on a migrate private "$b"
refuses "source memory that is a memfd of QEMU's own" "memory-backend-file" on a migrate memfd "$b"
refuses "source memory that is another file" "not the file" on a migrate other "$b"
refuses "the same host" "already" on a migrate plain "127.0.0.1:$port_a"
if [ -e /dev/yabusame/control ]; then
	skip "no kernel module" "it is loaded"
else
	refuses "no kernel module" "kernel module yabusame is not loaded" on a migrate plain "$b"
	refuses "no kernel module, again" "kernel module yabusame is not loaded" \
		on a migrate plain "$b"
fi

# The daemon itself.
refuses "a second daemon" "another yabusamed uses" \
	timeout 60 "$bin/yabusamed" --run-dir "$work/a/run" --state-dir "$work/c" --listen "$b"
refuses "a port in use" "cannot listen on" \
	timeout 60 "$bin/yabusamed" --run-dir "$work/c" --state-dir "$work/c.state" --listen "$b"
refuses "an address that is none" "cannot listen on\|is no ADDRESS" \
	timeout 60 "$bin/yabusamed" --run-dir "$work/c" --state-dir "$work/c.state" --listen "256.1.1.1:x"
refuses "a policy that is none" "forward=N" \
	timeout 60 "$bin/yabusamed" --run-dir "$work/c" --state-dir "$work/c.state" --policy forward=-1
refuses "an operand" "is no option" timeout 60 "$bin/yabusamed" now

for address in 0.0.0.0:9464 192.0.2.1:9464 127.0.0.1 localhost:9464; do
	refuses "metrics on $address" "give 127.0.0.1:PORT\|is no ADDRESS:PORT" \
		timeout 60 "$bin/yabusamed" --run-dir "$work/c" --state-dir "$work/c.state" --metrics "$address"
done
# Which systemd does not try again.
"$bin/yabusamed" --run-dir "$work/c" --state-dir "$work/c.state" --metrics x:1 2>/dev/null
status=$?
if [ $status = 2 ]; then
	ok "metrics that cannot be: exit status 2"
else
	not_ok "metrics that cannot be: exit status 2" "it is $status"
fi
if [ -e /dev/yabusame/control ] || grep -q "warning: kernel module yabusame is not loaded" "$work/a.log"; then
	ok "no module: the log says so"
else
	not_ok "no module: the log says so"
fi
refuses "metrics on a port in use" "--metrics: cannot listen on" \
	timeout 60 "$bin/yabusamed" --run-dir "$work/c" --state-dir "$work/c.state" --metrics "127.0.0.1:$port_b"
refuses "a watch of what is no job" "watch does not go with list" on a list --watch
refuses "a watch without a job" "no migration" on a jobinfo nosuch --watch

# http METHOD PATH: the answer of the first daemon
http() {
	exec 3<>"/dev/tcp/127.0.0.1/$metrics_a" || return
	printf '%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n' "$1" "$2" >&3
	timeout 60 tr -d '\r' <&3
	exec 3>&-
}

# answers NAME PATTERN METHOD PATH: a line of the answer matches
answers() {
	local answer

	answer=$(http "$3" "$4")
	if grep -q -- "$2" <<<"$answer"; then
		ok "$1"
	else
		not_ok "$1" "no \"$2\" in:" "${answer:0:1000}"
	fi
}

answers "metrics" '^HTTP/1.1 200 ' GET /metrics
answers "metrics as OpenMetrics" \
	'^Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8$' GET /metrics
answers "metrics to their end" '^# EOF$' GET /metrics
answers "metrics of a migration that failed" \
	'^yabusame_job_state{vm="sizes",direction="outgoing",yabusame_job_state="failed"} 1$' \
	GET /metrics
answers "another path than /metrics" '^HTTP/1.1 404 ' GET /
answers "another method than GET" '^HTTP/1.1 405 ' POST /metrics
for want in 'info sizes: migration to' 'warning sizes: migration to'; do
	if grep -q "^yabusamed\[$pid_a\] $want" "$work/a.log"; then
		ok "lines name their VM: $want"
	else
		not_ok "lines name their VM: $want" "$(tail -20 "$work/a.log")"
	fi
done

# TLS: what is missing or wrong at the start.
starts_not() {
	refuses "$1" "$2" timeout 60 "$bin/yabusamed" --run-dir "$work/x/run" --vm-dir "$work/x/vms" \
		--state-dir "$work/x/state" \
		"${@:3}"
}

"$root/tests/tls/make-certificates" "$work/tls" || bail "README's certificates"
certify local "DNS:localhost,IP:127.0.0.1"
mkdir -p "$work/x/vms"
starts_not "--listen without certificates" "nonexistent/ca-cert.pem does not exist.*--plain" \
	--listen 0.0.0.0:1 --tls-dir "$work/nonexistent"
if [ ! -e /etc/pki/yabusame ] && [ ! -e /etc/pki/qemu ]; then
	starts_not "--listen without any certificates" "/etc/pki/yabusame/ca-cert.pem does not exist" \
		--listen 0.0.0.0:1
fi
cp -r "$work/tls/local" "$work/tls/spoiled"
rm "$work/tls/spoiled/server-key.pem"
starts_not "--listen without a key" "server-key.pem does not exist" \
	--listen 0.0.0.0:1 --tls-dir "$work/tls/spoiled"
cp "$work/tls/host1/server-key.pem" "$work/tls/spoiled"
starts_not "a key of another certificate" "server-key.pem is not the key of server-cert.pem" \
	--listen 0.0.0.0:1 --tls-dir "$work/tls/spoiled"
cp "$work/tls/local/server-key.pem" "$work/tls/spoiled"
chmod 644 "$work/tls/spoiled/server-key.pem"
starts_not "a key that others can read" "chmod 0600 .*server-key.pem" \
	--listen 0.0.0.0:1 --tls-dir "$work/tls/spoiled"
starts_not "an empty --allow" "is no name" --allow ""

# And between two daemons. A destination that is reached says that it has no description.
"$root/tests/tls/make-certificates" "$work/foreign" || bail "README's certificates"
daemon dest --tls-dir "$work/tls/local"
port_dest=$port
daemon host2 --tls-dir "$work/tls/host2"
port_host2=$port
daemon foreign --tls-dir "$work/foreign/host2"
port_foreign=$port
daemon picky --tls-dir "$work/tls/local" --allow "host[3-9]" --allow "CN=nobody"
port_picky=$port
daemon lax --plain
port_lax=$port
daemon src --tls-dir "$work/tls/host1"
describe src tls 32M
on src start tls || bail "cannot start tls"

refuses "TLS, both sides good" "tls.json does not exist" on src migrate tls "127.0.0.1:$port_dest"
refuses "the same by name" "tls.json does not exist" on src migrate tls "localhost:$port_dest"
refuses "a host that cannot be reached" "cannot be reached" \
	on src migrate tls 255.255.255.255:7655
refuses "another host's certificate" "is not for \"127.0.0.1\"" \
	on src migrate tls "127.0.0.1:$port_host2"
refuses "another CA" "is of another CA" on src migrate tls "127.0.0.1:$port_foreign"
refuses "not among those allowed" "does not let this host in" \
	on src migrate tls "127.0.0.1:$port_picky"
refuses "TLS to a --plain one" "does not take TLS" on src migrate tls "127.0.0.1:$port_lax"
refuses "plain within a host, to one that has certificates" "takes only TLS" \
	on a migrate plain "127.0.0.1:$port_dest"
mv "$work/tls/host1" "$work/tls/host1.away"
refuses "certificates that went away" "host1/client-cert.pem does not exist\|ca-cert.pem does not" \
	on src migrate tls "127.0.0.1:$port_dest"
mv "$work/tls/host1.away" "$work/tls/host1"
refuses "and came back" "tls.json does not exist" on src migrate tls "127.0.0.1:$port_dest"
listener plain
refuses "a peer that strips TLS off" "does not take TLS" on src migrate tls "127.0.0.1:$port"
listener tls
refuses "a peer that insists on TLS" "takes only TLS" on a migrate plain "127.0.0.1:$port"
listener tls
refuses "a peer that is silent in TLS" "goes silent" on src migrate tls "127.0.0.1:$port"
for want in "foreign: unknown ca\|does not know the CA" "picky: is not among those that --allow" \
	"lax: refused the control connection.*no certificates here"; do
	if grep -q -- "${want#*: }" "$work/${want%%: *}.log"; then
		ok "the log of ${want%%: *} tells"
	else
		not_ok "the log of ${want%%: *} tells" "$(tail -3 "$work/${want%%: *}.log")"
	fi
done

# From another host, as it were.
outside=$(ip -4 -o address show scope global 2>/dev/null | awk '{ sub("/.*", "", $4); print $4; exit }')
if [ -n "$outside" ] && [ ! -e /etc/pki/yabusame ] && [ ! -e /etc/pki/qemu ]; then
	listen_on=$outside daemon outer --tls-dir "$work/tls/local"
	port_outer=$port
	refuses "no certificates, to another host" "/etc/pki/yabusame/ca-cert.pem does not exist" \
		on a migrate plain "$outside:$port_outer"
	daemon careless --plain
	describe careless careless 32M
	on careless start careless || bail "cannot start careless"
	refuses "--plain to a host that takes TLS" "takes only TLS" \
		on careless migrate careless "$outside:$port_outer"
	listen_on=$outside daemon open --plain
	refuses "--plain on both" "careless.json does not exist" \
		on careless migrate careless "$outside:$port"
else
	skip "another host" "this one has no address, or certificates"
fi

# Strangers at the destination's port change nothing.
for what in garbage magic token frame version; do
	"$stranger" send "$port_b" $what || bail "no connection to the destination"
done
refuses "strangers, then a migration" "undescribed.json" on a migrate undescribed "$b"
for want in "is no yabusamed" "without a hello" "belongs to no migration" \
	"speaks protocol version 3"; do
	if grep -q "$want" "$work/b.log"; then
		ok "the log tells: $want"
	else
		not_ok "the log tells: $want" "$(tail -20 "$work/b.log")"
	fi
done

# Crowds of them: bounded in number, memory and time, and nobody else's way is barred.
resident() { awk '/^VmRSS/ { print $2 }' "/proc/$pid_b/status"; }
open_files() { find "/proc/$pid_b/fd" -mindepth 1 | wc -l; }

# until_files NUMBER: 1 if there are still more after a minute
until_files() {
	for _ in $(seq 600); do
		[ "$(open_files)" -gt "$1" ] || return 0
		sleep 0.1
	done
	return 1
}

until_files 20 || bail "descriptors are left of what was before: $(ls -l "/proc/$pid_b/fd")"
files=$(open_files)
memory=$(resident)
for what in silent half drip call; do
	coproc "$stranger" crowd "$port_b" $what 200
	crowd_pid=$!
	children+=("$crowd_pid")
	read -r made <&"${COPROC[0]}"
	[ "$made" = made ] || bail "no crowd"
	many=$(open_files)
	refuses "200 strangers ($what), and a migration" "undescribed.json" \
		on a migrate undescribed "$b"
	[ "$((many - files))" -le 40 ] &&
		ok "at most 40 of 200 strangers ($what) are kept" ||
		not_ok "at most 40 of 200 strangers ($what) are kept" "$((many - files))"
	if [ $what = drip ]; then
		# 10 s for a whole hello, however its bytes come.
		until_files "$files" && ok "a slow hello has an end" ||
			not_ok "a slow hello has an end" "$(open_files) descriptors, $files before"
	fi
	exec {crowd_in}>&"${COPROC[1]}"
	eval "exec ${COPROC[1]}>&-"
	exec {crowd_in}>&-
	wait "$crowd_pid"
done
until_files "$files" && ok "no descriptors are left of the crowds" ||
	not_ok "no descriptors are left of the crowds" "$(open_files), $files before"
grown=$(($(resident) - memory))
[ $grown -lt 4096 ] && ok "memory is bounded" || not_ok "memory is bounded" "grew by $grown KiB"
lines=$(grep -c 'warning: \(dropped\|refused\)' "$work/b.log")
[ "$lines" -lt 10 ] && ok "the log is not filled" || not_ok "the log is not filled" "$lines lines"

# An end that leaves VMs alone.
kill "$pid_a"
wait "$pid_a"
status=$?
left=$(for vm in $running; do
	"$stranger" status "$work/a/$vm.second" || echo "guest $vm does not run"
done)
if [ $status = 0 ] && [ -z "$left" ]; then
	ok "VMs outlive the daemon"
else
	not_ok "VMs outlive the daemon" "exit status $status" "$left" "$(tail -30 "$work/a.log")"
fi

echo "1..$count"
[ $bad = 0 ]
