// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/dnnl_primitive.h"

#include <utility>

namespace lockstep {
namespace {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;

Type type_of(DType dtype) { return dtype == DType::kBF16 ? Type::bf16 : Type::f32; }

// Everything that the three passes' descriptors need. filter has the type of w or dw, by the pass.
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

// Scratch comes from our pool, so that a warm call allocates nothing.
dnnl::primitive_attr pool_attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

// Our filters: (K, C/groups, R, S) in KRSC order; oneDNN wants the groups as an axis of their own.
Desc plain_filter(const ConvProblem& a, Type type) {
  const std::int64_t c = a.c / a.groups, k = a.k / a.groups, image = a.r * a.s * c;
  if (a.groups == 1) return Desc({k, c, a.r, a.s}, type, Dims{image, 1, a.s * c, c});
  return Desc({a.groups, k, c, a.r, a.s}, type, Dims{k * image, image, 1, a.s * c, c});
}

Desc any_filter(const ConvProblem& a, Type type) {
  if (a.groups == 1) return Desc({a.k, a.c, a.r, a.s}, type, Tag::any);
  return Desc({a.groups, a.k / a.groups, a.c / a.groups, a.r, a.s}, type, Tag::any);
}

ConvArguments conv_arguments(const ConvProblem& a, Type filter, Tag images) {
  const Type type = type_of(a.dtype);
  return {.x = Desc({a.n, a.c, a.h, a.w}, type, images),
          .filter = any_filter(a, filter),
          .bias = a.bias ? Desc({a.k}, Type::f32, Tag::x) : Desc(),
          .y = Desc({a.n, a.k, a.p, a.q}, type, images),
          .strides = {a.stride_h, a.stride_w},
          .dilation = {a.dilation_h - 1, a.dilation_w - 1},
          .pad = {a.pad_h, a.pad_w}};
}

void add_operand(DnnlPrimitive& made, const dnnl::engine& engine, int argument, bool output, const Desc& plain, const Desc& internal) {
  DnnlOperand& operand = made.operands.at(made.operand_count++);
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

template <class Primitive, class Pd>
void finish(DnnlPrimitive& made, const Pd& pd, const dnnl::engine& engine) {
  made.primitive = Primitive(pd);
  made.scratch = dnnl::memory(pd.scratchpad_desc(), engine, nullptr);
  made.scratch_bytes = pd.scratchpad_desc().get_size();
  made.implementation = pd.impl_info_str();
}

DnnlPrimitive make_conv(const ConvProblem& problem, const dnnl::engine& engine, Tag images) {
  const bool filter_gradient = problem.pass == ConvPass::kBackwardFilter;
  const Type type = type_of(problem.dtype), filter_type = filter_gradient ? Type::f32 : type;
  const ConvArguments a = conv_arguments(problem, filter_type, images);
  const Desc x({problem.n, problem.c, problem.h, problem.w}, type, Tag::nhwc);
  const Desc y({problem.n, problem.k, problem.p, problem.q}, type, Tag::nhwc);
  const Desc filter = plain_filter(problem, filter_type);
  const dnnl::primitive_attr attr = pool_attributes();
  const ForwardPd forward = forward_pd(filter_gradient ? conv_arguments(problem, type, images) : a, attr, engine);
  DnnlPrimitive made;
  if (problem.pass == ConvPass::kForward) {
    add_operand(made, engine, DNNL_ARG_SRC, false, x, forward.src_desc());
    add_operand(made, engine, DNNL_ARG_WEIGHTS, false, filter, forward.weights_desc());
    add_operand(made, engine, DNNL_ARG_DST, true, y, forward.dst_desc());
    if (problem.bias) add_operand(made, engine, DNNL_ARG_BIAS, false, a.bias, a.bias);
    finish<dnnl::convolution_forward>(made, forward, engine);
  } else if (problem.pass == ConvPass::kBackwardData) {
    const auto pd = backward_data_pd(a, attr, engine, forward);
    add_operand(made, engine, DNNL_ARG_DIFF_SRC, true, x, pd.diff_src_desc());
    add_operand(made, engine, DNNL_ARG_WEIGHTS, false, filter, pd.weights_desc());
    add_operand(made, engine, DNNL_ARG_DIFF_DST, false, y, pd.diff_dst_desc());
    finish<dnnl::convolution_backward_data>(made, pd, engine);
  } else {
    const auto pd = backward_filter_pd(a, attr, engine, forward);
    add_operand(made, engine, DNNL_ARG_SRC, false, x, pd.src_desc());
    add_operand(made, engine, DNNL_ARG_DIFF_WEIGHTS, true, filter, pd.diff_weights_desc());
    add_operand(made, engine, DNNL_ARG_DIFF_DST, false, y, pd.diff_dst_desc());
    finish<dnnl::convolution_backward_weights>(made, pd, engine);
  }
  return made;
}

}  // namespace

// Channels-last images where oneDNN has a real kernel for them, otherwise the layout that it prefers.
DnnlPrimitive make_primitive(const ConvProblem& problem, const dnnl::engine& engine) {
  DnnlPrimitive made = make_conv(problem, engine, Tag::nhwc);
  if (!made.plain_loops()) return made;
  DnnlPrimitive other = make_conv(problem, engine, Tag::any);
  return other.plain_loops() ? std::move(made) : std::move(other);
}

DnnlPrimitive make_primitive(const MatmulProblem& problem, const dnnl::engine& engine) {
  const Type type = type_of(problem.dtype);
  const Desc a({problem.m, problem.k}, type, problem.a_transposed ? Tag::ba : Tag::ab);
  const Desc b({problem.k, problem.n}, type, problem.b_transposed ? Tag::ba : Tag::ab);
  const Desc bias = problem.bias ? Desc({1, problem.n}, Type::f32, Tag::ab) : Desc();
  const Desc c({problem.m, problem.n}, type_of(problem.output), Tag::ab);
  dnnl::primitive_attr attr = pool_attributes();
  if (problem.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attr.set_post_ops(sum);
  }
  const auto pd = matmul_pd(a, b, bias, c, attr, engine);
  DnnlPrimitive made;
  add_operand(made, engine, DNNL_ARG_SRC, false, a, a);
  add_operand(made, engine, DNNL_ARG_WEIGHTS, false, b, b);
  add_operand(made, engine, DNNL_ARG_DST, true, c, c);
  if (problem.bias) add_operand(made, engine, DNNL_ARG_BIAS, false, bias, bias);
  finish<dnnl::matmul>(made, pd, engine);
  return made;
}

}  // namespace lockstep
