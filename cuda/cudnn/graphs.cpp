// SPDX-License-Identifier: Apache-2.0
#include "cuda/cudnn/graphs.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wconversion"
#include <cudnn_frontend.h>
#pragma GCC diagnostic pop

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "core/error.h"

namespace lockstep::cuda::cudnn {

namespace fe = cudnn_frontend;
namespace fg = cudnn_frontend::graph;

class DeviceDescription {
 public:
  explicit DeviceDescription(std::shared_ptr<const fe::DeviceProperties> filled) : properties(std::move(filled)) {}
  std::shared_ptr<const fe::DeviceProperties> properties;
};

namespace {

using Tensor = std::shared_ptr<fg::Tensor_attributes>;
using Ints = std::vector<std::int64_t>;

// The graph's names for what ConvArguments holds, and for three outputs of cuDNN's batch-norm gradient that we don't use: they
// lie behind the plan's workspace.
enum Uid : std::int64_t {
  kX = 1, kW, kDy, kScale, kBias, kMean, kInvStd, kGamma, kBeta, kOut, kSum, kSquareSum, kUnused0, kUnused1, kUnused2, kUidEnd
};
constexpr std::size_t kAlignment = 256;

std::size_t aligned(std::size_t nbytes) { return (nbytes + kAlignment - 1) / kAlignment * kAlignment; }

fe::DataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::kF16: return fe::DataType_t::HALF;
    case DType::kBF16: return fe::DataType_t::BFLOAT16;
    case DType::kF32: return fe::DataType_t::FLOAT;
    default: break;
  }
  throw EnvironmentError("cuDNN: a convolution in " + std::string(dtype_name(dtype)) + ": only f32, bf16 and f16 are computed on a GPU");
}

// dx += data gradient: cuDNN's operation with beta = 1. The frontend's own node always overwrites (beta = 0).
class AddDataGradientNode final : public fg::NodeCRTP<AddDataGradientNode> {
 public:
  fg::Conv_dgrad_attributes attributes;  // where NodeCRTP looks for it

  AddDataGradientNode(fg::Conv_dgrad_attributes&& given, const fe::detail::Context& graph) : NodeCRTP(graph), attributes(std::move(given)) {}
  Type getType() override { return Type::DGRAD; }
  fe::error_t infer_properties_node() override {
    attributes.fill_from_context(context);
    return {fe::error_code_t::OK, ""};
  }
  void serialize(nlohmann::json& j) const override { j = attributes; }

  fe::error_t create_cudnn_operations(std::unordered_set<std::int64_t>& uids, std::vector<std::shared_ptr<fe::Operation>>& operations,
                                      fg::managed_backend_descriptor_t&,
                                      std::unordered_map<std::int64_t, std::shared_ptr<fe::Tensor>>& tensors) const override {
    using Attributes = fg::Conv_dgrad_attributes;
    const auto described = [&](const Tensor& tensor) -> const fe::Tensor& {
      uids.insert(tensor->get_uid());
      return *tensors.at(tensor->get_uid());
    };
    try {
      const Ints pad = attributes.get_pre_padding(), stride = attributes.get_stride(), dilation = attributes.get_dilation();
      const auto window = fe::ConvDescBuilder()
                              .setComputeType(CUDNN_DATA_FLOAT)
                              .setMathMode(CUDNN_CROSS_CORRELATION)
                              .setSpatialDimCount(2)
                              .setPrePadding(2, pad.data())
                              .setPostPadding(2, pad.data())
                              .setSpatialStride(2, stride.data())
                              .setDilation(2, dilation.data())
                              .build();
      operations.push_back(std::make_shared<fe::Operation>(fe::OperationBuilder(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)
                                                               .setdxDesc(described(attributes.outputs.at(Attributes::output_names::DX)))
                                                               .setwDesc(described(attributes.inputs.at(Attributes::input_names::W)))
                                                               .setdyDesc(described(attributes.inputs.at(Attributes::input_names::DY)))
                                                               .setcDesc(window)
                                                               .setAlpha(1.0f)
                                                               .setBeta(1.0f)
                                                               .build()));
    } catch (const fe::cudnnException& error) {
      return {fe::error_code_t::GRAPH_NOT_SUPPORTED, error.what()};
    }
    return {fe::error_code_t::OK, ""};
  }
};

