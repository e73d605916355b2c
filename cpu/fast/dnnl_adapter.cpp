// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/dnnl_adapter.h"

#include <omp.h>

#include <array>
#include <dnnl.hpp>
#include <map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

namespace lockstep {
namespace {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;
constexpr auto kFloat = dnnl::memory::data_type::f32;

// Everything that the three passes' descriptors need.
struct ConvArguments {
  Desc x, filter, bias, y;
  Dims strides, dilation, pad;
};

#if DNNL_VERSION_MAJOR >= 3
using ForwardPd = dnnl::convolution_forward::primitive_desc;
ForwardPd forward_pd(const ConvArguments& a, const dnnl::primitive_attr& attr, const dnnl::engine& engine) {
  return ForwardPd(engine, dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, a.x, a.filter, a.bias, a.y,
                   a.strides, a.dilation, a.pad, a.pad, attr);
}
auto backward_data_pd(const ConvArguments& a, const dnnl::primitive_attr& attr, const dnnl::engine& engine, const ForwardPd& hint) {
  return dnnl::convolution_backward_data::primitive_desc(engine, dnnl::algorithm::convolution_direct, a.x, a.filter, a.y,
                                                         a.strides, a.dilation, a.pad, a.pad, hint, attr);
}
auto backward_filter_pd(const ConvArguments& a, const dnnl::primitive_attr& attr, const dnnl::engine& engine, const ForwardPd& hint) {
  return dnnl::convolution_backward_weights::primitive_desc(engine, dnnl::algorithm::convolution_direct, a.x, a.filter, a.y,
                                                            a.strides, a.dilation, a.pad, a.pad, hint, attr);
}
auto matmul_pd(const Desc& a, const Desc& b, const Desc& bias, const Desc& c, const dnnl::primitive_attr& attr,
               const dnnl::engine& engine) {
  return dnnl::matmul::primitive_desc(engine, a, b, bias, c, attr);
}
#else
using ForwardPd = dnnl::convolution_forward::primitive_desc;
ForwardPd forward_pd(const ConvArguments& a, const dnnl::primitive_attr& attr, const dnnl::engine& engine) {
  const dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, a.x,
                                             a.filter, a.bias, a.y, a.strides, a.dilation, a.pad, a.pad);
  return ForwardPd(desc, attr, engine);
}
auto backward_data_pd(const ConvArguments& a, const dnnl::primitive_attr& attr, const dnnl::engine& engine, const ForwardPd& hint) {
  const dnnl::convolution_backward_data::desc desc(dnnl::algorithm::convolution_direct, a.x, a.filter, a.y, a.strides,
                                                   a.dilation, a.pad, a.pad);
  return dnnl::convolution_backward_data::primitive_desc(desc, attr, engine, hint);
}
auto backward_filter_pd(const ConvArguments& a, const dnnl::primitive_attr& attr, const dnnl::engine& engine, const ForwardPd& hint) {
  const dnnl::convolution_backward_weights::desc desc(dnnl::algorithm::convolution_direct, a.x, a.filter, a.y, a.strides,
                                                      a.dilation, a.pad, a.pad);
  return dnnl::convolution_backward_weights::primitive_desc(desc, attr, engine, hint);
}
auto matmul_pd(const Desc& a, const Desc& b, const Desc& bias, const Desc& c, const dnnl::primitive_attr& attr,
               const dnnl::engine& engine) {
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, bias, c), attr, engine);
}
#endif

dnnl::primitive_attr pool_attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

// One argument of a primitive: where the caller's data lies, and, if the primitive wants another order, how to get there.
struct Operand {
  int argument = 0;
  bool output = false;
  dnnl::memory plain, internal;  // internal is used only when reorder is set
  dnnl::reorder reorder;
  dnnl::memory reorder_scratch;
  std::size_t internal_bytes = 0, scratch_bytes = 0;
  bool converted() const { return static_cast<bool>(reorder); }
};

struct Entry {
  dnnl::primitive primitive;
  dnnl::memory scratch;
  std::size_t scratch_bytes = 0;
  std::array<Operand, 4> operands;
  std::size_t operand_count = 0;
  std::string implementation;
};

Desc image_desc(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, Tag tag) { return Desc({n, c, h, w}, kFloat, tag); }

// Our filters: (K, C/groups, R, S) in KRSC order; oneDNN wants the groups as an axis of their own.
Desc plain_filter(const ConvProblem& a) {
  const std::int64_t c = a.c / a.groups, k = a.k / a.groups, image = a.r * a.s * c;
  if (a.groups == 1) return Desc({k, c, a.r, a.s}, kFloat, Dims{image, 1, a.s * c, c});
  return Desc({a.groups, k, c, a.r, a.s}, kFloat, Dims{k * image, image, 1, a.s * c, c});
}

