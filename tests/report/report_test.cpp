// The page: what is on it, and when there is none.
// SPDX-License-Identifier: Apache-2.0
#include "report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "charts/page.h"
#include "core/error.h"
#include "report/pareto.h"
#include "report/sweep_charts.h"
#include "tests/report/fixtures.h"

namespace lockstep::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(Report, ShowsRunsBesideEachOther) {
  TestFolder folder;
  make_run(folder / "a");
  make_run(folder / "b", {.batch = 512, .lr = 0.8, .energy = false, .resumed = false});
  const Report report = make_report({folder / "a", folder / "b/metrics.jsonl", folder / "a/"});
  EXPECT_EQ(report.runs, 2);  // the first is named twice
  EXPECT_THAT(report.warnings, IsEmpty());
  for (const char* text :
       {"a: 93.00 % top-1, on track; finished; 1,000 images/s, 2 min 08 s of training; critical batch at the end about 2,000 (it used 128).",
        "2 settings differ between the runs", "batch.global_batch", "512  \u2190 made.pbtxt:7", "batch in use: 512", "expected by the recipe",
        "0.01 kWh (RAPL (package-0))", "unknown: no counter: /sys/class/powercap is empty", "resumes ckpt/step_00000500",
        "n01/a\tb.jpg: cut off after 12 bytes", "116 MB of tensors per rank", "compute-bound: input waits 5 %", "6.4 ms (5.0 %)",
        "Critical batch by layers"})
    EXPECT_THAT(report.html, HasSubstr(text));
  EXPECT_THAT(report.html, Not(HasSubstr("afresh, from seed")));  // a first start is no incident
  EXPECT_EQ(make_report({folder / "a", folder / "b"}).html, report.html);
}

TEST(Report, OneWarningTwiceIsTwice) {
  TestFolder folder;
  make_run(folder / "a");
  EXPECT_THAT(make_report({folder / "a"}).html, HasSubstr("<td>the disk is slow</td><td class=\"number\">2</td>"));
}

TEST(Report, RunsOfOneNameAreToldApart) {
  TestFolder folder;
  make_run(folder / "x/run");
  make_run(folder / "y/run");
  const Report report = make_report({folder / "x/run", folder / "y/run"});
  EXPECT_THAT(report.html, HasSubstr("<th>" + (folder / "x/run") + "</th>"));
  EXPECT_THAT(report.html, HasSubstr("All runs have the same settings."));
}

TEST(Report, EscapesNames) {
  TestFolder folder;
  const std::string name = "<script>alert(1)<&'\"";
  make_run(folder / name);
  make_run(folder / "b");
  write_text(folder / "b/logs/rank0000.log", "2026-11-29 22:50:00.001 warning <img src=x>\n");
  const std::string html = make_report({folder / name, folder / "b"}).html;
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(1)"));
}

TEST(Report, DamagedRunCostsOnlyItself) {
  TestFolder folder;
  make_run(folder / "good");
  write_text(folder / "damaged/metrics.jsonl", "{\"t\":1,\"step\":5,\"ep");
  write_text(folder / "other/file.txt", "no run");
  const Report report = make_report({folder / "good", folder / "damaged", folder / "other", folder / "missing"});
  EXPECT_EQ(report.runs, 1);
  EXPECT_THAT(report.warnings, ::testing::Contains(::testing::ContainsRegex("damaged: .*metrics.jsonl ends within a line")));
  EXPECT_THAT(report.warnings, ::testing::Contains(HasSubstr("other: is no run folder and no sweep folder")));
  EXPECT_THAT(report.warnings, ::testing::Contains(HasSubstr("missing: there is no such folder")));
  for (const std::string& warning : report.warnings) EXPECT_THAT(report.html, HasSubstr(escape_html(warning)));
}

