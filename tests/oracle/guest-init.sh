#!/bin/sh
# Process 1 of the guest kernel. Its root is the host's file tree, read-only, so
# every program it runs is the host's own. MODULES (kernel command line) names a
# file with one module path per line, dependencies first.
#
# The serial line is the way in: each line is run by a subshell; its output is
# followed by the octet 1, the exit status and a newline.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -opost -icrnl
[ -r "$MODULES" ] || exit 1
while read -r module; do
    busybox insmod "$module" || exit 1
done <"$MODULES"
ip link set lo up
printf '\001ready\n'
while IFS= read -r line; do
    (eval "$line")
    printf '\001%s\n' "$?"
done
busybox poweroff -f
