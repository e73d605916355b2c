// A warm training step asks neither the system nor operator new for memory, and gradients move without copies where the
// ops promise it.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>
#include <utility>

#include "cpu/reference/reference_kernels.h"
#include "ops/add.h"
#include "ops/avg_pool.h"
#include "ops/batch_norm.h"
#include "ops/concat.h"
#include "ops/conv2d.h"
#include "ops/dropout.h"
#include "ops/flatten.h"
#include "ops/linear.h"
#include "ops/max_pool.h"
#include "ops/relu.h"
#include "ops/softmax_cross_entropy.h"
#include "tests/ops/sample_values.h"

namespace {
std::atomic<std::uint64_t> news{0};
}

// Not inlined: the compiler must not see malloc's memory in a delete, or free in a place where it knows of a new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++news;
  if (void* block = std::malloc(size)) return block;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }

namespace lockstep {
namespace {

class FixedSink final : public GradSink {
 public:
  explicit FixedSink(const std::vector<Parameter>& parameters) {
    for (const Parameter& p : parameters) grads_.push_back(Tensor::empty(p.value.shape(), p.value.dtype()));
  }
  Tensor gradient(const Parameter& parameter) override { return grads_[static_cast<std::size_t>(parameter.id)]; }
  void mark_ready(const Parameter&) override { ++ready; }
  int ready = 0;

 private:
  std::vector<Tensor> grads_;
};

TEST(WarmStep, AllocatesNothing) {
  const auto kernels = make_reference_kernels();
  std::vector<Parameter> parameters;
  const auto parameter = [&](const Shape& shape) {
    const auto id = static_cast<int>(parameters.size());
    parameters.push_back({id, "p", ParameterKind::kWeight, random_tensor(shape, DType::kF32, static_cast<std::uint64_t>(id))});
  };
  for (const Shape& shape : {Shape{4, 3, 3, 3}, Shape{4}, Shape{4}, Shape{5, 72}, Shape{5}}) parameter(shape);
  const Buffer mean{0, "m", Tensor::zeros({4}, DType::kF32)}, var{1, "v", Tensor::zeros({4}, DType::kF32)};
  const Tensor images = random_tensor({2, 3, 8, 8}, DType::kF32, 50), labels = from_vector({2}, DType::kI32, {1, 4});
  const Tensor one = from_vector({}, DType::kF32, {1});
  FixedSink sink(parameters);
  Tape tape;
  const auto step = [&] {
    Context ctx{.kernels = *kernels, .tape = &tape, .training = true};
    const Var x{images};
    const Var a = conv2d(ctx, x, ctx.use(parameters[0]));
    const Var b = batch_norm(ctx, a, {parameters[1], parameters[2], mean, var}, {.relu = true});
    const Var c = add(ctx, relu(ctx, a), b);
    const std::array<Var, 2> both{max_pool(ctx, c, {}), avg_pool(ctx, c, {})};
    const Var d = dropout(ctx, flatten(ctx, concat(ctx, both)), 0.5);
    const Var bias = ctx.use(parameters[4]);
    const LossResult loss = softmax_cross_entropy(ctx, linear(ctx, d, ctx.use(parameters[3]), &bias), labels, 0.1);
    tape.backward(loss.loss, one, &sink);
    tape.reset();
  };
  const std::uint64_t cold = news.load();
  step();
  EXPECT_GT(news.load(), cold) << "the control: a cold step is seen to allocate";
  step();
  sink.ready = 0;
  const std::uint64_t before = news.load(), system = cpu_pool().stats().system_allocations;
  const std::size_t in_use = cpu_pool().stats().in_use_bytes;
  step();
  EXPECT_EQ(news.load() - before, 0u);
  EXPECT_EQ(cpu_pool().stats().system_allocations - system, 0u);
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, in_use) << "a step must give back what it took";
  EXPECT_EQ(sink.ready, 5);
}

// The memory that one op's backward takes, beyond what is in use when it begins.
template <class Op>
std::size_t backward_peak(Op op) {
  const auto kernels = make_reference_kernels();
  Tape tape;
  Context ctx{.kernels = *kernels, .tape = &tape, .training = true};
  const Var x = tape.input(random_tensor({8, 16, 16, 16}, DType::kF64, 1));
  Var y = op(ctx, x);
  Tensor seed = random_tensor(y.value.shape(), DType::kF64, 2);
  const std::size_t before = cpu_pool().stats().in_use_bytes;
  cpu_pool().reset_peak();
  tape.backward(y, std::move(seed), nullptr);
  return cpu_pool().stats().peak_bytes - before;
}

TEST(BackwardMemory, ReluFlattenAndAddTakeOverTheGradient) {
  EXPECT_EQ(backward_peak([](Context& ctx, const Var& x) { return relu(ctx, x); }), 0u);
  EXPECT_EQ(backward_peak([](Context& ctx, const Var& x) { return flatten(ctx, x); }), 0u);
  const std::size_t image = 8 * 16 * 16 * 16 * sizeof(double);
  EXPECT_EQ(backward_peak([](Context& ctx, const Var& x) { return add(ctx, x, {x.value}); }), 0u);
  EXPECT_EQ(backward_peak([](Context& ctx, const Var& x) { return add(ctx, {x.value}, x); }), image) << "b gets a copy";
  EXPECT_EQ(backward_peak([](Context& ctx, const Var& x) { return max_pool(ctx, x, {}); }), image) << "the control";
}

// What stays alive behind a recorded op, seen by who else holds the tensors' memory.
TEST(Recording, KeepsWhatBackwardNeedsAndNothingElse) {
  const auto kernels = make_reference_kernels();
  Tape tape;
  Context ctx{.kernels = *kernels, .tape = &tape, .training = true};
  const auto kept = [&](bool x_on_tape, bool w_on_tape, auto op, const Shape& x_shape, const Shape& w_shape) {
    Var x{random_tensor(x_shape, DType::kF64, 1)}, w{random_tensor(w_shape, DType::kF64, 2)};
    if (x_on_tape) x = tape.input(std::move(x.value));
    if (w_on_tape) w = tape.input(std::move(w.value));
    const Var y = op(x, w);
    const std::pair result{x.value.shares_storage(), w.value.shares_storage()};
    tape.reset();
    EXPECT_FALSE(x.value.shares_storage() || w.value.shares_storage()) << "reset releases";
    return result;
  };
  const auto conv = [&](const Var& x, const Var& w) { return conv2d(ctx, x, w); };
  const auto full = [&](const Var& x, const Var& w) { return linear(ctx, x, w); };
  const auto check = [&](auto op, const Shape& x, const Shape& w) {
    EXPECT_EQ(kept(false, false, op, x, w), (std::pair{false, false}));
    EXPECT_EQ(kept(true, false, op, x, w), (std::pair{false, true})) << "dx needs w";
    EXPECT_EQ(kept(false, true, op, x, w), (std::pair{true, false})) << "dw needs x";
    EXPECT_EQ(kept(true, true, op, x, w), (std::pair{true, true}));
  };
  check(conv, {1, 2, 3, 3}, {2, 2, 1, 1});
  check(full, {2, 3}, {4, 3});
  const auto pool = [&](const Var& x, const Var&) { return max_pool(ctx, x, {}); };
  EXPECT_EQ(kept(true, false, pool, {1, 1, 2, 2}, {1}), (std::pair{false, false})) << "indices are enough";
}

}  // namespace
}  // namespace lockstep
