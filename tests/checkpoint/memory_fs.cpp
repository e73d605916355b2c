// SPDX-License-Identifier: Apache-2.0
#include "tests/checkpoint/memory_fs.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

namespace lockstep::test {

MemoryFs::MemoryFs() {
  nodes_[0].is_directory = true;
  initial_ = nodes_;
}

int MemoryFs::find(const std::string& path) const {
  int node = 0;
  std::istringstream parts(path);
  std::string part;
  while (std::getline(parts, part, '/')) {
    if (part.empty() || part == ".") continue;
    const Node& here = nodes_.at(node);
    const auto next = here.entries.find(part);
    if (!here.is_directory || next == here.entries.end()) return -1;
    node = next->second;
  }
  return node;
}

int MemoryFs::find_or_throw(const std::string& path, const char* call) const {
  const int node = find(path);
  if (node < 0) throw FsError(call, path, ENOENT);
  return node;
}

std::pair<int, std::string> MemoryFs::parent_of(const std::string& path, const char* call) const {
  const std::size_t slash = path.rfind('/');
  const int parent = find_or_throw(slash == std::string::npos ? "" : path.substr(0, slash), call);
  return {parent, path.substr(slash == std::string::npos ? 0 : slash + 1)};
}

void MemoryFs::record(MicroOperation op) {
  apply(op, kDone);
  log_.push_back(std::move(op));
}

int MemoryFs::add_node(const std::string& path, const char* call, bool is_directory) {
  const auto [parent, name] = parent_of(path, call);
  if (nodes_.at(parent).entries.contains(name)) throw FsError(call, path, EEXIST);
  const int node = next_node_++;
  nodes_[node].is_directory = is_directory;
  nodes_[node].modified_s = now_s;
  record({MicroOperation::kLink, parent, node, name, is_directory ? "directory" : "file", "", 0});
  return node;
}

// Tolerant: in a power cut's replay an operation may meet a world in which an earlier one never happened.
void MemoryFs::apply(const MicroOperation& op, int fate) {
  if (fate == kLost) return;
  Node& node = nodes_[op.node];
  switch (op.kind) {
    case MicroOperation::kLink:
      node.is_directory = true;
      node.entries[op.name] = op.other;
      nodes_[op.other].is_directory = op.other_name == "directory";
      break;
    case MicroOperation::kWrite: {
      const std::size_t length = fate == kTorn ? op.data.size() / 2 : op.data.size();
      node.data.resize(std::max<std::size_t>(node.data.size(), op.size + length), '\0');
      node.data.replace(op.size, length, op.data.substr(0, length));
      break;
    }
    case MicroOperation::kAllocate: node.data.resize(std::max<std::size_t>(node.data.size(), op.size), '\0'); break;
    case MicroOperation::kRename: {
      const int moved = std::stoi(op.data);
      const auto from = node.entries.find(op.name);
      if (from != node.entries.end() && from->second == moved) node.entries.erase(from);
      nodes_[op.other].entries[op.other_name] = moved;
      break;
    }
    case MicroOperation::kExchange: {
      const std::size_t comma = op.data.find(',');
      node.entries[op.name] = std::stoi(op.data.substr(comma + 1));
      node.entries[op.other_name] = std::stoi(op.data.substr(0, comma));
      break;
    }
    case MicroOperation::kUnlink: node.entries.erase(op.name); break;
    case MicroOperation::kSync:
    case MicroOperation::kSyncDirectory: break;
  }
}

int MemoryFs::open_new(const std::string& path) {
  const int node = add_node(path, "create", false);
  open_[next_file_] = {node};
  return next_file_++;
}

int MemoryFs::open_read(const std::string& path) {
  open_[next_file_] = {find_or_throw(path, "open")};
  return next_file_++;
}

std::size_t MemoryFs::write(int file, const void* data, std::size_t nbytes) {
  OpenFile& open = open_.at(file);
  record({MicroOperation::kWrite, open.node, 0, "", "", std::string(static_cast<const char*>(data), nbytes), open.position});
  open.position += nbytes;
  nodes_[open.node].modified_s = now_s;
  return nbytes;
}

std::size_t MemoryFs::read_at(int file, void* data, std::size_t nbytes, std::uint64_t offset) {
  const std::string& text = nodes_.at(open_.at(file).node).data;
  if (offset >= text.size()) return 0;
  const std::size_t length = std::min<std::size_t>(nbytes, text.size() - offset);
  std::memcpy(data, text.data() + offset, length);
  return length;
}

void MemoryFs::allocate(int file, std::uint64_t nbytes) {
  record({MicroOperation::kAllocate, open_.at(file).node, 0, "", "", "", nbytes});
}

void MemoryFs::sync(int file) {
  if (!lies_about_sync) record({MicroOperation::kSync, open_.at(file).node, 0, "", "", "", 0});
}

void MemoryFs::close(int file) { open_.erase(file); }

void MemoryFs::rename(const std::string& from, const std::string& to) {
  const int node = find_or_throw(from, "rename");
  const auto [from_parent, from_name] = parent_of(from, "rename");
  const auto [to_parent, to_name] = parent_of(to, "rename");
  const auto target = nodes_.at(to_parent).entries.find(to_name);
  if (target != nodes_.at(to_parent).entries.end() && nodes_.at(node).is_directory && !nodes_.at(target->second).entries.empty())
    throw FsError("rename", from + " -> " + to, ENOTEMPTY);
  record({MicroOperation::kRename, from_parent, to_parent, from_name, to_name, std::to_string(node), 0});
}

bool MemoryFs::exchange(const std::string& a, const std::string& b) {
  if (!can_exchange) return false;
  const auto [parent, a_name] = parent_of(a, "exchange");
  const std::string b_name = parent_of(b, "exchange").second;
  record({MicroOperation::kExchange, parent, 0, a_name, b_name,
          std::to_string(find_or_throw(a, "exchange")) + "," + std::to_string(find_or_throw(b, "exchange")), 0});
  return true;
}

void MemoryFs::unlink(const std::string& path) {
  if (nodes_.at(find_or_throw(path, "unlink")).is_directory) throw FsError("unlink", path, EISDIR);
  const auto [parent, name] = parent_of(path, "unlink");
  record({MicroOperation::kUnlink, parent, 0, name, "", "", 0});
}

void MemoryFs::make_directory(const std::string& path) { add_node(path, "mkdir", true); }

void MemoryFs::remove_directory(const std::string& path) {
  if (!nodes_.at(find_or_throw(path, "rmdir")).entries.empty()) throw FsError("rmdir", path, ENOTEMPTY);
  const auto [parent, name] = parent_of(path, "rmdir");
  record({MicroOperation::kUnlink, parent, 0, name, "", "", 0});
}

void MemoryFs::sync_directory(const std::string& path) {
  const int node = find_or_throw(path, "fsync");
  if (!lies_about_sync_directory) record({MicroOperation::kSyncDirectory, node, 0, "", "", "", 0});
}

std::vector<DirectoryEntry> MemoryFs::list(const std::string& path) {
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, node] : nodes_.at(find_or_throw(path, "opendir")).entries)
    entries.push_back({name, nodes_.at(node).is_directory ? FileKind::kDirectory : FileKind::kFile});
  return entries;
}

