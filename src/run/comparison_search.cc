#include "run/comparison_search.h"

#include <absl/strings/str_join.h>

#include <algorithm>
#include <cmath>
#include <system_error>

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// The validation loss of a row of comparison.json; none if it cannot be chosen.
std::optional<double> LossOf(const OrderedJson& row) {
  const OrderedJson* failed = FindField(row, "failed");
  const OrderedJson* loss = FindField(row, "metrics.validation_loss");
  if (failed == nullptr || !failed->empty() || loss == nullptr || !loss->is_number()) return std::nullopt;
  if (!std::isfinite(loss->get<double>())) return std::nullopt;
  return loss->get<double>();
}

/// The one of `candidates` with the least loss, the first of equals.
std::optional<size_t> Least(const std::vector<std::optional<double>>& losses, const std::vector<size_t>& candidates) {
  std::optional<size_t> least;
  for (size_t candidate : candidates)
    if (losses[candidate] && (!least || *losses[candidate] < *losses[*least])) least = candidate;
  return least;
}

StatusOr<OrderedJson> ReadRows(const fs::path& directory, const ComparisonSpec& spec) {
  const fs::path path = directory / "comparison.json";
  const std::string go_on = absl::StrCat("fedalt compare --resume ", directory.string());
  std::error_code error;
  if (!fs::exists(path, error))
    return UsageError(absl::StrCat(directory.string(), ": is not finished (it has no ", path.filename().string(),
                                   "), so nothing can be chosen by it; finish it with: ", go_on));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  const OrderedJson json = OrderedJson::parse(text, nullptr, false);
  const OrderedJson* rows = FindField(json, "rows");
  bool fits = rows != nullptr && rows->is_array() && rows->size() == spec.variants.size();
  for (size_t v = 0; fits && v < spec.variants.size(); ++v) {
    const OrderedJson* name = FindField((*rows)[v], "name");
    fits = name != nullptr && *name == spec.variants[v].name;
  }
  if (!fits) return OutputError(absl::StrCat(path.string(), ": is damaged or of another comparison; write it anew with: ", go_on));
  return *rows;
}

/// Which input is not the same, in words; empty if none is.
std::string InputDifference(const std::map<std::string, std::string>& a, const std::map<std::string, std::string>& b) {
  for (const auto& [file, hash] : b) {
    const auto found = a.find(file);
    if (found == a.end()) return absl::StrCat(file, " was not among its inputs");
    if (found->second != hash) return absl::StrCat(file, " has changed since");
  }
  for (const auto& [file, hash] : a)
    if (b.count(file) == 0) return absl::StrCat("only it read ", file);
  return {};
}

}  // namespace

void MarkBestOfSearch(const ComparisonSpec& spec, OrderedJson& rows) {
  FEDALT_CHECK(rows.size() == spec.variants.size(), "a row of every variant");
  std::map<std::string, std::vector<size_t>> candidates;
  std::vector<std::optional<double>> losses;
  for (size_t v = 0; v < rows.size(); ++v) {
    losses.push_back(LossOf(rows[v]));
    if (!spec.variants[v].searched.empty()) candidates[spec.variants[v].word].push_back(v);
  }
  for (const auto& [word, of_word] : candidates) {
    const std::optional<size_t> least = Least(losses, of_word);
    for (size_t v : of_word)
      if (least) rows[v]["best_of_search"] = v == *least;
  }
}

StatusOr<Search> Search::Open(const fs::path& directory) {
  Search search;
  ASSIGN_OR_RETURN(search.spec_, ReadComparisonSpec(directory));
  search.source_.directory = directory.string();
  ASSIGN_OR_RETURN(search.source_.spec_sha256, Sha256OfFile(directory / "comparison-spec.json"));
  for (const Variant& variant : search.spec_.variants) {
    if (variant.word.empty())
      return UsageError(absl::StrCat(directory.string(),
                                     ": was begun by an older version of this program, which did not record what --set gave; make "
                                     "the search again in another directory"));
    if (variant.named && !search.Has(variant.word)) search.words_.push_back(variant.word);
  }
  ASSIGN_OR_RETURN(const OrderedJson rows, ReadRows(directory, search.spec_));
  for (const OrderedJson& row : rows) search.losses_.push_back(LossOf(row));
  if (std::none_of(search.losses_.begin(), search.losses_.end(), [](const auto& loss) { return loss.has_value(); }))
    return UsageError(absl::StrCat(directory.string(),
                                   ": has no validation losses to choose by; make the search with validation data, such as "
                                   "validation=0.1 behind the configuration"));
  return search;
}

bool Search::Has(const std::string& word) const {
  return std::find(words_.begin(), words_.end(), word) != words_.end();
}

std::vector<size_t> Search::RowsOf(const std::string& word) const {
  std::vector<size_t> rows;
  for (size_t v = 0; v < spec_.variants.size(); ++v)
    if (spec_.variants[v].named && spec_.variants[v].word == word) rows.push_back(v);
  return rows;
}

StatusOr<SearchChoice> Search::Choose(const std::string& word) const {
  FEDALT_CHECK(Has(word), "a word of the search");
  const std::optional<size_t> least = Least(losses_, RowsOf(word));
  if (!least)
    return UsageError(
        absl::StrCat(source_.directory, ": no row of \"", word,
                     "\" has a validation loss, because its runs failed or their losses are not finite; search it with "
                     "other values"));
  const Variant& best = spec_.variants[*least];
  SearchChoice choice{best.name, {}, *losses_[*least]};
  if (best.choice) choice.settings = best.choice->settings;
  choice.settings.insert(choice.settings.end(), best.searched.begin(), best.searched.end());
  return choice;
}

Status Search::CheckComparable(const ComparisonSpec& given) const {
  const std::string expected = "; expected a search with the same model, data and sites";
  if (spec_.sites != given.sites)
    return UsageError(absl::StrCat(source_.directory, ": its sites are ", absl::StrJoin(spec_.sites, ", "), ", given are ",
                                   absl::StrJoin(given.sites, ", "), expected));
  if (const std::string difference = InputDifference(spec_.inputs, given.inputs); !difference.empty())
    return UsageError(absl::StrCat(source_.directory, ": was made from other inputs (", difference, ")", expected));
  return absl::OkStatus();
}

}  // namespace fedalt
