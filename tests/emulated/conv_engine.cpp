// SPDX-License-Identifier: Apache-2.0
#include "tests/emulated/conv_engine.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "core/error.h"
#include "cpu/reference/reference_kernels.h"
#include "cuda/launch.h"
#include "cuda/numeric.h"

namespace lockstep::cuda {
namespace emulated {
namespace {

std::atomic<bool> fused_patterns{true};

}  // namespace

void set_fused_patterns(bool offered) { fused_patterns = offered; }

namespace {

// Round to nearest even with 10 bits of mantissa, as tensor cores read f32.
float to_tf32(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::isfinite(value) ? std::bit_cast<float>((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu) : value;
}

// One run of one problem, on copies in f64: sums are exact here, results are rounded once. What cuDNN does besides is
// rounding.
class Computation {
 public:
  Computation(const ConvProblem& problem, const ConvArguments& arguments) : problem_(problem), in_(arguments), y_(output_shape(problem)) {}

  void run() {
    switch (problem_.pattern) {
      case ConvPattern::kForward: return put(forward(read(in_.x, problem_.x)));
      case ConvPattern::kForwardSums: return put_with_sums(forward(read(in_.x, problem_.x)));
      case ConvPattern::kNormForwardSums: return put_with_sums(forward(normalised()));
      case ConvPattern::kBackwardData: return put(backward_data());
      case ConvPattern::kBackwardDataAdd: return add_backward_data();
      case ConvPattern::kNormBackwardData: return norm_backward_data();
      case ConvPattern::kBackwardFilter: return put(backward_filter(read(in_.x, problem_.x)));
      case ConvPattern::kNormBackwardFilter: return put(backward_filter(normalised()));
    }
  }

 private:
  Tensor read_exactly(const void* from, const Shape& shape) const {
    Tensor wide = Tensor::empty(shape, DType::kF64);
    with_element_type(problem_.dtype, "a convolution", [&]<class T>(T) {
      std::size_t i = 0;
      for (double& value : wide.host<double>()) value = static_cast<double>(to_float(static_cast<const T*>(from)[i++]));
    });
    return wide;
  }
  Tensor read(const void* from, const Shape& shape) const {
    Tensor wide = read_exactly(from, shape);
    if (problem_.dtype == DType::kF32 && problem_.tf32)
      for (double& value : wide.host<double>()) value = static_cast<double>(to_tf32(static_cast<float>(value)));
    return wide;
  }
  float rounded(double value) const {
    float result = static_cast<float>(value);
    with_element_type(problem_.dtype, "a convolution", [&]<class T>(T) { result = to_float(from_float<T>(result)); });
    return result;
  }
  void put(const Tensor& wide) const {
    with_element_type(problem_.dtype, "a convolution", [&]<class T>(T) {
      T* out = static_cast<T*>(in_.out);
      for (const double value : wide.host<double>()) *out++ = from_float<T>(static_cast<float>(value));
    });
  }
  static double at(const void* vector, std::size_t channel) { return static_cast<const float*>(vector)[channel]; }

  Tensor normalised() const {
    Tensor z = read(in_.x, problem_.x);
    const Tensor scale = read(in_.scale, {problem_.x[1]}), bias = read(in_.bias, {problem_.x[1]});
    const auto channels = static_cast<std::size_t>(problem_.x[1]);
    std::size_t i = 0;
    for (double& value : z.host<double>()) {
      const std::size_t c = i++ % channels;
      const float result = rounded(value * scale.host<double>()[c] + bias.host<double>()[c]);
      value = result <= 0 ? 0 : result;  // NaN stays NaN
    }
    return z;
  }
  Tensor forward(const Tensor& x) const {
    Tensor y = Tensor::empty(y_, DType::kF64);
    reference_->conv2d_forward({}, x, read(in_.w, problem_.w), {}, problem_.params, y);
    return y;
  }
  Tensor backward_data() const {
    Tensor dx = Tensor::empty(problem_.x, DType::kF64);
    reference_->conv2d_backward_data({}, read(in_.dy, y_), read(in_.w, problem_.w), problem_.params, dx, GradMode::kOverwrite);
    return dx;
  }
  void add_backward_data() const {
    Tensor sum = backward_data(), before = read_exactly(in_.out, problem_.x);
    std::size_t i = 0;
    for (double& value : sum.host<double>()) value += before.host<double>()[i++];
    put(sum);
  }
  Tensor backward_filter(const Tensor& x) const {
    Tensor dw = Tensor::empty(problem_.w, DType::kF64);
    reference_->conv2d_backward_filter({}, x, read(in_.dy, y_), problem_.params, dw, GradMode::kOverwrite);
    return dw;
  }

  // sum[c] and square_sum[c] of first(i) and second(i) over the elements of channel c.
  template <class First, class Second>
  void put_sums(const Tensor& over, First first, Second second) const {
    const auto channels = static_cast<std::size_t>(over.shape()[1]);
    for (std::size_t c = 0; c < channels; ++c) {
      double a = 0, b = 0;
      for (std::size_t i = c; i < over.host<double>().size(); i += channels) a += first(i), b += second(i);
      static_cast<float*>(in_.sum)[c] = static_cast<float>(a);
      static_cast<float*>(in_.square_sum)[c] = static_cast<float>(b);
    }
  }
  void put_with_sums(Tensor y) const {
    for (double& value : y.host<double>()) value = rounded(value);
    put(y);
    const auto values = y.host<double>();
    put_sums(y, [&](std::size_t i) { return values[i]; }, [&](std::size_t i) { return values[i] * values[i]; });
  }
  void norm_backward_data() const {
    Tensor dz = backward_data(), x = read(in_.x, problem_.x);
    const auto gradient = dz.host<double>(), value = x.host<double>();
    const auto channels = static_cast<std::size_t>(problem_.x[1]);
    const auto xhat = [&](std::size_t i) { return (value[i] - at(in_.mean, i % channels)) * at(in_.inv_std, i % channels); };
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      const double norm = xhat(i) * at(in_.gamma, i % channels) + at(in_.beta, i % channels);
      gradient[i] = norm <= 0 ? 0 : rounded(gradient[i]);
    }
    put(dz);
    put_sums(dz, [&](std::size_t i) { return gradient[i]; }, [&](std::size_t i) { return gradient[i] * xhat(i); });
  }

  const ConvProblem problem_;
  const ConvArguments in_;
  const Shape y_;
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
};

class EmulatedConvEngine final : public ConvEngine {
 public:
  bool supports(const ConvProblem& problem) override { return plans_on_sm90(problem) && (is_plain(problem.pattern) || fused_patterns); }
  // More than none, so that forgetting it shows.
  std::size_t workspace_bytes(const ConvProblem& problem) override {
    require(problem);
    return kWorkspace;
  }
  void run(Stream stream, const ConvProblem& problem, const ConvArguments& arguments, void* workspace) override {
    require(problem);
    for (const void* address : {arguments.x, arguments.w, arguments.dy, static_cast<const void*>(arguments.out)})
      LS_CHECK(reinterpret_cast<std::uintptr_t>(address) % 16 == 0, "an argument of " + describe(problem) + " is not 16-byte aligned");
    LS_CHECK(workspace != nullptr, "no workspace for " + describe(problem));
    seen_.insert(describe(problem));
    enqueue_work(stream, [problem, arguments, workspace] {
      std::memset(workspace, 0xff, kWorkspace);
      Computation(problem, arguments).run();
    });
  }
  std::map<std::string, std::string> choices() const override {
    std::map<std::string, std::string> result;
    for (const std::string& problem : seen_) result[problem] = kEngine;
    return result;
  }
  void use_choices(const std::map<std::string, std::string>& choices) override { wanted_ = choices; }

 private:
  static constexpr std::size_t kWorkspace = 512;
  static constexpr const char* kEngine = "emulated";

  void require(const ConvProblem& problem) {
    const std::string name = describe(problem);
    if (!supports(problem)) throw EnvironmentError("no plan for the convolution " + name + "\n  the emulated device has none");
    const auto wanted = wanted_.find(name);
    if (wanted != wanted_.end() && wanted->second != kEngine)
      throw EnvironmentError("the checkpoint's engine for " + name + " is not offered here: " + wanted->second);
  }

  std::set<std::string> seen_;
  std::map<std::string, std::string> wanted_;
};

}  // namespace
}  // namespace emulated

std::unique_ptr<ConvEngine> make_conv_engine(const CudaOptions&, Accelerator&) { return std::make_unique<emulated::EmulatedConvEngine>(); }

}  // namespace lockstep::cuda
