// Counts against the formulas on paper, against torchvision's networks as an independent script counts them, and against figures that
// others have published.
// SPDX-License-Identifier: Apache-2.0
#include "planning/analysis.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "core/error.h"
#include "models/zoo.h"
#include "planning/analysis_report.h"
#include "planning/analysis_subject.h"
#include "planning/recurrent.h"
#include "ops/conv2d.h"
#include "ops/linear.h"
#include "planning/units.h"

namespace lockstep {
namespace {

constexpr double kBits = 16;
constexpr NumberWidths kWidths{.weights = kBits, .activations = kBits};

TEST(Analysis, FullyConnectedIsTheFormula) {
  constexpr double kBatch = 6, kIn = 10, kOut = 4;
  const Demand asked = demand(linear_work({6, 10}, {4, 10}, true), kWidths, Purpose::kInference);
  EXPECT_EQ(asked.weight_bytes, kIn * kOut * kBits / 8);
  EXPECT_EQ(asked.input_bytes, kBatch * kIn * kBits / 8);
  EXPECT_EQ(asked.operations, 2 * kBatch * kIn * kOut);
  EXPECT_EQ(asked.vector_bytes, kOut * 32 / 8) << "biases: apart, and as wide as ever";
  EXPECT_EQ(asked.other_operations, kBatch * kOut);
}

TEST(Analysis, ConvolutionIsTheFormulaDividedByTheGroups) {
  constexpr double kBatch = 2, kIn = 8, kOut = 12, kSide = 10, kOutSide = 5, kFilter = 3;
  for (const int groups : {1, 2, 4}) {
    const Work work = conv2d_work({2, 8, 10, 10}, {12, 8 / groups, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}, .groups = groups});
    const Demand asked = demand(work, kWidths, Purpose::kInference);
    EXPECT_EQ(asked.weight_bytes, kIn * kOut * kFilter * kFilter * kBits / groups / 8);
    EXPECT_EQ(asked.input_bytes, kBatch * kSide * kSide * kIn * kBits / 8);
    EXPECT_EQ(asked.operations, 2 * kBatch * kOutSide * kOutSide * kIn * kOut * kFilter * kFilter / groups);
  }
}

TEST(Analysis, RecurrentIsTheFormula) {
  const RecurrentLayer layer = parse_recurrent("512,1024,4,2,100,3");
  constexpr double kBatch = 6;
  const Demand asked = demand(recurrent_work(layer, 6), kWidths, Purpose::kInference);
  EXPECT_EQ(asked.weight_bytes, (512.0 + 1024) * 1024 * 4 * 2 * kBits / 8);
  EXPECT_EQ(asked.input_bytes, kBatch * 512 * 2 * 3 * 100 * kBits / 8);
  EXPECT_EQ(asked.operations, 2 * kBatch * (512.0 + 1024) * 1024 * 4 * 2 * 100);
}

TEST(Analysis, ARecurrentLayerThatIsNoneIsRefused) {
  for (const char* text : {"", "1,2,3", "1,2,3,4,5,6,7", "1,2,3,4,5,0", "1,2,3,4,5,-6", "a,b,c,d,e,f", "1, 2,3,4,5,6", "1,2,3,4,5,6x",
                           "99999999999,1,1,1,1,1"})
    EXPECT_THROW(parse_recurrent(text), UserError) << text;
  const RecurrentLayer huge = parse_recurrent("1000000000,1000000000,1000000000,2,1,1");
  EXPECT_THROW(recurrent_work(huge, 1), UserError);
}

TEST(Analysis, TrainingIsThreeTimesTheWeightsTwiceTheActivationsThreeTimesTheOperations) {
  const Work work = conv2d_work({2, 3, 8, 8}, {4, 3, 3, 3}, {});
  const Demand once = demand(work, kWidths, Purpose::kInference), training = demand(work, kWidths, Purpose::kTraining);
  EXPECT_EQ(training.weight_bytes, 3 * once.weight_bytes);
  EXPECT_EQ(training.input_bytes, 2 * once.input_bytes);
  EXPECT_EQ(training.operations, 3 * once.operations);
  EXPECT_DOUBLE_EQ(training.intensity_of_weights(), once.intensity_of_weights());
  EXPECT_DOUBLE_EQ(once.intensity(), once.operations / (once.weight_bytes + once.input_bytes));
  const NetworkCount count = count_network(*make_model({.name = "resnet18"}), {8, 3, 224, 224});
  EXPECT_DOUBLE_EQ(training_operations(count, 1e6, 90), 3 * 1e6 * 90 * static_cast<double>(count.with_weights().operations) / 8);
}

TEST(Analysis, ModelSizesAreTheBits) {
  const NetworkCount count = count_network(*make_model({.name = "resnet50"}), {1, 3, 224, 224});
  EXPECT_EQ(count.parameters(), 25557032);
  for (const int bits : {1, 2, 4, 8, 16, 32}) {
    const NumberWidths widths{static_cast<double>(bits), static_cast<double>(bits), 32};
    EXPECT_EQ(demand(count.with_weights(), widths, Purpose::kInference).weight_bytes, 25502912.0 * bits / 8);
    EXPECT_EQ(demand(count.apart(Purpose::kInference), widths, Purpose::kInference).vector_bytes, (25557032.0 - 25502912) * 4);
  }
}

TEST(Analysis, EveryNumberIsInOneOfTheTwoSums) {
  const NetworkCount count = count_network(*make_model({.name = "alexnet"}), {2, 3, 224, 224});
  Work all;
  for (const LayerInfo& layer : count.layers) all = all + layer.work;
  EXPECT_EQ(count.with_weights() + count.apart(Purpose::kTraining), all);
  EXPECT_EQ(count.with_weights().vectors, 0);
  EXPECT_EQ(count.apart(Purpose::kTraining).weights, 0);
}

TEST(Analysis, DropoutIsWorkInTrainingOnly) {
  NetworkCount count{.name = "one", .images = {}, .batch = 2, .layers = {}};
  count.layers.push_back({.name = "drop", .op = "dropout", .output = {2, 8}, .work = elementwise_work({2, 8}, 2)});
  EXPECT_EQ(count.apart(Purpose::kInference), Work{});
  EXPECT_EQ(count.apart(Purpose::kTraining).other_operations, 32);
}

// --- torchvision's networks, counted by tests/golden/layer_counts/record_layer_counts.py ---

struct GoldenLayer {
  std::int64_t weights = 0, inputs = 0, operations = 0;
  bool operator==(const GoldenLayer&) const = default;
};

struct GoldenNetwork {
  std::string name;
  std::int64_t side = 0, batch = 0, parameters = 0;
  GoldenLayer sum;
  std::map<std::string, GoldenLayer> layers;  // empty: only the sums were recorded
};

void PrintTo(const GoldenLayer& layer, std::ostream* out) {
  *out << layer.weights << " weights, " << layer.inputs << " inputs, " << layer.operations << " operations";
}

std::vector<GoldenNetwork> golden_networks() {
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  std::ifstream file(std::string(source != nullptr ? source : ".") + "/tests/golden/layer_counts/layer_counts.txt");
  std::vector<GoldenNetwork> networks;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string kind, name;
    words >> kind >> name;
    if (kind == "network") {
      GoldenNetwork network{.name = name};
      words >> network.side >> network.batch >> network.parameters >> network.sum.weights >> network.sum.inputs >> network.sum.operations;
      networks.push_back(network);
    } else if (kind == "layer") {
      GoldenLayer& layer = networks.at(networks.size() - 1).layers[name];
      words >> layer.weights >> layer.inputs >> layer.operations;
    }
  }
  return networks;
}

