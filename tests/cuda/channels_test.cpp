// Kernels that know channels, on the device: copies, padding, biases, bytes to images.
// SPDX-License-Identifier: Apache-2.0
#include "core/mix_row.h"
#include "cpu/reference/reference_kernels.h"
#include "cuda/kernels/elementwise.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep {
namespace {

using namespace host_tensors;

class CudaChannels : public ::testing::Test {
 protected:
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
  const Stream stream_ = gpu_stream();
};

TEST_F(CudaChannels, CopiesOddAndPackedRanges) {
  struct Range {
    std::int64_t from, src_begin, to, dst_begin, count;
  };
  for (const Range& r : {Range{3, 0, 5, 2, 3}, Range{8, 0, 24, 8, 8}, Range{16, 8, 16, 0, 8}, Range{16, 4, 12, 8, 4}, Range{64, 0, 96, 32, 64},
                         Range{7, 6, 1, 0, 1}, Range{16, 1, 16, 8, 8}, Range{13, 0, 13, 0, 13}})
    for (const DType dtype : kActivationTypes)
      for (const Place place : kPlaces)
        for (const GradMode mode : kModes) {
          const Tensor src = random_host({2, r.from, 3, 5}, 1, dtype), start = random_host({2, r.to, 3, 5}, 2, dtype), input = on_gpu_at(src, place);
          const Tensor dst = run_twice(
              start, [&](Tensor& out) { cuda::copy_channels(stream_, input, r.src_begin, out, r.dst_begin, r.count, mode); }, place);
          Tensor want = widened(start);
          reference_->copy_channels({}, widened(src), r.src_begin, want, r.dst_begin, r.count, mode);
          expect_close("copy_channels", dst, want, magnitudes(want), 1);
        }
}

TEST_F(CudaChannels, PaddingIsZeroAndComesOffAgain) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const auto& [channels, padded] : std::vector<std::pair<int, int>>{{3, 8}, {3, 4}, {1, 8}, {5, 6}, {8, 16}, {3, 3}}) {
        const Tensor x = random_host({2, channels, 3, 7}, 1, dtype), input = on_gpu_at(x, place);
        const Tensor wide = run_twice(random_host({2, padded, 3, 7}, 2, dtype), [&](Tensor& out) { cuda::pad_channels(stream_, input, out); }, place);
        for (std::size_t i = 0; i < size_of(wide); ++i) {
          const std::size_t row = i / static_cast<std::size_t>(padded), c = i % static_cast<std::size_t>(padded);
          const double want = c < static_cast<std::size_t>(channels) ? value_of(x, row * static_cast<std::size_t>(channels) + c) : 0;
          ASSERT_EQ(value_of(wide, i), want) << i;
        }
        const Tensor padded_input = on_gpu_at(wide, place);
        for (const DType to : {dtype, DType::kF32})
          for (const GradMode mode : kModes) {
            const Tensor start = random_host(x.shape(), 3, to);
            const Tensor back = run_twice(start, [&](Tensor& out) { cuda::unpad_channels(stream_, padded_input, out, mode); }, place);
            Tensor want = widened(start);
            reference_->accumulate({}, widened(x), want, mode);
            expect_close("unpad", back, want, magnitudes(want), 1);
          }
      }
}

TEST_F(CudaChannels, BiasesAreAddedPerChannel) {
  for (const DType from : kActivationTypes)
    for (const DType to : kActivationTypes)
      for (const Place place : kPlaces)
        for (const Shape& shape : {Shape{3, 10}, Shape{2, 16, 3, 3}, Shape{5, 4}, Shape{1, 1}, Shape{2, 7, 2, 2}, Shape{0, 8}}) {
          const Tensor x = random_host(shape, 1, from), bias = random_host({shape[1]}, 2);
          const Tensor input = on_gpu_at(x, place), shift = on_gpu_at(bias, place);
          const Tensor y = run_twice(filled(shape, 3, to), [&](Tensor& out) { cuda::add_bias(stream_, input, shift, out); }, place);
          Tensor want = widened(x), size = magnitudes(x);
          for (std::size_t i = 0; i < size_of(x); ++i) {
            const double b = value_of(bias, i % static_cast<std::size_t>(shape[1]));  // rank 4 lies channels-last too
            want.host<double>()[i] += b;
            size.host<double>()[i] += std::fabs(b);
          }
          expect_close("add_bias", y, want, size, 1);
          if (from != to) continue;
          Tensor over = on_gpu_at(x, place);
          cuda::add_bias(stream_, shift, over);
          EXPECT_TRUE(same_bits(y, to_host(over)));
        }
}

