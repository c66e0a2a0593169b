#include "base/site_name.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "base/strict_json.h"

namespace fedalt {
namespace {

constexpr size_t kLongest = 64;

constexpr std::pair<std::string_view, std::string_view> kTaken[] = {
    {"mean", "results call the mean over sites so"},
    {"server", "the audit log and tables of keys call the server so"},
    {"published.safetensors", "a file beside the folders of sites is called so"},
    {"result.json", "a file beside the folders of sites is called so"}};

}  // namespace

std::string NameFault(std::string_view name) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= kLongest && name.front() != '.' && name.front() != '-' &&
      std::all_of(name.begin(), name.end(), allowed))
    return {};
  return absl::StrCat("is ", QuoteForMessage(name), "; expected 1 to ", kLongest,
                      " letters (a to z, A to Z), digits, '-', '_' and '.', not '.' or '-' first");
}

std::string SiteNameFault(std::string_view name) {
  for (const auto& [taken, why] : kTaken)
    if (name == taken) return absl::StrCat("is \"", std::string(name), "\", but ", std::string(why), "; give it another name");
  return NameFault(name);
}

}  // namespace fedalt
