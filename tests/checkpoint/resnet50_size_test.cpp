// The cost of a checkpoint of ResNet-50 with momentum (205 MB): prints the training's pause and the time until durable.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <functional>

#include "tests/checkpoint/sample_state.h"
#include "train/checkpoint/saver.h"

namespace lockstep::test {
namespace {

double time_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Tensor filled(const Shape& shape, DType dtype, std::uint64_t seed) {
  Tensor tensor = Tensor::empty(shape, dtype);
  auto* words = static_cast<std::uint32_t*>(tensor.ptr());
  for (std::size_t i = 0; i < tensor.nbytes() / 4; ++i) words[i] = static_cast<std::uint32_t>((i + seed) * 2654435761u);
  return tensor;
}

struct Builder {
  TrainingState state;

  void parameter(const std::string& name, const Shape& shape) {
    state.model.push_back({name, filled(shape, DType::kF32, state.model.size())});
    state.optimizer.push_back({"momentum." + name, filled(shape, DType::kF32, state.model.size() + 7)});
  }
  void conv_bn(const std::string& conv, const std::string& bn, std::int64_t out, std::int64_t in, std::int64_t k) {
    parameter(conv + ".weight", {out, in, k, k});
    parameter(bn + ".weight", {out});
    parameter(bn + ".bias", {out});
    state.model.push_back({bn + ".running_mean", filled({out}, DType::kF32, 1)});
    state.model.push_back({bn + ".running_var", filled({out}, DType::kF32, 2)});
    state.model.push_back({bn + ".num_batches_tracked", filled({}, DType::kI64, 3)});
  }
};

TrainingState resnet50() {
  Builder b;
  b.conv_bn("conv1", "bn1", 64, 3, 7);
  std::int64_t in = 64;
  const int blocks[] = {3, 4, 6, 3};
  for (int stage = 0; stage < 4; ++stage)
    for (int block = 0; block < blocks[stage]; ++block) {
      const std::int64_t width = std::int64_t{64} << stage;
      const std::string prefix = "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
      b.conv_bn(prefix + "conv1", prefix + "bn1", width, in, 1);
      b.conv_bn(prefix + "conv2", prefix + "bn2", width, width, 3);
      b.conv_bn(prefix + "conv3", prefix + "bn3", 4 * width, width, 1);
      if (block == 0) b.conv_bn(prefix + "downsample.0", prefix + "downsample.1", 4 * width, in, 1);
      in = 4 * width;
    }
  b.parameter("fc.weight", {1000, 2048});
  b.parameter("fc.bias", {1000});
  b.state.step = 1;
  return b.state;
}

TEST(CheckpointCost, ResNet50WithMomentum) {
  TrainingState state = resnet50();
  std::int64_t parameters = 0;
  for (const NamedTensor& tensor : state.optimizer) parameters += tensor.tensor.numel();
  EXPECT_EQ(parameters, 25557032);
  TemporaryFolder folder;
  SaverOptions options;
  options.on_saved = [](const SaveReport& report) {
    std::printf("  step %llu: %.1f MB, pause %.3f s, durable and verified after %.3f s\n", static_cast<unsigned long long>(report.step),
                static_cast<double>(report.nbytes) * 1e-6, report.snapshot_seconds, report.seconds);
  };
  CheckpointSaver saver(folder / "ckpt", posix_fs(), {}, options);
  for (state.step = 1; state.step <= 4; ++state.step) saver.save_now(state, false);
  CheckpointStore store(folder / "ckpt", posix_fs());
  std::optional<CheckpointInfo> found;
  const double find_s = time_of([&] { found = store.find(Resume::kAuto); });
  const double load_s = time_of([&] { load_checkpoint(posix_fs(), found->path, state); });
  std::string digest;
  const double digest_s = time_of([&] { digest = state_digest(state); });
  EXPECT_EQ(digest, found->manifest.state_digest);
  std::printf("  find and verify %.3f s, load in place %.3f s, state_digest %.3f s\n", find_s, load_s, digest_s);
}

}  // namespace
}  // namespace lockstep::test
