// `lockstep bench ops`: the kernel calls of a training step, layer by layer.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "tools/bench.h"
#include "tools/job.h"
#include "train/op_bench.h"

namespace lockstep {
namespace {

double gflops(const OpGroup& group) { return group.call.flops * static_cast<double>(group.calls) / group.median_ms * 1e-6; }
double gbytes_per_second(const OpGroup& group) { return group.call.bytes * static_cast<double>(group.calls) / group.median_ms * 1e-6; }

// A layer's three passes stand in one row; the name says whether its input is normalised on the way in.
struct LayerRow {
  const OpGroup* first = nullptr;
  const OpGroup* passes[3] = {};  // forward, data gradient, filter gradient
};

int pass_of(const OpCall& call) {
  const std::string_view name = call.name;
  return name.ends_with("forward") || name.ends_with("forward_moments") ? 0 : name.ends_with("backward_data") ? 1 : 2;
}

bool same_layer(const OpGroup& a, const OpGroup& b) {
  // A data gradient doesn't know whether the forward pass normalised its input, so it joins whichever row comes first.
  const bool kinds = is_convolution(a.call.op_class) == is_convolution(b.call.op_class);
  return kinds && a.call.shapes == b.call.shapes && a.call.conv == b.call.conv && a.call.dtype == b.call.dtype;
}

std::vector<LayerRow> layer_rows(const OpBench& bench) {
  std::vector<LayerRow> rows;
  for (const OpGroup& group : bench.groups) {
    if (!is_arithmetic(group.call.op_class)) continue;
    const int pass = pass_of(group.call);
    LayerRow* row = nullptr;
    for (LayerRow& each : rows)
      if (row == nullptr && same_layer(*each.first, group) && each.passes[pass] == nullptr) row = &each;
    if (row == nullptr) row = &rows.emplace_back(LayerRow{&group, {}});
    row->passes[pass] = &group;
  }
  return rows;
}

std::string layer_text(const OpCall& call) {
  if (call.op_class == OpClass::kMatmul) return fmt::format("linear {}->{}", call.shapes[0][1], call.shapes[1][0]);
  const Shape &x = call.shapes[0], &w = call.shapes[1];
  const std::string norm = call.op_class == OpClass::kNormConvolution ? "n" : " ";
  return fmt::format("{}{:4}->{:<4} {}x{} s{} {:3}^2", norm, x[1], w[0], w[2], w[3], call.conv.stride.h, x[2]);
}

void print_pass_totals(const OpBench& bench) {
  double ms[3] = {}, flops[3] = {}, all_ms = 0;
  for (const OpGroup& group : bench.groups) {
    if (!is_arithmetic(group.call.op_class)) continue;
    const int pass = pass_of(group.call);
    ms[pass] += group.median_ms;
    flops[pass] += group.call.flops * static_cast<double>(group.calls);
    all_ms += group.median_ms;
  }
  std::string rates = fmt::format("  {:<32}", "all"), times = fmt::format("  {:<32}", "ms/image");
  const auto batch = static_cast<double>(bench.subject.rank_batch);
  for (int pass = 0; pass < 3; ++pass) {
    const double rate = ms[pass] > 0 ? flops[pass] / ms[pass] * 1e-6 : 0;
    rates += fmt::format("     {:8.0f} {:4.0f}% ", rate, 100 * rate / bench.peaks.gflops);
    times += fmt::format("     {:8.3f}       ", ms[pass] / batch);
  }
  std::puts(fmt::format("{}\n{} {:9.3f}", rates, times, all_ms / batch).c_str());
}

void print_layers(const OpBench& bench) {
  std::puts("convolutions and matrix products      forward            data gradient      filter gradient\n"
            "  (n: input normalised on the way)    n  GFLOP/s  peak   n  GFLOP/s  peak   n  GFLOP/s  peak   ms/image");
  for (const LayerRow& row : layer_rows(bench)) {
    std::string line = fmt::format("  {:<32}", layer_text(row.first->call));
    double ms = 0;
    for (const OpGroup* pass : row.passes) {
      if (pass == nullptr) {
        line += fmt::format(" {:>3} {:>8} {:>5} ", "", "-", "");
        continue;
      }
      line += fmt::format(" {:>3} {:8.0f} {:4.0f}% ", pass->calls, gflops(*pass), 100 * gflops(*pass) / bench.peaks.gflops);
      ms += pass->median_ms;
    }
    std::puts((line + fmt::format(" {:9.3f}", ms / static_cast<double>(bench.subject.rank_batch))).c_str());
  }
  print_pass_totals(bench);
}

constexpr double kRowShare = 1e-3;  // of a step: rows below are summed up in one

void print_memory_ops(const OpBench& bench) {
  double small_ms = 0;
  int small_rows = 0;
  std::puts("\nmemory-bound kernels                                                  n  MB/call   GB/s  of copy   ms/image");
  for (const OpGroup& group : bench.groups) {
    const OpCall& call = group.call;
    if (is_arithmetic(call.op_class)) continue;
    if (group.median_ms < kRowShare * bench.step_ms) {
      small_ms += group.median_ms;
      ++small_rows;
      continue;
    }
    const std::string name = call.variant[0] == '\0' ? call.name : fmt::format("{} {}", call.name, call.variant);
    std::puts(fmt::format("  {:<36} {:<26} {:>4} {:8.2f} {:6.1f} {:7.0f}% {:10.3f}", name, call.shape_text(), group.calls, call.bytes * 1e-6,
                          gbytes_per_second(group), 100 * gbytes_per_second(group) / bench.peaks.gbytes_per_second,
                          group.median_ms / static_cast<double>(bench.subject.rank_batch))
                  .c_str());
  }
  std::puts(fmt::format("  {:<86} {:10.3f}", fmt::format("{} rows of less than {:.1f} % of a step each", small_rows, 100 * kRowShare),
                        small_ms / static_cast<double>(bench.subject.rank_batch))
                .c_str());
}

void print_text(const OpBench& bench) {
  std::puts(fmt::format("{}; median of {} steps, every call timed {}\n"
                        "peaks measured here: {:.0f} GFLOP/s, copy {:.1f} GB/s (a kernel gets past it where a cache holds its data)\n",
                        subject_text(bench.subject), bench.steps, bench.on_device ? "by itself, with cold caches" : "inside the step", bench.peaks.gflops, bench.peaks.gbytes_per_second)
                .c_str());
  print_layers(bench);
  print_memory_ops(bench);
  const auto batch = static_cast<double>(bench.subject.rank_batch);
  std::puts(fmt::format("\nms per image: {:.3f} in convolutions and matrix products ({:.1f} % of the step), {:.3f} in the others, {:.3f} waiting for data and reductions, "
                        "{:.3f} between the kernels; step {:.3f}",
                        bench.arithmetic_ms / batch, 100 * bench.arithmetic_ms / bench.step_ms, bench.memory_ms / batch, bench.waiting_ms / batch,
                        bench.between_ms / batch, bench.step_ms / batch)
                .c_str());
}

void print_json(const OpBench& bench) {
  nlohmann::ordered_json object = subject_json(bench.subject);
  object["steps"] = bench.steps;
  object["step_ms"] = bench.step_ms;
  object["arithmetic_ms"] = bench.arithmetic_ms;
  object["memory_ms"] = bench.memory_ms;
  object["waiting_ms"] = bench.waiting_ms;
  object["between_ms"] = bench.between_ms;
  object["peak_gflops"] = bench.peaks.gflops;
  object["peak_gbytes_per_second"] = bench.peaks.gbytes_per_second;
  object["ops"] = nlohmann::ordered_json::array();
  for (const OpGroup& group : bench.groups) {
    nlohmann::ordered_json op{{"name", group.call.name},
                              {"class", op_class_name(group.call.op_class)},
                              {"shapes", group.call.shape_text()},
                              {"variant", group.call.variant},
                              {"dtype", dtype_name(group.call.dtype)},
                              {"calls", group.calls},
                              {"ms", group.median_ms},
                              {"bytes", group.call.bytes}};
    if (is_arithmetic(group.call.op_class)) {
      op["flop"] = group.call.flops;
      op["gflops"] = group.median_ms > 0 ? gflops(group) : 0;
    }
    object["ops"].push_back(std::move(op));
  }
  std::puts(object.dump(2).c_str());
}

}  // namespace

void add_bench_ops(CLI::App& bench, Run& run) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* ops = bench.add_subcommand("ops", "Time every kernel call of a training step: each layer's GFLOP/s, each memory-bound kernel's GB/s");
  add_bench_options(*ops, *flags);
  ops->callback([=, &run] {
    run = [=] {
      const BenchOptions options = bench_options(*flags);
      return run_job({}, [&](Communicator& comm) {
        const OpBench result = bench_ops(options, comm);
        if (comm.rank() == 0) flags->json ? print_json(result) : print_text(result);
        return 0;
      });
    };
  });
}

}  // namespace lockstep
