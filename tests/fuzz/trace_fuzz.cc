// libFuzzer on traces: any bytes give events or an error, and whatever events come can be replayed.
// The first byte chooses: bytes as a whole file, or as a record behind a sound header of a decoder or an encoder, with
// a right checksum.
#include <cstddef>
#include <cstdint>
#include <string>

#include "fathom/policy/policy.h"
#include "fathom/trace/replay.h"
#include "src/trace/format.h"

namespace tf = fathom::trace_format;

namespace {

void append_record(tf::Output& file, const std::string& payload) {
  const uint64_t offset = file.bytes.size();
  file.u32(static_cast<uint32_t>(payload.size()));
  file.u32(tf::checksum(payload.data(), payload.size(), offset));
  file.bytes += payload;
}

std::string with_sound_frame(bool encodes, const uint8_t* data, size_t size) {
  tf::Output header;
  for (int i = 0; i < 4; ++i) header.u32(0);
  header.varint(12);  // layers
  header.u8(encodes);
  for (int i = 0; i < 3; ++i) header.text("");
  tf::Output file;
  file.bytes.assign(tf::kMagic, sizeof(tf::kMagic));
  file.u32(tf::kVersion);
  append_record(file, header.bytes);
  append_record(file, std::string(reinterpret_cast<const char*>(data), size));
  return file.bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string file = data[0] & 1 ? with_sound_frame((data[0] & 2) != 0, data + 1, size - 1)
                                       : std::string(reinterpret_cast<const char*>(data + 1), size - 1);
  auto reader = fathom::TraceReader::from_bytes(std::as_bytes(std::span(file.data(), file.size())));
  static const fathom::Policy policy =
      fathom::Policy::parse("exit_when(confidence_at_least=0.9) | patience(agreeing=2) | budget(of_full=0.7)").value();
  const auto check = [](const fathom::Error& error) {
    if (error.message.empty() || error.message.find('\n') != std::string::npos) __builtin_trap();
  };
  if (!reader) return check(reader.error()), 0;
  const auto report = fathom::replay(*reader, policy.ref());
  if (!report) return check(report.error()), 0;
  const int64_t sum =
      report->decided_same + report->decided_differently + report->unknown_signal + report->unknown_after_divergence;
  if (sum != report->rows) __builtin_trap();
  if (report->generated_rows > report->rows || report->not_asked_rows > report->decided_same) __builtin_trap();
  for (const int64_t rows : {report->drafted_rows, report->settled_rows, report->rolled_back_rows}) {
    if (rows < 0) __builtin_trap();
  }
  return 0;
}
