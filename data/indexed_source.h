// IndexedSource: encoded images, read through a SampleIndex from archives and folders of any layout.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/layouts.h"
#include "data/random_access.h"
#include "data/sample_index.h"
#include "data/source.h"

namespace lockstep {

// The index of a split: the kept one, or a new one, which is then kept. `cache`: folder of kept indexes, empty for none. Throws
// UserError (what is wrong with the data) and EnvironmentError. Blocks on the disk.
SampleIndex make_index(const Layout& layout, const std::string& root, Split split, const std::string& cache);

// Archives stay open. read() and fetch() leave the image's name() in scratch.path, for messages.
class IndexedSource final : public Source {
 public:
  // `classes`: as SourceOptions::classes.
  IndexedSource(const Layout& layout, std::string root, SampleIndex index, int classes);
  std::int64_t size() const override { return index_.size(); }
  int classes() const override { return static_cast<int>(index_.classes.size()); }
  int label(std::int64_t index) const override { return entry(index).label; }
  int channels() const override { return 3; }
  int height() const override { return 0; }
  int width() const override { return 0; }
  Image read(std::int64_t index, ReadScratch& scratch) const override;
  bool encoded() const override { return true; }
  std::span<const std::uint8_t> fetch(std::int64_t index, ReadScratch& scratch) const override;
  void will_read(std::span<const std::int64_t> indices) const override;
  std::span<const std::string> class_names() const override { return index_.classes; }
  std::string name(std::int64_t index) const override;
  std::string describe() const override;
  std::string digest() const override { return index_.digest; }

  const SampleIndex& index() const { return index_; }
  const Layout& layout() const { return layout_; }
  const std::string& root() const { return root_; }

 private:
  const IndexEntry& entry(std::int64_t index) const;
  const Container& container(const IndexEntry& entry) const { return index_.containers[entry.container]; }
  void write_name(std::int64_t index, std::string& name) const;
  void check_classes(int classes);
  void open_archives();

  const Layout& layout_;
  std::string root_;
  SampleIndex index_;
  std::vector<std::unique_ptr<DiskFile>> archives_;  // one per container; null for folders
};

}  // namespace lockstep
