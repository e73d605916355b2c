#!/usr/bin/env python3
"""The report of tools/gpu_check.sh: Markdown from what its parts found, written anew after each result, so that a run that is
cut leaves a valid report which says how far it came. Beside it lie the raw figures as JSON, from which it can be made again:

  bench/gpu_report.py RESULTS.json > report.md
"""
# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import statistics
import sys

# Name and title of each part, in the order of the report. A part's state: "not run", "running", "passed", "failed", "skipped"
# (with the reason), "out of time" (what it has so far counts, the rest is missing), "measured" (nothing to pass).
PARTS = (("machine", "Machine and software"), ("tests", "Parity and behaviour of every op on the GPU"), ("memcheck", "compute-sanitizer memcheck"),
         ("racecheck", "compute-sanitizer racecheck"), ("digests", "Same bits"), ("accuracy", "Fashion-MNIST"), ("steps", "Training steps"),
         ("ops", "Kernels against their rooflines"), ("peer", "PyTorch beside it, in turn"))
TITLES = dict(PARTS)
AIM_RATIO, AIM_IMAGES = 1.5, 7000  # against PyTorch's best mode; images/s of ResNet-50 at batch 256 in f16 on an H200


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join("-" if cell is None else str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]


def number(value, digits=1):
    return None if value is None else f"{value:,.{digits}f}"


def percent(share):
    return None if share is None else f"{100 * share:.1f} %"


def gib(nbytes):
    return None if not nbytes else f"{nbytes / 2**30:.2f}"


def yes(flag):
    return "on" if flag else "off"


def machine_lines(data):
    lines = table(("what", "value"), data.get("facts", []))
    return lines + ["", "`lockstep version`:", "", *("    " + line for line in data.get("version", "").splitlines())]


def tests_lines(data):
    text = f"{data.get('passed', 0)} passed, {len(data.get('failed', []))} failed, {len(data.get('skipped', []))} skipped"
    if data.get("unfinished"):
        text += f"; cut in {data['unfinished']}"
    lines = [text + "."]
    lines += [f"- failed: `{name}`" for name in data.get("failed", [])] + [f"- skipped: `{name}`" for name in data.get("skipped", [])]
    if data.get("tail"):
        lines += ["", *("    " + line for line in data["tail"].splitlines())]
    return lines


def sanitizer_lines(data):
    lines = [data["summary"]] if data.get("summary") else []
    return lines + (["", *("    " + line for line in data["tail"].splitlines())] if data.get("tail") else [])


def digests_lines(data):
    rows = [(row["case"], row["run"], f"`{row['digest']}`" if row.get("digest") else row.get("error"), row.get("verdict"))
            for row in data.get("rows", [])]
    return table(("case", "run", "digest of the training state", "same as the first"), rows) if rows else []


def accuracy_lines(data):
    head = ("precision", "top-1", "best", "wanted", "seconds of training", "images/s")
    return table(head, [(data.get("precision"), number(data.get("top1"), 2), number(data.get("best_top1"), 2), data.get("wanted"),
                         number(data.get("train_seconds")), number(data.get("images_per_second"), 0))]) if data else []


def step_row(row):
    result = row.get("result", {})
    memory = result.get("pool_peak_bytes")
    cells = [row["batch"], row["dtype"], yes(row["fuse"]), yes(row["graphs"])]
    if not result:
        return cells + [row.get("error")] + [None] * 8
    between, whole = result.get("class_ms", {}).get("other"), result.get("traced_step_ms")
    in_kernels = 1 - between / whole if whole and between is not None else None
    return cells + [number(result.get("images_per_second"), 0), number(result.get("step_ms"), 3), number(result.get("step_ms_min"), 3),
                    number(result.get("step_ms_max"), 3), number(result.get("device_ms"), 3), percent(in_kernels),
                    percent(result.get("roofline_share")), number(result.get("peak_gflops", 0) / 1e3, 0), gib(memory)]


def steps_lines(data):
    if not data.get("rows"):
        return []
    head = ("batch", "dtype", "fused", "graph", "images/s", "ms/step", "min", "max", "GPU's ms", "in kernels", "of the matrix peak",
            "peak TFLOP/s", "GiB")
    note = ("In kernels: the sum of all calls, timed one by one with cold caches, over the GPU's time of the untimed step; above 100 % where caches "
            "help the step.")
    return table(head, [step_row(row) for row in data["rows"]]) + ["", note]


