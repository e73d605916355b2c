// Fuzz targets: each file X_fuzz.cpp hands any bytes to one reader of files that may come from others. UserError is the only way in
// which a reader may refuse them: a crash, another exception, a broken promise (fuzz_check) or a sanitizer's report is a finding.
//
// Two drivers: driver.cpp (ctest, in every CI run) replays the committed corpus and a fixed number of mutations of it;
// tools/fuzz.sh builds with libFuzzer and searches as long as one likes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace lockstep::test {

#define fuzz_check(condition)                                                                \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);   \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)

// Bytes under a path, for readers that want one. No disk is touched.
class FuzzFile {
 public:
  explicit FuzzFile(std::span<const std::uint8_t> bytes);
  ~FuzzFile();
  FuzzFile(const FuzzFile&) = delete;
  FuzzFile& operator=(const FuzzFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  int fd_ = -1;
  std::string path_;
};

}  // namespace lockstep::test
