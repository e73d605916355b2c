// The average of weights: its arithmetic, its place in a step, in a checkpoint and in evaluation.
// SPDX-License-Identifier: Apache-2.0
#include "train/weight_average.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/tolerance.h"
#include "tests/train/step_job.h"

namespace lockstep {
namespace {

using namespace testing_job;

const Overrides kAveraged{"average.decay=0.9"};

bool same_bits(const Tensor& a, const Tensor& b) { return a.shape() == b.shape() && std::memcmp(a.ptr(), b.ptr(), a.nbytes()) == 0; }

std::vector<Tensor> copies(const std::vector<NamedTensor>& tensors) {
  std::vector<Tensor> result;
  for (const NamedTensor& each : tensors) result.push_back(each.tensor.clone());
  return result;
}

std::vector<Tensor> copied_values(const Model& model) {
  std::vector<Tensor> result;
  for (const Parameter* parameter : model.parameters()) result.push_back(parameter->value.clone());
  for (const Buffer* buffer : model.buffers()) result.push_back(buffer->value.clone());
  return result;
}

TEST(WeightAverage, WarmUpRaisesTheDecayFromChangeToChange) {
  const Session warm = session_of({"average.decay=0.99", "average.every_steps=2"});
  EXPECT_EQ(warm.average->decay_at(1), 0.1) << "no change so far";
  EXPECT_EQ(warm.average->decay_at(3), 2.0 / 11);
  EXPECT_EQ(warm.average->decay_at(2 * 890 - 1), 890.0 / 899);
  EXPECT_EQ(warm.average->decay_at(2 * 892 - 1), 0.99);
  const Session cold = session_of({"average.decay=0.99", "average.warmup=false"});
  EXPECT_EQ(cold.average->decay_at(0), 0.99);
}

TEST(WeightAverage, FollowsTheWeightsAndStatisticsOfEveryStep) {
  Session session = session_of({"average.decay=0.9", "average.warmup=false", "precision=FP64"});
  const auto comm = make_solo_communicator();
  std::vector<Tensor> want = copies(session.average->tensors());
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(same_bits(want[i], copied_values(*session.network.model)[i])) << "begins as a copy";
  for (int step = 0; step < 3; ++step) {
    run_steps(session, *comm, step, step + 1);
    const std::vector<Tensor> values = copied_values(*session.network.model);
    for (std::size_t i = 0; i < want.size(); ++i)
      for (std::size_t k = 0; k < want[i].host<double>().size(); ++k)
        want[i].host<double>()[k] = 0.9 * want[i].host<double>()[k] + 0.1 * values[i].host<double>()[k];
  }
  const std::vector<NamedTensor> got = session.average->tensors();
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    for (std::size_t k = 0; k < want[i].host<double>().size(); ++k) {
      const double value = want[i].host<double>()[k];
      EXPECT_NEAR(got[i].tensor.host<double>()[k], value, error_bound(DType::kF64, 8, std::fabs(value) + 1)) << got[i].name;
    }
}

TEST(WeightAverage, ChangesOnlyEverySoManySteps) {
  Session session = session_of({"average.decay=0.9", "average.every_steps=3"});
  const auto comm = make_solo_communicator();
  const std::vector<Tensor> before = copies(session.average->tensors());
  run_steps(session, *comm, 0, 2);
  EXPECT_TRUE(same_bits(before[0], session.average->tensors()[0].tensor));
  run_steps(session, *comm, 2, 3);
  EXPECT_FALSE(same_bits(before[0], session.average->tensors()[0].tensor));
}

TEST(WeightAverage, IsPartOfTheStateAndTheSameAtAnyNumberOfRanks) {
  const std::string one = digest_after(kAveraged, 3);
  EXPECT_EQ(digest_after(kAveraged, 3, 2), one);
  EXPECT_EQ(digest_after(kAveraged, 3, 4), one);
  EXPECT_NE(digest_after({"average.decay=0.8", "average.warmup=false"}, 3), digest_after({"average.decay=0.9", "average.warmup=false"}, 3));
  const Session session = session_of(kAveraged), plain = session_of({});
  EXPECT_EQ(hash_state(session).size(), hash_state(plain).size() + session.average->tensors().size());
}

TEST(WeightAverage, AResumedRunHasTheDigestOfOneThatWasNot) {
  const auto comm = make_solo_communicator();
  Session first = session_of(kAveraged), second = session_of(kAveraged);
  run_steps(first, *comm, 0, 3);
  EXPECT_EQ(restore_state(capture_state(first, 3), second), 3);
  run_steps(second, *comm, 3, 6);
  EXPECT_EQ(digest_of(second, 6), digest_after(kAveraged, 6));
}

TEST(WeightAverage, ACheckpointWithoutItIsTakenOnlyOnDemand) {
  Session without = session_of({}), with = session_of(kAveraged);
  const auto comm = make_solo_communicator();
  run_steps(without, *comm, 0, 2);
  const TrainingState saved = capture_state(without, 2);
  EXPECT_FALSE(has_average(saved));
  try {
    restore_state(saved, with);
    FAIL() << "restored an average that was never saved";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("tensor 'average.conv1.weight' is missing"), std::string::npos) << error.what();
  }
  restore_state(saved, with, true);
  const std::vector<Tensor> values = copied_values(*without.network.model), averages = copies(with.average->tensors());
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_TRUE(same_bits(values[i], averages[i]));
}

TEST(WeightAverage, EvaluationsUseItAndLeaveTheWeightsAsTheyWere) {
  Session session = session_of({"average.decay=0.9", "precision=BF16"});
  const auto comm = make_solo_communicator();
  run_steps(session, *comm, 0, 2);
  const Model& model = *session.network.model;
  const std::vector<Tensor> values = copied_values(model), averages = copies(session.average->tensors());
  EXPECT_FALSE(same_bits(values[0], averages[0]));
  std::vector<Tensor> compute;
  for (const Parameter* parameter : model.parameters()) compute.push_back(parameter->compute ? parameter->compute.clone() : Tensor());
  {
    const WeightAverage::Use use(*session.average, session.network);
    const std::vector<Tensor> used = copied_values(model);
    for (std::size_t i = 0; i < used.size(); ++i) EXPECT_TRUE(same_bits(used[i], averages[i]));
    const Parameter& first = *model.parameters()[0];
    ASSERT_TRUE(first.compute);
    for (std::size_t k = 0; k < first.value.host<float>().size(); ++k)
      EXPECT_EQ(first.compute.host<bf16>()[k].bits, bf16(first.value.host<float>()[k]).bits);
  }
  const std::vector<Tensor> after = copied_values(model);
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(same_bits(after[i], values[i]));
  for (std::size_t i = 0; i < compute.size(); ++i) EXPECT_TRUE(!compute[i] || same_bits(compute[i], model.parameters()[i]->compute));
  Session evaluated = session_of({});
  restore_evaluated_model(capture_state(session, 2), *evaluated.network.model);
  const std::vector<Tensor> restored = copied_values(*evaluated.network.model);
  for (std::size_t i = 0; i < restored.size(); ++i) EXPECT_TRUE(same_bits(restored[i], averages[i]));
}

TEST(WeightAverage, AStepThatIsNotFiniteLeavesItAlone) {
  Session session = session_of(kAveraged);
  const auto comm = make_solo_communicator();
  session.network.model->parameters()[0]->value.host<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Tensor> before = copies(session.average->tensors());
  EXPECT_FALSE(run_steps(session, *comm, 0, 1).at(0).finite);
  const std::vector<NamedTensor> after = session.average->tensors();
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(same_bits(before[i], after[i].tensor)) << after[i].name;
}

}  // namespace
}  // namespace lockstep
