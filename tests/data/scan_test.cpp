// scan finds every odd image and files it under the right reason; nothing that an image claims makes it take memory.
// SPDX-License-Identifier: Apache-2.0
#include "data/scan.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <map>

#include "data/decode.h"
#include "data/image_facts.h"
#include "data/work_crew.h"
#include "tests/data/odd_images.h"

namespace lockstep::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Images in memory, under names.
class ListSource : public Source {
 public:
  explicit ListSource(std::vector<std::pair<std::string, Bytes>> files) : files_(std::move(files)) {}
  std::int64_t size() const override { return std::ssize(files_); }
  int classes() const override { return 1; }
  int label(std::int64_t) const override { return 0; }
  int channels() const override { return 3; }
  int height() const override { return 0; }
  int width() const override { return 0; }
  bool encoded() const override { return true; }
  Image read(std::int64_t index, ReadScratch& scratch) const override { return decode_image(fetch(index, scratch), name(index), scratch); }
  std::span<const std::uint8_t> fetch(std::int64_t index, ReadScratch&) const override { return files_.at(static_cast<std::size_t>(index)).second; }
  std::string name(std::int64_t index) const override { return files_.at(static_cast<std::size_t>(index)).first; }
  std::string describe() const override { return "a list"; }
  std::string digest() const override { return ""; }

 private:
  std::vector<std::pair<std::string, Bytes>> files_;
};

ListSource odd_source() {
  std::vector<std::pair<std::string, Bytes>> files;
  for (const OddImage& image : odd_images()) files.emplace_back("set/" + image.name, image.bytes);
  return ListSource(std::move(files));
}

ScanReport scan_of(std::vector<const Source*> sources, int threads = 1) {
  ScanOptions options;
  options.threads = threads;
  return scan(sources, options);
}

// "kind" of every finding about an image.
std::map<std::int64_t, std::vector<std::string>> by_image(const ScanReport& report) {
  std::map<std::int64_t, std::vector<std::string>> kinds;
  for (const ScanFinding& finding : report.findings) kinds[finding.index].emplace_back(scan_kind_name(finding.kind));
  return kinds;
}

TEST(Scan, EveryOddImageIsFiledUnderItsReason) {
  const std::vector<OddImage>& images = odd_images();
  EXPECT_GE(images.size(), 50u);
  const ListSource source = odd_source();
  const ScanReport report = scan_of({&source});
  auto found = by_image(report);
  std::int64_t unreadable = 0;
  for (std::size_t i = 0; i < images.size(); ++i) {
    std::vector<std::string> wanted;
    if (images[i].unreadable) wanted.emplace_back(scan_kind_name(*images[i].unreadable));
    for (const ScanKind note : images[i].notes) wanted.emplace_back(scan_kind_name(note));
    unreadable += images[i].unreadable ? 1 : 0;
    EXPECT_EQ(found[static_cast<std::int64_t>(i)], wanted) << images[i].name;
  }
  EXPECT_EQ(report.unreadable(), unreadable);
  EXPECT_EQ(report.images, std::ssize(images));
  for (const ScanFinding& finding : report.findings) {
    EXPECT_EQ(finding.reason.empty(), !is_unreadable(finding.kind)) << source.name(finding.index);
    EXPECT_EQ(finding.reason.find("set/"), std::string::npos) << "the name is not repeated: " << finding.reason;
    EXPECT_EQ(finding.reason.find('\n'), std::string::npos) << finding.reason;
  }
}

TEST(Scan, TheReportIsTheSameWithAnyNumberOfThreads) {
  const ListSource source = odd_source(), again = odd_source();
  const auto lines = [&](int threads) {
    const std::vector<const Source*> splits{&source, &again};
    std::vector<std::string> out;
    for (const ScanFinding& finding : scan_of(splits, threads).findings)
      out.push_back(fmt::format("{} {} {} {}", finding.split, finding.index, scan_kind_name(finding.kind), describe(finding, splits)));
    return out;
  };
  const std::vector<std::string> one = lines(1);
  EXPECT_EQ(one, lines(5));
}

TEST(Scan, SameBytesAreDuplicatesAndAcrossSplitsLeaks) {
  const Bytes a = make_jpeg(JpegKind::kYcc, 40, 40, 1), b = make_jpeg(JpegKind::kYcc, 40, 40, 2), c = make_jpeg(JpegKind::kYcc, 40, 40, 3);
  const ListSource train({{"t/a", a}, {"t/b", b}, {"t/a2", a}, {"t/empty", {}}, {"t/empty2", {}}}), val({{"v/c", c}, {"v/b", b}, {"v/c2", c}});
  const std::vector<const Source*> splits{&train, &val};
  std::vector<std::string> lines;
  for (const ScanFinding& finding : scan_of(splits).findings)
    lines.push_back(splits[static_cast<std::size_t>(finding.split)]->name(finding.index) + " " + std::string(scan_kind_name(finding.kind)) + ": " +
                    describe(finding, splits));
  EXPECT_THAT(lines, ElementsAre("t/a2 duplicate: the same bytes as t/a", "t/empty empty: the file is empty", "t/empty2 empty: the file is empty",
                                 "v/b leak: the same bytes as t/b", "v/c2 duplicate: the same bytes as v/c"));
}

