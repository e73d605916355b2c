#!/usr/bin/env python3
"""Makes resnet_trajectory.txt: what PyTorch computes in float64, from weights and images that both sides derive by one formula.

  python3 tests/golden/resnet_trajectory.py > tests/golden/resnet_trajectory.txt     (PyTorch 2.13 and torchvision 0.28)

tests/models/golden_test.cpp repeats the computation with our reference kernels. One line per result: a key, then numbers.
"""
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import torch
import torchvision
from torch import nn

STEPS = 20
# Streams of the formula; parameters and buffers use their position as the offset.
PARAMETERS, MEANS, VARIANCES, IMAGES, LABELS, DIRECTIONS = 0, 1000, 2000, 3000, 4000, 5000


def bits(stream, count):
    """SplitMix64 of (stream, index): exact in integers."""
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(stream + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def signed(stream, shape):
    """In [-1, 1), 53 bits, exact in float64; the index is row-major in the logical shape."""
    u = (bits(stream, math.prod(shape)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy(2.0 * u - 1.0).reshape(shape)


def set_weights(model):
    with torch.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            s = signed(PARAMETERS + i, p.shape)
            if p.dim() == 4:
                p.copy_(s * math.sqrt(6.0 / (p.shape[0] * p.shape[2] * p.shape[3])))
            elif p.dim() == 2:
                p.copy_(s * math.sqrt(1.0 / p.shape[1]))
            else:
                is_gamma = name.endswith("weight")
                p.copy_(1.0 + 0.25 * s if is_gamma else 0.125 * s)
        means = [b for n, b in model.named_buffers() if n.endswith("running_mean")]
        variances = [b for n, b in model.named_buffers() if n.endswith("running_var")]
        for i, (mean, var) in enumerate(zip(means, variances)):
            mean.copy_(0.125 * signed(MEANS + i, mean.shape))
            var.copy_(1.0 + 0.5 * signed(VARIANCES + i, var.shape))


def batch(step, shape, classes):
    labels = bits(LABELS + step, shape[0]) % np.uint64(classes)
    return signed(IMAGES + step, shape), torch.from_numpy(labels.astype(np.int64))


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class SmallResNet(nn.Module):
    """Basic blocks, `stages` stages; torchvision's names. With imagenet_stem: 7x7/2 and max pooling."""

    def __init__(self, blocks, width, classes, imagenet_stem):
        super().__init__()
        kernel, stride = (7, 2) if imagenet_stem else (3, 1)
        self.conv1 = nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if imagenet_stem else nn.Identity()
        self.stages, channels = len(blocks), width
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                layers.append(BasicBlock(channels, width << stage, 2 if stage > 0 and i == 0 else 1))
                channels = width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


def record(key, values):
    numbers = (v.item() if isinstance(v, torch.Tensor) else v for v in values)
    print(key, *(f"{number:.17g}" for number in numbers))


def trajectory(key, model, images, classes, lr=0.05, smoothing=0.0, nesterov=False):
    """The losses of 20 steps, then the state that they lead to."""
    model.double().train()
    set_weights(model)
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": weights, "weight_decay": 1e-3}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=nesterov)
    losses = []
    for step in range(STEPS):
        x, labels = batch(step, images, classes)
        loss = nn.functional.cross_entropy(model(x), labels, label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    record(f"{key}.losses", losses)
    record(f"{key}.parameter_sums", [p.sum() for p in model.parameters()])
    record(f"{key}.parameter_square_sums", [(p * p).sum() for p in model.parameters()])
    running = {n: b for n, b in model.named_buffers() if "running" in n}
    record(f"{key}.running", torch.cat(list(running.values())))


def parity(key, model, size, train):
    """Logits of one batch; when training also the loss and each gradient's norm and projection onto a fixed direction."""
    model.double().train(train)
    set_weights(model)
    x, labels = batch(0, (2, 3, size, size), 10)
    logits = model(x)
    record(f"{key}.logits", logits.flatten())
    if train:
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        record(f"{key}.loss", [loss])
        gradients = [p.grad for p in model.parameters()]
        record(f"{key}.gradient_norms", [g.norm() for g in gradients])
        record(f"{key}.gradient_projections", [(g * signed(DIRECTIONS + i, g.shape)).sum() for i, g in enumerate(gradients)])


def resnet50(v1=False):
    model = torchvision.models.resnet50(num_classes=10)
    if v1:  # the stride of a stage in the first 1x1 convolution instead of the 3x3
        for stage in (model.layer2, model.layer3, model.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return model


def main():
    torch.set_num_threads(1)
    print(f"# PyTorch {torch.__version__.split('+')[0]}, torchvision {torchvision.__version__.split('+')[0]}, float64, CPU")
    trajectory("sgd", SmallResNet([1, 1, 1], 8, 4, False), (8, 3, 16, 16), 4)
    trajectory("nesterov", SmallResNet([1, 1, 1], 8, 4, False), (8, 3, 16, 16), 4, smoothing=0.1, nesterov=True)
    trajectory("imagenet_stem", SmallResNet([2, 2, 2, 2], 4, 4, True), (8, 3, 32, 32), 4, lr=0.01)
    parity("resnet50_train", resnet50(), 64, True)
    parity("resnet50_eval", resnet50(), 64, False)
    parity("resnet50_v1_eval", resnet50(v1=True), 64, False)
    parity("resnet18_eval", torchvision.models.resnet18(num_classes=10), 64, False)


if __name__ == "__main__":
    main()
