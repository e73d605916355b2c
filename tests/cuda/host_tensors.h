// Tensors on the host for the tests of device kernels: made at random in any floating dtype, copied to the device (also to addresses
// that fit no 16-byte access), widened to f64 for the reference, and compared with it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "tests/cuda/device_test_util.h"
#include "tests/tolerance.h"

namespace lockstep::host_tensors {

constexpr DType kActivationTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
constexpr GradMode kModes[] = {GradMode::kOverwrite, GradMode::kAccumulate};

// Element i of a floating tensor, exactly.
inline double value_of(const Tensor& tensor, std::size_t i) {
  switch (tensor.dtype()) {
    case DType::kF64: return tensor.host<double>()[i];
    case DType::kF32: return static_cast<double>(tensor.host<float>()[i]);
    case DType::kBF16: return static_cast<double>(static_cast<float>(tensor.host<bf16>()[i]));
    default: return static_cast<double>(static_cast<float>(tensor.host<f16>()[i]));
  }
}
inline void set_value(Tensor& tensor, std::size_t i, double value) {
  switch (tensor.dtype()) {
    case DType::kF64: tensor.host<double>()[i] = value; break;
    case DType::kF32: tensor.host<float>()[i] = static_cast<float>(value); break;
    case DType::kBF16: tensor.host<bf16>()[i] = bf16(static_cast<float>(value)); break;
    default: tensor.host<f16>()[i] = f16(static_cast<float>(value));
  }
}
inline std::size_t size_of(const Tensor& tensor) { return static_cast<std::size_t>(tensor.numel()); }

inline Tensor random_host(const Shape& shape, std::uint64_t id, DType dtype = DType::kF32, float low = -1, float high = 1) {
  Tensor tensor = Tensor::empty(shape, dtype);
  RandomStream random({.seed = 23, .b = id});
  for (std::size_t i = 0; i < size_of(tensor); ++i) set_value(tensor, i, static_cast<double>(random.uniform(low, high)));
  return tensor;
}
inline Tensor filled(const Shape& shape, double value, DType dtype = DType::kF32) {
  Tensor tensor = Tensor::empty(shape, dtype);
  for (std::size_t i = 0; i < size_of(tensor); ++i) set_value(tensor, i, value);
  return tensor;
}

inline Tensor map_f64(const Tensor& tensor, const std::function<double(double)>& f) {
  Tensor result = Tensor::empty(tensor.shape(), DType::kF64);
  for (std::size_t i = 0; i < size_of(tensor); ++i) result.host<double>()[i] = f(value_of(tensor, i));
  return result;
}
inline Tensor widened(const Tensor& tensor) { return map_f64(tensor, [](double x) { return x; }); }
inline Tensor magnitudes(const Tensor& tensor) { return map_f64(tensor, [](double x) { return std::fabs(x); }); }

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.ptr(), b.ptr(), a.nbytes()) == 0;
}

// Where a tensor lies on the device: at its pool's alignment, or one element further.
enum class Place : std::uint8_t { kAligned, kShifted };
constexpr Place kPlaces[] = {Place::kAligned, Place::kShifted};
inline Tensor on_gpu_at(const Tensor& host, Place place) {
  if (place == Place::kAligned) return on_gpu(host);
  Tensor memory = empty_on_gpu({host.numel() + 1}, host.dtype());
  Tensor shifted = memory.view(host.shape(), host.dtype(), dtype_size(host.dtype()));
  copy_contents(host, shifted);
  return shifted;
}

// What a result of `dtype` may differ by: `length` roundings in f32 and, for 16 bits, one more of the result.
inline double result_bound(DType dtype, std::int64_t length, double magnitude, double want) {
  const double computed = error_bound(DType::kF32, length, magnitude);
  return dtype == DType::kF32 ? computed : computed + error_bound(dtype, 0, std::fabs(want) + computed);
}

// got (host) against want (f64), each element within result_bound(length, that element's magnitude).
inline void expect_close(const std::string& what, const Tensor& got, const Tensor& want, const Tensor& magnitude, std::int64_t length) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  for (std::size_t i = 0; i < size_of(got); ++i) {
    const double w = want.host<double>()[i], bound = result_bound(got.dtype(), length, magnitude.host<double>()[i], w);
    ASSERT_TRUE(within(value_of(got, i), w, bound)) << what << " " << dtype_name(got.dtype()) << ": element " << i << " of "
                                                    << got.shape().str() << ": got " << value_of(got, i) << ", want " << w << ", bound " << bound;
  }
}

// Runs `call` twice on fresh device copies of `start`: the bits must not change. Returns the result on the host.
inline Tensor run_twice(const Tensor& start, const std::function<void(Tensor&)>& call, Place place = Place::kAligned) {
  Tensor first = on_gpu_at(start, place), second = on_gpu_at(start, place);
  call(first);
  call(second);
  Tensor result = to_host(first);
  EXPECT_TRUE(same_bits(result, to_host(second))) << "two calls differ";
  return result;
}

template <class ErrorType>
std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const ErrorType& error) {
    return error.what();
  }
  return "";
}

}  // namespace lockstep::host_tensors
