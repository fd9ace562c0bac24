// The files of this folder, in the library's text: cmake/FathomEmbed.cmake makes the definitions at build time.
#pragma once

#include <string_view>

namespace fathom::report_assets {

extern const std::string_view kPage;    // page.html
extern const std::string_view kStyle;   // style.css
extern const std::string_view kLight;   // light.css: the colours
extern const std::string_view kDark;    // dark.css: the same names
extern const std::string_view kScript;  // script.js

}  // namespace fathom::report_assets
