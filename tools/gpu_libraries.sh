#!/usr/bin/env bash
# Prints the folders, joined by colons, in which NVIDIA's libraries lie that lockstep opens when it computes on a GPU (cuDNN 9,
# cuBLASLt, NVRTC, NCCL): of PyTorch's CUDA wheels (site-packages/nvidia), of the toolkit, of the system. What is found nowhere is
# named on stderr, with the fix; that is no error here, for NCCL is needed by several ranks only: `lockstep version` has the last
# word, also on what is too old.
#
#   LD_LIBRARY_PATH=$(tools/gpu_libraries.sh):$LD_LIBRARY_PATH build/cuda/lockstep version
#   LOCKSTEP_GPU_PYTHON=/path/to/python   whose wheels to look at, instead of python3
#   LOCKSTEP_CUDA_MAJOR=12                of a build with toolkit 12, instead of 13
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail

major=${LOCKSTEP_CUDA_MAJOR:-13}
wheels='import nvidia, pathlib
for root in nvidia.__path__:
    for folder in sorted(pathlib.Path(root).glob("*/lib")):
        print(folder)'
folders=()
while IFS= read -r folder; do folders+=("$folder"); done < <("${LOCKSTEP_GPU_PYTHON:-python3}" -c "$wheels" 2>/dev/null)
for folder in ${CUDA_HOME:+"$CUDA_HOME/lib64"} "/usr/local/cuda-$major"/lib64 "/usr/local/cuda-$major".*/lib64 /usr/local/cuda/lib64 \
  /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64; do
  [[ -d $folder ]] && folders+=("$folder")
done

# The system's own folders are searched anyway and must not come before a program's libraries: they are not printed.
chosen=()
choose() {  # folder
  case $1 in /usr/lib/* | /usr/lib64) return ;; esac
  local known
  for known in ${chosen[@]+"${chosen[@]}"}; do [[ $known != "$1" ]] || return 0; done
  chosen+=("$1")
}
find_library() {  # file, what it is, the wheel that brings it
  local folder
  for folder in ${folders[@]+"${folders[@]}"}; do
    if [[ -e $folder/$1 ]]; then
      choose "$folder"
      return
    fi
  done
  # Not grep -q: it would end the pipe early, which pipefail takes for a failure.
  ldconfig -p 2>/dev/null | grep -F "$1 " >/dev/null || echo "gpu_libraries: $2 is missing ($1): install CUDA $major's packages, or pip install $3" >&2
}
suffix=-cu$major
[[ $major -lt 13 ]] || suffix=
find_library libcudnn.so.9 "cuDNN 9" "nvidia-cudnn-cu$major"
find_library "libcublasLt.so.$major" cuBLASLt "nvidia-cublas$suffix"
find_library "libnvrtc.so.$major" NVRTC "nvidia-cuda-nvrtc$suffix"
find_library libnccl.so.2 "NCCL (for several ranks)" "nvidia-nccl-cu$major"
# Where container images put the driver's libraries.
[[ -d /usr/local/nvidia/lib64 ]] && choose /usr/local/nvidia/lib64
(IFS=:; echo "${chosen[*]-}")
