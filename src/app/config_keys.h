// The table of configuration keys: name, what is expected, how to read it into a RunConfig, how to write it back.
// Structural keys (model, data files, sites, hashes), which need files or each other, are read in config.cc.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/yaml_tree.h"
#include "run/run_config.h"

namespace fedalt {

struct ConfigKey {
  std::string name;                                       ///< dotted: "train.rounds"
  std::string expected;                                   ///< "an integer from 1 to 1000000"
  std::function<bool(const YamlNode&, RunConfig&)> read;  ///< false: the value is not what is expected
  std::function<std::string(const RunConfig&)> write;     ///< the value as YAML on one line; empty: the key is left out
};

/// All of them, in the order in which a resolved configuration shows them. Built once; thread-safe.
const std::vector<ConfigKey>& ConfigKeys();

/// Dotted names of every key that a configuration may have, structural ones included.
const std::vector<std::string>& KnownKeyNames();

/// The largest rank of an adapter.
inline constexpr int64_t kMaxRank = 4096;

/// KeepOptions::last that means every round.
inline constexpr int64_t kKeepAllRounds = 1'000'000'000;

/// Integers and finite numbers of a scalar, as YAML 1.1 and 1.2 write them in decimal ("+1e-3", "1_000"); false otherwise, also for
/// what the two read differently ("010").
bool ReadInteger(const YamlNode& node, int64_t& value);
bool ReadSeed(const YamlNode& node, uint64_t& value);
bool ReadNumber(const YamlNode& node, double& value);
/// true, yes, on, false, no, off, in any case.
bool ReadBoolean(const YamlNode& node, bool& value);

}  // namespace fedalt
