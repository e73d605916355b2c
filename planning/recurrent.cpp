// SPDX-License-Identifier: Apache-2.0
#include "planning/recurrent.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "core/error.h"

namespace lockstep {

Work recurrent_work(const RecurrentLayer& layer, std::int64_t batch) {
  const auto& [input, hidden, gates, directions, sequence, states] = layer;
  const std::int64_t both = input + hidden;
  return {.weights = count_product({both, hidden, gates, directions}),
          .vectors = count_product({hidden, gates, directions}),
          .inputs = count_product({batch, input, directions, states, sequence}),
          .outputs = count_product({batch, hidden, directions, sequence}),
          .operations = count_product({2, batch, both, hidden, gates, directions, sequence}),
          .other_operations = count_product({batch, hidden, gates, directions, sequence})};
}

RecurrentLayer parse_recurrent(std::string_view text) {
  constexpr std::int64_t kLargest = 1'000'000'000;
  RecurrentLayer layer;
  const std::array<std::int64_t*, 6> fields{&layer.input, &layer.hidden, &layer.gates, &layer.directions, &layer.sequence, &layer.states};
  const auto refuse = [&] {
    throw UserError(fmt::format("--recurrent: got \"{}\", want IN,HID,GATES,DIRS,SEQ,STATES: six numbers from 1 to {}"
                                "\n  an LSTM of 512 units over 100 steps: 512,512,4,1,100,2",
                                text, kLargest));
  };
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0 && (at == end || *at++ != ',')) refuse();
    const auto [next, error] = std::from_chars(at, end, *fields[i]);
    if (error != std::errc() || *fields[i] < 1 || *fields[i] > kLargest) refuse();
    at = next;
  }
  if (at != end) refuse();
  return layer;
}

NetworkCount count_recurrent(std::span<const RecurrentLayer> layers, std::int64_t batch) {
  NetworkCount count{.name = "recurrent layers", .images = {}, .batch = batch, .layers = {}};
  for (const RecurrentLayer& layer : layers) {
    const Work work = recurrent_work(layer, batch);
    count.layers.push_back({.name = fmt::format("recurrent{}", count.layers.size() + 1),
                            .op = "recurrent",
                            .output = {batch, layer.sequence, count_product({layer.hidden, layer.directions})},
                            .parameters = (work + Work{.weights = work.vectors}).weights,
                            .multiply_adds = work.operations / 2,
                            .work = work});
  }
  return count;
}

}  // namespace lockstep
