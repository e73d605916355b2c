#!/usr/bin/env python3
"""PyTorch's ResNet training step on the CPU, as `lockstep bench step` measures ours: prints images per second as JSON.

The same network (torchvision's, v1.5), the same batch and settings (bench/peers/timing.py). Compare in turn (bench/compare.sh),
eager and compiled, and let PyTorch's better one count.

  python3 bench/peers/resnet_step.py --model resnet50 --batch 16 --dtype f32 --threads 1 --mode eager
"""
# SPDX-License-Identifier: Apache-2.0
import argparse

import timing


def make_job(args):
    import torchvision

    sgd = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-5}
    return timing.Job(args.model, getattr(torchvision.models, args.model), (3, args.size, args.size), 1000, sgd)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    timing.add_options(parser, batch=16)
    timing.main(parser.parse_args(), make_job)
