# The guest's setup and the life of the command; runs as process 1 after stub-init.sh, below the lines that
# request.mjs composed (marker, now, the network's and stdin's names, mount_shares, become_command).
# Invariant: the status goes to the runner last: after the command and everything it started are gone, their output
# has been handed over up to the marker, and the shares are flushed.
: "${marker:?}" "${now:?}" "${card:?}" "${rxe_address:?}" "${rxe_host:?}" "${neighbours?}" "${input:?}"

fail() {
  echo "rxe: $*"
  echo "fail $*" >&3
  sleep 10
  poweroff -f
}

mount_share() {
  mkdir -p "/guest$2"
  mount -t 9p -o rw,trans=virtio,version=9p2000.L,msize=512000,cache=mmap "$1" "/guest$2" || fail "cannot share $2"
}

mount_root() {
  mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || fail 'no host root'
  mount -t tmpfs -o mode=755,size=60% over /over
  mkdir /over/upper /over/work
  mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /guest || fail 'no overlay'
  mkdir -p /guest/proc /guest/sys /guest/dev /guest/run /guest/tmp
  chmod 1777 /guest/tmp
  mount -t proc proc /guest/proc
  mount -t sysfs sys /guest/sys
  mount -t devtmpfs dev /guest/dev
  mkdir -p /guest/dev/pts /guest/dev/shm
  mount -t devpts -o mode=620,ptmxmode=666 devpts /guest/dev/pts
  mount -t tmpfs -o mode=1777,size=60% shm /guest/dev/shm
  mount -t tmpfs -o mode=755 run /guest/run
  mkdir -p /guest/run/lock
  ln -sf /proc/self/fd /guest/dev/fd
  ln -sf /proc/self/fd/0 /guest/dev/stdin
  ln -sf /proc/self/fd/1 /guest/dev/stdout
  ln -sf /proc/self/fd/2 /guest/dev/stderr
}

set_names() {
  hostname $rxe_host
  echo $rxe_host >/guest/etc/hostname
  {
    echo '127.0.0.1 localhost'
    echo '::1 localhost ip6-localhost ip6-loopback'
    echo "$rxe_address $rxe_host"
    echo "$neighbours"
  } >/guest/etc/hosts
}

start_network() {
  ip link set lo up
  if [ "$card" = dummy ]; then ip link add eth0 type dummy || fail 'no network interface'; fi
  ip addr add $rxe_address/24 dev eth0
  ip link set eth0 up
  # The host's program for RDMA devices; busybox has none.
  PATH=/usr/sbin:/usr/bin:/sbin:/bin /bin/chroot /guest rdma link add rxe0 type rxe netdev eth0 || fail 'no rxe0'
}

# Everything but process 1 and the processes named; kernel threads have no executable.
kill_all_but() {
  for pass in 1 2 3 4 5; do
    found=0
    for entry in /proc/[0-9]*; do
      pid=${entry#/proc/}
      case " 1 $* " in *" $pid "*) continue ;; esac
      [ -e "$entry/exe" ] && kill -9 "$pid" 2>/dev/null && found=1
    done
    [ $found -eq 0 ] && return
    sleep 0.0$pass
  done
}

# The clock of an emulated machine may start off by some seconds.
drift=$(($(date +%s) - now))
if [ $drift -gt 120 ] || [ $drift -lt -2 ]; then date -s "@$now" >/dev/null; fi
mount_root
set_names
start_network
mount_shares

ulimit -l unlimited
ulimit -c 0
ulimit -Hn 1048576

# A port appears a moment after those before it: at most 10 s.
tries=0
while [ ! -c "$input" ] && [ $tries -lt 1000 ]; do
  sleep 0.01
  tries=$((tries + 1))
done

exec 4>/dev/vport0p2 5>/dev/vport0p3
mkfifo /run/out /run/err
cat /run/out >&4 3>&- 5>&- &
out=$!
cat /run/err >&5 3>&- 4>&- &
err=$!
# When the runner is gone its end of the control port closes, and the guest has no reason to live.
{ while read -r _; do :; done <&3; poweroff -f; } 4>&- 5>&- &
watch=$!

echo ready >&3
(become_command) <"$input" >/run/out 2>/run/err 3>&- 4>&- 5>&-
status=$?
kill_all_but $out $err $watch
wait $out $err
printf '\036%s' "$marker" >&4
printf '\036%s' "$marker" >&5
sync
echo "exit $status" >&3
# The runner ends the guest once it has handed over all output, however slow its reader is.
wait $watch
poweroff -f
