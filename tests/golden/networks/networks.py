#!/usr/bin/env python3
"""Makes networks.txt: what torchvision's networks, and plain PyTorch ones where it has none, consist of and compute, in float64.

  python3 tests/golden/networks/networks.py > tests/golden/networks/networks.txt     (PyTorch 2.13 and torchvision 0.28)
  python3 tests/golden/networks/networks.py NAME                                     the parameters and buffers of one network

tests/models/networks_test.cpp repeats the computations with our reference kernels, on narrow networks and small images. Lines:

  NAME.entries  number of parameters and buffers, elements of the parameters, and two halves of a hash of all names and shapes
  CASE.logits   of two or more images in evaluation
  CASE.training the loss of the same images in training without dropout, the norm of the whole gradient, and its projection
"""
# SPDX-License-Identifier: Apache-2.0
import math
import pathlib
import sys

import torch
import torchvision
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from reference_networks import AlexNetGrouped, MobileNetV1, ShiftNet, ShiftResNet, ShuffleNetV1  # noqa: E402
from resnet_trajectory import DIRECTIONS, MEANS, PARAMETERS, VARIANCES, batch, record, signed  # noqa: E402

CLASSES = 10
TORCHVISION = ("alexnet", "vgg11", "vgg16", "vgg19", "vgg11_bn", "vgg16_bn", "vgg19_bn", "googlenet", "inception_v3", "squeezenet1_0",
               "squeezenet1_1", "mobilenet_v2", "densenet121")
NO_AUXILIARY = {"aux_logits": False, "init_weights": False}


def torchvision_network(name, **options):
    if name in ("googlenet", "inception_v3"):
        options |= NO_AUXILIARY
    return getattr(torchvision.models, name)(**options)


def set_weights(model):
    """Uniform with the variance that keeps a ReLU network's activations in size, by fan-in."""
    with torch.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            s = signed(PARAMETERS + i, p.shape)
            if p.dim() > 1:
                p.copy_(s * math.sqrt(6.0 / math.prod(p.shape[1:])))
            else:
                owner = model.get_submodule(name.rpartition(".")[0])
                p.copy_(1.0 + 0.25 * s if isinstance(owner, nn.BatchNorm2d) and name.endswith("weight") else 0.125 * s)
        means = [b for n, b in model.named_buffers() if n.endswith("running_mean")]
        variances = [b for n, b in model.named_buffers() if n.endswith("running_var")]
        for i, (mean, var) in enumerate(zip(means, variances)):
            mean.copy_(0.125 * signed(MEANS + i, mean.shape))
            var.copy_(1.0 + 0.5 * signed(VARIANCES + i, var.shape))


def narrow(model, base, own, keep=(3, CLASSES)):
    """Every number of channels times base / own, but the images' and the classes'."""
    def share(channels):
        return channels if channels in keep else channels * base // own

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.in_channels, module.out_channels = share(module.in_channels), share(module.out_channels)
            shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
            module.weight = nn.Parameter(torch.empty(shape))
            if module.bias is not None:
                module.bias = nn.Parameter(torch.empty(module.out_channels))
        elif isinstance(module, nn.Linear):
            module.in_features, module.out_features = share(module.in_features), share(module.out_features)
            module.weight = nn.Parameter(torch.empty(module.out_features, module.in_features))
            module.bias = nn.Parameter(torch.empty(module.out_features))
        elif isinstance(module, nn.BatchNorm2d):
            replacement = nn.BatchNorm2d(share(module.num_features), eps=module.eps)
            module.num_features = replacement.num_features
            module.weight, module.bias = replacement.weight, replacement.bias
            module.running_mean, module.running_var = replacement.running_mean, replacement.running_var
    return model


def small_stem(name, model):
    if name == "googlenet":
        model.conv1.conv.kernel_size, model.conv1.conv.stride, model.conv1.conv.padding = (3, 3), (1, 1), (1, 1)
        model.conv1.conv.weight = nn.Parameter(torch.empty(model.conv1.conv.out_channels, 3, 3, 3))
        model.maxpool1 = model.maxpool2 = nn.Identity()
    elif name == "densenet121":
        first = model.features.conv0
        first.kernel_size, first.stride, first.padding = (3, 3), (1, 1), (1, 1)
        first.weight = nn.Parameter(torch.empty(first.out_channels, 3, 3, 3))
        model.features.pool0 = nn.Identity()
    elif name == "mobilenet_v2":
        model.features[0][0].stride = model.features[2].conv[1][0].stride = (1, 1)
        model.features[2].use_res_connect = model.features[1].out_channels == model.features[2].out_channels
    return model


