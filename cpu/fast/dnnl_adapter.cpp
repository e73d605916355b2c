// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/dnnl_adapter.h"

#include <omp.h>

#include <array>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/rehearsal.h"
#include "core/tensor.h"
#include "cpu/fast/bf16_copy.h"
#include "cpu/fast/simd_dispatch.h"
#include "cpu/fast/dnnl_primitive.h"

namespace lockstep {
namespace {

Tensor scratch_bytes(std::size_t nbytes) { return Tensor::empty({static_cast<std::int64_t>(nbytes)}, DType::kU8); }

// What a problem runs on: its own primitive, or, for bf16 without a real kernel, its f32 twin on converted copies.
struct Entry {
  DnnlPrimitive made;
  bool converted = false;
};

using Pointers = std::array<const void*, 4>;

// oneDNN's instruction sets are sets of bits: a better one has the bits of those that it includes.
bool may_use(dnnl::cpu_isa wanted) {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa()), bits = static_cast<unsigned>(wanted);
  return (isa & bits) == bits;
}

}  // namespace

struct DnnlAdapter::Impl {
  explicit Impl(int thread_count) : threads(thread_count) { use_threads(); }

  const simd::SimdKernels& simd = select_simd_kernels();

  // oneDNN plans for, and runs with, OpenMP's current setting of the calling thread.
  void use_threads() const {
    if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
  }

  template <class Problem>
  Entry make(const Problem& problem);
  template <class Problem>
  Entry& find(std::map<Problem, Entry>& cache, const Problem& problem);
  template <class Problem>
  std::string implementation(std::map<Problem, Entry>& cache, const Problem& problem);
  template <class Problem>
  void run(std::map<Problem, Entry>& cache, const Problem& problem, const Pointers& pointers);
  template <class Problem>
  void run_converted(Entry& entry, const Problem& problem, const Pointers& pointers);
  void reorder(DnnlOperand& operand);
  void execute(DnnlPrimitive& primitive, const Pointers& pointers);

  int threads;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<ConvProblem, Entry> convolutions;
  std::map<MatmulProblem, Entry> matmuls;
  std::uint64_t created = 0;
};

// On AVX-512 without 16-bit products oneDNN emulates them: at a sixth of the speed of its f32 kernels.
template <class Problem>
Entry DnnlAdapter::Impl::make(const Problem& problem) {
  if (problem.dtype == DType::kF32) return {make_primitive(problem, engine)};
  try {
    if (bf16_is_fast()) {
      DnnlPrimitive native = make_primitive(problem, engine);
      if (!native.plain_loops()) return {std::move(native)};
    }
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
  }
  return {make_primitive(widened(problem), engine), true};
}

template <class Problem>
Entry& DnnlAdapter::Impl::find(std::map<Problem, Entry>& cache, const Problem& problem) {
  use_threads();
  const auto found = cache.find(problem);
  if (found != cache.end()) return found->second;
  ++created;
  return cache.emplace(problem, make(problem)).first->second;
}

template <class Problem>
std::string DnnlAdapter::Impl::implementation(std::map<Problem, Entry>& cache, const Problem& problem) {
  const Entry& entry = find(cache, problem);
  return (entry.converted ? "f32: " : "") + entry.made.implementation;
}

template <class Problem>
void DnnlAdapter::Impl::run(std::map<Problem, Entry>& cache, const Problem& problem, const Pointers& pointers) {
  try {
    Entry& entry = find(cache, problem);
    if (entry.converted) return run_converted(entry, problem, pointers);
    execute(entry.made, pointers);
  } catch (const dnnl::error& error) {
    throw EnvironmentError("cpu fast: oneDNN: " + describe(problem) + ": " + error.what());
  }
}

// Scratch: 4 bytes per element of each bf16 operand.
template <class Problem>
void DnnlAdapter::Impl::run_converted(Entry& entry, const Problem& problem, const Pointers& pointers) {
  const auto sizes = operand_sizes(problem);
  const auto dtypes = operand_dtypes(problem);
  std::array<Tensor, 3> wide;
  Pointers wide_pointers = pointers;
  for (std::size_t i = 0; i < 3; ++i) {
    if (dtypes[i] != DType::kBF16) continue;
    wide[i] = Tensor::empty({sizes[i]}, DType::kF32);
    wide_pointers[i] = wide[i].ptr();
    bool read = !entry.made.operands[i].output;
    if constexpr (requires { problem.accumulate; }) read = read || problem.accumulate;
    if (read) widen_bf16(simd, threads, static_cast<const bf16*>(pointers[i]), wide[i].host<float>().data(), sizes[i]);
  }
  execute(entry.made, wide_pointers);
  for (std::size_t i = 0; i < 3; ++i)
    if (wide[i] && entry.made.operands[i].output)
      round_to_bf16(simd, threads, wide[i].host<float>().data(), static_cast<bf16*>(const_cast<void*>(pointers[i])), sizes[i]);
}

