// Softmax cross-entropy: a block per sample (its logits are read three times, from the caches after the first, and its gradient is
// written once), then one block that adds the samples up in fixed order. Sums and powers are in double: there are few.
//
// A block's sums: each thread its elements, 16 threads 16 threads' sums each, everybody those 16.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/loss.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/mix_row.h"
#include "cuda/numeric.h"

namespace lockstep::cuda {
namespace {

constexpr int kThreads = 256, kGroups = 16;

struct SampleResult {
  double loss;
  std::int64_t rank;  // classes that come before the label's; -1: not counted
};
constexpr std::int64_t kNeverHits = std::numeric_limits<std::int64_t>::max();
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct SampleLoss {
  static constexpr int kThreads = cuda::kThreads, kPhases = 5;
  struct Shared {
    float largest[cuda::kThreads];
    int counted[cuda::kThreads];
    double powers[cuda::kThreads], distances[cuda::kThreads];
    int before[cuda::kThreads];
  };
  struct Local {};

  const float* logits;
  const std::int32_t* labels;
  const MixRow* mix;  // or null
  float* dlogits;     // or null
  SampleResult* results;
  std::int64_t samples, classes;
  double smoothing;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared& shared, Local&) const {
    const float* row = logits + block.x * classes;
    if constexpr (phase == 0) {
      float largest = kMinusInfinity;  // of those that are no NaN; a NaN shows in the sum of powers
      for (std::int64_t j = thread; j < classes; j += kThreads) largest = row[j] > largest ? row[j] : largest;
      int counted = 0;
      for (std::int64_t i = thread; i < samples; i += kThreads) counted += labels[i] >= 0 ? 1 : 0;
      shared.largest[thread] = largest;
      shared.counted[thread] = counted;
    } else if constexpr (phase == 1 || phase == 3) {
      if (thread < kGroups) combine<phase == 1>(thread, kThreads / kGroups, kGroups, shared);
    } else if constexpr (phase == 2) {
      sum_classes(row, labels[block.x], thread, shared);
    } else {
      finish_sample(row, block.x, thread, shared);
    }
  }

  // Slot `thread` becomes the sum (or maximum) of slots thread, thread + stride, ...
  template <bool first>
  LS_DEVICE static void combine(int thread, int count, int stride, Shared& shared) {
    for (int k = 1; k < count; ++k) {
      const int other = thread + k * stride;
      if constexpr (first) {
        if (shared.largest[other] > shared.largest[thread]) shared.largest[thread] = shared.largest[other];
        shared.counted[thread] += shared.counted[other];
      } else {
        shared.powers[thread] += shared.powers[other];
        shared.distances[thread] += shared.distances[other];
        shared.before[thread] += shared.before[other];
      }
    }
  }

  LS_DEVICE static double largest_of(const Shared& shared) {
    float largest = shared.largest[0];
    for (int k = 1; k < kGroups; ++k) largest = shared.largest[k] > largest ? shared.largest[k] : largest;
    return static_cast<double>(largest);
  }

  LS_DEVICE void sum_classes(const float* row, std::int32_t label, int thread, Shared& shared) const {
    const double largest = largest_of(shared);
    const float own = label >= 0 ? row[label] : 0.0f;
    double powers = 0, distances = 0;
    int before = 0;
    for (std::int64_t j = thread; j < classes; j += kThreads) {
      const double logit = static_cast<double>(row[j]);
      powers += std::exp(logit - largest);
      distances += largest - logit;
      before += row[j] > own || (row[j] == own && j < label) ? 1 : 0;
    }
    shared.powers[thread] = powers;
    shared.distances[thread] = distances;
    shared.before[thread] = before;
  }

