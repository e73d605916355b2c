"""What the peer scripts share: a PyTorch training step on the CPU, timed as `lockstep bench step` times ours.

channels_last, fused SGD with momentum, synthetic images made once, warm-up left out; several ranks by DDP over gloo.
"""
# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import os
import resource
import socket
import statistics
import time


def add_options(parser, batch):
    parser.add_argument("--batch", type=int, default=batch, help="images per rank and step")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="bf16: autocast")
    parser.add_argument("--threads", type=int, default=1, help="per rank")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--mode", choices=["eager", "compiled"], default="eager")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)


class Job:
    """One case: `make_model()`, the images' shape (C, H, W), the number of classes, and SGD's settings."""

    def __init__(self, name, make_model, image, classes, sgd):
        self.name, self.make_model, self.image, self.classes, self.sgd = name, make_model, image, classes, sgd


def make_step(args, job):
    import torch

    torch.manual_seed(1)
    model = job.make_model().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), fused=True, **job.sgd)
    images = torch.randn(args.batch, *job.image).to(memory_format=torch.channels_last)
    labels = torch.randint(0, job.classes, (args.batch,))
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


def run(rank, args, make_job, port):
    import torch

    torch.set_num_threads(args.threads)
    if args.ranks > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        torch.distributed.init_process_group("gloo", rank=rank, world_size=args.ranks)
    job = make_job(args)
    step = make_step(args, job)
    for _ in range(args.warmup):
        step()
    seconds, cpu_start = [], time.process_time()
    for _ in range(args.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    if rank == 0:
        report(args, job, seconds, (time.process_time() - cpu_start) / args.steps)
    if args.ranks > 1:
        torch.distributed.destroy_process_group()


def report(args, job, seconds, cpu_seconds):
    import torch

    median = statistics.median(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({
        "peer": f"torch {torch.__version__}", "model": job.name, "batch": args.batch, "image": list(job.image),
        "dtype": args.dtype, "ranks": args.ranks, "threads": args.threads, "mode": args.mode,
        "images_per_second": round(args.batch * args.ranks / median, 3), "ms_per_step": round(median * 1e3, 3),
        "ms_per_step_min": round(min(seconds) * 1e3, 3), "ms_per_step_max": round(max(seconds) * 1e3, 3),
        "cpu_ms_per_step": round(cpu_seconds * 1e3, 1),  # rank 0, all threads; less than threads * ms_per_step: it had to wait
        "peak_bytes": peak}), flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(args, make_job):
    """`make_job(args)`: a Job; importable by name, since ranks are processes of their own."""
    if args.ranks == 1:
        run(0, args, make_job, 0)
    else:
        import torch.multiprocessing

        torch.multiprocessing.spawn(run, (args, make_job, free_port()), nprocs=args.ranks)
