// SPDX-License-Identifier: Apache-2.0
#include "tests/report/fixtures.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

namespace lockstep::testing {
namespace fs = std::filesystem;
namespace {

constexpr double kBegin = 1795992000;  // of the first record

std::string config_text(const MadeRun& made, const std::string& folder) {
  return fmt::format(R"(# The effective config of a run: every value, and where it comes from.
name: "made"                                      # the file's name
seed: 1                                           # default
run_dir: "{}"                                     # --run-dir
epochs: {}                                        # made.pbtxt:1
max_steps: 0                                      # default
precision: BF16                                   # made.pbtxt:2
model {{
  name: "resnet14"                                # made.pbtxt:3
  # weights: not given
}}
data {{
  source: FOLDER                                  # made.pbtxt:4
  path: "/data/with # a hash"                     # --data
  height: 32                                      # made.pbtxt:4
  width: 32                                       # made.pbtxt:4
  mean: [0.4914, 0.4822, 0.4465]                  # made.pbtxt:5
}}
batch {{
  global_batch: {}                                # made.pbtxt:7
  shard_batch: 32                                 # made.pbtxt:7
}}
schedule {{
  lr: {}                                          # made.pbtxt:9
}}
)",
                     folder, made.epochs, made.batch, made.lr);
}

std::string record(double time, int step, double epoch, const std::string& kind, const std::string& values) {
  return fmt::format("{{\"t\":{:.3f},\"step\":{},\"epoch\":{},\"kind\":\"{}\",{}}}\n", time, step, epoch, kind, values);
}

std::string metrics_text(const MadeRun& made) {
  std::string text;
  double time = kBegin;
  for (int step = made.every_steps; step <= made.epochs * made.steps_per_epoch; step += made.every_steps) {
    time += made.every_steps * made.batch / made.images_per_second;
    const double epoch = static_cast<double>(step) / made.steps_per_epoch, part = epoch / made.epochs;
    const std::string noise = made.noise ? fmt::format(",\"noise_scale\":{},\"gradient_norm2\":{},\"gradient_variance\":{}", 100 * std::exp(3 * part),
                                                       0.1, 10 * std::exp(3 * part))
                                         : "";
    text += record(time, step, epoch, "train",
                   fmt::format("\"loss\":{},\"top1\":{},\"lr\":{},\"grad_norm\":{}{}", made.loss * std::exp(-3 * part) + 0.02 * std::sin(step),
                               0.9 * part, made.lr * (1 - part), 0.5, noise));
    text += record(time, step, epoch, "perf",
                   fmt::format("\"images_per_sec\":{},\"input_wait_frac\":{},\"allreduce_exposed_ms\":{},\"host_peak_gb\":0.163",
                               made.images_per_second, made.wait_frac, made.reduce_ms));
    if (step % made.steps_per_epoch != 0) continue;
    const double top1 = made.final_top1 * (1 - std::exp(-6 * part)) / (1 - std::exp(-6.0));
    const std::string band = made.band ? fmt::format(",\"expected_min\":{},\"expected_max\":{},\"band\":\"on track\"", top1 - 0.01, top1 + 0.01) : "";
    text += record(time, step, epoch, "val",
                   fmt::format("\"loss\":{},\"top1\":{},\"top5\":{}{}", 2 - 1.7 * part, top1, std::min(1.0, top1 + 0.06), band));
    text += record(time, step, epoch, "ckpt", fmt::format("\"path\":\"ckpt/step_{:08}\",\"seconds\":0.14,\"bytes\":22487700", step));
    if (made.noise)
      text += record(time, step, epoch, "noise",
                     fmt::format("\"noise_scale\":{0},\"noise_scale.layer1\":{0},\"noise_scale.fc\":null,\"steps\":100", 100 * std::exp(3 * part)));
  }
  text += record(kBegin + 3, 50, 0.5, "input",
                 "\"message\":\"compute-bound: input waits 5 "
                 "%\",\"wait_frac\":0.05,\"loader_busy\":0.6,\"loader_threads\":1,\"read_frac\":0.03,\"decode_frac\":0.8,\"augment_frac\":0.17");
  if (made.energy)
    text +=
        record(time, made.epochs * made.steps_per_epoch, made.epochs, "energy", "\"energy_joules\":36000.0,\"energy_source\":\"RAPL (package-0)\"");
  else
    text += record(time, made.epochs * made.steps_per_epoch, made.epochs, "energy", "\"energy_source\":\"no counter: /sys/class/powercap is empty\"");
  return text;
}

std::string log_text(const MadeRun& made) {
  std::string text =
      "2026-11-29 22:41:09.947 info   data            50000 training images\n  memory          116 MB of tensors per rank at the peak\n  start       "
      "    afresh, from seed 1\n";
  if (!made.resumed) return text;
  text += "2026-11-29 22:50:00.001 warning the disk is slow\n2026-11-29 22:51:00.001 warning the disk is slow\n";
  return text +
         "2026-11-29 23:38:00.947 info   data            50000 training images\n  start           resumes ckpt/step_00000500 at step 500 of "
         "1000\n2026-11-29 23:39:00.001 error  something failed\n";
}

constexpr double kCritical = 1000, kLeastSamples = 200000;

TrialRecord made_trial(std::int64_t batch, double lr, std::uint64_t seed, double top1, TrialStatus status) {
  TrialRecord trial{
      .batch = batch, .shard_batch = 64, .lr = lr, .seed = seed, .role = seed == 1 ? TrialRole::kSearch : TrialRole::kSeed, .status = status};
  trial.folder = fmt::format("trials/{}-{}-{}", batch, lr, seed);
  trial.digest = "0123456789abcdef0123456789abcdef";
  trial.energy_source = "no counter: /sys/class/powercap is empty";
  if (status == TrialStatus::kDiverged) {
    trial.message = "the loss is not finite at step 12";
    return trial;
  }
  const double epochs = status == TrialStatus::kFinished ? 14 : 4;
  for (int epoch = 1; epoch <= epochs; ++epoch)
    trial.evaluations.push_back({.step = epoch * 60000 / batch,
                                 .epoch = static_cast<double>(epoch),
                                 .top1 = top1 * (1 - std::exp(-0.4 * epoch)) / (1 - std::exp(-0.4 * epochs))});
  trial.epochs = epochs;
  trial.final_top1 = trial.best_top1 = top1;
  trial.images_per_second = 2000 * static_cast<double>(batch) / (static_cast<double>(batch) + 100);
  trial.seconds = epochs * 60000 / *trial.images_per_second;
  if (status != TrialStatus::kFinished) return trial;
  const double samples = kLeastSamples * (1 + static_cast<double>(batch) / kCritical) * (1 + 0.02 * (static_cast<double>(seed) - 2));
  trial.to_target = ToTarget{.steps = static_cast<std::int64_t>(samples) / batch,
                             .samples = static_cast<std::int64_t>(samples),
                             .epochs = samples / 60000,
                             .seconds = samples / *trial.images_per_second,
                             .joules = {}};
  return trial;
}

BatchSummary made_summary(std::int64_t batch, double lr, double top1) {
  const auto size = static_cast<double>(batch);
  BatchSummary summary{.batch = batch,
                       .shard_batch = 64,
                       .complete = true,
                       .linear_lr = 0.2 * size / 128,
                       .sqrt_lr = 0.2 * std::sqrt(size / 128),
                       .best_lr = lr,
                       .candidates = 4,
                       .diverged = 1,
                       .seeds = 3,
                       .reached = 3};
  summary.mean_top1 = top1, summary.sd_top1 = 0.001, summary.min_top1 = top1 - 0.001, summary.max_top1 = top1 + 0.001;
  summary.samples_to_target = kLeastSamples * (1 + size / kCritical);
  summary.steps_to_target = *summary.samples_to_target / size;
  summary.epochs_to_target = *summary.samples_to_target / 60000;
  summary.images_per_second = 2000 * size / (size + 100);
  summary.milliseconds_per_step = 1000 * size / *summary.images_per_second;
  summary.seconds_to_target = *summary.samples_to_target / *summary.images_per_second;
  summary.difference = top1 - 0.9345, summary.difference_low = *summary.difference - 0.002, summary.difference_high = *summary.difference + 0.002;
  summary.without_loss = batch <= 2048;
  return summary;
}

}  // namespace

