"""torchvision: Pillow images and transforms, or its own decoder (`decode_jpeg`) and transforms v2 on tensors."""
# SPDX-License-Identifier: Apache-2.0
import io

import numpy
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from loader_timing import RATIO, SCALE, SIZE, parse_options, read_images, report

args = parse_options(__doc__, lambda parser: parser.add_argument("--backend", choices=["pillow", "decode_jpeg"], required=True))
torch.set_num_threads(1)
transform = v2.Compose([v2.RandomResizedCrop(SIZE, scale=SCALE, ratio=RATIO, antialias=True), v2.RandomHorizontalFlip()])


def pillow_pass(images):
    for image in images:
        numpy.asarray(transform(Image.open(io.BytesIO(image)).convert("RGB")))


def tensor_pass(images):
    for image in images:
        transform(decode_jpeg(image, mode=ImageReadMode.RGB)).contiguous()


images = read_images(args.images)
if args.backend == "decode_jpeg":
    images = [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in images]
versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}"
report(f"torchvision, {args.backend}", versions, images, pillow_pass if args.backend == "pillow" else tensor_pass, args.seconds)