def roofline_rows(bench):
    """Each kernel's share of its roofline: the larger of the times that its operations and its bytes take at the measured peaks."""
    flops, bandwidth = bench["peak_gflops"] * 1e6, bench["peak_gbytes_per_second"] * 1e6  # per ms
    rows = []
    for op in bench["ops"]:
        if op["ms"] <= 0:
            continue
        arithmetic = op.get("flop", 0) * op["calls"] / flops
        memory = op["bytes"] * op["calls"] / bandwidth
        floor = max(arithmetic, memory)
        rows.append({"name": " ".join(word for word in (op["name"], op["variant"]) if word), "shapes": op["shapes"], "calls": op["calls"],
                     "ms": op["ms"], "bound": "matrix" if arithmetic > memory else "memory", "share": floor / op["ms"], "lost_ms": op["ms"] - floor})
    return sorted(rows, key=lambda row: -row["ms"])


def kernel_totals(rows):
    totals = {}
    for row in rows:
        ms, floor = totals.get(row["name"], (0, 0))
        totals[row["name"]] = (ms + row["ms"], floor + row["ms"] * row["share"])
    return sorted(((name, ms, floor / ms) for name, (ms, floor) in totals.items()), key=lambda total: -total[1])


def ops_lines(data, longest=30):
    lines = []
    for case in data.get("cases", []):
        lines += ["", f"### {case['name']}", ""]
        bench = case.get("result")
        if bench is None:
            lines.append(case.get("error", ""))
            continue
        rows = roofline_rows(bench)
        in_kernels = bench["arithmetic_ms"] + bench["memory_ms"]
        floor = sum(row["ms"] * row["share"] for row in rows)
        lines += [f"Step {bench['step_ms']:.3f} ms untimed; its kernels one by one {in_kernels:.3f} ms "
                  f"({percent(in_kernels / bench['step_ms'])} of the step), at their rooflines {floor:.3f} ms ({percent(floor / bench['step_ms'])}). "
                  f"Peaks: {bench['peak_gflops'] / 1e3:,.0f} TFLOP/s, {bench['peak_gbytes_per_second']:,.0f} GB/s.", ""]
        lines += table(("kernel, all layers", "ms", "of its roofline"),
                       [(name, number(ms, 3), percent(share)) for name, ms, share in kernel_totals(rows)])
        lines += ["", f"The {min(longest, len(rows))} longest of {len(rows)} rows (calls of equal work; ms and loss of all calls):", ""]
        lines += table(("kernel", "shapes", "calls", "ms", "bound by", "of its roofline", "ms above it"),
                       [(row["name"], row["shapes"], row["calls"], number(row["ms"], 3), row["bound"], percent(row["share"]),
                         number(row["lost_ms"], 3)) for row in rows[:longest]])
    return lines[1:]


def medians(case):
    """images/s of every side that has a figure: {"ours": median, mode: median, ...}."""
    speeds = {}
    for each in case["rounds"]:
        for who, result in each.items():
            if result.get("images_per_second"):
                speeds.setdefault(who, []).append(result["images_per_second"])
    return {who: statistics.median(values) for who, values in speeds.items()}


def ratios(case):
    """Ours over PyTorch's best mode, round by round; and that mode. (None, []): a side has no figure yet."""
    speeds = medians(case)
    modes = {who: speed for who, speed in speeds.items() if who != "ours"}
    if "ours" not in speeds or not modes:
        return None, []
    best = max(modes, key=modes.get)
    pairs = [(each["ours"].get("images_per_second"), each.get(best, {}).get("images_per_second")) for each in case["rounds"] if "ours" in each]
    return best, [ours / theirs for ours, theirs in pairs if ours and theirs]


def peer_row(case):
    speeds = medians(case)
    best, values = ratios(case)
    modes = [who for who in speeds if who != "ours"]
    theirs = ", ".join(f"{mode} {speeds[mode]:,.0f}" for mode in modes) or None
    spread = f"{min(values):.2f} to {max(values):.2f}" if values else None
    ratio = f"**{statistics.median(values):.2f}**" if values else None
    return [case["name"], number(speeds.get("ours"), 0), theirs, best, ratio, spread, len(values)]


