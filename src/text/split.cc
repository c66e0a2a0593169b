#include "text/split.h"

#include <algorithm>

namespace fedalt {
namespace {

struct Part {
  Span span;
  bool is_match;
};

std::vector<Span> Contiguous(const std::vector<Part>& parts) {
  std::vector<Span> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.is_match == previous && !out.empty()) {
      out.back().second = part.span.second;
    } else {
      out.push_back(part.span);
    }
    previous = part.is_match;
  }
  return out;
}

std::vector<Span> MergedWithPrevious(const std::vector<Part>& parts) {
  std::vector<Span> out;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.is_match && !previous && !out.empty()) {
      out.back().second = part.span.second;
    } else {
      out.push_back(part.span);
    }
    previous = part.is_match;
  }
  return out;
}

std::vector<Span> MergedWithNext(const std::vector<Part>& parts) {
  std::vector<Span> out;  // from the right
  bool previous = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->is_match && !previous && !out.empty()) {
      out.back().first = part->span.first;
    } else {
      out.push_back(part->span);
    }
    previous = part->is_match;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

std::optional<SplitBehavior> SplitBehaviorNamed(std::string_view name) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return std::nullopt;
}

std::vector<Span> SplitAt(size_t size, const std::vector<Span>& matches, SplitBehavior behavior, bool invert) {
  std::vector<Part> parts;
  parts.reserve(matches.size() * 2 + 1);
  size_t done = 0;
  for (const Span& match : matches) {
    if (done != match.first) parts.push_back({{done, match.first}, invert});
    parts.push_back({match, !invert});
    done = match.second;
  }
  if (done != size) parts.push_back({{done, size}, invert});
  switch (behavior) {
    case SplitBehavior::kContiguous:
      return Contiguous(parts);
    case SplitBehavior::kMergedWithPrevious:
      return MergedWithPrevious(parts);
    case SplitBehavior::kMergedWithNext:
      return MergedWithNext(parts);
    case SplitBehavior::kRemoved:
    case SplitBehavior::kIsolated:
      break;
  }
  std::vector<Span> out;
  out.reserve(parts.size());
  for (const Part& part : parts)
    if (behavior == SplitBehavior::kIsolated || !part.is_match) out.push_back(part.span);
  return out;
}

}  // namespace fedalt
