// SPDX-License-Identifier: Apache-2.0
#include "train/bench_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "proto/config.pb.h"
#include "train/choices.h"
#include "train/clock.h"
#include "train/loading.h"

namespace lockstep {
namespace {

constexpr int kMinTimedSteps = 3;

std::string precision_of(const std::string& dtype) {
  static const std::map<std::string, std::string> names{{"f32", "FP32"}, {"bf16", "BF16"}, {"f16", "FP16"}, {"f64", "FP64"}};
  const auto found = names.find(dtype);
  if (found == names.end()) throw UserError("bench: --dtype: got '" + dtype + "', want f32, bf16, f16 or f64");
  return found->second;
}

LoadedConfig bench_config(const BenchOptions& options, int ranks) {
  if (options.config) return *options.config;
  if (options.accumulate < 1 || options.batch % options.accumulate != 0)
    throw UserError(fmt::format("bench: --accumulate {} must divide --batch {}", options.accumulate, options.batch));
  const std::int64_t global_batch = options.batch * ranks;
  const std::string text = fmt::format(
      "name: 'bench' epochs: 1 precision: {} backend: {} threads_per_rank: {}\n"
      "model {{ name: '{}' classes: {} base_width: {} batch_norm {{ scope: {} }} }}\n"
      "data {{ source: SYNTHETIC height: {} width: {} channels: {} synthetic {{ size: {} eval_size: 0 classes: {} }} }}\n"
      "batch {{ global_batch: {} shard_batch: {} }}\n"
      "schedule {{ kind: CONSTANT lr: 0.01 }}\n"
      "distributed {{ reduction: {} wire: {} }}",
      precision_of(options.dtype), options.backend, options.threads, options.model, options.classes, options.base_width,
      options.norm_scope, options.size, options.size, options.channels, global_batch * 8, options.classes, global_batch,
      options.batch / options.accumulate, options.reduction, options.wire);
  std::vector<ConfigOverride> overrides;
  for (const std::string& assignment : options.set) overrides.push_back(parse_override(assignment));
  LoadedConfig loaded = parse_config(text, "bench options", overrides);
  validate(loaded);
  return loaded;
}

Session job_session(const BenchOptions& options, Communicator& comm) {
  LoadedConfig loaded = bench_config(options, comm.size());
  const int gpu = pick_gpu(loaded.config(), comm);
  Session session = make_session(std::move(loaded), comm.size(), gpu);
  to_device(session);
  agree_on_choices(session, comm);
  return session;
}

}  // namespace

BenchJob::BenchJob(const BenchOptions& options, Communicator& comm)
    : session_(job_session(options, comm)),
      loader_(*session_.train_source, train_loader_options(session_, comm.rank(), 0)),
      runner_(make_step_runner(session_.config(), session_.plan, session_.network, *session_.optimizer, session_.average.get(), comm)) {}

BenchJob::Timed BenchJob::step() {
  const std::int64_t step = next_step_++;
  // Past the config's last step the rate stays what it was: a benchmark may run longer than the schedule.
  const double lr = session_.schedule->lr(std::min(step, session_.plan.total_steps - 1));
  const std::int64_t begin = steady_ns();
  runner_->submit(step, lr, loader_);
  const std::optional<StepResult> result = runner_->take(false);
  return {static_cast<double>(steady_ns() - begin) * 1e-6, result ? result->times : StepTimes{}};
}

void BenchJob::finish() {
  while (runner_->take(true)) {
  }
}

int BenchJob::warm_up(const BenchOptions& options, Communicator& comm) {
  if (options.warmup < 1) throw UserError(fmt::format("bench: --warmup: got {}, want at least 1", options.warmup));
  if (options.steps < 1) throw UserError(fmt::format("bench: --steps: got {}, want at least 1", options.steps));
  double last_ms = 0;
  for (int i = 0; i < options.warmup; ++i) last_ms = step().ms;
  if (options.seconds <= 0) return options.steps;
  const std::vector<double> all = comm.all_gather_values(last_ms, "bench warm-up");
  const double slowest_ms = *std::max_element(all.begin(), all.end());
  return std::max(kMinTimedSteps, static_cast<int>(std::min(1e6, std::ceil(options.seconds * 1e3 / slowest_ms))));
}

BenchSubject BenchJob::subject() const {
  const ImageSize image = image_size(session_.config(), *session_.train_source);
  return {session_.network.model->name(), image.height, image.width, std::string(dtype_name(session_.network.dtype)), session_.plan.ranks,
          static_cast<int>(session_.config().threads_per_rank()), session_.plan.shard_batch * session_.plan.shards_per_rank};
}

}  // namespace lockstep
