#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what torchvision makes of Pillow images: tests/golden/augment/augment.txt.

Colour jitter and RandAugment are torchvision's on uint8 Pillow images, bit for bit; tests/data/*_test.cpp compare. To record
anew: install torch, torchvision, timm and pillow, and run `python record_augment.py`; `--check` compares with the file instead.
Lines, where FNV is FNV-1a (64 bits, hex) of the pixels (H, W, C) and images are kinds of test_image():
  versions ...
  magnitude OP HEIGHT WIDTH V0 ... V30         RandAugment's table, as float32 in hex
  op OP MAGNITUDE KIND HEIGHT WIDTH FNV        one RandAugment operation; MAGNITUDE a hex double with its sign
  jitter ORDER B C S H KIND HEIGHT WIDTH FNV   ColorJitter with given factors ("-": off), ORDER of "bcsh"
  colours CHANGE FACTOR FNV                    all 2^24 RGB colours as a 4096 x 4096 image; FNV of the rows' FNVs as text
  box HEIGHT WIDTH LAMBDA CY CX TOP LEFT H W WEIGHT   timm's CutMix box and corrected lambda
"""
import pathlib
import sys
from unittest import mock

import numpy as np
import PIL
import timm
import torch
import torchvision
from PIL import Image
from timm.data import mixup
from torchvision.transforms import InterpolationMode, autoaugment, functional as F

OUT = pathlib.Path(__file__).resolve().parent / "augment.txt"
SIZES = [(1, 1), (1, 2), (3, 3), (2, 5), (3, 500), (500, 3), (33, 47), (224, 224)]
OPS = ["Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness",
       "Posterize", "Solarize", "AutoContrast", "Equalize"]
SIGNED = OPS[1:10]


def fnv(data):
    """FNV-1a over 8 lanes would be faster; this is plain, on purpose."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def lcg(seed, count):
    """As tests/golden/record_images.py: bytes of a small linear congruential generator."""
    state, out = seed, bytearray(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return bytes(out)


def test_image(kind, height, width):
    """noise: every value; dim: 64 to 127 (autocontrast and equalize have work); flat: one colour; ramp: smooth, few values."""
    if kind == "noise":
        data = lcg(7, height * width * 3)
    elif kind == "dim":
        data = bytes(64 + (b >> 2) for b in lcg(8, height * width * 3))
    elif kind == "flat":
        data = bytes([200, 31, 77] * (height * width))
    else:
        data = bytes((x * 5 + y * 3 + c * 40) // 2 & 255 for y in range(height) for x in range(width) for c in range(3))
    return Image.frombytes("RGB", (width, height), data)


def magnitudes(op, height, width):
    table, signed = autoaugment.RandAugment()._augmentation_space(31, (height, width))[op]
    assert signed == (op in SIGNED)
    return table.numpy().astype(np.float32) if table.ndim else np.zeros(31, np.float32)


def magnitude_lines():
    for op in OPS:
        for height, width in ((224, 224), (176, 191), (32, 500)):
            yield f"magnitude {op} {height} {width} " + " ".join(float(v).hex() for v in magnitudes(op, height, width))


def op_lines():
    def line(op, magnitude, kind, height, width):
        image = autoaugment._apply_op(test_image(kind, height, width), op, magnitude, InterpolationMode.NEAREST, None)
        return f"op {op} {float(magnitude).hex()} {kind} {height} {width} {fnv(image.tobytes())}"

    for op in OPS:
        for height, width in SIZES:
            table = magnitudes(op, height, width)
            kinds = ["noise", "dim", "flat", "ramp"] if op in ("AutoContrast", "Equalize") else ["noise", "ramp"]
            bins = [0, 1, 9, 15, 22, 30] if (height, width) == (33, 47) else [9, 30]
            if not table.any():
                bins = [0]
            for kind in kinds:
                for b in bins:
                    for sign in (1, -1) if op in SIGNED else (1,):
                        yield line(op, sign * float(table[b]), kind, height, width)


def jitter(image, order, factors):
    changes = {"b": F.adjust_brightness, "c": F.adjust_contrast, "s": F.adjust_saturation, "h": F.adjust_hue}
    for name in order:
        if factors[name] is not None:
            image = changes[name](image, factors[name])
    return image


def jitter_lines():
    cases = [("bcsh", 1.4, 0.6, 1.3, 0.1), ("hscb", 0.6, 1.4, 0.7, -0.1), ("shbc", 1.25, None, None, 0.5), ("cbhs", None, 1.9, 0.0, None),
             ("scbh", 0.0, 1.0, 1.8, 0.0), ("hbsc", 1.01, 0.99, 1.0, -0.5), ("bhcs", 0.37, 1.73, 0.61, 0.003)]
    for order, *values in cases:
        factors = dict(zip("bcsh", values))
        for kind, height, width in (("noise", 1, 1), ("flat", 5, 4), ("ramp", 3, 500), ("dim", 33, 47), ("noise", 224, 224)):
            image = jitter(test_image(kind, height, width), order, factors)
            text = " ".join("-" if v is None else float(v).hex() for v in values)
            yield f"jitter {order} {text} {kind} {height} {width} {fnv(image.tobytes())}"


def colour_lines():
    index = np.arange(1 << 24, dtype=np.uint32)
    every = np.stack([index >> 16, index >> 8 & 255, index & 255], -1).astype(np.uint8).reshape(4096, 4096, 3)
    image = Image.fromarray(every)
    for name, factor in (("h", 0.0), ("h", 0.13), ("h", -0.37), ("s", 0.6), ("s", 1.77)):
        out = np.asarray(jitter(image, name, {name: factor})).reshape(-1)
        # FNV-1a of 4096 rows side by side, then of the rows' values as text.
        value = np.full(4096, 0xCBF29CE484222325, np.uint64)
        for column in out.reshape(4096, -1).T:
            value = (value ^ column.astype(np.uint64)) * np.uint64(0x100000001B3)
        yield f"colours {name} {float(factor).hex()} {fnv(''.join(f'{int(v):016x}' for v in value).encode())}"


def box_lines():
    centres = np.random.RandomState(1)
    for height, width in ((224, 224), (32, 32), (7, 30), (1, 1)):
        for lam in (0.0, 1e-3, 0.1, 0.25, 0.5, 0.77, 0.999, 1.0):
            for _ in range(4):
                y, x = int(centres.randint(height)), int(centres.randint(width))
                with mock.patch("numpy.random.randint", side_effect=[y, x]):
                    (top, bottom, left, right), weight = mixup.cutmix_bbox_and_lam((1, 3, height, width), lam)
                yield f"box {height} {width} {lam.hex()} {y} {x} {top} {left} {bottom - top} {right - left} {float(weight).hex()}"


def main():
    lines = [f"versions torch {torch.__version__} torchvision {torchvision.__version__} timm {timm.__version__} pillow {PIL.__version__}"]
    for part in (magnitude_lines, op_lines, jitter_lines, colour_lines, box_lines):
        lines += part()
    text = "\n".join(lines) + "\n"
    if "--check" in sys.argv:
        sys.exit(text.split("\n")[1:] != OUT.read_text().split("\n")[1:])
    OUT.write_text(text)


if __name__ == "__main__":
    main()
