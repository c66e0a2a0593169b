// A fuzz target's input as a list of steps, read from the front, so that a seed can be written by hand (tests/fuzz/make_corpus.py).
// Behind its end everything is zero.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fedalt::fuzz {

class Script {
 public:
  Script(const uint8_t* data, size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  bool done() const { return left_.empty(); }
  uint8_t Byte() {
    const uint8_t byte = left_.empty() ? uint8_t{0} : static_cast<uint8_t>(left_.front());
    left_.remove_prefix(left_.empty() ? 0 : 1);
    return byte;
  }
  size_t Below(size_t limit) { return Byte() % limit; }
  size_t Short() {
    const size_t low = Byte();
    return low | size_t{Byte()} << 8;
  }
  uint64_t Long() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 8) value |= uint64_t{Byte()} << shift;
    return value;
  }
  /// As many bytes as two bytes before them say, or as there are.
  std::string Bytes() {
    const size_t wanted = Short();
    const size_t size = std::min(wanted, left_.size());
    std::string taken(left_.substr(0, size));
    left_.remove_prefix(size);
    return taken;
  }
  /// Up to four bytes changed, put in or taken out.
  std::string Mutated(std::string bytes) {
    for (size_t changes = 1 + Below(4); changes > 0; --changes) {
      const size_t at = Short() % (bytes.size() + 1), how = Below(3);
      const char byte = static_cast<char>(Byte());
      if (how == 1) bytes.insert(at, 1, byte);
      if (how != 1 && at == bytes.size()) continue;
      if (how == 0) bytes[at] = static_cast<char>(bytes[at] ^ byte);
      if (how == 2) bytes.erase(at, 1);
    }
    return bytes;
  }

 private:
  std::string_view left_;
};

}  // namespace fedalt::fuzz