Desc any_filter(const ConvProblem& a) {
  if (a.groups == 1) return Desc({a.k, a.c, a.r, a.s}, kFloat, Tag::any);
  return Desc({a.groups, a.k / a.groups, a.c / a.groups, a.r, a.s}, kFloat, Tag::any);
}

ConvArguments conv_arguments(const ConvProblem& a, Tag images) {
  return {.x = image_desc(a.n, a.c, a.h, a.w, images),
          .filter = any_filter(a),
          .bias = a.bias ? Desc({a.k}, kFloat, Tag::x) : Desc(),
          .y = image_desc(a.n, a.k, a.p, a.q, images),
          .strides = {a.stride_h, a.stride_w},
          .dilation = {a.dilation_h - 1, a.dilation_w - 1},
          .pad = {a.pad_h, a.pad_w}};
}

std::string describe(const ConvProblem& a) {
  const char* pass = a.pass == ConvPass::kForward ? "forward" : a.pass == ConvPass::kBackwardData ? "backward data" : "backward filter";
  return std::string("convolution ") + pass + ", x " + Shape{a.n, a.c, a.h, a.w}.str() + ", filter " +
         Shape{a.k, a.c / a.groups, a.r, a.s}.str() + ", stride " + Shape{a.stride_h, a.stride_w}.str() + ", pad " +
         Shape{a.pad_h, a.pad_w}.str() + ", dilation " + Shape{a.dilation_h, a.dilation_w}.str() + ", groups " +
         std::to_string(a.groups);
}

std::string describe(const MatmulProblem& a) {
  return "matmul, m " + std::to_string(a.m) + ", n " + std::to_string(a.n) + ", k " + std::to_string(a.k);
}

// 1x1 convolutions are matrix products of pixels and filters. With filters of 2 MB and more (ResNet-50's last stage) oneDNN's
// matmul is up to twice as fast as its convolution backward (190 against 96 GFLOP/s), below that it is slower.
constexpr std::int64_t kMatmulFilterElements = std::int64_t{1} << 19;
bool is_matmul(const ConvProblem& a) {
  return a.r == 1 && a.s == 1 && a.stride_h == 1 && a.stride_w == 1 && a.pad_h == 0 && a.pad_w == 0 && a.groups == 1 &&
         a.c * a.k >= kMatmulFilterElements;
}

// y = x w^T, dx = dy w, dw = dy^T x.
MatmulProblem matmul_problem(const ConvProblem& a) {
  const std::int64_t pixels = a.n * a.h * a.w;
  if (a.pass == ConvPass::kForward) return {.m = pixels, .n = a.k, .k = a.c, .b_transposed = true, .bias = a.bias};
  if (a.pass == ConvPass::kBackwardData) return {.m = pixels, .n = a.c, .k = a.k};
  return {.m = a.k, .n = a.c, .k = pixels, .a_transposed = true};
}

Tensor scratch_bytes(std::size_t nbytes) { return Tensor::empty({static_cast<std::int64_t>(nbytes)}, DType::kU8); }

bool is_reference(const char* implementation) { return std::string_view(implementation).starts_with("ref"); }

}  // namespace

struct DnnlAdapter::Impl {
  explicit Impl(int thread_count) : threads(thread_count) { use_threads(); }

  // oneDNN plans for, and runs with, OpenMP's current setting of the calling thread.
  void use_threads() const {
    if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
  }

  void add_operand(Entry& entry, int argument, bool output, const Desc& plain, const Desc& internal);
  template <class Pd>
  void finish(Entry& entry, const Pd& pd);
  Entry make(const ConvProblem& problem);
  Entry make_conv(const ConvProblem& problem, Tag images);
  Entry make(const MatmulProblem& problem);
  template <class Problem>
  Entry& find(std::map<Problem, Entry>& cache, const Problem& problem);
  template <class Problem>
  void run(std::map<Problem, Entry>& cache, const Problem& problem, std::array<const void*, 4> pointers);
  void convert(Operand& operand);
  void execute(Entry& entry, const std::array<const void*, 4>& pointers);

  int threads;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<ConvProblem, Entry> convolutions;
  std::map<MatmulProblem, Entry> matmuls;
  std::uint64_t created = 0;
};

