#!/usr/bin/env bash
# Installs what is missing, builds everything and runs all tests: the optimised build, then the fast tests again under the
# address + undefined and the thread sanitizer. The last line is "N passed, N failed, N skipped"; skips are named above it.
#
#   tools/run_tests.sh              all of it
#   tools/run_tests.sh cpu          only the given presets (cpu, asan, tsan)
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
started=$SECONDS
say() { printf '[%4d s] %s\n' $((SECONDS - started)) "$*"; }

presets=("$@")
[[ ${#presets[@]} -gt 0 ]] || presets=(cpu asan tsan)

say "packages"
tools/setup.sh --tests || exit $?
say "Python oracles (tensorboard, safetensors): tests that need them are skipped by name without"
python=$(tools/test_python.sh) && export LOCKSTEP_PYTHON=$python

results=$PWD/build/test-results
rm -rf "$results"
mkdir -p "$results"
broken=0
for preset in "${presets[@]}"; do
  # The sanitizers run the fast tests, two programs at a time; nothing else of theirs is needed here.
  targets=()
  selection=()
  if [[ $preset != cpu ]]; then
    targets=(fast_tests)
    selection=(-L fast -j 2)
  fi
  say "preset $preset: build"
  if ! tools/build.sh "$preset" ${targets[@]+"${targets[@]}"}; then
    echo "FAILED build of preset $preset"
    broken=$((broken + 1))
    continue
  fi
  say "preset $preset: test"
  mkdir -p "$results/$preset"
  # Leaks in libraries that are not ours are listed in tests/suppressions. The inner quotes: the path may hold spaces.
  GTEST_OUTPUT="xml:$results/$preset/" \
    LSAN_OPTIONS="suppressions='$PWD/tests/suppressions/lsan.txt'" \
    TSAN_OPTIONS="suppressions='$PWD/tests/suppressions/tsan.txt'" \
    ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --timeout 900 ${selection[@]+"${selection[@]}"} \
    --output-log "$results/$preset/ctest.log" >"$results/$preset/console.log" 2>&1
  grep -E '^ *[0-9]+/[0-9]+ Test' "$results/$preset/console.log"
  if grep -qE 'tests failed|Errors while' "$results/$preset/console.log"; then
    grep -vE '^ *(Start|[0-9]+/[0-9]+ Test)' "$results/$preset/console.log" | grep -vE '\[ +(OK|RUN) +\]' | tail -n 80
  fi
done

say "done"
tools/summarise_tests.sh "$results" "$broken"
