#!/usr/bin/env bash
# mpi.sh RANKS COMMAND...: mpirun on this machine with what lockstep needs: one thread per rank, more ranks than cores
# allowed, root allowed (containers). SIGTERM and Ctrl-C become SIGUSR1, the clean stop: all ranks end their step, save and
# exit with 75. (mpirun's own answer to SIGTERM is to kill its ranks one second later.) A second one ends the job at once.
set -euo pipefail
ranks=$1; shift
if [[ $(id -u) -eq 0 ]]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

set -m  # a process group of its own for mpirun, so that Ctrl-C reaches only this script
mpirun -n "$ranks" --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 "$@" </dev/null &
job=$!
stops=0
stop() {
  stops=$((stops + 1))
  if [[ $stops -eq 1 ]]; then kill -USR1 "$job"; else kill -TERM "$job"; fi
}
trap stop TERM INT
trap 'kill -USR1 "$job"' USR1

while :; do
  code=0
  wait "$job" || code=$?
  kill -0 "$job" 2>/dev/null || break  # a trapped signal also ends wait
done
exit "$code"
