// Reading GGUF: one cursor that cannot leave the file, one pass over keys, one over tensor records.
// Next in the flow: gguf_values.cc, which reads single values.
#include "src/model/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace fathom::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place");

Error format_error(std::string message) { return {ErrorCode::format, std::move(message)}; }

/// Types that GGUF numbers but Fathom does not compute with, for messages.
std::string_view foreign_type_name(uint32_t id) {
  static constexpr std::string_view kNames[] = {
      "F32",    "F16",   "Q4_0",  "Q4_1",   "",      "",      "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
      "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
      "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
      "BF16",   "",      "",      "",       "TQ1_0", "TQ2_0", "",        "",       "",        "MXFP4"};
  return id < std::size(kNames) ? kNames[id] : "";
}

const DTypeInfo* find_type(uint32_t id, DType* type) {
  for (int i = 0; i < kDTypes; ++i) {
    if (kDTypeInfo[i].gguf_id == id) {
      *type = static_cast<DType>(i);
      return &kDTypeInfo[i];
    }
  }
  return nullptr;
}

size_t scalar_bytes(Kind kind) {
  switch (kind) {
    case Kind::u8:
    case Kind::i8:
    case Kind::boolean:
      return 1;
    case Kind::u16:
    case Kind::i16:
      return 2;
    case Kind::u32:
    case Kind::i32:
    case Kind::f32:
      return 4;
    case Kind::u64:
    case Kind::i64:
    case Kind::f64:
      return 8;
    case Kind::string:
    case Kind::array:
      return 0;
  }
  return 0;
}

}  // namespace

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes)
      : bytes_(bytes), limit_(std::min<uint64_t>(bytes.size(), kMaxMetadataBytes)) {}

  Result<File> read() {
    uint64_t n_tensors = 0, n_keys = 0;
    FATHOM_TRY(read_header(&n_tensors, &n_keys));
    FATHOM_TRY(read_keys(n_keys));
    FATHOM_TRY(read_alignment());
    FATHOM_TRY(read_tensors(n_tensors));
    FATHOM_TRY(file_.index());
    FATHOM_TRY(check_layout());
    return std::move(file_);
  }

 private:
  uint64_t left() const { return limit_ - at_; }

  Error cut_short(std::string_view what, uint64_t needed) const {
    const std::string where = within_.empty() ? std::string(what) : fmt::format("key {}: {}", printable(within_), what);
    if (bytes_.size() > limit_) {
      return format_error(fmt::format("GGUF {} at byte {}: metadata passes {} bytes: the file is not a model", where,
                                      at_, kMaxMetadataBytes));
    }
    return format_error(
        fmt::format("GGUF {} at byte {}: needs {} bytes of {} left: the file is cut short, fetch it again", where, at_,
                    needed, left()));
  }

  template <class T>
  Result<T> take(std::string_view what) {
    if (left() < sizeof(T)) return cut_short(what, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  /// A string of a length and its bytes; the view lies in the file.
  Result<std::string_view> take_string(std::string_view what) {
    FATHOM_TRY(const uint64_t length, take<uint64_t>(what));
    if (length > left()) return cut_short(what, length);
    const auto* text = reinterpret_cast<const char*>(bytes_.data() + at_);
    at_ += length;
    return std::string_view(text, length);
  }

  Result<std::string_view> take_name(std::string_view what, uint64_t i) {
    FATHOM_TRY(const std::string_view name, take_string(fmt::format("{} {} name", what, i)));
    if (name.empty() || name.size() > kMaxNameBytes) {
      return format_error(fmt::format("GGUF {} {}: a name of {} bytes, 1 to {} are allowed: the file is damaged", what,
                                      i, name.size(), kMaxNameBytes));
    }
    return name;
  }

  Result<void> read_header(uint64_t* n_tensors, uint64_t* n_keys) {
    FATHOM_TRY(const uint32_t magic, take<uint32_t>("magic"));
    if (magic != 0x46554747) {
      return format_error(
          fmt::format("GGUF magic: found 0x{:08x}, expected 0x46554747 (\"GGUF\"): give a .gguf file", magic));
    }
    FATHOM_TRY(file_.version, take<uint32_t>("version"));
    const uint32_t version = file_.version;
    if ((version & 0xffff) == 0 && version != 0) {
      return Error{ErrorCode::unsupported,
                   fmt::format("GGUF version 0x{:08x}: the file is big-endian: convert it to little-endian", version)};
    }
    if (version != 2 && version != 3) {
      return Error{ErrorCode::unsupported,
                   fmt::format("GGUF version {}: 2 and 3 are read: convert the file to version 3", version)};
    }
    FATHOM_TRY(*n_tensors, take<uint64_t>("tensor count"));
    FATHOM_TRY(*n_keys, take<uint64_t>("key count"));
    // A key takes at least 14 bytes, a tensor record at least 33.
    FATHOM_TRY(check_count("key", *n_keys, kMaxKeys, 14));
    return check_count("tensor", *n_tensors, kMaxTensors, 33);
  }

  Result<void> check_count(std::string_view what, uint64_t count, uint64_t most, uint64_t least_bytes) const {
    if (count > most) {
      return format_error(fmt::format("GGUF {} count {}: at most {} are read: the file is damaged", what, count, most));
    }
    if (count * least_bytes > left()) {
      return format_error(
          fmt::format("GGUF {} count {}: does not fit into the {} bytes left: the file is cut short, fetch it again",
                      what, count, left()));
    }
    return {};
  }

  Result<void> read_keys(uint64_t n) {
    file_.keys.reserve(n);
    for (uint64_t i = 0; i < n; ++i) {
      FATHOM_TRY(const std::string_view name, take_name("key", i));
      within_ = name;
      FATHOM_TRY(const Value value, read_value(name));
      within_ = {};
      file_.keys.push_back({name, value});
    }
    return {};
  }

  Result<Kind> take_kind(std::string_view key, std::string_view what) {
    FATHOM_TRY(const uint32_t kind, take<uint32_t>(what));
    if (kind > static_cast<uint32_t>(Kind::f64)) {
      return format_error(
          fmt::format("GGUF key {}: {} {} is not one of 0 to 12: the file is damaged", printable(key), what, kind));
    }
    return static_cast<Kind>(kind);
  }

  Result<Value> read_value(std::string_view key) {
    Value value;
    FATHOM_TRY(value.kind, take_kind(key, "value type"));
    value.element = value.kind;
    if (value.kind == Kind::array) {
      FATHOM_TRY(value.element, take_kind(key, "array element type"));
      if (value.element == Kind::array) {
        return Error{ErrorCode::unsupported,
                     fmt::format("GGUF key {}: an array of arrays: no supported model has one, convert the file again",
                                 printable(key))};
      }
      FATHOM_TRY(value.count, take<uint64_t>("array length"));
      FATHOM_TRY(check_array(key, value));
    }
    const uint64_t begin = at_;
    if (value.element == Kind::string) {
      for (uint64_t i = 0; i < value.count; ++i) FATHOM_TRY(take_string("string"));
    } else {
      const uint64_t bytes = value.count * scalar_bytes(value.element);
      if (bytes > left()) return cut_short("value", bytes);
      at_ += bytes;
    }
    value.data = bytes_.subspan(begin, at_ - begin);
    return value;
  }

  Result<void> check_array(std::string_view key, const Value& value) const {
    if (value.count > kMaxArray) {
      return format_error(fmt::format("GGUF key {}: an array of {} elements, at most {} are read: the file is damaged",
                                      printable(key), value.count, kMaxArray));
    }
    const uint64_t least = value.element == Kind::string ? 8 : scalar_bytes(value.element);
    if (value.count * least > left()) {
      return format_error(
          fmt::format("GGUF key {}: an array of {} elements does not fit into the {} bytes left: the file "
                      "is cut short, fetch it again",
                      printable(key), value.count, left()));
    }
    return {};
  }

  Result<void> read_alignment() {
    const auto key =
        std::find_if(file_.keys.begin(), file_.keys.end(), [](const Key& k) { return k.name == "general.alignment"; });
    if (key == file_.keys.end()) return {};
    if (!is_integer(key->value.kind)) {
      return format_error(
          fmt::format("GGUF key general.alignment: is a {}, expected an integer: convert the file again",
                      name_of(key->value.kind)));
    }
    const int64_t alignment = integer_at(key->value, 0);
    if (alignment < 8 || alignment > static_cast<int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<uint64_t>(alignment))) {
      return format_error(
          fmt::format("GGUF key general.alignment: {} is not a power of two from 8 to {}: convert the file again",
                      alignment, kMaxAlignment));
    }
    alignment_ = static_cast<uint64_t>(alignment);
    return {};
  }

  Result<void> read_tensors(uint64_t n) {
    FATHOM_TRY(check_count("tensor", n, kMaxTensors, 33));
    file_.tensors.reserve(n);
    offsets_.reserve(n);
    for (uint64_t i = 0; i < n; ++i) FATHOM_TRY(read_tensor(i));
    file_.data_begin = (at_ + alignment_ - 1) / alignment_ * alignment_;
    return {};
  }

  Result<void> read_tensor(uint64_t i) {
    FATHOM_TRY(const std::string_view name, take_name("tensor", i));
    TensorRecord record;
    record.tensor.name = printable(name);
    FATHOM_TRY(const uint32_t n_dims, take<uint32_t>("tensor dimensions"));
    if (n_dims < 1 || n_dims > 4) {
      return format_error(fmt::format("GGUF tensor {}: {} dimensions, 1 to 4 are allowed: the file is damaged",
                                      record.tensor.name, n_dims));
    }
    record.n_dims = static_cast<int>(n_dims);
    for (uint32_t d = 0; d < n_dims; ++d) {
      FATHOM_TRY(const uint64_t dim, take<uint64_t>("tensor dimension"));
      if (dim < 1 || dim > (uint64_t{1} << 40)) {
        return format_error(
            fmt::format("GGUF tensor {}: dimension {} is {}, 1 to 2^40 are allowed: the file is damaged",
                        record.tensor.name, d, dim));
      }
      record.dims[d] = static_cast<int64_t>(dim);
    }
    FATHOM_TRY(const uint32_t type, take<uint32_t>("tensor type"));
    FATHOM_TRY(const uint64_t offset, take<uint64_t>("tensor offset"));
    FATHOM_TRY(set_type(record, type));
    offsets_.push_back(offset);
    file_.tensors.push_back(std::move(record));
    return {};
  }

  /// Sets type and shape; checks that a row is whole blocks and that the size does not overflow.
  static Result<void> set_type(TensorRecord& record, uint32_t id) {
    Tensor& tensor = record.tensor;
    const DTypeInfo* type = find_type(id, &tensor.type);
    if (type == nullptr) {
      const std::string_view known = foreign_type_name(id);
      return Error{ErrorCode::unsupported,
                   fmt::format("GGUF tensor {}: type {} ({}) is not one of F32 F16 BF16 Q4_0 Q5_0 Q8_0 Q4_K Q5_K Q6_K: "
                               "quantise the model to one of these",
                               tensor.name, id, known.empty() ? "unknown" : known)};
    }
    tensor.cols = record.dims[0];
    if (tensor.cols % type->block_elements != 0) {
      return format_error(
          fmt::format("GGUF tensor {}: rows of {} elements are not whole {} blocks of {}: convert the file again",
                      tensor.name, tensor.cols, type->name, type->block_elements));
    }
    constexpr uint64_t kMaxTensorBytes = uint64_t{1} << 62;
    const uint64_t bytes = row_bytes(tensor.type, static_cast<size_t>(tensor.cols));
    uint64_t rows = 1;
    for (int d = 1; d < 4; ++d) {
      const auto dim = static_cast<uint64_t>(record.dims[d]);
      if (rows > kMaxTensorBytes / bytes / dim) {
        return format_error(fmt::format("GGUF tensor {}: dimensions {} x {} x {} x {} overflow: the file is damaged",
                                        tensor.name, record.dims[0], record.dims[1], record.dims[2], record.dims[3]));
      }
      rows *= dim;
    }
    tensor.rows = static_cast<int64_t>(rows);
    return {};
  }

  /// Places every tensor's data; checks alignment, the file's end, and that no two overlap.
  Result<void> check_layout() {
    struct Range {
      uint64_t begin, end;
      uint32_t tensor;
    };
    std::vector<Range> ranges;
    ranges.reserve(offsets_.size());
    const uint64_t available = bytes_.size() > file_.data_begin ? bytes_.size() - file_.data_begin : 0;
    for (uint32_t i = 0; i < offsets_.size(); ++i) {
      Tensor& tensor = file_.tensors[i].tensor;
      const uint64_t offset = offsets_[i], size = tensor.bytes();
      if (offset % alignment_ != 0) {
        return format_error(
            fmt::format("GGUF tensor {}: offset {} is not a multiple of the alignment {}: convert the file again",
                        tensor.name, offset, alignment_));
      }
      if (offset > available || size > available - offset) {
        return format_error(
            fmt::format("GGUF tensor {}: {} bytes at offset {} pass the end of the data ({} bytes): the file is "
                        "cut short, fetch it again",
                        tensor.name, size, offset, available));
      }
      tensor.data = bytes_.data() + file_.data_begin + offset;
      ranges.push_back({offset, offset + size, i});
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
    for (size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i].begin < ranges[i - 1].end) {
        return format_error(fmt::format("GGUF tensor {}: overlaps tensor {} at offset {}: convert the file again",
                                        file_.tensors[ranges[i].tensor].tensor.name,
                                        file_.tensors[ranges[i - 1].tensor].tensor.name, ranges[i].begin));
      }
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  uint64_t limit_;
  uint64_t at_ = 0;
  std::string_view within_;  // the key being read, for messages
  uint64_t alignment_ = 32;
  std::vector<uint64_t> offsets_;  // [tensors] from data_begin
  File file_;
};

Result<File> read(std::span<const std::byte> bytes) { return Reader(bytes).read(); }

}  // namespace fathom::gguf
