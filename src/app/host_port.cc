#include "app/host_port.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <arpa/inet.h>

#include <algorithm>
#include <vector>

#include "base/strict_json.h"

namespace fedalt {
namespace {

bool IsDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool IsLiteral(int family, std::string_view host) {
  unsigned char parsed[sizeof(in6_addr)];
  if (family == AF_INET6) host = host.substr(0, host.find('%'));  // behind it: the interface of a link-local address
  return ::inet_pton(family, std::string(host).c_str(), parsed) == 1;
}

/// A name of the system's resolver; underscores are met in names of containers.
bool IsName(std::string_view host) {
  constexpr size_t kLongestName = 253, kLongestLabel = 63;
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.empty() || host.size() > kLongestName) return false;
  const std::vector<std::string> labels = absl::StrSplit(std::string(host), '.');
  return std::all_of(labels.begin(), labels.end(), [](const std::string& label) {
    return !label.empty() && label.size() <= kLongestLabel && label.front() != '-' && label.back() != '-' &&
           std::all_of(label.begin(), label.end(),
                       [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_'; });
  });
}

/// Empty, or what is wrong with a host without brackets.
std::string HostFault(std::string_view host) {
  if (host.empty()) return "has no host";
  const std::string_view last = host.substr(host.rfind('.') + 1);
  if (IsDigits(last)) return IsLiteral(AF_INET, host) ? "" : "is no IPv4 address";
  if (host == "*") return "names no address; 0.0.0.0 is every address of this machine";
  return IsName(host) ? "" : "is no name of a host";
}

std::string Fault(std::string_view text, AddressUse use) {
  if (text.empty()) return "is empty";
  if (std::any_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c == 0x7f; })) return "holds a blank";
  if (text.find("://") != text.npos) return "is a URL";
  if (text.find('/') != text.npos) return "holds a path";
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return "has no port";
  const std::string_view host = text.substr(0, colon), port = text.substr(colon + 1);
  if (host.starts_with('[')) {
    if (!host.ends_with(']') || !IsLiteral(AF_INET6, host.substr(1, host.size() - 2))) return "has no IPv6 address in its brackets";
  } else if (host.find(':') != host.npos) {
    const bool ipv6 = IsLiteral(AF_INET6, text) || IsLiteral(AF_INET6, host);
    return ipv6 ? "is an IPv6 address without brackets" : "has more than one ':'";
  } else if (std::string fault = HostFault(host); !fault.empty()) {
    return fault;
  }
  constexpr int kMost = 65535, kDigits = 5;
  const int value = IsDigits(port) && port.size() <= kDigits ? std::stoi(std::string(port)) : -1;
  const int least = use == AddressUse::kListen ? 0 : 1;
  return value >= least && value <= kMost ? "" : absl::StrCat("has no port from ", least, " to ", kMost);
}

}  // namespace

std::string AddressFault(std::string_view text, AddressUse use) {
  const std::string fault = Fault(text, use);
  if (fault.empty()) return {};
  const char* example =
      use == AddressUse::kListen ? "0.0.0.0:7443 or [::]:7443" : "fl.example.org:7443, 10.0.0.7:7443 or [fd00::7]:7443";
  return absl::StrCat("is ", QuoteForMessage(text), ", which ", fault, "; expected host:port, such as ", example);
}

}  // namespace fedalt
