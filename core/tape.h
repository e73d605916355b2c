// Tape: records a forward pass and walks it backwards.
//
// A node is its input slots, its output slot and a backward function that owns exactly what it needs. The walk is a loop
// over the recorded order in reverse; each node is destroyed as it is passed. A parameter is reported ready once, after
// its last contribution. Nothing here knows devices, kernels or distribution. A tape belongs to one thread. Nodes lie in
// an arena that is kept between steps, so that recording a warm step allocates nothing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "core/parameter.h"
#include "core/tensor.h"

namespace lockstep {

// A value on the tape. slot < 0: no gradient flows here (a constant, or nothing is being recorded).
struct Var {
  Tensor value;
  std::int32_t slot = -1;
  // (2, C), statistics: mean and sum of (value - mean)^2 per channel, from the kernel that made the value. Empty: not known.
  Tensor moments{};
  bool requires_grad() const { return slot >= 0; }
};

// What a backward kernel does with a gradient that it computes.
enum class GradMode : std::uint8_t { kSkip, kOverwrite, kAccumulate };

struct GradTarget {
  Tensor grad;  // holds nothing when mode is kSkip
  GradMode mode = GradMode::kSkip;
};

// Where parameters' gradients go, and who is told that one is complete.
class GradSink {
 public:
  virtual ~GradSink() = default;
  virtual Tensor gradient(const Parameter& parameter) = 0;     // same shape as the value; overwritten first, then added to
  virtual void mark_ready(const Parameter& parameter) = 0;     // once per backward, after the last contribution
};

class Tape;

// What a node's backward function sees of the walk.
class BackwardPass {
 public:
  const Tensor& grad_output() const;
  // Where to put the gradient of input i (the order of record's inputs), and how. Overwrite is said once per slot.
  GradTarget target(int i);
  bool needs(int i) const;
  // The output's gradient is not needed after its own node ran: an op may take it, change it in place and pass it on.
  Tensor take_grad_output();
  // Makes `grad` (exclusively owned) the gradient of input i without a copy. False if something is there already, or if
  // it is a parameter: then use target(i).
  bool give(int i, Tensor&& grad);

 private:
  friend class Tape;
  BackwardPass(Tape& tape, GradSink* sink, std::span<const std::int32_t> inputs, std::int32_t output)
      : tape_(tape), sink_(sink), inputs_(inputs), output_(output) {}
  Tape& tape_;
  GradSink* sink_;
  std::span<const std::int32_t> inputs_;
  std::int32_t output_;
};

class Tape {
 public:
  Tape() = default;
  ~Tape() { reset(); }
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  Var input(Tensor value);                     // a leaf whose gradient is kept: gradient_of()
  // A leaf whose gradient goes to the sink, in the dtype of Parameter::value; one slot per parameter and pass. The Var holds
  // what ops compute with: Parameter::operand().
  Var parameter(const Parameter& parameter);
  // Records one op. `backward` is called as backward(BackwardPass&) if the walk reaches the node. An output needs no
  // gradient (and nothing is recorded) when no input does.
  template <class Backward>
  Var record(Tensor output, std::span<const Var* const> inputs, Backward backward);

  // Walks from `root` with `seed` as its gradient (same shape and dtype). `sink` may be null when no parameter is on the
  // tape. A parameter on the tape that receives no gradient is an internal error. Afterwards the tape is empty but for
  // its inputs' gradients.
  void backward(const Var& root, Tensor seed, GradSink* sink);
  const Tensor& gradient_of(const Var& leaf) const;  // after backward; checked
  void reset();                                      // drops everything, keeps the arena
  std::size_t size() const { return nodes_.size(); }

 private:
  friend class BackwardPass;
  struct Slot {
    Shape shape;
    DType dtype = DType::kF32;
    Device device;
    const Parameter* parameter = nullptr;
    int uses = 0;          // contributions still to come
    bool has_grad = false;
    Tensor grad;
  };
  struct Node {
    std::int32_t output;
    std::uint32_t first_input, input_count;
    void* closure;
    void (*run)(void*, BackwardPass&);
    void (*destroy)(void*);
  };

  std::int32_t new_slot(const Tensor& value, const Parameter* parameter);
  void* arena_allocate(std::size_t nbytes);
  void add_node(std::int32_t output, std::span<const Var* const> inputs, Node node);
  void pass_node(Node& node, GradSink* sink);
  void settle_input(std::int32_t slot, GradSink* sink);

  std::vector<Slot> slots_;
  std::vector<Node> nodes_;
  std::vector<std::int32_t> inputs_;           // all nodes' input slots, one after the other
  std::vector<std::int32_t> parameter_slots_;  // by parameter id; -1: not used in this pass
  static constexpr std::size_t kChunkBytes = std::size_t{1} << 16;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::size_t chunk_ = 0, chunk_used_ = 0;
};

template <class Backward>
Var Tape::record(Tensor output, std::span<const Var* const> inputs, Backward backward) {
  static_assert(sizeof(Backward) <= kChunkBytes && alignof(Backward) <= alignof(std::max_align_t));
  bool any = false;
  for (const Var* input : inputs) any = any || input->requires_grad();
  if (!any) return {std::move(output), -1};
  Var result{std::move(output), -1};
  result.slot = new_slot(result.value, nullptr);
  void* closure = new (arena_allocate(sizeof(Backward))) Backward(std::move(backward));
  add_node(result.slot, inputs,
           {.closure = closure,
            .run = [](void* self, BackwardPass& pass) { (*static_cast<Backward*>(self))(pass); },
            .destroy = [](void* self) { static_cast<Backward*>(self)->~Backward(); }});
  return result;
}

}  // namespace lockstep
