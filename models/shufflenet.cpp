// SPDX-License-Identifier: Apache-2.0
#include "models/shufflenet.h"

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "models/blocks.h"

namespace lockstep {
namespace {

constexpr int kFirst = 24, kNarrowing = 4;  // a unit's inner channels are a quarter of its output's
constexpr std::array<int, 3> kUnits{4, 8, 4};

// Channels of the first stage, so that all networks cost about the same; each later stage has twice as many.
int first_stage_channels(int groups) {
  switch (groups) {
    case 1: return 144;
    case 2: return 200;
    case 3: return 240;
    case 4: return 272;
    case 8: return 384;
    default: throw InternalError("shufflenet_v1: " + std::to_string(groups) + " groups");
  }
}

// Figure 2: reduce (grouped) - shuffle - depthwise - restore (grouped). Stride 1: x is added (b). Stride 2: the averages of x are
// further channels of the output (c).
struct Unit {
  ConvNorm reduce, depthwise, restore;
  std::string shuffle, concat;
  std::optional<PoolLayer> pool;  // with stride 2
  int groups = 1;                 // of the shuffle
};

class ShuffleNet final : public NetworkModel<ShuffleNet> {
 public:
  ShuffleNet(const ModelOptions& options, int groups) : NetworkModel(options), groups_(groups) {
    const bool small = options.stem == Stem::kSmall;
    const PoolLayer halve{"maxpool", {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}};
    int channels = multiplied(kFirst, options.width_multiplier, groups);
    stem_ = make_conv_norm(store(), "conv1", "bn1", same_conv(options.channels, channels, 3, small ? 1 : 2), norm_spec());
    if (!small) stem_pool_ = halve;
    for (std::size_t stage = 0; stage < kUnits.size(); ++stage) {
      const int out = multiplied(first_stage_channels(groups) << stage, options.width_multiplier, kNarrowing * groups);
      for (int i = 0; i < kUnits[stage]; ++i) {
        units_.push_back(make_unit("stage" + std::to_string(stage + 2) + "." + std::to_string(i), channels, out, i == 0, stage + i > 0));
        channels = out;
      }
    }
    fc_ = make_linear(store(), "fc", channels, options.classes);
  }

  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const {
    auto x = pass.norm_relu(stem_.norm, pass.conv(stem_.conv, images));
    if (stem_pool_) x = pass.max_pool(*stem_pool_, x);
    for (const Unit& unit : units_) x = run_unit(pass, unit, x);
    return pass.linear(fc_, pass.global_avg_pool(avgpool_, x));
  }

 private:
  // The very first pointwise convolution is not grouped: its input has few channels.
  Unit make_unit(const std::string& name, int in, int out, bool halves, bool grouped) {
    const int inner = out / kNarrowing, restored = halves ? out - in : out, groups = grouped ? groups_ : 1;
    if (restored < 1)
      throw UserError("model.width_multiplier: got " + std::to_string(options().width_multiplier) + ", want more: " + name +
                      " would add no channels to " + std::to_string(in));
    const auto layer = [&](const char* number, const ConvSpec& spec) {
      return make_conv_norm(store(), name + ".conv" + number, name + ".bn" + number, spec, norm_spec());
    };
    Unit unit;
    unit.reduce = layer("1", same_conv(in, inner, 1, 1, groups));
    unit.depthwise = layer("2", same_conv(inner, inner, 3, halves ? 2 : 1, inner));
    unit.restore = layer("3", same_conv(inner, restored, 1, 1, groups_));
    unit.shuffle = name + ".shuffle";
    unit.concat = name + ".concat";
    if (halves) unit.pool = PoolLayer{name + ".avgpool", {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}};
    unit.groups = groups_;
    return unit;
  }

  template <class Pass>
  static typename Pass::Value run_unit(Pass& pass, const Unit& unit, const typename Pass::Value& x) {
    auto y = pass.norm_relu(unit.reduce.norm, pass.conv(unit.reduce.conv, x));
    y = pass.shuffle_channels(unit.shuffle, unit.groups, y);
    y = pass.norm(unit.depthwise.norm, pass.conv(unit.depthwise.conv, y));
    y = pass.conv(unit.restore.conv, y);
    if (!unit.pool) return pass.norm_add_relu(unit.restore.norm, y, x);
    // The ReLU after the concatenation leaves the averages as they are: x is not negative.
    const std::array both{pass.avg_pool(*unit.pool, x), pass.norm_relu(unit.restore.norm, y)};
    return pass.concat(unit.concat, both);
  }

  int groups_;
  ConvNorm stem_;
  std::optional<PoolLayer> stem_pool_;
  std::vector<Unit> units_;
  const std::string avgpool_ = "avgpool";
  LinearLayer fc_;
};

}  // namespace

std::unique_ptr<Model> make_shufflenet_v1(const ModelOptions& options, int groups) { return std::make_unique<ShuffleNet>(options, groups); }

}  // namespace lockstep
