// Settings that a comparison takes over from a search (--chosen-by), and what a search itself needs (--search).
#pragma once

#include <vector>

#include "app/compare_variants.h"
#include "base/status.h"
#include "run/comparison.h"
#include "run/comparison_search.h"

namespace fedalt {

/// Gives every plan the choice of `search` for its word. base needs none. local-2r takes that of local where it was not searched
/// itself; a control that was not asked for stays as configured where the search does not have it. Errors: kUsage (words that the
/// search does not have; a key that --set gives too; those of Search::Choose).
Status ChooseSettings(const Search& search, std::vector<VariantPlan>& plans);

/// Gives every plan the choice that `existing` has recorded for the variant of its name, so that nothing is chosen twice.
void TakeRecordedChoices(const ComparisonSpec& existing, std::vector<VariantPlan>& plans);

/// Errors: kConfig (a site has no validation data, so nothing could be chosen); those of PrepareComparisonRun.
Status CheckSearchable(const ComparisonSpec& spec);

}  // namespace fedalt
