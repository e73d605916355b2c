// SPDX-License-Identifier: Apache-2.0
#include "ops/normalise_image.h"

#include <array>
#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "normalise_image";
constexpr std::size_t kMaxChannels = 16;

void check_statistics(std::string_view name, std::span<const float> values, std::int64_t channels) {
  if (std::ssize(values) != channels || values.size() > kMaxChannels)
    throw_bad_argument(kOp, name, std::to_string(values.size()) + " values",
                       std::to_string(channels) + ", one per channel, at most " + std::to_string(kMaxChannels));
}

}  // namespace

Work normalise_image_work(const Shape& images) { return elementwise_work(images, 2); }

Tensor normalise_image(Context& ctx, const Tensor& images, std::span<const float> mean, std::span<const float> std,
                       DType dtype) {
  check_axes(kOp, "images", images.shape(), 4, "(N, C, H, W)");
  check_dtype(kOp, "images", images, DType::kU8);
  check_statistics("mean", mean, images.shape()[1]);
  check_statistics("std", std, images.shape()[1]);
  if (!is_floating(dtype)) throw_bad_argument(kOp, "dtype", std::string(dtype_name(dtype)), "a floating-point dtype");
  std::array<float, kMaxChannels> inv_std{};
  for (std::size_t c = 0; c < std.size(); ++c) {
    if (!(std[c] > 0)) throw_bad_argument(kOp, "std", std::to_string(std[c]), "a positive number");
    inv_std[c] = 1.0f / std[c];
  }
  Tensor y = Tensor::empty(images.shape(), dtype, images.device());
  ctx.kernels.normalise_image(ctx.stream, images, mean, std::span(inv_std).first(std.size()), y);
  return y;
}

OpSpec normalise_image_spec() {
  const auto sample = [](std::string name, Shape x, std::vector<float> mean, std::vector<float> std, DType dtype) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "images", .shape = x, .role = InputRole::kBytes, .low = 0, .high = 256}},
                    .run = [mean = std::move(mean), std = std::move(std), dtype](Context& ctx, const SampleValues& in) {
                      return Var{normalise_image(ctx, in.tensors[0], mean, std, dtype)};
                    },
                    .work = normalise_image_work(x)};
  };
  return {.name = "normalise_image",
          .samples = {sample("one pixel, f32", {1, 1, 1, 1}, {0.5f}, {0.25f}, DType::kF32),
                      sample("colour, odd size, f32", {2, 3, 5, 7}, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f},
                             DType::kF32)}};
}

}  // namespace lockstep
