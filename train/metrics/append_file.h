// A file that is only ever appended to, for records that may be lost but must never be half there or stop a run.
//
// append() only fills memory; flush() is one write() and never an fsync. If the write fails (disk full), the file is
// cut back to the last whole record, what was in memory is dropped and counted, and the next flush tries again.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep {

class AppendFile {
 public:
  // Creates the file or continues behind its last byte. An empty file begins with `prologue`, which is not lost if the
  // first writes fail. Throws EnvironmentError (kCantCreate).
  explicit AppendFile(std::string path, std::string prologue = "");
  ~AppendFile();  // flushes
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  // One record. Blocks never.
  void append(std::string_view record);
  // Hands all records to the system. Returns the error number of a failed write, 0 if all is well.
  int flush();

  const std::string& path() const { return path_; }
  int64_t lost_records() const { return lost_records_; }

 private:
  std::string path_;
  std::string prologue_;
  int fd_ = -1;
  int64_t good_bytes_ = 0;  // length of the file up to the last whole record
  std::string waiting_;
  int64_t waiting_records_ = 0;
  int64_t lost_records_ = 0;
};

}  // namespace lockstep
