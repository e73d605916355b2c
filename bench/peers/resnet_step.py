#!/usr/bin/env python3
"""PyTorch's ResNet training step on the CPU, as `lockstep bench step` measures ours: prints images per second as JSON.

The same network (torchvision's, v1.5), channels_last, fused SGD with momentum, synthetic images made once, warm-up left out.
Compare in turn (A B A B), eager and compiled, and let PyTorch's better one count. Several ranks: DDP over gloo.

  python3 bench/peers/resnet_step.py --model resnet50 --batch 16 --dtype f32 --threads 1 --mode eager
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import contextlib
import json
import os
import resource
import socket
import statistics
import time


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=16, help="images per rank and step")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="bf16: autocast")
    parser.add_argument("--threads", type=int, default=1, help="per rank")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--mode", choices=["eager", "compiled"], default="eager")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    return parser.parse_args()


def make_step(args, rank):
    import torch
    import torchvision

    torch.manual_seed(1)
    model = getattr(torchvision.models, args.model)().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-5, fused=True)
    images = torch.randn(args.batch, 3, args.size, args.size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (args.batch,))
    if args.ranks > 1:
        model = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    if args.mode == "compiled":
        model = torch.compile(model)
    bf16 = args.dtype == "bf16"

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else contextlib.nullcontext():
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def run(rank, args, port):
    import torch

    torch.set_num_threads(args.threads)
    if args.ranks > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        torch.distributed.init_process_group("gloo", rank=rank, world_size=args.ranks)
    step = make_step(args, rank)
    for _ in range(args.warmup):
        step()
    seconds, cpu_start = [], time.process_time()
    for _ in range(args.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    if rank == 0:
        report(args, statistics.median(seconds), (time.process_time() - cpu_start) / args.steps)
    if args.ranks > 1:
        torch.distributed.destroy_process_group()


def report(args, seconds, cpu_seconds):
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({
        "peer": f"torch {torch.__version__}", "model": args.model, "batch": args.batch, "size": args.size,
        "dtype": args.dtype, "ranks": args.ranks, "threads": args.threads, "mode": args.mode,
        "images_per_second": round(args.batch * args.ranks / seconds, 3), "ms_per_step": round(seconds * 1e3, 1),
        "cpu_ms_per_step": round(cpu_seconds * 1e3, 1),  # rank 0, all threads; less than threads * ms_per_step: it had to wait
        "peak_bytes": peak}))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    args = parse()
    if args.ranks == 1:
        run(0, args, 0)
    else:
        import torch.multiprocessing

        torch.multiprocessing.spawn(run, (args, free_port()), nprocs=args.ranks)


if __name__ == "__main__":
    main()
