#!/usr/bin/env bash
# Starts a program of a bundle (tools/gpu_bundle.sh): called as bin/lockstep it starts programs/lockstep, with the bundle's
# libraries and with NVIDIA's where this machine has them.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
name=$(basename "$0")
root=$(cd "$(dirname "$0")/.." && pwd)
[[ $name == mpirun ]] && name=orterun

needs=$(sed -n 's/^glibc //p' "$root/BUNDLE")
has=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}')
if [[ -z $has || $(printf '%s\n%s\n' "$needs" "$has" | sort -V | head -n 1) != "$needs" ]]; then
  echo "$name: this machine has glibc ${has:-of another kind}, the bundle needs $needs: make it on an older system, or build here" >&2
  exit 71
fi
# Said once: the ranks and programs that this one starts find it set.
if [[ -z ${LOCKSTEP_BUNDLE_LIBRARIES+x} ]]; then
  export LOCKSTEP_BUNDLE_LIBRARIES=${LOCKSTEP_GPU_LIBRARIES-$("$root/tools/gpu_libraries.sh")}
fi
paths=$root/lib${LOCKSTEP_BUNDLE_LIBRARIES:+:$LOCKSTEP_BUNDLE_LIBRARIES}
case ${LD_LIBRARY_PATH-} in
  "$paths"*) ;;  # started by another program of the bundle
  *) export LD_LIBRARY_PATH=$paths${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ;;
esac
# Open MPI's files, wherever the bundle lies.
export OPAL_PREFIX=$root OPAL_LIBDIR=$root/lib OPAL_PKGLIBDIR=$root/lib/openmpi/lib/openmpi3 OPAL_DATADIR=$root/share OPAL_PKGDATADIR=$root/share/openmpi
export OMPI_MCA_mca_base_component_path=$root/lib/openmpi/lib/openmpi3 OMPI_MCA_mca_base_component_show_load_errors=0
# Processes of one machine meet through shared memory, also where containers forbid to read each other's; no remote shell is looked for.
export OMPI_MCA_plm=isolated OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_pml=ob1
exec "$root/programs/$name" "$@"
