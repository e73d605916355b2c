// A strict little XML reader for tests, and the places where an SVG draws.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::testing {

struct XmlElement {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;  // directly in it, entities resolved
};

// All elements in order. Throws std::runtime_error where the text is not well-formed XML of one root element.
std::vector<XmlElement> parse_xml(std::string_view text);

struct DrawnPoint {
  double x, y;
};
// The absolute positions that a path's commands reach (M L H V l h v a z). Throws std::runtime_error for any other text.
std::vector<DrawnPoint> path_points(std::string_view d);

// Every position of the drawing: of paths, rectangles, circles' centres and texts' anchors. Throws if a number is not finite.
std::vector<DrawnPoint> drawn_points(const std::vector<XmlElement>& elements);

// "x of N is outside the viewBox", for each of them; empty: all is inside.
std::string outside_view_box(const std::vector<XmlElement>& elements);

}  // namespace lockstep::testing
