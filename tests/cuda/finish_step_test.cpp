// A step's end on the device, without the host, against the composed form of ops/kernels.cpp in f64 on the host: every state that
// the control can take, clipping, LARS, and what is recorded and replayed.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/reference/reference_kernels.h"
#include "cuda/kernels/optimizer.h"
#include "tests/cuda/optimizer_test_util.h"

namespace lockstep {
namespace {

using namespace host_tensors;

constexpr std::size_t kFirst = 0;

// The control on the device, and the oracle's on the host.
class ControlPair {
 public:
  explicit ControlPair(const StepControl& start) : host_(as_bytes(start)), device_(on_gpu(host_)) {}
  StepControl& wanted() { return *static_cast<StepControl*>(host_.ptr()); }
  Tensor& host_bytes() { return host_; }
  Tensor& on_device() { return device_; }
  StepControl got() const {
    const Tensor copy = to_host(device_);
    StepControl control;
    std::memcpy(&control, copy.ptr(), sizeof control);
    return control;
  }
  // What the host sets before a step.
  void set(double lr, std::uint64_t step) {
    StepControl control = got();
    control.lr = wanted().lr = lr;
    control.step = wanted().step = step;
    copy_contents(as_bytes(control), device_);
  }

 private:
  static Tensor as_bytes(const StepControl& control) {
    Tensor bytes = Tensor::zeros({sizeof(StepControl)}, DType::kU8);
    std::memcpy(bytes.ptr(), &control, sizeof control);
    return bytes;
  }
  Tensor host_, device_;
};

void expect_same_state(const StepControl& got, const StepControl& want) {
  EXPECT_EQ(got.lr, want.lr);
  EXPECT_EQ(got.step, want.step);
  EXPECT_EQ(got.loss_scale, want.loss_scale);
  EXPECT_EQ(got.good_steps, want.good_steps);
  EXPECT_EQ(got.skipped, want.skipped);
  EXPECT_EQ(got.halted, want.halted);
  EXPECT_EQ(got.finite, want.finite);
  EXPECT_EQ(got.first_bad, want.first_bad);
  EXPECT_EQ(got.done_step, want.done_step);
  EXPECT_TRUE(within(got.grad_norm, want.grad_norm, 4 * error_bound(DType::kF64, 170000, want.grad_norm))) << got.grad_norm << " " << want.grad_norm;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(within(got.totals[i], want.totals[i], 0)) << "total " << i;
}

// Everything that a step's end touches, on both sides.
struct StepRun {
  explicit StepRun(const StepControl& start, DType copies = DType::kF16, Place place = Place::kAligned) : model(place, copies), control(start) {
    for (const std::int64_t channels : {1, 64, 20000}) {
      const auto id = static_cast<std::uint64_t>(channels);
      observed.push_back(on_gpu(random_host({channels}, id)));
      average.push_back(on_gpu(random_host({channels}, id + 1)));
      observed64.push_back(widened(random_host({channels}, id)));
      average64.push_back(widened(random_host({channels}, id + 1)));
    }
  }

  std::vector<AverageTensor> averages() {
    std::vector<AverageTensor> result;
    for (std::size_t i = 0; i < average.size(); ++i) result.push_back({average[i], observed[i], 0.1 + 0.1 * static_cast<double>(i)});
    return result;
  }
  void finish_on_device(cuda::DeviceOptimizer& optimizer, const UpdateRule& rule) {
    optimizer.finish_step(gpu_stream(), model.on_device(), averages(), totals, rule, control.on_device());
  }
  void finish_on_host(Kernels& reference, const UpdateRule& rule) {
    std::vector<AverageTensor> result;
    for (std::size_t i = 0; i < average.size(); ++i) result.push_back({average64[i], observed64[i], 0.1 + 0.1 * static_cast<double>(i)});
    reference.finish_step({}, model.wide(), result, totals64, rule, control.host_bytes());
  }
  void set_loss(double loss) {
    set_value(totals64, kFirst, loss);
    copy_contents(totals64, totals);
  }
  void expect_averages(int steps) const {
    for (std::size_t i = 0; i < average.size(); ++i)
      expect_close("average", to_host(average[i]), average64[i], map_f64(average64[i], [](double) { return 1.0; }), 4 * steps);
  }

