#!/usr/bin/env bash
# From a fresh clone to a trained network: installs the packages, builds, and trains a small ResNet on Fashion-MNIST on
# two ranks. Safe to run again: what is there is kept. Arguments go to `lockstep train`.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS

say() { printf '[%4d s] %s\n' $((SECONDS - started)) "$*"; }

say "1/3 packages: g++, CMake, Open MPI, oneDNN, protobuf, libjpeg, Fashion-MNIST (about 1 minute on a bare machine)"
tools/setup.sh
say "2/3 build into build/cpu (2 to 4 minutes on 2 cores the first time)"
tools/build.sh cpu lockstep
say "3/3 train configs/fashion_mnist.pbtxt on 2 ranks (about 5 minutes on 2 cores; target: 93 % test accuracy)"

args=("$@")
[[ " ${args[*]-} " == *" --run-dir "* ]] || args+=(--run-dir "runs/fashion_mnist-$(date +%Y%m%d-%H%M%S)")
exec tools/mpi.sh 2 build/cpu/lockstep train configs/fashion_mnist.pbtxt "${args[@]}"
