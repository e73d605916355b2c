// SPDX-License-Identifier: Apache-2.0
#include "train/trace_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace lockstep {
namespace {

constexpr int kCommunicationTrack = 1;
constexpr int kFirstThreadTrack = 2;

std::string quoted(const std::string& text) { return nlohmann::json(text).dump(); }

const char* category(SpanKind kind) {
  switch (kind) {
    case SpanKind::kPhase: return "phase";
    case SpanKind::kOp: return "op";
    case SpanKind::kBucket: return "bucket";
    case SpanKind::kLoader: return "loader";
    case SpanKind::kCheckpoint: return "checkpoint";
  }
  return "";
}

std::string op_args(const OpCall& call) {
  std::string args = fmt::format("\"shapes\":\"{}\",\"dtype\":\"{}\",\"class\":\"{}\"", call.shape_text(), dtype_name(call.dtype),
                                 op_class_name(call.op_class));
  if (call.variant[0] != '\0') args += fmt::format(",\"variant\":\"{}\"", call.variant);
  const double ns = std::max(1.0, static_cast<double>(call.end_ns - call.begin_ns));
  if (call.flops > 0) args += fmt::format(",\"gflops\":{:.1f}", call.flops / ns);
  return args + fmt::format(",\"gbytes_per_second\":{:.1f}", call.bytes / ns);
}

std::string args_of(const TraceSpan& span, const OpLog& ops) {
  switch (span.kind) {
    case SpanKind::kPhase:
    case SpanKind::kCheckpoint: return fmt::format("\"step\":{}", span.detail);
    case SpanKind::kLoader: return fmt::format("\"{}\":{}", span.name == std::string_view("fill") ? "samples" : "sample", span.detail);
    case SpanKind::kBucket:
      return fmt::format("\"bytes\":{},\"queued_us\":{:.3f}", span.detail, static_cast<double>(span.begin_ns - span.queued_ns) * 1e-3);
    case SpanKind::kOp: break;
  }
  return span.detail < 0 ? "" : op_args(ops.calls()[static_cast<std::size_t>(span.detail)]);
}

class EventWriter {
 public:
  EventWriter(int rank, std::int64_t origin_ns) : rank_(rank), origin_ns_(origin_ns) {}

  void metadata(const char* what, int track, const std::string& name) {
    add(fmt::format(R"({{"name":"{}","ph":"M","pid":{},"tid":{},"args":{{"name":{}}}}})", what, rank_, track, quoted(name)));
  }
  void span(const TraceSpan& span, int track, const std::string& args) {
    add(fmt::format(R"({{"name":"{}","cat":"{}","ph":"X","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{{{}}}}})", span.name,
                    category(span.kind), rank_, track, us(span.begin_ns), static_cast<double>(span.end_ns - span.begin_ns) * 1e-3, args));
  }
  // From launch to end. `id`: unique in the process.
  void launched_bucket(const TraceSpan& bucket, int id) {
    const auto half = [&](char phase, std::int64_t ns) {
      add(fmt::format(R"({{"name":"bucket in flight","cat":"bucket","ph":"{}","id":"{}.{}","pid":{},"tid":{},"ts":{:.3f},"args":{{"bytes":{}}}}})",
                      phase, rank_, id, rank_, kCommunicationTrack, us(ns), bucket.detail));
    };
    half('b', bucket.queued_ns);
    half('e', bucket.end_ns);
  }
  std::string take() { return std::move(text_); }

 private:
  double us(std::int64_t ns) const { return static_cast<double>(ns - origin_ns_) * 1e-3; }
  void add(const std::string& event) {
    if (!text_.empty()) text_ += ",\n";
    text_ += event;
  }
  int rank_;
  std::int64_t origin_ns_;
  std::string text_;
};

}  // namespace

std::string trace_events(const std::vector<TraceTrack>& tracks, const OpLog& ops, int rank, const std::string& process, std::int64_t origin_ns) {
  EventWriter writer(rank, origin_ns);
  writer.metadata("process_name", 0, process);
  writer.metadata("thread_name", kCommunicationTrack, "communication");
  int buckets = 0;
  for (std::size_t t = 0; t < tracks.size(); ++t) {
    const int track = kFirstThreadTrack + static_cast<int>(t);
    writer.metadata("thread_name", track, tracks[t].thread);
    for (const TraceSpan& span : tracks[t].spans) {
      const bool bucket = span.kind == SpanKind::kBucket;
      writer.span(span, bucket ? kCommunicationTrack : track, args_of(span, ops));
      if (bucket) writer.launched_bucket(span, buckets++);
    }
  }
  return writer.take();
}

std::string trace_json(std::span<const std::string> events_of_ranks) {
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  for (std::size_t rank = 0; rank < events_of_ranks.size(); ++rank) text += (rank > 0 ? ",\n" : "") + events_of_ranks[rank];
  return text + "\n]}\n";
}

}  // namespace lockstep
