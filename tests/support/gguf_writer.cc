// Writing GGUF bytes. Next: tests/support/tiny_model.cc.
#include "tests/support/gguf_writer.h"

#include <algorithm>
#include <stdexcept>

namespace fathom::testing {
namespace {

void put(Bytes& out, const Bytes& more) { out.insert(out.end(), more.begin(), more.end()); }

template <class T>
void put_value(Bytes& out, T value) {
  put(out, GgufWriter::payload_of(value));
}

void put_text(Bytes& out, std::string_view text) {
  put_value(out, static_cast<uint64_t>(text.size()));
  const auto* p = reinterpret_cast<const std::byte*>(text.data());
  out.insert(out.end(), p, p + text.size());
}

template <class T>
Bytes array_of(uint32_t element, const std::vector<T>& values) {
  Bytes out;
  put_value(out, element);
  put_value(out, static_cast<uint64_t>(values.size()));
  for (const T& value : values) put_value(out, value);
  return out;
}

uint64_t align(uint64_t n, uint64_t alignment) { return (n + alignment - 1) / alignment * alignment; }

}  // namespace

void GgufWriter::set(const std::string& name, uint32_t kind, Bytes payload) {
  for (Key& key : keys) {
    if (key.name != name) continue;
    key.kind = kind;
    key.payload = std::move(payload);
    return;
  }
  keys.push_back({name, kind, std::move(payload)});
}

void GgufWriter::set_text(const std::string& name, std::string_view value) {
  Bytes payload;
  put_text(payload, value);
  set(name, 8, std::move(payload));
}

void GgufWriter::set_texts(const std::string& name, const std::vector<std::string>& values) {
  Bytes payload;
  put_value(payload, uint32_t{8});
  put_value(payload, static_cast<uint64_t>(values.size()));
  for (const std::string& value : values) put_text(payload, value);
  set(name, 9, std::move(payload));
}

void GgufWriter::set_i32s(const std::string& name, const std::vector<int32_t>& values) {
  set(name, 9, array_of(5, values));
}
void GgufWriter::set_f32s(const std::string& name, const std::vector<float>& values) {
  set(name, 9, array_of(6, values));
}

void GgufWriter::remove(std::string_view name) {
  const auto named = [name](const auto& entry) { return entry.name == name; };
  keys.erase(std::remove_if(keys.begin(), keys.end(), named), keys.end());
  tensors.erase(std::remove_if(tensors.begin(), tensors.end(), named), tensors.end());
}

GgufWriter::TensorEntry& GgufWriter::tensor(std::string_view name) {
  for (TensorEntry& entry : tensors) {
    if (entry.name == name) return entry;
  }
  throw std::invalid_argument("no tensor " + std::string(name));
}

Bytes GgufWriter::bytes() const {
  Bytes out;
  put_value(out, magic);
  put_value(out, version);
  put_value(out, n_tensors.value_or(tensors.size()));
  put_value(out, n_keys.value_or(keys.size()));
  for (const Key& key : keys) {
    put_text(out, key.name);
    put_value(out, key.kind);
    put(out, key.payload);
  }
  Bytes data;
  for (const TensorEntry& entry : tensors) {
    data.resize(align(data.size(), alignment));
    put_text(out, entry.name);
    put_value(out, static_cast<uint32_t>(entry.dims.size()));
    for (const uint64_t dim : entry.dims) put_value(out, dim);
    put_value(out, entry.type);
    put_value(out, entry.offset.value_or(data.size()));
    put(data, entry.data);
  }
  out.resize(align(out.size(), alignment));
  put(out, data);
  return out;
}

}  // namespace fathom::testing
