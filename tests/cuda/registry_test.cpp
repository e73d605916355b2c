// Every registered op on the device, in f32, bf16 and f16: outputs and gradients against the f64 reference, the same bits twice,
// and the same bits again when its forward pass is recorded and replayed.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "cpu/reference/reference_kernels.h"
#include "tests/cuda/device_test_util.h"
#include "tests/ops/sample_values.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

// Batch-norm parameters, biases, running statistics and logits are f32 whatever the activations are.
bool is_statistic(const SampleInput& input) {
  return input.role == InputRole::kBuffer || input.name == "bias" || input.name == "logits" ||
         (input.role == InputRole::kParameter && input.shape.rank() < 2);
}

Tensor converted(const Tensor& tensor, DType dtype) {
  if (!is_floating(tensor.dtype())) return tensor;
  Tensor result = Tensor::empty(tensor.shape(), dtype);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) set_value(result, i, get_value(tensor, i));
  return result;
}

bool same_bits(const Tensor& a, const Tensor& b) { return a.nbytes() == b.nbytes() && std::memcmp(a.ptr(), b.ptr(), a.nbytes()) == 0; }

double largest(const Tensor& tensor) {
  double size = 0;
  for (const double value : to_vector(tensor)) size = std::max(size, std::fabs(value));
  return size;
}

// Inputs as the device gets them (rounded), and the same numbers in f64.
struct Inputs {
  SampleData narrow, wide;
};
Inputs draw(Kernels& reference, const OpSample& sample, DType dtype) {
  for (std::uint64_t seed = 1;; ++seed) {
    Inputs inputs;
    for (const Tensor& drawn : draw_sample(reference, sample, DType::kF64, seed)) {
      const SampleInput& input = sample.inputs[inputs.narrow.size()];
      inputs.narrow.push_back(converted(drawn, is_statistic(input) ? DType::kF32 : dtype));
      inputs.wide.push_back(converted(inputs.narrow.back(), DType::kF64));
    }
    if (!sample.kink) return inputs;
    Context ctx = sample_context(reference, sample, nullptr);  // rounding may have moved values towards a kink
    const std::vector<double> kinks = to_vector(sample.kink(ctx, bind_values(sample, inputs.wide, nullptr)).value);
    if (std::all_of(kinks.begin(), kinks.end(), [](double v) { return std::fabs(v) >= kKinkMargin / 2; })) return inputs;
  }
}

// Parameters' values are f32 masters; filters are used in the activations' dtype.
SampleValues bind_on_device(const OpSample& sample, const SampleData& data, Tape* tape) {
  SampleValues values = bind_values(sample, data, tape);
  for (Parameter& parameter : values.parameters)
    if (parameter.value.dtype() != DType::kF32) {
      parameter.compute = parameter.value;
      parameter.value = on_gpu(converted(to_host(parameter.value), DType::kF32));
    }
  return values;
}

class DeviceSink final : public GradSink {
 public:
  Tensor gradient(const Parameter& parameter) override {
    Tensor nothing = Tensor::empty(parameter.value.shape(), parameter.value.dtype());
    std::memset(nothing.ptr(), 0xff, nothing.nbytes());  // NaNs: it must be overwritten
    return gradients[parameter.id] = on_gpu(nothing);
  }
  void mark_ready(const Parameter&) override {}
  std::map<int, Tensor> gradients;
};

SampleResult run_on_device(Kernels& kernels, const OpSample& sample, const SampleData& data, const Tensor& seed) {
  Tape tape;
  Context ctx = sample_context(kernels, sample, &tape);
  ctx.stream = gpu_stream();
  const SampleValues values = bind_on_device(sample, data, &tape);
  const Var y = sample.run(ctx, values);
  DeviceSink sink;
  SampleResult result{to_host(y.value), {}};
  if (y.requires_grad()) tape.backward(y, on_gpu(seed), &sink);
  std::size_t var = 0;
  int parameter = 0;
  for (const SampleInput& input : sample.inputs) {
    Tensor gradient;
    if (input.role == InputRole::kVariable) gradient = to_host(tape.gradient_of(values.vars[var]));
    if (input.role == InputRole::kParameter) gradient = to_host(sink.gradients.at(parameter++));
    if (input.role == InputRole::kVariable || input.role == InputRole::kConstant) ++var;
    result.gradients.push_back(std::move(gradient));
  }
  return result;
}

