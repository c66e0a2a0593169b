// The files that every report is made of, as the build embeds them (cmake/embed.cmake): the page's frame, its look, its script, and
// Chart.js, which draws the curves (MIT licence, named at its top).
#pragma once

#include <string_view>

namespace fedalt {

extern const std::string_view kPageHtml;
extern const std::string_view kPageCss;
extern const std::string_view kPageJs;
extern const std::string_view kChartJs;

}  // namespace fedalt
