#!/usr/bin/env python3
"""Measures lockstep against PyTorch on this machine: A B C, A B C, ... (A: lockstep, B, C: PyTorch's modes), and prints the
median of the rounds' ratios, with the smallest and the largest, against PyTorch's best mode of each case.

The peers' modes on one core: eager (and with --compiled torch.compile). On two: DDP over gloo with 2 ranks of one thread, and one
process of 2 threads with the same images per step. Run it on a machine that does nothing else.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL_NETS = {
    "fashion": ["--config", "configs/fashion_mnist.pbtxt", "--set", "data.source=SYNTHETIC", "--set", "data.height=28", "--set", "data.width=28",
                "--set", "data.channels=1", "--set", "data.synthetic.size=4096"],
    "cifar20": ["--config", "configs/cifar10_resnet20.pbtxt", "--set", "data.source=SYNTHETIC", "--set", "data.height=32", "--set", "data.width=32",
                "--set", "data.channels=3", "--set", "data.synthetic.size=4096"],
}
SMALL_BATCH = 128  # images a step of the small nets' configs, over all ranks
LARGE_BATCH = 16  # images a step and rank of the others


class Case:
    """One row of the table: our command, and the peer's commands by mode."""

    def __init__(self, name, ours, ranks, steps, peers):
        self.name, self.ours, self.ranks, self.steps, self.peers = name, ours, ranks, steps, peers


def peer_modes(script, cores, batch, dtype_args, compiled):
    """`batch`: images per step and core."""
    shapes = {"": ["--batch", str(batch), "--ranks", "1", "--threads", "1"]}
    if cores > 1:
        shapes = {f" ddp{cores}": ["--batch", str(batch), "--ranks", str(cores), "--threads", "1"],
                  f" {cores} threads": ["--batch", str(batch * cores), "--ranks", "1", "--threads", str(cores)]}
    modes = ["eager", "compiled"] if compiled else ["eager"]
    return {mode + name: [script] + shape + dtype_args + ["--mode", mode] for mode in modes for name, shape in shapes.items()}


def all_cases(compiled):
    cases = {}
    for cores in (1, 2):
        for model in ("resnet50", "resnet18"):
            for dtype in ("f32", "bf16"):
                name = f"{model}-{dtype}-{cores}"
                ours = ["bench", "step", "--model", model, "--batch", str(LARGE_BATCH), "--dtype", dtype]
                peers = peer_modes("bench/peers/resnet_step.py", cores, LARGE_BATCH, ["--model", model, "--dtype", dtype], compiled)
                cases[name] = Case(name, ours, cores, 5, peers)
        for net, config in SMALL_NETS.items():
            name = f"{net}-{cores}"
            peers = peer_modes("bench/peers/small_step.py", cores, SMALL_BATCH // cores, ["--net", net], compiled)
            cases[name] = Case(name, ["bench", "step"] + config, cores, 100, peers)
    return cases


def our_command(case, args):
    launcher = ["tools/mpi.sh", str(case.ranks)] if case.ranks > 1 else []
    return launcher + [args.binary] + case.ours + timing(case, args) + ["--json"]


def timing(case, args):
    return ["--warmup", str(args.warmup), "--steps", str(args.steps or case.steps)]


def peer_command(case, mode, args):
    return [args.peer_python] + case.peers[mode] + timing(case, args)


def environment(command):
    threads = command[command.index("--threads") + 1] if "--threads" in command else "1"
    return dict(os.environ, OMP_NUM_THREADS=threads)


def measure(command, timeout):
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment(command), capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"compare: {shlex.join(command)}: {error}")
    start = done.stdout.find("{")
    if done.returncode != 0 or start < 0:
        sys.exit(f"compare: exit code {done.returncode} of {shlex.join(command)}\n{done.stdout}{done.stderr}")
    return json.JSONDecoder().raw_decode(done.stdout[start:])[0]


def measure_case(case, args):
    """Rounds of {"ours": result, mode: result, ...}."""
    rounds = []
    for number in range(args.rounds):
        results = {"ours": measure(our_command(case, args), args.timeout)}
        for mode in case.peers:
            results[mode] = measure(peer_command(case, mode, args), args.timeout)
        speeds = ", ".join(f"{who} {result['images_per_second']:.2f}" for who, result in results.items())
        print(f"{case.name}, round {number + 1} of {args.rounds}: {speeds}", file=sys.stderr, flush=True)
        rounds.append(results)
    return rounds


