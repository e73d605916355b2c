// The fully connected layer and the loss.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "core/mix_row.h"
#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"

namespace lockstep::reference {
namespace {

// Whether class `label` is among the k largest: fewer than k classes come before it.
template <class T>
bool hits(const T* logits, std::int64_t classes, std::int64_t label, std::int64_t k) {
  const T own = logits[label];
  if (std::isnan(own)) return false;
  std::int64_t before = 0;
  for (std::int64_t j = 0; j < classes; ++j)
    if (logits[j] > own || (logits[j] == own && j < label)) ++before;
  return before < k;
}

// log(sum exp(logits)) without overflow.
template <class T>
double log_sum_exp(const T* logits, std::int64_t classes) {
  const auto largest = static_cast<double>(*std::max_element(logits, logits + classes));
  double sum = 0;
  for (std::int64_t j = 0; j < classes; ++j) sum += std::exp(static_cast<double>(logits[j]) - largest);
  return largest + std::log(sum);
}

// A sample's classes: its own with `weight`, and the one it was mixed with.
struct SampleLabels {
  std::int64_t own, other;
  double weight;
};

SampleLabels labels_of(const std::int32_t* labels, const MixRow* mix, std::int64_t n) {
  if (mix == nullptr) return {labels[n], labels[n], 1};
  return {labels[n], mix[n].label, static_cast<double>(mix[n].weight)};
}

// -sum t log softmax(logits) with t = (1 - smoothing) onehot (of two classes, if mixed) + smoothing / classes; lse = log_sum_exp.
template <class T>
double sample_loss(const T* logits, std::int64_t classes, const SampleLabels& label, double smoothing, double lse) {
  double own = lse - static_cast<double>(logits[label.own]);
  if (label.weight != 1) own = label.weight * own + (1.0 - label.weight) * (lse - static_cast<double>(logits[label.other]));
  double loss = (1.0 - smoothing) * own;
  if (smoothing > 0)
    for (std::int64_t j = 0; j < classes; ++j)
      loss += smoothing / static_cast<double>(classes) * (lse - static_cast<double>(logits[j]));
  return loss;
}

template <class T>
void sample_gradient(const T* logits, std::int64_t classes, const SampleLabels& label, double smoothing, double counted,
                     T* dlogits) {
  const double lse = label.own >= 0 ? log_sum_exp(logits, classes) : 0.0;
  for (std::int64_t j = 0; j < classes; ++j) {
    if (label.own < 0) {
      dlogits[j] = T{0};
      continue;
    }
    double target = (j == label.own ? (1.0 - smoothing) * label.weight : 0.0) + smoothing / static_cast<double>(classes);
    if (label.weight != 1 && j == label.other) target += (1.0 - smoothing) * (1.0 - label.weight);
    dlogits[j] = static_cast<T>((std::exp(static_cast<double>(logits[j]) - lse) - target) / counted);
  }
}

}  // namespace

void ReferenceKernels::linear_forward(Stream, ConstView x, ConstView w, ConstView bias, View y) {
  const std::int64_t rows = x.shape[0], in = x.shape[1], out = w.shape[0];
  dispatch("linear_forward", x.dtype, [&]<class T>() {
    const T *input = x.data<T>(), *weight = w.data<T>();
    for (std::int64_t n = 0; n < rows; ++n)
      for (std::int64_t o = 0; o < out; ++o) {
        double sum = bias ? static_cast<double>(bias.data<T>()[o]) : 0.0;
        for (std::int64_t i = 0; i < in; ++i)
          sum += static_cast<double>(input[n * in + i]) * static_cast<double>(weight[o * in + i]);
        y.data<T>()[n * out + o] = static_cast<T>(sum);
      }
  });
}

void ReferenceKernels::linear_backward_data(Stream, ConstView dy, ConstView w, View dx, GradMode mode) {
  const std::int64_t rows = dy.shape[0], in = w.shape[1], out = w.shape[0];
  dispatch("linear_backward_data", dy.dtype, [&]<class T>() {
    const T *gradient = dy.data<T>(), *weight = w.data<T>();
    for (std::int64_t n = 0; n < rows; ++n)
      for (std::int64_t i = 0; i < in; ++i) {
        double sum = 0;
        for (std::int64_t o = 0; o < out; ++o)
          sum += static_cast<double>(gradient[n * out + o]) * static_cast<double>(weight[o * in + i]);
        put(dx.data<T>()[n * in + i], sum, mode);
      }
  });
}

void ReferenceKernels::linear_backward_weight(Stream, ConstView x, ConstView dy, View dw, GradMode mode) {
  const std::int64_t rows = x.shape[0], in = x.shape[1], out = dy.shape[1];
  dispatch("linear_backward_weight", dy.dtype, [&]<class T>() {
    const T *input = x.data<T>(), *gradient = dy.data<T>();
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t i = 0; i < in; ++i) {
        double sum = 0;
        for (std::int64_t n = 0; n < rows; ++n)
          sum += static_cast<double>(gradient[n * out + o]) * static_cast<double>(input[n * in + i]);
        put(dw.data<T>()[o * in + i], sum, mode);
      }
  });
}

void ReferenceKernels::softmax_cross_entropy(Stream, ConstView logits, ConstView labels, ConstView mix, double smoothing,
                                             View loss, View dlogits, View sums) {
  const std::int64_t rows = logits.shape[0], classes = logits.shape[1];
  const std::int32_t* label = labels.data<std::int32_t>();
  const auto* rows_of_mix = static_cast<const MixRow*>(mix.ptr);
  dispatch("softmax_cross_entropy", logits.dtype, [&]<class T>() {
    const T* in = logits.data<T>();
    double total = 0, top1 = 0, top5 = 0, counted = 0;
    for (std::int64_t n = 0; n < rows; ++n) {
      if (label[n] < 0) continue;
      const T* row = in + n * classes;
      total += sample_loss(row, classes, labels_of(label, rows_of_mix, n), smoothing, log_sum_exp(row, classes));
      if (hits(row, classes, label[n], 1)) ++top1;
      if (hits(row, classes, label[n], 5)) ++top5;
      ++counted;
    }
    loss.data<T>()[0] = static_cast<T>(counted > 0 ? total / counted : 0.0);
    if (dlogits)
      for (std::int64_t n = 0; n < rows; ++n)
        sample_gradient(in + n * classes, classes, labels_of(label, rows_of_mix, n), smoothing, counted,
                        dlogits.data<T>() + n * classes);
    const double results[] = {total, top1, top5, counted};
    std::copy(std::begin(results), std::end(results), sums.data<double>());
  });
}

}  // namespace lockstep::reference
