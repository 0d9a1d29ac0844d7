#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Certificates that are wrong, expired or another CA's, a name that is not let in, plain TCP on
# one side only: each time the guest stays where it is and nothing is left of the try. The
# daemons read their files for each connection: with the right ones the same daemons move
# the guest, also when they went bad and were renewed while its pages were on their way.
. "$(dirname "$0")/lib.sh"

made=$YAB_LAB_OUT/tls
here=/etc/pki/yabusame	# on both hosts

# run_openssl ARGUMENT...: nothing is said unless it fails
run_openssl()
{
	openssl "$@" >"$YAB_LAB_OUT/openssl.log" 2>&1 ||
		bail "openssl $1: $(tail -n 1 "$YAB_LAB_OUT/openssl.log")"
}

# certify FOLDER HOST [CA-FOLDER [DAYS]]: $made/FOLDER is another certificate for HOST's key
certify()
{
	local folder=$made/$1 host=$made/$2 ca=${3:-$made}

	mkdir -p "$folder"
	cp -r "$host"/{server-key.pem,client-cert.pem,client-key.pem} "$folder"
	run_openssl x509 -req -in "$host/request.pem" -CA "$ca/ca-cert.pem" -CAkey "$ca/ca-key.pem" \
		-CAcreateserial -days "${4:-9}" -copy_extensions copy -out "$folder/server-cert.pem"
	cp "$ca/ca-cert.pem" "$folder"
}

# use HOST FOLDER: its certificates are those of $made/FOLDER from now on
use()
{
	on "$1" sh -c "cp -r $made/$2 $here.new && mv $here $here.old && mv $here.new $here &&
		rm -r $here.old" || bail "$1: cannot use $2"
}

expired() { ! openssl x509 -in "$made/$1/server-cert.pem" -noout -checkend 0 >/dev/null; }

certificates_install host1	# makes $made
certify expired1 host1 "$made" 0
certify expired2 host2 "$made" 0
certify renewed1 host1
cp -r "$made/host1" "$made/host7"
run_openssl req -new -key "$made/host7/server-key.pem" -subj "/CN=host7" \
	-addext "subjectAltName=DNS:host7" -out "$made/host7/request.pem"
certify stranger host7
mkdir "$made/elsewhere"
run_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=another CA" \
	-keyout "$made/elsewhere/ca-key.pem" -out "$made/elsewhere/ca-cert.pem"
certify foreign host1 "$made/elsewhere"
cp -r "$made/foreign" "$made/trusting"
cat "$made/ca-cert.pem" >>"$made/trusting/ca-cert.pem"
cp -r "$made/host1" "$made/spoiled"
rm "$made/spoiled/client-key.pem"
cp "$made/host2/server-key.pem" "$made/spoiled/client-key.pem"
until_true 10 expired expired2 || bail "it does not expire"

daemon_options='--allow host1 --allow host2' set_up
guest_goes_on host1 || bail "the guest does not run"
daemons="$(daemon_pid host1) $(daemon_pid host2)"

# Of one host only one complaint a minute is logged.
use host1 trusting
refused "a certificate of another CA" host2 "does not know the CA of this host's certificate"
ok "a certificate of another CA: the log of host2 tells" \
	log_has_more host2 'CN=host1.* is of another CA' 0
use host1 foreign
refused "another CA here" host2 'of host2:7655 \(CN=host2\) is of another CA'
use host1 stranger
refused "a name that is not let in" host2 'does not let this host in: see its log, and its --allow'
use host1 expired1
refused "expired here" host2 'client-cert.pem has expired .*: renew it'
use host1 spoiled
refused "another key" host2 'client-key.pem is not the key of client-cert.pem'
use host1 host1
use host2 stranger
refused "for another host" host2 'of host2:7655 \(CN=host7\) is not for "host2"'
use host2 expired2
refused "expired there" host2 'does not take TLS, it has --plain or its certificates are missing or no good'
use host2 host2

# Plain TCP, to a daemon that wants it and from one that offers nothing else.
on host2 setsid sh -c "exec yabusamed --plain --listen 0.0.0.0:7700 \
	--run-dir /run/other --state-dir /run/other.state --tls-dir /run/nowhere </dev/null >/run/other.log 2>&1 &"
until_true 10 on host2 grep -q "listening on" /run/other.log || bail "no plain daemon"
refused "TLS to plain TCP" host2:7700 'does not take TLS'
on host2 pkill -f 7700
mkdir -p /run/other/vms
cat >/run/other/vms/plain.json <<'JSON'
{
	"name": "plain", "memory": "16M",
	"qemu": [ "qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine",
		"pc,accel=kvm,memory-backend=ram0", "-m", "16M", "-object",
		"memory-backend-file,id=ram0,size=${memory_size},mem-path=${memory},share=on",
		"-qmp", "${monitor}", "${incoming}" ]
}
JSON
setsid sh -c "exec yabusamed --plain --run-dir /run/other \
	--state-dir /run/other.state --vm-dir /run/other/vms </dev/null >/run/other.log 2>&1 &"
until_true 10 grep -q "sends VMs only" /run/other.log || bail "no plain daemon"
yabctl --socket /run/other/control.sock start plain || bail "cannot start another VM"
error=$(yabctl --socket /run/other/control.sock migrate plain host2 2>&1)
ok "plain TCP to TLS: fails" test $? = 1
echo "# $error"
ok "plain TCP to TLS: one line that says why" grep -qE 'yabctl: .*takes only TLS' <<<"$error"
ok "plain TCP to TLS: it goes on" sh -c \
	"yabctl --socket /run/other/control.sock list | grep -q 'plain .*running'"
yabctl --socket /run/other/control.sock destroy plain

# The right ones, and what goes bad under way. Slow enough for pages to be outstanding.
daemons_are_the_same() { [[ "$(daemon_pid host1) $(daemon_pid host2)" == "$daemons" ]]; }
yabctl migrate $vm host2 --postcopy-bandwidth 1 >"$YAB_LAB_OUT/migrate.out" 2>&1 &
migration=$!
until_switched host2 $migration || bail "the guest is not switched over with the right certificates"

jobinfo_says() { yabctl jobinfo $vm | grep -qE "paused .*$1"; }

# breaks WHAT HOST FOLDER PATTERN RIGHT: no connection comes up until the files are RIGHT
breaks()
{
	local before

	use "$2" "$3"
	ok "$1: pages are outstanding" test "$(present_on host2)" -lt "$pages"
	ss -K dport = 7655 >/dev/null
	ok "$1: no new connections, and jobinfo says why" until_true 30 jobinfo_says "$4"
	ok "$1: the source's guest does not resume" test "$(qmp host1 query-status | grep -c '"running": true')" = 0
	use "$2" "$5"
	before=$(present_on host2)
	ok "$1, and renewed: pages come again" until_true 60 has_more_than host2 "$before"
}

breaks "expired under way" host1 expired1 'client-cert.pem has expired' renewed1
breaks "wrong under way" host2 stranger 'is not for "host2"' host2
yabctl bandwidth $vm 0
wait $migration
ok "yabctl migrate succeeds" test $? = 0
sed 's/^/# /' "$YAB_LAB_OUT/migrate.out"
ok "the daemons were never restarted" daemons_are_the_same
ok "the guest runs on host2" guest_goes_on host2
ok "and every page is right" guest_final host2
ok "the source's QEMU is gone" until_true 10 no_qemu host1
finish
