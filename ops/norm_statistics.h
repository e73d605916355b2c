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

// In training the batch's statistics (x's moments if the kernel that made it left them; the group's with norm_sync: blocks
// until all its shards are here), which also go to Context::observations; else the running ones. Fewer than two values per
// channel in training are a UserError.
SavedNorm norm_statistics(Context& ctx, std::string_view op, const Var& x, const BatchNormState& state, double eps);

// The sums of g and of g * xhat over a shard, both (C), where a kernel is to put them: straight into the gradients of beta and
// gamma (inputs `gamma_input` + 1 and `gamma_input`) if those are to be overwritten and no other shard's sums come in.
class NormSums {
 public:
  NormSums(BackwardPass& pass, const SavedNorm& saved, int gamma_input);
  // After the kernel: dgamma and dbeta, then the group's sums if there is a group: blocks as norm_statistics does.
  void finish(Kernels& kernels, Stream stream, const SavedNorm& saved);

  Tensor sum_g, sum_g_xhat;

 private:
  Tensor both_;  // (2, C); empty when both lie in the gradients
  GradTarget gamma_, beta_;
};

// dx (and dresidual, if its mode is not kSkip) from the sums. dx may be dy's memory when its mode is kOverwrite.
void norm_apply_backward(Kernels& kernels, Stream stream, const SavedNorm& saved, const Tensor& dy, const ReluGate& gate,
                         const NormSums& sums, GradTarget& dx, GradTarget& dresidual);

}  // namespace lockstep
