// Tensor: a shaped, typed handle to device memory. Copying shares; clone() copies.
//
// Layout: a tensor of rank 4 lies channels-last: images (N, C, H, W) as NHWC, filters (K, C, R, S) as KRSC; any other
// rank is row-major. There is no other layout and there are no strides. Nothing here blocks except clone and fill on
// the CPU. Operators live in ops/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <utility>

#include "core/device.h"
#include "core/dtype.h"
#include "core/memory.h"
#include "core/shape.h"

namespace lockstep {

// What a kernel sees: no ownership. A View is valid while the tensor that it came from lives.
struct ConstView {
  const void* ptr = nullptr;
  Shape shape;
  DType dtype = DType::kF32;
  Device device;

  std::int64_t numel() const { return shape.numel(); }
  explicit operator bool() const { return ptr != nullptr; }
  template <class T>
  const T* data() const;
};

struct View {
  void* ptr = nullptr;
  Shape shape;
  DType dtype = DType::kF32;
  Device device;

  std::int64_t numel() const { return shape.numel(); }
  explicit operator bool() const { return ptr != nullptr; }
  operator ConstView() const { return {ptr, shape, dtype, device}; }
  template <class T>
  T* data() const;
};

class Tensor {
 public:
  Tensor() = default;  // holds nothing; false as a bool
  static Tensor empty(const Shape& shape, DType dtype, Device device = {});  // uninitialised, from the device's pool
  static Tensor empty_in(MemoryPool& pool, const Shape& shape, DType dtype);    // from another pool of memory
  static Tensor zeros(const Shape& shape, DType dtype);                      // CPU only

  Tensor(const Tensor& other) noexcept : Tensor(other.storage_, other.offset_bytes_, other.shape_, other.dtype_) { retain(); }
  Tensor(Tensor&& other) noexcept
      : Tensor(std::exchange(other.storage_, nullptr), other.offset_bytes_, other.shape_, other.dtype_) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(storage_, other.storage_);
    std::swap(offset_bytes_, other.offset_bytes_);
    std::swap(shape_, other.shape_);
    std::swap(dtype_, other.dtype_);
    return *this;
  }
  ~Tensor() { release(); }

  explicit operator bool() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  Device device() const;
  std::int64_t numel() const { return shape_.numel(); }
  std::size_t nbytes() const { return static_cast<std::size_t>(numel()) * dtype_size(dtype_); }
  bool shares_storage() const;  // true when another tensor holds the same storage: do not write in place

  // Another view of the same storage, starting `offset_bytes` after this tensor's start. Checked against its size.
  Tensor view(const Shape& shape, DType dtype, std::size_t offset_bytes = 0) const;
  Tensor reshape(const Shape& shape) const { return view(shape, dtype_); }  // memory order is kept, so rank 4 <-> 2 permutes names
  Tensor clone() const;  // CPU only

  void* ptr() { return storage_ == nullptr ? nullptr : storage_->data + offset_bytes_; }
  const void* ptr() const { return storage_ == nullptr ? nullptr : storage_->data + offset_bytes_; }
  operator View() { return {ptr(), shape_, dtype_, device()}; }
  operator ConstView() const { return {ptr(), shape_, dtype_, device()}; }

  // The elements in memory order. CPU only; T must be dtype()'s type (checked).
  template <class T>
  std::span<T> host() {
    check_host(DTypeOf<T>::value);
    return {static_cast<T*>(ptr()), static_cast<std::size_t>(numel())};
  }
  template <class T>
  std::span<const T> host() const {
    check_host(DTypeOf<T>::value);
    return {static_cast<const T*>(ptr()), static_cast<std::size_t>(numel())};
  }

 private:
  Tensor(Storage* storage, std::size_t offset_bytes, const Shape& shape, DType dtype) noexcept
      : storage_(storage), offset_bytes_(offset_bytes), shape_(shape), dtype_(dtype) {}
  void retain() noexcept {
    if (storage_ != nullptr) storage_->references.fetch_add(1, std::memory_order_relaxed);
  }
  void release() noexcept {
    if (storage_ != nullptr && storage_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
      storage_->pool->release(storage_);
  }
  void check_host(DType wanted) const;

  Storage* storage_ = nullptr;
  std::size_t offset_bytes_ = 0;
  Shape shape_;
  DType dtype_ = DType::kF32;
};

namespace detail {
void check_dtype(DType got, DType want);
}  // namespace detail

template <class T>
const T* ConstView::data() const {
  detail::check_dtype(dtype, DTypeOf<T>::value);
  return static_cast<const T*>(ptr);
}
template <class T>
T* View::data() const {
  detail::check_dtype(dtype, DTypeOf<T>::value);
  return static_cast<T*>(ptr);
}

// Copies between the memory orders of a rank-4 tensor: channels-last (ours) and row-major (files, other frameworks).
// `element_bytes` is dtype_size. Other ranks are copied as they are. src and dst must not overlap.
void channels_last_to_row_major(const void* src, void* dst, const Shape& shape, std::size_t element_bytes);
void row_major_to_channels_last(const void* src, void* dst, const Shape& shape, std::size_t element_bytes);

}  // namespace lockstep
