// JSON of the command against docs/schema. Next: cli_test.cc.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/cli/spawn.h"

namespace fathom::testing {

using nlohmann::json;

inline bool has_type(const json& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

// As much of JSON Schema as docs/schema uses: type, properties, required, additionalProperties, items.
inline void expect_valid(const json& value, const json& schema, const std::string& where) {
  const json types = schema.at("type").is_array() ? schema.at("type") : json::array({schema.at("type")});
  const bool typed = std::any_of(types.begin(), types.end(), [&](const json& t) { return has_type(value, t); });
  ASSERT_TRUE(typed) << where << " is " << value << ", the schema says " << types;
  if (value.is_array() && schema.contains("items")) {
    for (const json& item : value) expect_valid(item, schema.at("items"), where + "[]");
  }
  if (!value.is_object() || !schema.contains("properties")) return;
  for (const json& name : schema.at("required")) EXPECT_TRUE(value.contains(name)) << where << " lacks " << name;
  for (const auto& [name, field] : value.items()) {
    ASSERT_TRUE(schema.at("properties").contains(name)) << where << "." << name << " is not in the schema";
    expect_valid(field, schema.at("properties").at(name), where + "." + name);
  }
}

// A line of JSON that fits docs/schema/SCHEMA.json.
inline json checked(const std::string& line, const std::string& schema) {
  const json value = json::parse(line, nullptr, false);
  EXPECT_FALSE(value.is_discarded()) << line;
  expect_valid(value, json::parse(file_content(std::string(FATHOM_SCHEMAS) + "/" + schema + ".json")), schema);
  return value;
}

// The same for each line.
inline std::vector<json> checked_lines(const std::string& text, const std::string& schema) {
  std::istringstream lines(text);
  std::vector<json> values;
  for (std::string line; std::getline(lines, line);) values.push_back(checked(line, schema));
  return values;
}

}  // namespace fathom::testing
