"""DALI on the CPU: decode_random_crop, resize, mirror, with one thread."""
# SPDX-License-Identifier: Apache-2.0
import numpy
import nvidia.dali
from nvidia.dali import fn, pipeline_def, types

from loader_timing import RATIO, SCALE, SIZE, parse_options, read_images, report

BATCH = 32


def make_pipeline(images):
    encoded = [numpy.frombuffer(image, dtype=numpy.uint8) for image in images]

    def batches():
        at = 0
        while True:
            yield [encoded[(at + i) % len(encoded)] for i in range(BATCH)]
            at += BATCH

    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None, seed=1)
    def build():
        jpegs = fn.external_source(source=batches(), dtype=types.UINT8)
        pictures = fn.decoders.image_random_crop(jpegs, device="cpu", output_type=types.RGB, random_area=list(SCALE), random_aspect_ratio=list(RATIO))
        pictures = fn.resize(pictures, size=(SIZE, SIZE), interp_type=types.INTERP_TRIANGULAR)
        return fn.flip(pictures, horizontal=fn.random.coin_flip(probability=0.5))

    return build()


args = parse_options(__doc__)
images = read_images(args.images)
if len(images) % BATCH != 0:
    raise SystemExit(f"{args.images}: {len(images)} images, want a multiple of {BATCH}")
pipeline = make_pipeline(images)
pipeline.build()


def run_pass(_):
    for _ in range(len(images) // BATCH):
        pipeline.run()


report("DALI, CPU", f"DALI {nvidia.dali.__version__}", images, run_pass, args.seconds)
