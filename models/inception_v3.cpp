// SPDX-License-Identifier: Apache-2.0
#include "models/inception_v3.h"

#include <array>

#include "models/inception_network.h"

namespace lockstep {
namespace {

constexpr int kBaseWidth = 32;
constexpr std::array<std::string_view, 1> kAuxiliary{"AuxLogits."};

class InceptionV3 final : public InceptionNetwork {
 public:
  explicit InceptionV3(const ModelOptions& options) : InceptionNetwork(options, Init::normal(0.1), kAuxiliary) {
    make_stem();
    add_a("Mixed_5b", width(32));
    add_a("Mixed_5c", width(64));
    add_a("Mixed_5d", width(64));
    add_b("Mixed_6a");
    add_c("Mixed_6b", width(128));
    add_c("Mixed_6c", width(160));
    add_c("Mixed_6d", width(160));
    add_c("Mixed_6e", width(192));
    add_d("Mixed_7a");
    add_e("Mixed_7b");
    add_e("Mixed_7c");
    constexpr double kOwnDropout = 0.5;
    make_head(channels_, kOwnDropout);
  }

 private:
  static constexpr Pool2dParams kHalve{.kernel = {3, 3}, .stride = {2, 2}};

  int width(int channels) const { return proportional(channels, kBaseWidth, options()); }

  // Without padding, with stride 2: the image is halved.
  static Basic halving(const std::string& name, int in, int out) { return {name, in, out, {3, 3}, {0, 0}, 2}; }
  static Basic row(const std::string& name, int in, int out, int length) { return {name, in, out, {1, length}, {0, length / 2}}; }
  static Basic column(const std::string& name, int in, int out, int length) { return {name, in, out, {length, 1}, {length / 2, 0}}; }

  Branch averaged(const std::string& name, int out) {
    Branch branch;
    branch.pool = Pooling{{name + ".avgpool", {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}}}, true};
    branch.chain = chain({square(name + ".branch_pool", channels_, out, 1)});
    return branch;
  }
  static Branch halved(const std::string& name) { return {.pool = Pooling{{name + ".maxpool", kHalve}}}; }

  void make_stem() {
    const int a = width(32), b = width(64), c = width(80), d = width(192);
    add_convolutions({halving("Conv2d_1a_3x3", options().channels, a), {"Conv2d_2a_3x3", a, a, {3, 3}}, square("Conv2d_2b_3x3", a, b, 3)});
    add_max_pool("maxpool1", kHalve);
    add_convolutions({square("Conv2d_3b_1x1", b, c, 1), {"Conv2d_4a_3x3", c, d, {3, 3}}});
    add_max_pool("maxpool2", kHalve);
    channels_ = d;
  }

  // Figure 5 of the paper, with 5x5 filters in one branch.
  void add_a(const std::string& name, int pooled) {
    const int direct = width(64), reduce5 = width(48), conv5 = width(64), reduce3 = width(64), conv3 = width(96);
    std::vector<Branch> branches(3);
    branches[0].chain = chain({square(name + ".branch1x1", channels_, direct, 1)});
    branches[1].chain = chain({square(name + ".branch5x5_1", channels_, reduce5, 1), square(name + ".branch5x5_2", reduce5, conv5, 5)});
    branches[2].chain = chain({square(name + ".branch3x3dbl_1", channels_, reduce3, 1), square(name + ".branch3x3dbl_2", reduce3, conv3, 3),
                               square(name + ".branch3x3dbl_3", conv3, conv3, 3)});
    branches.push_back(averaged(name, pooled));
    add_block(name, std::move(branches));
    channels_ = direct + conv5 + conv3 + pooled;
  }

  // Figure 10: 35x35 to 17x17.
  void add_b(const std::string& name) {
    const int wide = width(384), reduce = width(64), conv = width(96);
    std::vector<Branch> branches(2);
    branches[0].chain = chain({halving(name + ".branch3x3", channels_, wide)});
    branches[1].chain = chain({square(name + ".branch3x3dbl_1", channels_, reduce, 1), square(name + ".branch3x3dbl_2", reduce, conv, 3),
                               halving(name + ".branch3x3dbl_3", conv, conv)});
    branches.push_back(halved(name));
    add_block(name, std::move(branches));
    channels_ += wide + conv;
  }

  // Figure 6, n = 7.
  void add_c(const std::string& name, int inner) {
    const int out = width(192);
    std::vector<Branch> branches(3);
    branches[0].chain = chain({square(name + ".branch1x1", channels_, out, 1)});
    branches[1].chain = chain({square(name + ".branch7x7_1", channels_, inner, 1), row(name + ".branch7x7_2", inner, inner, 7),
                               column(name + ".branch7x7_3", inner, out, 7)});
    const std::string twice = name + ".branch7x7dbl_";
    branches[2].chain = chain({square(twice + "1", channels_, inner, 1), column(twice + "2", inner, inner, 7), row(twice + "3", inner, inner, 7),
                               column(twice + "4", inner, inner, 7), row(twice + "5", inner, out, 7)});
    branches.push_back(averaged(name, out));
    add_block(name, std::move(branches));
    channels_ = 4 * out;
  }

  // 17x17 to 8x8.
  void add_d(const std::string& name) {
    const int reduce = width(192), wide = width(320), narrow = width(192);
    std::vector<Branch> branches(2);
    branches[0].chain = chain({square(name + ".branch3x3_1", channels_, reduce, 1), halving(name + ".branch3x3_2", reduce, wide)});
    const std::string seven = name + ".branch7x7x3_";
    branches[1].chain = chain({square(seven + "1", channels_, reduce, 1), row(seven + "2", reduce, reduce, 7), column(seven + "3", reduce, reduce, 7),
                               halving(seven + "4", reduce, narrow)});
    branches.push_back(halved(name));
    add_block(name, std::move(branches));
    channels_ += wide + narrow;
  }

  // Figure 7: the filter banks of the last blocks are wider, not deeper.
  void add_e(const std::string& name) {
    const int direct = width(320), wide = width(384), reduce = width(448), pooled = width(192);
    const auto split = [&](const std::string& stem) {
      return chain({row(stem + "a", wide, wide, 3), column(stem + "b", wide, wide, 3)});
    };
    std::vector<Branch> branches(3);
    branches[0].chain = chain({square(name + ".branch1x1", channels_, direct, 1)});
    branches[1].chain = chain({square(name + ".branch3x3_1", channels_, wide, 1)});
    branches[1].split = split(name + ".branch3x3_2");
    branches[1].join = name + ".branch3x3";
    branches[2].chain = chain({square(name + ".branch3x3dbl_1", channels_, reduce, 1), square(name + ".branch3x3dbl_2", reduce, wide, 3)});
    branches[2].split = split(name + ".branch3x3dbl_3");
    branches[2].join = name + ".branch3x3dbl";
    branches.push_back(averaged(name, pooled));
    add_block(name, std::move(branches));
    channels_ = direct + 4 * wide + pooled;
  }

  int channels_ = 0;  // of what was built last
};

}  // namespace

std::unique_ptr<Model> make_inception_v3(const ModelOptions& options) { return std::make_unique<InceptionV3>(options); }

}  // namespace lockstep
