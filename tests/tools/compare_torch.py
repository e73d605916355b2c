#!/usr/bin/env python3
"""Carries a network of torchvision from PyTorch to lockstep and back: compare_torch.py LOCKSTEP FOLDER NETWORK PHOTO...

PyTorch makes random weights with running statistics of the photos and saves a .pth; tools/pth_to_safetensors.py converts it. Then, on
all photos with torchvision's preprocessing, these logits must agree to 1e-4 of the largest: torchvision's, lockstep's, PyTorch's
with the weights that lockstep exports (loaded strictly), and onnxruntime's with its ONNX files. Prints the worst of each.
"""
# SPDX-License-Identifier: Apache-2.0
import pathlib
import subprocess
import sys

import numpy as np
import onnxruntime
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torchvision import transforms

TOLERANCE = 1e-4  # relative to the largest logit
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CONFIG = """
model { name: "%s" classes: 1000 }
data { source: FOLDER mean: [0.485, 0.456, 0.406] std: [0.229, 0.224, 0.225]
       eval { crop: RESIZE_CENTRE_CROP resize_short: %d } }
schedule { lr: 0.1 }
"""


def sizes(name: str) -> tuple[int, int]:
    """Of the short edge and of the cut; lockstep's config leaves the latter to the network."""
    return (342, 299) if name == "inception_v3" else (256, 224)


def cut(name: str) -> transforms.Compose:
    short, side = sizes(name)
    return transforms.Compose([transforms.Resize(short), transforms.CenterCrop(side), transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def empty_network(name: str, auxiliary: bool) -> torch.nn.Module:
    options = {"aux_logits": auxiliary, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(torchvision.models, name)(weights=None, **options)


@torch.no_grad()
def torch_logits(model: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    model.eval()
    return torch.cat([model(part) for part in images.split(16)]).numpy()


@torch.no_grad()
def make_network(name: str, images: torch.Tensor) -> torch.nn.Module:
    torch.manual_seed(7)
    network = empty_network(name, True).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # plain averages, or the photos would all look alike behind statistics that are not theirs
    for part in images[:48].split(16):
        network(part)
    return network


def main(lockstep: str, folder: str, name: str, *photos: str) -> None:
    torch.set_num_threads(1)
    work = pathlib.Path(folder)
    work.mkdir(parents=True, exist_ok=True)
    path = {name: str(work / name) for name in ("net.pth", "net.safetensors", "out.safetensors", "kept.onnx", "folded.onnx", "logits.safetensors")}
    (work / "net.pbtxt").write_text(CONFIG % (name, sizes(name)[0]))
    images = torch.stack([cut(name)(Image.open(photo).convert("RGB")) for photo in photos])
    network = make_network(name, images)
    torch.save(network.state_dict(), path["net.pth"])
    converter = pathlib.Path(__file__).parents[2] / "tools/pth_to_safetensors.py"
    subprocess.run([sys.executable, str(converter), path["net.pth"], path["net.safetensors"]], check=True)
    chosen = ["--weights", path["net.safetensors"], "--config", str(work / "net.pbtxt")]
    subprocess.run([lockstep, "infer", *chosen, "--logits", path["logits.safetensors"], "--json", *photos], check=True, stdout=subprocess.DEVNULL)
    for output, more in (("out.safetensors", []), ("kept.onnx", []), ("folded.onnx", ["--fold-batch-norm"])):
        subprocess.run([lockstep, "export", *chosen, "--force", "--output", path[output], *more], check=True)

    wanted = torch_logits(network, images)
    ours = load_file(path["logits.safetensors"])
    back = empty_network(name, False)
    back.load_state_dict(load_file(path["out.safetensors"]), strict=True)
    results = {"lockstep": ours["logits"].numpy(), "PyTorch with the exported weights": torch_logits(back, images)}
    for kind in ("kept", "folded"):
        session = onnxruntime.InferenceSession(path[f"{kind}.onnx"], providers=["CPUExecutionProvider"])
        results[f"onnxruntime, batch norm {kind}"] = np.concatenate([session.run(None, {"input": part.numpy()})[0] for part in images.split(16)])
    print(f"{name}, {len(photos)} photos; inputs differ from torchvision's by at most {np.abs(ours['input'].numpy() - images.numpy()).max():.2e}")
    # Logits of random weights are nearly the same for all photos: what differs between photos must agree, too.
    spread = np.abs(wanted - wanted.mean(axis=0)).max()
    for source, got in results.items():
        worst = np.abs(got - wanted).max()
        print(f"  {source}: worst {worst / np.abs(wanted).max():.2e} of the largest logit, {worst / spread:.2e} of the spread")
        assert worst <= TOLERANCE * np.abs(wanted).max(), f"{name}: {source}"


if __name__ == "__main__":
    main(*sys.argv[1:])
