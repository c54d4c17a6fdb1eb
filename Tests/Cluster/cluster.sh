#!/usr/bin/env bash
# Emulates three hosts on one Linux machine, to test what needs several.
#
# Each host has network, host name, process numbers and mounts of its own (namespaces), an address
# and an sshd. The switch between them lives in a namespace, too: nothing is added to the machine's
# own network, and no packet can leave the machine. Keys and settings lie in one temporary
# directory; nothing in any home directory is read or written.
#
#   cluster.sh check             says whether this machine can do it (exit code 1: why not)
#   cluster.sh up                builds the hosts; replaces those of an earlier `up`
#   cluster.sh exec HOST CMD...  runs a command on a host: host-a, host-b or host-c
#   cluster.sh rate RATE [BURST] limits every link both ways, for example 100mbit; `free` ends it
#   cluster.sh cut HOST          pulls the host's cable
#   cluster.sh heal HOST         puts it back
#   cluster.sh ps                lists the processes of every host, without its sshd
#   cluster.sh dir               prints the directory with hosts, ssh_config and keys
#   cluster.sh down              ends all processes and deletes everything
#
# CLUSTER_DIR chooses the directory.
set -euo pipefail

hosts=(host-a host-b host-c)
network=10.83.0
dir=${CLUSTER_DIR:-/tmp/accelerate-swift-cluster}
# Names of network namespaces are the machine's; the interfaces live inside them.
prefix=accelerate-test
switch=$prefix-switch

fail() {
  echo "cluster.sh: $1" >&2
  exit 1
}

address() {
  case $1 in
    host-a) echo $network.11 ;;
    host-b) echo $network.12 ;;
    host-c) echo $network.13 ;;
    *) fail "there is no host \"$1\"; there are ${hosts[*]}" ;;
  esac
}

# The first process of a host, seen from outside.
first_process() {
  address "$1" >/dev/null
  cat "$dir/$1.pid" 2>/dev/null || fail "$1 is not up"
}

on() {
  local process
  process=$(first_process "$1")
  shift
  nsenter -t "$process" -n -u -p -m -- env -C "$PWD" -- "$@"
}

check() {
  ((EUID == 0)) || fail "needs root"
  local program
  for program in ip tc nsenter unshare setsid ssh ssh-keygen /usr/sbin/sshd; do
    command -v "$program" >/dev/null ||
      fail "$program is missing: apt-get install iproute2 util-linux openssh-client openssh-server"
  done
  unshare --net --uts --pid --mount --fork true 2>/dev/null ||
    fail "this machine does not permit namespaces (in a container: run it privileged)"
}

write_settings() {
  mkdir -m 700 "$dir"
  ssh-keygen -q -t ed25519 -N '' -C cluster -f "$dir/key"
  echo "127.0.0.1 localhost" >"$dir/hosts"
  local host
  for host in "${hosts[@]}"; do
    echo "$(address "$host") $host" >>"$dir/hosts"
    ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$dir/$host.key"
    echo "$host,$(address "$host") $(cut -d ' ' -f 1,2 "$dir/$host.key.pub")" >>"$dir/known_hosts"
    # Tests add lines to $host.extra and send SIGHUP to process 1.
    : >"$dir/$host.extra"
    cat >"$dir/$host.sshd" <<SETTINGS
Include $dir/$host.extra
ListenAddress $(address "$host")
HostKey $dir/$host.key
AuthorizedKeysFile $dir/key.pub
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
MaxStartups 100
Subsystem sftp internal-sftp
SETTINGS
  done
  cat >"$dir/ssh_config" <<SETTINGS
Host *
  User root
  IdentityFile $dir/key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile $dir/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  LogLevel ERROR
SETTINGS
}

# What the first process of a host does before it becomes the sshd.
start_host='
  hostname "$2"
  mount --make-rprivate /
  mount -t proc proc /proc
  mount -t tmpfs -o size=2g tmpfs /dev/shm
  mount -t tmpfs tmpfs /run
  mkdir /run/sshd
  mount --bind "$1/hosts" /etc/hosts
  exec /usr/sbin/sshd -D -e -f "$1/$2.sshd"'

