#!/usr/bin/env bash
# Tests `launch` between three emulated hosts, over real ssh; see cluster.sh.
#
#   test.sh [NAME...]    runs all tests, or those named
#
# Skips itself, with exit code 0 and a loud line, where the machine cannot emulate hosts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
source "$here/common.sh"

train=(train --max-steps 4 --warmup-steps 1 --packs-per-step 10)

# The numbers of a run that must not depend on the hosts.
numbers() {
  grep -oE '"(step|loss|router_loss|gradient_norm|eval_loss)": [^,}]+' "$work/$1/metrics.jsonl"
}

trained_as() {
  expect_code 0
  expect_same "$work/$1/adapter_model.safetensors" "$work/$2/adapter_model.safetensors"
  [[ -n $(numbers "$1") && $(numbers "$1") == "$(numbers "$2")" ]] ||
    fail "the losses of $1 and $2 differ"
}

# MARK: Tests

test_same_bits_on_any_hosts() {
  run "${train[@]}" --output "$work/alone"
  expect_code 0
  cp "$work/output" "$work/alone.output"
  hostfile host-a host-b host-c
  launch "${train[@]}" --output "$work/three"
  trained_as alone three
  expect_same "$work/alone.output" <(sed 's/three/alone/' "$work/output")
  expect "3 hosts are ready"
  hostfile 'host-a slots=2' 'host-b slots=2' host-c
  launch "${train[@]}" --output "$work/five"
  trained_as alone five
}

test_weakest_processor_decides() {
  [[ $(uname -m) == x86_64 ]] || return 0
  variables=(ONEDNN_MAX_CPU_ISA=AVX2)
  run "${train[@]}" --output "$work/weak"
  variables=()
  echo 'SetEnv ONEDNN_MAX_CPU_ISA=AVX2' >"$CLUSTER_DIR/host-c.extra"
  on host-c kill -HUP 1
  sleep 0.5
  hostfile host-a host-b host-c
  launch "${train[@]}" --output "$work/mixed"
  trained_as weak mixed
  grep -q avx512 /proc/cpuinfo && expect "limited to avx2, which all have"
  : >"$CLUSTER_DIR/host-c.extra"
  on host-c kill -HUP 1
  sleep 0.5
}

test_a_failing_rank_is_named() {
  hostfile 'host-a slots=2' 'host-b slots=2' host-c
  launch _rank-test '3:throw=no memory' sleep=60
  expect_code 3
  expect '[rank 3] error: step 3: no memory'
  expect 'error: rank 3 on host-b exited with code 3; the other ranks were stopped'
  launch _rank-test 4:signal=9 sleep=60
  expect_code 137
  expect 'error: rank 4 on host-c (pid '
  expect ') was ended by signal 9'
}

# Everything that can be wrong before the start, on all hosts at once.
test_all_problems_are_told_at_once() {
  mkdir "$work/other"
  { cat "$built" && echo x; } >"$work/other/accelerate-swift"
  chmod +x "$work/other/accelerate-swift"
  on host-b mount -t tmpfs tmpfs "$work/bin"
  on host-c mount --bind "$work/other" "$work/bin"
  hostfile host-a host-b host-c no-such-host
  launch generate --model "$work/no-model" --prompt x
  expect_code 2
  expect '4 of 4 hosts are not ready; nothing was started'
  expect "$program: does not run there:"
  expect "$program: another program than here"
  expect 'Could not resolve hostname no-such-host'
  [[ $(grep -cF -- "--model $work/no-model: does not exist there" "$work/errors") == 2 ]] ||
    fail "the missing model is not told for host-a and host-c"
  on host-b umount "$work/bin"
  on host-c umount "$work/bin"
}

test_models_must_be_there_and_the_same() {
  local model=$work/model
  # The demo's model, as the program writes it out.
  variables=("XDG_CACHE_HOME=$work/cache")
  run generate --prompt x --max-new-tokens 1
  variables=()
  cp -r "$work/cache/accelerate-swift/demo/model" "$model"
  hostfile host-a host-b host-c
  launch generate --model "$model" --prompt x --max-new-tokens 1
  expect_code 0

  on host-b mount -t tmpfs tmpfs "$model"
  cp -r "$model" "$work/changed"
  local file
  file=$(find "$work/changed" -name '*.safetensors' | head -n 1)
  printf '\xff' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") - 100)) conv=notrunc status=none
  on host-c mount --bind "$work/changed" "$model"
  launch generate --model "$model" --prompt x
  expect_code 2
  expect '2 of 3 hosts are not ready'
  expect "differs from that of host-a"
  on host-b umount "$model"
  on host-c umount "$model"

  printf 'MemTotal: 2048 kB\nMemAvailable: 1024 kB\n' >"$work/meminfo"
  on host-c mount --bind "$work/meminfo" /proc/meminfo
  launch generate --model "$model" --prompt x
  expect_code 2
  expect '1 of 3 hosts is not ready'
  expect 'memory: its part of the base takes'
  on host-c umount /proc/meminfo
}

test_one_machine_has_one_line() {
  hostfile host-a host-b 10.83.0.12
  launch _rank-test say=hello
  expect_code 2
  expect 'is the same machine as host-b'
  # Its own address needs no ssh.
  hostfile 10.83.0.11 host-b
  launch _rank-test say=hello
  expect_code 0
}

