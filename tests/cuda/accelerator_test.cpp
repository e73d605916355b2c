// The accelerator of a GPU: copies, events between streams, recorded work, what it refuses, and that a device is started once.
// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include "core/error.h"
#include "tests/cuda/device_test_util.h"

namespace lockstep {
namespace {

constexpr std::int64_t kLength = 10007;

Tensor ramp(double first) {
  Tensor tensor = Tensor::empty({kLength}, DType::kF32);
  for (std::int64_t i = 0; i < kLength; ++i) tensor.host<float>()[static_cast<std::size_t>(i)] = static_cast<float>(first + static_cast<double>(i));
  return tensor;
}

// Each element is first + its index times `factor`.
void expect_ramp(const Tensor& tensor, double first, double factor = 1) {
  const Tensor host = to_host(tensor);
  for (std::int64_t i = 0; i < kLength; ++i)
    ASSERT_EQ(host.host<float>()[static_cast<std::size_t>(i)], static_cast<float>(factor * (first + static_cast<double>(i)))) << i;
}

class AcceleratorTest : public ::testing::Test {
 protected:
  void add(Stream stream, Tensor& sum, const Tensor& a, const Tensor& b) {
    gpu_.add(stream, DType::kF32, sum.ptr(), a.ptr(), b.ptr(), kLength);
  }
  std::string what_end_recording_throws(Stream stream) {
    try {
      gpu_.end_recording(stream);
    } catch (const EnvironmentError& error) {
      return error.what();
    }
    return "";
  }
  Accelerator& gpu_ = test_accelerator();
  const Stream compute_ = gpu_.compute_stream();
};

TEST_F(AcceleratorTest, CopiesGoThereAndBackFromAnyHostMemory) {
  expect_ramp(on_gpu(ramp(3)), 3);
  Tensor pinned = Tensor::empty_in(gpu_.pinned_pool(), {kLength}, DType::kF32), back = Tensor::empty_in(gpu_.pinned_pool(), {kLength}, DType::kF32);
  EXPECT_EQ(pinned.device(), Device{});
  const Tensor source = ramp(5);
  copy_contents(source, pinned);
  Tensor there = empty_on_gpu({kLength}, DType::kF32);
  gpu_.copy(compute_, there.ptr(), pinned.ptr(), there.nbytes());
  gpu_.copy(compute_, back.ptr(), there.ptr(), there.nbytes());
  gpu_.synchronize(compute_);
  expect_ramp(back, 5);
}

TEST_F(AcceleratorTest, ReductionsComputeTheBitsOfTheHostsOnes) {
  Tensor a = on_gpu(ramp(0)), b = on_gpu(ramp(0)), sixteen = empty_on_gpu({kLength}, DType::kBF16);
  add(compute_, a, a, b);
  expect_ramp(a, 0, 2);
  gpu_.divide(compute_, DType::kF32, a.ptr(), kLength, 2);
  expect_ramp(a, 0);
  gpu_.convert(compute_, DType::kF32, a.ptr(), DType::kBF16, sixteen.ptr(), kLength);
  const Tensor rounded = to_host(sixteen);
  for (std::int64_t i = 0; i < kLength; ++i)
    ASSERT_EQ(rounded.host<bf16>()[static_cast<std::size_t>(i)].bits, bf16(static_cast<float>(i)).bits) << i;
  gpu_.fill_zero(compute_, a.ptr(), a.nbytes());
  EXPECT_EQ(to_host(a).host<float>()[kLength - 1], 0);
}

TEST_F(AcceleratorTest, AnEventOrdersTwoStreams) {
  const Stream other = gpu_.new_stream();
  const Event ready = gpu_.new_event();
  EXPECT_TRUE(gpu_.done(ready)) << "it was never recorded";
  Tensor a = on_gpu(ramp(1)), b = on_gpu(ramp(1)), sum = empty_on_gpu({kLength}, DType::kF32), result = empty_on_gpu({kLength}, DType::kF32);
  add(compute_, sum, a, b);
  gpu_.record(ready, compute_);
  gpu_.wait(other, ready);
  gpu_.copy(other, result.ptr(), sum.ptr(), sum.nbytes());
  gpu_.synchronize(other);
  expect_ramp(result, 1, 2);
  gpu_.synchronize(ready);
  EXPECT_TRUE(gpu_.done(ready));
}

TEST_F(AcceleratorTest, AnEventBecomesDoneByItself) {
  const Event event = gpu_.new_event();
  Tensor a = on_gpu(ramp(1));
  add(compute_, a, a, a);
  gpu_.record(event, compute_);
  while (!gpu_.done(event)) {
  }
  expect_ramp(a, 1, 2);
}

TEST_F(AcceleratorTest, ElapsedTimeIsThatOfTheWorkBetween) {
  const Event begin = gpu_.new_event(), end = gpu_.new_event();
  Tensor a = on_gpu(ramp(0));
  gpu_.record(begin, compute_);
  for (int i = 0; i < 10; ++i) add(compute_, a, a, a);
  gpu_.record(end, compute_);
  gpu_.synchronize(end);
  const double elapsed = gpu_.elapsed_ms(begin, end);
  EXPECT_GT(elapsed, 0);
  EXPECT_LT(elapsed, 10000);
}

TEST_F(AcceleratorTest, RecordedWorkRunsAtEachReplayAndNotBefore) {
  Tensor sum = on_gpu(ramp(0)), one = on_gpu(ramp(0));
  add(compute_, one, one, one);  // before: what a first call prepares
  gpu_.synchronize(compute_);
  gpu_.begin_recording(compute_);
  add(compute_, sum, sum, one);
  add(compute_, sum, sum, one);
  const std::unique_ptr<RecordedWork> work = gpu_.end_recording(compute_);
  EXPECT_EQ(work->node_count(), 2u);
  expect_ramp(sum, 0);
  gpu_.replay(compute_, *work);
  gpu_.replay(compute_, *work);
  expect_ramp(sum, 0, 9);  // 1 + 4 * 2
}

TEST_F(AcceleratorTest, AStreamJoinsARecordingByAnEventAndIsJoinedAgain) {
  const Stream other = gpu_.new_stream();
  const Event fork = gpu_.new_event(), join = gpu_.new_event();
  Tensor a = on_gpu(ramp(0)), left = on_gpu(ramp(0)), right = on_gpu(ramp(0)), sum = on_gpu(ramp(0));
  gpu_.synchronize(compute_);
  gpu_.begin_recording(compute_);
  add(compute_, a, a, a);
  gpu_.record(fork, compute_);
  gpu_.wait(other, fork);
  add(other, right, a, a);
  gpu_.record(join, other);
  add(compute_, left, a, a);
  gpu_.wait(compute_, join);
  add(compute_, sum, left, right);
  const std::unique_ptr<RecordedWork> work = gpu_.end_recording(compute_);
  EXPECT_EQ(work->node_count(), 4u);
  gpu_.replay(compute_, *work);
  expect_ramp(sum, 0, 8);
  gpu_.replay(compute_, *work);
  expect_ramp(sum, 0, 16);
  add(other, right, a, a);  // no longer recorded
  gpu_.synchronize(other);
  expect_ramp(right, 0, 8);
}

TEST_F(AcceleratorTest, AStreamThatIsNotJoinedAgainLosesTheRecording) {
  const Stream other = gpu_.new_stream();
  const Event fork = gpu_.new_event();
  Tensor a = on_gpu(ramp(0));
  gpu_.synchronize(compute_);
  gpu_.begin_recording(compute_);
  add(compute_, a, a, a);
  gpu_.record(fork, compute_);
  gpu_.wait(other, fork);
  add(other, a, a, a);
  EXPECT_NE(what_end_recording_throws(compute_).find("joined"), std::string::npos);
  expect_ramp(a, 0);  // and both are as before
  add(compute_, a, a, a);
  expect_ramp(a, 0, 2);
}

TEST_F(AcceleratorTest, WaitingForWorkThatIsBeingRecordedIsAnError) {
  Tensor a = on_gpu(ramp(0));
  const Event event = gpu_.new_event();
  gpu_.begin_recording(compute_);
  add(compute_, a, a, a);
  gpu_.record(event, compute_);
  EXPECT_THROW(gpu_.synchronize(compute_), EnvironmentError);
  EXPECT_THROW(gpu_.done(event), EnvironmentError);
  EXPECT_NE(what_end_recording_throws(compute_), "");
  expect_ramp(a, 0);
}

TEST_F(AcceleratorTest, OnlyPageLockedMemoryIsCopiedInARecording) {
  Tensor there = on_gpu(ramp(0)), pageable = ramp(1), pinned = Tensor::empty_in(gpu_.pinned_pool(), {kLength}, DType::kF32);
  copy_contents(pageable, pinned);
  gpu_.begin_recording(compute_);
  EXPECT_THROW(gpu_.copy(compute_, there.ptr(), pageable.ptr(), there.nbytes()), EnvironmentError);
  static_cast<void>(what_end_recording_throws(compute_));  // may be lost or not
  gpu_.begin_recording(compute_);
  gpu_.copy(compute_, there.ptr(), pinned.ptr(), there.nbytes());
  const std::unique_ptr<RecordedWork> work = gpu_.end_recording(compute_);
  const Tensor later = ramp(7);
  copy_contents(later, pinned);  // what a replay reads is what is there then
  gpu_.replay(compute_, *work);
  expect_ramp(there, 7);
}

TEST_F(AcceleratorTest, ADeviceIsStartedOnceAndOthersAreRefusedByNumber) {
  EXPECT_EQ(&start_accelerator(0), &gpu_);
  EXPECT_EQ(&accelerator_of(gpu_.device()), &gpu_);
  EXPECT_NE(gpu_.description().find(" GB"), std::string::npos) << gpu_.description();
  const std::string count = std::to_string(cuda_report().gpus.size());
  try {
    start_accelerator(63);
    FAIL() << "63 is there";
  } catch (const EnvironmentError& error) {
    EXPECT_NE(std::string(error.what()).find("GPU 63 is asked for, and this process sees " + count), std::string::npos) << error.what();
  }
}

TEST_F(AcceleratorTest, AnyThreadMayLaunchOnAnyDevice) {  // a thread starts with device 0
  const int last = static_cast<int>(cuda_report().gpus.size()) - 1;
  Accelerator& accelerator = start_accelerator(last);
  const std::unique_ptr<Kernels> kernels = make_cuda_kernels({.device = last});
  start_accelerator(0);
  Tensor result;
  std::thread([&] {
    Tensor x = to_device(ramp(-5), accelerator.device());
    kernels->relu_forward({}, x, x);
    result = to_host(x);
  }).join();
  EXPECT_EQ(result.host<float>()[0], 0);
  EXPECT_EQ(result.host<float>()[7], 2);
}

}  // namespace
}  // namespace lockstep
