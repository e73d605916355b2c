// Library: a shared library that is opened when it is first used, so that this binary starts without it.
//
// cuDNN, cuBLASLt, NVRTC and NCCL are opened so. The files beside this one define their functions, as far as we use them, to
// forward to what was opened; they throw EnvironmentError naming the library and the fix when it isn't there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep::cuda {

class Library {
 public:
  // `file`: its soname; looked for as the system does (LD_LIBRARY_PATH and so on), then where it was at build time.
  Library(const char* name, const char* file);

  const std::string& problem() const { return problem_; }  // "": it is open
  void* find(const char* symbol) const;                    // null: it lacks it
  void* symbol(const char* symbol) const;                  // throws EnvironmentError

 private:
  std::string name_, problem_;
  void* handle_ = nullptr;
};

// Each opened once, at the first call.
const Library& cudnn_library();
const Library& cublas_lt_library();
const Library& nccl_library();
const Library& nvrtc_library();

}  // namespace lockstep::cuda

// The body of a function that forwards to the one of the same name in `library`.
#define LS_FORWARD(library, name, ...)                                                                       \
  static const auto function = reinterpret_cast<decltype(&name)>(::lockstep::cuda::library().symbol(#name)); \
  return function(__VA_ARGS__)
