#!/usr/bin/env python3
"""Settles on a machine with a GPU what machines without one can't: see tools/gpu_check.sh, which starts this.

Parts, each with its share of the time: --parts names some of them. The report is written anew after each result. Exit code: 0 all
that was asked for passed or was skipped by name, 1 a part failed, 2 a part ran out of time, 71 there is no GPU to check.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import datetime
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time

import gpu_report
from gpu_run import Budgets, Failed, OutOfTime, PeerProcess, Skipped, run

ROOT = pathlib.Path(__file__).resolve().parent.parent
NO_GPU = 71  # docs/exit_codes.md: environment
SECONDS = {"machine": 15, "tests": 70, "memcheck": 35, "racecheck": 35, "digests": 60, "accuracy": 45, "steps": 110, "ops": 35, "peer": 115}
FIELDS = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,pcie.link.gen.max,utilization.gpu"


class Sizes:
    """What is run on a GPU."""

    subject = ["--model", "resnet50"]
    steps, warmup = 20, 6
    # batch, dtype, fused, graph: the most telling first, for the time may not suffice.
    matrix = [(256, "f16", True, True), (256, "bf16", True, True), (256, "f16", False, True), (256, "f16", True, False), (256, "tf32", True, True),
              (64, "f16", True, True), (128, "f16", True, True), (64, "bf16", True, True), (128, "bf16", True, True), (256, "f32", True, True),
              (64, "f16", True, False), (64, "tf32", True, True), (128, "tf32", True, True), (64, "f32", True, True), (128, "f32", True, True),
              (256, "bf16", True, False), (64, "f16", False, True), (128, "f16", False, True)]
    op_cases = [(256, "f16", True), (256, "bf16", True)]
    peer_cases, peer_modes, rounds = [(256, "f16"), (256, "bf16")], ["eager", "graphed", "compiled", "compiled_graphed"], 3
    peer_options = ["--steps", "20", "--warmup", "8"]
    tests_filter = "*"
    digests = {"Fashion-MNIST net, FP32": ["configs/fashion_mnist.pbtxt", "--max-steps", "60", "--set", "evaluation.every_epochs=0"],
               "Fashion-MNIST net, BF16": ["configs/fashion_mnist.pbtxt", "--max-steps", "60", "--set", "evaluation.every_epochs=0", "--set",
                                           "precision=BF16"],
               "ResNet-50, FP16": ["configs/resnet50_synthetic.pbtxt", "--max-steps", "8", "--set", "precision=FP16"]}
    accuracy = ["configs/fashion_mnist.pbtxt", "--set", "precision=FP16", "--set", "batch.shard_batch=128", "--set", "data.loader_threads=4"]
    wanted_top1 = 93.0


class Emulated(Sizes):
    """What tries this script on the emulated device: small, and without meaning for a GPU."""

    subject = ["--model", "resnet8", "--base-width", "8", "--size", "16", "--classes", "10"]
    steps, warmup = 3, 2
    matrix = [(4, "f16", True, True), (4, "bf16", True, True), (4, "f16", False, True), (4, "f16", True, False)]
    op_cases = [(4, "f16", True)]
    peer_cases, peer_modes, rounds = [(4, "bf16")], ["eager"], 2
    peer_options = ["--device", "cpu", "--model", "resnet18", "--size", "32", "--steps", "2", "--warmup", "1"]
    tests_filter = "*Loss*:*Optimizer*"
    small = ["configs/fashion_mnist.pbtxt"] + [word for change in (
        "data.source=SYNTHETIC", "data.height=12", "data.width=12", "data.channels=1", "data.synthetic.size=32", "data.synthetic.eval_size=16",
        "batch.global_batch=8", "batch.shard_batch=4", "model.name=resnet8", "model.base_width=8", "epochs=1") for word in ("--set", change)]
    digests = {"small net, FP32": small, "small net, FP16": small + ["--set", "precision=FP16"]}
    accuracy = small + ["--set", "precision=FP16"]
    wanted_top1 = 0.0


def first_line(command):
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def commit():
    manifest = ROOT / "BUNDLE"  # tools/gpu_bundle.sh
    if manifest.exists():
        return next((line.split(None, 1)[1] for line in manifest.read_text().splitlines() if line.startswith("commit ")), "unknown")
    changed = " (with changes)" if first_line(["git", "status", "--porcelain", "--untracked-files=no"]) else ""
    return (first_line(["git", "rev-parse", "--short=12", "HEAD"]) or "unknown") + changed


def typed_command(words):
    """As the user typed it: tools/gpu_check.sh puts where the programs are before that."""
    while words and words[0] in ("--binary", "--tests", "--data"):
        words = words[2:]
    return shlex.join(["tools/gpu_check.sh", *words])


def tail(text, lines=25):
    return "\n".join(line[:200] for line in text.strip().splitlines()[-lines:])


def gtest_outcome(output):
    """Names by outcome, from GoogleTest's output, whole or cut."""
    ended = {state: re.findall(rf"^\[ +{state} +\] (\S+) \(", output, re.M) for state in ("OK", "FAILED", "SKIPPED")}
    begun = re.findall(r"^\[ +RUN +\] (\S+)", output, re.M)
    unfinished = [name for name in begun[-1:] if not any(name in names for names in ended.values())]
    return {"passed": len(ended["OK"]), "failed": ended["FAILED"], "skipped": ended["SKIPPED"], "unfinished": unfinished[0] if unfinished else ""}


