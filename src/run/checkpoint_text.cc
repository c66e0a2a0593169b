#include "run/checkpoint_text.h"

#include <absl/strings/numbers.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/strict_json.h"

namespace fedalt {
namespace {

Status Damaged(const std::string& what, std::string_view text, std::string_view expected) {
  return ModelError(
      absl::StrCat(what, " is ", QuoteForMessage(text), ", expected ", std::string(expected), "; the checkpoint is damaged"));
}

}  // namespace

std::string ReadingToText(const ReadingRounds& rounds) {
  return nlohmann::ordered_json{{"read_round", rounds.read}, {"refused_round", rounds.refused}}.dump() + "\n";
}

StatusOr<ReadingRounds> ReadingFromText(std::string_view text, const std::string& name) {
  const auto reading = ParseJson(text, {.kind = ErrorKind::kOutput});
  if (!reading.ok()) return Annotate(reading.status(), name);
  ReadingRounds rounds;
  for (const auto& [member, value] : {std::pair{"read_round", &rounds.read}, std::pair{"refused_round", &rounds.refused}}) {
    const auto found = reading->is_object() ? reading->find(member) : reading->end();
    if (found == reading->end() || !found->is_number_unsigned() || found->get<uint64_t>() > INT64_MAX)
      return OutputError(absl::StrCat(name, ": has no number of a round \"", member, "\"; the checkpoint is damaged"));
    *value = found->get<int64_t>();
  }
  return rounds;
}

StatusOr<int64_t> CountFromText(std::string_view text, const std::string& what) {
  int64_t value = 0;
  if (absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &value) && value >= 0) return value;
  return Damaged(what, text, "a whole number from 0 on");
}

StatusOr<double> NumberFromText(std::string_view text, const std::string& what) {
  double value = 0.0;
  if (absl::SimpleAtod(absl::string_view(text.data(), text.size()), &value) && std::isfinite(value)) return value;
  return Damaged(what, text, "a finite number");
}

}  // namespace fedalt
