// The TensorBoard sink: which tag each value gets.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "train/metrics/event_file.h"
#include "train/metrics/sinks.h"

namespace lockstep::metrics_detail {
namespace {

struct Tag {
  const char* key;
  const char* tag;
};
// Values of steps with a tag of their own; the others are "<kind>/<key>".
constexpr Tag kTags[] = {
    {"lr", "lr"},
    {"grad_norm", "grad/norm"},
    {"noise_scale", "grad/noise_scale"},
    {"gradient_norm2", "grad/norm2"},
    {"gradient_variance", "grad/variance"},
    {"gpu_peak_gb", "mem/gpu_peak_gb"},
    {"host_peak_gb", "mem/host_peak_gb"},
};

class TensorboardSink : public Sink {
 public:
  TensorboardSink(const std::string& folder, double now, std::optional<int64_t> resume_step)
      : events_(folder, now, resume_step) {}
  AppendFile& file() override { return events_.file(); }

  void write(const MetricRecord& record) override {
    for (const auto& [key, value] : record.values) {
      const std::string tag = tensorboard_tag(record.kind, key);
      if (const auto* text = std::get_if<std::string>(&value)) {
        events_.text(record.time, record.step, tag, *text);
      } else if (const auto* integer = std::get_if<int64_t>(&value)) {
        events_.scalar(record.time, record.step, tag, static_cast<double>(*integer));
      } else {
        events_.scalar(record.time, record.step, tag, std::get<double>(value));
      }
    }
  }

 private:
  EventFile events_;
};

}  // namespace

std::string tensorboard_tag(MetricKind kind, const std::string& key) {
  for (const Tag& tag : kTags) {
    if (key == tag.key && kind != MetricKind::kNoise) return tag.tag;
  }
  return std::string(metric_kind_name(kind)) + "/" + key;
}

std::unique_ptr<Sink> make_tensorboard_sink(const std::string& folder, std::optional<int64_t> resume_step) {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return std::make_unique<TensorboardSink>(folder, std::chrono::duration<double>(since_1970).count(), resume_step);
}

}  // namespace lockstep::metrics_detail
