// Are the gradient checks able to fail? Each mutant must be noticed by at least one sample of its op. Run with
// LOCKSTEP_LIST_MUTANTS=1 to see which sample caught which mutant.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <set>

#include "cpu/reference/reference_kernels.h"
#include "tests/ops/gradient_check.h"
#include "tests/ops/mutants.h"

namespace lockstep {
namespace {

struct PreparedSample {
  const OpSample* sample;
  CallMode mode;
  SampleData data;
  Differences wanted;
  std::string name() const { return sample->name + (mode == CallMode::kTwice ? " (two uses)" : ""); }
};

// The differences need a sound backend and do not change from mutant to mutant.
std::vector<PreparedSample> prepare(Kernels& kernels, const OpSpec& op) {
  std::vector<PreparedSample> prepared;
  for (const CallMode mode : {CallMode::kOnce, CallMode::kTwice})
    for (const OpSample& sample : op.samples) {
      SampleData data = draw_sample(kernels, sample, DType::kF64);
      Differences wanted = differences(kernels, sample, call_mode(sample, mode), data);
      if (!wanted.all.empty()) prepared.push_back({&sample, mode, std::move(data), std::move(wanted)});
    }
  return prepared;
}

std::string describe(const Mutant& mutant) {
  return mutant.op + ": " + (mutant.kernel.empty() ? "gradient of its inputs" : mutant.kernel) + ", " + mutant.change;
}

// The name of the first sample that notices, or nothing.
std::string caught_by(Kernels& sound, const Mutant& mutant, const std::vector<PreparedSample>& samples) {
  const auto spoilt = make_mutant_kernels(sound, mutant);
  for (const PreparedSample& prepared : samples) {
    std::function<Var(Context&, const Var&)> wrap;
    if (mutant.kernel.empty()) wrap = [&](Context& ctx, const Var& x) { return spoilt_identity(ctx, x, mutant.change); };
    const SampleRun run = call_mode(*prepared.sample, prepared.mode);
    const SampleResult got = run_with_gradients(*spoilt, *prepared.sample, run, prepared.data, prepared.wanted.seed, wrap);
    if (!compare_gradients(*prepared.sample, got.gradients, prepared.wanted).empty()) return prepared.name();
  }
  return {};
}

TEST(Mutation, EveryBrokenBackwardIsNoticed) {
  const auto sound = make_reference_kernels();
  const bool list = std::getenv("LOCKSTEP_LIST_MUTANTS") != nullptr;
  std::map<std::string, std::vector<PreparedSample>> samples;
  for (const OpSpec& op : all_ops()) samples[op.name] = prepare(*sound, op);
  int caught = 0, total = 0;
  std::set<std::string> covered;
  for (const Mutant& mutant : all_mutants()) {
    if (samples.at(mutant.op).empty()) continue;  // an op without gradients
    const std::string by = caught_by(*sound, mutant, samples.at(mutant.op));
    ++total;
    if (!by.empty()) ++caught;
    covered.insert(mutant.op);
    EXPECT_FALSE(by.empty()) << "survived: " << describe(mutant);
    if (list) std::cout << (by.empty() ? "SURVIVED  " : "caught    ") << describe(mutant) << "; " << by << "\n";
  }
  for (const auto& [op, prepared] : samples) EXPECT_TRUE(prepared.empty() || covered.contains(op)) << op << " has no mutant";
  std::cout << caught << " of " << total << " mutants caught\n";
}

// The control: the decorator itself breaks nothing.
TEST(Mutation, TheUnspoiltDecoratorPasses) {
  const auto sound = make_reference_kernels();
  for (const OpSpec& op : all_ops()) {
    const std::string by = caught_by(*sound, {op.name, "no such kernel", ""}, prepare(*sound, op));
    EXPECT_TRUE(by.empty()) << op.name << ": " << by;
  }
}

}  // namespace
}  // namespace lockstep
