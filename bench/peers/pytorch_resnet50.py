#!/usr/bin/env python3
"""PyTorch's ResNet training step on a GPU, as `lockstep bench step --backend CUDA` measures ours: one JSON object per line and case.

torchvision's network, channels_last, synthetic images on the GPU, fused SGD, autocast for bf16 and f16 (f16 with its loss scaler),
times by CUDA events around each step, the median of the timed steps. Modes:
  eager             as a training script runs it
  graphed           the whole step captured as one CUDA graph
  compiled          torch.compile of the network, for each batch by itself
  compiled_graphed  the compiled step captured as one CUDA graph
A case that fails is a line with "error"; the others go on.

  python3 bench/peers/pytorch_resnet50.py --batch 64,256 --dtype bf16,f16 --mode eager,graphed
  python3 bench/peers/pytorch_resnet50.py --serve         cases from the input, one a line: BATCH DTYPE MODE
  python3 bench/peers/pytorch_resnet50.py --device cpu --model resnet18 --size 32 --batch 4   tries the script without a GPU
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import contextlib
import gc
import itertools
import json
import resource
import statistics
import sys
import time

DTYPES = ("f32", "tf32", "bf16", "f16")
MODES = ("eager", "graphed", "compiled", "compiled_graphed")
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-5}  # as `lockstep bench step` sets them
CAPTURE_WARMUP = 3  # steps before a capture, as PyTorch's manual asks


class EventClock:
    """Milliseconds of each step on the GPU: one event between any two steps, read at the end."""

    def __init__(self, torch):
        self.torch = torch

    def time(self, step, count):
        events = [self.torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        self.torch.cuda.synchronize()
        events[0].record()
        for event in events[1:]:
            step()
            event.record()
        self.torch.cuda.synchronize()
        return [before.elapsed_time(after) for before, after in zip(events, events[1:])]


class WallClock:
    def time(self, step, count):
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            step()
            times.append((time.perf_counter() - begin) * 1e3)
        return times


class Peer:
    """One network, kept over all cases, so that what was compiled for one is there for the next."""

    def __init__(self, args):
        import torch
        import torchvision

        self.torch, self.args = torch, args
        self.on_gpu = args.device != "cpu"
        if self.on_gpu and not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU; --device cpu tries the script without one")
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(1)
        self.model = getattr(torchvision.models, args.model)(num_classes=args.classes)
        self.model = self.model.to(args.device, memory_format=torch.channels_last).train()
        self.compiled = torch.compile(self.model, dynamic=False)
        self.clock = EventClock(torch) if self.on_gpu else WallClock()

    def about(self):
        name = self.torch.cuda.get_device_name() if self.on_gpu else "cpu"
        cudnn = self.torch.backends.cudnn.version() if self.on_gpu else None
        return {"peer": f"torch {self.torch.__version__}", "cuda": self.torch.version.cuda, "cudnn": cudnn, "device": name}

    def make_step(self, batch, dtype, mode):
        torch = self.torch
        tf32 = dtype != "f32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        network = self.compiled if mode.startswith("compiled") else self.model
        optimizer = torch.optim.SGD(self.model.parameters(), fused=True, **SGD)
        images = torch.randn(batch, 3, self.args.size, self.args.size, device=self.args.device).to(memory_format=torch.channels_last)
        labels = torch.randint(0, self.args.classes, (batch,), device=self.args.device)
        kind = self.args.device.split(":")[0]
        narrow = {"bf16": torch.bfloat16, "f16": torch.float16}.get(dtype)
        scaler = torch.amp.GradScaler(kind) if dtype == "f16" and self.on_gpu else None

        def step():
            optimizer.zero_grad(set_to_none=True)
            # Without its cache of casts, which a captured step can't keep from replay to replay.
            with torch.autocast(kind, dtype=narrow, cache_enabled=False) if narrow else contextlib.nullcontext():
                loss = torch.nn.functional.cross_entropy(network(images), labels)
            if scaler is None:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

        return step

    def captured(self, step):
        torch = self.torch
        if not self.on_gpu:
            raise RuntimeError("CUDA graphs need a GPU")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(CAPTURE_WARMUP):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    def measure(self, batch, dtype, mode):
        """Milliseconds of each timed step, and what came before them in seconds."""
        begin = time.perf_counter()
        if self.on_gpu:
            self.torch.cuda.reset_peak_memory_stats()
        step = self.make_step(batch, dtype, mode)
        if mode.endswith("graphed"):
            step = self.captured(step)
        for _ in range(self.args.warmup):
            step()
        if self.on_gpu:
            self.torch.cuda.synchronize()
        return self.clock.time(step, self.args.steps), time.perf_counter() - begin

    def peak_bytes(self):
        if self.on_gpu:
            return self.torch.cuda.max_memory_reserved()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def case(self, batch, dtype, mode):
        result = dict(self.about(), model=self.args.model, size=self.args.size, batch=batch, dtype=dtype, mode=mode)
        try:
            times, setup_s = self.measure(batch, dtype, mode)
        except Exception as error:  # the other cases go on: out of memory, an operation that can't be captured, no compiler
            result["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        else:
            median = statistics.median(times)
            result.update(images_per_second=round(batch / median * 1e3, 2), ms_per_step=round(median, 4), ms_per_step_min=round(min(times), 4),
                          ms_per_step_max=round(max(times), 4), steps=len(times), setup_seconds=round(setup_s, 2), peak_bytes=self.peak_bytes())
        self.free()
        return result

    def free(self):
        for parameter in self.model.parameters():
            parameter.grad = None  # it may lie in a graph's memory
        gc.collect()
        if self.on_gpu:
            self.torch.cuda.empty_cache()


def words(text, known, option):
    chosen = text.split(",")
    for word in chosen:
        if word not in known:
            raise SystemExit(f"pytorch_resnet50: {option}: got '{word}', want some of {', '.join(known)}")
    return chosen


def cases(args):
    """(batch, dtype, mode) as the options say, or as the input's lines say."""
    if not args.serve:
        batches = [int(batch) for batch in args.batch.split(",")]
        modes, dtypes = words(args.mode, MODES, "--mode"), words(args.dtype, DTYPES, "--dtype")
        for _ in range(args.rounds):
            yield from itertools.product(batches, dtypes, modes)
        return
    for line in sys.stdin:
        batch, dtype, mode = line.split()
        yield int(batch), words(dtype, DTYPES, "input")[0], words(mode, MODES, "input")[0]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", default="256", help="comma-separated")
    parser.add_argument("--dtype", default="bf16", help="comma-separated; of " + ", ".join(DTYPES))
    parser.add_argument("--mode", default="eager", help="comma-separated; of " + ", ".join(MODES))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1, help="all cases so many times, in turn")
    parser.add_argument("--serve", action="store_true", help="cases from the input")
    return parser.parse_args()


def main():
    args = parse()
    wanted = cases(args)
    if not args.serve:
        wanted = list(wanted)  # mistakes show before PyTorch is loaded
    try:
        peer = Peer(args)
    except (ImportError, RuntimeError) as error:
        sys.exit(f"pytorch_resnet50: {error}")
    if args.serve:
        print(json.dumps(peer.about()), flush=True)
    for batch, dtype, mode in wanted:
        print(json.dumps(peer.case(batch, dtype, mode)), flush=True)


if __name__ == "__main__":
    main()
