// SPDX-License-Identifier: Apache-2.0
#include "planning/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <span>

#include "core/error.h"
#include "core/philox.h"

namespace lockstep {
namespace {

// Standard normal draws, one per (step, index); cut at 4 deviations, so that no time becomes negative or absurd.
double normal(std::uint64_t seed, int step, std::uint64_t index) {
  const PhiloxBlock bits = RandomKey{.seed = seed, .purpose = RandomPurpose::kTest, .a = static_cast<std::uint32_t>(step), .b = index}.block(0);
  const double u = (static_cast<double>(bits[0]) + 0.5) * 0x1p-32, v = static_cast<double>(bits[1]) * 0x1p-32;
  return std::clamp(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v), -4.0, 4.0);
}

constexpr std::uint64_t kLinks = std::uint64_t{1} << 32;  // indices of hosts' links; ranks lie below

class Simulator {
 public:
  Simulator(const SimulatedStep& step, const ClusterDescription& cluster, const SimulationOptions& options)
      : step_(step), cluster_(cluster), options_(options), clocks_(static_cast<std::size_t>(options.ranks)), pace_(clocks_.size()),
        next_(clocks_.size()), link_(static_cast<std::size_t>(cluster.hosts(options.ranks))) {
    for (const SimulatedBucket& bucket : step.buckets) {
      reductions_.push_back(plan_all_reduce(cluster, options.order, options.ranks, bucket.bytes));
      levels_.push_back(reductions_.back().algorithm == Algorithm::kHalving ? exchange_levels(cluster, options.ranks, bucket.bytes)
                                                                           : std::vector<ExchangeLevel>{});
    }
  }

  SimulationResult run();

 private:
  void draw(int step);
  void run_step(SimulationResult& result);
  void reduce(std::size_t bucket);
  void exchange(const ExchangeLevel& level);

  double last(std::span<const double> times) const { return *std::ranges::max_element(times); }

  const SimulatedStep& step_;
  const ClusterDescription& cluster_;
  const SimulationOptions& options_;
  std::vector<AllReduce> reductions_;               // by bucket, undisturbed
  std::vector<std::vector<ExchangeLevel>> levels_;  // by bucket, of halving
  std::vector<double> clocks_;  // by rank: when it began the step
  std::vector<double> pace_;    // by rank: its computing takes so many times longer in this step
  std::vector<double> next_;    // by rank: when its communication stream is free
  std::vector<double> link_;    // by host
};

void Simulator::draw(int step) {
  const double share = options_.straggler_share;
  for (std::size_t rank = 0; rank < pace_.size(); ++rank) pace_[rank] = std::max(0.1, 1 + share * normal(options_.seed, step, rank));
  for (std::size_t host = 0; host < link_.size(); ++host) link_[host] = std::max(0.1, 1 + share * normal(options_.seed, step, kLinks + host));
}

void Simulator::exchange(const ExchangeLevel& level) {
  const auto per_host = static_cast<std::size_t>(cluster_.ranks_per_host), distance = static_cast<std::size_t>(level.distance);
  for (std::size_t rank = 0; rank < next_.size(); ++rank) {
    const std::size_t peer = rank ^ distance;
    if (peer < rank) continue;
    const double slower = level.between_hosts ? std::max(link_[rank / per_host], link_[peer / per_host]) : 1;
    next_[rank] = next_[peer] = std::max(next_[rank], next_[peer]) + level.seconds * slower;
  }
}

// Every rank's stream has come as far as next_, and this bucket's gradients are ready: runs its all-reduce.
void Simulator::reduce(std::size_t bucket) {
  if (reductions_[bucket].algorithm == Algorithm::kHalving) {
    for (const ExchangeLevel& level : levels_[bucket]) exchange(level);
    return;
  }
  const double slower = link_.size() > 1 ? last(link_) : 1;
  std::ranges::fill(next_, last(next_) + reductions_[bucket].seconds * slower);
}

void Simulator::run_step(SimulationResult& result) {
  const double begin = last(clocks_);
  for (double& clock : clocks_) clock -= begin;  // times are short beside a run's: no digits are lost
  double computed = -1;
  for (std::size_t rank = 0; rank < clocks_.size(); ++rank) {
    next_[rank] = clocks_[rank] + (step_.overlap ? 0 : step_.compute_s * pace_[rank]);
    computed = std::max(computed, clocks_[rank] + step_.compute_s * pace_[rank]);
  }
  const bool first = result.begin_s.empty();
  for (std::size_t b = 0; b < step_.buckets.size() && options_.ranks > 1; ++b) {
    for (std::size_t rank = 0; rank < clocks_.size(); ++rank)
      next_[rank] = std::max(next_[rank], clocks_[rank] + step_.buckets[b].ready_s * pace_[rank]);
    if (first) result.begin_s.push_back(last(next_));
    reduce(b);
    if (first) result.end_s.push_back(last(next_));
  }
  for (std::size_t rank = 0; rank < clocks_.size(); ++rank)
    clocks_[rank] = std::max(next_[rank], clocks_[rank] + step_.compute_s * pace_[rank]) + step_.update_s;
  const double end = last(clocks_);
  result.straggler_s += computed - step_.compute_s;
  result.exposed_s += end - step_.update_s - computed;
  result.step_s += end;
  result.slowest_step_s = std::max(result.slowest_step_s, end);
}

SimulationResult Simulator::run() {
  SimulationResult result;
  for (int step = 0; step < options_.steps; ++step) {
    draw(step);
    run_step(result);
  }
  for (double* sum : {&result.step_s, &result.straggler_s, &result.exposed_s}) *sum /= options_.steps;
  result.compute_s = step_.compute_s;
  result.update_s = step_.update_s;
  for (const AllReduce& reduction : reductions_) {
    result.communication_s += reduction.seconds;
    result.algorithms.push_back(reduction.algorithm);
  }
  return result;
}

}  // namespace

SimulationResult simulate(const SimulatedStep& step, const ClusterDescription& cluster, const SimulationOptions& options) {
  LS_CHECK(options.ranks >= 1 && options.steps >= 1, "a simulation of nothing");
  if (options.ranks > kMostSimulatedRanks)
    throw UserError(fmt::format("{} ranks: at most {} can be simulated", options.ranks, kMostSimulatedRanks));
  return Simulator(step, cluster, options).run();
}

}  // namespace lockstep
