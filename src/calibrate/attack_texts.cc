// Texts that tempt by their form, from a few words and a seed.
#include "src/calibrate/attack_texts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace fathom {
namespace {

template <size_t N>
std::string_view one_of(Random& random, const std::array<std::string_view, N>& words) {
  return words[random.below(N)];
}

std::string digits(Random& random, int n) {
  std::string text(1, static_cast<char>('1' + random.below(9)));
  while (int(text.size()) < n) text += static_cast<char>('0' + random.below(10));
  return text;
}

// The same record over and over, then one with another digit.
TemptingText near_copy(Random& random) {
  static constexpr std::array<std::string_view, 4> kForms = {
      "Order {0}: {1} boxes, paid {2}.50 on day {3}.\n", "set_limit(channel={1}, value={0}, window={2}); // {3}\n",
      "{{\"id\": {0}, \"rack\": {1}, \"weight\": {2}, \"day\": {3}}}\n",
      "Flight {1} to gate {3}, seat {2}, ticket {0}.\n"};
  const std::string number = digits(random, 5), count = digits(random, 1), price = digits(random, 3),
                    day = digits(random, 2);
  const std::string_view form = one_of(random, kForms);
  const auto line = [&](const std::string& first) { return fmt::format(fmt::runtime(form), first, count, price, day); };
  std::string changed = number;
  char& digit = changed[1 + random.below(changed.size() - 1)];
  digit = static_cast<char>('0' + (digit - '0' + 1 + int(random.below(9))) % 10);
  return {.repeated = line(number), .lead = {}, .trap = line(changed)};
}

// A clause that reads as finished until its last words take its object away.
TemptingText garden_path(Random& random) {
  static constexpr std::array<std::string_view, 5> kWho = {"the cook", "the painter", "my neighbour", "the nurse",
                                                           "the young clerk"};
  static constexpr std::array<std::array<std::string_view, 2>, 6> kPaths = {{
      {"While {0} was stirring the thick soup", " boiled over and ran down the stove."},
      {"As soon as {0} left the old house", " caught fire and nobody could put it out."},
      {"Whenever {0} washed the white dog", " ran away and hid in the garden."},
      {"After {0} paid the rent", " went up again and the others moved out."},
      {"The letter {0} sent the lawyer", " was never opened by anyone."},
      {"The boat {0} sailed down the river", " sank before it reached the bridge."},
  }};
  const auto& path = kPaths[random.below(kPaths.size())];
  const std::string_view who = one_of(random, kWho);
  std::string plain;
  for (int i = 0; i < 3; ++i)
    plain += fmt::format("In the evening {} went home and slept well. ", one_of(random, kWho));
  return {.repeated = plain, .lead = fmt::format(fmt::runtime(path[0]), who), .trap = std::string(path[1])};
}

// A sentence that goes on in another language, and in another.
TemptingText language_switch(Random& random) {
  static constexpr std::array<std::array<std::string_view, 4>, 4> kParts = {{
      {"The baker opened the shop at six", " and put the bread", " on the long table", " because it was still warm. "},
      {"Die Bäckerin öffnete den Laden um sechs", " und legte das Brot", " auf den langen Tisch",
       " weil es noch warm war. "},
      {"La boulangère a ouvert la boutique à six heures", " et elle a posé le pain", " sur la longue table",
       " parce qu'il était encore chaud. "},
      {"La panadera abrió la tienda a las seis", " y puso el pan", " en la mesa larga",
       " porque todavía estaba caliente. "},
  }};
  const size_t first = random.below(kParts.size()), step = 1 + random.below(kParts.size() - 1);
  const auto part = [&](size_t language, size_t i) { return kParts[language % kParts.size()][i]; };
  TemptingText text{.repeated = {}, .lead = std::string(part(first, 0)), .trap = {}};
  for (size_t i = 0; i < 4; ++i) text.repeated += part(first, i);
  for (size_t i = 1; i < 4; ++i) text.trap += part(first + i * step, i);
  return text;
}

// Terms that say the same of everything, and of one thing not.
TemptingText boilerplate(Random& random) {
  static constexpr std::array<std::string_view, 6> kThings = {"the lift",         "the cellar",     "the bicycle room",
                                                              "the roof terrace", "the front door", "the courtyard"};
  static constexpr std::array<std::array<std::string_view, 2>, 3> kForms = {{
      {"Use of {0} is free of charge for all tenants at all times. ",
       "Use of {0} is not free of charge: tenants pay nine euros a month. "},
      {"{0}: inspected, in order, no action required.\n", "{0}: inspected, damaged, closed until further notice.\n"},
      {"The owner keeps {0} in repair and bears the cost. ",
       "The tenant keeps {0} in repair and bears the cost, the owner never. "},
  }};
  const auto& form = kForms[random.below(kForms.size())];
  TemptingText text;
  for (const std::string_view thing : kThings) text.repeated += fmt::format(fmt::runtime(form[0]), thing);
  text.trap = fmt::format(fmt::runtime(form[1]), one_of(random, kThings));
  return text;
}

constexpr TextFamily kFamilies[] = {
    {"near_copies", "a record over and over, then the same with one digit changed", near_copy},
    {"garden_paths", "a clause that has to be read again behind its last words", garden_path},
    {"language_switches", "a sentence that goes on in other languages", language_switch},
    {"boilerplate", "terms that say the same of everything, then one exception", boilerplate},
};

}  // namespace

std::span<const TextFamily> text_families() { return kFamilies; }

Result<AttackText> tokens_of(const Tokenizer& tokenizer, const TemptingText& text, int32_t tokens) {
  FATHOM_TRY(std::vector<int32_t> trap, tokenizer.encode(text.trap, {.bos = false}));
  trap.resize(std::min(trap.size(), size_t(tokens) / 2));
  const size_t room = size_t(tokens) - trap.size();
  std::string before = text.lead;
  std::vector<int32_t> ids;
  while (ids.size() < room) {
    before.insert(0, text.repeated);
    FATHOM_TRY(ids, tokenizer.encode(before, {.bos = false}));
  }
  AttackText out{.tokens = {ids.end() - std::ptrdiff_t(room), ids.end()}, .trap = int32_t(room)};
  out.tokens.insert(out.tokens.end(), trap.begin(), trap.end());
  return out;
}

AttackText broken_repetition(std::span<const int32_t> writing, Random& random) {
  const size_t n = writing.size(), unit = 3 + random.below(std::min<size_t>(6, n / 4)), from = random.below(n - unit);
  AttackText out;
  for (size_t i = 0; i < n; ++i) out.tokens.push_back(writing[from + i % unit]);
  // Another token of the same writing in the last round, and the round goes on behind it.
  const size_t trap = n - 1 - unit / 2;
  for (size_t i = 0; i < n && out.tokens[trap] == writing[from + trap % unit]; ++i) {
    out.tokens[trap] = writing[(from + unit + i) % n];
  }
  out.trap = int32_t(trap);
  return out;
}

}  // namespace fathom
