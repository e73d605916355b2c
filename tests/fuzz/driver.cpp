// CI's driver of a fuzz target: the committed corpus, then mutations of it that are the same in every run. The input at
// which a run ended lies in the working folder as <target>_fuzz_input; a run that passes removes it.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace lockstep::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kMaxInput = 1 << 16;
constexpr int kMutations = 20000;
constexpr double kMaxSeconds = 2;      // the search then ends: under a sanitizer and on a slow machine it is shorter
constexpr long kMaxKilobytes = 512 << 10;  // resident, as for libFuzzer: no input of 64 KiB may cost that much
constexpr unsigned kInputSeconds = 30;  // an input that takes longer is a finding: SIGALRM

// A file of fixed size mapped into memory: what stood in it last outlives a crash.
class LastInput {
 public:
  explicit LastInput(std::string path) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd_ < 0 || ::ftruncate(fd_, kMaxInput) != 0) throw std::runtime_error("can't make " + path_);
    map_ = ::mmap(nullptr, kMaxInput, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (map_ == MAP_FAILED) throw std::runtime_error("can't map " + path_);
  }
  ~LastInput() {
    ::munmap(map_, kMaxInput);
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  LastInput(const LastInput&) = delete;
  LastInput& operator=(const LastInput&) = delete;

  void run(const Bytes& input) {
    if (!input.empty()) std::memcpy(map_, input.data(), input.size());
    if (::ftruncate(fd_, static_cast<off_t>(input.size())) != 0 || ::alarm(kInputSeconds) > kInputSeconds) throw std::runtime_error(path_);
    const Bytes exact(input.begin(), input.end());  // of its own size, so that a sanitizer sees a read behind it
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
    ::alarm(0);
    if (::ftruncate(fd_, kMaxInput) != 0) throw std::runtime_error(path_);
  }

 private:
  std::string path_;
  int fd_ = -1;
  void* map_ = nullptr;
};

class Mutator {
 public:
  explicit Mutator(const std::vector<Bytes>& corpus) : corpus_(corpus) {}

  Bytes next() {
    Bytes bytes = corpus_[below(corpus_.size())];
    for (std::size_t n = 1 + below(4); n > 0; --n) mutate(bytes);
    if (bytes.size() > kMaxInput) bytes.resize(kMaxInput);
    return bytes;
  }

 private:
  std::uint64_t random() {  // splitmix64
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t end) { return end == 0 ? 0 : static_cast<std::size_t>(random() % end); }

  void mutate(Bytes& bytes) {
    const std::size_t at = below(bytes.size());
    const std::size_t length = std::min(bytes.size() - at, std::size_t{1} << below(10));
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at), end = place + static_cast<std::ptrdiff_t>(length);
    switch (below(8)) {
      case 0: if (!bytes.empty()) bytes[at] ^= static_cast<std::uint8_t>(1u << below(8)); break;
      case 1: if (!bytes.empty()) bytes[at] = interesting(); break;
      case 2: bytes.resize(at); break;
      case 3: bytes.erase(place, end); break;
      case 4: {
        const Bytes copy(place, end);
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size())), copy.begin(), copy.end());
        break;
      }
      case 5: std::generate(place, end, [this] { return static_cast<std::uint8_t>(random()); }); break;
      case 6: std::fill(place, std::min(end, place + 8), interesting()); break;
      default: {  // the rest of another one
        const Bytes& other = corpus_[below(corpus_.size())];
        bytes.resize(at);
        bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(below(other.size())), other.end());
      }
    }
  }

  std::uint8_t interesting() {
    constexpr std::array<std::uint8_t, 8> kValues = {0x00, 0x01, 0x7f, 0x80, 0xff, '0', '7', ' '};
    return kValues[below(kValues.size())];
  }

  const std::vector<Bytes>& corpus_;
  std::uint64_t state_ = 0;
};

std::vector<Bytes> read_corpus(const std::filesystem::path& source) {
  std::vector<std::filesystem::path> paths;
  for (const char* folder : {FUZZ_CORPUS})
    for (const auto& item : std::filesystem::directory_iterator(source / folder)) paths.push_back(item.path());
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> corpus;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    if (corpus.back().size() > kMaxInput) throw std::runtime_error(path.string() + " is too long");
  }
  return corpus;
}

TEST(Fuzz, TheCorpusAndItsMutations) {
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "run the tests through ctest";
  const std::vector<Bytes> corpus = read_corpus(source);
  ASSERT_GE(corpus.size(), 3u);
  LastInput last(FUZZ_TARGET "_fuzz_input");
  for (const Bytes& input : corpus) last.run(input);
  last.run({});
  Mutator mutator(corpus);
  const auto begin = std::chrono::steady_clock::now();
  int done = 0;
  while (done < kMutations && std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < kMaxSeconds) {
    last.run(mutator.next());
    ++done;
  }
  RecordProperty("executions", done);
  rusage usage = {};
  ASSERT_EQ(::getrusage(RUSAGE_SELF, &usage), 0);
  EXPECT_LT(usage.ru_maxrss, kMaxKilobytes);
}

}  // namespace
}  // namespace lockstep::test
