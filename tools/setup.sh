#!/usr/bin/env bash
# Installs what lockstep needs from the distribution's packages (Debian 12, Ubuntu 24.04). Does nothing, fast, when all
# is there. Run as root, or as a user with sudo.
#
#   tools/setup.sh           to build and train
#   tools/setup.sh --tests   also what the tests need
#   tools/setup.sh --cuda    also what preset cuda needs: checks the toolkit, cuDNN and NCCL, fetches cudnn-frontend's headers
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

build_packages=(
  g++ cmake ninja-build ccache pkg-config git ca-certificates
  libopenmpi-dev openmpi-bin libdnnl-dev protobuf-compiler libprotobuf-dev
  libjpeg-dev libpng-dev zlib1g-dev libxxhash-dev libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev
  dataset-fashion-mnist
)
test_packages=(libgtest-dev libgmock-dev python3-venv iproute2 procps)

packages=("${build_packages[@]}")
for argument in "$@"; do
  case $argument in
    --tests) packages+=("${test_packages[@]}") ;;
    --cuda) "$(dirname "$0")/setup_cuda.sh" || exit $? ;;
    *)
      echo "setup: got '$argument', want --tests or --cuda" >&2
      exit 64
      ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || {
    echo "setup: these packages are missing: ${missing[*]}" >&2
    echo "setup: run 'apt-get install -y ${missing[*]}' as root, then again" >&2
    exit 77
  }
  as_root=(sudo)
fi
command -v apt-get >/dev/null || {
  echo "setup: want Debian 12, Ubuntu 24.04 or another system with apt-get; install the counterparts of: ${missing[*]}" >&2
  exit 77
}

echo "setup: installing ${#missing[@]} packages (about 1 minute): ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
wait_for_lock=(-o DPkg::Lock::Timeout=300)  # a machine that has just started may be installing updates
if ! { "${as_root[@]}" apt-get "${wait_for_lock[@]}" update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get "${wait_for_lock[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "setup: apt-get failed (log: $log)" >&2
  exit 77
fi
rm -f "$log"
echo "setup: done in ${SECONDS} s"