class Check:
    def __init__(self, args):
        self.args, self.sizes = args, Emulated if args.emulated else Sizes
        self.budgets = Budgets({part: seconds * args.minutes * 60 / sum(SECONDS.values()) for part, seconds in SECONDS.items() if part in args.parts})
        self.gpu = "emulated" if args.emulated else first_line(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
        slug = re.sub(r"[^a-z0-9]+", "_", self.gpu.lower().replace("nvidia ", "")).strip("_") or "no_gpu"
        date = datetime.date.today().isoformat()
        self.out = pathlib.Path(args.out).resolve()
        self.scratch = self.out / "gpu_check_scratch"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.report = gpu_report.Report(self.out / f"{date}-{slug}-gpu_check.md", date=date,
                                        title=f"GPU check on {self.gpu or 'a machine without a GPU'}", commit=commit(),
                                        command=typed_command(sys.argv[1:]), emulated=args.emulated)
        self.name, self.part = "", {}
        folders = [os.environ.get(name, "") for name in ("LOCKSTEP_GPU_LIBRARIES", "LD_LIBRARY_PATH")]
        self.env = dict(os.environ, LD_LIBRARY_PATH=":".join(filter(None, folders)))

    # --- running ---
    def run(self, command, env=None, shown=True):
        if shown and shlex.join(command) not in self.part["commands"]:
            self.part["commands"].append(shlex.join(command))
            self.report.save()
        return run(command, self.budgets.left(self.name), ROOT, env or self.env)

    def do(self, name):
        self.name, self.part, begin = name, self.report.part(name), time.monotonic()
        self.part["state"] = "running"
        self.report.save()
        try:
            state, note = getattr(self, name)() or "passed", None
        except Skipped as skipped:
            state, note = "skipped", str(skipped)
        except OutOfTime as late:
            state, note = "out of time", str(late)
        except Failed as failed:
            state, note = "failed", str(failed)
        except Exception as error:  # pylint: disable=broad-except  # a mistake of this script must not cost the other parts
            state, note = "failed", f"this script: {type(error).__name__}: {error}"
        self.part.update(state=state, note=note, seconds=round(time.monotonic() - begin, 1))
        self.report.save()
        print(f"gpu_check: {gpu_report.TITLES[name]}: {state}{f' ({note})' if note else ''}, {self.part['seconds']:.0f} s", flush=True)
        return state

    def our_step(self, kind, batch, dtype, fuse=True, graphs=True, timed=False):
        sets = ([f"cuda.tf32={str(dtype == 'tf32').lower()}"] if dtype in ("f32", "tf32") else []) + ([] if fuse else ["cuda.fuse=false"])
        sets += ([] if graphs else ["cuda.graphs=false"]) + (["cuda.time_choices=true"] if timed else []) + [f"cuda.plan_cache={self.scratch / 'plans'}"]
        job = [*self.sizes.subject, "--batch", str(batch), "--backend", "CUDA", "--dtype", dtype.replace("tf32", "f32")]
        changes = [word for each in sets for word in ("--set", each)]
        return [self.args.binary, "bench", kind, *job, *changes, "--warmup", str(self.sizes.warmup), "--steps", str(self.sizes.steps), "--json"]

    def train(self, words, folder, ranks=1, more=()):
        launcher = ["tools/mpi.sh", str(ranks)] if ranks > 1 else []
        words = launcher + [self.args.binary, "train", *words, "--set", "backend=CUDA", "--set", f"cuda.plan_cache={self.scratch / 'plans'}", *more]
        if self.args.data and "data.source=SYNTHETIC" not in words and "configs/fashion_mnist.pbtxt" in words:
            words += ["--data", self.args.data]
        return self.run(words + ["--run-dir", str(self.scratch / folder), "--json"])

    # --- parts ---
    def machine(self):
        facts = [("processor", next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                                     if line.startswith("model name")), platform.processor())),
                 ("cores", os.cpu_count()), ("system", platform.platform()), ("python", platform.python_version())]
        found = first_line(["nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader"])
        if found:
            facts += [(f"GPU {field}", value.strip()) for field, value in zip(FIELDS.split(","), found.split(","))]
        facts += [("libraries", os.environ["LOCKSTEP_GPU_LIBRARIES"])] if os.environ.get("LOCKSTEP_GPU_LIBRARIES") else []
        self.part["data"] = {"facts": facts, "version": self.run([self.args.binary, "version"]).out}
        probe = self.run([self.args.binary, "bench", "step", "--model", "resnet8", "--base-width", "8", "--size", "16", "--batch", "4", "--classes", "10",
                          "--backend", "CUDA", "--warmup", "1", "--steps", "1", "--json"])
        if probe.code != 0:
            raise Failed("the GPU can't be used here: " + "; ".join(line.strip() for line in (probe.err or probe.out).strip().splitlines()[-6:]))

    def tests(self):
        try:
            done = self.run([self.args.tests, f"--gtest_filter={self.args.tests_filter or self.sizes.tests_filter}", "--gtest_color=no"])
        except OutOfTime as late:
            self.part["data"] = gtest_outcome(late.finished.out) if hasattr(late, "finished") else {}
            raise
        self.part["data"] = outcome = gtest_outcome(done.out)
        if done.code != 0:
            outcome["tail"] = tail(done.out + done.err)
            raise Failed(f"{len(outcome['failed'])} tests failed" if outcome["failed"] else done.error())
        if outcome["passed"] == 0:
            raise Failed("no test ran")

    def sanitizer(self, tool):
        if self.args.emulated:
            raise Skipped("the emulated device has no device code to look at")
        program = shutil.which("compute-sanitizer") or next(
            (str(path) for path in pathlib.Path("/usr/local/cuda").glob("**/compute-sanitizer") if path.is_file() and os.access(path, os.X_OK)), None)
        if program is None:
            raise Skipped("there is no compute-sanitizer on the PATH or in /usr/local/cuda")
        try:
            done = self.run([program, "--tool", tool, "--target-processes", "all", "--error-exitcode", "86", self.args.tests,
                             f"--gtest_filter={self.args.sanitizer_filter}"])
        except OutOfTime as late:
            if hasattr(late, "finished"):
                outcome = gtest_outcome(late.finished.out)
                summary = f"{outcome['passed']} tests passed before the cut, {len(outcome['failed'])} failed"
                self.part["data"] = {"summary": summary, "tail": tail(late.finished.err)}
            raise
        text = done.out + done.err
        summary = re.findall(r"=+ ((?:ERROR|RACECHECK) SUMMARY.*)", text) + re.findall(r"\[ +PASSED +\] (.*)", text)
        self.part["data"] = {"summary": "; ".join(summary)}
        if done.code != 0:
            self.part["data"]["tail"] = tail(text)
            raise Failed(f"{tool} found errors" if done.code == 86 else done.error())

    def memcheck(self):
        self.sanitizer("memcheck")

    def racecheck(self):
        self.sanitizer("racecheck")

    def digests(self):
        rows, wrong = self.part["data"].setdefault("rows", []), 0
        # Several ranks on one GPU meet through the host's memory; NCCL wants one GPU each.
        shared = ["--set", "distributed.communicator=MPI", "--set", "cuda.device=0"]
        for case, words in self.sizes.digests.items():
            first = None
            for index, (label, ranks, more) in enumerate((("1 rank", 1, ()), ("1 rank again", 1, ()), ("2 ranks on one GPU", 2, shared))):
                folder = f"digest_{len(rows)}"
                if ranks > 1 and shutil.which("mpirun") is None:
                    rows.append({"case": case, "run": label, "error": "skipped: there is no mpirun"})
                    continue
                done = self.train(words, folder, ranks, more)
                digest = (done.json() or {}).get("digest") if done.code == 0 else None
                first = first or digest
                same = digest is not None and digest == first
                wrong += not same
                rows.append({"case": case, "run": label, "digest": digest, "error": None if digest else done.error(),
                             "verdict": "yes" if same and index else "" if same else "**no**"})
                self.report.save()
        if wrong:
            raise Failed(f"{wrong} of {len(rows)} runs differ or failed")

    def accuracy(self):
        done = self.train(self.sizes.accuracy, "accuracy")
        result = done.json() if done.code == 0 else None
        if result is None or "best_top1" not in result:
            raise Failed(done.error())
        self.part["data"] = dict(result, wanted=self.sizes.wanted_top1, precision="FP16")
        if result["best_top1"] < self.sizes.wanted_top1:
            raise Failed(f"{result['best_top1']:.2f} %, want {self.sizes.wanted_top1} %")

    def steps(self):
        rows = self.part["data"].setdefault("rows", [])
        for batch, dtype, fuse, graphs in self.sizes.matrix:
            row = {"batch": batch, "dtype": dtype, "fuse": fuse, "graphs": graphs}
            try:
                done = self.run(self.our_step("step", batch, dtype, fuse, graphs))
            except OutOfTime as late:
                missing = self.sizes.matrix[len(rows):]
                raise OutOfTime(f"{late}; {len(rows)} of {len(self.sizes.matrix)} measured, missing: "
                                + ", ".join(f"{b} {d}{'' if f else ' unfused'}{'' if g else ' without graph'}" for b, d, f, g in missing)) from None
            result = done.json() if done.code == 0 else None
            row.update({"result": result} if result else {"error": done.error()})
            rows.append(row)
            self.report.save()
        failed = sum("error" in row for row in rows)
        if failed:
            raise Failed(f"{failed} of {len(rows)} could not be run")
        return "measured"

    def ops(self):
        cases = self.part["data"].setdefault("cases", [])
        for batch, dtype, fuse in self.sizes.op_cases:
            done = self.run(self.our_step("ops", batch, dtype, fuse))
            result = done.json() if done.code == 0 else None
            name = f"{self.sizes.subject[1]} {dtype}, batch {batch}"
            cases.append({"name": name, "result": result} if result else {"name": name, "error": done.error()})
            self.report.save()
        failed = [case for case in cases if "error" in case]
        if failed:
            raise Failed(failed[0]["error"])
        return "measured"

    def peer(self):
        command = [self.args.peer_python, "bench/peers/pytorch_resnet50.py", "--serve", *self.sizes.peer_options]
        if self.run([self.args.peer_python, "-c", "import torch, torchvision"], env=os.environ, shown=False).code != 0:
            raise Skipped(f"{self.args.peer_python} has no torch and torchvision; --peer-python names another")
        self.part["commands"].append(shlex.join(command) + "   # one process; its cases between our runs")
        process = PeerProcess(command, ROOT, self.scratch / "pytorch.log")
        try:
            about = process.answer(self.budgets.left(self.name))
            self.part["data"] = {"about": ", ".join(f"{key} {value}" for key, value in about.items() if value), "cases": []}
            self.peer_rounds(process)
        finally:
            process.close()
        return "measured"

    def peer_rounds(self, process):
        cases = self.part["data"]["cases"]
        cases += [{"name": f"{dtype}, batch {batch}", "rounds": []} for batch, dtype in self.sizes.peer_cases]
        for _ in range(self.sizes.rounds):
            for case, (batch, dtype) in zip(cases, self.sizes.peer_cases):
                results = {}
                case["rounds"].append(results)
                done = self.run(self.our_step("step", batch, dtype, timed=True))  # best mode against best mode; timed once, then cached
                results["ours"] = (done.json() if done.code == 0 else None) or {"error": done.error()}
                for mode in self.sizes.peer_modes:
                    results[mode] = process.measure(batch, dtype, mode, self.budgets.left(self.name))
                    self.report.save()


