// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/replica_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/error.h"

namespace lockstep {
namespace {

const NamedTensor& tensor_at(const TrainingState& state, std::size_t index) {
  return index < state.model.size() ? state.model[index] : state.optimizer[index - state.model.size()];
}

}  // namespace

std::vector<std::uint64_t> replica_hashes(const TrainingState& state) {
  std::vector<std::uint64_t> hashes;
  for (std::size_t i = 0; i < state.model.size() + state.optimizer.size(); ++i) {
    const Tensor& tensor = tensor_at(state, i).tensor;
    LS_CHECK(tensor.device().kind == DeviceKind::kCpu, "replica_hashes: a tensor on " + tensor.device().str());
    hashes.push_back(hash_64(tensor.ptr(), tensor.nbytes()));
  }
  return hashes;
}

std::optional<std::string> replica_disagreement(const TrainingState& state, std::span<const std::vector<std::uint64_t>> by_rank) {
  const std::size_t count = state.model.size() + state.optimizer.size();
  for (const auto& hashes : by_rank)
    LS_CHECK(hashes.size() == count, fmt::format("replica_disagreement: {} hashes for {} tensors", hashes.size(), count));
  for (std::size_t i = 0; i < count; ++i) {
    std::map<std::uint64_t, std::vector<std::size_t>> ranks_by_hash;
    for (std::size_t rank = 0; rank < by_rank.size(); ++rank) ranks_by_hash[by_rank[rank][i]].push_back(rank);
    if (ranks_by_hash.size() <= 1) continue;
    const auto most = std::max_element(ranks_by_hash.begin(), ranks_by_hash.end(),
                                       [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
    std::vector<std::size_t> odd;
    for (const auto& [hash, ranks] : ranks_by_hash)
      if (hash != most->first) odd.insert(odd.end(), ranks.begin(), ranks.end());
    std::sort(odd.begin(), odd.end());
    return fmt::format("replicas disagree after step {}: tensor '{}' of rank(s) {} differs from the other {} rank(s)' (bit flip, "
                       "faulty memory or core?); nothing is saved, resume from the last checkpoint",
                       state.step, tensor_at(state, i).name, fmt::join(odd, ", "), most->second.size());
  }
  return std::nullopt;
}

}  // namespace lockstep