std::optional<FileStatus> MemoryFs::status(const std::string& path) {
  const int node = find(path);
  if (node < 0) return std::nullopt;
  const Node& found = nodes_.at(node);
  return FileStatus{found.is_directory ? FileKind::kDirectory : FileKind::kFile, found.data.size(), found.modified_s};
}

void MemoryFs::touch(const std::string& path) { nodes_.at(find_or_throw(path, "utimensat")).modified_s = now_s; }

std::string& MemoryFs::contents(const std::string& path) { return nodes_.at(find_or_throw(path, "open")).data; }

std::unique_ptr<MemoryFs> MemoryFs::copy() const {
  auto fs = std::make_unique<MemoryFs>();
  fs->nodes_ = fs->initial_ = nodes_;
  fs->next_node_ = next_node_;
  fs->can_exchange = can_exchange;
  fs->now_s = now_s;
  return fs;
}

std::unique_ptr<MemoryFs> MemoryFs::after_power_cut(std::size_t operations, const std::function<int(std::size_t)>& fate,
                                                    std::size_t* pending) const {
  // Walking backwards: an operation is safe when a sync of its node comes after it.
  std::vector<bool> safe(operations, false);
  std::map<int, bool> file_synced, directory_synced;
  for (std::size_t i = operations; i-- > 0;) {
    const MicroOperation& op = log_[i];
    if (op.kind == MicroOperation::kSync) file_synced[op.node] = true;
    else if (op.kind == MicroOperation::kSyncDirectory) directory_synced[op.node] = true;
    else if (op.kind == MicroOperation::kWrite || op.kind == MicroOperation::kAllocate) safe[i] = file_synced[op.node];
    else safe[i] = directory_synced[op.node];
  }
  auto fs = std::make_unique<MemoryFs>();
  fs->nodes_ = initial_;
  // Inodes exist whether or not a name of theirs survives.
  for (std::size_t i = 0; i < operations; ++i)
    if (log_[i].kind == MicroOperation::kLink) fs->nodes_[log_[i].other].is_directory = log_[i].other_name == "directory";
  std::size_t uncertain = 0;
  for (std::size_t i = 0; i < operations; ++i) {
    const bool is_sync = log_[i].kind == MicroOperation::kSync || log_[i].kind == MicroOperation::kSyncDirectory;
    fs->apply(log_[i], safe[i] || is_sync ? kDone : fate(uncertain++));
  }
  if (pending != nullptr) *pending = uncertain;
  fs->next_node_ = next_node_;
  fs->initial_ = fs->nodes_;
  return fs;
}

}  // namespace lockstep::test
