// The tape by itself: scalars, hand-written nodes, no ops.
// SPDX-License-Identifier: Apache-2.0
#include "core/tape.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"

namespace lockstep {
namespace {

Tensor number(double value) {
  Tensor t = Tensor::empty({}, DType::kF64);
  t.host<double>()[0] = value;
  return t;
}
double value_of(const Tensor& t) { return t.host<double>()[0]; }

void put(GradTarget target, double value) {
  if (target.mode == GradMode::kSkip) return;
  double& place = target.grad.host<double>()[0];
  place = target.mode == GradMode::kAccumulate ? place + value : value;
}

// a * b
Var multiply(Tape& tape, const Var& a, const Var& b) {
  const Var* const inputs[] = {&a, &b};
  return tape.record(number(value_of(a.value) * value_of(b.value)), inputs, [a = a.value, b = b.value](BackwardPass& pass) {
    const double g = value_of(pass.grad_output());
    put(pass.target(0), g * value_of(b));
    put(pass.target(1), g * value_of(a));
  });
}

class Sink final : public GradSink {
 public:
  Tensor gradient(const Parameter& parameter) override {
    log.push_back("gradient " + parameter.name);
    return grads[static_cast<std::size_t>(parameter.id)] = number(-1e9);  // must be overwritten
  }
  void mark_ready(const Parameter& parameter) override { log.push_back("ready " + parameter.name); }
  std::vector<std::string> log;
  Tensor grads[4];
};

Parameter parameter(int id, const std::string& name, double value) { return {id, name, ParameterKind::kWeight, number(value)}; }

TEST(Tape, GradientsOfAProduct) {
  Tape tape;
  const Var a = tape.input(number(3)), b = tape.input(number(5));
  const Var y = multiply(tape, multiply(tape, a, b), b);  // a b^2
  tape.backward(y, number(2), nullptr);
  EXPECT_EQ(value_of(tape.gradient_of(a)), 2 * 25);
  EXPECT_EQ(value_of(tape.gradient_of(b)), 2 * 2 * 3 * 5);
}

TEST(Tape, AnInputTwiceInOneNodeAddsUp) {
  Tape tape;
  const Var a = tape.input(number(7));
  tape.backward(multiply(tape, a, a), number(1), nullptr);
  EXPECT_EQ(value_of(tape.gradient_of(a)), 14);
}

TEST(Tape, ConstantsAreNotRecorded) {
  Tape tape;
  EXPECT_FALSE(multiply(tape, {number(2)}, {number(3)}).requires_grad());
  EXPECT_EQ(tape.size(), 0u);
  const Var a = tape.input(number(4));
  const Var y = multiply(tape, {number(2)}, a);
  EXPECT_EQ(tape.size(), 1u);
  tape.backward(y, number(1), nullptr);
  EXPECT_EQ(value_of(tape.gradient_of(a)), 2);
}

TEST(Tape, AParameterIsReadyOnceAfterItsLastContribution) {
  Tape tape;
  Sink sink;
  const Parameter p = parameter(0, "p", 2), q = parameter(1, "q", 3);
  const Var first = multiply(tape, tape.parameter(p), tape.parameter(q));   // p q
  const Var second = multiply(tape, first, tape.parameter(q));              // p q^2
  const Var third = multiply(tape, second, tape.parameter(p));              // p^2 q^2
  tape.backward(third, number(1), &sink);
  EXPECT_EQ(value_of(sink.grads[0]), 2 * 2 * 9);
  EXPECT_EQ(value_of(sink.grads[1]), 2 * 4 * 3);
  EXPECT_EQ(sink.log, (std::vector<std::string>{"gradient p", "gradient q", "ready p", "ready q"}));
}

TEST(Tape, LaterLayersAreReadyFirst) {
  Tape tape;
  Sink sink;
  const Parameter p = parameter(0, "p", 2), q = parameter(1, "q", 3), r = parameter(2, "r", 5);
  Var x = tape.input(number(1));
  for (const Parameter* layer : {&p, &q, &r}) x = multiply(tape, x, tape.parameter(*layer));
  tape.backward(x, number(1), &sink);
  EXPECT_EQ(sink.log, (std::vector<std::string>{"gradient r", "ready r", "gradient q", "ready q", "gradient p", "ready p"}));
}

TEST(Tape, NodesOffThePathAreDroppedWithoutRunning) {
  Tape tape;
  const Var a = tape.input(number(3));
  const Var used = multiply(tape, a, a);
  const Var* const inputs[] = {&a};
  int runs = 0;
  tape.record(number(0), inputs, [&runs](BackwardPass&) { ++runs; });
  tape.backward(used, number(1), nullptr);
  EXPECT_EQ(runs, 0);
  EXPECT_EQ(value_of(tape.gradient_of(a)), 6);
}

TEST(Tape, AParameterOffThePathIsAnError) {
  Tape tape;
  Sink sink;
  const Parameter p = parameter(0, "layer.weight", 2), q = parameter(1, "q", 2);
  const Var a = tape.input(number(3));
  multiply(tape, a, tape.parameter(p));
  const Var y = multiply(tape, a, tape.parameter(q));
  try {
    tape.backward(y, number(1), &sink);
    FAIL();
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("parameter layer.weight was used but received no gradient"), std::string::npos);
  }
}

TEST(Tape, NodesReleaseWhatTheyKeepAsTheyArePassed) {
  Tape tape;
  auto early = std::make_shared<int>(0), late = std::make_shared<int>(0);
  const std::weak_ptr<int> early_seen = early, late_seen = late;
  const Var a = tape.input(number(1));
  const Var* const first_inputs[] = {&a};
  bool late_was_gone = false;
  const Var b = tape.record(number(1), first_inputs, [early, &late_was_gone, late_seen](BackwardPass& pass) {
    late_was_gone = late_seen.expired();
    put(pass.target(0), 1);
  });
  const Var* const second_inputs[] = {&b};
  const Var c = tape.record(number(1), second_inputs, [late](BackwardPass& pass) { put(pass.target(0), 1); });
  early.reset();
  late.reset();
  EXPECT_FALSE(early_seen.expired() || late_seen.expired());
  tape.backward(c, number(1), nullptr);
  EXPECT_TRUE(late_was_gone) << "while the walk was still going on";
  EXPECT_TRUE(early_seen.expired());
}

TEST(Tape, ResetReleasesARecordedPassThatNeverRan) {
  Tape tape;
  auto kept = std::make_shared<int>(0);
  const std::weak_ptr<int> seen = kept;
  const Var a = tape.input(number(1));
  const Var* const inputs[] = {&a};
  tape.record(number(1), inputs, [kept = std::move(kept)](BackwardPass&) {});
  EXPECT_FALSE(seen.expired());
  tape.reset();
  EXPECT_TRUE(seen.expired());
  EXPECT_EQ(tape.size(), 0u);
}

TEST(Tape, AThrowingNodeIsDestroyedAndTheTapeCanBeReset) {
  Tape tape;
  auto kept = std::make_shared<int>(0);
  const std::weak_ptr<int> seen = kept;
  const Var a = tape.input(number(1));
  const Var* const inputs[] = {&a};
  const Var y = tape.record(number(1), inputs, [kept = std::move(kept)](BackwardPass&) { throw UserError("stop"); });
  EXPECT_THROW(tape.backward(y, number(1), nullptr), UserError);
  EXPECT_TRUE(seen.expired());
  tape.reset();
  const Var b = tape.input(number(3));
  tape.backward(multiply(tape, b, b), number(1), nullptr);
  EXPECT_EQ(value_of(tape.gradient_of(b)), 6);
}

TEST(Tape, GiveHandsOverAnExclusiveGradientOnce) {
  Tape tape;
  const Var a = tape.input(number(1));
  const Var* const inputs[] = {&a, &a};
  const void* given = nullptr;
  bool second = true, shared = true;
  const Var y = tape.record(number(1), inputs, [&](BackwardPass& pass) {
    Tensor g = pass.take_grad_output();
    const Tensor other = g;
    shared = pass.give(0, std::move(g));  // declined: somebody else could still see it
    g = number(4);
    given = g.ptr();
    EXPECT_TRUE(pass.give(0, std::move(g)));
    Tensor more = number(5);
    second = pass.give(1, std::move(more));  // declined: there is one already
    EXPECT_TRUE(more) << "a declined tensor is left alone";
    put(pass.target(1), 5);
  });
  tape.backward(y, number(1), nullptr);
  EXPECT_FALSE(shared);
  EXPECT_FALSE(second);
  EXPECT_EQ(tape.gradient_of(a).ptr(), given);
  EXPECT_EQ(value_of(tape.gradient_of(a)), 9);
}

TEST(Tape, MisuseIsCaught) {
  Tape tape;
  const Var a = tape.input(number(1));
  EXPECT_THROW(tape.backward({number(1)}, number(1), nullptr), InternalError) << "a constant";
  const Var y = multiply(tape, a, a);
  EXPECT_THROW(tape.backward(y, Tensor::zeros({2}, DType::kF64), nullptr), InternalError) << "the seed's shape";
  EXPECT_THROW(tape.backward(y, Tensor::zeros({}, DType::kF32), nullptr), InternalError) << "the seed's dtype";
  EXPECT_THROW((void)tape.gradient_of(a), InternalError) << "before the walk";
  EXPECT_THROW((void)tape.gradient_of({number(1)}), InternalError) << "not on the tape";
}

TEST(Tape, ManyNodesFillSeveralChunksAndAreReused) {
  Tape tape;
  for (int pass = 0; pass < 3; ++pass) {
    const Var a = tape.input(number(1));
    Var x = a;
    for (int i = 0; i < 3000; ++i) x = multiply(tape, x, {number(1.0)});
    tape.backward(x, number(3), nullptr);
    EXPECT_EQ(value_of(tape.gradient_of(a)), 3);
    tape.reset();
  }
}

}  // namespace
}  // namespace lockstep
