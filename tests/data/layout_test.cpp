// Every layout of the same images is the same data set; what is wrong with one is said with examples.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "data/indexed_source.h"
#include "tests/data/archives.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::Bytes;
using test::bytes_of;
using test::Synset;
using test::TarBuilder;
using test::TempDir;

const std::vector<std::string> kWnids{"n01440764", "n01443537", "n02084071"};
// Not in the order of the wnids, as in the development kit; 9 is an inner node.
const std::vector<Synset> kSynsets{{1, "n02084071"}, {2, "n01440764"}, {3, "n01443537"}, {9, "n00000001", 3}};
const std::vector<int> kTruth{2, 1, 3, 2, 2, 1};

Bytes photo(int i) { return test::make_jpeg(test::JpegKind::kYcc, 10 + i, 12, static_cast<std::uint32_t>(i + 1)); }

struct Sample {
  std::string wnid, name;
  Bytes bytes;
};

std::vector<Sample> train_samples() {
  std::vector<Sample> samples;
  for (const std::string& wnid : kWnids)
    for (int i = 3; i > 0; --i) samples.push_back({wnid, fmt::format("{}_{}.JPEG", wnid, i), photo(static_cast<int>(samples.size()))});
  return samples;
}

std::vector<Sample> val_samples() {
  std::vector<Sample> samples;
  for (std::size_t i = 0; i < kTruth.size(); ++i) {
    const std::string& wnid = std::find_if(kSynsets.begin(), kSynsets.end(), [&](const Synset& s) { return s.id == kTruth[i]; })->wnid;
    samples.push_back({wnid, fmt::format("ILSVRC2012_val_{:08}.JPEG", i + 1), photo(static_cast<int>(i) + 20)});
  }
  return samples;
}

void write_folders(const TempDir& dir, const std::string& split, const std::vector<Sample>& samples) {
  for (const Sample& s : samples) dir.write(split + "/" + s.wnid + "/" + s.name, s.bytes);
}

void write_flat(const TempDir& dir, const std::string& folder, const std::vector<Sample>& samples) {
  for (const Sample& s : samples) dir.write(folder + "/" + s.name, s.bytes);
}

std::string solution() {
  std::string text = "ImageId,PredictionString\r\n";
  for (const Sample& s : val_samples()) text += fmt::format("{},{} 1 2 3 4 {} 5 6 7 8\r\n", s.name.substr(0, s.name.size() - 5), s.wnid, s.wnid);
  return text;
}

Bytes train_tar_of_tars() {
  TarBuilder outer;
  for (const std::string& wnid : {kWnids[2], kWnids[0], kWnids[1]}) {
    TarBuilder inner;
    for (const Sample& s : train_samples())
      if (s.wnid == wnid) inner.add(s.name, s.bytes);
    outer.add(wnid + ".tar", inner.finish());
  }
  return outer.finish();
}

Bytes flat_tar(const std::vector<Sample>& samples) {
  TarBuilder tar;
  for (const Sample& s : samples) tar.add(s.name, s.bytes);
  return tar.finish();
}

Bytes class_tar(const std::vector<Sample>& samples, const std::string& above = "") {
  TarBuilder tar;
  for (const Sample& s : samples) tar.add(above + s.wnid + "/" + s.name, s.bytes);
  return tar.finish();
}

Bytes shard(const std::vector<Sample>& samples, std::size_t begin, std::size_t end, bool json = false) {
  TarBuilder tar;
  for (std::size_t i = begin; i < std::min(end, samples.size()); ++i) {
    const Sample& s = samples[i];
    const std::string key = s.name.substr(0, s.name.find('.'));
    const auto label = std::find(kWnids.begin(), kWnids.end(), s.wnid) - kWnids.begin();
    if (json) tar.add(key + ".json", bytes_of(fmt::format("{{\"label\": {}, \"x\": [1]}}", label)));
    tar.add(s.name, s.bytes);
    if (!json) tar.add(key + ".cls", bytes_of(fmt::format("{}\n", label)));
  }
  return tar.finish();
}

Bytes class_names() { return bytes_of("n01440764\nn01443537\nn02084071\n"); }

