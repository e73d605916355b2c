#!/usr/bin/env python3
"""Reads a safetensors file with the reference library and writes it again: check_safetensors.py OURS THEIRS.

Run by Safetensors.AgreesWithTheReferenceLibrary when the packages safetensors and numpy are there; the test compares
the two files byte for byte. Fails when the reference library refuses the file or sees other bytes than lie in it.
"""
# SPDX-License-Identifier: Apache-2.0
import json
import struct
import sys

from safetensors import safe_open
from safetensors.numpy import load_file, save_file


def main(ours: str, theirs: str) -> None:
    tensors = load_file(ours)
    with safe_open(ours, framework="numpy") as opened:
        metadata = opened.metadata()
    with open(ours, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, tensor in tensors.items():
            begin, end = header[name]["data_offsets"]
            file.seek(8 + length + begin)
            assert file.read(end - begin) == tensor.tobytes(), name
            assert list(tensor.shape) == header[name]["shape"], name
    save_file(tensors, theirs, metadata=metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