void DnnlAdapter::Impl::add_operand(Entry& entry, int argument, bool output, const Desc& plain, const Desc& internal) {
  Operand& operand = entry.operands.at(entry.operand_count++);
  operand.argument = argument;
  operand.output = output;
  operand.plain = dnnl::memory(plain, engine, nullptr);
  if (plain == internal) return;
  operand.internal = dnnl::memory(internal, engine, nullptr);
  operand.internal_bytes = internal.get_size();
  const dnnl::reorder::primitive_desc pd(engine, output ? internal : plain, engine, output ? plain : internal, pool_attributes());
  operand.reorder = dnnl::reorder(pd);
  operand.reorder_scratch = dnnl::memory(pd.scratchpad_desc(), engine, nullptr);
  operand.scratch_bytes = pd.scratchpad_desc().get_size();
}

template <class Pd>
void DnnlAdapter::Impl::finish(Entry& entry, const Pd& pd) {
  entry.scratch = dnnl::memory(pd.scratchpad_desc(), engine, nullptr);
  entry.scratch_bytes = pd.scratchpad_desc().get_size();
  entry.implementation = pd.impl_info_str();
}

Entry DnnlAdapter::Impl::make_conv(const ConvProblem& problem, Tag images) {
  const ConvArguments a = conv_arguments(problem, images);
  const Desc x = image_desc(problem.n, problem.c, problem.h, problem.w, Tag::nhwc);
  const Desc y = image_desc(problem.n, problem.k, problem.p, problem.q, Tag::nhwc);
  const Desc filter = plain_filter(problem);
  const dnnl::primitive_attr attr = pool_attributes();
  const ForwardPd forward = forward_pd(a, attr, engine);
  Entry entry;
  if (problem.pass == ConvPass::kForward) {
    add_operand(entry, DNNL_ARG_SRC, false, x, forward.src_desc());
    add_operand(entry, DNNL_ARG_WEIGHTS, false, filter, forward.weights_desc());
    add_operand(entry, DNNL_ARG_DST, true, y, forward.dst_desc());
    if (problem.bias) add_operand(entry, DNNL_ARG_BIAS, false, a.bias, a.bias);
    entry.primitive = dnnl::convolution_forward(forward);
    finish(entry, forward);
  } else if (problem.pass == ConvPass::kBackwardData) {
    const auto pd = backward_data_pd(a, attr, engine, forward);
    add_operand(entry, DNNL_ARG_DIFF_SRC, true, x, pd.diff_src_desc());
    add_operand(entry, DNNL_ARG_WEIGHTS, false, filter, pd.weights_desc());
    add_operand(entry, DNNL_ARG_DIFF_DST, false, y, pd.diff_dst_desc());
    entry.primitive = dnnl::convolution_backward_data(pd);
    finish(entry, pd);
  } else {
    const auto pd = backward_filter_pd(a, attr, engine, forward);
    add_operand(entry, DNNL_ARG_SRC, false, x, pd.src_desc());
    add_operand(entry, DNNL_ARG_DIFF_WEIGHTS, true, filter, pd.diff_weights_desc());
    add_operand(entry, DNNL_ARG_DIFF_DST, false, y, pd.diff_dst_desc());
    entry.primitive = dnnl::convolution_backward_weights(pd);
    finish(entry, pd);
  }
  return entry;
}

// Channels-last images where oneDNN has a real kernel for them, otherwise the layout that it prefers.
Entry DnnlAdapter::Impl::make(const ConvProblem& problem) {
  Entry entry = make_conv(problem, Tag::nhwc);
  if (!is_reference(entry.implementation.c_str())) return entry;
  Entry other = make_conv(problem, Tag::any);
  return is_reference(other.implementation.c_str()) ? std::move(entry) : std::move(other);
}

