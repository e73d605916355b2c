// A small network's parameters for the optimizer's tests: on the device in f32, and the same in f64 on the host for the reference.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "ops/kernels.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep::host_tensors {

// Sizes: one element, odd, a whole chunk, more chunks than the verdict's threads per tensor (8) and a rest. Every other tensor decays; each
// has its own rate.
class Model {
 public:
  Model(Place place, DType copies) {
    const Shape shapes[] = {{1}, {17, 3}, {64}, {16384}, {5, 4, 3, 3}, {150001}};
    for (std::size_t i = 0; i < std::size(shapes); ++i) {
      const Shape& shape = shapes[i];
      Parts p;
      p.value64 = widened(random_host(shape, 10 * i + 1));
      p.momentum64 = widened(random_host(shape, 10 * i + 2));
      p.grad64 = widened(random_host(shape, 10 * i + 3));
      p.value = on_gpu_at(rounded(p.value64, DType::kF32), place);
      p.momentum = on_gpu_at(rounded(p.momentum64, DType::kF32), place);
      p.grad = on_gpu_at(rounded(p.grad64, DType::kF32), place);
      if (copies != DType::kF32) p.compute = on_gpu_at(rounded(p.value64, copies), place);
      p.weight_decay = i % 2 == 0 ? 0 : 1e-2 * static_cast<double>(i);
      p.lr = 1 + 0.25 * static_cast<double>(i);
      parts_.push_back(std::move(p));
    }
  }

  std::vector<SgdTensor> on_device(double lr = 1) const {
    std::vector<SgdTensor> result;
    for (Parts p : parts_) result.push_back({p.value, p.momentum, p.compute ? View(p.compute) : View{}, p.grad, p.weight_decay, p.lr * lr});
    return result;
  }
  std::vector<SgdTensor> wide(double lr = 1) const {
    std::vector<SgdTensor> result;
    for (Parts p : parts_) result.push_back({p.value64, p.momentum64, {}, p.grad64, p.weight_decay, p.lr * lr});
    return result;
  }
  std::size_t size() const { return parts_.size(); }

  // The gradients of the next step, on both sides: random, times `scale`.
  void set_gradients(std::uint64_t id, double scale) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      Tensor host = random_host(parts_[i].grad.shape(), 1000 * id + i);
      for (std::size_t k = 0; k < size_of(host); ++k) set_value(host, k, value_of(host, k) * scale);
      put_gradient(i, host);
    }
  }
  void set_gradient_element(std::size_t tensor, std::size_t element, double value) {
    Tensor host = to_host(parts_[tensor].grad);
    set_value(host, element, value);
    put_gradient(tensor, host);
  }

  // After `steps` steps in f32 of values, momenta and updates below some ten.
  void expect_close_to_wide(int steps) const {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const Parts& p = parts_[i];
      const auto size = [](const Tensor& t) { return map_f64(t, [](double x) { return 16 + std::fabs(x); }); };
      expect_close("momentum of tensor " + std::to_string(i), to_host(p.momentum), p.momentum64, size(p.momentum64), 6 * steps);
      expect_close("value of tensor " + std::to_string(i), to_host(p.value), p.value64, size(p.value64), 8 * steps);
    }
  }
  void expect_same_bits_as(const Model& other) const {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      EXPECT_TRUE(same_bits(to_host(parts_[i].value), to_host(other.parts_[i].value))) << "value of tensor " << i;
      EXPECT_TRUE(same_bits(to_host(parts_[i].momentum), to_host(other.parts_[i].momentum))) << "momentum of tensor " << i;
      if (parts_[i].compute) {
        EXPECT_TRUE(same_bits(to_host(parts_[i].compute), to_host(other.parts_[i].compute))) << "copy of tensor " << i;
      }
    }
  }
  void expect_copies_are_rounded_values() const {
    for (const Parts& p : parts_) {
      if (!p.compute) continue;
      EXPECT_TRUE(same_bits(to_host(p.compute), rounded(to_host(p.value), p.compute.dtype())));
    }
  }
  std::vector<Tensor> values_on_host() const {
    std::vector<Tensor> all;
    for (const Parts& p : parts_) all.push_back(to_host(p.value)), all.push_back(to_host(p.momentum));
    return all;
  }

 private:
  struct Parts {
    Tensor value, momentum, grad, compute, value64, momentum64, grad64;
    double weight_decay = 0, lr = 0;
  };
  static Tensor rounded(const Tensor& wide, DType dtype) {
    Tensor result = Tensor::empty(wide.shape(), dtype);
    for (std::size_t i = 0; i < size_of(wide); ++i) set_value(result, i, value_of(wide, i));
    return result;
  }
  void put_gradient(std::size_t tensor, const Tensor& host) {
    copy_contents(host, parts_[tensor].grad);
    copy_contents(widened(host), parts_[tensor].grad64);
  }
  std::vector<Parts> parts_;
};

}  // namespace lockstep::host_tensors
