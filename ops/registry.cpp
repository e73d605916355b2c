// SPDX-License-Identifier: Apache-2.0
#include "ops/registry.h"

#include "ops/add.h"
#include "ops/avg_pool.h"
#include "ops/batch_norm.h"
#include "ops/concat.h"
#include "ops/conv2d.h"
#include "ops/dropout.h"
#include "ops/flatten.h"
#include "ops/global_avg_pool.h"
#include "ops/linear.h"
#include "ops/max_pool.h"
#include "ops/mix_images.h"
#include "ops/norm_conv2d.h"
#include "ops/normalise_image.h"
#include "ops/relu.h"
#include "ops/softmax_cross_entropy.h"

namespace lockstep {

std::span<const OpSpec> all_ops() {
  static const std::vector<OpSpec> table{
      conv2d_spec(),   batch_norm_spec(),      relu_spec(),    add_spec(),
      max_pool_spec(), avg_pool_spec(),        linear_spec(),  global_avg_pool_spec(),
      flatten_spec(),  concat_spec(),          dropout_spec(), softmax_cross_entropy_spec(),
      normalise_image_spec(), norm_conv2d_spec(), mix_images_spec(),
  };
  return table;
}

}  // namespace lockstep
