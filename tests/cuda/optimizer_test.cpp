// The optimizer on the device: SGD, norms, running statistics, and the arithmetic of its tables.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/optimizer.h"

#include "cpu/reference/reference_kernels.h"
#include "cuda/kernels/optimizer_table.h"
#include "tests/cuda/optimizer_test_util.h"

namespace lockstep {
namespace {

using namespace host_tensors;

TEST(OptimizerTable, ChunksFollowEachOtherTensorByTensor) {
  constexpr std::int64_t kChunk = cuda::kChunkElements;
  std::vector<cuda::TensorEntry> entries(6);
  const std::int64_t numels[] = {1, kChunk, kChunk + 1, 0, 3 * kChunk - 1, 64}, first[] = {0, 1, 2, 4, 4, 7};
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i].numel = numels[i];
  const std::vector<std::int32_t> owners = cuda::place_chunks(std::span(entries));
  EXPECT_EQ(owners, (std::vector<std::int32_t>{0, 1, 2, 2, 4, 4, 4, 5}));
  for (std::size_t i = 0; i < entries.size(); ++i) EXPECT_EQ(entries[i].first_chunk, first[i]) << i;
  // Every element of every tensor lies in exactly one chunk.
  std::vector<std::int64_t> covered(entries.size(), 0);
  for (std::size_t chunk = 0; chunk < owners.size(); ++chunk) {
    const auto owner = static_cast<std::size_t>(owners[chunk]);
    const std::int64_t begin = (static_cast<std::int64_t>(chunk) - entries[owner].first_chunk) * kChunk;
    EXPECT_EQ(begin, covered[owner]);
    covered[owner] += std::min(kChunk, numels[owner] - begin);
  }
  for (std::size_t i = 0; i < entries.size(); ++i) EXPECT_EQ(covered[i], numels[i]) << i;
  EXPECT_TRUE(cuda::place_chunks(std::span<cuda::TensorEntry>()).empty());
}

class CudaOptimizer : public ::testing::Test {
 protected:
  cuda::DeviceOptimizer optimizer_{gpu()};
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
  const Stream stream_ = gpu_stream();
};

TEST_F(CudaOptimizer, SgdStepIsTheReferences) {
  for (const Place place : kPlaces)
    for (const bool nesterov : {false, true})
      for (const DType copies : {DType::kF32, DType::kBF16, DType::kF16}) {
        Model model(place, copies), again(place, copies);
        const SgdParams params{.momentum = 0.9, .nesterov = nesterov, .grad_scale = 0.5};
        for (Model* each : {&model, &again}) optimizer_.sgd_step(stream_, each->on_device(0.3), params);
        reference_->sgd_step({}, model.wide(0.3), params);
        model.expect_close_to_wide(1);
        model.expect_same_bits_as(again);
        model.expect_copies_are_rounded_values();
      }
}

// The rates of eager training change at every step: they are no part of the tables, and nothing is uploaded again.
TEST_F(CudaOptimizer, ARepeatedCallIsNothingButItsKernels) {
  Model model(Place::kAligned, DType::kF16);
  Tensor result = empty_on_gpu({1}, DType::kF64);
  std::vector<ConstView> gradients;
  for (const SgdTensor& tensor : model.on_device()) gradients.push_back(tensor.grad);
  for (const double lr : {0.1, 0.2}) optimizer_.sgd_step(stream_, model.on_device(lr), {});
  optimizer_.squared_norm(stream_, gradients, result);
  test_accelerator().synchronize(stream_);
  test_accelerator().begin_recording(stream_);
  optimizer_.sgd_step(stream_, model.on_device(0.3), {});
  optimizer_.squared_norm(stream_, gradients, result);
  EXPECT_EQ(test_accelerator().end_recording(stream_)->node_count(), 3u);
}

// More tensors than rates fit one launch's arguments.
TEST_F(CudaOptimizer, ManyTensorsKeepTheirOwnRates) {
  constexpr std::size_t kTensors = 1100;
  std::vector<Tensor> values, momenta, grads;
  std::vector<SgdTensor> work;
  for (std::size_t i = 0; i < kTensors; ++i) {
    values.push_back(on_gpu(filled({3}, 1)));
    momenta.push_back(on_gpu(filled({3}, 0)));
    grads.push_back(on_gpu(filled({3}, 1)));
    work.push_back({values[i], momenta[i], {}, grads[i], 0, static_cast<double>(i)});
  }
  optimizer_.sgd_step(stream_, work, {.momentum = 0});
  for (std::size_t i = 0; i < kTensors; ++i) ASSERT_EQ(value_of(to_host(values[i]), 2), 1 - static_cast<double>(i)) << i;
}

TEST_F(CudaOptimizer, SquaredNormInDouble) {
  for (const Place place : kPlaces) {
    const Tensor a = random_host({70001}, 1, DType::kF32, -3, 3), b = random_host({5}, 2), ga = on_gpu_at(a, place), gb = on_gpu_at(b, place);
    const std::vector<ConstView> all{ga, gb};
    const Tensor got = run_twice(filled({1}, 7, DType::kF64), [&](Tensor& out) { optimizer_.squared_norm(stream_, all, out); });
    const Tensor a64 = widened(a), b64 = widened(b);
    Tensor want = Tensor::zeros({1}, DType::kF64);
    reference_->squared_norm({}, std::vector<ConstView>{a64, b64}, want);
    const double sum = value_of(want, 0);
    EXPECT_TRUE(within(value_of(got, 0), sum, 2 * error_bound(DType::kF64, 70006, sum))) << value_of(got, 0) << " " << sum;
    for (const std::size_t at : {0u, 40u, 16384u, 70000u}) {
      Tensor bad = a.clone();
      set_value(bad, at, INFINITY);
      const Tensor gbad = on_gpu_at(bad, place);
      Tensor result = empty_on_gpu({1}, DType::kF64);
      optimizer_.squared_norm(stream_, std::vector<ConstView>{gbad, gb}, result);
      EXPECT_FALSE(std::isfinite(value_of(to_host(result), 0))) << at;
    }
  }
  Tensor none = on_gpu(filled({1}, 7, DType::kF64));
  optimizer_.squared_norm(stream_, {}, none);
  EXPECT_EQ(value_of(to_host(none), 0), 0);
}

TEST_F(CudaOptimizer, SquaresThatF32CannotHoldCount) {
  const Tensor huge = on_gpu(filled({3}, 1e30));
  Tensor result = empty_on_gpu({1}, DType::kF64);
  optimizer_.squared_norm(stream_, std::vector<ConstView>{huge}, result);
  EXPECT_TRUE(within(value_of(to_host(result), 0), 3e60, 3e60 * 0x1p-22));
}

TEST_F(CudaOptimizer, MovingAverage) {
  for (const Place place : kPlaces)
    for (const Shape& shape : {Shape{1}, Shape{37}}) {
      const Tensor observed = random_host(shape, 1), start = random_host(shape, 2), input = on_gpu_at(observed, place);
      const Tensor value = run_twice(start, [&](Tensor& out) { optimizer_.moving_average(stream_, input, 0.1, out); }, place);
      Tensor want = widened(start);
      reference_->moving_average({}, widened(observed), 0.1, want);
      expect_close("moving average", value, want, map_f64(value, [](double) { return 1.0; }), 4);
    }
}

// All in one launch, with the bits of one by one; none after a step that was not finite; another momentum needs no other table.
TEST_F(CudaOptimizer, MovingAverages) {
  const std::vector<Shape> shapes{{1}, {37}, {40001}, {16384}};
  std::vector<Tensor> together, alone, observed;
  std::vector<AverageTensor> list;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const Place place = i % 2 == 0 ? Place::kAligned : Place::kShifted;
    const Tensor start = random_host(shapes[i], i);
    observed.push_back(on_gpu_at(random_host(shapes[i], 50 + i), place));
    together.push_back(on_gpu_at(start, place)), alone.push_back(on_gpu_at(start, place));
    list.push_back({together[i], observed[i]});
  }
  const auto control_of = [](std::uint64_t finite) {
    const StepControl control{.finite = finite};
    Tensor on_host = Tensor::empty({sizeof control}, DType::kU8);
    std::memcpy(on_host.ptr(), &control, sizeof control);
    return on_gpu(on_host);
  };
  const Tensor good = control_of(1), bad = control_of(0);
  for (const double momentum : {0.1, 0.7}) {
    optimizer_.moving_averages(stream_, list, momentum, good);
    optimizer_.moving_averages(stream_, list, 0.5, bad);  // changes nothing
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      optimizer_.moving_average(stream_, observed[i], momentum, alone[i]);
      EXPECT_TRUE(same_bits(to_host(together[i]), to_host(alone[i]))) << i;
    }
  }
  optimizer_.moving_averages(stream_, list, 0.1, {});
  EXPECT_FALSE(same_bits(to_host(together[1]), to_host(alone[1]))) << "without a control it always averages";
}

TEST_F(CudaOptimizer, OtherDtypesThrowByName) {
  const Tensor x = empty_on_gpu({4}, DType::kF64);
  Tensor result = empty_on_gpu({1}, DType::kF64);
  const std::string message = message_of<EnvironmentError>([&] { optimizer_.squared_norm(stream_, std::vector<ConstView>{x}, result); });
  EXPECT_NE(message.find("squared_norm can't take f64"), std::string::npos) << message;
}

}  // namespace
}  // namespace lockstep
