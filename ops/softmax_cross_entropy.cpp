// SPDX-License-Identifier: Apache-2.0
#include "ops/softmax_cross_entropy.h"

#include <string>
#include <utility>

#include "core/mix_row.h"
#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "softmax_cross_entropy";

// dlogits[n,k] = dloss * (softmax(logits[n])[k] - t[n,k]) / counted, and 0 for samples that are not counted
struct LossBackward {
  Kernels& kernels;
  Stream stream;
  Tensor dlogits;  // for dloss = 1

  void operator()(BackwardPass& pass) {
    const Tensor& dloss = pass.grad_output();
    if (pass.give(0, std::move(dlogits))) {  // then scaled where it lies
      Tensor given = pass.target(0).grad;
      kernels.scale(stream, given, dloss, given, GradMode::kOverwrite);
      return;
    }
    GradTarget target = pass.target(0);
    kernels.scale(stream, dlogits, dloss, target.grad, target.mode);
  }
};

}  // namespace

Shape softmax_cross_entropy_shape(const Shape& logits, const Shape& labels) {
  check_axes(kOp, "logits", logits, 2, "(N, K)");
  check_shape(kOp, "labels", labels, {logits[0]});
  return {};
}

Work softmax_cross_entropy_work(const Shape& logits) {
  return {.inputs = logits.numel(), .outputs = 1, .other_operations = count_product({4, logits.numel()})};
}

LossResult softmax_cross_entropy(Context& ctx, const Var& logits, const Tensor& labels, double label_smoothing, const Tensor& mix) {
  const Shape shape = softmax_cross_entropy_shape(logits.value.shape(), labels.shape());
  check_dtype(kOp, "logits", logits.value, stats_dtype(logits.value.dtype()));
  check_dtype(kOp, "labels", labels, DType::kI32);
  if (mix) {
    check_shape(kOp, "mix", mix.shape(), {labels.shape()[0], kMixRowWords});
    check_dtype(kOp, "mix", mix, DType::kI32);
  }
  if (!(label_smoothing >= 0 && label_smoothing < 1))
    throw_bad_argument(kOp, "label_smoothing", std::to_string(label_smoothing), "0 <= label_smoothing < 1");
  const Tensor& x = logits.value;
  Tensor loss = Tensor::empty(shape, stats_dtype(x.dtype()), x.device());
  Tensor sums = Tensor::empty({4}, DType::kF64, x.device());
  Tensor dlogits;
  if (ctx.recording() && logits.requires_grad()) dlogits = Tensor::empty(x.shape(), x.dtype(), x.device());
  ctx.kernels.softmax_cross_entropy(ctx.stream, x, labels, mix, label_smoothing, loss, dlogits, sums);
  if (!ctx.recording()) return {{std::move(loss)}, std::move(sums)};
  const Var* const inputs[] = {&logits};
  Var result = ctx.tape->record(std::move(loss), inputs, LossBackward{ctx.kernels, ctx.stream, std::move(dlogits)});
  return {std::move(result), std::move(sums)};
}

OpSpec softmax_cross_entropy_spec() {
  const auto sample = [](std::string name, std::int64_t n, std::int64_t k, double first_label, double smoothing) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "logits", .shape = {n, k}, .low = -3, .high = 3},
                               {.name = "labels",
                                .shape = {n},
                                .role = InputRole::kLabels,
                                .low = first_label,
                                .high = static_cast<double>(k)}},
                    .run = [smoothing](Context& ctx, const SampleValues& in) {
                      return softmax_cross_entropy(ctx, in.vars[0], in.tensors[0], smoothing).loss;
                    },
                    .work = softmax_cross_entropy_work({n, k})};
  };
  OpSample mixed = sample("mixed, uncounted labels, smoothing", 7, 5, -1, 0.1);
  mixed.inputs.push_back({.name = "mix", .shape = {7, kMixRowWords}, .role = InputRole::kMixRows, .low = 0, .high = 5});
  mixed.run = [](Context& ctx, const SampleValues& in) {
    return softmax_cross_entropy(ctx, in.vars[0], in.tensors[0], 0.1, in.tensors[1]).loss;
  };
  return {.name = "softmax_cross_entropy", .samples = {sample("one sample, two classes", 1, 2, 0, 0),
                                                       sample("odd size", 5, 7, 0, 0),
                                                       sample("label smoothing", 4, 10, 0, 0.1),
                                                       sample("uncounted labels, smoothing", 9, 3, -1, 0.2), std::move(mixed)}};
}

}  // namespace lockstep
