// InceptionNetwork: convolutions with batch norm, pooling, and blocks in which several branches read the same image and are joined
// along the channels: GoogLeNet's and Inception v3's form.
//
// torchvision's two auxiliary classifiers (one in Inception v3), which only training with torchvision's loss uses, are not here:
// their weights in a file are passed over (Model::left_out).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "models/blocks.h"

namespace lockstep {

class InceptionNetwork : public NetworkModel<InceptionNetwork> {
 public:
  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const;

  std::span<const std::string_view> left_out() const override { return left_out_; }

 protected:
  // weights: of every convolution and of the classifier. `left_out` must outlive the model.
  InceptionNetwork(const ModelOptions& options, Init weights, std::span<const std::string_view> left_out)
      : NetworkModel(options), weights_(weights), left_out_(left_out) {}

  // Convolution without bias, batch norm with eps 1e-3 unless the options give another, ReLU: NAME.conv.*, NAME.bn.*.
  struct Basic {
    std::string name;
    int in, out;
    Pair kernel{1, 1}, pad{0, 0};
    int stride = 1;
  };
  ConvNorm make_basic(const Basic& spec);
  static Basic square(const std::string& name, int in, int out, int kernel) {
    return {name, in, out, {kernel, kernel}, {kernel / 2, kernel / 2}};
  }

  struct Pooling {
    PoolLayer layer;
    bool average = false;
  };
  using Chain = std::vector<ConvNorm>;
  // One way through a block: pooling, then convolutions, then two side by side that are joined; each may be missing.
  struct Branch {
    std::optional<Pooling> pool = {};
    Chain chain = {};
    Chain split = {};  // two, or none
    std::string join = {};
  };
  struct Block {
    std::string name;  // of the concatenation
    std::vector<Branch> branches;  // at most kMostBranches
  };
  static constexpr std::size_t kMostBranches = 4;

  Chain chain(std::initializer_list<Basic> specs);
  void add_convolutions(std::initializer_list<Basic> specs) { steps_.emplace_back(chain(specs)); }
  void add_max_pool(const std::string& name, const Pool2dParams& params) { steps_.emplace_back(Pooling{{name, params}}); }
  void add_block(const std::string& name, std::vector<Branch> branches) { steps_.emplace_back(Block{name, std::move(branches)}); }
  void make_head(int channels, double own_dropout);

 private:
  template <class Pass>
  static typename Pass::Value apply(Pass& pass, const Chain& chain, const typename Pass::Value& x) {
    return run_chain<Pass>(pass, chain, x);
  }
  template <class Pass>
  static typename Pass::Value apply(Pass& pass, const Pooling& pool, const typename Pass::Value& x) {
    return pool.average ? pass.avg_pool(pool.layer, x) : pass.max_pool(pool.layer, x);
  }
  template <class Pass>
  static typename Pass::Value apply(Pass& pass, const Branch& branch, const typename Pass::Value& x);
  template <class Pass>
  static typename Pass::Value apply(Pass& pass, const Block& block, const typename Pass::Value& x);

  Init weights_;
  std::span<const std::string_view> left_out_;
  std::vector<std::variant<Chain, Pooling, Block>> steps_;
  const std::string avgpool_ = "avgpool", dropout_name_ = "dropout";
  double dropout_ = 0;
  LinearLayer fc_;
};

template <class Pass>
typename Pass::Value InceptionNetwork::apply(Pass& pass, const Branch& branch, const typename Pass::Value& x) {
  auto y = branch.pool ? apply(pass, *branch.pool, x) : x;
  if (!branch.chain.empty()) y = apply(pass, branch.chain, y);
  if (branch.split.empty()) return y;
  const std::span<const ConvNorm> split = branch.split;
  const std::array both{run_chain<Pass>(pass, split.first(1), y), run_chain<Pass>(pass, split.last(1), y)};
  return pass.concat(branch.join, both);
}

template <class Pass>
typename Pass::Value InceptionNetwork::apply(Pass& pass, const Block& block, const typename Pass::Value& x) {
  std::array<typename Pass::Value, kMostBranches> outputs;
  for (std::size_t i = 0; i < block.branches.size(); ++i) outputs[i] = apply(pass, block.branches[i], x);
  return pass.concat(block.name, std::span<const typename Pass::Value>(outputs).first(block.branches.size()));
}

template <class Pass>
typename Pass::Value InceptionNetwork::run(Pass& pass, const typename Pass::Value& images) const {
  auto x = images;
  for (const auto& step : steps_) x = std::visit([&](const auto& layers) { return apply(pass, layers, x); }, step);
  x = pass.global_avg_pool(avgpool_, x);
  x = pass.dropout(dropout_name_, dropout_, x);
  return pass.linear(fc_, x);
}

}  // namespace lockstep
