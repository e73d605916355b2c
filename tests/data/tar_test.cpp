// TarReader: every dialect, every kind of damage.
// SPDX-License-Identifier: Apache-2.0
#include "data/tar.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/data/archives.h"

namespace lockstep {
namespace {

using test::Bytes;
using test::bytes_of;
using test::TarBuilder;

struct Found {
  std::string name, content;
  bool operator==(const Found&) const = default;
};

std::vector<Found> walk(const Bytes& archive, std::int64_t* others = nullptr) {
  TarReader reader(ByteRange(std::make_shared<MemoryFile>("x.tar", archive)), "x.tar");
  std::vector<Found> found;
  for (TarMember member; reader.next(member);) {
    std::string content(member.size, '\0');
    reader.read(member, content.data(), content.size());
    found.push_back({member.name, content});
  }
  if (others != nullptr) *others = reader.others();
  return found;
}

std::string refused(const Bytes& archive, std::initializer_list<std::string> parts) {
  return test::not_the_user_error([&] { walk(archive); }, ExitCode::kData, parts);
}

TEST(Tar, ReadsEveryWayToWriteANameOrASize) {
  const std::string deep = std::string(120, 'd') + "/" + std::string(90, 'f') + ".jpg";
  TarBuilder tar;
  tar.add("./a.jpg", bytes_of("one"));
  tar.add("name", bytes_of("two"), {.prefix = "some/prefix"});
  tar.add("gnu", bytes_of("three"), {.prefix = "no/prefix", .gnu = true});
  tar.long_name(deep).add("cut", bytes_of("four"));
  tar.pax({{"comment", "for all"}, {"path", "no"}}, 'g');
  tar.pax({{"mtime", "1.5"}, {"path", deep + "x"}, {"size", "4"}}).add("cut", bytes_of("five"), {.size = 0});
  tar.add("base256", bytes_of("six"), {.size_field = std::string("\x80\0\0\0\0\0\0\0\0\0\0\3", 12)});
  tar.add("spaces", bytes_of("seven"), {.size_field = "          5 "});
  tar.add("v7", bytes_of("eight"), {.type = '\0'});
  const std::vector<Found> want{{"a.jpg", "one"}, {"some/prefix/name", "two"}, {"gnu", "three"}, {deep, "four"}, {deep + "x", "five"},
                                {"base256", "six"}, {"spaces", "seven"}, {"v7", "eight"}};
  EXPECT_EQ(walk(tar.finish()), want);
}

TEST(Tar, CountsWhatIsNoFile) {
  TarBuilder tar;
  tar.add("folder/", {}, {.type = '5'}).add("v7folder/", {}, {.type = '\0'});
  for (const char type : {'1', '2', '3', '4', '6'}) tar.add("link", {}, {.type = type, .size = 99});
  tar.add("vendor", bytes_of("data"), {.type = 'Z'}).add("file", bytes_of("x"));
  std::int64_t others = 0;
  EXPECT_EQ(walk(tar.finish(), &others), (std::vector<Found>{{"file", "x"}}));
  EXPECT_EQ(others, 6);
}

TEST(Tar, EndsAtZerosOrAtAnEdge) {
  const std::vector<Found> want{{"a", "x"}};
  TarBuilder tar;
  tar.add("a", bytes_of("x"));
  for (const int blocks : {0, 1, 2, 20}) EXPECT_EQ(walk(tar.finish(blocks)), want) << blocks;
  EXPECT_TRUE(walk({}).empty());
  const auto twice = [&](int blocks) {
    Bytes both = tar.finish(blocks);
    for (const std::uint8_t byte : tar.finish(0)) both.push_back(byte);
    return both;
  };
  EXPECT_EQ(walk(twice(2)), want);  // what follows the end is no part of the archive
  const Bytes lone = twice(1);
  EXPECT_EQ(refused(lone, {"byte 1024", "zeros in the middle"}), "");
}

TEST(Tar, EveryCutIsNoticedOrIsAWholeArchive) {
  TarBuilder tar;
  tar.add("a", bytes_of(std::string(600, 'a')));
  const std::size_t edge = tar.size();
  tar.add("b", bytes_of("b"));
  const Bytes whole = tar.finish(0);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    if (size == 0 || size == edge)
      EXPECT_EQ(walk(cut).size(), size == 0 ? 0u : 1u);
    else
      ASSERT_EQ(refused(cut, {"x.tar", "damaged tar archive at byte"}), "") << size;
  }
}

// Each byte of the headers, flipped: an error, or the file's bytes as they were (its name may differ: a checksum of bytes' sum is all
// that the format has; a flip always changes it).
TEST(Tar, EveryFlippedHeaderByteIsNoticed) {
  TarBuilder tar;
  const std::size_t second = tar.add("a.jpg", bytes_of("one")).size();
  tar.add("b.jpg", bytes_of("two"));
  const Bytes good = tar.finish();
  for (const std::size_t header : {std::size_t{0}, second})
    for (std::size_t i = header; i < header + 512; ++i)
      for (const int flip : {0x01, 0x80}) {
        Bytes bad = good;
        bad[i] = static_cast<std::uint8_t>(bad[i] ^ flip);
        if (i - header >= 148 && i - header < 156) {  // the checksum's own field: some flips leave the number as it is
          try {
            EXPECT_EQ(walk(bad), walk(good));
          } catch (const UserError&) {
          }
        } else {
          ASSERT_EQ(refused(bad, {fmt::format("at byte {}", header), "checksum"}), "") << i;
        }
      }
}

TEST(Tar, HostileNumbersAreRefusedBeforeMemoryIsAskedFor) {
  const std::string huge("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12), negative("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12),
      beyond("\x80\1\0\0\0\0\0\0\0\0\0\0", 12);
  for (const std::string& field : {huge, negative, beyond, std::string("77777777777\0", 12), std::string("00000000x00\0", 12)})
    EXPECT_EQ(refused(TarBuilder().add("a", bytes_of("x"), {.size_field = field}).finish(), {"byte 0"}), "") << field;
  EXPECT_EQ(refused(TarBuilder().add("L", Bytes(5000, 'x'), {.type = 'L'}).finish(), {"long name", "5000", "4097"}), "");
  EXPECT_EQ(refused(TarBuilder().add("x", Bytes(70000, 'x'), {.type = 'x'}).finish(), {"pax header", "70000"}), "");
  for (const char* record : {"99 path=x\n", "3 =\n", "x\n", "10 pathxxx\n", "18446744073709551615 path=x\n", "12 size=nine\n",
                             "32 size=99999999999999999999999\n", "0 path=x\n"})
    EXPECT_EQ(refused(TarBuilder().add("x", bytes_of(record), {.type = 'x'}).add("a", {}).finish(), {"pax"}), "") << record;
  EXPECT_EQ(refused(TarBuilder().pax({{"size", "9223372036854775807"}}).add("a", {}).finish(), {"cut off"}), "");
  EXPECT_EQ(refused(TarBuilder().pax({{"path", std::string("a\0b", 3)}}).add("a", {}).finish(), {"name"}), "");
  EXPECT_EQ(refused(TarBuilder().add("", {}).finish(), {"name", "got 0"}), "");
  EXPECT_EQ(refused(TarBuilder().pax({{"path", "lost"}}).finish(), {"does not follow"}), "");
  for (const char type : {'S', 'M'}) EXPECT_EQ(refused(TarBuilder().add("a", {}, {.type = type}).finish(), {"sparse"}), "");
  EXPECT_EQ(refused(TarBuilder().pax({{"GNU.sparse.major", "1"}}).add("a", {}).finish(), {"sparse"}), "");
}

TEST(Tar, CompressedArchivesAreNamedWithTheCure) {
  EXPECT_EQ(refused(test::gzip(TarBuilder().finish()), {"x.tar", "gzip -dk x.tar", "at random"}), "");
  EXPECT_EQ(refused({0xfd, '7', 'z', 'X', 'Z', 0, 0}, {"xz -dk x.tar"}), "");
  EXPECT_EQ(refused({0x28, 0xb5, 0x2f, 0xfd, 0}, {"zstd -dk"}), "");
  EXPECT_EQ(refused(bytes_of("BZh91AY"), {"bzip2"}), "");
}

TEST(Tar, AnInnerArchiveIsAWindow) {
  const Bytes inner = TarBuilder().add("x.jpg", bytes_of("inner")).finish();
  const Bytes outer = TarBuilder().add("before", Bytes(700, 1)).add("n.tar", inner).add("after", bytes_of("z")).finish();
  TarReader reader(ByteRange(std::make_shared<MemoryFile>("o", outer)), "o");
  TarMember member;
  ASSERT_TRUE(reader.next(member) && reader.next(member));
  TarReader window(reader.archive().window(member.offset, member.size), "o: n.tar");
  TarMember file;
  ASSERT_TRUE(window.next(file));
  std::string content(file.size, '\0');
  window.read(file, content.data(), content.size());
  EXPECT_EQ(content, "inner");
  EXPECT_EQ(std::string(outer.begin() + static_cast<std::ptrdiff_t>(window.archive().begin() + file.offset), outer.end()).substr(0, 5), "inner");
  EXPECT_FALSE(window.next(file));
  EXPECT_TRUE(reader.next(member));
}

}  // namespace
}  // namespace lockstep
