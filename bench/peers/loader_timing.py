"""What the loader peers share: the photos in memory, the timing, and the report, one JSON object.

The work: decode a JPEG, random resized crop (scale 0.08 to 1, ratio 3/4 to 4/3) to 224 x 224, mirror with probability 1/2, to uint8
pixels in memory. One thread, `bench loader` does the same.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import math
import pathlib
import random
import time

SIZE, SCALE, RATIO = 224, (0.08, 1.0), (3 / 4, 4 / 3)


def parse_options(description, add=lambda parser: None):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--images", required=True, help="folder with train/<class>/*.JPEG")
    parser.add_argument("--seconds", type=float, default=4)
    add(parser)
    return parser.parse_args()


def read_images(folder):
    paths = sorted(pathlib.Path(folder).glob("train/*/*.JPEG"))
    if not paths:
        raise SystemExit(f"{folder}: no train/<class>/*.JPEG")
    return [path.read_bytes() for path in paths]


def draw_window(width, height):
    """torchvision's rule, in plain Python: as torchvision draws with tensors, peers without torch would look too good."""
    log_ratio = tuple(math.log(r) for r in RATIO)
    for _ in range(10):
        area = width * height * random.uniform(*SCALE)
        ratio = math.exp(random.uniform(*log_ratio))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def report(name, versions, images, run_pass, seconds):
    """`run_pass(images)` handles each image once. A pass to warm up, then whole passes for about `seconds`."""
    run_pass(images)
    done, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        run_pass(images)
        done += len(images)
    elapsed = time.perf_counter() - begin
    print(json.dumps({"name": name, "versions": versions, "images": done, "images_per_second": done / elapsed}))
