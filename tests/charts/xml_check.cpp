// SPDX-License-Identifier: Apache-2.0
#include "tests/charts/xml_check.h"

#include <cctype>
#include <cmath>
#include <sstream>
#include <stdexcept>

namespace lockstep::testing {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::vector<XmlElement> read() {
    skip_space();
    element();
    skip_space();
    if (at_ != text_.size()) fail("text behind the root element");
    return std::move(elements_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    std::ostringstream message;
    message << "XML: " << what << " at byte " << at_ << ": " << text_.substr(at_, 60);
    throw std::runtime_error(message.str());
  }
  bool is_next(std::string_view word) const { return text_.substr(at_, word.size()) == word; }
  void expect(std::string_view word) {
    if (!is_next(word)) fail("want '" + std::string(word) + "'");
    at_ += word.size();
  }
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  std::string name() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '-' || text_[at_] == ':')) ++at_;
    if (begin == at_) fail("want a name");
    return std::string(text_.substr(begin, at_ - begin));
  }
  char entity() {
    for (const auto& [word, c] : {std::pair<const char*, char>{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#39;", '\''}}) {
      if (!is_next(word)) continue;
      at_ += std::string_view(word).size();
      return c;
    }
    fail("unknown entity");
  }
  std::string until(char end) {
    std::string result;
    while (at_ < text_.size() && text_[at_] != end) {
      const auto code = static_cast<unsigned char>(text_[at_]);
      if (code < 32 && code != '\n' && code != '\t') fail("control character");
      if (text_[at_] == '<') fail("'<' in text");
      if (text_[at_] == '&') result += entity();
      else result += text_[at_++];
    }
    if (at_ == text_.size()) fail("text without end");
    return result;
  }
  void attributes(XmlElement& element) {
    for (skip_space(); at_ < text_.size() && text_[at_] != '>' && text_[at_] != '/'; skip_space()) {
      const std::string key = name();
      expect("=\"");
      if (!element.attributes.emplace(key, until('"')).second) fail("attribute twice");
      expect("\"");
    }
  }
  void element() {
    expect("<");
    const std::size_t index = elements_.size();
    elements_.emplace_back();
    elements_[index].name = name();
    XmlElement head = elements_[index];
    attributes(head);
    elements_[index] = head;
    if (is_next("/>")) return static_cast<void>(at_ += 2);
    expect(">");
    while (!is_next("</")) {
      if (is_next("<")) element();
      else elements_[index].text += until('<');
    }
    expect("</" + head.name + ">");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<XmlElement> elements_;
};

double number(std::istringstream& in) {
  double value = 0;
  in >> std::ws;
  if (in.peek() == ',') in.get();
  if (!(in >> value) || !std::isfinite(value)) throw std::runtime_error("path: want a finite number");
  return value;
}

double attribute(const XmlElement& element, const char* key) {
  const auto found = element.attributes.find(key);
  if (found == element.attributes.end()) throw std::runtime_error(element.name + " has no " + key);
  std::istringstream in(found->second);
  const double value = number(in);
  if (!in.eof()) throw std::runtime_error(element.name + ": " + key + " is no number: " + found->second);
  return value;
}

}  // namespace

std::vector<XmlElement> parse_xml(std::string_view text) { return Reader(text).read(); }

std::vector<DrawnPoint> path_points(std::string_view d) {
  std::istringstream in{std::string(d)};
  std::vector<DrawnPoint> points;
  DrawnPoint now{0, 0}, start{0, 0};
  for (char command = 0; in >> command;) {
    switch (command) {
      case 'M': now.x = number(in), now.y = number(in), start = now; break;
      case 'L': now.x = number(in), now.y = number(in); break;
      case 'H': now.x = number(in); break;
      case 'V': now.y = number(in); break;
      case 'l': now.x += number(in), now.y += number(in); break;
      case 'h': now.x += number(in); break;
      case 'v': now.y += number(in); break;
      case 'a': {
        const double radius = number(in);
        for (int i = 0; i < 4; ++i) number(in);
        const DrawnPoint middle{now.x, now.y};
        now.x += number(in), now.y += number(in);
        points.push_back({(middle.x + now.x) / 2, middle.y - radius});
        points.push_back({(middle.x + now.x) / 2, middle.y + radius});
        break;
      }
      case 'z': now = start; break;
      default: throw std::runtime_error(std::string("path: unknown command ") + command + " in " + std::string(d.substr(0, 80)));
    }
    points.push_back(now);
  }
  return points;
}

std::vector<DrawnPoint> drawn_points(const std::vector<XmlElement>& elements) {
  std::vector<DrawnPoint> points;
  for (const XmlElement& element : elements) {
    if (element.name == "path") {
      for (const DrawnPoint& point : path_points(element.attributes.at("d"))) points.push_back(point);
    } else if (element.name == "text") {
      points.push_back({attribute(element, "x"), attribute(element, "y")});
    } else if (element.name == "circle") {
      points.push_back({attribute(element, "cx"), attribute(element, "cy")});
    } else if (element.name == "rect") {
      const double x = attribute(element, "x"), y = attribute(element, "y"), width = attribute(element, "width"),
                   height = attribute(element, "height");
      if (width < 0 || height < 0) throw std::runtime_error("rect: negative size");
      points.push_back({x, y});
      points.push_back({x + width, y + height});
    }
  }
  return points;
}

std::string outside_view_box(const std::vector<XmlElement>& elements) {
  std::istringstream box(elements.at(0).attributes.at("viewBox"));
  double left = 0, top = 0, width = 0, height = 0;
  box >> left >> top >> width >> height;
  std::ostringstream text;
  for (const DrawnPoint& point : drawn_points(elements)) {
    if (point.x >= left && point.x <= left + width && point.y >= top && point.y <= top + height) continue;
    text << '(' << point.x << ", " << point.y << ") ";
  }
  return text.str();
}

}  // namespace lockstep::testing