TEST(Torchvision, TheGoldenFileIsThere) { EXPECT_GE(golden_networks().size(), 18u) << "LOCKSTEP_SOURCE_DIR names the source folder"; }

TEST(Torchvision, EveryNetworkHasItsWeightsAndOperations) {
  for (const GoldenNetwork& golden : golden_networks()) {
    SCOPED_TRACE(golden.name);
    const int side = static_cast<int>(golden.side);
    const auto model = make_model({.name = golden.name, .height = side, .width = side});
    const NetworkCount count = count_network(*model, {golden.batch, 3, golden.side, golden.side});
    const Work sum = count.with_weights();
    EXPECT_EQ(count.parameters(), golden.parameters);
    EXPECT_EQ((GoldenLayer{sum.weights, sum.inputs, sum.operations}), golden.sum);
    if (golden.layers.empty()) continue;
    std::size_t found = 0;
    for (const LayerInfo& layer : count.layers) {
      if (!has_weights(layer)) continue;
      const auto expected = golden.layers.find(layer.name);
      ASSERT_NE(expected, golden.layers.end()) << layer.name;
      EXPECT_EQ((GoldenLayer{layer.work.weights, layer.work.inputs, layer.work.operations}), expected->second) << layer.name;
      ++found;
    }
    EXPECT_EQ(found, golden.layers.size());
  }
}

