// libFuzzer on sidecars: any bytes give sections that lie inside them or an Error of one line, and bytes that read are
// those that the writer makes of their sections. A second try has right checksums, so that what stands behind them is
// reached. Parts are fed the bytes as they are. Next: tests/calibrate/sidecar_file_test.cc, which names the errors.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/sidecar_layout.h"

namespace {

void check(bool holds) {
  if (!holds) __builtin_trap();
}

template <class T>
void check_error(const fathom::Result<T>& result) {
  check(result || result.error().message.find('\n') == std::string_view::npos);
}

void read_exits(std::span<const std::byte> bytes) {
  const auto exits = fathom::read_parts(bytes);
  check_error(exits);
  if (exits) check(fathom::read_parts(fathom::parts_bytes(*exits)).has_value());
}

void read(std::span<const std::byte> bytes) {
  const auto file = fathom::SidecarFile::from_bytes(bytes);
  check_error(file);
  if (!file) return;
  const auto again = fathom::sidecar_bytes(file->sections());
  check(again && std::vector<std::byte>(bytes.begin(), bytes.end()) == *again);
  for (const fathom::SidecarSection& section : file->sections()) check_error(file->json(section.name));
  const auto manifest = fathom::read_manifest(*file);
  check_error(manifest);
  if (!manifest) return;
  check(fathom::compare(*manifest, *manifest).empty());
  fathom::manifest_json(*manifest);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(data[i]);
  read(bytes);
  fathom::sidecar_layout::seal(bytes);
  read(bytes);
  read_exits(bytes);
  // Routers that read are those that are written of them.
  const auto routers = fathom::read_routers(std::as_bytes(std::span(data, size)));
  check_error(routers);
  if (routers) check(fathom::router_bytes(*routers).size() == size);
  // The manifest alone, for which the fuzzer need not learn the table.
  const fathom::SidecarSection manifest{"manifest", std::as_bytes(std::span(data, size))};
  if (const auto made = fathom::sidecar_bytes(std::span(&manifest, 1))) read(*made);
  return 0;
}
