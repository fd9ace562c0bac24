// The calibration report: what its page holds, what it refuses, and that nothing from a file acts in it.
#include "fathom/calibrate/report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace fathom {
namespace {

using Json = nlohmann::ordered_json;

Json sample(const char* name) {
  std::ifstream in(std::string(FATHOM_CALIBRATE_DATA) + "/" + name + ".json");
  return Json::parse(in);
}

Json smallest() {
  return {{"format", 1}, {"model", {{"name", "m"}, {"layers", 4}}}, {"promise", {{"sentence", "The same tokens."}}}};
}

std::string page_of(const Json& json) { return report_html(json.dump()).value(); }

std::string error_of(const Json& json) {
  const Result<std::string> page = report_html(json.dump());
  return page ? "no error" : page.error().message;
}

bool holds(const std::string& page, const std::string& text) { return page.find(text) != std::string::npos; }

size_t times(const std::string& page, const std::string& text) {
  size_t n = 0;
  for (size_t at = 0; (at = page.find(text, at)) != std::string::npos; at += text.size()) ++n;
  return n;
}

// Elements that are opened and closed in order; void and self-closed ones need no end. Empty: all is well.
std::string unbalanced(const std::string& page) {
  std::vector<std::string> open;
  for (size_t at = 0; (at = page.find('<', at)) != std::string::npos;) {
    const bool closing = page[at + 1] == '/';
    const size_t begin = at + (closing ? 2 : 1), end = page.find('>', at);
    const std::string name = page.substr(begin, page.find_first_of(" >/\n", begin) - begin);
    at = end;
    if (name.rfind('!', 0) == 0 || name == "meta" || page[end - 1] == '/') continue;
    if (!closing) open.push_back(name);
    if (closing && (open.empty() || open.back() != name)) return fmt::format("</{0}> closes no {0}", name);
    if (closing) open.pop_back();
    if (!closing && (name == "script" || name == "style")) at = page.find("</" + name, end);
  }
  return open.empty() ? "" : fmt::format("<{}> is left open", open.back());
}

TEST(Report, APageStandsAloneAndIsWellFormed) {
  for (const char* name : {"report_yes", "report_no_go"}) {
    const std::string page = page_of(sample(name));
    EXPECT_EQ(page.rfind(kReportPageStart, 0), 0u);
    EXPECT_EQ(unbalanced(page), "") << name;
    for (const char* outside : {"http:", "https:", "src=", "@import", "url(", "<link", "javascript:", " style="}) {
      EXPECT_FALSE(holds(page, outside)) << name << " has " << outside;
    }
    EXPECT_TRUE(holds(page, "default-src 'none'"));
    EXPECT_FALSE(holds(page, "unsafe-inline"));
    EXPECT_FALSE(holds(page, "{{")) << "a place of the template that nothing fills";
    EXPECT_FALSE(holds(page, "sha256-'")) << "a hash that is empty";
  }
}

TEST(Report, AYesLeadsWithThePromiseAndANoWithWhatDoesNotPay) {
  const std::string yes = page_of(sample("report_yes")), no = page_of(sample("report_no_go"));
  EXPECT_TRUE(holds(yes, "Yes: a certified saving"));
  EXPECT_TRUE(holds(no, "No-go beyond lossless savings"));
  EXPECT_LT(yes.find("<section id=\"risk\""), yes.find("<section id=\"no-go\""));
  EXPECT_LT(no.find("<section id=\"no-go\""), no.find("<section id=\"risk\""));
  EXPECT_TRUE(holds(no, "None of 11 settings is surely faster than the lossless savings alone."));
  EXPECT_TRUE(holds(yes, "at most 2 tokens in 100 differ"));
}

TEST(Report, AnUncertifiedPolicyIsNotCalledASaving) {
  Json json = sample("report_yes");
  json["promise"]["certified"] = false;
  const std::string page = page_of(json);
  EXPECT_TRUE(holds(page, "Not certified"));
  EXPECT_FALSE(holds(page, "Yes: a certified saving"));
}

TEST(Report, AllPartsAreThere) {
  const std::string page = page_of(sample("report_yes"));
  for (const char* id : {"risk", "speed", "ceilings", "no-go", "reliability", "depth", "signals", "layers", "heads",
                         "passages", "continuations", "groups", "words", "reproduce"}) {
    EXPECT_EQ(times(page, std::string("<section id=\"") + id + "\""), 1u) << id;
    EXPECT_EQ(times(page, std::string("href=\"#") + id + "\""), 1u) << id;
  }
  EXPECT_FALSE(holds(page, "Not measured"));
  EXPECT_TRUE(holds(page, "exit_when(confidence_at_least=0.97, from_layer=2) | kv(fill)"));
  const size_t drawings = times(page, "<svg viewBox=\"0 0 360");
  EXPECT_GE(drawings, 15u);
  EXPECT_EQ(times(page, "role=\"img\" aria-label=\""), drawings) << "each says what it is";
}

TEST(Report, EachLayersTranslatorStandsBesideThoseItWasChosenFrom) {
  Json json = sample("report_yes");
  EXPECT_FALSE(holds(page_of(json), "How early states are read"));
  json["translators"] = {
      {{"layer", 4},
       {"kept", "low <rank"},
       {"work", 0.125},
       {"kinds", {{{"name", "low <rank"}, {"agreement", 0.75}}, {{"name", "full"}, {"agreement", 0.5}}}}}};
  const std::string page = page_of(json);
  EXPECT_EQ(unbalanced(page), "");
  EXPECT_TRUE(holds(page, "How early states are read"));
  EXPECT_TRUE(holds(page, "low &lt;rank"));
  json["translators"][0]["kinds"][1]["agreement"] = 1.5;
  EXPECT_EQ(error_of(json), "report: translators[0].kinds[1].agreement: 1.5: give a number from 0 to 1");
}

TEST(Report, WhatKvTranslatorsAreWorthStandsBesideCellsAsTheyAre) {
  Json json = sample("report_yes");
  EXPECT_FALSE(holds(page_of(json), "What is kept of tokens that leave"));
  json["kv_translators"] = {{"policy", "exit_when(agreement_at_least=0.8)"},
                            {"kept", true},
                            {"bytes", 12288},
                            {"exact_cells", 0.01},
                            {"plain", {{"disagreement", 0.031}, {"work", 0.5}}},
                            {"translated", {{"disagreement", 0.012}, {"work", 0.51}}},
                            {"gain", {{"mean", 0.019}, {"error", 0.002}, {"units", 40}}},
                            {"layers", {{{"exit", 2}, {"layer", 4}, {"plain", 0.625}, {"translated", 0.125}}}}};
  const std::string page = page_of(json);
  EXPECT_EQ(unbalanced(page), "");
  for (const char* said :
       {"What is kept of tokens that leave", "translations are used.", "3.1", "1.2", "62.5", "12.5"}) {
    EXPECT_TRUE(holds(page, said)) << said;
  }
  json["kv_translators"]["kept"] = false;
  EXPECT_TRUE(holds(page_of(json), "translations are not used."));
  json["kv_translators"]["plain"]["disagreement"] = 2;
  EXPECT_EQ(error_of(json), "report: kv_translators.plain.disagreement: 2: give a number from 0 to 1");
}

TEST(Report, WhatWasNotMeasuredIsOneLine) {
  const std::string page = page_of(smallest());
  EXPECT_EQ(unbalanced(page), "");
  EXPECT_EQ(times(page, "<section"), 2u) << "the words and what was not measured";
  EXPECT_EQ(times(page, "<li>"), 13u);
  EXPECT_TRUE(holds(page, "<li>Reliability: whether confidences hold was not measured.</li>"));
  EXPECT_TRUE(holds(page, "No-go: full depth"));
  Json nulls = smallest();
  for (const char* name :
       {"machine", "run", "groups", "candidates", "signals", "exit_depth", "passages", "reproduce"}) {
    nulls[name] = nullptr;
  }
  EXPECT_EQ(page_of(nulls), page) << "null is as good as missing";
}

// Every string of a document, however deep.
void replace_strings(Json& json, const std::string& text) {
  if (json.is_string()) json = text;
  if (json.is_structured()) {
    for (auto& [name, value] : json.items()) replace_strings(value, text);
  }
}

TEST(Report, NoTextOfAFileBecomesMarkup) {
  const std::string attack = "</script></title><script>alert(1)</script><img/onerror='x' \"y\"> & <!-- {{script}}";
  for (const char* name : {"report_yes", "report_no_go"}) {
    const std::string harmless = page_of(sample(name));
    Json json = sample(name);
    replace_strings(json, attack);
    Json& signals = json["passages"][0]["tokens"][0]["signals"];
    signals = {{attack, 0.5}};
    json["reproduce"]["splits"] = {{attack, attack}};
    const std::string page = page_of(json);
    EXPECT_EQ(unbalanced(page), "") << name;
    EXPECT_EQ(times(page, "<script"), times(harmless, "<script"));
    EXPECT_EQ(times(page, "</script"), times(harmless, "</script"));
    EXPECT_FALSE(holds(page, "<script>alert"));
    EXPECT_FALSE(holds(page, "<img"));
    EXPECT_EQ(times(page, "<!--"), 1u) << "the first line's";
    EXPECT_TRUE(holds(page, "&lt;script&gt;alert(1)&lt;/script&gt;"));
    EXPECT_TRUE(holds(page, "{{script}}")) << "what is filled in is not filled again";
  }
}

TEST(Report, OddTokensAreVisibleAndDoNotSteerThePage) {
  Json json = smallest();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\n", "\xE2\x8F\x8E\n"},                // shown and obeyed
      {"\t", "\xE2\x87\xA5\t"},                // the same
      {std::string("\0", 1), "\xE2\x90\x80"},  // U+2400
      {"\x1B[31m", "\xE2\x90\x9B[31m"},        // an escape of terminals
      {"\x7F", "\xE2\x90\xA1"},                // DEL
      {"\xE2\x80\xAE"
       "abc",
       "[U+202E]abc"},               // would turn the direction of what follows
      {"\xE2\x81\xA7", "[U+2067]"},  // the same, isolated
      {"\xEF\xBB\xBF", "[U+FEFF]"},  // of no width
      {"\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D", "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D"},  // right to left, as it is
  };
  Json tokens = Json::array();
  for (const auto& [text, shown] : cases) tokens.push_back({{"text", text}});
  json["passages"] = {{{"group", "odd"}, {"tokens", tokens}}};
  const std::string page = page_of(json);
  const std::string text = page.substr(page.find("<div class=\"text\""));
  for (const auto& [token, shown] : cases) EXPECT_TRUE(holds(text, "<span class=\"qx\">" + shown + "</span>")) << shown;
  EXPECT_TRUE(holds(text, "dir=\"auto\""));
  for (const char c : page) ASSERT_TRUE(c == '\n' || c == '\t' || static_cast<unsigned char>(c) >= 0x20) << int{c};
}