struct Published {
  ModelOptions options;
  double multiply_adds = 0;  // of one image
  double share = 0.005;      // that the figure may be rounded by
  const char* where = "";
};

// Published figures, in 10^9 multiply-adds, as rounded by their authors.
TEST(Published, FiguresAreMet) {
  const std::vector<Published> figures{
      {{.name = "resnet50"}, 4.089, 0.0005, "8.178 GFLOP: torchvision, fvcore"},
      {{.name = "resnet50", .v1 = true}, 3.858, 0.005, "3.8e9: He et al. 2015, table 1; 3.858 by Caffe's prototxt"},
      {{.name = "alexnet"}, 0.714, 0.001, "torchvision"},
      {{.name = "vgg16"}, 15.47, 0.001, "Simonyan and Zisserman 2014 by torchvision"},
      {{.name = "mobilenet_v1"}, 0.569, 0.002, "Howard et al. 2017, table 4"},
      {{.name = "mobilenet_v2"}, 0.3008, 0.003, "Sandler et al. 2018, table 4"},
      {{.name = "densenet121"}, 2.834, 0.003, "torchvision"},
      {{.name = "shufflenet_v1_g1"}, 0.143, 0.012, "Zhang et al. 2017, table 2"},
      {{.name = "shufflenet_v1_g2"}, 0.140, 0.012, "the same"},
      {{.name = "shufflenet_v1_g3"}, 0.137, 0.012, "the same"},
      {{.name = "shufflenet_v1_g4"}, 0.133, 0.012, "the same"},
      {{.name = "shufflenet_v1_g8"}, 0.137, 0.012, "the same"},
  };
  for (const Published& figure : figures) {
    const auto model = make_model(figure.options);
    const Work sum = count_network(*model, {1, 3, 224, 224}).with_weights();
    const double giga_multiply_adds = static_cast<double>(sum.operations) / 2e9;
    EXPECT_NEAR(giga_multiply_adds, figure.multiply_adds, figure.share * figure.multiply_adds) << figure.options.name << ": " << figure.where;
  }
}

// --- the report ---

AnalysisReport report_of(const std::string& name, Purpose purpose, std::vector<DeviceDescription> devices) {
  return analyse(count_network(*make_model({.name = name}), {4, 3, 224, 224}),
                 {.purpose = purpose, .devices = std::move(devices), .samples = 1281167, .epochs = 90}, {});
}

TEST(AnalysisReport, JsonHoldsWhatWasCounted) {
  const AnalysisReport report = report_of("resnet18", Purpose::kTraining, {load_device("h100")});
  const nlohmann::json json = nlohmann::json::parse(analysis_json(report));
  EXPECT_EQ(json["network"], "resnet18");
  EXPECT_EQ(json["parameters"], 11689512);
  EXPECT_EQ(json["forward"]["weights"], 11678912);
  double operations = 0;
  for (const auto& layer : json["layers"]) operations += layer["demand"]["operations"].get<double>();
  EXPECT_DOUBLE_EQ(operations, json["demand"]["operations"].get<double>());
  EXPECT_DOUBLE_EQ(operations, 3 * 2 * 7256293376.0);  // of 4 images; the golden figure is of 2
  EXPECT_DOUBLE_EQ(json["training_operations"].get<double>(), operations / 4 * 1281167 * 90);
  EXPECT_EQ(json["sizes"].size(), 6u);
  ASSERT_EQ(json["devices"].size(), 1u);
  const auto& device = json["devices"][0];
  EXPECT_DOUBLE_EQ(device["training_s"].get<double>(), device["seconds"].get<double>() / 4 * 1281167 * 90);
  EXPECT_DOUBLE_EQ(device["training_joules"].get<double>(), 700 * device["training_s"].get<double>());
}

