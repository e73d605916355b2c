#!/usr/bin/env bash
# What a build with the CUDA backend needs (tools/setup.sh --cuda). The toolkit, cuDNN and NCCL are NVIDIA's packages: this
# checks that they are there and names those that are not. cudnn-frontend is headers only: they are taken from its Python
# wheel, once, into build/cudnn-frontend.
#
# CUDA_HOME says where the toolkit is, if it is neither on the PATH nor in /usr/local/cuda.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."

frontend_version=1.32.0

nvcc=${CUDA_HOME:+$CUDA_HOME/bin/nvcc}
[[ -n $nvcc ]] || nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
if [[ ! -x $nvcc ]]; then
  echo "setup: no CUDA toolkit: want nvcc 12.4 or later on the PATH, in \$CUDA_HOME/bin or in /usr/local/cuda/bin" >&2
  echo "setup: install it (https://developer.nvidia.com/cuda-downloads: package cuda-toolkit-13-0), or use preset cpu" >&2
  exit 77
fi
toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
release=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
if [[ $(printf '12.4\n%s\n' "$release" | sort -V | head -n 1) != 12.4 ]]; then
  echo "setup: CUDA $release in $toolkit is too old: want 12.4 or later" >&2
  exit 77
fi

# Where a header or a library is: in the toolkit, or where the distribution's packages put it.
found() {
  local folder
  for folder in "$toolkit"/include "$toolkit"/lib64 "$toolkit"/targets/*/include "$toolkit"/targets/*/lib /usr/include /usr/lib/*-linux-gnu /usr/include/*-linux-gnu; do
    [[ ! -e $folder/$1 ]] || return 0
  done
  return 1
}
missing=()
want() {  # package name, files
  local package=$1 file
  for file in "${@:2}"; do
    found "$file" || {
      missing+=("$package ($file)")
      return 0
    }
  done
}
major=${release%%.*}
want "libcudnn9-dev-cuda-$major" cudnn.h libcudnn.so
want libnccl-dev nccl.h libnccl.so
want "libcublas-dev-${release/./-}" cublasLt.h libcublasLt.so
want "cuda-cudart-dev-${release/./-}" cuda_runtime_api.h libcudart_static.a
if [[ ${#missing[@]} -gt 0 ]]; then
  printf 'setup: beside CUDA %s in %s, this is missing: %s\n' "$release" "$toolkit" "${missing[@]}" >&2
  echo "setup: install it from NVIDIA's repository (https://developer.nvidia.com/cuda-downloads), e.g. apt-get install ${missing[*]% (*}" >&2
  exit 77
fi

frontend=build/cudnn-frontend
if [[ $(cat "$frontend/version" 2>/dev/null) != "$frontend_version" ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" \
    "nvidia-cudnn-frontend==$frontend_version" >"$work/log" 2>&1; then
    tail -n 5 "$work/log" >&2
    echo "setup: could not fetch the wheel nvidia-cudnn-frontend $frontend_version (headers only) with pip" >&2
    echo "setup: or put cudnn-frontend's include folder into $frontend yourself, and '$frontend_version' into $frontend/version" >&2
    exit 77
  fi
  python3 -m zipfile -e "$work"/nvidia_cudnn_frontend-*.whl "$work/wheel"
  rm -rf "$frontend"
  mkdir -p "$frontend"
  cp -r "$work/wheel/include" "$frontend/include"
  cp "$work"/wheel/nvidia_cudnn_frontend-*.dist-info/licenses/LICENSE* "$frontend/" 2>/dev/null || true
  echo "$frontend_version" >"$frontend/version"
fi
echo "setup: CUDA $release in $toolkit, cuDNN, NCCL, cuBLAS; cudnn-frontend $frontend_version in $frontend"
