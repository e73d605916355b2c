#!/usr/bin/env bash
# gpu_bundle.sh: packs everything that tools/gpu_check.sh needs into one archive for a machine that has a GPU, its driver, Python 3
# and NVIDIA's libraries (a toolkit or PyTorch's wheels), but no MPI, protobuf or oneDNN: programs, libraries, Open MPI's plugins,
# configs, Fashion-MNIST. There:
#
#   tar xf lockstep-gpu.tar.xz && lockstep-gpu/tools/gpu_check.sh
#
#   tools/gpu_bundle.sh                          builds preset cuda, writes build/lockstep-gpu.tar.xz
#   tools/gpu_bundle.sh --build DIR --out FILE   an existing build; another file
#   tools/gpu_bundle.sh --without-data           without Fashion-MNIST (30 MB)
#   tools/gpu_bundle.sh --limit MIB --level N    fails above this size (60); xz's effort (9)
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."

build="" out=build/lockstep-gpu.tar.xz data=/usr/share/datasets/fashion-mnist limit=60 level=9
usage() {
  sed -n '2,/^# SPDX/{/^# SPDX/!s/^# \{0,1\}//p}' "$0"
}
while [[ $# -gt 0 ]]; do
  case $1 in
    --build) build=${2:?--build: name a folder}; shift ;;
    --out) out=${2:?--out: name a file}; shift ;;
    --limit) limit=${2:?--limit: name a number of MiB}; shift ;;
    --level) level=${2:?--level: name a number from 0 to 9}; shift ;;
    --data) data=${2:?--data: name a folder}; shift ;;
    --without-data) data="" ;;
    --help) usage; exit 0 ;;
    *) echo "gpu_bundle: unknown option $1; see --help" >&2; exit 64 ;;
  esac
  shift
done
fail() {
  echo "gpu_bundle: $*" >&2
  exit "${code:-1}"
}

if [[ -z $build ]]; then
  build=build/cuda
  tools/build.sh cuda lockstep cuda_gpu_tests
fi
for program in "$build/lockstep" "$build/tests/cuda_gpu_tests"; do
  [[ -x $program ]] || code=66 fail "no $program: build preset cuda first (tools/build.sh cuda lockstep cuda_gpu_tests)"
done
if [[ -n $data && ! -f $data/train-images-idx3-ubyte.gz ]]; then
  code=66 fail "no Fashion-MNIST in $data: install package dataset-fashion-mnist, or say --data DIR or --without-data"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/lockstep-gpu
mkdir -p "$root"/{bin,programs,lib,tools,bench/peers,bench/results,configs,data}

# Programs, without their symbols; in bin, the scripts that start them with the libraries they need.
for program in "$build/lockstep" "$build/tests/cuda_gpu_tests" "$(readlink -f "$(command -v orterun)")"; do
  name=$(basename "$program")
  strip -o "$root/programs/$name" "$program"
  ln -s start "$root/bin/$name"
done
ln -s start "$root/bin/mpirun"
cp tools/gpu_bundle_start.sh "$root/bin/start"

# Every library that they and Open MPI's plugins need, but for glibc's and the driver's. libstdc++ comes along: that of the other
# machine may be older. cuDNN, cuBLASLt, NVRTC and NCCL are opened at run time and are not in this list.
openmpi=$(dirname "$(readlink -f "$(ldconfig -p | awk '/libmpi\.so\.40 / && !found {print $NF; found = 1}')")")  # reads to the end: pipefail
plugins=""
for folder in "$openmpi"/openmpi/lib/openmpi3 "$openmpi"/openmpi3/lib/openmpi "$openmpi"/openmpi/lib/openmpi "$openmpi"/openmpi; do
  [[ -e $folder/mca_btl_self.so ]] && plugins=$folder && break
done
[[ -n $plugins ]] || code=77 fail "no Open MPI plugins (mca_btl_self.so) near $openmpi: install openmpi-bin and libopenmpi3"
mkdir -p "$root/lib/openmpi/lib/openmpi3" "$root/share"
# What one machine needs: shared memory and TCP between processes, no other network, no batch system, no MPI-IO.
for plugin in "$plugins"/mca_*.so; do
  case $(basename "$plugin" .so) in
    *_ucx | *_ofi | *_openib | *_psm | *_psm2 | *_slurm | *_flux | *_gridengine | *_jsm | mca_io_* | mca_fs_* | mca_fcoll_* | mca_fbtl_* | mca_sharedfp_* | \
      *_monitoring | mca_memheap_* | mca_spml_* | mca_scoll_* | mca_sshmem_* | mca_atomic_* | mca_ras_simulator) ;;
    *) strip -o "$root/lib/openmpi/lib/openmpi3/$(basename "$plugin")" "$plugin" ;;
  esac
done
cp -rL /usr/share/openmpi "$root/share/openmpi"
needed() {
  ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv|libutil|libnss_[a-z]+|ld-linux[^/]*)\.so|/lib(cuda|nvidia-[a-z]+)\.so'
}
while IFS= read -r library; do
  strip -o "$root/lib/$(basename "$library")" "$(readlink -f "$library")" 2>/dev/null || cp -L "$library" "$root/lib/"
done < <(needed "$root"/programs/* "$root"/lib/openmpi/lib/openmpi3/*.so)

cp tools/gpu_check.sh tools/gpu_libraries.sh tools/mpi.sh "$root/tools/"
cp bench/gpu_check.py bench/gpu_run.py bench/gpu_report.py "$root/bench/"
cp bench/peers/pytorch_resnet50.py "$root/bench/peers/"
cp configs/*.pbtxt "$root/configs/"
cp LICENSE docs/gpu.md "$root/"
[[ -z $data ]] || { mkdir "$root/data/fashion-mnist"; cp "$data"/*-ubyte.gz "$root/data/fashion-mnist/"; }
changed=$(git status --porcelain --untracked-files=no 2>/dev/null | head -n 1)
{
  echo "commit $(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)${changed:+ (with changes)}"
  echo "glibc $(ldd --version | head -n 1 | awk '{print $NF}')"
  "$build/lockstep" version || true
} >"$root/BUNDLE"

mkdir -p "$(dirname "$out")"
XZ_OPT="-$level -T0" tar -C "$work" -cJf "$out" lockstep-gpu
echo "gpu_bundle: unpacked, in MiB:"
(cd "$root" && du -m --max-depth=1 | sort -n)
bytes=$(stat -c %s "$out")
echo "gpu_bundle: $out: $((bytes / 1048576)) MiB of at most $limit"
if ((bytes > limit * 1048576)); then
  echo "gpu_bundle: larger than $limit MiB; its largest files:" >&2
  (cd "$root" && find . -type f -printf '%s %p\n' | sort -rn | head -n 12) >&2
  [[ -z $data ]] || echo "gpu_bundle: --without-data leaves out 30 MB" >&2
  exit 1
fi