void expect_user_error(const std::vector<std::string>& paths, ExitCode code, const std::string& text) {
  try {
    make_report(paths);
    FAIL() << "no error";
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

TEST(Report, NothingReadableIsAnError) {
  TestFolder folder;
  expect_user_error({folder / "missing"}, ExitCode::kNoInput, "there is no such folder");
  make_run(folder / "runs/a");
  make_run(folder / "runs/b");
  expect_user_error({folder / "runs"}, ExitCode::kData, "Did you mean " + (folder / "runs/a"));
  write_text(folder / "empty/metrics.jsonl", "");
  expect_user_error({folder / "empty"}, ExitCode::kData, "holds no records yet");
  write_text(folder / "sweep/sweep.json", "{\"format\":");
  expect_user_error({folder / "sweep"}, ExitCode::kData, "its sweep can't be read");
}

TEST(Report, StaysSmallWithManyLongRuns) {
  TestFolder folder;
  std::vector<std::string> paths;
  for (int i = 0; i < 10; ++i) {
    paths.push_back(folder / ("run" + std::to_string(i)));
    make_run(paths.back(), {.batch = 256 + 64 * i, .lr = 0.1 * (i + 1), .steps_per_epoch = 1000, .epochs = 30, .every_steps = 10});
  }
  const std::string html = make_report(paths).html;
  EXPECT_LT(html.size(), 2'000'000U);
  // So many runs stand below each other, and their settings are told by value.
  EXPECT_THAT(html, HasSubstr("<tr><td class=\"strong\">run3</td>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"strong\">schedule.lr</td><td>0.1</td><td>run0</td>"));
}

TEST(Report, ShowsASweep) {
  TestFolder folder;
  write_text(folder / "sweep/sweep.json", sweep_json(made_sweep()));
  make_run(folder / "run");
  const Report report = make_report({folder / "sweep", folder / "run"});
  EXPECT_EQ(report.sweeps, 1);
  for (const char* text : {"Sweep sweep", "The largest batch without loss is 2,048", "critical batch, fitted: 1,000 (900 to 1,100)",
                           "predicted from gradient noise: 760", "Accuracy and speed",
                           "Energy is not known: no counter: /sys/class/powercap is empty.", "diverged", "square-root rule", "best.pbtxt"})
    EXPECT_THAT(report.html, HasSubstr(text));
  EXPECT_THAT(report.html, Not(HasSubstr("Accuracy and energy")));
}

TEST(Report, UnfinishedSweepSaysWhatIsMissing) {
  TestFolder folder;
  SweepResult sweep = made_sweep();
  sweep.complete = false;
  sweep.missing = {"batch 8192: seeds 2 and 3"};
  sweep.batches.clear();
  sweep.trials.resize(1);
  write_text(folder / "sweep/sweep.json", sweep_json(sweep));
  EXPECT_THAT(make_report({folder / "sweep"}).html, HasSubstr("batch 8192: seeds 2 and 3."));
  write_text(folder / "sweep/sweep.json", sweep_json(SweepResult{}));
  EXPECT_EQ(make_report({folder / "sweep"}).sweeps, 1);
}

TEST(SweepCharts, DrawTheNumbersOfTheSweep) {
  const SweepResult sweep = made_sweep();
  const Chart accuracy = *accuracy_chart(sweep);
  EXPECT_THAT(accuracy.series[0].points, SizeIs(24));  // 8 batches, 3 seeds
  EXPECT_THAT(accuracy.series[1].points, SizeIs(8));
  EXPECT_NEAR(accuracy.series[1].points[0].high - accuracy.series[1].points[0].low, 0.002, 1e-9);
  const Chart samples = *samples_chart(sweep);
  const Series& law = samples.series.back();
  EXPECT_TRUE(law.dashed);
  for (const ChartPoint& point : law.points) EXPECT_NEAR(point.y, 200000 * (1 + point.x / 1000), 1e-3);
  const Heatmap rates = *rate_heatmap(sweep);
  EXPECT_THAT(rates.columns, SizeIs(8));
  EXPECT_EQ(rates.values.size(), rates.rows.size() * rates.columns.size());
  EXPECT_THAT(rates.labels, ::testing::Contains("diverged"));
  EXPECT_THAT(rates.labels, ::testing::Contains("(92.4)"));  // dropped
  EXPECT_THAT(pareto_charts(sweep), SizeIs(3));              // without energy
  EXPECT_TRUE(progress_heatmap(sweep) && accuracy_time_chart(sweep) && steps_chart(sweep) && seconds_chart(sweep) && rates_chart(sweep));
}

TEST(SweepCharts, WhereTrialsStopAtTheTargetNoAccuraciesAreCompared) {
  SweepResult sweep = made_sweep();
  sweep.stop_at_target = true;
  EXPECT_FALSE(accuracy_chart(sweep));
  const Heatmap rates = *rate_heatmap(sweep);
  EXPECT_TRUE(rates.low_is_good);
  EXPECT_EQ(rates.value_title, "epochs");
  for (const BatchSummary& batch : sweep.batches) {
    double sum = 0;
    for (const TrialRecord* trial : finalists(sweep, batch)) sum += trial->to_target->epochs;
    EXPECT_THAT(rates.values, ::testing::Contains(sum / static_cast<double>(finalists(sweep, batch).size()))) << batch.batch;
  }
  TestFolder folder;
  write_text(folder / "sweep/sweep.json", sweep_json(sweep));
  const std::string html = make_report({folder / "sweep"}).html;
  EXPECT_THAT(html, HasSubstr("there are no final accuracies to trade for speed"));
  EXPECT_THAT(html, Not(HasSubstr("Accuracy against batch size")));
}

TEST(SweepCharts, TrialUnderWayIsNoFinalist) {
  SweepResult sweep = made_sweep();
  EXPECT_THAT(finalists(sweep, sweep.batches[0]), SizeIs(3));
  for (TrialRecord& trial : sweep.trials)
    if (trial.seed == 2) trial.status = TrialStatus::kPartial;
  EXPECT_THAT(finalists(sweep, sweep.batches[0]), SizeIs(2));
}

TEST(SweepCharts, EnergyIsDrawnWhereItIsKnown) {
  SweepResult sweep = made_sweep();
  for (TrialRecord& trial : sweep.trials) trial.joules_per_image = 0.05;
  for (BatchSummary& batch : sweep.batches) batch.joules_to_target = 1e4 + static_cast<double>(batch.batch);
  EXPECT_THAT(pareto_charts(sweep), SizeIs(5));
}

TEST(Pareto, IsWhatNoOtherBeats) {
  const std::vector<Tradeoff> choices{{1, 5}, {2, 4}, {2, 7}, {3, 7}, {4, 9}, {std::nan(""), 100}, {0, std::nan("")}};
  EXPECT_THAT(pareto_front(choices), ElementsAre(0, 2, 4));
  EXPECT_THAT(pareto_front({}), IsEmpty());
}

TEST(Pareto, AgreesWithTheDefinition) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<Tradeoff> choices(random() % 12);
    for (Tradeoff& choice : choices) choice = {static_cast<double>(random() % 8), static_cast<double>(random() % 8)};
    const std::vector<std::size_t> front = pareto_front(choices);
    for (std::size_t i = 0; i < choices.size(); ++i) {
      bool beaten = false;
      for (std::size_t j = 0; j < choices.size(); ++j) {
        const bool as_good = choices[j].cost <= choices[i].cost && choices[j].gain >= choices[i].gain;
        const bool better = choices[j].cost < choices[i].cost || choices[j].gain > choices[i].gain;
        beaten = beaten || (as_good && (better || j < i));
      }
      EXPECT_EQ(std::count(front.begin(), front.end(), i), beaten ? 0 : 1);
    }
  }
}

}  // namespace
}  // namespace lockstep::testing
