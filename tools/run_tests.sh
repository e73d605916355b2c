#!/usr/bin/env bash
# Installs what is missing, builds everything and runs all tests: the optimised build, then the fast tests again under the
# address + undefined and the thread sanitizer; where there is a CUDA toolkit also the product with CUDA, of which only the tests
# run that need no GPU or it alone. The last line is "N passed, N failed, N skipped"; skips are named above it.
#
#   tools/run_tests.sh              all of it
#   tools/run_tests.sh cpu          only the given presets (cpu, asan, tsan, cuda)
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
started=$SECONDS
say() { printf '[%4d s] %s\n' $((SECONDS - started)) "$*"; }

presets=("$@")
[[ ${#presets[@]} -gt 0 ]] || presets=(cpu cuda asan tsan)

say "packages"
tools/setup.sh --tests || exit $?
say "Python oracles (tensorboard, safetensors): tests that need them are skipped by name without"
python=$(tools/test_python.sh) && export LOCKSTEP_PYTHON=$python

results=$PWD/build/test-results
rm -rf "$results"
mkdir -p "$results"
broken=0

# A skip of a whole preset, in the form in which test programs report theirs.
skip_preset() {
  mkdir -p "$results/$1"
  printf '<testcase name="Builds" result="skipped" classname="Preset_%s"><skipped message="%s"/></testcase>\n' "$1" "$(tr '"<>&' "'()+" <<<"$2")" \
    >"$results/$1/preset.xml"
  say "preset $1: skipped: $2"
}

for preset in "${presets[@]}"; do
  # The sanitizers run the fast tests (the thread sanitizer those with threads), two programs at a time; nothing else of theirs is needed here.
  targets=()
  selection=()
  case $preset in
    cpu) ;;
    cuda)
      if ! reason=$(tools/setup_cuda.sh 2>&1); then
        skip_preset cuda "$(head -n 1 <<<"${reason#setup: }")"
        continue
      fi
      targets=(cuda_checks)
      selection=(-L cuda -j 2)
      ;;
    tsan)
      targets=(thread_tests)
      selection=(-L threads -j 2)
      ;;
    *)
      targets=(fast_tests)
      selection=(-L fast -j 2)
      ;;
  esac
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
