// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/gradient_check.h"

#include <fmt/format.h>

#include "ops/add.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

class Forward {
 public:
  Forward(Kernels& kernels, const OpSample& sample, const SampleRun& run) : kernels_(kernels), sample_(sample), run_(run) {}

  Tensor output(const SampleData& data) const {
    Context ctx = sample_context(kernels_, sample_, nullptr);
    return run_(ctx, bind_values(sample_, data, nullptr)).value;
  }

  double dot(const Tensor& seed, const SampleData& data) const {
    const Tensor y = output(data);
    long double sum = 0;  // the check's own sum adds no rounding to speak of
    for (std::size_t i = 0; i < y.host<double>().size(); ++i)
      sum += static_cast<long double>(seed.host<double>()[i]) * static_cast<long double>(y.host<double>()[i]);
    return static_cast<double>(sum);
  }

 private:
  Kernels& kernels_;
  const OpSample& sample_;
  const SampleRun& run_;
};

// B in the header's words.
double rounding_bound(const Forward& forward, const SampleData& data, const Tensor& seed) {
  SampleData absolute;
  double largest = 0;
  std::int64_t elements = 0;
  for (std::size_t i = 0; i < data.size(); ++i) {
    absolute.push_back(data[i].clone());
    if (!is_floating(data[i].dtype())) continue;
    elements += data[i].numel();
    for (double& value : absolute.back().host<double>()) {
      value = std::fabs(value);
      largest = std::max(largest, value);
    }
  }
  const Tensor y = forward.output(data), y_absolute = forward.output(absolute);
  double magnitude = 0;
  for (std::int64_t i = 0; i < y.numel(); ++i)
    magnitude += std::fabs(get_value(seed, i)) * std::max(std::fabs(get_value(y, i)), std::fabs(get_value(y_absolute, i)));
  return error_bound(DType::kF64, elements, magnitude * (1 + largest));
}

Difference difference(const Forward& forward, const SampleData& data, const Tensor& seed, std::size_t input,
                      std::string name, std::vector<double> components, double rounding) {
  SampleData moved = data;
  moved[input] = data[input].clone();
  const auto f = [&](double step) {
    for (std::size_t i = 0; i < components.size(); ++i)
      moved[input].host<double>()[i] = data[input].host<double>()[i] + step * components[i];
    return forward.dot(seed, moved);
  };
  const auto central = [&](double h) { return (f(h) - f(-h)) / (2 * h); };
  const double d1 = central(kStep), d2 = central(2 * kStep), d4 = central(4 * kStep);
  const double fine = (4 * d1 - d2) / 3, coarse = (4 * d2 - d4) / 3;
  return {input, std::move(name), std::move(components), fine, std::fabs(fine - coarse) + 5.0 / 3.0 * rounding / kStep};
}

std::vector<double> random_direction(std::int64_t numel, std::uint64_t seed) {
  RandomStream stream({.seed = seed, .purpose = RandomPurpose::kTest, .a = 2});
  std::vector<double> d(static_cast<std::size_t>(numel));
  double square = 0;
  for (double& component : d) {
    component = static_cast<double>(stream.normal());
    square += component * component;
  }
  for (double& component : d) component = on_grid(component / std::sqrt(square), 20);
  return d;
}

}  // namespace

SampleRun call_mode(const OpSample& sample, CallMode mode) {
  if (mode == CallMode::kOnce) return sample.run;
  return [run = sample.run](Context& ctx, const SampleValues& in) {
    const Var first = run(ctx, in);
    const Var second = run(ctx, in);
    return add(ctx, first, second);
  };
}

Differences differences(Kernels& kernels, const OpSample& sample, const SampleRun& run, const SampleData& data) {
  const Forward forward(kernels, sample, run);
  const Tensor seed = random_tensor(forward.output(data).shape(), DType::kF64, 99, 0.25, 1.0);
  Differences result{seed, {}};
  for (std::int64_t i = 1; i < seed.numel(); i += 2) set_value(result.seed, i, -get_value(seed, i));
  const double rounding = rounding_bound(forward, data, seed);
  for (std::size_t i = 0; i < data.size(); ++i) {
    if (!is_differentiable(sample.inputs[i])) continue;
    const std::int64_t numel = data[i].numel();
    const auto check = [&](std::string name, std::vector<double> d) {
      result.all.push_back(difference(forward, data, result.seed, i, std::move(name), std::move(d), rounding));
    };
    for (std::uint64_t k = 0; k < 3; ++k) check(fmt::format("random {}", k), random_direction(numel, k));
    for (std::int64_t e = 0; numel <= kAllElementsUpTo && e < numel; ++e) {
      std::vector<double> unit(static_cast<std::size_t>(numel));
      unit[static_cast<std::size_t>(e)] = 1;
      check(fmt::format("element {}", e), std::move(unit));
    }
  }
  return result;
}

std::string compare_gradients(const OpSample& sample, const std::vector<Tensor>& gradients, const Differences& wanted) {
  std::string report;
  int failures = 0;
  for (const Difference& want : wanted.all) {
    const auto gradient = gradients[want.input].host<double>();
    double got = 0, magnitude = 0;
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      got += gradient[i] * want.components[i];
      magnitude += std::fabs(gradient[i] * want.components[i]);
    }
    const double tolerance = want.tolerance + error_bound(DType::kF64, std::ssize(gradient), magnitude);
    const bool blind = want.tolerance > kWidestTolerance * std::max(1.0, std::fabs(want.value));
    if (within(got, want.value, tolerance) && !blind) continue;
    if (++failures <= 5)
      report += fmt::format("  {}, direction {}: tape {:.15g}, differences {:.15g}, off by {:.3g}, tolerance {:.3g}, h {:.3g}{}\n",
                            sample.inputs[want.input].name, want.direction, got, want.value, std::fabs(got - want.value),
                            tolerance, kStep, blind ? " (tolerance too wide to tell anything)" : "");
  }
  if (failures > 5) report += fmt::format("  ... {} of {} directions\n", failures, wanted.all.size());
  return report;
}

}  // namespace lockstep
