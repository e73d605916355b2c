"""The networks that torchvision does not have, in plain PyTorch, written from their papers for networks.py."""
# SPDX-License-Identifier: Apache-2.0
import torch
from torch import nn


class AlexNetGrouped(nn.Module):
    """Krizhevsky et al. 2012. `width`: the first layer's 96 channels; the others are in proportion, and even."""

    def __init__(self, classes, width):
        super().__init__()

        def share(channels):
            return channels * width // 96 // 2 * 2

        a, b, c, d, hidden = (share(n) for n in (96, 256, 384, 256, 4096))
        self.conv1 = nn.Conv2d(3, a, 11, 4)
        self.conv2 = nn.Conv2d(a, b, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(b, c, 3, padding=1)
        self.conv4 = nn.Conv2d(c, c, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(c, d, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(d * 36, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        self.norm = nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)

    def forward(self, x):
        def pool(y):
            return nn.functional.max_pool2d(y, 3, 2)

        x = pool(self.norm(self.conv1(x).relu()))
        x = pool(self.norm(self.conv2(x).relu()))
        x = self.conv4(self.conv3(x).relu()).relu()
        x = pool(self.conv5(x).relu())
        x = nn.functional.adaptive_avg_pool2d(x, 6).flatten(1)
        return self.fc8(self.fc7(self.fc6(x).relu()).relu())


def conv_norm(cin, cout, kernel, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout))


class MobileNetV1(nn.Module):
    """Howard et al. 2017, table 1. `small`: strides of 1 in the first convolution and the first depthwise one that has 2."""

    def __init__(self, classes, multiplier, small=False):
        super().__init__()
        strides = [1, 1 if small else 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        widths = [int(n * multiplier) for n in (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)]
        self.layers = nn.ModuleList([conv_norm(3, widths[0], 3, 1 if small else 2)])
        for cin, cout, stride in zip(widths, widths[1:], strides):
            self.layers.append(conv_norm(cin, cin, 3, stride, groups=cin))
            self.layers.append(conv_norm(cin, cout, 1))
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return self.classifier(x.mean((2, 3)))


class ShuffleUnit(nn.Module):
    """Zhang et al. 2017, figure 2 (b) and (c)."""

    def __init__(self, cin, cout, groups, first_groups, stride):
        super().__init__()
        self.groups, self.stride, inner = groups, stride, cout // 4
        self.conv1 = nn.Conv2d(cin, inner, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, cout - cin if stride == 2 else cout, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(self.conv3.out_channels)

    def forward(self, x):
        y = nn.functional.channel_shuffle(self.bn1(self.conv1(x)).relu(), self.groups)
        y = self.bn3(self.conv3(self.bn2(self.conv2(y))))
        if self.stride == 1:
            return (x + y).relu()
        return torch.cat([nn.functional.avg_pool2d(x, 3, 2, 1), y], 1).relu()


class ShuffleNetV1(nn.Module):
    """Zhang et al. 2017, table 1. The scales used keep every number of channels whole."""

    def __init__(self, classes, groups, scale, small=False):
        super().__init__()
        first = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}[groups]
        channels = -(-int(24 * scale) // groups) * groups
        self.conv1 = nn.Conv2d(3, channels, 3, 1 if small else 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        units = []
        for stage, count in enumerate((4, 8, 4)):
            for i in range(count):
                out = int(first * scale) << stage
                units.append(ShuffleUnit(channels, out, groups, groups if units else 1, 2 if i == 0 else 1))
                channels = out
        self.units = nn.Sequential(*units)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(self.units(self.pool(self.bn1(self.conv1(x)).relu())).mean((2, 3)))


def shift(x, kernel):
    """Wu et al. 2017, section 3.2: group (i, j) of the channels reads the image moved by (i, j) from the centre; zeros from outside."""
    each, half = x.shape[1] // kernel**2, kernel // 2
    moves = [(i - half, j - half) for i in range(kernel) for j in range(kernel) if (i, j) != (half, half)]
    padded = nn.functional.pad(x, (half, half, half, half))
    height, width = x.shape[2:]
    parts = [padded[:, g * each:(g + 1) * each, half + down:half + down + height, half + right:half + right + width]
             for g, (down, right) in enumerate(moves)]
    return torch.cat([*parts, x[:, len(moves) * each:]], 1)


class ShiftBlock(nn.Module):
    def __init__(self, cin, cout, stride, expansion=6):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, expansion * cout, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(expansion * cout)
        self.conv2 = nn.Conv2d(expansion * cout, cout, 1, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample = None if stride == 1 and cin == cout else conv_norm(cin, cout, 1, stride)

    def forward(self, x):
        y = self.bn2(self.conv2(shift(self.bn1(self.conv1(x)).relu(), 3)))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ShiftResNet(nn.Module):
    """Section 4.1: a ResNet for small images whose blocks are 1x1 convolution, shift, 1x1 convolution."""

    def __init__(self, classes, blocks, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        layers, channels = [], width
        for stage in range(3):
            for i in range(blocks):
                layers.append(ShiftBlock(channels, width << stage, 2 if stage > 0 and i == 0 else 1))
                channels = width << stage
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(self.layers(self.bn1(self.conv1(x)).relu()).mean((2, 3)))


class ShiftModule(nn.Module):
    """Figure 3, CSC, with batch norm and ReLU before each convolution."""

    def __init__(self, cin, cout, kernel, expansion, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        new = cout - cin if stride == 2 else cout
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, expansion * new, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(expansion * new)
        self.conv2 = nn.Conv2d(expansion * new, new, 1, stride, bias=False)

    def forward(self, x):
        y = shift(self.conv1(self.bn1(x).relu()), self.kernel)
        y = self.conv2(self.bn2(y).relu())
        return x + y if self.stride == 1 else torch.cat([nn.functional.avg_pool2d(x, 3, 2, 1), y], 1)


class ShiftNet(nn.Module):
    """Section 4.2, ShiftNet-A at width 32: channels, modules, kernel and expansions of its four groups."""

    def __init__(self, classes, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        modules, channels = [], width
        for times, count, kernel, first, rest in ((2, 5, 5, 4, 4), (4, 6, 5, 4, 3), (8, 7, 3, 3, 2), (16, 3, 3, 2, 1)):
            for i in range(count):
                modules.append(ShiftModule(channels, times * width, kernel, rest if i else first, 1 if i else 2))
                channels = times * width
        self.modules_ = nn.Sequential(*modules)
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(self.bn(self.modules_(self.conv1(x))).relu().mean((2, 3)))
