// Finds the longest of many fixed texts at a place. Immutable after Freeze; safe from many threads.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fedalt {

class LiteralMatcher {
 public:
  struct Literal {
    std::string text;
    int32_t value = 0;
  };

  /// Empty texts never match. Of two equal texts the first added wins.
  void Add(std::string text, int32_t value);
  void Freeze();

  /// The longest text that stands at `position`, or nullptr.
  const Literal* LongestAt(std::string_view text, size_t position) const;

 private:
  std::array<std::vector<Literal>, 256> literals_;  // by first byte, long ones first
};

}  // namespace fedalt
