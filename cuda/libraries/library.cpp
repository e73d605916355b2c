// SPDX-License-Identifier: Apache-2.0
#include "cuda/libraries/library.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include "core/error.h"

namespace lockstep::cuda {
namespace {

// In which folders they were when this was built, beside what the system searches.
constexpr const char* kFolders[] = {LOCKSTEP_CUDA_LIBRARY_DIR "/", LOCKSTEP_CUDNN_LIBRARY_DIR "/", LOCKSTEP_NCCL_LIBRARY_DIR "/"};

#if CUDART_VERSION >= 13000
constexpr const char* kCublasLt = "libcublasLt.so.13";
constexpr const char* kNvrtc = "libnvrtc.so.13";
#else
constexpr const char* kCublasLt = "libcublasLt.so.12";
constexpr const char* kNvrtc = "libnvrtc.so.12";
#endif

}  // namespace

Library::Library(const char* name, const char* file) : name_(name) {
  handle_ = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (handle_ != nullptr) return;
  const char* reason = ::dlerror();
  problem_ = name_ + " can't be loaded (" + (reason == nullptr ? file : reason) + "): install it for CUDA " +
             std::to_string(CUDART_VERSION / 1000) + ", or name its folder in LD_LIBRARY_PATH";
  for (const char* folder : kFolders)
    if (handle_ == nullptr) handle_ = ::dlopen((std::string(folder) + file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ != nullptr) problem_.clear();
}

void* Library::find(const char* symbol) const { return handle_ == nullptr ? nullptr : ::dlsym(handle_, symbol); }

void* Library::symbol(const char* symbol) const {
  if (!problem_.empty()) throw EnvironmentError("cuda: " + problem_);
  void* found = find(symbol);
  if (found == nullptr) throw EnvironmentError("cuda: " + name_ + " has no " + symbol + ": it is too old, install the version of the build or later");
  return found;
}

const Library& cudnn_library() {
  static const Library library("cuDNN 9", "libcudnn.so.9");
  return library;
}
const Library& cublas_lt_library() {
  static const Library library("cuBLASLt", kCublasLt);
  return library;
}
const Library& nccl_library() {
  static const Library library("NCCL", "libnccl.so.2");
  return library;
}
const Library& nvrtc_library() {
  static const Library library("NVRTC", kNvrtc);
  return library;
}

}  // namespace lockstep::cuda
