"""Pillow by itself, or Pillow-SIMD where that is installed in its place: no framework around it."""
# SPDX-License-Identifier: Apache-2.0
import importlib.metadata
import io
import random

import numpy
from PIL import Image

from loader_timing import SIZE, draw_window, parse_options, read_images, report


def run_pass(images):
    for bytes_of in images:
        image = Image.open(io.BytesIO(bytes_of)).convert("RGB")
        left, top, width, height = draw_window(*image.size)
        image = image.resize((SIZE, SIZE), Image.BILINEAR, box=(left, top, left + width, top + height))
        if random.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        numpy.asarray(image)


args = parse_options(__doc__)
installed = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
name = "Pillow-SIMD" if "pillow-simd" in installed else "Pillow"
report(name, f"{name} {installed[name.lower()]}", read_images(args.images), run_pass, args.seconds)