def parity(case, model, images, size):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.double()
    set_weights(model)
    x, labels = batch(0, (images, 3, size, size), CLASSES)
    model.eval()
    with torch.no_grad():
        record(f"{case}.logits", model(x).flatten())
    model.train()
    loss = nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    gradients = [p.grad for p in model.parameters()]
    norm = math.sqrt(sum((g * g).sum().item() for g in gradients))
    projection = sum((g * signed(DIRECTIONS + i, g.shape)).sum().item() for i, g in enumerate(gradients))
    record(f"{case}.training", [loss.item(), norm, projection])


def lines(model):
    return [f"{name} {' '.join(map(str, p.shape))}\n" for name, p in model.named_parameters()] + [
        f"{name} {' '.join(map(str, b.shape))}\n" for name, b in model.named_buffers() if "num_batches" not in name]


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def entries(name):
    with torch.device("meta"):
        model = torchvision_network(name)
    every = lines(model)
    digest = fnv1a("".join(every))
    print(f"{name}.entries", len(every), sum(p.numel() for p in model.parameters()), digest >> 32, digest & 0xFFFFFFFF)


# Case, network, images, their size; the first stage's channels and the network's own.
NARROW = (
    ("alexnet", "alexnet", 2, 71, 16, 64),
    ("vgg11", "vgg11", 2, 40, 8, 64),
    ("vgg16", "vgg16", 2, 40, 8, 64),
    ("vgg19", "vgg19", 2, 40, 8, 64),
    ("vgg11_bn", "vgg11_bn", 3, 40, 8, 64),
    ("vgg16_bn", "vgg16_bn", 3, 40, 8, 64),
    ("vgg19_bn", "vgg19_bn", 3, 40, 8, 64),
    ("googlenet", "googlenet", 3, 64, 16, 64),
    ("googlenet_small", "googlenet", 3, 12, 16, 64),
    ("inception_v3", "inception_v3", 3, 107, 8, 32),
    ("squeezenet1_0", "squeezenet1_0", 2, 66, 24, 96),
    ("squeezenet1_1", "squeezenet1_1", 2, 66, 16, 64),
    ("densenet121", "densenet121", 3, 64, 16, 64),
    ("densenet121_small", "densenet121", 3, 16, 16, 64),
)


def main():
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        with torch.device("meta"):
            print("".join(lines(torchvision_network(sys.argv[1]))), end="")
        return
    print(f"# PyTorch {torch.__version__.split('+')[0]}, torchvision {torchvision.__version__.split('+')[0]}, float64, CPU")
    for name in TORCHVISION:
        entries(name)
    for case, name, images, size, base, own in NARROW:
        model = narrow(torchvision_network(name, num_classes=CLASSES), base, own)
        parity(case, small_stem(name, model) if case.endswith("_small") else model, images, size)
    parity("mobilenet_v2", torchvision.models.mobilenet_v2(num_classes=CLASSES, width_mult=0.35), 3, 64)
    small = torchvision.models.mobilenet_v2(num_classes=CLASSES, width_mult=0.35)
    parity("mobilenet_v2_small", small_stem("mobilenet_v2", small), 3, 16)
    parity("mobilenet_v1", MobileNetV1(CLASSES, 0.25), 3, 64)
    parity("mobilenet_v1_small", MobileNetV1(CLASSES, 0.25, small=True), 3, 16)
    for groups, scale in ((1, 0.5), (2, 1), (3, 0.5), (4, 1), (8, 0.5)):
        parity(f"shufflenet_v1_g{groups}", ShuffleNetV1(CLASSES, groups, scale), 3, 64)
    parity("shufflenet_v1_small", ShuffleNetV1(CLASSES, 3, 0.5, small=True), 3, 16)
    parity("alexnet_grouped", AlexNetGrouped(CLASSES, 24), 2, 99)
    parity("shiftresnet20", ShiftResNet(CLASSES, 3, 4), 3, 16)
    parity("shiftnet_a", ShiftNet(CLASSES, 8), 3, 64)


if __name__ == "__main__":
    main()
