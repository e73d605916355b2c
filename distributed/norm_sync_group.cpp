// SPDX-License-Identifier: Apache-2.0
#include "distributed/norm_sync_group.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "distributed/collectives.h"
#include "distributed/shard_tree.h"

namespace lockstep {
namespace {

enum class Kind : std::uint8_t { kMoments, kSum };

// What one shard, or a subtree of shards, brings: for moments count, mean (C), m2 (C); for sums the values.
using Payload = std::vector<double>;

// left <- left with right. Chan, Golub, LeVeque (1979), eq. 2.1; an empty side changes nothing.
void merge_moments(double* left, const double* right, std::size_t length) {
  const std::size_t channels = (length - 1) / 2;
  const double n_left = left[0], n_right = right[0], n = n_left + n_right;
  if (n_right == 0) return;
  if (n_left == 0) {
    std::copy_n(right, length, left);
    return;
  }
  const double weight = n_right / n, product = n_left * weight;
  for (std::size_t c = 0; c < channels; ++c) {
    double& mean = left[1 + c];
    double& m2 = left[1 + channels + c];
    const double delta = right[1 + c] - mean;
    mean += delta * weight;
    m2 += right[1 + channels + c] + delta * delta * product;
  }
  left[0] = n;
}

void merge(Kind kind, double* left, const double* right, std::size_t length) {
  if (kind == Kind::kMoments) return merge_moments(left, right, length);
  for (std::size_t i = 0; i < length; ++i) left[i] += right[i];
}

// Merges payloads[0 .. count) along the fixed tree; the result is in the first.
void merge_tree(Kind kind, std::span<double* const> payloads, std::size_t length) {
  const int count = static_cast<int>(payloads.size());
  const int leaf = static_cast<int>(leaf_shards(count));
  std::vector<int> span(payloads.size(), 0);
  for (int shard = 0; shard < count; ++shard) {
    span[static_cast<std::size_t>(shard)] = 1;
    for (TreeMerge m = next_merge(span, count, leaf, shard); m.left >= 0; m = next_merge(span, count, leaf, m.left)) {
      const auto left = static_cast<std::size_t>(m.left), right = static_cast<std::size_t>(m.right);
      merge(kind, payloads[left], payloads[right], length);
      span[left] += span[right];
      span[right] = 0;
    }
  }
}

void load(const Tensor& tensor, double* out) {
  if (tensor.dtype() == DType::kF64)
    std::ranges::copy(tensor.host<double>(), out);
  else
    std::ranges::copy(tensor.host<float>(), out);
}

void store(Tensor& tensor, const double* values) {
  if (tensor.dtype() == DType::kF64)
    std::copy_n(values, tensor.numel(), tensor.host<double>().begin());
  else
    std::transform(values, values + tensor.numel(), tensor.host<float>().begin(),
                   [](double value) { return static_cast<float>(value); });
}

}  // namespace

// Where shards meet. All state is touched by the crew's baton holder only.
class NormSyncGroup::Meeting {
 public:
  Meeting(Communicator& comm, ShardCrew& crew, std::int64_t group)
      : comm_(comm), crew_(crew), group_(static_cast<int>(group)), local_(crew.shards()),
        within_rank_(local_ % group_ == 0), nested_(group_ % local_ == 0 && is_power_of_two(group_ / local_)),
        circle_size_(within_rank_ ? group_ : local_), circles_(static_cast<std::size_t>(local_ / circle_size_)),
        payloads_(static_cast<std::size_t>(local_)), results_(static_cast<std::size_t>(local_)) {}

  // In: what the shard brings, in `payload(shard)`. Blocks until the whole group has come. Out: the group's result.
  const double* meet(int shard, Kind kind) {
    Circle& circle = circles_[static_cast<std::size_t>(shard / circle_size_)];
    const std::size_t length = payload(shard).size();
    if (circle.arrived == 0) {
      circle.kind = kind;
      circle.length = length;
    }
    LS_CHECK(circle.kind == kind && circle.length == length,
             fmt::format("shard {} meets with {} values where others brought {}", shard, length, circle.length));
    const std::int64_t round = circle.round;
    if (++circle.arrived == circle_size_) {
      combine(circle, shard / circle_size_ * circle_size_);
      circle.arrived = 0;
      ++circle.round;
    } else {
      crew_.wait_until(shard, [&circle, round] { return circle.round > round; });
    }
    return results_[static_cast<std::size_t>(shard)];
  }

  Payload& payload(int shard) { return payloads_[static_cast<std::size_t>(shard)]; }

  void forget() {
    for (Circle& circle : circles_) circle.arrived = 0;
  }

 private:
  struct Circle {  // local shards that wait for each other
    int arrived = 0;
    std::int64_t round = 0;
    Kind kind = Kind::kSum;
    std::size_t length = 0;
    Payload result;  // not a member's payload: one that goes on at once brings its next before others have read this
  };

