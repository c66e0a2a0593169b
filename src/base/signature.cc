#include "base/signature.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/private_file.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

constexpr std::string_view kHeader = "fedalt-signing-key ";
constexpr size_t kHexDigits = 64;

static_assert(crypto_sign_SEEDBYTES == 32 && crypto_sign_PUBLICKEYBYTES == 32);
static_assert(crypto_sign_SECRETKEYBYTES == 64 && crypto_sign_BYTES == 64);

const unsigned char* BytesOf(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

void PrepareLibrary() {
  static const bool ready = ::sodium_init() >= 0;  // 1: it was ready before
  FEDALT_CHECK(ready, "libsodium found no source of random numbers");
}

// libsodium takes capitals too; with one spelling only, equal keys are equal texts.
bool BytesFromHex(std::string_view hex, std::array<uint8_t, 32>& bytes) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return hex.size() == kHexDigits && std::all_of(hex.begin(), hex.end(), is_digit) &&
         ::sodium_hex2bin(bytes.data(), bytes.size(), hex.data(), hex.size(), nullptr, nullptr, nullptr) == 0;
}

std::string HexOfBytes(const uint8_t* bytes) {
  std::string hex(kHexDigits + 1, '\0');
  ::sodium_bin2hex(hex.data(), hex.size(), bytes, 32);
  hex.pop_back();
  return hex;
}

}  // namespace

StatusOr<VerifyingKey> VerifyingKey::FromHex(std::string_view hex) {
  VerifyingKey key;
  if (!BytesFromHex(hex, key.bytes_))
    return ConfigError(absl::StrCat("the public key ", QuoteForMessage(hex), " is not of 64 lower-case hex digits"));
  if (::crypto_core_ed25519_is_valid_point(key.bytes_.data()) != 1)
    return ConfigError(absl::StrCat("the public key ", QuoteForMessage(hex), " is no Ed25519 key; copy it again from its owner"));
  return key;
}

std::string VerifyingKey::Hex() const {
  return HexOfBytes(bytes_.data());
}

bool VerifyingKey::Verifies(std::string_view message, const Ed25519Signature& signature) const {
  return ::crypto_sign_verify_detached(signature.data(), BytesOf(message), message.size(), bytes_.data()) == 0;
}

SigningKey SigningKey::Generate() {
  PrepareLibrary();
  Seed seed;
  ::randombytes_buf(seed.data(), seed.size());
  SigningKey key = FromSeed(seed);
  ::sodium_memzero(seed.data(), seed.size());
  return key;
}

SigningKey SigningKey::FromSeed(const Seed& seed) {
  SigningKey key;
  ::crypto_sign_seed_keypair(key.public_key_.bytes_.data(), key.secret_.data(), seed.data());
  return key;
}

StatusOr<SigningKey> SigningKey::Load(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(std::string text, ReadPrivateFile(path, 4096));
  Seed seed;
  std::string_view line = text;
  if (line.ends_with('\n')) line.remove_suffix(1);
  const bool good = line.starts_with(kHeader) && BytesFromHex(line.substr(kHeader.size()), seed);
  ::sodium_memzero(text.data(), text.size());
  if (!good)
    return ConfigError(absl::StrCat(path.string(), ": is no signing key; expected one line, \"", std::string(kHeader),
                                    "\" and 64 lower-case hex digits, as fedalt keys writes it"));
  SigningKey key = FromSeed(seed);
  ::sodium_memzero(seed.data(), seed.size());
  return key;
}

Status SigningKey::Save(const std::filesystem::path& path) const {
  std::string text = absl::StrCat(std::string(kHeader), HexOfBytes(secret_.data()), "\n");
  Status status = WritePrivateFileAtomic(path, text);
  ::sodium_memzero(text.data(), text.size());
  return status;
}

SigningKey::SigningKey(SigningKey&& other) noexcept {
  *this = std::move(other);
}

SigningKey& SigningKey::operator=(SigningKey&& other) noexcept {
  if (this == &other) return *this;
  secret_ = other.secret_;
  public_key_ = other.public_key_;
  ::sodium_memzero(other.secret_.data(), other.secret_.size());
  return *this;
}

SigningKey::~SigningKey() {
  ::sodium_memzero(secret_.data(), secret_.size());
}

Ed25519Signature SigningKey::Sign(std::string_view message) const {
  Ed25519Signature signature;
  ::crypto_sign_detached(signature.data(), nullptr, BytesOf(message), message.size(), secret_.data());
  return signature;
}

bool VerifySignature(std::string_view public_key_hex, std::string_view message, std::string_view signature) {
  const StatusOr<VerifyingKey> key = VerifyingKey::FromHex(public_key_hex);
  Ed25519Signature bytes{};
  if (!key.ok() || signature.size() != bytes.size()) return false;
  std::copy(signature.begin(), signature.end(), bytes.begin());
  return key->Verifies(message, bytes);
}

}  // namespace fedalt