// The forward pass from a recording that is replayed twice, its output spoilt before each.
void expect_same_when_recorded(Kernels& kernels, const OpSample& sample, const SampleData& data, const Tensor& want) {
  Accelerator& accelerator = test_accelerator();
  const std::unique_ptr<MemoryPool> pool = accelerator.make_pool();
  Tensor spoilt = Tensor::empty(want.shape(), want.dtype());
  std::memset(spoilt.ptr(), 0xff, spoilt.nbytes());
  const SampleValues values = bind_on_device(sample, data, nullptr);
  const auto forward = [&] {
    const PoolScope scope(*pool);
    Context ctx = sample_context(kernels, sample, nullptr);
    ctx.stream = gpu_stream();
    return sample.run(ctx, values).value;
  };
  forward();  // what is prepared at a first call
  accelerator.synchronize(gpu_stream());
  accelerator.begin_recording(gpu_stream());
  Tensor y = forward();
  const std::unique_ptr<RecordedWork> recorded = accelerator.end_recording(gpu_stream());
  if (recorded->node_count() == 0) return;  // a view of its input: nothing to compute
  for (int replay = 0; replay < 2; ++replay) {
    copy_contents(spoilt, y);
    accelerator.replay(gpu_stream(), *recorded);
    EXPECT_TRUE(same_bits(to_host(y), want)) << "replay " << replay;
  }
}

struct Comparison {
  DType dtype;
  std::int64_t elements = 0;  // of all inputs: at least as many as any output depends on
  double amplification = 1;   // 1 + the largest input: what x - mean can lose

  void expect(const std::string& what, const Tensor& got, const Tensor& want) const {
    ASSERT_EQ(got.shape(), want.shape()) << what;
    const double bound = error_bound(dtype, elements + 16, largest(want) * amplification);
    for (std::int64_t i = 0; i < got.numel(); ++i)
      ASSERT_TRUE(within(get_value(got, i), get_value(want, i), bound))
          << what << " " << i << ": got " << get_value(got, i) << ", want " << get_value(want, i) << ", bound " << bound;
  }
};

void compare(Kernels& kernels, Kernels& reference, const OpSample& sample, DType dtype) {
  const Inputs inputs = draw(reference, sample, dtype);
  Comparison comparison{.dtype = dtype};
  SampleData data;
  for (const Tensor& tensor : inputs.narrow) {
    data.push_back(on_gpu(tensor));
    comparison.elements += tensor.numel();
    if (is_floating(tensor.dtype())) comparison.amplification = std::max(comparison.amplification, 1 + largest(tensor));
  }
  Context ctx = sample_context(kernels, sample, nullptr);
  ctx.stream = gpu_stream();
  const Tensor y = to_host(sample.run(ctx, bind_on_device(sample, data, nullptr)).value);
  const Tensor seed = converted(random_tensor(y.shape(), DType::kF64, 5), y.dtype());
  const SampleResult got = run_on_device(kernels, sample, data, seed);
  const SampleResult again = run_on_device(kernels, sample, data, seed);
  const bool wide_output = sample.inputs[0].role != InputRole::kBytes;
  const SampleResult want =
      run_with_gradients(reference, sample, sample.run, inputs.wide, wide_output ? converted(seed, DType::kF64) : seed);
  comparison.expect("output", got.output, want.output);
  EXPECT_TRUE(same_bits(got.output, again.output)) << "output of two runs";
  for (std::size_t i = 0; i < got.gradients.size(); ++i) {
    if (!got.gradients[i]) continue;
    comparison.expect("gradient of " + sample.inputs[i].name, got.gradients[i], want.gradients[i]);
    EXPECT_TRUE(same_bits(got.gradients[i], again.gradients[i])) << "gradient of " << sample.inputs[i].name << " of two runs";
  }
  expect_same_when_recorded(kernels, sample, data, y);
}

class CudaRegistry : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(EachDType, CudaRegistry, ::testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                         [](const auto& each) { return std::string(dtype_name(each.param)); });

TEST_P(CudaRegistry, EveryOpAgreesWithTheReferenceRepeatsAndCanBeRecorded) {
  test_accelerator();
  const std::unique_ptr<Kernels> kernels = make_cuda_kernels({.tf32 = false}), reference = make_reference_kernels();
  std::size_t samples = 0;
  for (const OpSpec& op : all_ops())
    for (const OpSample& sample : op.samples) {
      SCOPED_TRACE(op.name + ": " + sample.name);
      compare(*kernels, *reference, sample, GetParam());
      ++samples;
    }
  EXPECT_GE(samples, all_ops().size());
}

}  // namespace
}  // namespace lockstep
