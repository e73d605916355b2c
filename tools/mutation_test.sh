#!/usr/bin/env bash
# Breaks every op's backward pass on purpose, in every way that tests/ops/mutants.cpp knows, and lists which gradient check
# noticed. Fails if a mutant survives. Usage: tools/mutation_test.sh [build folder], default build/cpu.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/cpu}
[[ -f $build/build.ninja ]] || { echo "error: no build in $build: run 'cmake --preset cpu' first" >&2; exit 66; }
cmake --build "$build" --target ops_tests >&2
LOCKSTEP_LIST_MUTANTS=1 "$build/tests/ops_tests" --gtest_brief=1 --gtest_filter='Mutation.*'
