#!/usr/bin/env bash
# Searches for inputs that break a reader of foreign files, with libFuzzer under the address and undefined-behaviour sanitizers.
# Needs clang++ 16 or later (Debian 12: apt-get install clang-16 libclang-rt-16-dev; Ubuntu 24.04: clang). What it finds lies in
# build/fuzz/found; new seeds that reach new code are kept in build/fuzz/corpus. Reproduce a finding by naming it:
# build/fuzz/tests/TARGET_fuzz FILE. Fix it, then add it to tests/fuzz/corpus/TARGET.
#
#   tools/fuzz.sh                    the targets
#   tools/fuzz.sh TARGET [SECONDS]   searches for so long (default 600)
#   tools/fuzz.sh all [SECONDS]      each in turn
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
targets=(tar idx image index safetensors config)
target=${1:-}
seconds=${2:-600}
if [[ -z $target ]]; then
  printf '%s\n' "${targets[@]}"
  exit 0
fi
if [[ $target != all && " ${targets[*]} " != *" $target "* ]] || ! [[ $seconds =~ ^[0-9]+$ ]]; then
  echo "fuzz: got '$*', want one of: all ${targets[*]}; and a number of seconds" >&2
  exit 64
fi
[[ $target == all ]] || targets=("$target")

compiler=
for candidate in clang++ clang++-{21,20,19,18,17,16}; do
  version=$("$candidate" -dumpversion 2>/dev/null) || continue
  [[ ${version%%.*} -lt 16 ]] || { compiler=$candidate && break; }
done
[[ -n $compiler ]] || {
  echo "fuzz: no clang++ 16 or later here: apt-get install clang-16 libclang-rt-16-dev (Ubuntu 24.04: clang)" >&2
  exit 69
}
build=build/fuzz
mkdir -p "$build"
options=(
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1"
  -DLOCKSTEP_SANITIZE=address,undefined,fuzzer-no-link -DLOCKSTEP_WERROR=OFF
  # OpenMP's place is given, so that clang's own need not be installed: no target uses it.
  -DOpenMP_CXX_FLAGS=-fopenmp=libgomp -DOpenMP_CXX_LIB_NAMES=gomp -DOpenMP_gomp_LIBRARY=gomp
)
cmake -S . -B "$build" "${options[@]}" >"$build.log" 2>&1 || { tail -n 40 "$build.log" >&2; exit 1; }
cmake --build "$build" --parallel "$(nproc)" --target "${targets[@]/%/_fuzz}" >>"$build.log" 2>&1 || { tail -n 40 "$build.log" >&2; exit 1; }

failed=0
for name in "${targets[@]}"; do
  seeds=("tests/fuzz/corpus/$name")
  [[ $name != image ]] || seeds+=(tests/golden/images)
  mkdir -p "$build/corpus/$name" "$build/found/$name"
  echo "fuzz: $name for $seconds s"
  # Our own memory limits are the subject: a reader that asks for more than the input can need is a finding.
  ASAN_OPTIONS=detect_container_overflow=0 "$build/tests/${name}_fuzz" -max_total_time="$seconds" -max_len=65536 -timeout=5 -rss_limit_mb=512 \
    -print_final_stats=1 -artifact_prefix="$build/found/$name/" "$build/corpus/$name" "${seeds[@]}" >"$build/$name.log" 2>&1 || failed=1
  grep -E 'number_of_executed_units|SUMMARY|ERROR|broken promise|Test unit written' "$build/$name.log" || true
done
exit $failed
