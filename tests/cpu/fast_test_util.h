// What the fast backend's tests share: one fixture per instruction set, random tensors, and the comparison with the f64
// reference within a bound computed from the number of roundings.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "cpu/fast/fast_kernels.h"
#include "cpu/fast/simd_dispatch.h"
#include "cpu/reference/reference_kernels.h"
#include "tests/tolerance.h"

namespace lockstep {

inline const Stream kStream{};

constexpr DType kActivationTypes[] = {DType::kF32, DType::kBF16};

// Element i of an f32, bf16 or f64 tensor, exactly.
inline double value_of(const Tensor& tensor, std::size_t i) {
  if (tensor.dtype() == DType::kF64) return tensor.host<double>()[i];
  return tensor.dtype() == DType::kBF16 ? static_cast<float>(tensor.host<bf16>()[i]) : tensor.host<float>()[i];
}
inline void set_value(Tensor& tensor, std::size_t i, float value) {
  if (tensor.dtype() == DType::kBF16)
    tensor.host<bf16>()[i] = bf16(value);
  else
    tensor.host<float>()[i] = value;
}

inline Tensor random_tensor(const Shape& shape, std::uint64_t id, float low = -1, float high = 1, DType dtype = DType::kF32) {
  Tensor tensor = Tensor::empty(shape, dtype);
  RandomStream random({.seed = 11, .b = id});
  for (std::size_t i = 0; i < static_cast<std::size_t>(tensor.numel()); ++i) set_value(tensor, i, random.uniform(low, high));
  return tensor;
}

inline Tensor map_f64(const Tensor& tensor, const std::function<double(double)>& f) {
  Tensor result = Tensor::empty(tensor.shape(), DType::kF64);
  for (std::size_t i = 0; i < result.host<double>().size(); ++i) result.host<double>()[i] = f(value_of(tensor, i));
  return result;
}
inline Tensor widened(const Tensor& tensor) { return map_f64(tensor, [](double x) { return x; }); }
inline Tensor magnitudes(const Tensor& tensor) { return map_f64(tensor, [](double x) { return std::fabs(x); }); }
inline Tensor filled(const Shape& shape, float value, DType dtype = DType::kF32) { return random_tensor(shape, 0, value, value, dtype); }

// What a result of `dtype` may differ by: `length` roundings in f32 and, for bf16, one more of the result.
inline double result_bound(DType dtype, std::int64_t length, double magnitude, double want) {
  const double computed = error_bound(DType::kF32, length, magnitude);
  return dtype == DType::kBF16 ? computed + error_bound(DType::kBF16, 0, std::fabs(want) + computed) : computed;
}

// got (f32 or bf16) against want (f64), each element within result_bound(length, magnitude of that element).
inline void expect_close(const std::string& what, const Tensor& got, const Tensor& want, const Tensor& magnitude, std::int64_t length) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const auto w = want.host<double>(), m = magnitude.host<double>();
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double bound = result_bound(got.dtype(), length, m[i], w[i]);
    ASSERT_TRUE(within(value_of(got, i), w[i], bound)) << what << " " << dtype_name(got.dtype()) << ": element " << i << " of "
                                                       << got.shape().str() << ": got " << value_of(got, i) << ", want " << w[i]
                                                       << ", bound " << bound;
  }
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.ptr(), b.ptr(), a.nbytes()) == 0;
}

// Sets LOCKSTEP_SIMD for a scope.
class SimdSetting {
 public:
  explicit SimdSetting(std::string_view isa) {
    const char* old = std::getenv("LOCKSTEP_SIMD");
    had_ = old != nullptr;
    if (had_) old_ = old;
    setenv("LOCKSTEP_SIMD", std::string(isa).c_str(), 1);
  }
  ~SimdSetting() { had_ ? setenv("LOCKSTEP_SIMD", old_.c_str(), 1) : unsetenv("LOCKSTEP_SIMD"); }
  SimdSetting(const SimdSetting&) = delete;
  SimdSetting& operator=(const SimdSetting&) = delete;

 private:
  bool had_ = false;
  std::string old_;
};

// ThreadSanitizer does not see libgomp's barriers: under it, "two threads" are one.
#if defined(__SANITIZE_THREAD__)
constexpr int kManyThreads = 1;
#else
constexpr int kManyThreads = 2;
#endif

// The fast backend with one instruction set and one thread, the same with two and three threads, and the reference.
class FastBackend : public ::testing::TestWithParam<std::string_view> {
 protected:
  FastBackend() {
    const SimdSetting setting(GetParam());
    fast_ = make_fast_kernels(1);
    two_threads_ = make_fast_kernels(kManyThreads);
    three_threads_ = make_fast_kernels(kManyThreads == 1 ? 1 : 3);
  }

  // Runs `call` on a fresh copy of `output` several times: the bits must never change, not with two or three threads either, and
  // repetitions must take nothing from the system. Returns the result.
  Tensor run(const Tensor& output, const std::function<void(Kernels&, Tensor&)>& call, bool any_thread_count = true) {
    Tensor first = output.clone(), second = output.clone(), third = output.clone();
    call(*fast_, first);
    const auto allocations = cpu_pool().stats().system_allocations;
    call(*fast_, second);
    EXPECT_EQ(cpu_pool().stats().system_allocations, allocations) << "a warm call took memory from the system";
    EXPECT_TRUE(same_bits(first, second)) << "two calls differ";
    call(*two_threads_, third);
    Tensor fourth = output.clone();
    call(*two_threads_, fourth);
    EXPECT_TRUE(same_bits(third, fourth)) << "two calls with two threads differ";
    EXPECT_TRUE(!any_thread_count || same_bits(first, third)) << "one thread and two threads differ";
    Tensor fifth = output.clone();
    if (any_thread_count) call(*three_threads_, fifth);
    EXPECT_TRUE(!any_thread_count || same_bits(first, fifth)) << "one thread and three threads differ";
    return first;
  }

  std::unique_ptr<Kernels> fast_, two_threads_, three_threads_, reference_ = make_reference_kernels();
};

inline std::string simd_name(const ::testing::TestParamInfo<std::string_view>& info) { return std::string(info.param); }

}  // namespace lockstep
