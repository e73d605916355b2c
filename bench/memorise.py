#!/usr/bin/env python3
"""Trains networks on a folder of photos until they know them by heart, and shows that an interrupted run is the same run.

Each network is trained on `--ranks` ranks without a break, and again with a stop in the middle and a resume. Passes if the
loss of the last steps is below 0.05, every photo is recognised, and both runs end with the same digest.

  python3 bench/memorise.py --binary build/cpu/lockstep --photos DIR    # DIR/train/<class>/*.JPEG
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOST_LOSS = 0.05
CASES = {"resnet18": ["epochs=150"], "resnet50": ["schedule.lr=0.03"]}


def train(args, network, settings, run_dir, *more):
    command = [ROOT / "tools/mpi.sh", args.ranks, args.binary, "train", ROOT / "bench/configs/memorise.pbtxt", "--data", args.data, "--run-dir", run_dir,
               "--json", "--set", f"model.name={network}", "--set", f"data.eval_path={args.data}"]
    for setting in settings + args.set:
        command += ["--set", setting]
    done = subprocess.run([str(word) for word in command + list(more)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def last_loss(run_dir):
    """The mean loss of the last line of training metrics."""
    records = [json.loads(line) for line in (pathlib.Path(run_dir) / "metrics.jsonl").read_text().splitlines()]
    return [r["loss"] for r in records if r["kind"] == "train"][-1]


def run_case(args, network, folder):
    settings = CASES[network]
    begin = time.monotonic()
    whole = train(args, network, settings, folder / f"{network}-whole")
    seconds = time.monotonic() - begin
    middle = whole["total_steps"] // 2 + 1
    train(args, network, settings, folder / f"{network}-parts", "--max-steps", middle)
    parts = train(args, network, settings, folder / f"{network}-parts", "--resume", "auto")
    loss = last_loss(folder / f"{network}-whole")
    good = loss < MOST_LOSS and whole["top1"] == 100 and parts["digest"] == whole["digest"]
    print(f"{network}: {whole['total_steps']} steps in {seconds:.0f} s, loss {loss:.4f}, {whole['top1']:.2f} % of {whole['eval_images']} photos, digest {whole['digest']}, "
          f"stopped at step {middle} and resumed: {parts['digest']}: {'good' if good else 'FAILED'}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "build/cpu/lockstep")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--networks", default=",".join(CASES))
    parser.add_argument("--set", action="append", default=[], help="path.to.field=value")
    args = parser.parse_args()
    args.binary = pathlib.Path(args.binary).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        args.data = folder / "photos"
        args.data.mkdir()
        for split in ("train", "val"):  # the same photos twice
            os.symlink(pathlib.Path(args.photos).resolve() / "train", args.data / split)
        results = [run_case(args, network, folder) for network in args.networks.split(",")]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
