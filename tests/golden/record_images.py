#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what Pillow makes of small images: tests/golden/images/* and tests/golden/images.txt.

The data room decodes and resizes as Pillow does, bit for bit; tests/data/golden_test.cpp compares. To record anew:
    python3 -m venv /tmp/pillow && /tmp/pillow/bin/pip install pillow==12.0.0 && /tmp/pillow/bin/python record_images.py
Later versions run the vertical pass first for images over 100 times as tall as wide, which moves some pixels by 1.
Lines: "decode FILE HEIGHT WIDTH FNV" and "resize SEED HEIGHT WIDTH CHANNELS TO_HEIGHT TO_WIDTH FNV", where FNV is FNV-1a
(64 bits, hex) of the pixels (H, W, C), and the pixels to be resized come from pattern() below.
"""
import io
import pathlib
import sys

from PIL import Image, __version__ as pillow_version

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "images"


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def pattern(seed, count):
    """Bytes of a small linear congruential generator: the same in the C++ test."""
    state, out = seed, bytearray(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return bytes(out)


def noise(seed, height, width, channels):
    return Image.frombytes({1: "L", 3: "RGB"}[channels], (width, height), pattern(seed, height * width * channels))


def smooth(seed, height, width, mode="RGB"):
    bands = [noise(seed + i, 5, 6, 1).resize((width, height), Image.BICUBIC) for i in range(len(mode.replace("YCbCr", "RGB")))]
    return Image.merge(mode, bands) if len(bands) > 1 else bands[0]


def files():
    """(name, writer): one of each kind that real data sets hold."""
    picture, grey = smooth(1, 37, 45), smooth(2, 37, 45, "L")
    yield "jpeg_420.jpg", lambda f: picture.save(f, "JPEG", quality=85, subsampling="4:2:0")
    yield "jpeg_422.jpg", lambda f: picture.save(f, "JPEG", quality=85, subsampling="4:2:2")
    yield "jpeg_444.jpg", lambda f: picture.save(f, "JPEG", quality=95, subsampling="4:4:4")
    yield "jpeg_rgb.jpg", lambda f: picture.save(f, "JPEG", quality=90, keep_rgb=True)
    yield "jpeg_progressive.jpg", lambda f: picture.save(f, "JPEG", quality=80, progressive=True)
    yield "jpeg_grey.jpg", lambda f: grey.save(f, "JPEG", quality=85)
    yield "jpeg_cmyk.jpg", lambda f: smooth(3, 37, 45, "CMYK").save(f, "JPEG", quality=85)
    yield "jpeg_restart.jpg", lambda f: picture.save(f, "JPEG", quality=85, restart_marker_blocks=2)
    yield "jpeg_bad_exif.jpg", lambda f: picture.save(f, "JPEG", quality=85, exif=b"Exif\0\0" + pattern(9, 60))
    rotated = Image.Exif()
    rotated[0x0112] = 6  # orientation: to be ignored
    yield "jpeg_rotated.jpg", lambda f: picture.save(f, "JPEG", quality=85, exif=rotated)
    yield "jpeg_1xn.jpg", lambda f: smooth(4, 64, 1).save(f, "JPEG", quality=85)
    yield "png_rgb.png", lambda f: picture.save(f, "PNG")
    yield "png_rgba.png", lambda f: smooth(5, 37, 45, "RGBA").save(f, "PNG")
    yield "png_grey.png", lambda f: grey.save(f, "PNG")
    yield "png_grey_alpha.png", lambda f: smooth(6, 37, 45, "LA").save(f, "PNG")
    yield "png_palette.png", lambda f: picture.quantize(16).save(f, "PNG")
    yield "png_palette_clear.png", lambda f: picture.quantize(16).save(f, "PNG", transparency=3)
    yield "png_1bit.png", lambda f: grey.convert("1").save(f, "PNG")
    yield "png_named.JPEG", lambda f: picture.save(f, "PNG")


SIZES = [  # height, width -> height, width
    (28, 28, 28, 28), (32, 32, 224, 224), (40, 57, 32, 32), (375, 500, 256, 341), (123, 457, 32, 32), (7, 5, 3, 2), (1, 64, 16, 16),
    (64, 1, 8, 8), (1, 1, 5, 5), (300, 3, 7, 9), (33, 33, 32, 34), (64, 64, 64, 31), (64, 64, 31, 64), (500, 333, 1, 1),
]


def main():
    FOLDER.mkdir(exist_ok=True)
    lines = [f"# Pillow {pillow_version}; made by record_images.py"]
    for name, write in files():
        buffer = io.BytesIO()
        write(buffer)
        (FOLDER / name).write_bytes(buffer.getvalue())
        image = Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
        lines.append(f"decode {name} {image.height} {image.width} {fnv(image.tobytes())}")
    seed = 100
    for height, width, to_height, to_width in SIZES:
        for channels in (1, 3):
            seed += 1
            image = noise(seed, height, width, channels).resize((to_width, to_height), Image.BILINEAR)
            lines.append(f"resize {seed} {height} {width} {channels} {to_height} {to_width} {fnv(image.tobytes())}")
    (HERE / "images.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
