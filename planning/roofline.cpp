// SPDX-License-Identifier: Apache-2.0
#include "planning/roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "planning/units.h"

namespace lockstep {
namespace {

double attainable(double intensity, const DeviceDescription& device, NumberFormat format) {
  return std::min(device.peak(format), intensity * device.memory_bytes_per_second);
}

double kernels_bound(std::span<const OpCall> calls, const DeviceDescription& device, NumberFormat format) {
  double seconds = 0;
  for (const OpCall& call : calls) seconds += std::max(call.flops / device.peak(format), call.bytes / device.memory_bytes_per_second);
  return seconds;
}

// The part of the roofs that the chart shows: a decade around the points and the ridges.
struct Span {
  double low = 1e300, high = 0;
  void hold(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

Series roof_of(const DeviceDescription& device, NumberFormat format, const Span& span, int colour) {
  const double ridge = device.ridge(format);
  Series roof{.name = fmt::format("{}: {}, {}", device.name, quantity(device.peak(format), "OP/s"), quantity(device.memory_bytes_per_second, "B/s")),
              .style = Series::Style::kLine,
              .points = {},
              .colour = colour};
  for (const double intensity : {span.low, ridge, span.high})
    roof.points.push_back({.x = intensity,
                           .y = attainable(intensity, device, format),
                           .label = intensity == ridge ? fmt::format("{}: arithmetic takes as long as memory at {:.0f} OP/B", device.name, ridge)
                                                       : ""});
  return roof;
}

ChartPoint point_of(const std::string& name, const Demand& asked, const DeviceDescription& device, NumberFormat format) {
  const double intensity = asked.intensity(), rate = attainable(intensity, device, format);
  return {.x = intensity,
          .y = rate,
          .label = fmt::format("{} on {}: {:.1f} OP/B, {}", name, device.name, intensity, quantity(rate, "OP/s"))};
}

// "conv1", "conv1, conv2", "conv1, conv2 and 7 more".
std::string names_of(const std::vector<std::string>& layers) {
  constexpr std::size_t kMost = 2;
  const std::string text = fmt::format("{}", fmt::join(layers.begin(), layers.begin() + std::min<std::ptrdiff_t>(kMost, std::ssize(layers)), ", "));
  return layers.size() > kMost ? fmt::format("{} and {} more", text, layers.size() - kMost) : text;
}

Series layers_on(const NetworkCount& count, const NumberWidths& widths, Purpose purpose, const DeviceDescription& device, NumberFormat format,
                 int colour) {
  struct Place {
    double intensity = 0;
    Demand asked;
    std::vector<std::string> layers;
  };
  std::vector<Place> places;  // layers of the same shape lie on the same point, which names them
  for (const LayerInfo& layer : count.layers) {
    if (!has_weights(layer)) continue;
    const Demand asked = demand(layer.work, widths, purpose);
    auto place = std::ranges::find(places, asked.intensity(), &Place::intensity);
    if (place == places.end()) place = places.insert(place, {.intensity = asked.intensity(), .asked = asked, .layers = {}});
    place->layers.push_back(layer.name);
  }
  Series points{.name = "", .style = Series::Style::kPoints, .points = {}, .colour = colour};
  for (const Place& place : places) points.points.push_back(point_of(names_of(place.layers), place.asked, device, format));
  return points;
}

// The network: all its operations in the time that its layers take one after the other, below the roof unless they are all alike.
Series whole_on(const NetworkCount& count, const NumberWidths& widths, Purpose purpose, const DeviceDescription& device, NumberFormat format,
                int colour) {
  const Demand all = demand(count.with_weights(), widths, purpose);
  const double rate = all.operations / bound_network(count, widths, purpose, device, format).seconds;
  Series whole{.name = "", .style = Series::Style::kPoints, .points = {}, .colour = colour, .label_points = true};
  whole.points.push_back({.x = all.intensity(), .y = rate, .label = fmt::format("{}: {}", count.name, quantity(rate, "OP/s"))});
  return whole;
}

Span span_of(const NetworkCount& count, const NumberWidths& widths, Purpose purpose, std::span<const DeviceDescription> devices,
             NumberFormat format) {
  Span span;
  for (const LayerInfo& layer : count.layers)
    if (has_weights(layer)) span.hold(demand(layer.work, widths, purpose).intensity());
  for (const DeviceDescription& device : devices)
    if (device.has(format)) span.hold(device.ridge(format));
  const double decades = std::log10(span.high / span.low), margin = std::max(1.5, std::pow(10, 0.05 * decades));
  return {span.low / margin, span.high * margin};
}

}  // namespace

TimeBound time_bound(const Demand& demand, Traffic traffic, const DeviceDescription& device, NumberFormat format) {
  LS_CHECK(device.has(format), "a roofline without a peak");
  const double bytes = demand.weight_bytes + (traffic == Traffic::kWeightsAndInputs ? demand.input_bytes : 0);
  return {demand.operations / device.peak(format), bytes / device.memory_bytes_per_second};
}

DeviceBound bound_network(const NetworkCount& count, const NumberWidths& widths, Purpose purpose, const DeviceDescription& device,
                          NumberFormat format, std::span<const OpCall> calls) {
  DeviceBound bound;
  const double on_chip = device.cache_bytes + device.near_memory_bytes;
  for (const LayerInfo& layer : count.layers) {
    if (!has_weights(layer)) continue;
    const Demand asked = demand(layer.work, widths, purpose), once = demand(layer.work, widths, Purpose::kInference);
    const TimeBound all = time_bound(asked, Traffic::kWeightsAndInputs, device, format);
    bound.arithmetic_s += all.arithmetic_s;
    bound.weights_s += time_bound(asked, Traffic::kWeights, device, format).seconds();
    bound.seconds += all.seconds();
    ++bound.layers;
    bound.memory_bound += all.memory_bound() ? 1 : 0;
    bound.fit_on_chip += once.input_bytes + once.output_bytes <= on_chip ? 1 : 0;
  }
  bound.kernels_s = kernels_bound(calls, device, format);
  return bound;
}

Chart roofline_chart(const NetworkCount& count, const NumberWidths& widths, Purpose purpose, std::span<const DeviceDescription> devices,
                     NumberFormat format) {
  const bool training = purpose == Purpose::kTraining;
  Chart chart{.title = fmt::format("Roofline of {}", count.name),
              .subtitle = fmt::format("{} of {} at a time, {}; weights and activations from memory", training ? "training" : "inference", count.batch,
                                      format_name(format)),
              .x = {.title = "operations per byte", .log = true},
              .y = {.title = "operations per second", .log = true},
              .note = "A point per layer with weights (equal ones share theirs), on the roof that limits it; the named one is the whole network."};
  const Span span = span_of(count, widths, purpose, devices, format);
  int colour = 0;
  for (const DeviceDescription& device : devices) {
    if (!device.has(format)) continue;
    chart.series.push_back(roof_of(device, format, span, colour));
    chart.series.push_back(layers_on(count, widths, purpose, device, format, colour));
    chart.series.push_back(whole_on(count, widths, purpose, device, format, colour));
    ++colour;
  }
  return chart;
}

}  // namespace lockstep
