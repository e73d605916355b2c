#!/usr/bin/env bash
# gpu_check.sh: everything that needs a GPU, in one command of under 9 minutes: parity of every op, compute-sanitizer, same bits,
# Fashion-MNIST to 93 %, ResNet-50's steps and kernels, PyTorch beside it. Writes one Markdown report, anew after each result.
# Runs from a bundle (tools/gpu_bundle.sh) or from a checkout with build/cuda; needs Python 3.8 and nothing else installed.
#
#   tools/gpu_check.sh                                 all of it, report in bench/results
#   tools/gpu_check.sh --parts steps,peer --minutes 5  see --help
#   tools/gpu_check.sh --emulated                      tries the script without a GPU, on build/cpu's emulated device
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."

emulated=0 help=0
for word in "$@"; do
  case $word in
    --emulated) emulated=1 ;;
    --help | -h) help=1 ;;
  esac
done
if ! command -v python3 >/dev/null; then
  echo "gpu_check: want python3 (3.8 or later) on the PATH" >&2
  exit 77
fi
options=()
if [[ -f BUNDLE ]]; then
  export PATH=$PWD/bin:$PATH  # mpirun
  options=(--binary bin/lockstep --tests bin/cuda_gpu_tests --data "$PWD/data/fashion-mnist")
elif [[ $emulated == 1 ]]; then
  build=${LOCKSTEP_BUILD:-build/cpu}
  options=(--binary "$build/lockstep_emulated" --tests "$build/tests/cuda_tests")
else
  build=${LOCKSTEP_BUILD:-build/cuda}
  options=(--binary "$build/lockstep" --tests "$build/tests/cuda_gpu_tests")
fi
for program in "${options[1]}" "${options[3]}"; do
  if [[ $help == 0 && ! -x $program ]]; then
    echo "gpu_check: no $program: build it with: tools/build.sh $([[ $emulated == 1 ]] && echo cpu || echo cuda)" >&2
    exit 66
  fi
done
if [[ $emulated == 0 ]]; then
  LOCKSTEP_GPU_LIBRARIES=$(tools/gpu_libraries.sh)
  export LOCKSTEP_GPU_LIBRARIES  # for our programs; PyTorch finds its own
fi
exec python3 bench/gpu_check.py "${options[@]}" "$@"
