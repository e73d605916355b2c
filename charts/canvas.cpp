// SPDX-License-Identifier: Apache-2.0
#include "charts/canvas.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "charts/page.h"

namespace lockstep::chart_detail {
namespace {

struct Colour {
  const char *name, *light, *dark;
};

// Okabe and Ito's colours, without yellow (too pale on white); in the dark their lightness is raised.
constexpr std::array<Colour, 12> kColours{{{"ink", "#1f2328", "#e6e8eb"},
                                           {"soft", "#57606a", "#a2abb5"},
                                           {"paper", "#ffffff", "#14171b"},
                                           {"grid", "#e7eaee", "#2a2f36"},
                                           {"axis", "#8c959f", "#6b7480"},
                                           {"c0", "#0072b2", "#3d97da"},
                                           {"c1", "#d55e00", "#ee7a2b"},
                                           {"c2", "#009e73", "#1fbd92"},
                                           {"c3", "#cc79a7", "#de9abf"},
                                           {"c4", "#e69f00", "#efb43f"},
                                           {"c5", "#56b4e9", "#a3dafa"},
                                           {"c6", "#1f2328", "#e6e8eb"}}};

std::string variable(std::string_view name) {
  for (const Colour& colour : kColours)
    if (name == colour.name) return fmt::format("var(--{},{})", name, colour.light);
  return "currentColor";
}

}  // namespace

std::string colour_variables(bool dark) {
  std::string text;
  for (const Colour& colour : kColours) text += fmt::format("--{}:{};", colour.name, dark ? colour.dark : colour.light);
  return text;
}

std::string svg_style() {
  std::string style = fmt::format(
      ".lc{{background:{paper};max-width:100%;height:auto}}"
      ".lc text{{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:{px}px;fill:{ink};"
      "font-variant-numeric:tabular-nums}}"
      ".lc .t{{font-size:{title}px;font-weight:600}}.lc .s{{fill:{soft}}}.lc .n{{font-size:{small}px;fill:{soft}}}"
      ".lc .k{{font-size:{small}px}}.lc .on{{font-size:{small}px;fill:#fff}}.lc .off{{font-size:{small}px;fill:#000}}.lc .e{{font-weight:700}}"
      ".lc .o{{font-size:{small}px;paint-order:stroke;stroke:{paper};stroke-width:4px;stroke-linejoin:round}}"
      ".lc .g{{stroke:{grid};stroke-width:1}}.lc .a{{fill:none;stroke:{axis};stroke-width:1}}"
      ".lc .r{{fill:none;stroke:{soft};stroke-width:1.3;stroke-dasharray:2 3}}"
      ".lc .l{{fill:none;stroke:currentColor;stroke-width:1.9;stroke-linejoin:round;stroke-linecap:round}}.lc .d{{stroke-dasharray:7 5}}"
      ".lc .b{{fill:currentColor;fill-opacity:.17}}.lc .w{{fill:none;stroke:currentColor;stroke-width:1.4}}"
      ".lc .m{{fill:currentColor;stroke:{paper};stroke-width:1}}.lc .x{{fill:none;stroke:#000;stroke-width:2}}"
      ".lc rect{{shape-rendering:crispEdges}}.lc .h{{fill:transparent}}.lc .h:hover{{fill:currentColor;fill-opacity:.3}}.lc "
      ".z{{fill:none;stroke:transparent;stroke-width:14}}",
      fmt::arg("paper", variable("paper")), fmt::arg("ink", variable("ink")), fmt::arg("soft", variable("soft")), fmt::arg("grid", variable("grid")),
      fmt::arg("axis", variable("axis")), fmt::arg("px", kText), fmt::arg("title", kTitleText), fmt::arg("small", kSmallText));
  for (int i = 0; i < kPalette; ++i) style += fmt::format(".lc .c{}{{color:{}}}", i, variable(fmt::format("c{}", i)));
  return style;
}

std::string coordinate(double value) {
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

std::string at(Pixel p) { return coordinate(p.x) + " " + coordinate(p.y); }

void Canvas::text(Pixel p, std::string_view classes, Anchor anchor, std::string_view content, std::string_view hover) {
  constexpr std::array<const char*, 3> kAnchors{"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
  out_ += fmt::format("<text x=\"{}\" y=\"{}\"", coordinate(p.x), coordinate(p.y));
  if (!classes.empty()) out_ += fmt::format(" class=\"{}\"", classes);
  out_ += fmt::format("{}>", kAnchors[static_cast<std::size_t>(anchor)]);
  if (!hover.empty()) out_ += "<title>" + escape_html(hover) + "</title>";
  out_ += escape_html(content) + "</text>";
}

void Canvas::line(Pixel a, Pixel b, std::string_view classes) { path(fmt::format("M{}L{}", at(a), at(b)), classes); }

void Canvas::path(std::string_view d, std::string_view classes) {
  if (!d.empty()) out_ += fmt::format("<path class=\"{}\" d=\"{}\"/>", classes, d);
}

void Canvas::cell(const Box& box, std::string_view fill, std::string_view hover) {
  out_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"", coordinate(box.left), coordinate(box.top),
                      coordinate(box.width()), coordinate(box.height()), fill);
  out_ += hover.empty() ? "/>" : "><title>" + escape_html(hover) + "</title></rect>";
}

void Canvas::hover_disc(Pixel p, double radius, std::string_view hover) {
  out_ += fmt::format("<circle class=\"h\" cx=\"{}\" cy=\"{}\" r=\"{}\"><title>{}</title></circle>", coordinate(p.x), coordinate(p.y),
                      coordinate(radius), escape_html(hover));
}

std::string Canvas::marker(int shape, Pixel p, double r) {
  const auto n = [](double value) { return fmt::format("{:.3g}", value); };
  const double s = r * 0.9, d = r * 1.25, t = r * 1.15, c = r * 0.42;
  switch (shape % kPalette) {
    case 0: return fmt::format("M{0} {1}a{2} {2} 0 1 0 {3} 0a{2} {2} 0 1 0-{3} 0", coordinate(p.x - r), coordinate(p.y), n(r), n(2 * r));
    case 1: return fmt::format("M{} {}h{}v{}h-{}z", coordinate(p.x - s), coordinate(p.y - s), n(2 * s), n(2 * s), n(2 * s));
    case 2: return fmt::format("M{} {}l{} {}h-{}z", coordinate(p.x), coordinate(p.y - t), n(t), n(1.8 * t), n(2 * t));
    case 3: return fmt::format("M{} {}l{} {}l-{} {}l-{}-{}z", coordinate(p.x), coordinate(p.y - d), n(d), n(d), n(d), n(d), n(d), n(d));
    case 4: return fmt::format("M{} {}l{}-{}h-{}z", coordinate(p.x), coordinate(p.y + t), n(t), n(1.8 * t), n(2 * t));
    case 5:  // a plus
      return fmt::format("M{} {}h{}v{}h{}v{}h-{}v{}h-{}v-{}h-{}v-{}h{}z", coordinate(p.x - c), coordinate(p.y - d), n(2 * c), n(d - c), n(d - c),
                         n(2 * c), n(d - c), n(d - c), n(2 * c), n(d - c), n(d - c), n(2 * c), n(d - c));
    default:  // an hourglass
      return fmt::format("M{} {}h{}l-{} {}h{}z", coordinate(p.x - t), coordinate(p.y - t), n(2 * t), n(2 * t), n(2 * t), n(2 * t));
  }
}

std::string Canvas::finish(int width, int height, std::string_view label, bool with_style) const {
  std::string text = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"lc\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" "
      "aria-label=\"{2}\">",
      width, height, escape_html(label));
  if (with_style) text += "<style>" + svg_style() + "</style>";
  return text + out_ + "</svg>\n";
}

}  // namespace lockstep::chart_detail
