// SPDX-License-Identifier: Apache-2.0
#include "ops/registry.h"

#include "ops/activation.h"
#include "ops/adaptive_avg_pool.h"
#include "ops/add.h"
#include "ops/avg_pool.h"
#include "ops/batch_norm.h"
#include "ops/concat.h"
#include "ops/conv2d.h"
#include "ops/dropout.h"
#include "ops/flatten.h"
#include "ops/flatten_chw.h"
#include "ops/global_avg_pool.h"
#include "ops/linear.h"
#include "ops/max_pool.h"
#include "ops/mix_images.h"
#include "ops/norm_conv2d.h"
#include "ops/normalise_image.h"
#include "ops/relu.h"
#include "ops/response_norm.h"
#include "ops/shift_channels.h"
#include "ops/shuffle_channels.h"
#include "ops/softmax_cross_entropy.h"
#include "ops/to_statistics.h"

namespace lockstep {

std::span<const OpSpec> all_ops() {
  static const std::vector<OpSpec> table{
      conv2d_spec(),   batch_norm_spec(),      relu_spec(),    add_spec(),
      max_pool_spec(), avg_pool_spec(),        linear_spec(),  global_avg_pool_spec(),
      flatten_spec(),  concat_spec(),          dropout_spec(), softmax_cross_entropy_spec(),
      normalise_image_spec(), norm_conv2d_spec(), mix_images_spec(),
      leaky_relu_spec(), tanh_spec(), sigmoid_spec(), threshold_spec(), clamp_spec(),
      response_norm_spec(), shuffle_channels_spec(), shift_channels_spec(), adaptive_avg_pool_spec(), to_statistics_spec(), flatten_chw_spec(),
  };
  return table;
}

}  // namespace lockstep
