#!/usr/bin/env python3
"""The parts of tools/gpu_check.sh that need no lockstep: the report's arithmetic and text, budgets, commands that are cut."""
# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import gpu_check
import gpu_report
import gpu_run


def speed(value):
    return {"images_per_second": value}


def results(**parts):
    return {"title": "GPU check on X", "date": "2026-01-02", "commit": "abc", "command": "c", "finished": True, "parts": parts}


def op(name, ms, flop=0.0, nbytes=0.0, calls=1):
    return {"name": name, "variant": "", "shapes": "(1)", "calls": calls, "ms": ms, "bytes": nbytes, "flop": flop}


class Roofline(unittest.TestCase):
    # 1 TFLOP/s is 1e9 operations in a ms; 1 GB/s is 1e6 bytes in a ms.
    BENCH = {"peak_gflops": 1000.0, "peak_gbytes_per_second": 1.0}

    def rows(self, *ops):
        return gpu_report.roofline_rows(dict(self.BENCH, ops=list(ops)))

    def test_the_larger_of_the_two_times_is_the_floor(self):
        matrix, memory = self.rows(op("conv", 4.0, flop=2e9, nbytes=1e6), op("norm", 2.0, flop=0.0, nbytes=1e6))
        self.assertEqual((matrix["bound"], matrix["share"], matrix["lost_ms"]), ("matrix", 0.5, 2.0))
        self.assertEqual((memory["bound"], memory["share"], memory["lost_ms"]), ("memory", 0.5, 1.0))

    def test_operations_and_bytes_are_per_call_and_times_of_all_calls(self):
        self.assertEqual(self.rows(op("conv", 4.0, flop=1e9, calls=2))[0]["share"], 0.5)

    def test_the_longest_comes_first_and_what_took_no_time_is_left_out(self):
        self.assertEqual([row["name"] for row in self.rows(op("a", 1.0), op("b", 3.0), op("c", 0.0))], ["b", "a"])

    def test_totals_of_a_kernel_weigh_by_time(self):
        rows = self.rows(op("a", 1.0, nbytes=1e6), op("a", 3.0, nbytes=1e6), op("b", 9.0))
        self.assertEqual(gpu_report.kernel_totals(rows), [("b", 9.0, 0.0), ("a", 4.0, 0.5)])


class Ratio(unittest.TestCase):
    def test_it_is_against_the_mode_with_the_best_median_round_by_round(self):
        case = {"name": "n", "rounds": [{"ours": speed(30), "eager": speed(10), "graphed": speed(15)},
                                        {"ours": speed(40), "eager": speed(100), "graphed": speed(20)},
                                        {"ours": speed(60), "eager": speed(10), "graphed": speed(15)}]}
        self.assertEqual(gpu_report.ratios(case), ("graphed", [2.0, 2.0, 4.0]))
        self.assertIn("**2.00**", " ".join(str(cell) for cell in gpu_report.peer_row(case)))

    def test_a_round_that_was_cut_counts_as_far_as_it_came(self):
        case = {"name": "n", "rounds": [{"ours": speed(30), "eager": speed(10)}, {"ours": speed(30)}, {}]}
        self.assertEqual(gpu_report.ratios(case), ("eager", [3.0]))

    def test_without_a_figure_of_either_side_there_is_none(self):
        for rounds in ([], [{"ours": speed(3)}], [{"eager": speed(3)}], [{"ours": {"error": "e"}, "eager": speed(3)}]):
            self.assertEqual(gpu_report.ratios({"name": "n", "rounds": rounds}), (None, []))


class Text(unittest.TestCase):
    def test_nothing_that_was_not_run_is_left_out(self):
        text = gpu_report.render(results())
        for name, title in gpu_report.PARTS:
            self.assertIn(f"## {title}\n\nState: **not run**", text, name)
        self.assertIn("**Answer**: not run: machine, tests,", text)

    def test_a_part_that_ran_out_of_time_says_so_and_keeps_its_rows(self):
        step = {"batch": 256, "dtype": "f16", "fuse": True, "graphs": False, "result": {"images_per_second": 7000.4, "step_ms": 36.57, "model": "resnet50"}}
        failed = {"batch": 64, "dtype": "f32", "fuse": True, "graphs": True, "error": "exit code 71: out of | memory"}
        text = gpu_report.render(results(steps={"state": "out of time", "note": "cut", "seconds": 99.6, "data": {"rows": [step, failed]}}))
        self.assertIn("State: **out of time** (cut), 100 s.", text)
        self.assertIn("| 256 | f16 | on | off | 7,000 | 36.570 |", text)
        self.assertIn("exit code 71: out of \\| memory", text)
        self.assertIn("Fastest step: 7,000 images/s (resnet50, f16, batch 256;", text)
        self.assertIn("**Answer**: not run: machine", text)

    def test_every_part_has_a_body_and_bears_empty_data(self):
        self.assertEqual(set(gpu_report.BODIES), set(gpu_report.TITLES))
        self.assertEqual(set(gpu_check.SECONDS), set(gpu_report.TITLES))
        for name, body in gpu_report.BODIES.items():
            self.assertIsInstance(body({}), list, name)

    def test_tables_are_closed(self):
        lines = gpu_report.table(("a", "b"), [(1, None)])
        self.assertEqual(lines, ["| a | b |", "|---|---|", "| 1 | - |"])

    def test_the_report_on_disk_is_valid_after_each_save_and_can_be_made_again(self):
        with tempfile.TemporaryDirectory() as folder:
            report = gpu_report.Report(pathlib.Path(folder) / "r.md", **{key: value for key, value in results().items() if key not in ("parts", "finished")})
            report.part("tests").update(state="running", data={"passed": 3})
            report.save()
            text = (pathlib.Path(folder) / "r.md").read_text()
            self.assertIn("the run has not ended, or was cut", text)
            self.assertIn("3 passed, 0 failed, 0 skipped.", text)
            self.assertEqual(gpu_report.render(json.loads((pathlib.Path(folder) / "r.json").read_text())), text)
            self.assertEqual(sorted(path.name for path in pathlib.Path(folder).iterdir()), ["r.json", "r.md"])


