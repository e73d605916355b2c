#!/usr/bin/env bash
# Installs what lockstep needs from the distribution's packages (Debian 12, Ubuntu 24.04). Does nothing, fast, when all
# is there. Run as root, or as a user with sudo.
#
#   tools/setup.sh           to build and train
#   tools/setup.sh --tests   also what the tests need, and a headless Chromium where the distribution packages one (without it, tests
#                            of pages are skipped); LOCKSTEP_NO_BROWSER=1: without
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
browser_packages=(chromium-headless-shell fonts-dejavu-core)

packages=("${build_packages[@]}")
wants_browser=
for argument in "$@"; do
  case $argument in
    --tests)
      packages+=("${test_packages[@]}")
      wants_browser=1
      ;;
    --cuda) "$(dirname "$0")/setup_cuda.sh" || exit $? ;;
    *)
      echo "setup: got '$argument', want --tests or --cuda" >&2
      exit 64
      ;;
  esac
done

is_installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
has_browser() { command -v chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable >/dev/null; }

missing=()
for package in "${packages[@]}"; do
  is_installed "$package" || missing+=("$package")
done
knows() { apt-cache show "$1" >/dev/null 2>&1; }
# Only where the package exists, which is not known before the first update: Ubuntu has a snap instead, which a container can't run.
may_install() { command -v apt-get >/dev/null && { [[ $(id -u) -eq 0 ]] || command -v sudo >/dev/null; }; }
if [[ -z $wants_browser || -n ${LOCKSTEP_NO_BROWSER-} ]] || has_browser || ! may_install || { knows bash && ! knows "${browser_packages[0]}"; }; then
  browser_packages=()
fi
if [[ ${#missing[@]} -eq 0 && ${#browser_packages[@]} -eq 0 ]]; then
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

echo "setup: installing (about 1 minute): ${missing[*]} ${browser_packages[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
wait_for_lock=(-o DPkg::Lock::Timeout=300)  # a machine that has just started may be installing updates
if ! { "${as_root[@]}" apt-get "${wait_for_lock[@]}" update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get "${wait_for_lock[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  echo "setup: apt-get failed (log: $log)" >&2
  exit 77
fi
# Not fatal: tests of pages are skipped by name.
if [[ ${#browser_packages[@]} -gt 0 ]] && ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get "${wait_for_lock[@]}" install -y --no-install-recommends "${browser_packages[@]}" >"$log" 2>&1; then
  echo "setup: no headless Chromium could be installed (${browser_packages[*]}): tests of pages will be skipped"
fi
rm -f "$log"
echo "setup: done in ${SECONDS} s"
