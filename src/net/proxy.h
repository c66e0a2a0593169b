// Through which proxy a server is reached, as the environment says it. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

struct HostPort {
  std::string host;  ///< a name or an address; of an IPv6 address without brackets
  uint16_t port = 0;
  bool operator==(const HostPort&) const = default;
};

/// "host:port", "10.0.0.7:443" or "[fd00::7]:443".
std::optional<HostPort> ParseHostPort(std::string_view text);
/// Its inverse.
std::string TextOf(const HostPort& where);
/// Whether it is an IPv4 or IPv6 address and no name.
bool IsAddress(const std::string& host);

struct Proxy {
  HostPort where;
  std::string credentials;  ///< user:password; empty: none
  std::string variable;     ///< that names it
};

/// What std::getenv gives; "" for what is not there.
using Environment = std::function<std::string(const char* name)>;

/// A proxy that tunnels (HTTP CONNECT, RFC 9110, section 9.3.6), or none. The first that is set and not empty counts: grpc_proxy,
/// https_proxy, HTTPS_PROXY, http_proxy, all_proxy, ALL_PROXY. Loopback is never reached through a proxy, and neither is what
/// no_grpc_proxy, no_proxy or NO_PROXY (the first that is set) names: `*`, a name with all names below it (with or without a
/// leading dot or `*.`), an address, a range such as 10.0.0.0/8 (for addresses, not for names), each with `:port` if only that port
/// is meant. Errors: kConfig (a proxy that is no http://[user:password@]host:port).
StatusOr<std::optional<Proxy>> ProxyFor(const HostPort& server, const Environment& environment);

/// What is asked of the proxy.
std::string ConnectRequest(const HostPort& server, const Proxy& proxy);

}  // namespace fedalt
