// The gradient check: what the tape computes against differences of the forward pass, in f64.
//
// With f(x) = sum u_i y_i(x) (u random) and D(h) = (f(x + h d) - f(x - h d)) / 2h, Richardson's R(h) = (4 D(h) - D(2h)) / 3 is the
// derivative along d but for a truncation error c h^4 + O(h^6) and the rounding of f.
// Tolerance = |R(h) - R(2h)|, which is 15 times the truncation error and contains rounding errors of its own,
//           + (5/3) B / h, as R(h) weighs values of f by at most (4/2 + 4/2 + 1/4 + 1/4) / 3 < 5/3 in units of 1/h.
// B bounds the rounding of f by error_bound (tests/tolerance.h): as many roundings as there are input elements, magnitude
// sum |u_i| |y_i|(|x|) (for a multilinear op the op on absolute values is the sum of the absolute terms) times 1 + max |x|
// (what a subtraction such as x - mean can amplify). x and d lie on a grid on which x +- 4 h d are exact.
// A check whose tolerance is too wide to see anything fails.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/ops/sample_values.h"

namespace lockstep {

constexpr double kStep = 0x1p-13;  // h; 4 h times the samples' slopes stays below kKinkMargin
constexpr double kWidestTolerance = 1e-5;  // times max(1, |derivative|); PyTorch's gradcheck allows 1e-5 + 1e-3 |derivative|
constexpr std::int64_t kAllElementsUpTo = 256;  // inputs of at most this many elements are checked element by element too

// One derivative by differences.
struct Difference {
  std::size_t input;               // index into the sample's inputs
  std::string direction;           // "random 0", "element 17"
  std::vector<double> components;  // of d
  double value, tolerance;
};

struct Differences {
  Tensor seed;  // u
  std::vector<Difference> all;
};

// The op itself, or the sum of two calls on the same inputs: gradients must then accumulate.
enum class CallMode : std::uint8_t { kOnce, kTwice };
SampleRun call_mode(const OpSample& sample, CallMode mode);

Differences differences(Kernels& kernels, const OpSample& sample, const SampleRun& run, const SampleData& data);

// Empty if all gradients agree; else one line for each of the first few that do not, with everything compared.
std::string compare_gradients(const OpSample& sample, const std::vector<Tensor>& gradients, const Differences& wanted);

}  // namespace lockstep