TEST_F(CudaChannels, BytesBecomeNormalisedImages) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const Shape& shape : {Shape{3, 1, 28, 28}, Shape{2, 3, 33, 7}, Shape{1, 3, 1, 1}, Shape{2, 20, 4, 4}, Shape{0, 3, 4, 4}}) {
        Tensor x = Tensor::empty(shape, DType::kU8);
        RandomStream random({.seed = 5});
        for (auto& byte : x.host<std::uint8_t>()) byte = static_cast<std::uint8_t>(random.bits());
        std::vector<float> mean, inv_std;
        for (int c = 0; c < shape[1]; ++c) mean.push_back(random.uniform()), inv_std.push_back(random.uniform(1, 5));
        const Tensor input = on_gpu_at(x, place);
        const Tensor y = run_twice(filled(shape, 2, dtype), [&](Tensor& out) { cuda::normalise_image(stream_, input, mean, inv_std, out); }, place);
        Tensor want = widened(y), size = widened(y);
        reference_->normalise_image({}, x, mean, inv_std, want);
        for (std::size_t i = 0; i < size_of(y); ++i) {
          const std::size_t c = i % mean.size();
          size.host<double>()[i] = (x.host<std::uint8_t>()[i] / 255.0 + static_cast<double>(mean[c])) * static_cast<double>(inv_std[c]);
        }
        expect_close("normalise " + shape.str(), y, want, size, 3);
      }
}

TEST_F(CudaChannels, ImagesAreMixed) {
  for (const DType dtype : kActivationTypes)
    for (const Place place : kPlaces)
      for (const Shape& shape : {Shape{3, 3, 33, 7}, Shape{4, 3, 16, 16}, Shape{1, 3, 1, 1}, Shape{5, 1, 4, 2}, Shape{0, 3, 4, 4}}) {
        const Tensor x = random_host(shape, 1, dtype);
        Tensor mix = Tensor::zeros({shape[0], kMixRowWords}, DType::kI32);
        auto* rows = static_cast<MixRow*>(mix.ptr());
        const auto h = static_cast<std::int32_t>(shape[2]), w = static_cast<std::int32_t>(shape[3]);
        for (std::int32_t i = 0; i < shape[0]; ++i) {  // mixup, CutMix, unmixed
          rows[i] = {.partner = static_cast<std::int32_t>(shape[0]) - 1 - i, .weight = i % 3 == 2 ? 1.0f : 0.3f};
          if (i % 3 == 1) rows[i].top = h / 3, rows[i].left = w / 2, rows[i].height = h - h / 3, rows[i].width = 1;
        }
        const Tensor images = on_gpu_at(x, place), on_device = on_gpu(mix);
        const Tensor y = run_twice(filled(shape, 2, dtype), [&](Tensor& out) { cuda::mix_images(stream_, images, on_device, out); }, place);
        Tensor want = widened(y);
        reference_->mix_images({}, widened(x), mix, want);
        expect_close("mixed " + shape.str(), y, want, map_f64(y, [](double) { return 1.0; }), 2);
      }
}

TEST_F(CudaChannels, TooManyImageChannelsThrowByName) {
  const Tensor x = empty_on_gpu({1, 65, 1, 1}, DType::kU8);
  Tensor y = empty_on_gpu({1, 65, 1, 1}, DType::kF32);
  const std::vector<float> table(65, 1.0f);
  const std::string message = message_of<EnvironmentError>([&] { cuda::normalise_image(stream_, x, table, table, y); });
  EXPECT_NE(message.find("65 channels"), std::string::npos) << message;
}

}  // namespace
}  // namespace lockstep
