// libFuzzer on whole model files: any bytes give a Model or an Error, never a crash, a hang or unbounded memory.
// Next: tests/model/hostile_model_test.cc, which names the errors.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fathom/model/model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) std::memcpy(bytes.data(), data, size);
  const auto model = fathom::Model::from_bytes(bytes);
  if (!model && model.error().message.find('\n') != std::string::npos) __builtin_trap();
  return 0;
}