TEST(Report, BytesThatAreNoUtf8BecomeReplacementCharacters) {
  std::string json = smallest().dump();
  json.replace(json.find("The same"), 3, "\xFF\xC3(");
  const Result<std::string> page = report_html(json);
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_TRUE(holds(*page, "\xEF\xBF\xBD\xEF\xBF\xBD( same tokens."));
  EXPECT_TRUE(holds(report_line(json).value(), "\xEF\xBF\xBD\xEF\xBF\xBD( same tokens."));
}

TEST(Report, ABadFieldIsNamed) {
  const auto with = [](const char* pointer, const Json& value, const char* sample_name = "report_yes") {
    Json json = sample(sample_name);
    json[Json::json_pointer(pointer)] = value;
    return error_of(json);
  };
  EXPECT_EQ(with("/format", 2), "report: format: 2: give a whole number from 1 to 1");
  EXPECT_EQ(with("/model/name", 3), "report: model.name: 3: give a string");
  EXPECT_EQ(with("/model/layers", 0), "report: model.layers: 0: give a whole number from 1 to 512");
  EXPECT_EQ(with("/model/layers", 1.5), "report: model.layers: 1.5: give a whole number from 1 to 512");
  EXPECT_EQ(with("/model", nullptr), "report: model.name: missing: give a string");
  EXPECT_EQ(with("/groups", "prose"), "report: groups: \"prose\": give an array");
  EXPECT_EQ(with("/groups/1/pieces", 3), "report: groups[1].pieces: 3: give an object with fit");
  EXPECT_EQ(with("/run/seed", -1), "report: run.seed: -1: give a whole number from 0 to 18446744073709551615");
  EXPECT_EQ(with("/candidates/2/groups/0/upper", 1.5),
            "report: candidates[2].groups[0].upper: 1.5: give a number from 0 to 1");
  EXPECT_EQ(with("/candidates/2/chosen", "yes"), "report: candidates[2].chosen: \"yes\": give true or false");
  EXPECT_EQ(with("/candidates/2/speed_over_full/low", 99),
            "report: candidates[2].speed_over_full: give low <= ratio <= high");
  EXPECT_EQ(with("/exit_depth/layers", 7),
            "report: exit_depth.groups[0].counts: 8 counts: give one for each of the 7 layers");
  EXPECT_EQ(with("/layer_utility/parts", Json::array({"layer"})),
            "report: layer_utility.groups[0].disagreement: 3 rows: give one for each of the 1 parts");
  EXPECT_EQ(with("/passages/0/tokens/3/attention/1/to/0/0", 100000)
                .rfind("report: passages[0].tokens[3].attention[1].to[0][0]: ", 0),
            0u);
  EXPECT_EQ(with("/passages/0/tokens/3/attention/1/to/0", Json::array({1})),
            "report: passages[0].tokens[3].attention[1].to[0]: give [token, weight]");
  EXPECT_EQ(with("/reproduce/splits/fit", 5), "report: reproduce.splits.fit: 5: give a string");
  EXPECT_EQ(with("/nogo/0/reason", false), "report: nogo[0].reason: false: give a string");
}

