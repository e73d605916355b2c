// The CUDA runtime (runtime.h) on a GPU: device address space that is given memory piece by piece.
// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <mutex>
#include <utility>

#include "cuda/cuda_check.h"
#include "cuda/driver.h"
#include "cuda/runtime.h"

namespace lockstep::cuda::runtime {
namespace {

// Memory is unmapped in the pieces in which it was mapped.
struct Pieces {
  std::mutex mutex;
  std::map<std::byte*, std::size_t> bytes_at;
};
Pieces& pieces() {
  static auto* all = new Pieces;  // never destroyed: pools may outlive it otherwise
  return *all;
}

CUdeviceptr address(const std::byte* at) { return reinterpret_cast<CUdeviceptr>(at); }

CUmemAllocationProp properties_of(int device) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  int direct = 0;  // network cards may read and write it
  if (driver().device_attribute(&direct, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, device) == CUDA_SUCCESS && direct != 0)
    properties.allocFlags.gpuDirectRDMACapable = 1;
  return properties;
}

bool map_piece(int device, std::byte* begin, std::size_t nbytes, CUmemGenericAllocationHandle memory) {
  CUresult result = driver().map(address(begin), nbytes, 0, memory, 0);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return false;
  check_driver(result, "cuMemMap");
  CUmemAccessDesc access{};
  access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  access.location.id = device;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  result = driver().set_access(address(begin), nbytes, &access, 1);
  if (result == CUDA_SUCCESS) return true;
  driver().unmap(address(begin), nbytes);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return false;
  check_driver(result, "cuMemSetAccess");
  return false;
}

}  // namespace

std::size_t granularity(int device) {
  use_device(device);
  const CUmemAllocationProp properties = properties_of(device);
  std::size_t bytes = 0;
  check_driver(driver().get_granularity(&bytes, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED), "cuMemGetAllocationGranularity");
  return bytes;
}

std::byte* reserve_addresses(int device, std::size_t nbytes) {
  use_device(device);
  CUdeviceptr begin = 0;
  check_driver(driver().address_reserve(&begin, nbytes, 0, 0, 0), "cuMemAddressReserve");
  return reinterpret_cast<std::byte*>(begin);
}

void release_addresses(int device, std::byte* begin, std::size_t nbytes, std::size_t committed) {
  use_device(device);
  check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // queued work may use it
  const std::lock_guard lock(pieces().mutex);
  auto& bytes_at = pieces().bytes_at;
  for (auto piece = bytes_at.lower_bound(begin); piece != bytes_at.end() && piece->first < begin + committed; piece = bytes_at.erase(piece))
    check_driver(driver().unmap(address(piece->first), piece->second), "cuMemUnmap");
  check_driver(driver().address_free(address(begin), nbytes), "cuMemAddressFree");
}

bool commit(int device, std::byte* begin, std::size_t nbytes) {
  use_device(device);
  const CUmemAllocationProp properties = properties_of(device);
  CUmemGenericAllocationHandle memory = 0;
  const CUresult result = driver().create(&memory, nbytes, &properties, 0);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return false;
  check_driver(result, "cuMemCreate");
  bool mapped = false;
  try {
    mapped = map_piece(device, begin, nbytes, memory);
  } catch (...) {
    driver().release(memory);
    throw;
  }
  check_driver(driver().release(memory), "cuMemRelease");  // the mapping keeps it
  if (!mapped) return false;
  const std::lock_guard lock(pieces().mutex);
  pieces().bytes_at[begin] = nbytes;
  return true;
}

}  // namespace lockstep::cuda::runtime
