#!/usr/bin/env bash
# mpi.sh RANKS COMMAND...: mpirun on this machine with what lockstep needs: one thread per rank, more ranks than cores
# allowed, root allowed (containers). SIGTERM and Ctrl-C become SIGUSR1, the clean stop: all ranks end their step, save and
# exit with 75. (mpirun's own answer to SIGTERM is to kill its ranks one second later.) A second one ends the job at once.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: mpi.sh RANKS COMMAND..., for example: tools/mpi.sh 2 build/cpu/lockstep train configs/fashion_mnist.pbtxt" >&2
  exit 64
fi
ranks=$1; shift
if [[ $(id -u) -eq 0 ]]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export LOCKSTEP_LAUNCHER="tools/mpi.sh"  # what lockstep's hints name

set -m  # a process group of its own for mpirun, so that Ctrl-C reaches only this script
mpirun -n "$ranks" --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 "$@" </dev/null &
job=$!
stops=0
# shellcheck disable=SC2317  # called by the trap
stop() {
  stops=$((stops + 1))
  # A job that has just ended can't be signalled, and that is no error.
  if [[ $stops -eq 1 ]]; then kill -USR1 "$job" 2>/dev/null || true; else kill -TERM "$job" 2>/dev/null || true; fi
}
trap stop TERM INT
trap 'kill -USR1 "$job" 2>/dev/null || true' USR1

while :; do
  code=0
  wait "$job" || code=$?
  kill -0 "$job" 2>/dev/null || break  # a trapped signal also ends wait
done
# The job may have ended between such a wait and kill: `code` is then the signal's. Asked again, bash still knows the job's.
last=0
wait "$job" 2>/dev/null || last=$?
[[ $last -eq 127 ]] || code=$last  # 127: forgotten, because the first answer was the job's
exit "$code"
