#include "data/remarks.h"

#include <absl/strings/str_join.h>

#include <algorithm>

#include "base/strict_json.h"
#include "data/data_statistics.h"

namespace fedalt {
namespace {

/// "system" in 3 records, "id" in 300 records: the most frequent first.
std::string UnusedFields(const std::map<std::string, int64_t>& unused) {
  constexpr size_t kMostNamed = 8;
  std::vector<std::string> named;
  for (const auto& [field, count] : MostFrequent(unused, kMostNamed))
    named.push_back(absl::StrCat(QuoteForMessage(field), " in ", count, count == 1 ? " record" : " records"));
  if (unused.size() > kMostNamed) named.push_back(absl::StrCat("and ", unused.size() - kMostNamed, " more"));
  return absl::StrJoin(named, ", ");
}

std::string OfExamples(int64_t count, int64_t all, const std::string& what) {
  return absl::StrCat(count, " of ", all, " ", what);
}

}  // namespace

std::vector<std::string> FileRemarks(const std::filesystem::path& file, const std::string& what,
                                     const std::vector<Example>& examples, const ReadReport& report) {
  std::vector<std::string> remarks;
  if (const size_t fields = report.unused.size(); fields > 0)
    remarks.push_back(absl::StrCat(file.string(), ": ", fields, fields == 1 ? " field is" : " fields are", " used by nothing: ",
                                   UnusedFields(report.unused), "; data.fields can name what should be used"));
  const auto empty = std::count_if(examples.begin(), examples.end(), [](const Example& example) { return example.output.empty(); });
  if (empty > 0)
    remarks.push_back(absl::StrCat(OfExamples(empty, static_cast<int64_t>(examples.size()), what), " answers are empty"));
  return remarks;
}

std::vector<std::string> TokenRemarks(const std::string& what, const TokenizeReport& report, const TokenizeOptions& options) {
  std::vector<std::string> remarks;
  if (std::string unwritable = UnwritableAnswers(report, what); !unwritable.empty()) remarks.push_back(std::move(unwritable));
  if (report.skipped > 0)
    remarks.push_back(absl::StrCat(OfExamples(report.skipped, report.examples, what),
                                   " examples are left out: their answers fill train.max_length ", options.max_length,
                                   " (train.too_long: skip)"));
  if (report.responses_cut > 0)
    remarks.push_back(absl::StrCat(OfExamples(report.responses_cut, report.examples, what), " answers fill train.max_length ",
                                   options.max_length, "; ", report.response_tokens_cut,
                                   " tokens are cut from their ends, the EOS included (train.too_long: cut)"));
  if (report.prompts_cut > 0)
    remarks.push_back(absl::StrCat(OfExamples(report.prompts_cut, report.examples, what),
                                   " prompts are too long for train.max_length ", options.max_length, "; ", report.tokens_cut,
                                   " tokens are cut from their beginnings"));
  return remarks;
}

std::vector<std::string> OverlapRemarks(const std::string& what, const std::vector<Example>& held_out,
                                        const std::vector<Example>& train) {
  const int64_t repeated = held_out.empty() ? 0 : CountIn(held_out, PromptsOf(train));
  if (repeated == 0) return {};
  return {absl::StrCat(OfExamples(repeated, static_cast<int64_t>(held_out.size()), what),
                       " prompts are also training prompts; scores on them say little")};
}

}  // namespace fedalt
