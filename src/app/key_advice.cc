#include "app/key_advice.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <numeric>

#include "app/config_keys.h"

namespace fedalt {
namespace {

constexpr size_t kLongestWord = 64;  // longer than any key; bounds the work for hostile input

std::string_view LastComponent(std::string_view name) {
  return name.substr(name.rfind('.') + 1);
}

/// Letters missing, wrong, too much, or swapped with their neighbour (optimal string alignment).
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    current[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      current[j + 1] = std::min({previous[j] + (a[i] == b[j] ? 0 : 1), previous[j + 1] + 1, current[j] + 1});
      if (i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j]) current[j + 1] = std::min(current[j + 1], before[j - 1] + 1);
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

struct Slip {
  size_t index = 0;
  size_t distance = 0;
};

std::optional<Slip> NearestSlip(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string word = PlainWord(name.substr(0, kLongestWord));
  const size_t limit = word.size() < 3 ? 0 : std::max<size_t>(1, word.size() / 4);
  std::optional<Slip> nearest;
  if (word.empty()) return nearest;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const std::string candidate = PlainWord(candidates[i]);
    const size_t distance = EditDistance(word, candidate);
    if (distance > limit || distance >= candidate.size() || (nearest && distance >= nearest->distance)) continue;
    nearest = {i, distance};
  }
  return nearest;
}

/// The right word at the wrong place, or written with other signs between its parts.
std::optional<std::string> SameWord(std::string_view name, const std::vector<std::string>& names) {
  const std::string leaf = PlainWord(LastComponent(name)), whole = PlainWord(name);
  if (leaf.empty()) return std::nullopt;
  for (const std::string& known : names)
    if (PlainWord(known) == whole) return known;
  for (const std::string& known : names)
    if (PlainWord(LastComponent(known)) == leaf) return known;
  return std::nullopt;
}

/// A key of the same group if one is as near as any.
std::optional<std::string> NearKey(std::string_view name, const std::vector<std::string>& names) {
  const std::string_view leaf = LastComponent(name);
  const std::string group(name.substr(0, name.size() - leaf.size()));  // "train.", or empty
  std::vector<std::string> siblings, leaves;
  for (const std::string& known : names) {
    leaves.emplace_back(LastComponent(known));
    if (known.starts_with(group)) siblings.push_back(known.substr(group.size(), known.find('.', group.size()) - group.size()));
  }
  const auto sibling = NearestSlip(leaf, siblings), elsewhere = NearestSlip(leaf, leaves);
  if (sibling && (!elsewhere || sibling->distance <= elsewhere->distance)) return group + siblings[sibling->index];
  if (elsewhere) return names[elsewhere->index];
  return std::nullopt;
}

std::string Called(std::string_view key, std::string_view place, std::string_view note) {
  return absl::StrCat("it is called \"", std::string(key), "\" ", std::string(place),
                      note.empty() ? "" : absl::StrCat(" (", std::string(note), ")"));
}

std::string NamesThereAre(std::string_view name, const std::vector<std::string>& names) {
  const std::string group(name.substr(0, name.rfind('.') + 1));
  std::vector<std::string> keys;
  for (const std::string& known : names) {
    if (!known.starts_with(group)) continue;
    const std::string key = group.empty() ? known.substr(0, known.find('.')) : known;
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  }
  constexpr size_t kFew = 20;
  if (keys.empty() || keys.size() > kFew) return "docs/configuration.md has every key";
  return absl::StrCat("expected one of ", absl::StrJoin(keys, ", "));
}

}  // namespace

std::optional<std::string> FindKeyAdvice(std::string_view name, SettingsFile file, const std::vector<std::string>& names) {
  name = name.substr(0, 2 * kLongestWord);
  const std::string_view leaf = LastComponent(name);
  const auto near = [](const std::string& key) { return absl::StrCat("the nearest known key is \"", key, "\""); };
  if (const auto same = SameWord(name, names)) return near(*same);
  if (const ToolWord* word = FindToolWord(file, leaf)) {
    const std::string own(LastComponent(word->key));  // in a group that has only some of the keys
    const bool is_name = std::find(names.begin(), names.end(), own) != names.end();
    return word->key.empty() ? std::string(word->note) : Called(is_name ? own : word->key, "here", word->note);
  }
  if (file != SettingsFile::kConfiguration) {
    constexpr std::string_view kShared = "in the configuration that federation names";
    if (const auto same = SameWord(name, KnownKeyNames())) return Called(*same, kShared, "");
    const ToolWord* word = FindToolWord(SettingsFile::kConfiguration, leaf);
    if (word != nullptr) return word->key.empty() ? std::string(word->note) : Called(word->key, kShared, word->note);
  }
  if (const auto slip = NearKey(name, names)) return near(*slip);
  return std::nullopt;
}

std::string KeyAdvice(std::string_view name, SettingsFile file, const std::vector<std::string>& names) {
  return FindKeyAdvice(name, file, names).value_or(NamesThereAre(name, names));
}

std::string CloseName(std::string_view name, const std::vector<std::string>& candidates) {
  const auto slip = NearestSlip(name, candidates);
  return slip ? candidates[slip->index] : std::string();
}

}  // namespace fedalt
