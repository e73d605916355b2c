#!/usr/bin/env python3
"""PyTorch's side of configs/cifar10.pbtxt: the same network, recipe, files and epochs on the CPU; prints one JSON object.

The images come from the same tars of JPEGs (DIR/train.tar, DIR/test.tar) and are decoded once at the start, into memory;
crop and flip are done on whole batches. That is kinder to PyTorch than a DataLoader that decodes and transforms each image
anew. Several ranks: DDP over gloo, one thread each, batch norm per rank.

  python3 bench/peers/pytorch_cifar.py --data DIR --epochs 2 --seed 1 --ranks 2
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import contextlib
import io
import json
import math
import os
import socket
import tarfile
import time

BATCH, WIDTH = 256, 32
PEAK_LR, PEAK_FRACTION, START, END = 0.25, 0.2, 0.1, 0.001  # schedule of the config
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PAD = 4
TEST_IMAGES = 10000


def read_tar(path):
    """uint8 images (N, 32, 32, 3) and labels (N), in the order of class and name."""
    import numpy
    from PIL import Image

    images, classes = [], []
    with tarfile.open(path) as tar:
        members = sorted((m for m in tar if m.isfile()), key=lambda m: m.name)
        names = sorted({m.name.split("/")[-2] for m in members})
        for member in members:
            with Image.open(io.BytesIO(tar.extractfile(member).read())) as image:
                images.append(numpy.asarray(image.convert("RGB")))
            classes.append(names.index(member.name.split("/")[-2]))
    return numpy.stack(images), numpy.array(classes)


def make_model():
    """ResNet-18 with a 3x3 stem and half the channels; the last batch norm of each block starts at 0."""
    from torch import nn
    import torchvision

    model = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [2, 2, 2, 2], num_classes=10)
    model.inplanes = WIDTH
    model.conv1, model.bn1, model.maxpool = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.Identity()
    for stage in range(4):
        layer = model._make_layer(torchvision.models.resnet.BasicBlock, WIDTH << stage, 2, stride=1 if stage == 0 else 2)
        setattr(model, f"layer{stage + 1}", layer)
    model.fc = nn.Linear(WIDTH * 8, 10)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, torchvision.models.resnet.BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    nn.init.normal_(model.fc.weight, std=0.01)
    nn.init.zeros_(model.fc.bias)
    return model


def learning_rate(step, steps):
    def half_cosine(t):
        return (1 + math.cos(math.pi * t)) / 2

    peak = PEAK_FRACTION * steps
    if step < peak:
        return PEAK_LR * (1 + (START - 1) * half_cosine(step / peak))
    return PEAK_LR * (END + (1 - END) * half_cosine((step - peak) / (steps - peak)))


def augment(images, generator):
    """Pads by 4, cuts a random 32x32 window of each and mirrors half of them; (n, 3, H, W) float."""
    import torch

    n, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (PAD,) * 4)
    top = torch.randint(0, 2 * PAD + 1, (n,), generator=generator)
    left = torch.randint(0, 2 * PAD + 1, (n,), generator=generator)
    flip = torch.rand(n, generator=generator) < 0.5
    rows = top[:, None] + torch.arange(height)[None]
    columns = torch.arange(width)[None].expand(n, -1).clone()
    columns[flip] = columns[flip].flip(1)
    columns = left[:, None] + columns
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train(rank, args, port):
    import torch

    torch.set_num_threads(1)
    if args.ranks > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        torch.distributed.init_process_group("gloo", rank=rank, world_size=args.ranks)
    data = {split: read_tar(os.path.join(args.data, f"{split}.tar")) for split in ("train", "test")}
    torch.manual_seed(args.seed)
    model = make_model().to(memory_format=torch.channels_last)
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0}]
    optimizer = torch.optim.SGD(groups, lr=PEAK_LR, momentum=0.9, nesterov=True, fused=True)
    net = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True) if args.ranks > 1 else model
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)

    def autocast():
        return torch.autocast("cpu", dtype=torch.bfloat16) if args.dtype == "bf16" else contextlib.nullcontext()

    def normalise(images):
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def batch_of(split, index):
        images = torch.from_numpy(data[split][0][index.numpy()]).permute(0, 3, 1, 2).float() / 255
        return images, torch.from_numpy(data[split][1][index.numpy()])

    per_epoch = len(data["train"][1]) // BATCH
    steps = round(args.epochs * per_epoch)
    order_generator, mine = torch.Generator().manual_seed(args.seed), torch.Generator().manual_seed(1000 * args.seed + rank)
    begin = time.perf_counter()
    for step in range(min(steps, args.max_steps or steps)):
        if step % per_epoch == 0:
            order = torch.randperm(len(data["train"][1]), generator=order_generator)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        at = step % per_epoch * BATCH
        images, labels = batch_of("train", order[at + rank * BATCH // args.ranks : at + (rank + 1) * BATCH // args.ranks])
        images = normalise(augment(images, mine))
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = torch.nn.functional.cross_entropy(net(images), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
    seconds = time.perf_counter() - begin
    if rank == 0:
        report(args, model, lambda index: batch_of("test", index), normalise, autocast, min(steps, args.max_steps or steps), seconds)
    if args.ranks > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def report(args, model, test_batch, normalise, autocast, steps, seconds):
    import torch

    model.eval()
    hits = 0
    with torch.no_grad(), autocast():
        for index in torch.arange(TEST_IMAGES).split(200):
            images, labels = test_batch(index)
            hits += int((model(normalise(images)).argmax(1) == labels).sum())
    print(json.dumps({"torch": torch.__version__, "seed": args.seed, "epochs": args.epochs, "ranks": args.ranks, "dtype": args.dtype,
                      "top1": 100 * hits / TEST_IMAGES, "train_seconds": seconds, "images_per_second": steps * BATCH / seconds}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train.tar and test.tar")
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--max-steps", type=int, default=0, help="stop early: for timings")
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free_port = free.getsockname()[1]
    if arguments.ranks > 1:
        import torch.multiprocessing

        torch.multiprocessing.spawn(train, (arguments, free_port), nprocs=arguments.ranks)
    else:
        train(0, arguments, free_port)
