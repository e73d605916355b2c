#!/usr/bin/env bash
# mpi_run.sh RANKS COMMAND...: runs a command under mpirun the way our tests need it: one thread per rank, more ranks
# than cores allowed, root allowed (containers), no core binding, idle ranks yield.
set -euo pipefail
ranks=$1; shift
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun -n "$ranks" --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 "$@"
