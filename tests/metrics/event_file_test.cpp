// Event files: checksums, framing byte by byte, and what the real TensorBoard reads (needs python with tensorboard).
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "tests/metrics/metrics_test_util.h"
#include "train/metrics/crc32c.h"
#include "train/metrics/event_file.h"

namespace lockstep {
namespace {

using testing::ElementsAre;

// The test vectors of RFC 3720, B.4.
TEST(Crc32c, HasTheValuesOfTheStandard) {
  std::string up(32, '\0'), down(32, '\0');
  std::iota(up.begin(), up.end(), '\0');
  std::copy(up.rbegin(), up.rend(), down.begin());
  const unsigned char read_command[48] = {0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
                                          0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                          0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
  for (const auto& crc : {crc32c, crc32c_by_table}) {
    EXPECT_EQ(crc(std::string(32, '\0').data(), 32), 0x8a9136aau);
    EXPECT_EQ(crc(std::string(32, '\xff').data(), 32), 0x62a8ab43u);
    EXPECT_EQ(crc(up.data(), 32), 0x46dd794eu);
    EXPECT_EQ(crc(down.data(), 32), 0x113fdb5cu);
    EXPECT_EQ(crc(read_command, sizeof(read_command)), 0xd9963a56u);
    EXPECT_EQ(crc("123456789", 9), 0xe3069283u);
    EXPECT_EQ(crc("", 0), 0u);
  }
}

TEST(Crc32c, InstructionAndTableAgreeAtEveryLengthAndOffset) {
  std::string data(80, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 37 + 11);
  for (size_t offset = 0; offset < 8; ++offset) {
    for (size_t length = 0; length + offset <= data.size(); ++length) {
      ASSERT_EQ(crc32c(data.data() + offset, length), crc32c_by_table(data.data() + offset, length))
          << offset << " " << length;
    }
  }
}

TEST(EventRecord, IsLengthChecksumDataChecksum) {
  const std::string record = frame_event_record("abc");
  ASSERT_EQ(record.size(), 8u + 4 + 3 + 4);
  EXPECT_EQ(record.substr(0, 8), std::string("\x03\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, 3), "abc");
  const auto number_at = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i)
      value |= static_cast<uint32_t>(static_cast<unsigned char>(record[at + i])) << (8 * i);
    return value;
  };
  EXPECT_EQ(number_at(8), masked_crc32c(record.data(), 8));
  EXPECT_EQ(number_at(15), masked_crc32c("abc", 3));
}

// Runs the real reader: tests/metrics/read_events.py FOLDER prints "tag step value" lines, then "texts ...".
class TensorboardTest : public MetricsTest {
 protected:
  void SetUp() override {
    MetricsTest::SetUp();
    const char* python = std::getenv("LOCKSTEP_PYTHON");
    python_ = python == nullptr ? "python3" : python;
    const std::string reader = "from tensorboard.backend.event_processing import event_accumulator";
    if (std::system((python_ + " -c '" + reader + "' >/dev/null 2>&1").c_str()) != 0) {
      GTEST_SKIP() << "no tensorboard for " << python_ << ": set LOCKSTEP_PYTHON to a Python that has it";
    }
  }

  std::vector<std::string> read(int* status = nullptr) const {
    const char* root = std::getenv("LOCKSTEP_SOURCE_DIR");
    const std::string script = std::string(root == nullptr ? "." : root) + "/tests/metrics/read_events.py";
    std::FILE* pipe = ::popen((python_ + " " + script + " " + folder_ + " 2>/dev/null").c_str(), "r");
    std::string text;
    for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
    const int result = ::pclose(pipe);
    if (status != nullptr) *status = WEXITSTATUS(result);
    EXPECT_EQ(result, 0) << text;
    std::istringstream stream(text);
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

  void write_steps(const std::vector<int64_t>& steps, double loss,
                   std::optional<int64_t> resume_step = std::nullopt) const {
    MetricsLog log(folder_, {.jsonl = false, .csv = false, .resume_step = resume_step});
    for (int64_t step : steps)
      log.write({MetricKind::kTrain, step, 0, 0, {{"loss", loss + static_cast<double>(step)}}});
  }

  std::string python_;
};

TEST_F(TensorboardTest, ReadsOurScalarsAndTextsUnderTheirTags) {
  {
    MetricsLog log(folder_, {});
    log.write(train_record(50, 2.25));
    log.write({MetricKind::kVal, 60, 0.6, 0, {{"loss", 1.5}, {"top1", 0.75}, {"top5", 1.0}}});
    log.write({MetricKind::kPerf, 60, 0.6, 0, {{"images_per_sec", int64_t{4096}}, {"input_wait_frac", 0.25}}});
    log.write({MetricKind::kTrain, 60, 0.6, 0, {{"grad_norm", 3.0}, {"noise_scale", 8.0}, {"gpu_peak_gb", 1.0}}});
    log.write({MetricKind::kWarn, 61, 0.6, 0, {{"message", "3 bad samples"}}});
  }
  EXPECT_THAT(read(),
              ElementsAre("grad/noise_scale 60 8.0", "grad/norm 60 3.0", "lr 50 0.10000000149011612",
                          "mem/gpu_peak_gb 60 1.0", "perf/images_per_sec 60 4096.0", "perf/input_wait_frac 60 0.25",
                          "train/loss 50 2.25", "train/top1 50 0.5", "val/loss 60 1.5", "val/top1 60 0.75",
                          "val/top5 60 1.0", "text warn/message 61 3 bad samples"));
}

TEST_F(TensorboardTest, ResumeSupersedesLaterPointsAndKeepsThoseAtTheStep) {
  write_steps({10, 20, 30, 40}, 0);
  write_steps({30}, 0.5, 20);
  EXPECT_THAT(read(), ElementsAre("train/loss 10 10.0", "train/loss 20 20.0", "train/loss 30 30.5"));
}

// The control of the test above: without the mark of a restart, the superseded point at step 40 stays.
TEST_F(TensorboardTest, WithoutTheMarkLaterPointsStay) {
  write_steps({10, 20, 30, 40}, 0);
  write_steps({50}, 0.5);
  EXPECT_THAT(read(), testing::Contains("train/loss 40 40.0"));
}

TEST_F(TensorboardTest, ATruncatedFileIsReadUpToItsLastWholeRecord) {
  write_steps({10, 20, 30}, 0);
  const std::string file = event_files().front();
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 3);
  EXPECT_THAT(read(), ElementsAre("train/loss 10 10.0", "train/loss 20 20.0"));
}

// The control: a wrong byte in the middle is seen by the reader, i.e. our checksums are really compared.
TEST_F(TensorboardTest, ADamagedRecordIsNoticed) {
  write_steps({10, 20, 30}, 0);
  const std::string file = event_files().front();
  std::string bytes = file_text(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x10);
  std::ofstream(file, std::ios::binary) << bytes;
  EXPECT_LT(read().size(), 3u);
}

}  // namespace
}  // namespace lockstep
