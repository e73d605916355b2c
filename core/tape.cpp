// SPDX-License-Identifier: Apache-2.0
#include "core/tape.h"

#include "core/error.h"

namespace lockstep {

const Tensor& BackwardPass::grad_output() const { return tape_.slots_[static_cast<std::size_t>(output_)].grad; }

bool BackwardPass::needs(int i) const { return inputs_[static_cast<std::size_t>(i)] >= 0; }

GradTarget BackwardPass::target(int i) {
  const std::int32_t index = inputs_[static_cast<std::size_t>(i)];
  if (index < 0) return {};
  Tape::Slot& slot = tape_.slots_[static_cast<std::size_t>(index)];
  if (slot.has_grad) return {slot.grad, GradMode::kAccumulate};
  if (slot.parameter != nullptr) {
    LS_CHECK(sink_ != nullptr, "no gradient sink for parameter " + slot.parameter->name);
    slot.grad = sink_->gradient(*slot.parameter);
    LS_CHECK(slot.grad.shape() == slot.shape, "gradient of " + slot.parameter->name + ": got shape " +
                                                  slot.grad.shape().str() + ", want " + slot.shape.str());
  } else {
    slot.grad = Tensor::empty(slot.shape, slot.dtype, slot.device);
  }
  slot.has_grad = true;
  return {slot.grad, GradMode::kOverwrite};
}

Tensor BackwardPass::take_grad_output() {
  return std::move(tape_.slots_[static_cast<std::size_t>(output_)].grad);
}

bool BackwardPass::give(int i, Tensor&& grad) {
  const std::int32_t index = inputs_[static_cast<std::size_t>(i)];
  if (index < 0) return true;
  Tape::Slot& slot = tape_.slots_[static_cast<std::size_t>(index)];
  if (slot.has_grad || slot.parameter != nullptr || grad.shares_storage()) return false;
  LS_CHECK(grad.shape() == slot.shape && grad.dtype() == slot.dtype,
           "gradient given: got shape " + grad.shape().str() + ", want " + slot.shape.str());
  slot.grad = std::move(grad);
  slot.has_grad = true;
  return true;
}

Var Tape::input(Tensor value) {
  Var leaf{std::move(value), -1};
  leaf.slot = new_slot(leaf.value, nullptr);
  return leaf;
}

Var Tape::parameter(const Parameter& parameter) {
  const auto id = static_cast<std::size_t>(parameter.id);
  if (parameter_slots_.size() <= id) parameter_slots_.resize(id + 1, -1);
  if (parameter_slots_[id] < 0) parameter_slots_[id] = new_slot(parameter.value, &parameter);
  return {parameter.operand(), parameter_slots_[id]};
}

std::int32_t Tape::new_slot(const Tensor& value, const Parameter* parameter) {
  slots_.push_back({value.shape(), value.dtype(), value.device(), parameter, 0, false, {}});
  return static_cast<std::int32_t>(slots_.size() - 1);
}

void* Tape::arena_allocate(std::size_t nbytes) {
  const std::size_t aligned = (nbytes + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) * alignof(std::max_align_t);
  if (!chunks_.empty() && chunk_used_ + aligned > kChunkBytes) {
    ++chunk_;
    chunk_used_ = 0;
  }
  if (chunk_ == chunks_.size()) chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(kChunkBytes));
  void* place = chunks_[chunk_].get() + chunk_used_;
  chunk_used_ += aligned;
  return place;
}

void Tape::add_node(std::int32_t output, std::span<const Var* const> inputs, Node node) {
  node.output = output;
  node.first_input = static_cast<std::uint32_t>(inputs_.size());
  node.input_count = static_cast<std::uint32_t>(inputs.size());
  for (const Var* input : inputs) {
    inputs_.push_back(input->slot);
    if (input->slot >= 0) ++slots_[static_cast<std::size_t>(input->slot)].uses;
  }
  nodes_.push_back(node);
}

void Tape::backward(const Var& root, Tensor seed, GradSink* sink) {
  LS_CHECK(root.requires_grad(), "backward from a value that needs no gradient");
  Slot& last = slots_[static_cast<std::size_t>(root.slot)];
  LS_CHECK(seed.shape() == last.shape && seed.dtype() == last.dtype,
           "backward: seed has shape " + seed.shape().str() + ", want " + last.shape.str());
  last.grad = std::move(seed);
  last.has_grad = true;
  while (!nodes_.empty()) {
    Node node = nodes_.back();
    nodes_.pop_back();
    pass_node(node, sink);
  }
}

void Tape::pass_node(Node& node, GradSink* sink) {
  const std::span<const std::int32_t> inputs(inputs_.data() + node.first_input, node.input_count);
  struct Destroyer {  // also when the backward function throws
    Node& node;
    ~Destroyer() { node.destroy(node.closure); }
  } destroyer{node};
  if (slots_[static_cast<std::size_t>(node.output)].has_grad) {
    BackwardPass pass(*this, sink, inputs, node.output);
    node.run(node.closure, pass);
    slots_[static_cast<std::size_t>(node.output)].grad = Tensor();
  }
  for (const std::int32_t slot : inputs)
    if (slot >= 0) settle_input(slot, sink);
}

void Tape::settle_input(std::int32_t index, GradSink* sink) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  if (--slot.uses > 0 || slot.parameter == nullptr) return;
  LS_CHECK(slot.has_grad, "parameter " + slot.parameter->name + " was used but received no gradient");
  sink->mark_ready(*slot.parameter);
}

const Tensor& Tape::gradient_of(const Var& leaf) const {
  LS_CHECK(leaf.slot >= 0 && static_cast<std::size_t>(leaf.slot) < slots_.size(), "gradient_of: not on this tape");
  const Slot& slot = slots_[static_cast<std::size_t>(leaf.slot)];
  LS_CHECK(slot.has_grad && slot.grad, "gradient_of: no gradient (did backward run, and does the loss depend on it?)");
  return slot.grad;
}

void Tape::reset() {
  while (!nodes_.empty()) {
    nodes_.back().destroy(nodes_.back().closure);
    nodes_.pop_back();
  }
  slots_.clear();
  inputs_.clear();
  parameter_slots_.assign(parameter_slots_.size(), -1);
  chunk_ = 0;
  chunk_used_ = 0;
}

}  // namespace lockstep