// Opens what the frontend's class keeps to itself.
class PlanGraph : public fg::Graph {
 public:
  Tensor add_data_gradient(const Tensor& dy, const Tensor& w, fg::Conv_dgrad_attributes attributes) {
    const Tensor dx = attributes.outputs[fg::Conv_dgrad_attributes::output_names::DX] = output_tensor("dx");
    attributes.inputs[fg::Conv_dgrad_attributes::input_names::DY] = dy;
    attributes.inputs[fg::Conv_dgrad_attributes::input_names::W] = w;
    sub_nodes.emplace_back(std::make_unique<AddDataGradientNode>(std::move(attributes), context));
    return dx;
  }
  const std::vector<fe::NumericalNote_t>& numerical_notes(int index) const { return plans.numeric_notes[static_cast<std::size_t>(index)]; }
  fe::error_t check_proposal(int index) { return plans.check_support_at_index(index); }
};

// Makes one pattern's graph. Everything 4-dimensional: (N, C, H, W) in the order of NHWC, (K, C, R, S) in that of KRSC.
class Builder {
 public:
  Builder(const ConvProblem& problem, PlanGraph& graph) : problem_(problem), graph_(graph), dtype_(data_type(problem.dtype)) {
    // The filter gradient's engine takes its normalised input in the operands' type; the others hand it on in f32.
    const bool narrow = problem.pattern == ConvPattern::kNormBackwardFilter;
    graph.set_io_data_type(dtype_)
        .set_intermediate_data_type(narrow ? dtype_ : fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
  }

  void build() {
    switch (problem_.pattern) {
      case ConvPattern::kForward: return finish(forward(x()));
      case ConvPattern::kForwardSums: return finish_with_sums(forward(x()));
      case ConvPattern::kNormForwardSums: return finish_with_sums(forward(normalised(x())));
      case ConvPattern::kBackwardData: return finish(backward_data());
      case ConvPattern::kBackwardDataAdd: return finish(added_backward_data());
      case ConvPattern::kNormBackwardData: return norm_backward_data();
      case ConvPattern::kBackwardFilter: return finish(backward_filter(x()));
      case ConvPattern::kNormBackwardFilter: return finish(backward_filter(normalised(x())));
    }
  }

 private:
  static Ints dims(const Shape& s) { return {s[0], s[1], s[2], s[3]}; }
  static Ints channels_last(const Shape& s) { return {s[1] * s[2] * s[3], 1, s[1] * s[3], s[1]}; }

  Tensor input(Uid uid, const char* name, const Shape& shape, fe::DataType_t type) {
    fg::Tensor_attributes attributes;
    attributes.set_name(name).set_uid(uid).set_dim(dims(shape)).set_stride(channels_last(shape)).set_data_type(type);
    return graph_.tensor(attributes);
  }
  Tensor x() { return input(kX, "x", problem_.x, dtype_); }
  Tensor w() { return input(kW, "w", problem_.w, dtype_); }
  Tensor dy() { return input(kDy, "dy", output_shape(problem_), dtype_); }
  Tensor vector(Uid uid, const char* name, fe::DataType_t type) { return input(uid, name, {1, problem_.x[1], 1, 1}, type); }
  Tensor statistic(Uid uid, const char* name) { return vector(uid, name, fe::DataType_t::FLOAT); }

  Tensor combine(const Tensor& a, const Tensor& b, fe::PointwiseMode_t mode) {
    return graph_.pointwise(a, b, fg::Pointwise_attributes().set_mode(mode));
  }
  Tensor normalised(const Tensor& of) {
    const Tensor scaled = combine(of, vector(kScale, "scale", dtype_), fe::PointwiseMode_t::MUL);
    const Tensor shifted = combine(scaled, vector(kBias, "bias", dtype_), fe::PointwiseMode_t::ADD);
    return graph_.pointwise(shifted, fg::Pointwise_attributes().set_mode(fe::PointwiseMode_t::RELU_FWD));
  }

  template <class Attributes>
  Attributes geometry() const {
    const Conv2dParams& p = problem_.params;
    return Attributes().set_padding(Ints{p.pad.h, p.pad.w}).set_stride(Ints{p.stride.h, p.stride.w}).set_dilation(Ints{p.dilation.h, p.dilation.w});
  }
  Tensor forward(const Tensor& in) { return shaped(graph_.conv_fprop(in, w(), geometry<fg::Conv_fprop_attributes>()), output_shape(problem_)); }
  Tensor backward_data() { return shaped(graph_.conv_dgrad(dy(), w(), geometry<fg::Conv_dgrad_attributes>()), problem_.x); }
  Tensor added_backward_data() { return shaped(graph_.add_data_gradient(dy(), w(), geometry<fg::Conv_dgrad_attributes>()), problem_.x); }
  Tensor backward_filter(const Tensor& in) {
    return shaped(graph_.conv_wgrad(dy(), in, geometry<fg::Conv_wgrad_attributes>()), problem_.w);
  }

  static Tensor shaped(Tensor tensor, const Shape& shape) {
    tensor->set_dim(dims(shape)).set_stride(channels_last(shape));
    return tensor;
  }
  void finish(const Tensor& tensor) { tensor->set_output(true).set_uid(kOut).set_data_type(dtype_); }
  static void put_statistic(const Tensor& tensor, Uid uid) {
    tensor->set_output(true).set_uid(uid).set_data_type(fe::DataType_t::FLOAT);
  }
  void finish_with_sums(const Tensor& y) {
    finish(y);
    const auto [sum, square_sum] = graph_.genstats(y, fg::Genstats_attributes());
    put_statistic(sum, kSum);
    put_statistic(square_sum, kSquareSum);
  }

  void norm_backward_data() {
    const Tensor gradient = backward_data(), in = x();
    const Tensor mean = statistic(kMean, "mean"), inv_std = statistic(kInvStd, "inv_std"), gamma = statistic(kGamma, "gamma");
    Tensor norm = combine(in, mean, fe::PointwiseMode_t::SUB);
    norm = combine(norm, inv_std, fe::PointwiseMode_t::MUL);
    norm = combine(norm, gamma, fe::PointwiseMode_t::MUL);
    norm = combine(norm, statistic(kBeta, "beta"), fe::PointwiseMode_t::ADD);
    const Tensor dz = combine(gradient, norm, fe::PointwiseMode_t::RELU_BWD);
    finish(dz);
    const auto [dgamma, dbeta, dy_factor, x_factor, constant] = graph_.dbn_weight(dz, in, mean, inv_std, gamma, fg::DBN_weight_attributes());
    put_statistic(dbeta, kSum);
    put_statistic(dgamma, kSquareSum);
    put_statistic(dy_factor, kUnused0);
    put_statistic(x_factor, kUnused1);
    put_statistic(constant, kUnused2);
  }

  const ConvProblem& problem_;
  PlanGraph& graph_;
  const fe::DataType_t dtype_;
};

std::size_t unused_vector_bytes(const ConvProblem& problem) {
  return problem.pattern == ConvPattern::kNormBackwardData ? aligned(static_cast<std::size_t>(problem.x[1]) * sizeof(float)) : 0;
}

// What engines of these notes do is not what ops/kernels.h promises. Winograd's and Fourier's transforms round in between: 16-bit
// results would be off by more than their own rounding, and f32 without TF32 is asked for by who wants f32's accuracy.
std::vector<fe::NumericalNote_t> unwanted(const ConvProblem& problem) {
  using enum fe::NumericalNote_t;
  std::vector<fe::NumericalNote_t> notes{NONDETERMINISTIC, REDUCED_PRECISION_REDUCTION};
  const bool exact_f32 = problem.dtype == DType::kF32 && !problem.tf32;
  if (exact_f32) notes.insert(notes.end(), {TENSOR_CORE, DOWN_CONVERT_INPUTS});
  if (exact_f32 || problem.dtype != DType::kF32) notes.insert(notes.end(), {WINOGRAD, FFT});
  return notes;
}

const char* name_of(fe::NumericalNote_t note) {
  switch (note) {
    case fe::NumericalNote_t::TENSOR_CORE: return "TENSOR_CORE";
    case fe::NumericalNote_t::DOWN_CONVERT_INPUTS: return "DOWN_CONVERT_INPUTS";
    case fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION: return "REDUCED_PRECISION_REDUCTION";
    case fe::NumericalNote_t::FFT: return "FFT";
    case fe::NumericalNote_t::NONDETERMINISTIC: return "NONDETERMINISTIC";
    case fe::NumericalNote_t::WINOGRAD: return "WINOGRAD";
    default: return "";
  }
}

}  // namespace

