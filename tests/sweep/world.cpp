// SPDX-License-Identifier: Apache-2.0
#include "tests/sweep/world.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

#include "proto/config.pb.h"

namespace lockstep::testing {
namespace {

constexpr const char* kConfig = R"(
name: "world"
epochs: 20
model { name: "resnet8" }
data { source: SYNTHETIC height: 16 width: 16 synthetic { size: 12800 eval_size: 2000 classes: 4 } }
batch { global_batch: 128 shard_batch: 32 }
schedule { kind: CONSTANT lr: 0.4 }
)";

std::uint64_t mix(std::uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

double World::samples(double batch, double lr) const {
  const double off = std::log2(lr / best_lr(batch));
  return min_samples * (1 + batch / critical_batch) * (1 + off * off);
}

double World::top1(const TrialKey& key, std::int64_t step) const {
  const double trained = static_cast<double>(step * key.batch) / samples(static_cast<double>(key.batch), key.lr);
  const double reach = std::log(plateau / (plateau - 0.9));  // 90 % at trained = 1
  const std::uint64_t bits = mix(mix(key.seed) ^ static_cast<std::uint64_t>(key.batch) ^ mix(static_cast<std::uint64_t>(key.lr * 1e6)));
  const double noise = static_cast<double>(bits >> 11) / static_cast<double>(std::uint64_t{1} << 53) - 0.5;
  return plateau * (1 - std::exp(-reach * trained)) + 2 * scatter * noise;
}

std::uint64_t WorldRunner::draw() { return random_ = mix(random_); }

void WorldRunner::start(const TrialRequest& request) {
  tasks_.push_back(request);
  running_.push_back(request);
}

std::optional<TrialEnd> WorldRunner::poll(double) {
  on_poll(++polls_);
  if (running_.empty() || (!stopping_ && draw() % 3 == 0)) return std::nullopt;
  const auto at = running_.begin() + static_cast<std::ptrdiff_t>(draw() % running_.size());
  const TrialRequest request = *at;
  running_.erase(at);
  TrialEnd end{.key = request.key};
  const BatchPlan& batch = plan_.of(request.key.batch);
  if (stopping_) {
    end.kind = TrialEnd::Kind::kStopped;
  } else if (request.key.lr > world_.diverges_above * world_.best_lr(static_cast<double>(request.key.batch))) {
    end.kind = TrialEnd::Kind::kDiverged;
    end.message = "step 3: the loss is nan";
  } else {
    const double period = plan_.base.config().evaluation().every_epochs() * static_cast<double>(batch.steps_per_epoch);
    const auto evaluates = std::max<std::int64_t>(1, std::llround(period));
    for (std::int64_t step = 1; step <= request.until_step; ++step) {
      const bool epoch_ends = step % batch.steps_per_epoch == 0;
      const double epoch = static_cast<double>(step) / static_cast<double>(batch.steps_per_epoch);
      if (step % evaluates == 0 || step == request.until_step) end.measured.evaluations.push_back({step, epoch, world_.top1(request.key, step)});
      if (request.stop_at_top1 && first_reaching(end.measured.evaluations, *request.stop_at_top1)) break;
      if (epoch_ends) end.measured.noise.push_back({step, world_.noise_scale});
    }
    // Speed saturates with the batch, and depends on what else the machine does.
    const auto size = static_cast<double>(request.key.batch);
    end.measured.images_per_second = 1e4 * size / (size + 500) * (1 + static_cast<double>(draw() % 100) / 100);
    end.measured.joules_per_image = 0.02;
    end.measured.digest = request.key.name() + "@" + std::to_string(request.until_step);
  }
  on_end(end);
  return end;
}

LoadedConfig world_config(const std::vector<ConfigOverride>& overrides) { return parse_config(kConfig, "world.pbtxt", overrides); }

TempFolder::TempFolder() {
  const std::filesystem::path memory = "/dev/shm";  // where syncing costs nothing
  const auto parent = access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
  std::string name = (parent / "lockstep-sweep-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

RunSweepOptions quiet(int jobs) {
  return {.jobs = jobs, .stop_wanted = [] { return false; }, .say = [](const std::string&) {}, .poll_s = 0, .look_s = 0.05};
}

}  // namespace lockstep::testing