TEST(AnalysisReport, TextNamesEveryLayerAndDevice) {
  const std::string text = analysis_text(report_of("resnet18", Purpose::kInference, {load_device("h100"), load_device("p40")}));
  for (const char* wanted : {"layer4.1.conv2", "fc ", "H100 SXM", "P40", "in all", "apart", "O/(W+A)", "a whole training"})
    EXPECT_NE(text.find(wanted), std::string::npos) << wanted << "\n" << text;
}

TEST(AnalysisReport, ADeviceWithoutTheFormatIsSaidAndNoneIsAnError) {
  const NetworkCount count = count_network(*make_model({.name = "resnet18"}), {4, 3, 224, 224});
  const AnalysisReport report = analyse(count, {.format = NumberFormat::kBf16, .devices = {load_device("h100"), load_device("p40")}}, {});
  EXPECT_TRUE(report.bounds[0].has_value());
  EXPECT_FALSE(report.bounds[1].has_value());
  EXPECT_NE(analysis_text(report).find("has no BF16 arithmetic; it has FP64, FP32, INT8"), std::string::npos);
  EXPECT_THROW(analyse(count, {.format = NumberFormat::kBf16, .devices = {load_device("p40")}}, {}), UserError);
}

TEST(AnalysisSubject, TakesTheConfigAndWhatIsSaidBeside) {
  const LoadedConfig loaded = parse_config("model { name: 'resnet20' } data { source: CIFAR10 path: 'x' } epochs: 7 precision: BF16 "
                                           "batch { global_batch: 64 shard_batch: 16 } schedule { lr: 0.1 }", "test");
  const AnalysisSubject subject = subject_of(loaded, {});
  EXPECT_EQ(subject.model.name, "resnet20");
  EXPECT_EQ(subject.model.classes, 10);
  EXPECT_EQ(subject.model.height, 32);
  EXPECT_EQ(subject.batch, 16);
  EXPECT_EQ(subject.format, NumberFormat::kBf16);
  EXPECT_EQ(subject.samples, 50000);
  EXPECT_EQ(subject.epochs, 7);
  const AnalysisSubject changed =
      subject_of(loaded, {.batch = 3, .height = 64, .width = 48, .channels = 1, .classes = 5, .format = NumberFormat::kInt8});
  EXPECT_EQ(changed.batch, 3);
  EXPECT_EQ(changed.model.height, 64);
  EXPECT_EQ(changed.model.width, 48);
  EXPECT_EQ(changed.model.channels, 1);
  EXPECT_EQ(changed.model.classes, 5);
  EXPECT_EQ(changed.format, NumberFormat::kInt8);
  const LoadedConfig folder = parse_config("model { name: 'resnet20' } data { path: 'x' } schedule { lr: 0.1 }", "test");
  EXPECT_THROW(subject_of(folder, {}), UserError) << "how many classes?";
}

TEST(Units, HaveThreeDigits) {
  EXPECT_EQ(quantity(0, "B"), "0 B");
  EXPECT_EQ(quantity(999, "B"), "999 B");
  EXPECT_EQ(quantity(1000, "B"), "1.00 kB");
  EXPECT_EQ(quantity(25557032, ""), "25.6 M");
  EXPECT_EQ(quantity(999500, "OP"), "1.00 MOP");
  EXPECT_EQ(quantity(8.178e9, "OP"), "8.18 GOP");
  EXPECT_EQ(quantity(0.5, "OP/B"), "0.50 OP/B");
  EXPECT_EQ(time_text(0.0123), "12.3 ms");
  EXPECT_EQ(time_text(4.2e-6), "4.20 us");
  EXPECT_EQ(time_text(4.2), "4.20 s");
  EXPECT_EQ(energy_text(12), "12 J");
  EXPECT_EQ(energy_text(3.6e6 * 5), "5.00 kWh");
}

}  // namespace
}  // namespace lockstep