up() {
  check
  down
  write_settings
  ip netns add "$switch"
  ip -n "$switch" link add bridge type bridge
  ip -n "$switch" link set bridge up
  local host process child
  for host in "${hosts[@]}"; do
    ip netns add "$prefix-$host"
    ip -n "$switch" link add "$host" type veth peer name eth0 netns "$prefix-$host"
    ip -n "$switch" link set "$host" master bridge up
    ip -n "$prefix-$host" link set lo up
    ip -n "$prefix-$host" addr add "$(address "$host")/24" dev eth0
    ip -n "$prefix-$host" link set eth0 up
    setsid nsenter --net="/run/netns/$prefix-$host" \
      unshare --uts --pid --mount --fork --kill-child=SIGKILL \
      bash -c "$start_host" start "$dir" "$host" >"$dir/$host.log" 2>&1 </dev/null &
    process=$!
    for _ in $(seq 100); do
      child=$(cat "/proc/$process/task/$process/children" 2>/dev/null || true)
      child=${child%% *}
      if [[ -n $child && $(cat "/proc/$child/comm" 2>/dev/null) == sshd ]]; then
        echo "$child" >"$dir/$host.pid"
        break
      fi
      sleep 0.05
    done
    [[ -s $dir/$host.pid ]] || fail "$host did not start: $(cat "$dir/$host.log")"
  done
  for host in "${hosts[@]}"; do
    for _ in $(seq 50); do
      on host-a ssh -F "$dir/ssh_config" -o BatchMode=yes "$host" true 2>/dev/null && continue 2
      sleep 0.1
    done
    on host-a ssh -F "$dir/ssh_config" -o BatchMode=yes "$host" true || fail "no ssh to $host"
  done
}

down() {
  local host file process
  for host in "${hosts[@]}"; do
    file=$dir/$host.pid
    if [[ -s $file ]]; then
      process=$(cat "$file")
      # The end of its first process ends every process of a host.
      if [[ $(cat "/proc/$process/comm" 2>/dev/null) == sshd ]]; then
        kill -KILL "$process"
        while [[ -e /proc/$process ]]; do sleep 0.02; done
      fi
    fi
    [[ ! -e /run/netns/$prefix-$host ]] || ip netns del "$prefix-$host"
  done
  [[ ! -e /run/netns/$switch ]] || ip netns del "$switch"
  rm -rf "$dir"
}

limit() {
  local host
  for host in "${hosts[@]}"; do
    local ends=("-n $switch qdisc REPLACE dev $host" "-n $prefix-$host qdisc REPLACE dev eth0")
    local end
    for end in "${ends[@]}"; do
      if [[ $1 == free ]]; then
        # shellcheck disable=SC2086
        tc ${end/REPLACE/del} root 2>/dev/null || true
      else
        # shellcheck disable=SC2086
        tc ${end/REPLACE/replace} root tbf rate "$1" burst "${2:-64kb}" latency 50ms
      fi
    done
  done
}

list() {
  local host process name
  for host in "${hosts[@]}"; do
    for process in $(on "$host" bash -c 'cd /proc && echo [0-9]*'); do
      name=$(on "$host" cat "/proc/$process/comm" 2>/dev/null || true)
      [[ -z $name || $name == sshd || $name == bash || $name == cat ]] ||
        echo "$host $process $(on "$host" cat "/proc/$process/cmdline" | tr '\0' ' ')"
    done
  done
}

case ${1:-} in
  check) check ;;
  up) up ;;
  down) down ;;
  exec) shift && on "$@" ;;
  rate) limit "${2:?a rate such as 100mbit, or free}" "${3:-}" ;;
  cut) address "${2:?a host}" >/dev/null && ip -n "$switch" link set "$2" down ;;
  heal) address "${2:?a host}" >/dev/null && ip -n "$switch" link set "$2" up ;;
  ps) list ;;
  dir) echo "$dir" ;;
  *)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
    exit 2
    ;;
esac
