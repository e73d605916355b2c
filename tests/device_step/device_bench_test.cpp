// Measurements on a device, over the emulated one: what is timed is the work, all of it, and only it.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "cuda/cuda_backend.h"
#include "distributed/communicator.h"
#include "train/bench_peaks.h"
#include "train/device_timer.h"
#include "train/op_bench.h"
#include "train/trace_kernels.h"

namespace lockstep {
namespace {

BenchOptions tiny_on_gpu() {
  return {.model = "resnet8", .batch = 4, .base_width = 4, .size = 16, .classes = 4, .dtype = "f16", .backend = "CUDA", .warmup = 2, .steps = 3};
}

TEST(DeviceTimer, TheHeadStartIsNotInTheTimeAndTheWorkIs) {
  Accelerator& accelerator = start_accelerator(0);
  const Stream stream = accelerator.compute_stream();
  DeviceTimer timer(accelerator);
  Tensor large = Tensor::empty({std::int64_t{64} << 20}, DType::kU8, accelerator.device());
  const auto fill = [&] { accelerator.fill_zero(stream, large.ptr(), large.nbytes()); };
  fill();  // its first pages
  double work = 1e30, nothing = 1e30;
  for (int i = 0; i < 5; ++i) {
    work = std::min(work, timer.ms(stream, fill));
    nothing = std::min(nothing, timer.ms(stream, [] {}));
  }
  EXPECT_LT(nothing, work / 4) << "64 MB take milliseconds; the head start alone would be as much as a tenth of one";
}

TEST(DeviceTimer, TheWorkIsDoneWhenItReturns) {
  Accelerator& accelerator = start_accelerator(0);
  const Stream stream = accelerator.compute_stream();
  DeviceTimer timer(accelerator);
  const Event after = accelerator.new_event();
  const double ms = timer.ms(stream, [&] { accelerator.record(after, stream); });
  EXPECT_GE(ms, 0);
  EXPECT_TRUE(accelerator.done(after));
}

TEST(DeviceBench, EveryCallOfTheStepHasATimeOfItsOwn) {
  const auto comm = make_solo_communicator();
  const OpBench bench = bench_ops(tiny_on_gpu(), *comm);
  EXPECT_TRUE(bench.on_device);
  std::map<std::string, std::int64_t> calls;
  for (const OpGroup& group : bench.groups) {
    EXPECT_GT(group.median_ms, 0) << group.call.name;
    EXPECT_GT(group.call.bytes, 0) << group.call.name;
    calls[group.call.name] += group.calls;
  }
  EXPECT_EQ(calls["finish_step"], 1);
  EXPECT_EQ(calls["softmax_cross_entropy"], 1);
  EXPECT_EQ(calls["normalise_image"], 1);
  const std::int64_t forward = calls["conv2d_forward"] + calls["conv2d_forward_moments"] + calls["norm_conv2d_forward"] + calls["norm_conv2d_forward_moments"];
  const std::int64_t filters = calls["conv2d_backward_filter"] + calls["norm_conv2d_backward_filter"];
  const std::int64_t data = calls["conv2d_backward_data"] + calls["norm_conv2d_backward_data"];
  EXPECT_EQ(forward, filters);
  EXPECT_EQ(data, forward - 1) << "the images need no gradient";
  EXPECT_GT(calls["norm_conv2d_backward_data"], 0) << "fused in f16";
  EXPECT_GT(bench.step_ms, 0);
}

TEST(DeviceBench, TappedStepsComputeTheSameBits) {
  const auto comm = make_solo_communicator();
  BenchJob plain(tiny_on_gpu(), *comm), tapped(tiny_on_gpu(), *comm);
  for (int i = 0; i < 7; ++i) plain.step();
  for (int i = 0; i < 4; ++i) tapped.step();  // two eager ones, the recording, a replay
  tapped.finish();
  OpLog log(1 << 14);
  {
    tapped.runner().use_recording(false);
    const KernelTap tap(tapped.session().network.kernels, log);
    for (int i = 0; i < 2; ++i) tapped.step();
    tapped.finish();
  }
  EXPECT_GT(log.calls().size(), 100u);
  tapped.runner().use_recording(true);
  tapped.step();
  plain.finish();
  tapped.finish();
  EXPECT_EQ(hash_state(plain.session()), hash_state(tapped.session()));
}

TEST(DeviceBench, PeaksAreMeasuredOnTheDevice) {
  const auto comm = make_solo_communicator();
  BenchJob job(tiny_on_gpu(), *comm);
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    const Peaks peaks = measure_peaks(*job.session().network.kernels, dtype, *comm);
    EXPECT_GT(peaks.gflops, 0);
    EXPECT_GT(peaks.gbytes_per_second, 0);
  }
}

}  // namespace
}  // namespace lockstep