// name of the layout -> what writes it
std::map<std::string, std::function<void(const TempDir&)>> all_layouts() {
  const auto train = train_samples(), val = val_samples();
  const auto write = [](const TempDir& dir, const std::vector<std::pair<const char*, Bytes>>& files) {
    for (const auto& [name, bytes] : files) dir.write(name, bytes);
  };
  const auto ilsvrc = [=](const TempDir& dir) {
    dir.write("ILSVRC2012_img_train.tar", train_tar_of_tars());
    dir.write("ILSVRC2012_devkit_t12.tar.gz", test::make_devkit(kSynsets, kTruth));
  };
  return {
      {"folder", [=](const TempDir& dir) { write_folders(dir, "train", train), write_folders(dir, "val", val); }},
      {"ilsvrc", [=](const TempDir& dir) { ilsvrc(dir), dir.write("ILSVRC2012_img_val.tar", flat_tar(val)); }},
      {"ilsvrc, flat val", [=](const TempDir& dir) { ilsvrc(dir), write_flat(dir, "val", val); }},
      {"ilsvrc, val by class", [=](const TempDir& dir) { ilsvrc(dir), write_folders(dir, "val", val); }},
      {"ilsvrc, train unpacked",
       [=](const TempDir& dir) {
         write_folders(dir, "train", train), dir.write("ILSVRC2012_img_val.tar", flat_tar(val));
         dir.write("data/meta.mat", test::make_meta(kSynsets, false));
         dir.write("data/ILSVRC2012_validation_ground_truth.txt", bytes_of("2\n1\n3\n2\n2\n1"));
       }},
      {"ilsvrc, labels from Kaggle",
       [=](const TempDir& dir) {
         dir.write("ILSVRC2012_img_train.tar", train_tar_of_tars()), dir.write("ILSVRC2012_img_val.tar", flat_tar(val));
         dir.write("LOC_val_solution.csv", bytes_of(solution()));
       }},
      {"kaggle",
       [=](const TempDir& dir) {
         write_folders(dir, "ILSVRC/Data/CLS-LOC/train", train), write_flat(dir, "ILSVRC/Data/CLS-LOC/val", val);
         dir.write("LOC_val_solution.csv", bytes_of(solution()));
       }},
      {"kaggle, inner folder",
       [=](const TempDir& dir) {
         write_folders(dir, "train", train), write_flat(dir, "val", val);
         dir.write("LOC_val_solution.csv", bytes_of(solution()));
       }},
      {"tar", [=](const TempDir& dir) { dir.write("train.tar", class_tar(train)), dir.write("val.tar", class_tar(val)); }},
      {"tar, common folder",
       [=](const TempDir& dir) { write(dir, {{"train.tar", class_tar(train, "./a/b/")}, {"test.tar", class_tar(val, "val/")}}); }},
      {"webdataset",
       [=](const TempDir& dir) {
         write(dir, {{"train-000.tar", shard(train, 0, 4)}, {"train-001.tar", shard(train, 4, 99)}, {"val-000.tar", shard(val, 0, 99)},
                     {"classes.txt", class_names()}});
       }},
      {"webdataset, folders, json",
       [=](const TempDir& dir) {
         write(dir, {{"train/0.tar", shard(train, 0, 5, true)}, {"train/1.tar", shard(train, 5, 99, true)}, {"val/0.tar", shard(val, 0, 99)},
                     {"classes.txt", class_names()}});
       }},
  };
}

std::unique_ptr<Source> open(const TempDir& dir, Split split = Split::kTrain) {
  return open_source({.path = dir.path(), .split = split, .index_cache = ""});
}

std::string refused(const TempDir& dir, Split split, std::initializer_list<std::string> parts, ExitCode code = ExitCode::kData) {
  return test::not_the_user_error([&] { open(dir, split); }, code, parts);
}

// Samples in the order of every layout: by class, then by name.
std::vector<Sample> sorted(std::vector<Sample> samples) {
  std::sort(samples.begin(), samples.end(), [](const Sample& a, const Sample& b) { return std::tie(a.wnid, a.name) < std::tie(b.wnid, b.name); });
  return samples;
}

TEST(Layouts, OfTheSameImagesAreTheSameDataSet) {
  std::map<Split, std::string> digests;
  for (const auto& [name, write] : all_layouts()) {
    SCOPED_TRACE(name);
    const TempDir dir;
    write(dir);
    for (const Split split : {Split::kTrain, Split::kEval}) {
      const auto source = open(dir, split);
      const std::vector<Sample> want = sorted(split == Split::kTrain ? train_samples() : val_samples());
      ASSERT_EQ(source->size(), static_cast<std::int64_t>(want.size()));
      EXPECT_EQ(std::vector<std::string>(source->class_names().begin(), source->class_names().end()), kWnids);
      ReadScratch scratch;
      for (std::size_t i = 0; i < want.size(); ++i) {
        const auto id = static_cast<std::int64_t>(i);
        EXPECT_EQ(kWnids[static_cast<std::size_t>(source->label(id))], want[i].wnid);
        EXPECT_NE(source->name(id).find(want[i].name), std::string::npos) << source->name(id);
        source->will_read(std::vector<std::int64_t>{id, -1});
        const auto bytes = source->fetch(id, scratch);
        EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), want[i].bytes.begin(), want[i].bytes.end())) << source->name(id);
        EXPECT_EQ(source->read(id, scratch).width, 12);
      }
      if (digests[split].empty()) digests[split] = source->digest();
      EXPECT_EQ(source->digest(), digests[split]);
    }
  }
}

