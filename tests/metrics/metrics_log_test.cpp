// The files of a run's metrics: contents, resume, and a disk that is full.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/metrics/metrics_test_util.h"

namespace lockstep {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST_F(MetricsTest, JsonLinesHaveStableKeysInOrder) {
  MetricsLog log(folder_, {});
  log.write(train_record(50, 2.25));
  log.write({MetricKind::kCkpt, 60, 0.6, 1.0, {{"path", "ckpt/\"x\"\n\xff"}, {"bytes", int64_t{1} << 40}}});
  log.flush();
  const std::vector<std::string> lines = file_lines(path("metrics.jsonl"));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], R"({"t":1700000050.5,"step":50,"epoch":0.5,"kind":"train","loss":2.25,"top1":0.5,"lr":0.1})");
  const auto second = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(second["bytes"], int64_t{1} << 40);
  EXPECT_THAT(second["path"].get<std::string>(), StartsWith("ckpt/\"x\"\n"));
}

TEST_F(MetricsTest, NanIsNullInJsonAndNanInCsv) {
  MetricsLog log(folder_, {});
  log.write(train_record(1, std::nan("")));
  log.flush();
  EXPECT_TRUE(nlohmann::json::parse(file_lines(path("metrics.jsonl"))[0])["loss"].is_null());
  EXPECT_THAT(file_lines(path("metrics.csv"))[1], HasSubstr(",nan,"));
}

TEST_F(MetricsTest, CsvHasOneHeaderAndARowPerFigure) {
  MetricsLog log(folder_, {});
  log.write(train_record(50, 2.25));
  log.write({MetricKind::kWarn, 51, 0.5, 1.0, {{"message", "a, b"}}});
  log.write({MetricKind::kNoise, 52, 0.5, 1.0, {{"noise_scale", 64.0}, {"noise_scale.fc", 32.0}}});  // of epochs and layers: no columns for them
  log.write({MetricKind::kVal, 60, 0.6, 2.0, {{"top5", 0.9}, {"unknown", 3.0}}});
  log.flush();
  const std::vector<std::string> lines = file_lines(path("metrics.csv"));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], StartsWith("step,epoch,kind,t,loss,top1,top5,lr,"));
  EXPECT_EQ(lines[1], "50,0.5,train,1700000050.500,2.25,0.5,,0.1,,,,,,,,,");
  EXPECT_EQ(lines[2], "60,0.6,val,2.000,,,0.9,,,,,,,,,,");
  for (const std::string& line : lines) EXPECT_EQ(std::count(line.begin(), line.end(), ','), 16) << line;
}

TEST_F(MetricsTest, NothingReachesTheFileBeforeFlush) {
  MetricsLog log(folder_, {});
  log.write(train_record(1, 1));
  EXPECT_EQ(file_text(path("metrics.jsonl")), "");
}

TEST_F(MetricsTest, ResumeRemovesLaterRecordsAndHalfLines) {
  {
    MetricsLog log(folder_, {});
    for (int64_t step : {10, 20, 30}) log.write(train_record(step, 1));
  }
  std::ofstream(path("metrics.jsonl"), std::ios::app) << "not json\n{\"step\":5,\"kind\":\"tr";
  std::ofstream(path("metrics.csv"), std::ios::app) << "5,0.0";
  {
    MetricsLog log(folder_, {.resume_step = 20});
    log.write(train_record(30, 7));
  }
  const std::vector<std::string> lines = file_lines(path("metrics.jsonl"));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[1], HasSubstr("\"step\":20,"));
  EXPECT_THAT(lines[2], HasSubstr("\"loss\":7.0"));
  const std::vector<std::string> rows = file_lines(path("metrics.csv"));
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_THAT(rows[0], StartsWith("step,"));
  EXPECT_THAT(rows[2], StartsWith("20,"));
  EXPECT_THAT(rows[3], HasSubstr(",7,"));
  EXPECT_FALSE(std::filesystem::exists(path("metrics.jsonl.tmp")));
}

TEST_F(MetricsTest, ResumeGoesOnWithTheColumnsItFinds) {
  std::ofstream(path("metrics.csv")) << "step,loss,old\n1,0.5,9\n";
  { MetricsLog(folder_, {.resume_step = 1}).write(train_record(2, 0.25)); }
  EXPECT_EQ(file_text(path("metrics.csv")), "step,loss,old\n1,0.5,9\n2,0.25,\n");
}

TEST_F(MetricsTest, ANewRunReplacesOldFiles) {
  { MetricsLog(folder_, {}).write(train_record(1, 1)); }
  { MetricsLog(folder_, {}).write(train_record(2, 1)); }
  EXPECT_EQ(file_lines(path("metrics.jsonl")).size(), 1u);
  EXPECT_EQ(file_lines(path("metrics.csv")).size(), 2u);
}

TEST_F(MetricsTest, OnlyChosenFilesAreWritten) {
  { MetricsLog(folder_, {.csv = false, .tensorboard = false}).write(train_record(1, 1)); }
  EXPECT_TRUE(std::filesystem::exists(path("metrics.jsonl")));
  EXPECT_FALSE(std::filesystem::exists(path("metrics.csv")));
  EXPECT_TRUE(event_files().empty());
}

TEST_F(MetricsTest, AFolderThatIsMissingIsAnError) {
  try {
    MetricsLog log(folder_ + "/none", {});
    FAIL() << "no error";
  } catch (const EnvironmentError& error) {
    EXPECT_EQ(error.code(), ExitCode::kCantCreate);
    EXPECT_THAT(error.what(), HasSubstr("/none/metrics.jsonl"));
  }
}

// A disk that takes no more than `bytes` per file while this lives.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit{bytes, old_limit_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_limit_{};
  void (*old_handler_)(int) = nullptr;
};

TEST_F(MetricsTest, AFullDiskCostsWholeRecordsAndOneWarning) {
  std::vector<std::string> warnings;
  MetricsLog log(folder_, {.csv = false, .tensorboard = false, .warn = [&](const std::string& text) {
                             warnings.push_back(text);
                           }});
  log.write(train_record(1, 1));
  log.flush();
  {
    const FullDisk full(120);  // one and a half records
    for (int64_t step : {2, 3, 4}) {
      log.write(train_record(step, 1));
      log.flush();
    }
  }
  log.write(train_record(5, 1));
  log.flush();
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("metrics.jsonl: File too large"));
  EXPECT_EQ(log.lost_records(), 3);
  const std::vector<std::string> lines = file_lines(path("metrics.jsonl"));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(lines[1])["step"], 5);  // not behind the half of an earlier record
}

TEST_F(MetricsTest, AHeaderSurvivesADiskThatIsFullAtTheStart) {
  MetricsLog log(folder_, {.jsonl = false, .tensorboard = false});
  {
    const FullDisk full(10);
    log.write(train_record(1, 1));
    log.flush();
  }
  log.write(train_record(2, 1));
  log.flush();
  const std::vector<std::string> lines = file_lines(path("metrics.csv"));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], StartsWith("step,"));
  EXPECT_THAT(lines[1], StartsWith("2,"));
}

}  // namespace
}  // namespace lockstep
