// The bounded safetensors reader: one file's header, checked against its length before anything is believed.
// Next in the flow: model/folder.h, which puts a folder of such files into GGUF's words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fathom/core/result.h"
#include "src/model/gguf.h"

namespace fathom::safetensors {

// Limits, far above every real model of the families that Fathom runs.
inline constexpr uint64_t kMaxHeaderBytes = uint64_t{32} << 20;
inline constexpr size_t kMaxTensors = 1 << 13;

/// A tensor that Fathom cannot compute with, such as ids of positions.
struct ForeignTensor {
  std::string name;
  std::string type;  // as the file spells it
};

/// A checked file. Data pointers go into the bytes that were read, and need not be aligned.
struct File {
  uint64_t data_begin = 0;                  // bytes before the tensor data
  std::vector<gguf::TensorRecord> tensors;  // F32, F16, BF16; in the file's order
  std::vector<ForeignTensor> foreign;       // of other types, without elements, or of more than four dimensions
};

/// Reads the header; touches no tensor data.
///   errors   format: not safetensors, cut short, a header that is no JSON or not of this form, sizes that do not fit
///            type and shape, data that overlaps, has holes or passes the end; capacity: more than kMaxTensors tensors
///   cost     linear in the header, which is at most kMaxHeaderBytes
Result<File> read(std::span<const std::byte> bytes);

}  // namespace fathom::safetensors