TEST(Layouts, APathMayNameATar) {
  const TempDir dir;
  all_layouts().at("ilsvrc")(dir);
  for (const Split split : {Split::kTrain, Split::kEval})
    EXPECT_GT(open_source({.path = dir / "ILSVRC2012_img_train.tar", .split = split, .index_cache = ""})->size(), 5);
  const TempDir tars;
  all_layouts().at("tar")(tars);
  EXPECT_EQ(open_source({.path = tars / "train.tar", .index_cache = ""})->size(), 9);
  EXPECT_EQ(open_source({.path = tars / "val.tar", .split = Split::kEval, .index_cache = ""})->size(), 6);
  tars.write("test.tar", class_tar(val_samples()));
  const auto second = [&] { open_source({.path = tars / "test.tar", .split = Split::kEval, .index_cache = ""}); };
  EXPECT_EQ(test::not_the_user_error(second, ExitCode::kData, {"test.tar", "val.tar"}), "");
  tars.write("mine.tar", class_tar(val_samples()));
  EXPECT_EQ(test::not_the_user_error([&] { open_source({.path = tars / "mine.tar"}); }, ExitCode::kNoInput, {"mine.tar", "train.tar"}), "");
}

TEST(Ilsvrc, WithoutLabelsItSaysWhatToFetch) {
  const TempDir dir;
  dir.write("ILSVRC2012_img_val.tar", flat_tar(val_samples()));
  EXPECT_EQ(refused(dir, Split::kEval, {"ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf"}, ExitCode::kNoInput), "");
  EXPECT_EQ(refused(dir, Split::kTrain, {"ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e"}, ExitCode::kNoInput), "");
}

TEST(Ilsvrc, PartialMappingsAreShown) {
  const TempDir dir;
  all_layouts().at("ilsvrc")(dir);
  std::vector<Sample> val = val_samples();
  const Sample last = val.back();
  val.pop_back();
  dir.write("ILSVRC2012_img_val.tar", flat_tar(val));
  EXPECT_EQ(refused(dir, Split::kEval, {"missing images", "ILSVRC2012_val_00000006", "partial download"}), "");
  val.push_back(last);
  val.push_back({"", "ILSVRC2012_val_00000777.JPEG", photo(1)});
  dir.write("ILSVRC2012_img_val.tar", flat_tar(val));
  EXPECT_EQ(refused(dir, Split::kEval, {"without a class", "ILSVRC2012_val_00000777.JPEG"}), "");
  val.back() = last;
  dir.write("ILSVRC2012_img_val.tar", flat_tar(val));
  EXPECT_EQ(refused(dir, Split::kEval, {"twice", "ILSVRC2012_val_00000006"}), "");
  dir.write("ILSVRC2012_img_val.tar", flat_tar(val_samples()));
  dir.write("ILSVRC2012_img_train.tar", TarBuilder().add("n01440764.tar", flat_tar({train_samples()[0]})).finish());
  EXPECT_EQ(refused(dir, Split::kEval, {"n01443537, n02084071", "ILSVRC2012_img_train.tar does not have"}), "");
  const auto three = [&] { open_source({.path = dir.path(), .classes = 3, .index_cache = ""}); };
  EXPECT_EQ(test::not_the_user_error(three, ExitCode::kData, {"got 1", "want 3", "partial download"}), "");
}

TEST(Ilsvrc, DamagedArchivesNameThePlace) {
  const TempDir dir;
  Bytes tar = train_tar_of_tars();
  tar.resize(tar.size() / 2);
  dir.write("ILSVRC2012_img_train.tar", tar);
  EXPECT_EQ(refused(dir, Split::kTrain, {"ILSVRC2012_img_train.tar", "cut off", ".tar\" has"}), "");
  tar = train_tar_of_tars();
  tar[512 + 5] ^= 1;  // the first header of the first inner tar
  dir.write("ILSVRC2012_img_train.tar", tar);
  EXPECT_EQ(refused(dir, Split::kTrain, {"img_train.tar: n02084071.tar", "byte 0", "checksum"}), "");
  dir.write("ILSVRC2012_img_train.tar", class_tar(train_samples()));
  EXPECT_EQ(refused(dir, Split::kTrain, {"no tars", "TAR"}), "");
}

