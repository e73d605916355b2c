// SPDX-License-Identifier: Apache-2.0
#include "core/tensor.h"

#include <cstring>
#include <string>

#include "core/error.h"

namespace lockstep {

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  return empty_in(pool_of(device), shape, dtype);
}

Tensor Tensor::empty_in(MemoryPool& pool, const Shape& shape, DType dtype) {
  const std::size_t nbytes = static_cast<std::size_t>(shape.numel()) * dtype_size(dtype);
  return {pool.allocate(nbytes), 0, shape, dtype};
}

Tensor Tensor::zeros(const Shape& shape, DType dtype) {
  Tensor tensor = empty(shape, dtype);
  std::memset(tensor.ptr(), 0, tensor.nbytes());
  return tensor;
}

Device Tensor::device() const { return storage_ == nullptr ? Device{} : storage_->pool->device(); }

bool Tensor::shares_storage() const {
  return storage_ != nullptr && storage_->references.load(std::memory_order_acquire) > 1;
}

Tensor Tensor::view(const Shape& shape, DType dtype, std::size_t offset_bytes) const {
  LS_CHECK(storage_ != nullptr, "view of an empty tensor");
  const std::size_t nbytes = static_cast<std::size_t>(shape.numel()) * dtype_size(dtype);
  LS_CHECK(offset_bytes_ + offset_bytes + nbytes <= storage_->nbytes,
           "view " + shape.str() + " at byte " + std::to_string(offset_bytes_ + offset_bytes) + " of a storage of " +
               std::to_string(storage_->nbytes) + " bytes");
  Tensor result(storage_, offset_bytes_ + offset_bytes, shape, dtype);
  result.retain();
  return result;
}

Tensor Tensor::clone() const {
  LS_CHECK(device().kind == DeviceKind::kCpu, "clone() of a tensor on " + device().str());
  Tensor copy = empty(shape_, dtype_);
  if (storage_ != nullptr) std::memcpy(copy.ptr(), ptr(), nbytes());
  return copy;
}

void Tensor::check_host(DType wanted) const {
  LS_CHECK(device().kind == DeviceKind::kCpu, "host() of a tensor on " + device().str());
  detail::check_dtype(dtype_, wanted);
}

namespace detail {
void check_dtype(DType got, DType want) {
  LS_CHECK(got == want, "tensor element type: got " + std::string(dtype_name(got)) + ", want " + std::string(dtype_name(want)));
}
}  // namespace detail

namespace {

// dst[n][b][a] = src[n][a][b] for `outer` matrices of a x b elements. Bytes, not values, so that NaNs keep theirs.
template <std::size_t kBytes>
void transpose_elements(const std::byte* src, std::byte* dst, std::int64_t outer, std::int64_t a, std::int64_t b) {
  for (std::int64_t n = 0; n < outer; ++n)
    for (std::int64_t i = 0; i < a; ++i)
      for (std::int64_t j = 0; j < b; ++j)
        std::memcpy(dst + ((n * b + j) * a + i) * std::int64_t{kBytes}, src + ((n * a + i) * b + j) * std::int64_t{kBytes}, kBytes);
}

void transpose(const void* src, void* dst, std::int64_t outer, std::int64_t a, std::int64_t b, std::size_t element_bytes) {
  const auto* from = static_cast<const std::byte*>(src);
  auto* to = static_cast<std::byte*>(dst);
  switch (element_bytes) {
    case 1: return transpose_elements<1>(from, to, outer, a, b);
    case 2: return transpose_elements<2>(from, to, outer, a, b);
    case 4: return transpose_elements<4>(from, to, outer, a, b);
    case 8: return transpose_elements<8>(from, to, outer, a, b);
    default: LS_CHECK(false, "transpose of elements of " + std::to_string(element_bytes) + " bytes");
  }
}

}  // namespace

void channels_last_to_row_major(const void* src, void* dst, const Shape& shape, std::size_t element_bytes) {
  if (shape.rank() != 4) {
    std::memcpy(dst, src, static_cast<std::size_t>(shape.numel()) * element_bytes);
  } else {
    transpose(src, dst, shape[0], shape[2] * shape[3], shape[1], element_bytes);
  }
}

void row_major_to_channels_last(const void* src, void* dst, const Shape& shape, std::size_t element_bytes) {
  if (shape.rank() != 4) {
    std::memcpy(dst, src, static_cast<std::size_t>(shape.numel()) * element_bytes);
  } else {
    transpose(src, dst, shape[0], shape[1], shape[2] * shape[3], element_bytes);
  }
}

}  // namespace lockstep
