#!/usr/bin/env python3
"""Measures how fast one core turns JPEGs into training images: lockstep against torchvision, Pillow-SIMD and DALI.

All do the same work (bench/peers/loader_timing.py) on one processor, in turn, round after round; a figure is the median over the rounds,
a ratio the median of the rounds' ratios. Peers read the photos into memory first; lockstep reads them from files each time.

    bench/loader_peers.py --images IMAGES --lockstep build/cpu/lockstep --torch-python .peers/bin/python \\
        --simd-python .simd/bin/python --dali-python .dali/bin/python

Prints the sections of a result file (bench/results/README.md): a table of the peers, where lockstep's time goes, and what two threads give.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder with train/<class>/*.JPEG")
    parser.add_argument("--lockstep", required=True, help="the program")
    parser.add_argument("--torch-python", help="Python with torch and torchvision")
    parser.add_argument("--simd-python", help="Python with pillow-simd")
    parser.add_argument("--dali-python", help="Python with nvidia-dali")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the processor that does the work")
    return parser.parse_args()


def run_json(command, cpus):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def peer_commands(args):
    commands = []
    if args.torch_python:
        for backend in ("pillow", "decode_jpeg"):
            commands.append([args.torch_python, str(HERE / "peers/loader_torchvision.py"), "--backend", backend])
    if args.simd_python:
        commands.append([args.simd_python, str(HERE / "peers/loader_pillow.py")])
    if args.dali_python:
        commands.append([args.dali_python, str(HERE / "peers/loader_dali.py")])
    return [command + ["--images", args.images, "--seconds", str(args.seconds)] for command in commands]


def ours(args, threads, cpus):
    command = [args.lockstep, "bench", "loader", "--data", args.images, "--threads", str(threads), "--seconds", str(args.seconds), "--json"]
    return run_json(command, cpus)


def numbers(values):
    return " ".join(f"{value:.0f}" for value in values)


def print_peers(our_rates, peers):
    print("| | images/s | smallest to largest | lockstep is faster by | smallest to largest |\n|---|---|---|---|---|")
    print(f"| **lockstep** | **{statistics.median(our_rates):.0f}** | {min(our_rates):.0f} to {max(our_rates):.0f} | | |")
    for name, results in peers.items():
        rates = [result["images_per_second"] for result in results]
        ratios = [mine / theirs for mine, theirs in zip(our_rates, rates)]
        print(f"| {name} | {statistics.median(rates):.0f} | {min(rates):.0f} to {max(rates):.0f} | **{statistics.median(ratios):.2f}** | "
              f"{min(ratios):.2f} to {max(ratios):.2f} |")
    print(f"\n    lockstep: {numbers(our_rates)}")
    for name, results in peers.items():
        print(f"    {name}: {numbers(result['images_per_second'] for result in results)}   ({results[0]['versions']})")


def print_stages(results):
    rows = [result["rows"][0]["stage_us_per_image"] for result in results]
    print("\n| stage | us per image (median) | share |\n|---|---|---|")
    whole = statistics.median(1e6 / result["images_per_second"] for result in results)
    for stage in rows[0]:
        if stage != "fill":
            time = statistics.median(row[stage] for row in rows)
            print(f"| {stage} | {time:.0f} | {100 * time / whole:.0f} % |")
    print(f"| all | {whole:.0f} | |")


def main():
    args = parse_args()
    commands = peer_commands(args)
    alone, mine, pairs, peers = {args.cpu}, [], [], {}
    for _ in range(args.rounds):
        mine.append(ours(args, 1, alone))
        for command in commands:
            result = run_json(command, alone)
            peers.setdefault(result["name"], []).append(result)
        if len(os.sched_getaffinity(0)) > 1:
            both = set(sorted(os.sched_getaffinity(0))[-2:])
            pairs.append((ours(args, 1, both)["images_per_second"], ours(args, 2, both)["images_per_second"]))
    print_peers([result["images_per_second"] for result in mine], peers)
    print_stages(mine)
    if pairs:
        print(f"\nTwo threads on two processors, against one: **{statistics.median(two / one for one, two in pairs):.2f}** times as fast.")
        print(f"\n    one: {numbers(one for one, _ in pairs)}\n    two: {numbers(two for _, two in pairs)}")


if __name__ == "__main__":
    main()
