// SweepOptions: what a user asks of a sweep, and how it is written on a command line. Pure; all errors are UserErrors that
// name the option, what was got and what is wanted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// How the learning rate follows the batch: lr = base * (batch / base batch), or its square root.
enum class ScalingRule : std::uint8_t { kLinear, kSqrt, kBoth };
// What makes one learning rate better than another: the evaluation accuracy at the rung, or the fewest samples to the target
// (then the accuracy there; those that have not reached it come after, by accuracy). Ties: the lower rate.
enum class Select : std::uint8_t { kAccuracy, kTarget };

struct SweepOptions {
  std::vector<std::int64_t> batches;       // ascending, different
  std::vector<double> lrs;                 // peak rates for every batch; empty: `factors` around `rule`
  std::vector<double> factors{0.5, 1, 2};
  ScalingRule rule = ScalingRule::kBoth;
  int seeds = 3;                           // of the chosen rate; the first is the config's
  std::vector<double> rungs{1.0 / 9, 1.0 / 3, 1};  // shares of the schedule; ascending, the last is 1
  int keep = 2;                            // rates that a rung keeps: a third, at least so many
  Select select = Select::kAccuracy;
  std::optional<double> target;            // top1, 0 to 1
  bool stop_at_target = false;             // a trial that is there is trained no further; the probe is. Needs kTarget
};

std::vector<std::int64_t> parse_batches(std::string_view text);  // "64..8192" doubles; "64..4096x4"; "64,128,512"
std::vector<double> parse_positive(std::string_view text, std::string_view option);  // "0.5,1,2"
std::vector<double> parse_rungs(std::string_view text);          // "1/9,1/3,1"
double parse_target(std::string_view text);                      // "0.93", "93%"
double parse_seconds(std::string_view text, std::string_view option);  // "2h", "90m", "45s", "1.5d"
ScalingRule parse_rule(std::string_view text);                   // "linear", "sqrt", "both"
Select parse_select(std::string_view text);                      // "accuracy", "target"
// "2/8" -> {2, 8}; 0 <= first < second.
struct ShardOf {
  int index = 0, count = 1;
};
ShardOf parse_shard(std::string_view text);

// A learning rate as names, tables and configs show it: six significant digits. round_lr(x) is the number that this text says.
std::string lr_text(double lr);
double round_lr(double lr);

}  // namespace lockstep
