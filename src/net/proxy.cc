#include "net/proxy.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <arpa/inet.h>

#include <array>

namespace fedalt {
namespace {

constexpr uint16_t kProxyPort = 3128;  // of a proxy that names none, as squid's

/// Network byte order; 4 or 16 bytes.
std::optional<std::string> BytesOf(const std::string& address) {
  std::array<char, sizeof(in6_addr)> bytes{};
  if (::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) return std::string(bytes.data(), sizeof(in_addr));
  if (::inet_pton(AF_INET6, address.c_str(), bytes.data()) != 1) return std::nullopt;
  constexpr std::string_view kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);  // an IPv4 address in the clothes of IPv6
  const std::string_view all(bytes.data(), bytes.size());
  return std::string(all.substr(0, kMapped.size()) == kMapped ? all.substr(kMapped.size()) : all);
}

bool IsLoopback(const std::string& host) {
  if (const auto bytes = BytesOf(host)) return bytes->size() == 4 ? (*bytes)[0] == 127 : *bytes == std::string(15, '\0') + '\1';
  const std::string name = absl::AsciiStrToLower(absl::StripSuffix(host, "."));
  return name == "localhost" || absl::EndsWith(name, ".localhost");
}

bool IsInRange(const std::string& address, const std::string& range, int bits) {
  if (address.size() != range.size() || bits < 0 || bits > static_cast<int>(8 * range.size())) return false;
  for (int bit = 0; bit < bits; ++bit) {
    const auto byte = static_cast<size_t>(bit / 8);
    if (((address[byte] ^ range[byte]) >> (7 - bit % 8) & 1) != 0) return false;
  }
  return true;
}

/// Whether this entry of no_proxy names the server.
bool Names(std::string entry, const HostPort& server) {
  if (entry == "*") return true;
  std::string host = absl::AsciiStrToLower(absl::StripSuffix(server.host, "."));
  const std::optional<std::string> address = BytesOf(host);
  if (const size_t slash = entry.find('/'); slash != entry.npos) {
    int bits = -1;
    const auto range = BytesOf(entry.substr(0, slash));
    return address && range && absl::SimpleAtoi(entry.substr(slash + 1), &bits) && IsInRange(*address, *range, bits);
  }
  if (const auto with_port = ParseHostPort(entry)) {
    if (with_port->port != server.port) return false;
    entry = with_port->host;
  }
  if (absl::StartsWith(entry, "[") && absl::EndsWith(entry, "]")) entry = entry.substr(1, entry.size() - 2);
  if (const auto wanted = BytesOf(entry)) return address == wanted;
  entry = absl::AsciiStrToLower(absl::StripSuffix(absl::StripPrefix(absl::StripPrefix(entry, "*"), "."), "."));
  return !entry.empty() && !address && (host == entry || absl::EndsWith(host, absl::StrCat(".", entry)));
}

std::string FirstSet(std::initializer_list<const char*> names, const Environment& environment, std::string* variable) {
  for (const char* name : names)
    if (std::string value = environment(name); !value.empty()) {
      if (variable != nullptr) *variable = name;
      return value;
    }
  return {};
}

/// "%40" is "@".
std::string Unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 1])) &&
                         absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 2]));
    plain += escaped ? absl::HexStringToBytes(std::string(text.substr(i + 1, 2))) : std::string(1, text[i]);
    if (escaped) i += 2;
  }
  return plain;
}

}  // namespace

std::optional<HostPort> ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0) return std::nullopt;
  std::string host(text.substr(0, colon));
  const std::string digits(text.substr(colon + 1));
  const bool in_brackets = host.front() == '[' && host.back() == ']';
  if (in_brackets) host = host.substr(1, host.size() - 2);
  if (host.empty() || (!in_brackets && host.find(':') != host.npos)) return std::nullopt;
  constexpr int kMostDigits = 5, kLastPort = 65535;
  int port = 0;
  if (digits.empty() || digits.size() > kMostDigits || digits.find_first_not_of("0123456789") != digits.npos ||
      !absl::SimpleAtoi(digits, &port) || port > kLastPort)
    return std::nullopt;
  return HostPort{std::move(host), static_cast<uint16_t>(port)};
}

std::string TextOf(const HostPort& where) {
  return where.host.find(':') == where.host.npos ? absl::StrCat(where.host, ":", where.port)
                                                 : absl::StrCat("[", where.host, "]:", where.port);
}

bool IsAddress(const std::string& host) {
  return BytesOf(host).has_value();
}

StatusOr<std::optional<Proxy>> ProxyFor(const HostPort& server, const Environment& environment) {
  if (IsLoopback(server.host)) return std::nullopt;
  Proxy proxy;
  std::string value =
      FirstSet({"grpc_proxy", "https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"}, environment, &proxy.variable);
  if (value.empty()) return std::nullopt;
  const std::string direct = FirstSet({"no_grpc_proxy", "no_proxy", "NO_PROXY"}, environment, nullptr);
  for (const auto entry : absl::StrSplit(direct, absl::ByAnyChar(", \t"), absl::SkipEmpty()))
    if (Names(std::string(entry), server)) return std::nullopt;
  const std::string not_one = absl::StrCat(proxy.variable, " does not name a proxy that can be used; expected http://host:port");
  if (const size_t scheme = value.find("://"); scheme != value.npos) {
    if (absl::AsciiStrToLower(value.substr(0, scheme)) != "http")
      return ConfigError(absl::StrCat(not_one, ", a proxy for HTTP CONNECT, not ", value.substr(0, scheme), "://"));
    value = value.substr(scheme + 3);
  }
  value = value.substr(0, value.find('/'));
  if (const size_t at = value.rfind('@'); at != value.npos) {
    proxy.credentials = Unescaped(value.substr(0, at));
    value = value.substr(at + 1);
  }
  auto where = ParseHostPort(value);
  if (!where) where = ParseHostPort(absl::StrCat(value, ":", kProxyPort));
  if (!where || where->port == 0 || where->host.find_first_of(" \t\r\n") != std::string::npos) return ConfigError(not_one);
  proxy.where = *std::move(where);
  return proxy;
}

std::string ConnectRequest(const HostPort& server, const Proxy& proxy) {
  const std::string where = TextOf(server);
  std::string request = absl::StrCat("CONNECT ", where, " HTTP/1.1\r\nHost: ", where, "\r\n");
  if (!proxy.credentials.empty())
    absl::StrAppend(&request, "Proxy-Authorization: Basic ", absl::Base64Escape(proxy.credentials), "\r\n");
  return request + "\r\n";
}

}  // namespace fedalt
