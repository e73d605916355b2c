#!/usr/bin/env bash
# mpi.sh RANKS COMMAND...: mpirun on this machine with what lockstep needs: one thread per rank, more ranks than cores
# allowed, root allowed (containers), and time to save a checkpoint between SIGTERM and SIGKILL.
set -euo pipefail
ranks=$1; shift
if [[ $(id -u) -eq 0 ]]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Open MPI kills its ranks 1 s after SIGTERM by default; a rank needs to end its step and save.
export OMPI_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout:-60}
exec mpirun -n "$ranks" --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 "$@"
