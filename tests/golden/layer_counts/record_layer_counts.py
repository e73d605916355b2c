#!/usr/bin/env python3
"""Makes layer_counts.txt: weights, input elements and operations of every convolution and matrix product of torchvision's networks.

  python3 tests/golden/layer_counts/record_layer_counts.py > tests/golden/layer_counts/layer_counts.txt     (torchvision 0.28)

Counted twice: layer by layer with hooks on the modules as they run, and by PyTorch's own FlopCounterMode, which looks at the
operators that arrive at the dispatcher. The script fails where the two differ.
"""
# SPDX-License-Identifier: Apache-2.0
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

BATCH = 2
# Name, height and width, further arguments. Without auxiliary heads: they take no part in inference, nor in lockstep's networks.
NETWORKS = [("alexnet", 224, {}), ("vgg11", 224, {}), ("vgg16", 224, {}), ("vgg19", 224, {}), ("vgg11_bn", 224, {}), ("vgg16_bn", 224, {}),
            ("vgg19_bn", 224, {}), ("googlenet", 224, {"aux_logits": False, "init_weights": False}),
            ("inception_v3", 299, {"aux_logits": False, "init_weights": False}), ("squeezenet1_0", 224, {}), ("squeezenet1_1", 224, {}),
            ("mobilenet_v2", 224, {}), ("densenet121", 224, {}), ("resnet18", 224, {}), ("resnet34", 224, {}), ("resnet50", 224, {}),
            ("resnet101", 224, {}), ("resnet152", 224, {})]
TOTALS_ONLY = {"resnet101", "resnet152", "vgg11_bn", "vgg16_bn", "vgg19_bn"}  # their layers are like their sisters'


def count_layers(model, images):
    """(name, weights, input elements, operations) of each convolution and linear layer, in the order in which they run."""
    rows = []

    def hook(name):
        def count(module, inputs, output):
            weights = module.weight.numel()
            if isinstance(module, torch.nn.Conv2d):
                # Every output element is a sum over one filter: weights / out_channels products.
                products = output.numel() * (weights // module.out_channels)
            else:
                products = output.numel() * module.in_features
            rows.append((name, weights, inputs[0].numel(), 2 * products))
        return count

    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(hook(name))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    assert sum(row[3] for row in rows) == counter.get_total_flops(), "the two counts differ"
    return rows


def main():
    print(f"# torchvision {torchvision.__version__.split('+')[0]}: network, height and width, batch, parameters, then the sums of weights, input")
    print("# elements and operations (2 per multiply-add) over its convolutions and matrix products; below it: name and counts of each")
    for name, side, arguments in NETWORKS:
        with torch.device("meta"):
            model = getattr(torchvision.models, name)(**arguments).eval()
            images = torch.zeros(BATCH, 3, side, side)
        rows = count_layers(model, images)
        parameters = sum(p.numel() for p in model.parameters())
        print("network", name, side, BATCH, parameters, *(sum(row[i] for row in rows) for i in (1, 2, 3)))
        if name not in TOTALS_ONLY:
            for row in rows:
                print("layer", *row)


main()