test_an_unreachable_host_is_named() {
  hostfile host-a host-b host-c
  "$cluster" cut host-b
  local start=$SECONDS
  launch _rank-test say=hello
  expect_code 2
  expect 'host-b:'
  expect 'cannot be reached: ssh: connect to host host-b port 22'
  expect_not hello
  ((SECONDS - start <= 10)) || fail "it took $((SECONDS - start)) s"
  "$cluster" heal host-b
}

test_nothing_is_run_by_remote_shells() {
  local file=$work/injected name value
  hostfile host-a host-b host-c
  variables=("OMPI_MCA_x=\"; touch $file; \"" "OMPI_MCA_plm_rsh_agent=touch $file")
  launch _rank-test say=hello "say=\"; touch $file; \$(touch $file)"
  variables=()
  expect_code 0
  expect 'hello'
  expect 'warning: the environment variable OMPI_MCA_x is ignored'
  # shellcheck disable=SC2016
  for name in "-oProxyCommand=touch\${IFS}$file" "\$(touch\${IFS}$file)" '`id`' 'a;b' \
    'root@host-b'; do
    hostfile host-a "$name"
    launch _rank-test say=hello
    expect_code 2
    expect 'is no host name'
  done
  hostfile host-a host-b
  for value in "eth0;touch $file" '-x' '10.0.0.0/99' '$(id)'; do
    launch --network-interface "$value" _rank-test say=hello
    expect_code 2
  done
  [[ ! -e $file ]] || fail "a remote shell made $file"
}

test_secrets_stay_at_home() {
  hostfile host-a host-b host-c
  local secret=wandb-4711-secret host
  variables=("WANDB_API_KEY=$secret" "ACCELERATE_TOKEN=$secret" "HF_TOKEN=$secret")
  launch _rank-test sleep=6 &
  local job=$!
  sleep 4
  for host in host-b host-c; do
    [[ $("$cluster" ps | grep -c "^$host .*_rank-test") -ge 1 ]] || fail "no rank runs on $host"
    if on "$host" bash -c 'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ' 2>/dev/null |
      grep -qaF "$secret"; then
      fail "$host has seen the secret"
    fi
  done
  on host-a bash -c 'cat /proc/[0-9]*/cmdline' 2>/dev/null | tr '\0' '\n' |
    grep -v "^WANDB\|^ACCELERATE\|^HF" | grep -qaF "$secret" && fail "it is on a command line"
  wait "$job"
  variables=()
}

test_interfaces() {
  local host value
  hostfile host-a host-b host-c
  for host in host-a host-b host-c; do
    on "$host" ip link add docker0 type bridge
    on "$host" ip addr add 172.17.0.1/16 dev docker0
    on "$host" ip link set docker0 up
  done
  launch _rank-test collectives=100000
  expect_code 0
  expect 'collectives right on 0 of 3'
  for value in eth0 10.83.0.0/24; do
    launch --network-interface "$value" --verbose _rank-test collectives=1000
    expect_code 0
    expect "--mca btl_tcp_if_include $value --mca oob_tcp_if_include $value"
  done
  launch --network-interface eth7 _rank-test collectives=1000
  expect_code 2
  expect '3 of 3 hosts are not ready'
  expect '--network-interface eth7: this host has only lo 127.0.0.1, eth0 10.83.0.12'
  for host in host-a host-b host-c; do on "$host" ip link del docker0; done
}

test_a_stopped_job_leaves_nothing() {
  hostfile host-a host-b host-c
  launch _rank-test sleep=60 &
  local job=$!
  sleep 4
  on host-a bash -c 'kill -TERM $(grep -lz "^launch$" /proc/[0-9]*/cmdline | cut -d / -f 3)' || true
  wait "$job" || true
  expect 'stopped by signal 15'
}

test_links_have_the_rate() {
  hostfile host-a host-b
  "$cluster" rate 100mbit
  launch _rank-test gather=2000000
  expect_code 0
  # 2 MB take 160 ms at least; without the limit 10 ms.
  local milliseconds
  milliseconds=$(grep -oE '[0-9.]+ seconds' "$work/output" | sort -n | head -n 1)
  awk -v s="${milliseconds% *}" 'BEGIN { exit !(s > 0.1 && s < 2) }' ||
    fail "a gather of 2 MB at 100 Mbit/s took ${milliseconds:-no time}"
  "$cluster" rate free
}

test_a_cut_cable_ends_the_run() {
  hostfile host-a host-b host-c
  launch _rank-test sleep=120 &
  local job=$! start
  sleep 4
  start=$SECONDS
  "$cluster" cut host-c
  wait "$job" || true
  ((SECONDS - start <= 30)) || fail "it took $((SECONDS - start)) s"
  expect 'error: rank 2 on host-c (pid '
  expect 'it is stopped, or its host is cut off; stopping all ranks'
  "$cluster" heal host-c
}

# MARK: All of it

mkdir "$work/bin"
cp "$built" "$program"
"$cluster" up
tests=("$@")
((${#tests[@]})) || mapfile -t tests < <(declare -F | sed -n 's/^declare -f test_//p' | sort)
for name in "${tests[@]}"; do
  start=$SECONDS before=$failures
  variables=()
  "test_$name"
  expect_no_process
  echo "  $([[ $failures == "$before" ]] && echo ok || echo FAILED)  ${name//_/ } ($((SECONDS - start)) s)"
done
((failures == 0)) || {
  echo "FAILED: $failures expectations over several hosts" >&2
  exit 1
}
echo "OK: all tests over several hosts passed"
