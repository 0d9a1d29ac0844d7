#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# qemu_postcopy.sh [preempt]: moves the same guest by QEMU's own postcopy, without the
# module and the daemons, and prints its figures as name=value lines.
: "${YAB_GUEST_MIB:=96}" "${YAB_GUEST_SIZE:=256M}"
. "$(dirname "$0")/../migration/lib.sh"
. "$(dirname "$0")/figures.sh"

preempt=${1:-}
caps=postcopy-ram
[[ -z $preempt ]] || caps+=" postcopy-preempt"

start()
{
	local host=$1
	shift

	on "$host" setsid sh -c "mkdir -p /run/yabusame; exec qemu-system-x86_64 \
		-nodefaults -no-user-config -display none \
		-machine pc,accel=kvm,memory-backend=ram0 -cpu host -smp 2 -m $size \
		-object memory-backend-memfd,id=ram0,size=$size,share=on \
		-kernel $YAB_LAB_VMLINUZ -initrd $guest/initramfs \
		-append 'console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check nokaslr yab.mib=$mib' \
		-chardev socket,id=serial0,path=$serial,server=on,wait=off,logfile=$console,logappend=on \
		-serial chardev:serial0 -device virtio-rng-pci \
		-qmp unix:$monitor,server=on,wait=off $* \
		</dev/null >/run/yabusame/$vm.log 2>&1 &"
	until_true 20 on "$host" test -S $monitor || bail "$host: QEMU does not start"
	local cap list=''
	for cap in $caps; do
		list+="${list:+, }{\"capability\": \"$cap\", \"state\": true}"
	done
	qmp_raw "$host" "{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": [$list]}}" \
		>/dev/null
}

trace_start host2 handle_userfault
start host1
guest_says host1 'guest: tick=' 120 || bail "the guest does not boot"
guest_warm
start host2 -incoming defer
qmp_raw host2 '{"execute": "migrate-incoming", "arguments": {"uri": "tcp:0.0.0.0:4444"}}' >/dev/null
qmp_raw host1 '{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 12500000000}}' >/dev/null
qmp_raw host1 '{"execute": "migrate", "arguments": {"uri": "tcp:host2:4444"}}' >/dev/null
# At once, as we do: without a precopy pass.
qmp_raw host1 '{"execute": "migrate-start-postcopy"}' >/dev/null

info=''
done_or_failed()
{
	info=$(qmp host1 query-migrate)
	[[ $info == *'"status": "completed"'* || $info == *'"status": "failed"'* ]]
}
until_true 120 done_or_failed || bail "QEMU's postcopy does not end: $info"
[[ $info == *'"status": "completed"'* ]] || bail "QEMU's postcopy failed: $info"
guest_goes_on host2 || bail "the guest does not run on host2"
field() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" <<<"$info"; }
guest_back "$(($(field downtime) * 1000))"
guest_final host2 || bail "wrong pages"
echo "downtime_us=$(($(field downtime) * 1000))"
echo "total_us=$(($(field total-time) * 1000))"
trace_figures host2
echo "worst_us=$(guest_figure host2 worst_us)"
echo "bytes=$(field transferred)"
