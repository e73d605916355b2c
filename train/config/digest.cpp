// Which values determine the training: the digest over them, and the difference of two configs in those terms.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "train/config/reflect.h"

namespace lockstep {
namespace {

using config_detail::Leaf;
using proto::Config;

// A resumed run may change these, and all fields below a group named here: they change where things lie, how fast they
// go and what is reported, never a weight of a resumed run (model.weights is what a fresh run begins with). Anything not listed
// determines the training.
constexpr std::string_view kFree[] = {
    "name",
    "run_dir",
    "max_steps",
    "data.path",
    "data.eval_path",
    "data.eval",
    "data.loader_threads",
    "data.ring_slots",
    "data.max_bad_samples",
    "data.index_cache",
    "data.train_images",
    "data.eval_images",
    "model.weights",
    "data.synthetic.eval_size",
    "distributed.communicator",
    "distributed.deadline_s",
    "cuda.device",
    "cuda.graphs",
    "cuda.time_choices",
    "cuda.plan_cache",
    "evaluation",
    "checkpoint",
    "logging",
};

// These, too, as long as gradients are added in a fixed order: bucket borders then do not touch a bit.
constexpr std::string_view kFreeInExact[] = {"distributed.bucket_mb", "distributed.first_bucket_mb"};

bool below(std::string_view path, std::string_view group) {
  return path == group || (path.starts_with(group) && path[group.size()] == '.');
}

bool is_free(std::string_view path, bool exact) {
  const auto covers = [&](std::string_view group) { return below(path, group); };
  return std::any_of(std::begin(kFree), std::end(kFree), covers) ||
         (exact && std::any_of(std::begin(kFreeInExact), std::end(kFreeInExact), covers));
}

bool exact(const Config& config) { return config.distributed().reduction() == proto::Distributed::EXACT; }

std::map<std::string, std::string> values_of(const Config& config, std::vector<std::string>* order) {
  std::map<std::string, std::string> values;
  config_detail::for_each_leaf(config, "", [&](const Leaf& leaf) {
    if (order != nullptr) order->push_back(leaf.path);
    values[leaf.path] = leaf.value();
  });
  return values;
}

}  // namespace

bool may_change_on_resume(const std::string& path) { return is_free(path, true); }

std::string config_digest(const Config& config) {
  std::string canonical = "lockstep config 1\n";
  std::string element;  // of a list of groups: counts even if all its values are defaults
  config_detail::for_each_leaf(config, "", [&](const Leaf& leaf) {
    if (is_free(leaf.path, exact(config))) return;
    const std::string prefix = leaf.path.substr(0, leaf.path.find(']') + 1);  // "" outside of lists
    if (prefix != element) canonical += prefix + "\n";
    element = prefix;
    const std::string value = leaf.value();
    if (value != config_detail::default_value(*leaf.field)) canonical += fmt::format("{}={}\n", leaf.path, value);
  });
  const XXH128_hash_t hash = XXH3_128bits(canonical.data(), canonical.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

ConfigDiff config_diff(const Config& from, const Config& to) {
  std::vector<std::string> order;
  const std::map<std::string, std::string> old_values = values_of(from, &order);
  const std::map<std::string, std::string> new_values = values_of(to, &order);
  const auto text = [](const std::map<std::string, std::string>& values, const std::string& path) {
    const auto found = values.find(path);
    return found == values.end() || found->second.empty() ? std::string("(not given)") : found->second;
  };
  ConfigDiff diff;
  std::map<std::string, bool> seen;
  for (const std::string& path : order) {
    if (!seen.emplace(path, true).second) continue;
    const ConfigChange change{path, text(old_values, path), text(new_values, path)};
    if (change.from == change.to) continue;
    (is_free(path, exact(from) && exact(to)) ? diff.may_change : diff.must_not_change).push_back(change);
  }
  return diff;
}

}  // namespace lockstep
