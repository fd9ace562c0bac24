// Reading safetensors: the length of the header, the header, and where each tensor lies.
// Next in the flow: folder.cc.
#include "src/model/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "src/text/json_fields.h"

namespace fathom::safetensors {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 40;
constexpr int64_t kMaxOffset = int64_t{1} << 52;  // what a number of JSON holds
constexpr size_t kMaxDims = 4;

// Types of the format, with the bytes of an element.
struct Type {
  std::string_view name;
  size_t bytes;
  std::optional<DType> dtype;  // none: foreign
};
constexpr Type kTypes[] = {
    {"F32", 4, DType::f32}, {"F16", 2, DType::f16}, {"BF16", 2, DType::bf16}, {"F64", 8, {}},     {"I64", 8, {}},
    {"U64", 8, {}},         {"I32", 4, {}},         {"U32", 4, {}},           {"I16", 2, {}},     {"U16", 2, {}},
    {"I8", 1, {}},          {"U8", 1, {}},          {"BOOL", 1, {}},          {"F8_E4M3", 1, {}}, {"F8_E5M2", 1, {}}};

const Type* find_type(std::string_view name) {
  const auto found = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& t) { return t.name == name; });
  return found != std::end(kTypes) ? &*found : nullptr;
}

/// Where a tensor says that it lies, counted from the end of the header.
struct Range {
  uint64_t begin, end;
  std::string name;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Result<File> read() {
    FATHOM_TRY(const std::string_view header, read_header());
    FATHOM_TRY(
        const JsonValue document,
        parse_json(header, "header",
                   {.bytes = kMaxHeaderBytes, .depth = 4, .fields = kMaxTensors, .remedy = "fetch the file again"}));
    std::optional<Error> error;
    const JsonField root(&document, "", &error);
    root.each_named(kMaxTensors, [&](const std::string& name, const JsonField& field) {
      if (name != "__metadata__" && !error) read_tensor(name, field);
    });
    if (error) return Error{error->code, "safetensors header: " + error->message};
    FATHOM_TRY(check_layout());
    return std::move(file_);
  }

 private:
  uint64_t data_bytes() const { return bytes_.size() - file_.data_begin; }

  Result<std::string_view> read_header() {
    uint64_t length = 0;
    if (bytes_.size() < sizeof(length)) {
      return Error{ErrorCode::format, fmt::format("safetensors: {} bytes, less than a header's length: fetch the file "
                                                  "again",
                                                  bytes_.size())};
    }
    std::memcpy(&length, bytes_.data(), sizeof(length));
    if (length > kMaxHeaderBytes) {
      return Error{ErrorCode::format, fmt::format("safetensors: a header of {} bytes, at most {} are read: give a "
                                                  ".safetensors file",
                                                  length, kMaxHeaderBytes)};
    }
    if (length > bytes_.size() - sizeof(length)) {
      return Error{
          ErrorCode::format,
          fmt::format("safetensors: a header of {} bytes, but {} are left: the file is cut short, fetch it again",
                      length, bytes_.size() - sizeof(length))};
    }
    file_.data_begin = sizeof(length) + length;
    return std::string_view(reinterpret_cast<const char*>(bytes_.data()) + sizeof(length), length);
  }

  void read_tensor(const std::string& name, const JsonField& field) {
    if (name.empty() || name.size() > gguf::kMaxNameBytes) {
      return field.fault(ErrorCode::format,
                         fmt::format("a name of {} bytes, 1 to {} are allowed", name.size(), gguf::kMaxNameBytes));
    }
    const std::string type_name = field["dtype"].text();
    const Type* type = find_type(type_name);
    std::vector<int64_t> shape;
    field["shape"].each(16, [&](const JsonField& dim) { shape.push_back(dim.whole(0, kMaxDim)); });
    std::vector<int64_t> offsets;
    field["data_offsets"].each(2, [&](const JsonField& at) { offsets.push_back(at.whole(0, kMaxOffset)); });
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      return field["data_offsets"].fault(ErrorCode::format, "give [begin, end] with begin <= end");
    }
    const auto begin = static_cast<uint64_t>(offsets[0]), end = static_cast<uint64_t>(offsets[1]);
    ranges_.push_back({begin, end, gguf::printable(name)});
    if (type == nullptr) return file_.foreign.push_back({gguf::printable(name), gguf::printable(type_name)});
    uint64_t elements = 1;
    for (const int64_t dim : shape) {
      if (dim != 0 && elements > (uint64_t{1} << 62) / static_cast<uint64_t>(dim))
        elements = uint64_t{1} << 62;
      else
        elements *= static_cast<uint64_t>(dim);
    }
    if (elements > (end - begin) / type->bytes || elements * type->bytes != end - begin) {
      return field.fault(ErrorCode::format,
                         fmt::format("{} bytes, but shape [{}] of {} takes other: the file is damaged", end - begin,
                                     fmt::join(shape, ", "), type->name));
    }
    if (!type->dtype || elements == 0 || shape.size() > kMaxDims) {
      return file_.foreign.push_back({gguf::printable(name), std::string(type->name)});
    }
    gguf::TensorRecord record;
    record.tensor.name = gguf::printable(name);
    record.tensor.type = *type->dtype;
    record.n_dims = std::max<int>(1, static_cast<int>(shape.size()));
    std::reverse_copy(shape.begin(), shape.end(), record.dims);
    record.tensor.cols = record.dims[0];
    record.tensor.rows = static_cast<int64_t>(elements) / record.dims[0];
    if (end > data_bytes()) {
      return field.fault(ErrorCode::format, fmt::format("ends at byte {} of {}: the file is cut short, fetch it again",
                                                        end, data_bytes()));
    }
    record.tensor.data = bytes_.data() + file_.data_begin + begin;
    file_.tensors.push_back(std::move(record));
  }

  /// The format's own rule: tensors follow one another and fill the file.
  Result<void> check_layout() {
    std::sort(ranges_.begin(), ranges_.end(),
              [](const Range& a, const Range& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    uint64_t at = 0;
    for (const Range& range : ranges_) {
      if (range.begin != at) {
        return Error{ErrorCode::format,
                     fmt::format("safetensors tensor {}: begins at byte {}, {} the one before ends at {}: fetch the "
                                 "file again",
                                 range.name, range.begin, range.begin < at ? "but" : "behind a hole:", at)};
      }
      at = range.end;
    }
    if (at == data_bytes()) return {};
    return Error{ErrorCode::format,
                 fmt::format("safetensors: the last tensor ends at byte {} of {}: the file is {}, fetch it again", at,
                             data_bytes(), at > data_bytes() ? "cut short" : "damaged")};
  }

  std::span<const std::byte> bytes_;
  std::vector<Range> ranges_;
  File file_;
};

}  // namespace

Result<File> read(std::span<const std::byte> bytes) { return Reader(bytes).read(); }

}  // namespace fathom::safetensors
