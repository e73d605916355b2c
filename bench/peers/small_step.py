#!/usr/bin/env python3
"""PyTorch's training step of the small ResNets (6n + 2 layers, models/resnet.cpp) on the CPU: prints images per second as JSON.

`fashion`: what configs/fashion_mnist.pbtxt trains (resnet14, 28x28x1, 128 images a step); `cifar20`: configs/cifar10_resnet20.pbtxt
(resnet20, 32x32x3, 128 images a step). The same layers, batch and SGD; images are made once, without augmentation.

  python3 bench/peers/small_step.py --net fashion --batch 64 --ranks 2 --mode eager
"""
# SPDX-License-Identifier: Apache-2.0
import argparse

import timing

# net: blocks per stage, image (C, H, W), SGD as in the config.
NETS = {
    "fashion": (2, (1, 28, 28), {"lr": 0.2, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    "cifar20": (3, (3, 32, 32), {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}),
}
WIDTHS = (16, 32, 64)
CLASSES = 10


def make_model(blocks, channels):
    from torch import nn
    from torch.nn import functional

    def conv(inputs, outputs, kernel, stride):
        return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = conv(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs)
            self.downsample = None
            if stride != 1 or inputs != outputs:
                self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

        def forward(self, x):
            y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
            y = self.bn2(self.conv2(y))
            y += x if self.downsample is None else self.downsample(x)
            return functional.relu(y, inplace=True)

    layers = [conv(channels, WIDTHS[0], 3, 1), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True)]
    inputs = WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        for block in range(blocks):
            layers.append(Block(inputs, width, 2 if stage > 0 and block == 0 else 1))
            inputs = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES)]
    return nn.Sequential(*layers)


def make_job(args):
    blocks, image, sgd = NETS[args.net]
    return timing.Job(args.net, lambda: make_model(blocks, image[0]), image, CLASSES, sgd)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=sorted(NETS), default="fashion")
    parser.add_argument("--parameters", action="store_true", help="print the number of parameters and end")
    timing.add_options(parser, batch=64)
    arguments = parser.parse_args()
    if arguments.parameters:
        print(sum(p.numel() for p in make_job(arguments).make_model().parameters()))
    else:
        timing.main(arguments, make_job)