// Between the caller's order and oneDNN's, on the operand's current buffers.
void DnnlAdapter::Impl::reorder(DnnlOperand& operand) {
  Tensor scratch;
  if (operand.scratch_bytes > 0) operand.reorder_scratch.set_data_handle((scratch = scratch_bytes(operand.scratch_bytes)).ptr());
  if (Rehearsal::active()) return;
  const dnnl::memory& from = operand.output ? operand.internal : operand.plain;
  const dnnl::memory& to = operand.output ? operand.plain : operand.internal;
  const std::array<dnnl_exec_arg_t, 3> arguments{{{DNNL_ARG_FROM, from.get()}, {DNNL_ARG_TO, to.get()},
                                                  {DNNL_ARG_SCRATCHPAD, operand.reorder_scratch.get()}}};
  dnnl::error::wrap_c_api(dnnl_primitive_execute(operand.reorder.get(), stream.get(), 3, arguments.data()), "reorder");
}

void DnnlAdapter::Impl::execute(DnnlPrimitive& made, const Pointers& pointers) {
  std::array<Tensor, 4> buffers;
  std::array<dnnl_exec_arg_t, 5> arguments{};
  for (std::size_t i = 0; i < made.operand_count; ++i) {
    DnnlOperand& operand = made.operands[i];
    operand.plain.set_data_handle(const_cast<void*>(pointers[i]));
    if (operand.reordered()) {
      buffers[i] = scratch_bytes(operand.internal_bytes);
      operand.internal.set_data_handle(buffers[i].ptr());
      if (!operand.output) reorder(operand);
    }
    arguments[i] = {operand.argument, operand.reordered() ? operand.internal.get() : operand.plain.get()};
  }
  Tensor scratch;
  if (made.scratch_bytes > 0) made.scratch.set_data_handle((scratch = scratch_bytes(made.scratch_bytes)).ptr());
  if (Rehearsal::active()) return;
  arguments[made.operand_count] = {DNNL_ARG_SCRATCHPAD, made.scratch.get()};
  const auto count = static_cast<int>(made.operand_count) + 1;
  dnnl::error::wrap_c_api(dnnl_primitive_execute(made.primitive.get(), stream.get(), count, arguments.data()), "execute");
  for (std::size_t i = 0; i < made.operand_count; ++i)
    if (made.operands[i].output && made.operands[i].reordered()) reorder(made.operands[i]);
}

DnnlAdapter::DnnlAdapter(int threads) : impl_(std::make_unique<Impl>(threads)) {}
DnnlAdapter::~DnnlAdapter() = default;

void DnnlAdapter::convolution(const ConvProblem& problem, const void* x, const void* filter, const float* bias, void* y) {
  if (is_matmul(problem)) return matmul(matmul_problem(problem), x, filter, bias, y);
  impl_->run(impl_->convolutions, problem, {x, filter, y, bias});
}

void DnnlAdapter::convolution_backward_data(const ConvProblem& problem, const void* dy, const void* filter, void* dx) {
  if (is_matmul(problem)) return matmul(matmul_problem(problem), dy, filter, nullptr, dx);
  impl_->run(impl_->convolutions, problem, {dx, filter, dy, nullptr});
}

void DnnlAdapter::convolution_backward_filter(const ConvProblem& problem, const void* x, const void* dy, float* dfilter) {
  if (is_matmul(problem)) return matmul(matmul_problem(problem), dy, x, nullptr, dfilter);
  impl_->run(impl_->convolutions, problem, {x, dfilter, dy, nullptr});
}

void DnnlAdapter::matmul(const MatmulProblem& problem, const void* a, const void* b, const float* bias, void* c) {
  impl_->run(impl_->matmuls, problem, {a, b, c, bias});
}

std::string DnnlAdapter::implementation(const ConvProblem& problem) {
  if (is_matmul(problem)) return "matmul " + implementation(matmul_problem(problem));
  return impl_->implementation(impl_->convolutions, problem);
}
std::string DnnlAdapter::implementation(const MatmulProblem& problem) { return impl_->implementation(impl_->matmuls, problem); }
std::uint64_t DnnlAdapter::primitives_created() const { return impl_->created; }

Bf16Products bf16_products() {
  if (may_use(dnnl::cpu_isa::avx512_core_amx)) return Bf16Products::kTiles;
  return may_use(dnnl::cpu_isa::avx512_core_bf16) ? Bf16Products::kVectors : Bf16Products::kConverted;
}

bool bf16_is_fast() { return bf16_products() != Bf16Products::kConverted; }

std::string bf16_support() {
  switch (bf16_products()) {
    case Bf16Products::kTiles: return "AMX";
    case Bf16Products::kVectors: return "AVX512-BF16";
    case Bf16Products::kConverted: break;
  }
  return "converted: f32 kernels";
}

}  // namespace lockstep
