// What two manifests say differently. Next in the flow: policy_store.cc.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

#include "fathom/calibrate/manifest.h"

namespace fathom {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::string_view verb_of(std::string_view stage) { return trimmed(stage.substr(0, stage.find('('))); }

std::string text_of(bool flag) { return flag ? "yes" : "no"; }
std::string text_of(double x) { return fmt::format("{}", x); }
std::string text_of(const std::vector<double>& values) { return fmt::format("{}", fmt::join(values, " ")); }

class Differences {
 public:
  std::vector<ManifestDifference> found;

  void add(std::string what, std::string a, std::string b) {
    if (a != b) found.push_back({std::move(what), std::move(a), std::move(b)});
  }

  /// Stages of one verb stand opposite one another, as many pairs as their order allows; the rest stand alone.
  void add_policies(const std::vector<std::string>& a, const std::vector<std::string>& b) {
    // longest[i][j]: pairs that the stages from i of a and from j of b can make.
    std::vector<std::vector<int>> longest(a.size() + 1, std::vector<int>(b.size() + 1));
    const auto pair = [&](size_t i, size_t j) { return verb_of(a[i]) == verb_of(b[j]); };
    for (size_t i = a.size(); i-- > 0;) {
      for (size_t j = b.size(); j-- > 0;) {
        longest[i][j] = pair(i, j) ? longest[i + 1][j + 1] + 1 : std::max(longest[i + 1][j], longest[i][j + 1]);
      }
    }
    size_t n = 0;
    const auto stage = [&](const std::string& of_a, const std::string& of_b) {
      add(fmt::format("policy stage {}", ++n), of_a, of_b);
    };
    for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
      if (i < a.size() && j < b.size() && pair(i, j)) {
        stage(a[i++], b[j++]);
      } else if (j == b.size() || (i < a.size() && longest[i + 1][j] >= longest[i][j + 1])) {
        stage(a[i++], "");
      } else {
        stage("", b[j++]);
      }
    }
  }

