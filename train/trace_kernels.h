// TracingKernels: a backend that does what another does and writes every call to an OpLog, and, while a trace is under way,
// to the trace. It exists only while somebody measures: otherwise the backend itself is called.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "ops/kernels.h"
#include "train/trace_ops.h"

namespace lockstep {

// On a device each call blocks until its work is done, and its time is the device's (train/device_timer.h): such a step is
// slower than its calls together, and it can't be recorded. `inner` and `log` must outlive it.
std::unique_ptr<Kernels> make_tracing_kernels(Kernels& inner, OpLog& log);

// Puts TracingKernels in front of a backend for as long as it lives.
class KernelTap {
 public:
  KernelTap(std::unique_ptr<Kernels>& kernels, OpLog& log) : kernels_(kernels), inner_(std::move(kernels)) {
    kernels_ = make_tracing_kernels(*inner_, log);
  }
  ~KernelTap() { kernels_ = std::move(inner_); }
  KernelTap(const KernelTap&) = delete;
  KernelTap& operator=(const KernelTap&) = delete;

 private:
  std::unique_ptr<Kernels>& kernels_;
  std::unique_ptr<Kernels> inner_;
};

}  // namespace lockstep