TEST(Devkit, FaultsNameTheLine) {
  const TempDir dir;
  all_layouts().at("ilsvrc")(dir);
  dir.write("ILSVRC2012_devkit_t12.tar.gz", test::make_devkit(kSynsets, {2, 1, 77}));
  EXPECT_EQ(refused(dir, Split::kEval, {"image 3", "got 77", "meta.mat"}), "");
  dir.write("ILSVRC2012_devkit_t12.tar.gz", test::make_devkit(kSynsets, {2, 9}));  // an inner node has no images
  EXPECT_EQ(refused(dir, Split::kEval, {"image 2", "got 9"}), "");
  dir.write("ILSVRC2012_devkit_t12.tar.gz", test::gzip(TarBuilder().add("data/meta.mat", test::make_meta(kSynsets, true)).finish()));
  EXPECT_EQ(refused(dir, Split::kEval, {"no ILSVRC2012_validation_ground_truth.txt"}), "");
  Bytes cut = test::make_devkit(kSynsets, kTruth);
  cut.resize(cut.size() / 2);
  dir.write("ILSVRC2012_devkit_t12.tar.gz", cut);
  EXPECT_EQ(refused(dir, Split::kEval, {"gzip"}), "");
}

TEST(Kaggle, NeedsItsSolutionAndAllOfIt) {
  const TempDir dir;
  all_layouts().at("kaggle")(dir);
  fs::remove(dir / "LOC_val_solution.csv");
  EXPECT_EQ(refused(dir, Split::kEval, {"LOC_val_solution.csv"}, ExitCode::kNoInput), "");
  const std::map<std::string, std::string> faults{{"a,n1 1\na,n1 1\n", "a second time"}, {"ImageId,P\nx\n", "line 2"}, {"ImageId\n", "none"}};
  for (const auto& [text, part] : faults) {
    dir.write("LOC_val_solution.csv", bytes_of(text));
    EXPECT_EQ(refused(dir, Split::kEval, {part}), "");
  }
  for (const char* level : {"ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"}) {
    dir.write("LOC_val_solution.csv", bytes_of(solution()));
    EXPECT_EQ(open_source({.path = dir / level, .split = Split::kEval, .index_cache = ""})->size(), 6) << level;
  }
}

TEST(TarLayout, RefusesOtherShapes) {
  const TempDir dir;
  dir.write("train.tar", flat_tar(train_samples()));
  EXPECT_EQ(refused(dir, Split::kTrain, {"without a folder", "n01440764_3.JPEG"}), "");
  dir.write("train.tar", TarBuilder().add("a/x.jpg", photo(1)).add("b/c/y.jpg", photo(2)).finish());
  EXPECT_EQ(refused(dir, Split::kTrain, {"a/x.jpg and b/c/y.jpg"}), "");
  dir.write("train.tar", TarBuilder().add("a/x.txt", photo(1)).finish());
  EXPECT_EQ(refused(dir, Split::kTrain, {"images: got none"}), "");
  dir.write("train.tar", class_tar(train_samples()));
  dir.write("val.tar", TarBuilder().add("stray/x.jpg", photo(1)).finish());
  EXPECT_EQ(refused(dir, Split::kEval, {"stray", "train.tar does not have"}), "");
  fs::remove(dir / "val.tar");
  EXPECT_EQ(refused(dir, Split::kEval, {"val.tar, ", "test.tar"}, ExitCode::kNoInput), "");
  fs::remove(dir / "train.tar");
  dir.write("train.tar.gz", test::gzip(class_tar(train_samples())));
  EXPECT_EQ(refused(dir, Split::kTrain, {"train.tar.gz", "gzip -dk"}), "");
}