def summarise(case, rounds):
    def speeds(who):
        return [results[who]["images_per_second"] for results in rounds]

    best = max(case.peers, key=lambda mode: statistics.median(speeds(mode)))
    ratios = [a / b for a, b in zip(speeds("ours"), speeds(best))]
    ours, peer = rounds[0]["ours"], rounds[0][best]
    memory = peer["peak_bytes"] / ours["peak_bytes"] if ours.get("peak_bytes") and peer.get("peak_bytes") else None
    return {"case": case.name, "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios), "peer_mode": best,
            "ours_images_per_second": statistics.median(speeds("ours")),
            "peer_images_per_second": {mode: statistics.median(speeds(mode)) for mode in case.peers},
            "peer": peer.get("peer", ""), "peer_peak_over_ours": memory,
            "rounds": [{who: result["images_per_second"] for who, result in results.items()} for results in rounds]}


def first_line(command):
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.splitlines()[0] if done.stdout else ""
    except OSError:
        return ""


def machine(args):
    models = [line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    dirty = " (with changes)" if first_line(["git", "status", "--porcelain", "--untracked-files=no"]) else ""
    return {"processor": models[0] if models else platform.processor(), "cores": os.cpu_count(), "system": platform.platform(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "commit": first_line(["git", "rev-parse", "--short=12", "HEAD"]) + dirty, "lockstep": first_line([args.binary, "version"])}


def print_table(report):
    about = report["machine"]
    print(f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB; {about['lockstep']}, commit {about['commit']}; "
          f"{report['rows'][0]['peer']}; {report['rounds']} rounds in turn\n")
    print("| case | lockstep images/s | PyTorch images/s | its best mode | ratio | smallest to largest | its peak memory / ours |")
    print("|---|---|---|---|---|---|---|")
    for row in report["rows"]:
        memory = f"{row['peer_peak_over_ours']:.2f}" if row["peer_peak_over_ours"] else "-"
        print(f"| {row['case']} | {row['ours_images_per_second']:.2f} | {row['peer_images_per_second'][row['peer_mode']]:.2f} | {row['peer_mode']} | "
              f"**{row['ratio']:.2f}** | {row['ratio_min']:.2f} to {row['ratio_max']:.2f} | {memory} |")
    print("\nCommands, in turn:\n")
    for commands in report["commands"].values():
        for command in commands:
            print("    " + command)


def parse():
    parser = argparse.ArgumentParser(prog="bench/compare.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="python with torch and torchvision; needed unless --dry-run")
    parser.add_argument("--binary", default="build/cpu/lockstep")
    parser.add_argument("--cases", default="resnet50-f32-1,resnet50-f32-2,resnet50-bf16-1,resnet50-bf16-2,resnet18-f32-1,fashion-2,cifar20-2",
                        help="comma-separated; all: " + ", ".join(all_cases(False)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=2, help="steps before timing, on both sides")
    parser.add_argument("--steps", type=int, default=0, help="timed steps; default: 5, of the small nets 100")
    parser.add_argument("--compiled", action="store_true", help="also torch.compile (its first step takes a minute and more)")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one command")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands of one round")
    args = parser.parse_args()
    if args.peer_python is None and not args.dry_run:
        parser.error("--peer-python: name a python that has torch, for example that of a venv")
    args.peer_python = args.peer_python or "python3"
    if args.rounds < 1:
        parser.error("--rounds: want at least 1")
    return parser, args


def main():
    parser, args = parse()
    known = all_cases(args.compiled)
    names = args.cases.split(",")
    for name in names:
        if name not in known:
            parser.error(f"--cases: there is no '{name}'; want some of {', '.join(known)}")
    commands = {name: [shlex.join(our_command(known[name], args))] + [shlex.join(peer_command(known[name], mode, args)) for mode in known[name].peers]
                for name in names}
    if args.dry_run:
        print("\n".join(command for each in commands.values() for command in each))
        return
    rows = [summarise(known[name], measure_case(known[name], args)) for name in names]
    report = {"machine": machine(args), "rounds": args.rounds, "rows": rows, "commands": commands}
    print(json.dumps(report, indent=2)) if args.json else print_table(report)


if __name__ == "__main__":
    main()