TEST(Scan, WhatCannotBeFetchedIsListedAndABugOfOursIsNot) {
  class Failing : public ListSource {
   public:
    explicit Failing(bool bug) : ListSource({{"f/0", make_jpeg(JpegKind::kYcc, 40, 40)}, {"f/1", {}}}), bug_(bug) {}
    std::span<const std::uint8_t> fetch(std::int64_t index, ReadScratch& scratch) const override {
      if (index == 1 && bug_) throw InternalError("a bug");
      if (index == 1) throw EnvironmentError("f/1: read: Input/output error", ExitCode::kIo);
      return ListSource::fetch(index, scratch);
    }

   private:
    bool bug_;
  };
  const Failing disk(false), bug(true);
  const ScanReport report = scan_of({&disk});
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].kind, ScanKind::kUnavailable);
  EXPECT_THAT(report.findings[0].reason, HasSubstr("Input/output error"));
  EXPECT_THROW(scan_of({&bug}, 2), InternalError);
}

// The largest resident size of this process since `reset`, in bytes.
class PeakMemory {
 public:
  bool reset() {
    std::ofstream file("/proc/self/clear_refs");
    file << "5" << std::flush;
    before_ = peak();
    return static_cast<bool>(file);
  }
  std::int64_t grown() const { return peak() - before_; }

 private:
  static std::int64_t peak() {
    std::ifstream file("/proc/self/status");
    for (std::string word; file >> word;)
      if (word == "VmHWM:") {
        std::int64_t kilobytes = 0;
        file >> kilobytes;
        return kilobytes << 10;
      }
    return 0;
  }
  std::int64_t before_ = 0;
};

TEST(Scan, BombsAreRefusedBeforeMemoryIsTaken) {
  PeakMemory memory;
  ReadScratch scratch;
  odd_images();  // making them takes memory
  int bombs = 0;
  for (const OddImage& image : odd_images()) {
    if (!image.bomb) continue;
    ++bombs;
    if (!memory.reset()) GTEST_SKIP() << "/proc/self/clear_refs can't be written here";
    try {
      decode_image(image.bytes, image.name, scratch);
      EXPECT_FALSE(image.unreadable) << image.name;
    } catch (const UserError&) {
      EXPECT_TRUE(image.unreadable) << image.name;
    }
    // What they claim to be takes 64 MB to 12 GB; sanitizers keep a shadow of what little is used.
    EXPECT_LT(memory.grown(), std::int64_t{48} << 20) << image.name;
  }
  EXPECT_GE(bombs, 8);
  memory.reset();
  const Bytes touched(std::size_t{96} << 20, 1);
  EXPECT_GE(memory.grown(), std::int64_t{90} << 20) << "the measurement can fail";
}

TEST(ImageFacts, HeadersOfEveryKind) {
  const ImageFacts jpeg = image_facts(make_jpeg(JpegKind::kYcck, 33, 45));
  EXPECT_EQ(jpeg.format, ImageFormat::kJpeg);
  EXPECT_EQ(std::vector({jpeg.height, jpeg.width, jpeg.channels, jpeg.bits}), (std::vector{33, 45, 4, 8}));
  EXPECT_TRUE(jpeg.usual && jpeg.ends);
  const ImageFacts png = image_facts(make_png(0, 16, 33, 45));
  EXPECT_EQ(png.format, ImageFormat::kPng);
  EXPECT_EQ(std::vector({png.height, png.width, png.channels, png.bits}), (std::vector{33, 45, 1, 16}));
  EXPECT_TRUE(png.ends);
  EXPECT_EQ(image_facts({}).format, ImageFormat::kUnknown);
}

TEST(ImageFacts, AnyPrefixIsSafeAndDoesNotEnd) {
  for (const Bytes& whole : {make_jpeg(JpegKind::kProgressive, 33, 45), make_png(2, 8, 33, 45, true)}) {
    EXPECT_TRUE(image_facts(whole).ends);
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_FALSE(image_facts(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))).ends);
  }
}

TEST(WorkCrew, EveryItemOnceAndTheLastTickSaysAll) {
  std::vector<std::atomic<int>> seen(1001);
  std::int64_t ticked = 0;
  for_each_piece(
      1001, 7, 3,
      [&](int worker, std::int64_t begin, std::int64_t end) {
        EXPECT_TRUE(worker >= 0 && worker < 3);
        EXPECT_LE(end - begin, 7);
        for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
      },
      [&](std::int64_t done) { ticked = done; });
  for (const auto& count : seen) EXPECT_EQ(count, 1);
  EXPECT_EQ(ticked, 1001);
  for_each_piece(0, 7, 3, [](int, std::int64_t, std::int64_t) { FAIL(); });
  EXPECT_THROW(for_each_piece(100, 1, 2, [](int, std::int64_t begin, std::int64_t) { if (begin == 50) throw UserError("no"); }), UserError);
}

}  // namespace
}  // namespace lockstep::test