  Model model;
  ControlPair control;
  Tensor totals64 = random_host({5}, 77, DType::kF64), totals = on_gpu(totals64);
  std::vector<Tensor> observed, average, observed64, average64;
};

class CudaFinishStep : public ::testing::Test {
 protected:
  // One step on both sides; nothing may differ.
  void step(StepRun& run, const UpdateRule& rule, int steps_so_far) {
    run.control.set(0.1 / steps_so_far, static_cast<std::uint64_t>(100 + steps_so_far));
    run.finish_on_device(optimizer_, rule);
    run.finish_on_host(*reference_, rule);
    expect_same_state(run.control.got(), run.control.wanted());
    run.model.expect_close_to_wide(steps_so_far);
    run.model.expect_copies_are_rounded_values();
    run.expect_averages(steps_so_far);
  }
  void expect_untouched(StepRun& run, const std::function<void()>& call) {
    const std::vector<Tensor> before = run.model.values_on_host();
    const Tensor average = to_host(run.average[1]);
    call();
    const std::vector<Tensor> after = run.model.values_on_host();
    for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(same_bits(before[i], after[i])) << i;
    EXPECT_TRUE(same_bits(average, to_host(run.average[1])));
  }

  cuda::DeviceOptimizer optimizer_{gpu()};
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
};

TEST_F(CudaFinishStep, UpdatesLikeTheComposedForm) {
  for (const Place place : kPlaces)
    for (const DType copies : {DType::kF32, DType::kBF16, DType::kF16})
      for (const bool nesterov : {false, true}) {
        StepRun run({}, copies, place);
        for (int i = 1; i <= 3; ++i) {
          run.model.set_gradients(static_cast<std::uint64_t>(i), 1);
          step(run, {.momentum = 0.9, .nesterov = nesterov}, i);
        }
      }
}

TEST_F(CudaFinishStep, ClipsOnlyWhatIsLonger) {
  for (const double clip : {1.0, 1e9}) {
    StepRun run({.loss_scale = 4});
    run.model.set_gradients(1, 4);
    const Tensor before = run.model.values_on_host()[0];
    step(run, {.clip_norm = clip}, 1);
    EXPECT_GT(run.control.got().grad_norm, 1);
    EXPECT_FALSE(same_bits(before, run.model.values_on_host()[0]));
  }
}

TEST_F(CudaFinishStep, LarsScalesEachTensorThatDecays) {
  StepRun run({.loss_scale = 8});
  for (int i = 1; i <= 2; ++i) {
    run.model.set_gradients(static_cast<std::uint64_t>(i), 8);
    step(run, {.clip_norm = 50, .lars = {.enabled = true, .eta = 0.02, .eps = 1e-3}}, i);
  }
  run.model.set_gradients(9, 0);  // a norm of 0: the plain rate
  step(run, {.lars = {.enabled = true, .eta = 0.02}}, 3);
}

// Which of two equal steps is LARS's shows: a negative control.
TEST_F(CudaFinishStep, LarsIsNotPlainSgd) {
  StepRun plain({}), lars({});
  plain.control.set(0.1, 1);
  lars.control.set(0.1, 1);
  plain.finish_on_device(optimizer_, {});
  lars.finish_on_device(optimizer_, {.lars = {.enabled = true}});
  const auto a = plain.model.values_on_host(), b = lars.model.values_on_host();
  EXPECT_TRUE(same_bits(a[0], b[0]));   // tensor 0 doesn't decay
  EXPECT_FALSE(same_bits(a[2], b[2]));  // tensor 1 does
}

TEST_F(CudaFinishStep, AnOverflowIsSkippedAndHalvesTheScaleDownToItsFloor) {
  const UpdateRule rule{.scaling = {.enabled = true, .growth_steps = 3, .floor = 3}};
  StepRun run({.loss_scale = 8, .good_steps = 2});
  run.model.set_gradient_element(3, 16383, INFINITY);
  run.model.set_gradient_element(5, 40000, std::nan(""));
  expect_untouched(run, [&] { step(run, rule, 1); });
  EXPECT_EQ(run.control.got().loss_scale, 4);
  EXPECT_EQ(run.control.got().first_bad, 3);
  EXPECT_EQ(run.control.got().skipped, 1u);
  expect_untouched(run, [&] { step(run, rule, 2); });
  EXPECT_EQ(run.control.got().loss_scale, 3);
  EXPECT_EQ(run.control.got().halted, 0u);
  expect_untouched(run, [&] { step(run, rule, 3); });
  EXPECT_EQ(run.control.got().halted, 1u);
  run.model.set_gradients(4, 1);  // too late: nothing is updated any more, and who was bad stays known
  expect_untouched(run, [&] { step(run, rule, 4); });
  EXPECT_EQ(run.control.got().first_bad, 3);
  EXPECT_EQ(run.control.got().done_step, 104u);
}

TEST_F(CudaFinishStep, GoodStepsDoubleTheScaleUpToItsCeiling) {
  const UpdateRule rule{.scaling = {.enabled = true, .growth_steps = 2, .ceiling = 24}};
  StepRun run({.loss_scale = 8});
  const double scales[] = {8, 16, 16, 24, 24, 24};
  for (int i = 1; i <= 6; ++i) {
    run.model.set_gradients(static_cast<std::uint64_t>(i), run.control.got().loss_scale);
    step(run, rule, i);
    EXPECT_EQ(run.control.got().loss_scale, scales[i - 1]) << i;
  }
}

TEST_F(CudaFinishStep, WithoutScalingABadGradientHalts) {
  StepRun run({});
  run.model.set_gradient_element(5, 50000, std::nan(""));
  expect_untouched(run, [&] { step(run, {}, 1); });
  EXPECT_EQ(run.control.got().halted, 1u);
  EXPECT_EQ(run.control.got().first_bad, 5);
}

TEST_F(CudaFinishStep, ALossThatIsNotFiniteIsABadStep) {
  for (const double loss : {std::nan(""), static_cast<double>(INFINITY)})
    for (const bool scaling : {false, true}) {
      StepRun run({.loss_scale = 16});
      run.set_loss(loss);
      expect_untouched(run, [&] { step(run, {.scaling = {.enabled = scaling}}, 1); });
      EXPECT_EQ(run.control.got().halted, scaling ? 0u : 1u);
      EXPECT_EQ(run.control.got().first_bad, -1);
    }
}

TEST_F(CudaFinishStep, NothingToUpdateIsAGoodStep) {
  StepRun run({});
  optimizer_.finish_step(gpu_stream(), {}, {}, run.totals, {}, run.control.on_device());
  EXPECT_EQ(run.control.got().finite, 1u);
  EXPECT_EQ(run.control.got().grad_norm, 0);
}

// Recorded once, replayed with other rates, gradients and an overflow among them: the bits of eager calls.
TEST_F(CudaFinishStep, ReplayedWithAnotherControlItIsTheEagerCall) {
  const UpdateRule rule{.clip_norm = 300, .lars = {.enabled = true, .eta = 0.02}, .scaling = {.enabled = true, .growth_steps = 2}};
  Accelerator& accelerator = test_accelerator();
  StepRun eager({.loss_scale = 16}), recorded({.loss_scale = 16});
  std::unique_ptr<RecordedWork> work;
  const std::unique_ptr<MemoryPool> pool = accelerator.make_pool();  // its scratch belongs to the recording
  for (int i = 1; i <= 6; ++i) {
    for (StepRun* run : {&eager, &recorded}) {
      run->control.set(0.1 / i, static_cast<std::uint64_t>(i));
      run->model.set_gradients(static_cast<std::uint64_t>(i), 16);
      if (i == 4) run->model.set_gradient_element(2, 7, INFINITY);
    }
    eager.finish_on_device(optimizer_, rule);
    if (i == 1) {
      const PoolScope scope(*pool);
      recorded.finish_on_device(optimizer_, rule);  // uploads the tables and takes the scratch once
      accelerator.synchronize(gpu_stream());
      accelerator.begin_recording(gpu_stream());
      recorded.finish_on_device(optimizer_, rule);
      work = accelerator.end_recording(gpu_stream());
      EXPECT_EQ(work->node_count(), 4u);  // norms, verdict, update, averages
    } else {
      accelerator.replay(gpu_stream(), *work);
    }
    expect_same_state(recorded.control.got(), eager.control.got());
    recorded.model.expect_same_bits_as(eager.model);
    for (std::size_t k = 0; k < eager.average.size(); ++k) EXPECT_TRUE(same_bits(to_host(eager.average[k]), to_host(recorded.average[k])));
  }
  EXPECT_EQ(recorded.control.got().skipped, 1u);
  accelerator.synchronize(gpu_stream());
}

}  // namespace
}  // namespace lockstep
