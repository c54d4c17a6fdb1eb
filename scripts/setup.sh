#!/usr/bin/env bash
# Makes the machine ready to build: checks Swift, installs missing libraries with apt.
# A second run installs nothing and needs no network.
set -euo pipefail

swift_version=6.3.1
packages=(build-essential libopenmpi-dev openmpi-bin libdnnl-dev libyaml-dev
  zlib1g-dev)
# What the Swift toolchain itself needs on Debian 12.
toolchain_packages=(binutils gcc libc6-dev libcurl4 libedit2 libncurses6 libpython3-dev
  libsqlite3-0 libstdc++-12-dev libxml2-dev libz3-dev tzdata zlib1g-dev)

fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  printf '  %s\n' "$@" >&2
  exit 1
}

check_swift() {
  local archive="swift-$swift_version-RELEASE-debian12"
  [[ $(uname -m) == aarch64 ]] && archive+=-aarch64
  local directory="debian12${archive#*debian12}"
  local url="https://download.swift.org/swift-$swift_version-release/$directory"
  url+="/swift-$swift_version-RELEASE/$archive.tar.gz"
  local install=(
    "fix: on Debian 12 these lines install Swift $swift_version under /opt/swift (as root):"
    "  apt-get install -y curl binutils gcc libc6-dev libcurl4 libedit2 libncurses6 \\"
    "    libpython3-dev libsqlite3-0 libstdc++-12-dev libxml2-dev libz3-dev tzdata zlib1g-dev"
    "  mkdir -p /opt/swift"
    "  curl -fL $url | tar -xz --strip-components 1 -C /opt/swift"
    "  export PATH=\"/opt/swift/usr/bin:\$PATH\"    # also in your ~/.profile"
    "other systems: https://www.swift.org/install/linux/"
  )
  command -v swift >/dev/null || fail "swift is not installed" "${install[@]}"
  local output version
  if ! output=$(swift --version 2>&1); then
    fail "$(command -v swift) does not start: ${output%%$'\n'*}" "${install[@]}"
  fi
  version=$(grep -oE 'Swift version [0-9]+\.[0-9]+' <<<"$output" | head -n 1 || true)
  version=${version##* }
  local major=${version%%.*} minor=${version##*.}
  if ((${major:-0} < 6 || (${major:-0} == 6 && ${minor:-0} < 3))); then
    fail "$(command -v swift) is version ${version:-unknown}, but 6.3 or later is needed" \
      "${install[@]}"
  fi
}

# Whether a toolchain was unpacked onto a Debian 12 that lacks libraries it needs.
toolchain_lacks_libraries() {
  [[ $(. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}") == "debian 12" ]] || return 1
  local swift directory
  swift=$(command -v swift) || return 1
  directory=$(dirname "$(readlink -f "$swift")")
  ldd "$directory"/{swift-frontend,swift-build,clang} 2>/dev/null | grep -q 'not found' ||
    ! command -v cc >/dev/null
}

# Asks dpkg, not the network.
missing_packages() {
  local package
  for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      echo "$package"
  done
}

install_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    if have_libraries; then return; fi
    fail "this system has no apt, and a library is missing" \
      "needed: a C compiler, Open MPI 4.1 or 5 with headers, oneDNN 2.6 or later with headers," \
      "        libyaml and zlib with headers (Debian: ${packages[*]})"
  fi
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} == 0)) && return
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      fail "missing: ${missing[*]}" "fix: run as root: apt-get install -y ${missing[*]}"
    as_root=(sudo)
  fi
  echo "installing ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
}

# Whether a C compiler finds the headers of all libraries.
have_libraries() {
  command -v mpirun >/dev/null && command -v mpicc >/dev/null &&
    printf '#include <mpi.h>\n#include <dnnl.h>\n#include <yaml.h>\n#include <zlib.h>\n' |
    mpicc -fsyntax-only -x c - 2>/dev/null
}

export PATH="$PATH:/opt/swift/usr/bin"
if toolchain_lacks_libraries; then packages+=("${toolchain_packages[@]}"); fi
install_packages
check_swift