Entry DnnlAdapter::Impl::make(const MatmulProblem& problem) {
  const Desc a({problem.m, problem.k}, kFloat, problem.a_transposed ? Tag::ba : Tag::ab);
  const Desc b({problem.k, problem.n}, kFloat, problem.b_transposed ? Tag::ba : Tag::ab);
  const Desc bias = problem.bias ? Desc({1, problem.n}, kFloat, Tag::ab) : Desc();
  const Desc c({problem.m, problem.n}, kFloat, Tag::ab);
  dnnl::primitive_attr attr = pool_attributes();
  if (problem.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attr.set_post_ops(sum);
  }
  const auto pd = matmul_pd(a, b, bias, c, attr, engine);
  Entry entry;
  add_operand(entry, DNNL_ARG_SRC, false, a, a);
  add_operand(entry, DNNL_ARG_WEIGHTS, false, b, b);
  add_operand(entry, DNNL_ARG_DST, true, c, c);
  if (problem.bias) add_operand(entry, DNNL_ARG_BIAS, false, bias, bias);
  entry.primitive = dnnl::matmul(pd);
  finish(entry, pd);
  return entry;
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
void DnnlAdapter::Impl::run(std::map<Problem, Entry>& cache, const Problem& problem, std::array<const void*, 4> pointers) {
  try {
    execute(find(cache, problem), pointers);
  } catch (const dnnl::error& error) {
    throw EnvironmentError("cpu fast: oneDNN: " + describe(problem) + ": " + error.what());
  }
}

// Between the caller's order and oneDNN's, on the operand's current buffers.
void DnnlAdapter::Impl::convert(Operand& operand) {
  Tensor scratch;
  if (operand.scratch_bytes > 0) operand.reorder_scratch.set_data_handle((scratch = scratch_bytes(operand.scratch_bytes)).ptr());
  const dnnl::memory& from = operand.output ? operand.internal : operand.plain;
  const dnnl::memory& to = operand.output ? operand.plain : operand.internal;
  const std::array<dnnl_exec_arg_t, 3> arguments{{{DNNL_ARG_FROM, from.get()}, {DNNL_ARG_TO, to.get()},
                                                  {DNNL_ARG_SCRATCHPAD, operand.reorder_scratch.get()}}};
  dnnl::error::wrap_c_api(dnnl_primitive_execute(operand.reorder.get(), stream.get(), 3, arguments.data()), "reorder");
}

void DnnlAdapter::Impl::execute(Entry& entry, const std::array<const void*, 4>& pointers) {
  std::array<Tensor, 4> buffers;
  std::array<dnnl_exec_arg_t, 5> arguments{};
  for (std::size_t i = 0; i < entry.operand_count; ++i) {
    Operand& operand = entry.operands[i];
    operand.plain.set_data_handle(const_cast<void*>(pointers[i]));
    if (operand.converted()) {
      buffers[i] = scratch_bytes(operand.internal_bytes);
      operand.internal.set_data_handle(buffers[i].ptr());
      if (!operand.output) convert(operand);
    }
    arguments[i] = {operand.argument, operand.converted() ? operand.internal.get() : operand.plain.get()};
  }
  Tensor scratch;
  if (entry.scratch_bytes > 0) entry.scratch.set_data_handle((scratch = scratch_bytes(entry.scratch_bytes)).ptr());
  arguments[entry.operand_count] = {DNNL_ARG_SCRATCHPAD, entry.scratch.get()};
  const auto count = static_cast<int>(entry.operand_count) + 1;
  dnnl::error::wrap_c_api(dnnl_primitive_execute(entry.primitive.get(), stream.get(), count, arguments.data()), "execute");
  for (std::size_t i = 0; i < entry.operand_count; ++i)
    if (entry.operands[i].output && entry.operands[i].converted()) convert(entry.operands[i]);
}

DnnlAdapter::DnnlAdapter(int threads) : impl_(std::make_unique<Impl>(threads)) {}
DnnlAdapter::~DnnlAdapter() = default;

void DnnlAdapter::convolution(const ConvProblem& problem, const float* x, const float* filter, const float* bias, float* y) {
  if (is_matmul(problem)) return matmul(matmul_problem(problem), x, filter, bias, y);
  impl_->run(impl_->convolutions, problem, {x, filter, y, bias});
}

void DnnlAdapter::convolution_backward_data(const ConvProblem& problem, const float* dy, const float* filter, float* dx) {
  if (is_matmul(problem)) return matmul(matmul_problem(problem), dy, filter, nullptr, dx);
  impl_->run(impl_->convolutions, problem, {dx, filter, dy, nullptr});
}

void DnnlAdapter::convolution_backward_filter(const ConvProblem& problem, const float* x, const float* dy, float* dfilter) {
  if (is_matmul(problem)) return matmul(matmul_problem(problem), dy, x, nullptr, dfilter);
  impl_->run(impl_->convolutions, problem, {x, dfilter, dy, nullptr});
}

void DnnlAdapter::matmul(const MatmulProblem& problem, const float* a, const float* b, const float* bias, float* c) {
  impl_->run(impl_->matmuls, problem, {a, b, c, bias});
}

std::string DnnlAdapter::implementation(const ConvProblem& problem) {
  if (is_matmul(problem)) return "matmul " + implementation(matmul_problem(problem));
  return impl_->find(impl_->convolutions, problem).implementation;
}
std::string DnnlAdapter::implementation(const MatmulProblem& problem) { return impl_->find(impl_->matmuls, problem).implementation; }
std::uint64_t DnnlAdapter::primitives_created() const { return impl_->created; }

}  // namespace lockstep