def parse():
    parser = argparse.ArgumentParser(prog="tools/gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulated", action="store_true", help="try this script on the emulated device, with small sizes")
    parser.add_argument("--parts", default=",".join(SECONDS), help="comma-separated, of: %(default)s")
    parser.add_argument("--minutes", type=float, default=sum(SECONDS.values()) / 60, help="for all parts together (%(default).1f)")
    parser.add_argument("--out", default=str(ROOT / "bench/results"), help="folder of the report and its raw figures")
    parser.add_argument("--binary", required=True, help="lockstep, built with CUDA")
    parser.add_argument("--tests", required=True, help="cuda_gpu_tests")
    parser.add_argument("--tests-filter", default="", help="GoogleTest filter of the part tests")
    parser.add_argument("--sanitizer-filter", default="Cuda*:ChannelTiles*", help="and of the sanitizers (%(default)s)")
    parser.add_argument("--data", default="", help="folder of Fashion-MNIST, if not where the config says")
    parser.add_argument("--peer-python", default="python3", help="a python with torch and torchvision")
    parser.add_argument("--keep", action="store_true", help="keep the runs' folders")
    args = parser.parse_args()
    wanted = args.parts.split(",")
    for part in wanted:
        if part not in SECONDS:
            parser.error(f"--parts: got '{part}', want some of {', '.join(SECONDS)}")
    args.parts = [part for part in SECONDS if part in wanted]
    if args.minutes <= 0:
        parser.error("--minutes: want more than 0")
    return args


def main():
    args = parse()
    check = Check(args)
    states = []
    for part in args.parts:
        states.append(check.do(part))
        if part == "machine" and states == ["failed"]:
            break
    check.report.results["finished"] = True
    check.report.save()
    if not args.keep:
        shutil.rmtree(check.scratch, ignore_errors=True)
    if args.parts[0] == "machine" and states == ["failed"]:
        print(f"gpu_check: nothing was checked; see {check.report.path}", file=sys.stderr)
        return NO_GPU
    print(f"gpu_check: report: {check.report.path}")
    return 1 if "failed" in states else 2 if "out of time" in states else 0


if __name__ == "__main__":
    sys.exit(main())
