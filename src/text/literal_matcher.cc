#include "text/literal_matcher.h"

#include <algorithm>
#include <utility>

namespace fedalt {

void LiteralMatcher::Add(std::string text, int32_t value) {
  if (text.empty()) return;
  const auto first = static_cast<unsigned char>(text.front());
  literals_[first].push_back({std::move(text), value});
}

void LiteralMatcher::Freeze() {
  for (std::vector<Literal>& bucket : literals_)
    std::stable_sort(bucket.begin(), bucket.end(),
                     [](const Literal& a, const Literal& b) { return a.text.size() > b.text.size(); });
}

const LiteralMatcher::Literal* LiteralMatcher::LongestAt(std::string_view text, size_t position) const {
  const std::string_view rest = text.substr(position);
  if (rest.empty()) return nullptr;
  for (const Literal& literal : literals_[static_cast<unsigned char>(rest.front())])
    if (rest.starts_with(literal.text)) return &literal;
  return nullptr;
}

}  // namespace fedalt