TEST(WebDataset, BrokenSamplesAreNamed) {
  const Bytes image = photo(1), label = bytes_of("1");
  const auto verdict = [&](const std::function<void(TarBuilder&)>& fill, std::initializer_list<std::string> parts) {
    const TempDir dir;
    TarBuilder tar;
    fill(tar);
    dir.write("train-0.tar", tar.finish());
    return refused(dir, Split::kTrain, parts);
  };
  const auto add = [&](TarBuilder& t, const std::string& name) { t.add(name, name.ends_with(".jpg") || name.ends_with(".png") ? image : label); };
  const auto verdict_of = [&](const std::vector<std::string>& names, std::initializer_list<std::string> parts) {
    return verdict([&](TarBuilder& t) { for (const std::string& name : names) add(t, name); }, parts);
  };
  EXPECT_EQ(verdict_of({"a.jpg", "b.jpg", "a.cls", "b.cls"}, {"sample a", "without a label"}), "");
  EXPECT_EQ(verdict_of({"a.cls", "b.jpg"}, {"sample a", "without an image"}), "");
  EXPECT_EQ(verdict_of({"a.jpg", "a.png", "a.cls"}, {"two images, a.jpg and a.png"}), "");
  EXPECT_EQ(verdict_of({"a.jpg", "a.cls", "b.jpg", "b.cls", "a.jpg", "a.cls"}, {"two with the key of a.jpg"}), "");
  EXPECT_EQ(verdict_of({"notes.txt"}, {"samples: got none"}), "");
  EXPECT_EQ(verdict([&](auto& t) { t.add("a.jpg", image).add("a.cls", bytes_of("one")); }, {"sample a", "\"one\""}), "");
  EXPECT_EQ(verdict([&](auto& t) { t.add("a.jpg", image).add("a.cls", bytes_of("-1")); }, {"\"-1\""}), "");
  EXPECT_EQ(verdict([&](auto& t) { t.add("a.jpg", image).add("a.json", bytes_of("{\"label\": 1.5}")); }, {"without a label"}), "");
  const auto two_labels = [&](TarBuilder& t) { t.add("a.jpg", image).add("a.cls", label).add("a.json", bytes_of("{\"label\":2}")); };
  EXPECT_EQ(verdict(two_labels, {"two labels, 1 and 2"}), "");
}

TEST(WebDataset, WithoutNamesClassesAreNumbers) {
  const TempDir dir;
  const std::vector<Sample> train = train_samples();
  dir.write("imagenet-train-000.tar", shard(train, 0, 6));
  const auto source = open(dir);
  EXPECT_EQ(source->classes(), 2);
  EXPECT_EQ(source->class_names()[1], "1");
  EXPECT_EQ(open_source({.path = dir.path(), .classes = 10, .index_cache = ""})->classes(), 10);
  const auto one = [&] { open_source({.path = dir.path(), .classes = 1, .index_cache = ""}); };
  EXPECT_EQ(test::not_the_user_error(one, ExitCode::kData, {"got 2", "want 1"}), "");
  dir.write("classes.txt", bytes_of("only\n"));
  EXPECT_EQ(refused(dir, Split::kTrain, {"label 1", "classes.txt has 1"}), "");
  dir.write("classes.txt", bytes_of("a\na\n"));
  EXPECT_EQ(refused(dir, Split::kTrain, {"a twice"}), "");
}

TEST(Layouts, SeveralDataSetsAreRefused) {
  const TempDir dir;
  all_layouts().at("tar")(dir);
  all_layouts().at("folder")(dir);
  EXPECT_EQ(refused(dir, Split::kTrain, {"several", "tar", "image folder", "data.source"}), "");
  EXPECT_EQ(open_source({.kind = SourceKind::kTar, .path = dir.path(), .index_cache = ""})->size(), 9);
  const TempDir both;
  all_layouts().at("ilsvrc")(both);
  write_folders(both, "train", train_samples());
  EXPECT_EQ(refused(both, Split::kTrain, {"several", "ILSVRC2012"}), "");
}

// A byte of an archive flipped anywhere in a header: an error, or the same index.
TEST(Layouts, NoFlippedByteOfAHeaderGivesAnotherIndex) {
  const TempDir dir;
  const Bytes good = class_tar({train_samples()[0], train_samples()[3]});
  dir.write("train.tar", good);
  const std::string digest = open(dir)->digest();
  for (std::size_t i = 0; i < 512; ++i) {
    Bytes bad = good;
    bad[i] ^= 0x04;
    dir.write("train.tar", bad);
    try {
      EXPECT_EQ(open(dir)->digest(), digest) << i;
    } catch (const UserError&) {
    }
  }
}

TEST(Layouts, NumberedFoldersSaySo) {
  const TempDir dir;
  for (int i = 0; i < 11; ++i) dir.write(fmt::format("train/{}/x.jpg", i), photo(1));
  const auto source = open(dir);
  EXPECT_EQ(source->label(2), 2);
  EXPECT_EQ(source->class_names()[10], "10");
  EXPECT_NE(source->describe().find("in the order of their numbers"), std::string::npos) << source->describe();
}

}  // namespace
}  // namespace lockstep
