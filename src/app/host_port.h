// Addresses in server.yaml and site.yaml, checked where they are read: one that cannot work would otherwise be tried for a day.
// Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace fedalt {

enum class AddressUse { kListen, kDial };

/// What is wrong with an address, as a part of a sentence (`is "x"; expected ...`); empty if it is host:port with a name of
/// letters, digits, '-', '_' and '.', an IPv4 address, or an IPv6 address in brackets, and a port from 1 (to listen: 0, any free
/// one) to 65535.
std::string AddressFault(std::string_view text, AddressUse use);

}  // namespace fedalt
