#!/bin/sh
# The first process of the guest, and the only script inside the image.
# Invariant: it knows nothing of what runs later. It loads the modules, reads the request from the runner's control
# port (fd 3) and becomes it; so a change of guest-init.sh needs no new image.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

while read -r module parameters; do
  insmod "/modules/$module" $parameters || echo "rxe: module $module did not load"
done </modules/order

# Ports appear a moment after their driver: at most 10 s.
tries=0
while [ ! -c /dev/vport0p3 ] && [ $tries -lt 1000 ]; do
  sleep 0.01
  tries=$((tries + 1))
done

for word in $(cat /proc/cmdline); do
  case $word in rxe.bytes=*) bytes=${word#rxe.bytes=} ;; esac
done
exec 3<>/dev/vport0p1
head -c "$bytes" <&3 >/run/request
. /run/request
