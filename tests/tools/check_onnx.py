#!/usr/bin/env python3
"""Runs ONNX files in onnxruntime and compares: check_onnx.py (OURS.safetensors FILE.onnx...)...

OURS holds "input" and "logits", as `lockstep infer --logits` writes them; the files after it are compared with it. Each must pass the ONNX checker, its batch must be
of any size, and its logits must be ours to 1e-4 of the largest, in one batch and image by image. Prints the worst.
"""
# SPDX-License-Identifier: Apache-2.0
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

TOLERANCE = 1e-4  # relative to the largest logit: what an export promises


def check(path: str, images: np.ndarray, logits: np.ndarray) -> float:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    assert session.get_inputs()[0].shape[0] == "N", session.get_inputs()[0].shape
    batches = [session.run(None, {name: images})[0]]
    batches.append(np.concatenate([session.run(None, {name: image[None]})[0] for image in images]))
    worst = max(float(np.abs(batch - logits).max() / np.abs(logits).max()) for batch in batches)
    assert worst <= TOLERANCE, f"{path}: differs by {worst:.2e} of the largest logit"
    return worst


def main(*paths: str) -> None:
    tensors = {}
    for path in paths:
        if path.endswith(".safetensors"):
            tensors = load_file(path)
            assert np.ptp(tensors["logits"]) > 0, f"{path}: the logits say nothing"
        else:
            print(f"{path}: worst {check(path, tensors['input'], tensors['logits']):.2e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