TestFolder::TestFolder() {
  static std::atomic<int> count = 0;
  path_ = fs::temp_directory_path() / fmt::format("report_test_{}_{}", getpid(), count++);
  fs::create_directories(path_);
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_text(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void make_run(const std::string& folder, const MadeRun& made) {
  write_text(folder + "/run.json",
             R"json({"started":"2026-11-29T23:38:00Z","host":"vm","pid":1,"generation":2,"ranks":2,"start_step":500,"lockstep":"0.1.0 (abc, Release)",
"config_file":"made.pbtxt","config_digest":"c1bf599141d8d4449a19dcc949b8309a","components":{"processor":"AVX-512 + BF16"}})json");
  write_text(folder + "/config.effective.pbtxt", config_text(made, folder));
  write_text(folder + "/metrics.jsonl", metrics_text(made));
  write_text(folder + "/logs/rank0000.log", log_text(made));
  if (made.resumed) write_text(folder + "/bad_samples.tsv", "sample\treason\nn01/a\tb.jpg\tcut off after 12 bytes\n");
}

SweepResult made_sweep() {
  SweepResult sweep{.name = "fashion_mnist",
                    .model = "resnet14",
                    .base_batch = 128,
                    .base_lr = 0.2,
                    .train_samples = 60000,
                    .eval_samples = 10000,
                    .schedule_epochs = 14,
                    .target = 0.93};
  sweep.rungs = {0.3, 1}, sweep.seeds = {1, 2, 3}, sweep.select = "accuracy", sweep.evaluation_epochs = 1, sweep.complete = true,
  sweep.best_config = "best.pbtxt";
  for (int i = 0; i < 8; ++i) {
    const std::int64_t batch = 64 << i;
    const double best = 0.1 * std::pow(2, std::min(i, 5)), top1 = 0.9345 - 0.0002 * std::exp(0.62 * i);
    sweep.trials.push_back(made_trial(batch, best / 2, 1, top1 - 0.01, TrialStatus::kPartial));
    for (std::uint64_t seed = 1; seed <= 3; ++seed)
      sweep.trials.push_back(made_trial(batch, best, seed, top1 + 0.001 * (static_cast<double>(seed) - 2), TrialStatus::kFinished));
    sweep.trials.push_back(made_trial(batch, best * 2, 1, top1 - 0.004, TrialStatus::kFinished));
    sweep.trials.push_back(made_trial(batch, best * 4, 1, 0, TrialStatus::kDiverged));
    sweep.batches.push_back(made_summary(batch, best, top1));
  }
  sweep.verdict.best_batch = 64, sweep.verdict.largest_without_loss = 2048, sweep.verdict.fastest = 1024;
  sweep.verdict.fit = {
      .min_samples = kLeastSamples, .critical_batch = kCritical, .critical_low = 900, .critical_high = 1100, .worst_residual = 0.03, .points = 8};
  sweep.verdict.predicted_critical = 760;
  sweep.verdict.text = {"The largest batch without loss is 2,048: 92.99 % against 93.43 % at 64, within the spread of a seed.",
                        "The critical batch by fit is 1,000; the gradient noise predicted 760 before the sweep (0.76 of it)."};
  return sweep;
}

}  // namespace lockstep::testing