TEST(Report, WhatIsNoJsonOrTooDeepOrTooMuchIsRefused) {
  EXPECT_EQ(report_html("").error().code, ErrorCode::format);
  EXPECT_EQ(report_html("{\"format\":1,").error().message, "report: no JSON at byte 13: give a file that fathom wrote");
  EXPECT_EQ(report_html("[]").error().message, "report: the document: []: give an object with format");
  EXPECT_EQ(report_html("{\"format\":1e999}").error().message,
            "report: a number is out of range: give a file that fathom wrote");
  const std::string deep = "{\"format\":" + std::string(1000000, '[');
  EXPECT_EQ(report_html(deep).error().message,
            "report: nested deeper than 16 at byte 25: give a file that fathom wrote");
  Json many = smallest();
  for (int i = 0; i < 17; ++i) many["groups"].push_back({{"name", "g"}});
  EXPECT_EQ(error_of(many), "report: groups: 17 elements of at most 16: leave some out");
  EXPECT_EQ(report_html(many.dump()).error().code, ErrorCode::capacity);
}

TEST(Report, ALineHoldsTheSameNumbersAndTheSameRefusals) {
  const Json json = sample("report_no_go");
  const std::string line = report_line(json.dump(1)).value();
  EXPECT_EQ(Json::parse(line), json);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(report_line("{\"format\":3}").error().message, report_html("{\"format\":3}").error().message);
}