  LS_DEVICE void finish_sample(const float* row, std::int64_t sample, int thread, const Shared& shared) const {
    const std::int32_t label = labels[sample];
    if (label < 0) {
      if (thread == 0) results[sample] = {0, -1};
      if (dlogits != nullptr)
        for (std::int64_t j = thread; j < classes; j += kThreads) dlogits[sample * classes + j] = 0;
      return;
    }
    const double largest = largest_of(shared), share = smoothing / static_cast<double>(classes);
    const std::int32_t other = mix != nullptr ? mix[sample].label : label;
    const double weight = mix != nullptr ? static_cast<double>(mix[sample].weight) : 1.0;  // of the sample's own label
    double powers = 0;
    for (int k = 0; k < kGroups; ++k) powers += shared.powers[k];
    const double log_powers = std::log(powers);
    if (thread == 0) {  // with lse = largest + log_powers: (1 - smoothing) (lse - own) + share * sum of (lse - logit)
      const double own = static_cast<double>(row[label]);
      double distance = largest - own + log_powers, distances = 0;
      if (weight != 1) distance = weight * distance + (1.0 - weight) * (largest - static_cast<double>(row[other]) + log_powers);
      double loss = (1.0 - smoothing) * distance;
      for (int k = 0; k < kGroups; ++k) distances += shared.distances[k];
      if (smoothing > 0) loss += share * (distances + static_cast<double>(classes) * log_powers);
      std::int64_t before = 0;
      for (int k = 0; k < kGroups; ++k) before += shared.before[k];
      results[sample] = {loss, own == own ? before : kNeverHits};
    }
    if (dlogits == nullptr) return;
    double counted = 0;
    for (int k = 0; k < kGroups; ++k) counted += shared.counted[k];
    const double lse = largest + log_powers;
    for (std::int64_t j = thread; j < classes; j += kThreads) {
      double target = (j == label ? (1.0 - smoothing) * weight : 0.0) + share;
      if (weight != 1 && j == other) target += (1.0 - smoothing) * (1.0 - weight);
      dlogits[sample * classes + j] = static_cast<float>((std::exp(static_cast<double>(row[j]) - lse) - target) / counted);
    }
  }
};

// One block: {sum of losses, top-1 hits, top-5 hits, counted} and the mean loss.
struct AddSamples {
  static constexpr int kThreads = cuda::kThreads, kPhases = 3;
  struct Shared {
    double sums[4][cuda::kThreads];
  };
  struct Local {};

  const SampleResult* results;
  std::int64_t samples;
  float* loss;
  double* sums;

  template <int phase>
  LS_DEVICE void run(const Block&, int thread, Shared& shared, Local&) const {
    if constexpr (phase == 0) {
      double own[4] = {};
      for (std::int64_t i = thread; i < samples; i += kThreads) {
        const SampleResult result = results[i];
        if (result.rank < 0) continue;
        own[0] += result.loss;
        own[1] += result.rank < 1 ? 1 : 0;
        own[2] += result.rank < 5 ? 1 : 0;
        own[3] += 1;
      }
      for (int s = 0; s < 4; ++s) shared.sums[s][thread] = own[s];
    } else if constexpr (phase == 1) {
      if (thread < kGroups)
        for (int s = 0; s < 4; ++s)
          for (int k = 1; k < kThreads / kGroups; ++k) shared.sums[s][thread] += shared.sums[s][thread + k * kGroups];
    } else if (thread == 0) {
      double total[4] = {};
      for (int s = 0; s < 4; ++s)
        for (int k = 0; k < kGroups; ++k) total[s] += shared.sums[s][k];
      for (int s = 0; s < 4; ++s) sums[s] = total[s];
      *loss = total[3] > 0 ? static_cast<float>(total[0] / total[3]) : 0.0f;
    }
  }
};

}  // namespace

void softmax_cross_entropy(Stream stream, ConstView logits, ConstView labels, ConstView mix, double smoothing, View loss, View dlogits,
                           View sums) {
  if (logits.dtype != DType::kF32)
    throw EnvironmentError("cuda: softmax_cross_entropy can't take " + std::string(dtype_name(logits.dtype)) + "; use f32");
  const std::int64_t samples = logits.shape[0], classes = logits.shape[1];
  Tensor scratch = Tensor::empty({samples, sizeof(SampleResult)}, DType::kU8, logits.device);  // 16 bytes a sample
  auto* results = static_cast<SampleResult*>(scratch.ptr());
  launch(stream, {.x = samples},
         SampleLoss{.logits = logits.data<float>(), .labels = labels.data<std::int32_t>(), .mix = static_cast<const MixRow*>(mix.ptr),
                    .dlogits = dlogits ? dlogits.data<float>() : nullptr, .results = results, .samples = samples, .classes = classes,
                    .smoothing = smoothing});
  launch(stream, {}, AddSamples{results, samples, loss.data<float>(), sums.data<double>()});
}

}  // namespace lockstep::cuda
