// What batch_norm and norm_conv2d share: the statistics that normalise x, and the gradients through them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "ops/batch_norm.h"

namespace lockstep {

// Everything that batch norm's backward pass needs. Owns its tensors; the parameters' values are shared.
struct SavedNorm {
  Tensor x, gamma, beta;  // x (N,C,H,W); the others (C), statistics
  Tensor mean, inv_std;   // (C)
  double count = 0;       // values per channel; infinity: constants, as in evaluation
  NormSync* sync = nullptr;  // null in evaluation, or when a shard is normalised by itself

  NormVectors vectors() const { return {mean, inv_std, gamma, beta}; }
};

// Checks shapes and dtypes of x and state; throws UserError in the name of `op`.
void check_norm_state(std::string_view op, const Tensor& x, const BatchNormState& state);

// In training the batch's statistics (x's moments if the kernel that made it left them; the group's with norm_sync: blocks until all its shards are here), which also go to
// Context::observations; else the running ones. Fewer than two values per channel in training are a UserError.
SavedNorm norm_statistics(Context& ctx, std::string_view op, const Var& x, const BatchNormState& state, double eps);

// The sums of g and of g * xhat over a shard, both (C), next to each other; uninitialised.
struct NormSums {
  explicit NormSums(const SavedNorm& saved);
  Tensor both;  // (2, C)
  Tensor sum_g, sum_g_xhat;
};

// dgamma and dbeta from this shard's sums into inputs `gamma_input` and the next; then the sums are made the group's if there
// is one: blocks as norm_statistics does.
void put_norm_gradients(BackwardPass& pass, Kernels& kernels, Stream stream, const SavedNorm& saved, int gamma_input, NormSums& sums);

// dx (and dresidual, if its mode is not kSkip) from the sums. dx may be dy's memory when its mode is kOverwrite.
void norm_apply_backward(Kernels& kernels, Stream stream, const SavedNorm& saved, const Tensor& dy, const ReluGate& gate,
                         const NormSums& sums, GradTarget& dx, GradTarget& dresidual);

}  // namespace lockstep