// Numbers at the ends of their ranges: no NaN, no infinity, no division by nothing.
TEST(Report, ExtremeNumbersAreDrawn) {
  Json json = sample("report_yes");
  for (Json& c : json["candidates"]) {
    c["work"] = 1;
    for (Json& g : c["groups"]) g["mean"] = g["upper"] = 0;
    c["speed_over_full"] = c["speed_over_lossless"] = {{"ratio", 0}, {"low", 0}, {"high", 1e12}};
    c["ms_per_token"] = {{"full", 0}, {"lossless", 1e-9}, {"policy", 1e12}};
  }
  json["run"]["risk"] = 0;
  for (Json& g : json["exit_depth"]["groups"]) g["counts"] = {0, 0, 0, 0, 0, 0, 0, 1};
  json["exit_depth"]["positions"] = {{{"from", 0}, {"to", 0}, {"mean_depth", 0}}};
  json["head_utility"] = {{-1e12, 1e12}, {nullptr, 0}, {}};
  json["reliability"] = {{{"layer", 0}, {"before", Json::array()}, {"after", {{{"p", 1}, {"agreed", 0}, {"n", 0}}}}}};
  for (Json& g : json["layer_utility"]["groups"]) g["disagreement"] = {{0}, {nullptr}, Json::array()};
  json["ceilings"][0]["groups"][0]["work"] = 0;
  const std::string page = page_of(json);
  EXPECT_EQ(unbalanced(page), "");
  for (const char* odd : {"nan", "inf ", "inf\"", "-inf"}) EXPECT_FALSE(holds(page, odd)) << odd;
}