def peer_lines(data):
    lines = [f"Peer: {data['about']}.", ""] if data.get("about") else []
    head = ("case", "lockstep images/s", "PyTorch images/s by mode", "its best", "ratio", "smallest to largest", "rounds")
    lines += table(head, [peer_row(case) for case in data.get("cases", [])]) if data.get("cases") else []
    rows = []
    for case in data.get("cases", []):
        for index, each in enumerate(case["rounds"]):
            rows += [(case["name"], index + 1, who, number(result.get("images_per_second"), 2),
                      number(result.get("ms_per_step") or result.get("step_ms"), 3), number(result.get("setup_seconds")), result.get("error"))
                     for who, result in each.items()]
    if rows:
        head = ("case", "round", "side", "images/s", "ms/step", "s to set up", "error")
        lines += ["", "Round by round, in the order of the runs:", "", *table(head, rows)]
    return lines


BODIES = {"machine": machine_lines, "tests": tests_lines, "memcheck": sanitizer_lines, "racecheck": sanitizer_lines, "digests": digests_lines,
          "accuracy": accuracy_lines, "steps": steps_lines, "ops": ops_lines, "peer": peer_lines}


def best_step(parts):
    rows = [row for row in parts.get("steps", {}).get("data", {}).get("rows", []) if row.get("result")]
    return max(rows, key=lambda row: row["result"]["images_per_second"]) if rows else None


def answer_lines(results):
    """What the run says in short: the checks, the fastest step, the ratio to PyTorch; and what is missing."""
    parts = results["parts"]
    by_state = {}
    for name, _ in PARTS:
        by_state.setdefault(parts.get(name, {}).get("state", "not run"), []).append(name)
    lines = ["**Answer**: " + "; ".join(f"{state}: {', '.join(names)}" for state, names in by_state.items()) + "."]
    best = best_step(parts)
    if best is not None:
        lines.append(f"Fastest step: {best['result']['images_per_second']:,.0f} images/s ({best['result'].get('model')}, {best['dtype']}, "
                     f"batch {best['batch']}; the aim on an H200 is {AIM_IMAGES:,} at batch 256 in f16).")
    for case in parts.get("peer", {}).get("data", {}).get("cases", []):
        mode, values = ratios(case)
        if values:
            lines.append(f"Against PyTorch's best mode ({case['name']}, {mode}): {statistics.median(values):.2f} times (the aim is {AIM_RATIO}).")
    return lines


def part_lines(name, part):
    state = part.get("state", "not run")
    lines = [f"## {TITLES[name]}", "", f"State: **{state}**" + (f" ({part['note']})" if part.get("note") else "") +
             (f", {part['seconds']:.0f} s" if "seconds" in part else "") + ".", ""]
    body = BODIES[name](part.get("data", {}))
    lines += body + [""] if body else []
    if part.get("commands"):
        lines += ["Commands:", "", *("    " + command for command in part["commands"]), ""]
    return lines


def render(results):
    """`results`: {"title", "date", "commit", "command", "finished", "parts": {name: {"state", "note", "seconds", "commands", "data"}}}."""
    lines = [f"# {results['title']}", "", *answer_lines(results), ""]
    lines += [f"- **Date**: {results['date']}; **commit** {results['commit']}", f"- **Command**: `{results['command']}`",
              f"- **State of this report**: {'complete' if results.get('finished') else 'the run has not ended, or was cut'}", ""]
    if results.get("emulated"):
        lines += ["This run used the emulated device on a processor: it tries the script, and its times say nothing about a GPU.", ""]
    for name, _ in PARTS:
        lines += part_lines(name, results["parts"].get(name, {}))
    lines += ["## What it does not show", "",
              "Other sizes and networks; several GPUs; a step that is fed from files. Figures are of one card on one day: only ratios within the run "
              "compare.", ""]
    return "\n".join(lines)


def write_atomically(path, text):
    temporary = pathlib.Path(f"{path}.new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


class Report:
    """The results under way; save() after each change."""

    def __init__(self, path, **about):
        self.path = pathlib.Path(path)
        self.results = dict(about, finished=False, parts={})

    def part(self, name):
        return self.results["parts"].setdefault(name, {"state": "not run", "commands": [], "data": {}})

    def save(self):
        write_atomically(self.path.with_suffix(".json"), json.dumps(self.results, indent=1))
        write_atomically(self.path, render(self.results))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    print(render(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
