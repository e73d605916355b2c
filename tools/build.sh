#!/usr/bin/env bash
# build.sh PRESET [TARGET...]: configures and builds one preset into build/PRESET. The compiler's output goes to
# build/PRESET/build.log; on failure its end is shown.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1; shift
mkdir -p "build/$preset"
log=build/$preset/build.log
targets=()
if [[ $# -gt 0 ]]; then targets=(--target "$@"); fi
# The first build of the binary alone does not need the tests' libraries, and a new compiler's new warning must not stop
# it; a folder that has tests keeps them.
options=(-DLOCKSTEP_TESTS=ON)
if [[ ${1:-} == lockstep ]]; then
  options=()
  [[ -f build/$preset/CMakeCache.txt ]] || options=(-DLOCKSTEP_TESTS=OFF -DLOCKSTEP_WERROR=OFF)
fi

begin=$SECONDS
if ! cmake --preset "$preset" ${options[@]+"${options[@]}"} >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
if ! cmake --build "build/$preset" -j "$(nproc)" ${targets[@]+"${targets[@]}"} >>"$log" 2>&1; then
  grep -E -A12 'FAILED|error' "$log" | tail -n 60 >&2 || tail -n 60 "$log" >&2
  echo "build: preset $preset failed; whole log: $log" >&2
  exit 1
fi
echo "build: preset $preset done in $((SECONDS - begin)) s"
