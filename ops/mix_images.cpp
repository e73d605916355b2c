// SPDX-License-Identifier: Apache-2.0
#include "ops/mix_images.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "mix_images";

}  // namespace

Work mix_images_work(const Shape& images) {
  Work work = elementwise_work(images, 3);
  work.inputs = count_product({2, work.inputs});
  return work;
}

Tensor mix_images(Context& ctx, const Tensor& images, const Tensor& mix) {
  check_axes(kOp, "images", images.shape(), 4, "(N, C, H, W)");
  check_floating(kOp, "images", images);
  check_shape(kOp, "mix", mix.shape(), {images.shape()[0], kMixRowWords});
  check_dtype(kOp, "mix", mix, DType::kI32);
  Tensor y = Tensor::empty(images.shape(), images.dtype(), images.device());
  ctx.kernels.mix_images(ctx.stream, images, mix, y);
  return y;
}

OpSpec mix_images_spec() {
  const auto sample = [](std::string name, Shape x) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "images", .shape = x, .role = InputRole::kConstant, .low = -2, .high = 2},
                               {.name = "mix",
                                .shape = {x[0], kMixRowWords},
                                .role = InputRole::kMixRows,
                                .low = 0,
                                .high = static_cast<double>(std::min(x[2], x[3]))}},
                    .run = [](Context& ctx, const SampleValues& in) { return Var{mix_images(ctx, in.vars[0].value, in.tensors[0])}; },
                    .work = mix_images_work(x)};
  };
  return {.name = "mix_images", .samples = {sample("one pixel", {1, 1, 1, 1}), sample("colour, odd size", {5, 3, 5, 7}),
                                            sample("grey, whole packs", {6, 1, 8, 8}), sample("no image", {0, 3, 4, 4})}};
}

}  // namespace lockstep
