#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what Pillow and torchvision make of images on their way into a network: tests/golden/preprocessing.txt.

tests/data/preprocessing_test.cpp compares, bit for bit. To record anew, with the photos in IMAGES/train/*/*.JPEG:
    python3 -m venv /tmp/pillow && /tmp/pillow/bin/pip install torch torchvision pillow==12.0.0
    /tmp/pillow/bin/python record_preprocessing.py IMAGES
(Later versions run the vertical pass first for images over 100 times as tall as wide, which moves some pixels by 1.)
CRC: of the pixels (H, W, C), as zlib's.
    box SEED HEIGHT WIDTH CHANNELS TOP LEFT BOX_HEIGHT BOX_WIDTH TO_HEIGHT TO_WIDTH FLIP CRC   crop, resize, mirror; of record_images.noise()
    raw (the same) HEX                                                                        the pixels themselves
    photo NAME HEIGHT WIDTH CRC                                                               decoded
    crop NAME TOP LEFT BOX_HEIGHT BOX_WIDTH TO_HEIGHT TO_WIDTH FLIP CRC                       as box
    eval NAME RESIZE CROP CRC                                                                 torchvision's Resize and CenterCrop
"""
import pathlib
import random
import sys
import zlib

import torchvision
from PIL import Image, ImageOps, __version__ as pillow_version
from torchvision.transforms import v2

from record_images import noise

HERE = pathlib.Path(__file__).resolve().parent
BOX_IMAGES, BOXES_PER_IMAGE, BOXES_PER_PHOTO = 40, 25, 7


def crc(image):
    return f"{zlib.crc32(image.tobytes()):08x}"


def draw_box(draw, height, width, largest):
    """Any window, any size, so that enlarging, shrinking and odd aspect ratios all occur."""
    box_height, box_width = draw.randint(1, height), draw.randint(1, width)
    top, left = draw.randint(0, height - box_height), draw.randint(0, width - box_width)
    return top, left, box_height, box_width, draw.randint(1, largest), draw.randint(1, largest), draw.randint(0, 1)


def apply_box(image, box):
    top, left, box_height, box_width, to_height, to_width, flip = box
    out = image.crop((left, top, left + box_width, top + box_height)).resize((to_width, to_height), Image.BILINEAR)
    return ImageOps.mirror(out) if flip else out


def noise_lines(draw):
    for seed in range(1000, 1000 + BOX_IMAGES):
        height, width, channels = draw.randint(1, 110), draw.randint(1, 110), draw.choice([1, 3, 3, 3])
        image = noise(seed, height, width, channels)
        for i in range(BOXES_PER_IMAGE):
            box = draw_box(draw, height, width, 7 if i == 0 else 90)
            out = apply_box(image, box)
            about = f"{seed} {height} {width} {channels} {' '.join(map(str, box))}"
            yield f"box {about} {crc(out)}"
            if i == 0 and seed % 8 == 0:
                yield f"raw {about} {out.tobytes().hex()}"


def photo_lines(folder, draw):
    for path in sorted(folder.glob("train/*/*.JPEG")):
        image = Image.open(path).convert("RGB")
        name = path.relative_to(folder).as_posix()
        yield f"photo {name} {image.height} {image.width} {crc(image)}"
        for i in range(BOXES_PER_PHOTO):
            box = draw_box(draw, image.height, image.width, 256)
            if i == 0:
                box = (*box[:4], 224, 224, box[6])
            yield f"crop {name} {' '.join(map(str, box))} {crc(apply_box(image, box))}"
        for resize in (256, 232):
            out = v2.Compose([v2.Resize(resize), v2.CenterCrop(224)])(image)
            yield f"eval {name} {resize} 224 {crc(out)}"


def main(folder):
    draw = random.Random(20261129)
    lines = [f"# Pillow {pillow_version}, torchvision {torchvision.__version__}; made by record_preprocessing.py"]
    lines += noise_lines(draw)
    lines += photo_lines(pathlib.Path(folder), draw)
    (HERE / "preprocessing.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
