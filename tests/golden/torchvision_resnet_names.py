#!/usr/bin/env python3
"""Makes torchvision_resnet_names.txt: the entries of torchvision's state_dict for some ResNets, name and shape, in order.

  python3 tests/golden/torchvision_resnet_names.py > tests/golden/torchvision_resnet_names.txt     (torchvision 0.28)
"""
# SPDX-License-Identifier: Apache-2.0
import torchvision

print(f"# torchvision {torchvision.__version__.split('+')[0]}: after each network's line, its entries; a scalar has no extents")
for name in ("resnet18", "resnet34", "resnet50", "resnet101"):
    entries = getattr(torchvision.models, name)().state_dict()
    print("model", name, len(entries))
    for key, value in entries.items():
        print(key, *value.shape)