struct ConvGraph::Impl {
  PlanGraph graph;
  bool lowered = false;
  int plan = 0;  // the one that runs
  int slots = 0;
  std::array<std::uint8_t, kUidEnd> slot_uid{};  // which of our addresses each of the plan's slots takes
};

std::shared_ptr<const DeviceDescription> describe_device(std::string_view json) {
  auto properties = std::make_shared<fe::DeviceProperties>();
  fe::error_t status = properties->deserialize(std::vector<std::uint8_t>(json.begin(), json.end()));
  if (status.is_bad())
    throw EnvironmentError("cuDNN " + library_version() + " does not take the device description: " + status.get_message());
  return std::make_shared<const DeviceDescription>(std::move(properties));
}

std::string library_version() {
  const std::size_t version = cudnnGetVersion();
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
}

std::string frontend_version() {
  return std::to_string(CUDNN_FRONTEND_MAJOR_VERSION) + "." + std::to_string(CUDNN_FRONTEND_MINOR_VERSION) + "." +
         std::to_string(CUDNN_FRONTEND_PATCH_VERSION);
}

ConvGraph::ConvGraph(const ConvProblem& problem, const PlanDevice& device)
    : problem_(problem), device_(device), impl_(std::make_unique<Impl>()) {
  LS_CHECK((device.handle != nullptr) != (device.described != nullptr), "a plan is for a handle or for a description");
  if (device.described) impl_->graph.set_device_properties(device.described->properties);
}

