# What test.sh and faults.sh share: hosts, the program on them, and words for what is expected.
# Ends the script, with exit code 0 and a loud line, where the machine cannot emulate hosts.
# shellcheck shell=bash

export CLUSTER_DIR
CLUSTER_DIR=$(mktemp -u /tmp/accelerate-swift-cluster.XXXXXX)
cluster=$here/cluster.sh

# Installs what is missing, but no ssh service on a machine that would start it.
install_missing() {
  ((EUID == 0)) && command -v apt-get >/dev/null && [[ ! -d /run/systemd/system ]] || return 0
  local missing=()
  [[ -x /usr/sbin/sshd ]] || missing+=(openssh-server)
  command -v ssh >/dev/null || missing+=(openssh-client)
  command -v ip >/dev/null || missing+=(iproute2)
  ((${#missing[@]})) || return 0
  echo "installing ${missing[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null || return 0
  DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null || return 0
}
install_missing

if ! reason=$("$cluster" check 2>&1); then
  echo "SKIPPED: the tests over several hosts did not run: $reason" >&2
  exit 0
fi

built=$here/../../.build/release/accelerate-swift
[[ -x $built ]] || {
  echo "$(basename "$0"): the program is not built: make build" >&2
  exit 1
}

work=$(mktemp -d /tmp/accelerate-swift-cluster-test.XXXXXX)
program=$work/bin/accelerate-swift
failures=0
code=0

finish() {
  local result=$?
  "$cluster" down
  rm -rf "$work"
  exit "$result"
}
trap finish EXIT
trap 'exit 130' INT TERM

# MARK: What tests say

fail() {
  echo "    FAIL: $1" >&2
  failures=$((failures + 1))
}

show() {
  sed 's/^/      | /' "$work/output" "$work/errors" >&2
}

expect_code() {
  [[ $code == "$1" ]] || {
    fail "exit code $code instead of $1"
    show
  }
}

expect() {
  grep -qF -- "$1" "$work/output" "$work/errors" || {
    fail "not written: $1"
    show
  }
}

expect_not() {
  if grep -qF -- "$1" "$work/output" "$work/errors"; then
    fail "written, but should not be: $1"
    show
  fi
}

expect_same() {
  cmp -s "$1" "$2" || fail "$1 and $2 differ"
}

# Waits until no host has a process left but its sshd.
expect_no_process() {
  local left=x
  for _ in $(seq 50); do
    left=$("$cluster" ps)
    [[ -z $left ]] && return
    sleep 0.2
  done
  fail "processes are left: $left"
}

# MARK: What tests do

on() { "$cluster" exec "$@"; }

hostfile() { printf '%s\n' "$@" >"$work/hostfile"; }

# Runs the program on host-a; its exit code is in $code, and in a file for a run in the background.
run() {
  code=0
  rm -f "$work/code"
  (cd "$work" && on host-a env "${variables[@]}" "$program" "$@") \
    >"$work/output" 2>"$work/errors" </dev/null || code=$?
  echo "$code" >"$work/code"
}

launch() { run launch --hostfile "$work/hostfile" --ssh-config "$CLUSTER_DIR/ssh_config" "$@"; }
