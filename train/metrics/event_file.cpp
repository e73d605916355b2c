// Building, framing and appending events.
// SPDX-License-Identifier: Apache-2.0
#include "train/metrics/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>

#include "proto/tensorboard.pb.h"
#include "train/metrics/crc32c.h"

namespace lockstep {
namespace {

using proto::tensorboard::Event;
using proto::tensorboard::SessionLog;
using proto::tensorboard::Summary;

constexpr int kStringType = 7;  // DT_STRING

void put_little_endian(uint64_t value, int bytes, std::string* out) {
  for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

// Unique within a second, too: readers take files in the order of their names.
std::string new_path(const std::string& folder, double now) {
  static std::atomic<int> count{0};
  char host[256] = {};
  if (::gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0') host[0] = 'x';
  return fmt::format("{}/events.out.tfevents.{:010}.{}.{}.{}", folder, static_cast<int64_t>(now), host, ::getpid(),
                     count++);
}

std::string first_records(double now, std::optional<int64_t> resume_step) {
  Event version;
  version.set_wall_time(now);
  version.set_file_version("brain.Event:2");
  const std::string first = frame_event_record(version.SerializeAsString());
  if (!resume_step) return first;
  Event start;
  start.set_wall_time(now);
  start.set_step(*resume_step + 1);
  start.mutable_session_log()->set_status(SessionLog::START);
  return first + frame_event_record(start.SerializeAsString());
}

void append(const Event& event, AppendFile* file) { file->append(frame_event_record(event.SerializeAsString())); }

}  // namespace

std::string frame_event_record(std::string_view data) {
  std::string record;
  record.reserve(data.size() + 16);
  put_little_endian(data.size(), 8, &record);
  put_little_endian(masked_crc32c(record.data(), 8), 4, &record);
  record += data;
  put_little_endian(masked_crc32c(data.data(), data.size()), 4, &record);
  return record;
}

EventFile::EventFile(const std::string& folder, double now, std::optional<int64_t> resume_step)
    : file_(new_path(folder, now), first_records(now, resume_step)) {}

void EventFile::scalar(double time, int64_t step, const std::string& tag, double value) {
  Event event;
  event.set_wall_time(time);
  event.set_step(step);
  Summary::Value* summary = event.mutable_summary()->add_value();
  summary->set_tag(tag);
  summary->set_simple_value(static_cast<float>(value));
  append(event, &file_);
}

void EventFile::text(double time, int64_t step, const std::string& tag, const std::string& value) {
  Event event;
  event.set_wall_time(time);
  event.set_step(step);
  Summary::Value* summary = event.mutable_summary()->add_value();
  summary->set_tag(tag);
  summary->mutable_metadata()->mutable_plugin_data()->set_plugin_name("text");
  summary->mutable_tensor()->set_dtype(kStringType);
  summary->mutable_tensor()->add_string_val(value);
  append(event, &file_);
}

}  // namespace lockstep