ConvGraph::~ConvGraph() = default;

bool ConvGraph::failed(const std::string& call, const std::string& message) {
  reason_ = "cuDNN " + library_version() + ", " + call + ": " + message;
  return false;
}

bool ConvGraph::lower() {
  if (impl_->lowered) return true;
  PlanGraph& graph = impl_->graph;
  Builder(problem_, graph).build();
  graph.deselect_workspace_greater_than(static_cast<std::int64_t>(kMaxWorkspaceBytes - 3 * unused_vector_bytes(problem_)));
  if (fe::error_t status = graph.validate(); status.is_bad()) return failed("validate", status.get_message());
  fe::error_t status =
      device_.handle != nullptr ? graph.build_operation_graph(static_cast<cudnnHandle_t>(device_.handle)) : graph.build_operation_graph();
  if (status.is_bad()) return failed("build_operation_graph", status.get_message());
  impl_->lowered = true;
  return true;
}

bool ConvGraph::propose(std::span<const Heuristic> heuristics) {
  if (!lower()) return false;
  std::vector<fe::HeurMode_t> modes;
  for (const Heuristic each : heuristics)
    modes.push_back(each == Heuristic::kA ? fe::HeurMode_t::A : each == Heuristic::kB ? fe::HeurMode_t::B : fe::HeurMode_t::FALLBACK);
  if (fe::error_t status = impl_->graph.create_execution_plans(modes); status.is_bad())
    return failed("create_execution_plans", status.get_message());
  impl_->graph.deselect_numeric_notes(unwanted(problem_));
  return true;
}

int ConvGraph::proposals() const { return static_cast<int>(impl_->graph.get_execution_plan_count()); }

std::string ConvGraph::proposal(int index) const {
  std::string name;
  return impl_->graph.get_plan_name_at_index(index, name).is_good() ? name : std::string();
}

