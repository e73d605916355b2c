#!/usr/bin/env bash
# Prints the path of a Python that has tensorboard and safetensors, and if they can be had onnx and onnxruntime: the readers that
# our files are checked with. Makes a virtual environment in build/python once. Fails quietly when it can't: tests then skip by name.
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
venv=$PWD/build/python
check='import tensorboard, safetensors.numpy'
install() { "$venv/bin/pip" install --quiet --retries 1 --timeout 10 "$@"; }
if ! "$venv/bin/python" -c "$check, onnx, onnxruntime" >/dev/null 2>&1; then
  mkdir -p build
  { python3 -m venv "$venv" && install tensorboard safetensors numpy 'setuptools<81' && install onnx==1.23.2 onnxruntime==1.32.0; } >build/python.log 2>&1
  "$venv/bin/python" -c "$check" >/dev/null 2>&1 || {
    echo "test_python: no Python with tensorboard and safetensors (see build/python.log)" >&2
    exit 1
  }
fi
echo "$venv/bin/python"
