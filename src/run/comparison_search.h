// Comparisons that search: one method with several values of --set, of which the one with the least validation loss is chosen and
// given to another comparison (fedalt compare --chosen-by DIR). Test data has no say in it.
//
// A row whose run failed under any seed is never chosen, because its mean is over fewer seeds than the others'. Of equal losses the
// first counts.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "run/comparison.h"
#include "run/results_json.h"

namespace fedalt {

/// Sets "best_of_search" of every row of comparison.json that --set gave settings: whether it is the one that is chosen for its
/// word.
void MarkBestOfSearch(const ComparisonSpec& spec, OrderedJson& rows);

/// A finished comparison that others may choose by.
class Search {
 public:
  /// Errors: kUsage (there is none, it is not finished, has no validation losses, was begun by a version that did not record what
  /// --set gave); kOutput (damaged).
  static StatusOr<Search> Open(const std::filesystem::path& directory);

  /// What a comparison that chooses by it records.
  const SearchSource& source() const { return source_; }
  /// The words that were asked for there, each with its own settings; not the controls that came by themselves.
  const std::vector<std::string>& words() const { return words_; }
  bool Has(const std::string& word) const;

  /// The best row of a word, with all that it was given beyond the word: what a search before it chose, and --set. Precondition:
  /// Has(word). Errors: kUsage (no row of it has a loss).
  StatusOr<SearchChoice> Choose(const std::string& word) const;

  /// Whether both are about the same sites, with the same model and data. Errors: kUsage (says what differs).
  Status CheckComparable(const ComparisonSpec& given) const;

 private:
  Search() = default;
  std::vector<size_t> RowsOf(const std::string& word) const;

  SearchSource source_;
  ComparisonSpec spec_;
  std::vector<std::optional<double>> losses_;  ///< of every variant; none where it cannot be chosen
  std::vector<std::string> words_;
};

}  // namespace fedalt