Json large() {
  Json json = sample("report_no_go");
  const Json candidate = json["candidates"][2], group = json["candidates"][2]["groups"][0];
  json["model"]["layers"] = 28;
  json["candidates"] = Json::array();
  json["groups"] = Json::array();
  json["layer_utility"] = {{"parts", {"layer", "attention", "feed_forward"}}, {"groups", Json::array()}};
  json["exit_depth"]["layers"] = 28;
  json["exit_depth"]["groups"] = Json::array();
  const Json rel = json["reliability"][0], token = json["passages"][0]["tokens"][40];
  json["reliability"] = Json::array();
  json["passages"] = Json::array();
  for (int c = 0; c < 20; ++c) {
    json["candidates"].push_back(candidate);
    json["candidates"].back()["groups"] = Json::array();
  }
  for (int g = 0; g < 4; ++g) {
    const std::string name = "a group of texts, number " + std::to_string(g);
    json["groups"].push_back({{"name", name}});
    for (Json& c : json["candidates"]) c["groups"].push_back(group), c["groups"].back()["name"] = name;
    json["layer_utility"]["groups"].push_back(
        {{"name", name}, {"disagreement", Json(3, Json(std::vector<double>(28, 0.1234)))}});
    json["exit_depth"]["groups"].push_back({{"name", name}, {"counts", std::vector<int>(28, 1234)}});
    for (int layer = 0; layer < 28; ++layer)
      json["reliability"].push_back(rel), json["reliability"].back()["group"] = name;
    Json passage = {{"group", name}, {"tokens", Json::array()}};
    for (int t = 0; t < 256; ++t) {
      passage["tokens"].push_back(token);
      for (Json& a : passage["tokens"].back()["attention"]) {
        a["to"] = Json::array();
        for (int i = 0; i <= t; ++i) a["to"].push_back({i, 0.0039});
      }
    }
    json["passages"].push_back(std::move(passage));
  }
  json["head_utility"] = Json(28, Json(std::vector<double>(16, 0.0123)));
  return json;
}

TEST(Report, ALargeModelsPageIsUnderTwoMegabytes) {
  const std::string page = page_of(large());
  EXPECT_EQ(unbalanced(page), "");
  EXPECT_LT(page.size(), size_t{2'000'000});
  EXPECT_GT(page.size(), size_t{400'000}) << "the parts are all there";
}

}  // namespace
}  // namespace fathom
