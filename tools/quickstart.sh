#!/usr/bin/env bash
# From a fresh clone to a trained network: installs the packages, builds, and trains a small ResNet on Fashion-MNIST on
# two ranks. Safe to run again: what is there is kept.
#
#   tools/quickstart.sh                  a new run in runs/fashion_mnist-<date>-<time>
#   tools/quickstart.sh --resume auto    goes on with the newest such run
#   tools/quickstart.sh --run-dir DIR    with this and all else: see `lockstep train --help`, which gets all arguments
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS

say() { printf '[%4d s] %s\n' $((SECONDS - started)) "$*"; }

say "1/3 packages: g++, CMake, Open MPI, oneDNN, protobuf, libjpeg, Fashion-MNIST (about 1 minute on a bare machine)"
tools/setup.sh
say "2/3 build into build/cpu (2 to 4 minutes on 2 cores the first time)"
tools/build.sh cpu lockstep
say "3/3 train configs/fashion_mnist.pbtxt on 2 ranks (about 5 minutes on 2 cores; target: 93 % test accuracy)"

run_dir="" resume=""
args=("$@")
for ((i = 0; i < ${#args[@]}; i++)); do
  case ${args[i]} in
    --run-dir) run_dir=${args[i + 1]-} ;;
    --run-dir=*) run_dir=${args[i]#*=} ;;
    --resume) resume=${args[i + 1]-} ;;
    --resume=*) resume=${args[i]#*=} ;;
  esac
done
if [[ -z $run_dir ]]; then
  run_dir=runs/fashion_mnist-$(date +%Y%m%d-%H%M%S)
  # The dates in the names sort by age. A path as --resume starts a new run from that checkpoint.
  if [[ $resume == auto || $resume == latest || $resume == best ]]; then
    for folder in runs/fashion_mnist-[0-9]*/; do
      [[ -d $folder ]] && run_dir=${folder%/}
    done
    say "--resume $resume without --run-dir: in $run_dir"
  fi
  args+=(--run-dir "$run_dir")
fi
exec tools/mpi.sh 2 build/cpu/lockstep train configs/fashion_mnist.pbtxt "${args[@]}"
