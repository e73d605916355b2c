// The functions of the CUDA driver that have no counterpart in the runtime: device address space. They are asked for at run
// time, so that this binary starts where there is no driver.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda.h>

namespace lockstep::cuda {

struct Driver {
  decltype(&cuMemGetAllocationGranularity) get_granularity;
  decltype(&cuMemAddressReserve) address_reserve;
  decltype(&cuMemAddressFree) address_free;
  decltype(&cuMemCreate) create;
  decltype(&cuMemRelease) release;
  decltype(&cuMemMap) map;
  decltype(&cuMemUnmap) unmap;
  decltype(&cuMemSetAccess) set_access;
  decltype(&cuGetErrorString) error_string;
  decltype(&cuDeviceGetAttribute) device_attribute;
};

// Throws EnvironmentError when the driver lacks one of them.
const Driver& driver();
// Throws EnvironmentError.
void check_driver(CUresult result, const char* call);

}  // namespace lockstep::cuda
