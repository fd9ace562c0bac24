// libFuzzer on report JSON: any bytes give a page or an Error of one line, and no byte of a file ends the page's
// script. Next: tests/calibrate/report_test.cc, which names the errors.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fathom/calibrate/report.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto page = fathom::report_html({reinterpret_cast<const char*>(data), size});
  if (!page && page.error().message.find('\n') != std::string::npos) __builtin_trap();
  if (page && page->find("</script>\n</body>") == std::string::npos) __builtin_trap();
  return 0;
}