  /// Calls each(name, group of a or null, group of b or null) for every name in either list.
  template <class Group, class Each>
  static void by_name(const std::vector<Group>& a, const std::vector<Group>& b, Each each) {
    const auto named = [](const std::vector<Group>& groups, const std::string& name) -> const Group* {
      const auto at = std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.name == name; });
      return at == groups.end() ? nullptr : &*at;
    };
    for (const Group& group : a) each(group.name, &group, named(b, group.name));
    for (const Group& group : b) {
      if (named(a, group.name) == nullptr) each(group.name, static_cast<const Group*>(nullptr), &group);
    }
  }

  void add_groups(const std::vector<ManifestGroup>& a, const std::vector<ManifestGroup>& b) {
    by_name(a, b, [&](const std::string& name, const ManifestGroup* of_a, const ManifestGroup* of_b) {
      if (of_a == nullptr || of_b == nullptr) {
        add("group " + name, of_a != nullptr ? "there" : "", of_b != nullptr ? "there" : "");
      }
      const auto both = [&](const char* what, std::vector<double> ManifestGroup::*values) {
        add(fmt::format("{} of {}", what, name), of_a != nullptr ? text_of(of_a->*values) : "",
            of_b != nullptr ? text_of(of_b->*values) : "");
      };
      both("thresholds", &ManifestGroup::thresholds);
      both("temperatures", &ManifestGroup::temperatures);
    });
  }

  void add_certificates(const std::optional<ManifestCertificate>& a, const std::optional<ManifestCertificate>& b) {
    const auto both = [&](const char* what, auto value) {
      add(what, a ? text_of((*a).*value) : "", b ? text_of((*b).*value) : "");
    };
    both("certified", &ManifestCertificate::certified);
    both("lossless", &ManifestCertificate::lossless);
    both("risk", &ManifestCertificate::risk);
    both("confidence", &ManifestCertificate::confidence);
    both("temperature", &ManifestCertificate::temperature);
    static const ManifestCertificate kNone;
    const ManifestCertificate &of_a = a ? *a : kNone, &of_b = b ? *b : kNone;
    add_bounds("", of_a.groups, of_b.groups);
    add_own("", of_a.own, of_b.own);
    add_levels(of_a.levels, of_b.levels);
  }

  static std::string text_of_bound(const ManifestBound& b) {
    return fmt::format("mean {}, at most {}, {} pieces", b.mean, b.upper, b.pieces);
  }

  void add_bounds(const std::string& where, const std::vector<ManifestBound>& a, const std::vector<ManifestBound>& b) {
    by_name(a, b, [&](const std::string& name, const ManifestBound* of_a, const ManifestBound* of_b) {
      add(fmt::format("bound of {}{}", name, where), of_a != nullptr ? text_of_bound(*of_a) : "",
          of_b != nullptr ? text_of_bound(*of_b) : "");
    });
  }

  void add_own(const std::string& where, const std::vector<ManifestOwn>& a, const std::vector<ManifestOwn>& b) {
    struct Named {
      std::string name, text;
    };
    const auto named = [](const std::vector<ManifestOwn>& own) {
      std::vector<Named> out;
      for (const ManifestOwn& o : own) out.push_back({o.bound.name, o.policy + ": " + text_of_bound(o.bound)});
      return out;
    };
    by_name(named(a), named(b), [&](const std::string& name, const Named* of_a, const Named* of_b) {
      add(fmt::format("own policy of {}{}", name, where), of_a != nullptr ? of_a->text : "",
          of_b != nullptr ? of_b->text : "");
    });
  }

  void add_levels(const std::vector<ManifestLevel>& a, const std::vector<ManifestLevel>& b) {
    static const ManifestLevel kNone;
    for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
      const ManifestLevel &of_a = i < a.size() ? a[i] : kNone, &of_b = i < b.size() ? b[i] : kNone;
      const std::string where = fmt::format(", level {}", i + 2);
      const auto head = [](const ManifestLevel& level) {
        return level.risk > 0 ? fmt::format("{}: {}", level.risk, level.policy) : "";
      };
      add(fmt::format("level {}", i + 2), head(of_a), head(of_b));
      add_bounds(where, of_a.groups, of_b.groups);
      add_own(where, of_a.own, of_b.own);
    }
  }

  void add_models(const SidecarBinding& a, const SidecarBinding& b) {
    add("model", a.name, b.name);
    add("model file (sha256)", a.sha256, b.sha256);
    add("tokenizer", fmt::format("{:016x}", a.tokenizer), fmt::format("{:016x}", b.tokenizer));
    add("numeric path", a.numeric_path, b.numeric_path);
    add("layers", fmt::to_string(a.n_layers), fmt::to_string(b.n_layers));
    add("d_model", fmt::to_string(a.d_model), fmt::to_string(b.d_model));
    add("vocabulary", fmt::to_string(a.vocab), fmt::to_string(b.vocab));
  }
};

}  // namespace

std::vector<std::string> stages_of(const std::string& policy) {
  std::vector<std::string> stages;
  for (std::string_view rest = policy;;) {
    const size_t pipe = rest.find('|');
    if (const std::string_view stage = trimmed(rest.substr(0, pipe)); !stage.empty()) stages.emplace_back(stage);
    if (pipe == std::string_view::npos) return stages;
    rest.remove_prefix(pipe + 1);
  }
}

std::vector<ManifestDifference> compare(const Manifest& a, const Manifest& b) {
  Differences d;
  d.add_policies(stages_of(a.policy), stages_of(b.policy));
  d.add_groups(a.groups, b.groups);
  d.add_certificates(a.certificate, b.certificate);
  d.add("promise", a.promise, b.promise);
  d.add_models(a.model, b.model);
  d.add("library", a.library, b.library);
  d.add("seed", a.seed ? fmt::to_string(*a.seed) : "", b.seed ? fmt::to_string(*b.seed) : "");
  d.add("splits", a.splits, b.splits);
  return std::move(d.found);
}

}  // namespace fathom
