// libFuzzer on safetensors files: any bytes give tensors inside them or an Error. Next:
// tests/model/safetensors_test.cc.
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const auto file = fathom::safetensors::read(bytes);
  if (!file) {
    if (file.error().message.find('\n') != std::string::npos) __builtin_trap();
    return 0;
  }
  for (const fathom::gguf::TensorRecord& record : file->tensors) {
    const std::byte* const begin = record.tensor.data;
    if (begin < bytes.data() || begin + record.tensor.bytes() > bytes.data() + bytes.size()) __builtin_trap();
  }
  return 0;
}
