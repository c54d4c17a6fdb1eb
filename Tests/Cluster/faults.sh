#!/usr/bin/env bash
# Breaks jobs of `launch` over three emulated hosts in many ways, and prints what became of each:
# whether and when the fault was named, when no process of the job was left on a host that can be
# reached, the exit code of launch, and what was left anywhere a while later.
#
#   faults.sh [NAME...]    all faults, or those named
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
source "$here/common.sh"

# A cut-off rank ends itself after this; short, so that the script does not take long.
lease=10

now() { date +%s.%N; }

since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }

# Process numbers, as this machine sees them, of programs on a host.
processes() { # HOST PATTERN
  local host_space process
  host_space=$(readlink "/proc/$(cat "$CLUSTER_DIR/$1.pid")/ns/uts") || return 0
  for process in $(pgrep -f -- "$2" || true); do
    [[ $(readlink "/proc/$process/ns/uts" 2>/dev/null) != "$host_space" ]] || echo "$process"
  done
}

rank_on() { processes "$1" "^$program _rank-test" | head -n 1; }

launcher() { processes host-a "^$program launch" | head -n 1; }

signal() { # SIGNAL PROCESS...
  if [[ -n ${2:-} ]]; then kill "-$1" "${@:2}"; else fail "there is no process to break"; fi
}

# MARK: Faults. Each has the words that must be written and the exit code.

words='error: rank 2 on host-c (pid '
fault_rank_SIGKILL() { signal KILL "$(rank_on host-c)"; }
code_rank_SIGKILL=137
fault_rank_SIGSEGV() { signal SEGV "$(rank_on host-c)"; }
code_rank_SIGSEGV=139
fault_rank_exits_7() { :; }
code_rank_exits_7=7
job_rank_exits_7='2:exit=7'
# The code of a job that was asked to stop: nothing is wrong, and nobody is named.
fault_rank_exits_75() { :; }
words_rank_exits_75=-
code_rank_exits_75=75
job_rank_exits_75='2:exit=75'
fault_rank_SIGSTOP() { signal STOP "$(rank_on host-c)"; }
code_rank_SIGSTOP=71
fault_cable_cut() { "$cluster" cut host-c; }
code_cable_cut=71
fault_host_off() {
  "$cluster" cut host-c
  kill -KILL "$(cat "$CLUSTER_DIR/host-c.pid")"
}
code_host_off=71
fault_orted_SIGKILL() { signal KILL "$(processes host-c '^orted|/orted' | head -n 1)"; }
words_orted_SIGKILL='error: '
code_orted_SIGKILL='*'
# Nothing breaks at once: the job goes on, and launch ends what does not end by itself.
fault_orted_SIGSTOP() { signal STOP "$(processes host-c '^orted|/orted' | head -n 1)"; }
words_orted_SIGSTOP='warning: all ranks are done, but mpirun does not end'
code_orted_SIGSTOP=0
job_orted_SIGSTOP='2:sleep=4'
fault_launch_SIGTERM() { signal TERM "$(launcher)"; }
words_launch_SIGTERM='stopped by signal 15'
code_launch_SIGTERM=143
fault_mpirun_SIGTERM() { signal TERM "$(processes host-a '^[^ ]*mpirun ' | head -n 1)"; }
words_mpirun_SIGTERM='error: '
code_mpirun_SIGTERM='*'
fault_mpirun_SIGKILL() { signal KILL "$(processes host-a '^[^ ]*mpirun ' | head -n 1)"; }
words_mpirun_SIGKILL='error: mpirun was ended by signal 9'
code_mpirun_SIGKILL=137

# MARK: One fault

# Processes of the job on hosts that can be reached.
reachable() {
  local host
  for host in host-a host-b host-c; do
    [[ $1 =~ ^(cable_cut|host_off)$ && $host == host-c ]] || processes "$host" "$program"
  done
}

# A job whose ranks wait for rank 2, which sleeps or ends as the fault wants.
suffer() {
  local name=$1 job=job_$1 expected=words_$1 code_name=code_$1
  expected=${!expected:-$words}
  : >"$work/output"
  : >"$work/errors"
  launch --lease-seconds "$lease" _rank-test barrier step=3 0:say=ready sleep=2 \
    "${!job:-2:sleep=120}" barrier &
  local launched=$! start named=- gone=- deadline=$((SECONDS + 30))
  until grep -q ready "$work/output" || ((SECONDS > deadline)); do sleep 0.1; done
  # A rank that breaks itself does so two seconds after the others are ready.
  if [[ -n ${!job:-} && $name == rank_* ]]; then sleep 2; else sleep 1; fi
  start=$(now)
  "fault_$name"
  deadline=$((SECONDS + 40))
  while [[ $named == - || $gone == - ]] && ((SECONDS < deadline)); do
    [[ $expected != - ]] || named=nobody
    [[ $named != - ]] || ! grep -qF -- "$expected" "$work/errors" || named=$(since "$start")
    [[ $gone != - || -n $(reachable "$name") ]] || gone=$(since "$start")
    [[ $gone == - || $named != - ]] || break
    sleep 0.1
  done
  local result=0
  kill -KILL "$(launcher)" 2>/dev/null || true
  wait "$launched" || true
  result=$(cat "$work/code" 2>/dev/null || echo '?')
  local left=x
  for _ in $(seq $((2 * lease + 10))); do
    left=$("$cluster" ps 2>/dev/null || true)
    [[ -z $left ]] && break
    sleep 0.5
  done
  printf '%-16s %11s %9s %9s  %s\n' "$name" "$named" "$gone" "$result" \
    "$([[ -z $left ]] && echo nothing || echo "$left" | tr '\n' ';')"
  [[ $named != - ]] || { fail "$name: not written: $expected" && show; }
  [[ $gone != - ]] || fail "$name: the job is still there"
  # shellcheck disable=SC2053
  [[ $result == ${!code_name} ]] || { fail "$name: exit code $result" && show; }
  [[ -z $left ]] || fail "$name: left: $left"
  case $name in
    cable_cut) "$cluster" heal host-c ;;
    host_off) "$cluster" up ;;
  esac
}

variables=()
mkdir "$work/bin"
cp "$built" "$program"
"$cluster" up
hostfile host-a host-b host-c
faults=("$@")
((${#faults[@]})) || mapfile -t faults < <(declare -F | sed -n 's/^declare -f fault_//p' | sort)
printf '%-16s %11s %9s %9s  %s\n' fault 'named (s)' 'gone (s)' 'exit code' 'left behind'
for name in "${faults[@]}"; do suffer "$name"; done
((failures == 0)) || {
  echo "FAILED: $failures expectations" >&2
  exit 1
}
echo "OK: every fault was named and cleaned up"
