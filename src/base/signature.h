// Signatures: Ed25519 (RFC 8032) by libsodium. Values; any thread may use them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

using Ed25519Signature = std::array<uint8_t, 64>;

/// The public half of a key pair: whoever has it can check signatures.
class VerifyingKey {
 public:
  /// From 64 lower-case hex digits. Errors (kConfig): another form, or bytes that are no key of RFC 8032, such as a point of small
  /// order, under which one signature fits many messages.
  static StatusOr<VerifyingKey> FromHex(std::string_view hex);

  std::string Hex() const;
  /// Whether the owner of the key signed exactly this message (RFC 8032, section 5.1.7).
  bool Verifies(std::string_view message, const Ed25519Signature& signature) const;
  bool operator==(const VerifyingKey&) const = default;

 private:
  friend class SigningKey;
  VerifyingKey() = default;
  std::array<uint8_t, 32> bytes_{};
};

/// The secret half; wiped from memory when it ends. Move only, so that no copies are left behind.
class SigningKey {
 public:
  using Seed = std::array<uint8_t, 32>;

  /// A new one from the system's random numbers.
  static SigningKey Generate();
  static SigningKey FromSeed(const Seed& seed);
  /// The key in a file that Save wrote: one line, "fedalt-signing-key", a space, the seed as 64 lower-case hex digits.
  /// Errors (kConfig): no such file, other content, a file that other users may read.
  static StatusOr<SigningKey> Load(const std::filesystem::path& path);
  /// Mode 0600. Errors: kOutput.
  Status Save(const std::filesystem::path& path) const;

  SigningKey(SigningKey&& other) noexcept;
  SigningKey& operator=(SigningKey&& other) noexcept;
  ~SigningKey();

  const VerifyingKey& public_key() const { return public_key_; }
  /// RFC 8032, section 5.1.6: the same message always gives the same signature.
  Ed25519Signature Sign(std::string_view message) const;

 private:
  SigningKey() = default;
  std::array<uint8_t, 64> secret_{};  // seed and public key, as libsodium wants them
  VerifyingKey public_key_;
};

/// Whether `signature` (64 bytes) of `message` is valid under a public key in hex. False for what is no key or no signature.
bool VerifySignature(std::string_view public_key_hex, std::string_view message, std::string_view signature);

}  // namespace fedalt
