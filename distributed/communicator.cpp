// SPDX-License-Identifier: Apache-2.0
#include "distributed/communicator.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/accelerator.h"
#include "distributed/collectives.h"
#include "distributed/vector_add.h"

namespace lockstep {

void check_reduce(const Tensor& buffer, const ReduceOptions& options, int ranks) {
  LS_CHECK(static_cast<bool>(buffer) && (buffer.dtype() == DType::kF32 || buffer.dtype() == DType::kF64),
           fmt::format("all-reduce of {}", buffer ? dtype_name(buffer.dtype()) : "an empty tensor"));
  LS_CHECK(options.wire == WireFormat::kNative || buffer.dtype() == DType::kF32, "bf16 on the wire needs f32 buffers");
  LS_CHECK(options.divisor >= 1, fmt::format("all-reduce with divisor {}", options.divisor));
  if (options.order == ReduceOrder::kFixedTree && !is_power_of_two(ranks))
    throw UserError(fmt::format("EXACT reduction adds along a binary tree of ranks and can't run on {} ranks.\n"
                                "Start {} or {} ranks, or choose FAST reduction.",
                                ranks, 1 << (31 - __builtin_clz(static_cast<unsigned>(ranks))),
                                2 << (31 - __builtin_clz(static_cast<unsigned>(ranks)))));
}

std::vector<std::string> Communicator::all_gather_strings(std::string_view mine, std::string_view label) {
  const auto lengths = all_gather_values(static_cast<std::uint64_t>(mine.size()), label);
  const std::size_t longest = static_cast<std::size_t>(*std::max_element(lengths.begin(), lengths.end()));
  if (longest == 0) return std::vector<std::string>(lengths.size());  // the same on all ranks
  std::vector<std::byte> padded(longest), all(longest * lengths.size());
  if (!mine.empty()) std::memcpy(padded.data(), mine.data(), mine.size());  // memcpy takes no null, even for 0 bytes
  all_gather(padded, all, label);
  std::vector<std::string> result;
  for (std::size_t r = 0; r < lengths.size(); ++r)
    result.emplace_back(reinterpret_cast<const char*>(all.data()) + r * longest, static_cast<std::size_t>(lengths[r]));
  return result;
}

std::string Communicator::broadcast_string(std::string_view from_root, int root, std::string_view label) {
  std::string text(static_cast<std::size_t>(broadcast_value(static_cast<std::uint64_t>(from_root.size()), root, label)), '\0');
  if (rank() == root) text = from_root;
  broadcast(std::as_writable_bytes(std::span(text)), root, label);
  return text;
}

namespace {

class SoloCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::string& host_of(int) const override { return host_; }
  int local_rank() const override { return 0; }
  std::string_view transport() const override { return "local"; }
  using Communicator::barrier;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all, std::string_view) override {
    LS_CHECK(all.size() == mine.size(), "all_gather of different sizes");
    std::ranges::copy(mine, all.begin());
  }
  void broadcast(std::span<std::byte>, int root, std::string_view) override {
    LS_CHECK(root == 0, fmt::format("broadcast from rank {} of 1", root));
  }
  void barrier(std::string_view) override {}
  Ticket all_reduce_async(Tensor buffer, const ReduceOptions& options, std::string_view) override {
    check_reduce(buffer, options, 1);
    if (buffer.device() == Device{}) {
      divide_array(buffer.dtype(), buffer.ptr(), buffer.numel(), options.divisor);
    } else if (options.divisor != 1) {
      Accelerator& accelerator = accelerator_of(buffer.device());
      accelerator.divide(accelerator.compute_stream(), buffer.dtype(), buffer.ptr(), buffer.numel(), options.divisor);
    }
    return ++last_;
  }
  OperationTimes wait(Ticket ticket) override {
    LS_CHECK(ticket >= 1 && ticket <= last_, fmt::format("wait for operation {} of {}", ticket, last_));
    return {};
  }
  bool on_device() const override { return true; }
  void set_activity(std::int64_t, const char*) override {}
  void set_report_dir(const std::string&) override {}
  void set_deadline(double) override {}
  void abort(ExitCode, const std::string&) override {}
  void finalize() override {}

 private:
  std::string host_ = "localhost";
  Ticket last_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_solo_communicator() { return std::make_unique<SoloCommunicator>(); }

}  // namespace lockstep
