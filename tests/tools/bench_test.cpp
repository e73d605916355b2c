// `lockstep bench`, `train --profile` and bench/compare.sh as a user runs them.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/tools/command.h"
#include "tests/train/trace_checks.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;

std::vector<std::string> with(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

const std::vector<std::string> kSmall{"--model", "resnet8", "--batch", "4", "--size", "16", "--classes", "4", "--steps", "3"};

TEST(Bench, StepSaysWhereTheTimeGoes) {
  const json one = json::parse(expect_ok(run(lockstep(with({"bench", "step", "--json"}, kSmall)))).out);
  for (const char* key : {"step_ms_min", "step_ms_p90", "peak_gflops", "peak_gbytes_per_second", "roofline_share", "arithmetic_share", "gflop_per_step"})
    EXPECT_GT(one[key].get<double>(), 0) << key;
  EXPECT_GT(one["class_ms"]["batch norm"].get<double>(), 0);
  EXPECT_THAT(expect_ok(run(lockstep(with({"bench", "step"}, kSmall)))).out, HasSubstr("where a traced step of"));
}

TEST(Bench, StepMeasuresAConfigWithOverrides) {
  const json one = json::parse(expect_ok(run(lockstep({"bench", "step", "--config", tiny(), "--set", "batch.global_batch=8", "--steps", "2", "--json"}))).out);
  EXPECT_EQ(one["batch"], 8);
  EXPECT_EQ(one["height"], 16);
  const CommandResult both = run(lockstep({"bench", "step", "--config", tiny(), "--model", "resnet50"}));
  EXPECT_EQ(both.exit_code, 64);
  EXPECT_THAT(both.err, HasSubstr("--model"));
}

TEST(Bench, SetChangesTheJobThatTheOptionsMake) {
  const json one = json::parse(expect_ok(run(lockstep(with({"bench", "step", "--set", "data.width=24", "--json"}, kSmall)))).out);
  EXPECT_EQ(one["height"], 16);
  EXPECT_EQ(one["width"], 24);
  const CommandResult wrong = run(lockstep(with({"bench", "step", "--set", "data.widht=24"}, kSmall)));
  EXPECT_EQ(wrong.exit_code, 64);
  EXPECT_THAT(wrong.err, HasSubstr("width"));
}

TEST(Bench, OpsListsEveryLayerInTextAndJson) {
  const std::string text = expect_ok(run(lockstep(with({"bench", "ops"}, kSmall)))).out;
  for (const char* word : {"convolutions and matrix products", "3x3 s1", "linear 64->4", "memory-bound kernels", "between the kernels", "ms per image"})
    EXPECT_THAT(text, HasSubstr(word));
  const json ops = json::parse(expect_ok(run(lockstep(with({"bench", "ops", "--json"}, kSmall)))).out)["ops"];
  EXPECT_GT(ops.size(), 20u);
}

TEST(Bench, AllreduceComparesItselfWithTheLibrary) {
  const json result = json::parse(expect_ok(run(mpi(2, {"bench", "allreduce", "--bytes", "4096,65536", "--steps", "3", "--json"}))).out);
  EXPECT_EQ(result["ranks"], 2);
  ASSERT_EQ(result["rows"].size(), 10u);
  EXPECT_EQ(result["rows"][4]["order"], "MPI_Allreduce");
  for (const json& row : result["rows"]) EXPECT_GT(row["ms"]["median"].get<double>(), 0);
  const CommandResult alone = run(lockstep({"bench", "allreduce"}));
  EXPECT_EQ(alone.exit_code, 64);
  EXPECT_THAT(alone.err, HasSubstr("mpirun -n 2"));
}

TEST(Bench, LoaderTimesThreadCounts) {
  const json result = json::parse(expect_ok(run(lockstep({"bench", "loader", tiny(), "--threads", "0,1", "--steps", "5", "--json"}))).out);
  ASSERT_EQ(result["rows"].size(), 2u);
  EXPECT_GT(result["rows"][1]["images_per_second"].get<double>(), 0);
  EXPECT_GT(result["rows"][1]["stage_us_per_image"]["augment"].get<double>(), 0);
}

TEST(Profile, TwoRanksGiveOneFileWithPhasesOpsBucketsLoaderAndCheckpoints) {
  TempDir folder;
  const CommandResult result = expect_ok(run(mpi(2, {"train", tiny(), "--run-dir", folder / "run", "--max-steps", "8", "--profile", "--profile-steps", "4"})));
  EXPECT_THAT(result.out, HasSubstr("trace.json"));
  const json trace = json::parse(read_file(folder / "run/trace.json"));
  EXPECT_EQ(nesting_error(trace), "");
  EXPECT_EQ(count_spans(trace, "phase", "step"), 2 * 4);
  EXPECT_EQ(count_spans(trace, "phase", "forward"), 2 * 4 * 2) << "two shards a rank";
  EXPECT_EQ(count_inside(trace, "conv2d_forward", "backward"), 0);
  EXPECT_EQ(ops_outside_of_phases(trace), 0);
  EXPECT_GT(count_spans(trace, "bucket", "bucket"), 0);
  EXPECT_GT(count_spans(trace, "loader", "augment"), 0);
  EXPECT_EQ(count_spans(trace, "checkpoint", "checkpoint"), 2) << "after step 7, on each rank";
  int open = 0, closed = 0;
  for (const json& event : trace["traceEvents"]) {
    open += event["ph"] == "b";
    closed += event["ph"] == "e";
  }
  EXPECT_EQ(open, count_spans(trace, "bucket", "bucket"));
  EXPECT_EQ(closed, open);
}

TEST(Profile, ATracedRunIsTheSameRunAndAnUntracedOneLeavesNoTrace) {
  TempDir folder;
  const auto digest = [&](const std::string& name, const std::vector<std::string>& more) {
    const std::vector<std::string> args{"train", tiny(), "--run-dir", folder / name, "--max-steps", "6", "--json"};
    return json::parse(expect_ok(run(lockstep(with(args, more)))).out)["digest"];
  };
  EXPECT_EQ(digest("plain", {}), digest("traced", {"--profile", folder / "somewhere.json"}));
  EXPECT_TRUE(fs::exists(folder / "somewhere.json"));
  EXPECT_FALSE(fs::exists(folder / "traced/trace.json"));
  EXPECT_FALSE(fs::exists(folder / "plain/trace.json"));
}

TEST(Profile, ARunThatIsTooShortSaysSo) {
  TempDir folder;
  const CommandResult result = expect_ok(run(lockstep({"train", tiny(), "--run-dir", folder / "run", "--max-steps", "2", "--profile"})));
  EXPECT_THAT(result.out + result.err, HasSubstr("no profile"));
}

std::string compare_script() { return (source_dir() / "bench/compare.sh").string(); }

// A program that prints this, whatever it is asked.
std::string fake(const TempDir& folder, const std::string& name, const std::string& script) {
  write_file(folder / name, "#!/bin/sh\n" + script + "\n");
  fs::permissions(folder / name, fs::perms::owner_all);
  return folder / name;
}

TEST(Compare, ADryRunPrintsTheCommandsOfBothSides) {
  const std::string out = expect_ok(run({compare_script(), "--dry-run", "--cases", "resnet50-bf16-2,fashion-2", "--compiled"})).out;
  EXPECT_THAT(out, HasSubstr("tools/mpi.sh 2 build/cpu/lockstep bench step --model resnet50 --batch 16 --dtype bf16"));
  EXPECT_THAT(out, HasSubstr("resnet_step.py --batch 16 --ranks 2 --threads 1 --model resnet50 --dtype bf16 --mode compiled"));
  EXPECT_THAT(out, HasSubstr("small_step.py --batch 128 --ranks 1 --threads 2 --net fashion --mode eager"));
  EXPECT_EQ(run({compare_script(), "--dry-run", "--cases", "vgg"}).exit_code, 2);
  EXPECT_EQ(run({compare_script()}).exit_code, 2) << "no python with torch was named";
}

TEST(Compare, TheRatioIsTheMedianAgainstThePeersBestMode) {
  TempDir folder;
  // Ours: 30, 20, 40 images/s. The peer: 5 in the mode that --compiled adds, otherwise 10.
  const std::string ours = fake(folder, "ours", "echo x >> " + (folder / "calls") + "; n=$(wc -l < " + (folder / "calls") + ")\n" +
                                                    "[ \"$1\" = version ] && { echo lockstep 0; exit; }\n" +
                                                    "case $n in 1) s=30;; 2) s=20;; *) s=40;; esac; echo \"{\\\"images_per_second\\\": $s, \\\"peak_bytes\\\": 100}\"");
  const std::string peer = fake(folder, "peer", "case \"$*\" in *compiled*) s=5;; *) s=10;; esac\n"
                                                "echo \"{\\\"images_per_second\\\": $s, \\\"peak_bytes\\\": 250, \\\"peer\\\": \\\"fake\\\"}\"");
  const std::vector<std::string> args{compare_script(), "--binary", ours, "--peer-python", peer, "--cases", "fashion-1", "--rounds", "3", "--compiled"};
  const json report = json::parse(expect_ok(run(with(args, {"--json"}))).out);
  const json& row = report["rows"][0];
  EXPECT_DOUBLE_EQ(row["ratio"].get<double>(), 3);  // of 3, 2 and 4
  EXPECT_DOUBLE_EQ(row["ratio_min"].get<double>(), 2);
  EXPECT_DOUBLE_EQ(row["ratio_max"].get<double>(), 4);
  EXPECT_DOUBLE_EQ(row["peer_peak_over_ours"].get<double>(), 2.5);
  EXPECT_EQ(row["peer_mode"], "eager");
  EXPECT_EQ(report["rounds"], 3);
}

TEST(Compare, AFailingSideEndsItWithItsMessage) {
  TempDir folder;
  const std::string ours = fake(folder, "ours", "echo '{\"images_per_second\": 1}'");
  const std::string peer = fake(folder, "peer", "echo no torch here >&2; exit 3");
  const CommandResult result = run({compare_script(), "--binary", ours, "--peer-python", peer, "--cases", "fashion-1"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("no torch here"));
}

}  // namespace
}  // namespace lockstep::testing
