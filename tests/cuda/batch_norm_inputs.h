// What the tests of batch norm on the device share: shapes, random inputs on the host and on the device, the same widened.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cpu/reference/reference_kernels.h"
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/channel_tiles.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep {

using namespace host_tensors;

// Channels below, at and above a unit of 8 and a tile of 128, odd ones, single elements, more rows than one block holds.
inline std::vector<Shape> norm_shapes() {
  return {{1, 1, 1, 2},  {2, 3, 5, 7},    {1, 8, 1, 1},    {1, 16, 1, 3},  {4, 16, 9, 9},  {2, 17, 6, 5}, {3, 24, 7, 7},
          {2, 64, 8, 8}, {1, 100, 13, 3}, {2, 136, 3, 3},  {1, 2048, 3, 2}, {5, 1, 31, 33}, {3, 8, 33, 31}};
}
inline std::int64_t per_channel(const Shape& s) { return s[0] * s[2] * s[3]; }
inline std::size_t channel(const Shape& s, std::size_t i) { return i % static_cast<std::size_t>(s[1]); }

// The rows that one thread of a sum adds up, at most.
inline std::int64_t thread_rows(const Shape& s, Place place) {
  const int width = s[1] % 8 == 0 && place == Place::kAligned ? 8 : 1;
  return cuda::reduction_tiles(per_channel(s), s[1], width, 4).groups_of_block(0);
}

// Everything that batch norm reads, on the host.
struct NormInputs {
  NormInputs(const Shape& s, DType dtype)
      : x(random_host(s, 1, dtype, -2, 4)), dy(random_host(s, 2, dtype)), residual(random_host(s, 3, dtype)),
        mean(random_host({s[1]}, 4, DType::kF32, 0, 2)), inv_std(random_host({s[1]}, 5, DType::kF32, 0.3f, 2)), gamma(random_host({s[1]}, 6)),
        beta(random_host({s[1]}, 7)), sum_g(random_host({s[1]}, 8, DType::kF32, -9, 9)),
        sum_g_xhat(random_host({s[1]}, 9, DType::kF32, -9, 9)), mask(Tensor::empty({(s.numel() + 7) / 8}, DType::kU8)) {
    RandomStream random({.seed = 3});
    for (auto& byte : mask.host<std::uint8_t>()) byte = static_cast<std::uint8_t>(random.bits());
  }
  NormInputs(const NormInputs& in, const std::function<Tensor(const Tensor&)>& each)
      : x(each(in.x)), dy(each(in.dy)), residual(each(in.residual)), mean(each(in.mean)), inv_std(each(in.inv_std)), gamma(each(in.gamma)),
        beta(each(in.beta)), sum_g(each(in.sum_g)), sum_g_xhat(each(in.sum_g_xhat)), mask(in.mask) {}

  NormInputs widened() const {
    return {*this, [](const Tensor& t) { return host_tensors::widened(t); }};
  }
  NormInputs device(Place place) const {
    NormInputs result(*this, [place](const Tensor& t) { return on_gpu_at(t, place); });
    result.mask = on_gpu(mask);
    return result;
  }

  NormVectors norm() const { return {mean, inv_std, gamma, beta}; }
  bool bit(std::size_t i) const { return (mask.host<std::uint8_t>()[i / 8] >> (i % 8)) & 1; }
  double g(std::size_t i, bool masked) const { return masked && !bit(i) ? 0.0 : value_of(dy, i); }
  double at(const Tensor& vector, std::size_t i) const { return vector.host<float>()[channel(x.shape(), i)]; }
  double centred(std::size_t i) const { return value_of(x, i) - at(mean, i); }

  Tensor x, dy, residual, mean, inv_std, gamma, beta, sum_g, sum_g_xhat, mask;
};

class CudaBatchNorm : public ::testing::Test {
 protected:
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
  const Stream stream_ = gpu_stream();
};

}  // namespace lockstep