std::string ConvGraph::notes(int index) const {
  std::string text;
  for (const fe::NumericalNote_t note : impl_->graph.numerical_notes(index)) {
    const std::string name = name_of(note);
    if (!name.empty()) text += (text.empty() ? "" : " ") + name;
  }
  std::vector<fe::BehaviorNote_t> behaviour;
  const bool known = impl_->graph.get_behavior_notes_for_plan_at_index(index, behaviour).is_good();
  if (known && std::count(behaviour.begin(), behaviour.end(), fe::BehaviorNote_t::RUNTIME_COMPILATION) > 0)
    text += (text.empty() ? "" : " ") + std::string("RUNTIME_COMPILATION");
  return text;
}

bool ConvGraph::acceptable(int index) const { return impl_->graph.check_proposal(index).is_good(); }

bool ConvGraph::build(int index) {
  if (fe::error_t status = impl_->graph.build_plan_at_index(index); status.is_bad())
    return failed("build_plan " + proposal(index), status.get_message());
  return selected(index);
}

bool ConvGraph::build_first() {
  for (int index = 0; index < proposals(); ++index)
    if (build(index)) return true;
  if (proposals() == 0) failed("build_first", "no proposals");
  return false;
}

bool ConvGraph::build_choice(const std::string& choice) {
  constexpr Heuristic kAll[] = {Heuristic::kA, Heuristic::kB, Heuristic::kFallback};
  if (!propose(kAll)) return false;
  for (int index = 0; index < proposals(); ++index)
    if (proposal(index) == choice) return build(index);
  return failed("choice", choice + " is not among its " + std::to_string(proposals()) + " proposals");
}

bool ConvGraph::selected(int index) {
  impl_->plan = index;
  const std::int64_t workspace = impl_->graph.get_workspace_size_plan_at_index(index);
  return ready(proposal(index), static_cast<std::size_t>(std::max<std::int64_t>(workspace, 0)));
}

bool ConvGraph::ready(std::string choice, std::size_t plan_workspace_bytes) {
  if (fe::error_t status = impl_->graph.prepare_variant_pack_template(); status.is_bad())
    return failed("prepare_variant_pack_template", status.get_message());
  impl_->slots = 0;
  for (const std::int64_t uid : impl_->graph.get_variant_pack_uids_sorted()) {
    if (uid < kX || uid >= kUidEnd || impl_->slots == kUidEnd) return failed("variant pack", "has an unknown tensor " + std::to_string(uid));
    impl_->slot_uid[static_cast<std::size_t>(impl_->slots++)] = static_cast<std::uint8_t>(uid);
  }
  plan_workspace_bytes_ = aligned(plan_workspace_bytes);
  workspace_bytes_ = plan_workspace_bytes_ + 3 * unused_vector_bytes(problem_);
  choice_ = std::move(choice);
  reason_.clear();
  return true;
}

void ConvGraph::run(void* handle, const ConvArguments& a, void* workspace) const {
  const auto scratch = [&](std::size_t i) -> const void* {
    return workspace == nullptr ? nullptr : static_cast<std::byte*>(workspace) + plan_workspace_bytes_ + i * unused_vector_bytes(problem_);
  };
  const void* const by_uid[kUidEnd] = {nullptr, a.x,    a.w,   a.dy,  a.scale,      a.bias,     a.mean,     a.inv_std,
                                       a.gamma, a.beta, a.out, a.sum, a.square_sum, scratch(0), scratch(1), scratch(2)};
  void* addresses[kUidEnd];
  for (int slot = 0; slot < impl_->slots; ++slot)
    addresses[slot] = const_cast<void*>(by_uid[impl_->slot_uid[static_cast<std::size_t>(slot)]]);
  fe::error_t status =
      impl_->graph.execute_plan_at_index(static_cast<cudnnHandle_t>(handle), addresses, impl_->slots, workspace, impl_->plan);
  if (status.is_bad())
    throw EnvironmentError("cuDNN " + library_version() + ", " + choice_ + " for " + describe(problem_) + ": " + status.get_message());
}

}  // namespace lockstep::cuda::cudnn