  void combine(Circle& circle, int first) {
    if (within_rank_ || nested_) {
      std::vector<double*> members;
      for (int i = 0; i < circle_size_; ++i) members.push_back(payload(first + i).data());
      merge_tree(circle.kind, members, circle.length);
      const double* result = members.front();
      if (!within_rank_) result = combine_ranks(circle, result);
      circle.result.assign(result, result + circle.length);
      for (int i = 0; i < circle_size_; ++i) results_[static_cast<std::size_t>(first + i)] = circle.result.data();
    } else {
      combine_all(circle);
    }
  }

  // A group is made of whole ranks, and a rank's shards are a subtree of it: one payload per rank travels.
  const double* combine_ranks(const Circle& circle, const double* mine) {
    gather({mine, circle.length}, circle.kind);
    const int ranks = group_ / local_;
    const int first = comm_.rank() / ranks * ranks;
    std::vector<double*> members;
    for (int i = 0; i < ranks; ++i) members.push_back(gathered_.data() + static_cast<std::size_t>(first + i) * circle.length);
    merge_tree(circle.kind, members, circle.length);
    return members.front();
  }

  // Groups and ranks cut each other: all shards' payloads travel and each rank merges the groups that it has a part in.
  void combine_all(const Circle& circle) {
    Payload joined;
    for (const Payload& each : payloads_) joined.insert(joined.end(), each.begin(), each.end());
    gather(joined, circle.kind);
    int merged_group = -1;
    for (int shard = 0; shard < local_; ++shard) {
      const int group = (comm_.rank() * local_ + shard) / group_;
      std::vector<double*> members;
      for (int i = 0; i < group_; ++i)
        members.push_back(gathered_.data() + static_cast<std::size_t>(group * group_ + i) * circle.length);
      if (group != merged_group) merge_tree(circle.kind, members, circle.length);
      merged_group = group;
      results_[static_cast<std::size_t>(shard)] = members.front();
    }
  }

  void gather(std::span<const double> mine, Kind kind) {
    gathered_.resize(mine.size() * static_cast<std::size_t>(comm_.size()));
    comm_.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(gathered_)),
                     kind == Kind::kMoments ? "batch norm: moments" : "batch norm: sums");
  }

  Communicator& comm_;
  ShardCrew& crew_;
  const int group_, local_;
  const bool within_rank_;  // a rank holds whole groups: nothing travels
  const bool nested_;       // a group is 2^k ranks
  const int circle_size_;
  std::vector<Circle> circles_;
  std::vector<Payload> payloads_;
  std::vector<const double*> results_;
  Payload gathered_;
};

class NormSyncGroup::ShardSync final : public NormSync {
 public:
  ShardSync(Meeting& meeting, int shard) : meeting_(meeting), shard_(shard) {}

  double merge_moments(double count, Tensor& mean, Tensor& m2) override {
    const auto channels = static_cast<std::size_t>(mean.numel());
    LS_CHECK(mean.numel() == m2.numel(), fmt::format("{} means, {} second moments", mean.numel(), m2.numel()));
    Payload& payload = meeting_.payload(shard_);
    payload.resize(1 + 2 * channels);
    payload[0] = count;
    load(mean, payload.data() + 1);
    load(m2, payload.data() + 1 + channels);
    const double* result = meeting_.meet(shard_, Kind::kMoments);
    store(mean, result + 1);
    store(m2, result + 1 + channels);
    return result[0];
  }

  void sum(Tensor& values) override {
    Payload& payload = meeting_.payload(shard_);
    payload.resize(static_cast<std::size_t>(values.numel()));
    load(values, payload.data());
    store(values, meeting_.meet(shard_, Kind::kSum));
  }

 private:
  Meeting& meeting_;
  int shard_;
};

NormSyncGroup::NormSyncGroup(Communicator& comm, ShardCrew& crew, std::int64_t shards, std::int64_t group_shards) {
  if (group_shards < 1 || shards % group_shards != 0)
    throw UserError(fmt::format("batch norm over groups of {} shards, but the global batch has {} shards.\n"
                                "Choose a number of shards per group that divides {}.",
                                group_shards, shards, shards));
  LS_CHECK(shards == static_cast<std::int64_t>(crew.shards()) * comm.size(),
           fmt::format("a crew of {} shards on {} ranks for {} shards", crew.shards(), comm.size(), shards));
  meeting_ = std::make_unique<Meeting>(comm, crew, group_shards);
  for (int shard = 0; shard < crew.shards(); ++shard) syncs_.push_back(std::make_unique<ShardSync>(*meeting_, shard));
}

NormSyncGroup::~NormSyncGroup() = default;

NormSync& NormSyncGroup::shard(int shard) { return *syncs_[static_cast<std::size_t>(shard)]; }

void NormSyncGroup::begin_step() { meeting_->forget(); }

}  // namespace lockstep