class Outcome(unittest.TestCase):
    TEXT = ("[ RUN      ] A.b\n[       OK ] A.b (1 ms)\n[ RUN      ] A.c\nx:1: Failure\n[  FAILED  ] A.c (2 ms)\n[ RUN      ] A.d\n[  SKIPPED ] A.d (0 ms)\n"
            "[  FAILED  ] 1 test, listed below:\n[  FAILED  ] A.c\n")

    def test_names_by_outcome(self):
        self.assertEqual(gpu_check.gtest_outcome(self.TEXT), {"passed": 1, "failed": ["A.c"], "skipped": ["A.d"], "unfinished": ""})

    def test_a_cut_run_names_the_test_it_was_in(self):
        self.assertEqual(gpu_check.gtest_outcome(self.TEXT + "[ RUN      ] B.e\n")["unfinished"], "B.e")


class Running(unittest.TestCase):
    def run_script(self, script, seconds=20.0):
        return gpu_run.run(["sh", "-c", script], seconds, cwd="/")

    def test_the_output_and_its_json(self):
        done = self.run_script("echo 'banner'; echo '{\"a\": 1}'; echo later; exit 3")
        self.assertEqual((done.code, done.json()), (3, {"a": 1}))
        self.assertIsNone(self.run_script("echo none").json())

    def test_an_error_is_told_in_one_line(self):
        self.assertEqual(self.run_script("echo progress >&2; echo 'error: no GPU' >&2; echo hint >&2; exit 71").error(), "exit code 71: error: no GPU")
        self.assertEqual(gpu_run.run(["/no/such/program"], 5, cwd="/").code, 127)

    def test_what_takes_too_long_is_cut_with_its_children_and_keeps_its_output(self):
        begin = time.monotonic()
        with self.assertRaises(gpu_run.OutOfTime) as caught:
            self.run_script("echo begun; sleep 60 & sleep 60", seconds=1.5)
        self.assertLess(time.monotonic() - begin, 20)
        self.assertEqual(caught.exception.finished.out, "begun\n")

    def test_nothing_is_begun_without_time(self):
        with self.assertRaises(gpu_run.OutOfTime):
            self.run_script("touch /never", seconds=0.5)

    def test_what_a_part_leaves_the_next_ones_get(self):
        clock = [100.0]
        budgets = gpu_run.Budgets({"a": 10, "b": 20}, now=lambda: clock[0])
        self.assertEqual((budgets.left("a"), budgets.left("b")), (10, 30))
        clock[0] = 104.0
        self.assertEqual(budgets.left("b"), 26)
        clock[0] = 110.0  # a took all of its own
        self.assertEqual(budgets.left("b"), 20)


class Serving(unittest.TestCase):
    def serve(self, script):
        log = pathlib.Path(self.folder.name) / "log"
        return gpu_run.PeerProcess(["sh", "-c", script], "/", log)

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_one_line_in_one_line_out(self):
        process = self.serve("echo '{\"peer\": \"p\"}'; while read -r batch dtype mode; do echo \"{\\\"batch\\\": $batch, \\\"mode\\\": \\\"$mode\\\"}\"; done")
        self.addCleanup(process.close)
        self.assertEqual(process.answer(20), {"peer": "p"})
        self.assertEqual(process.measure(4, "f16", "eager", 20), {"batch": 4, "mode": "eager"})
        self.assertEqual(process.measure(8, "f16", "graphed", 20), {"batch": 8, "mode": "graphed"})

    def test_a_process_that_ends_or_hangs_is_told(self):
        ended = self.serve("exit 1")
        self.addCleanup(ended.close)
        with self.assertRaises(gpu_run.Failed):
            ended.answer(20)
        hung = self.serve("sleep 60")
        self.addCleanup(hung.close)
        with self.assertRaises(gpu_run.OutOfTime):
            hung.answer(1.2)


if __name__ == "__main__":
    unittest.main()
