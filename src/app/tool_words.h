// What other tools call what is configured here, so that an unknown key is answered in the words of whoever wrote it.
//
// The table is data (tool_words.cc); key_advice.h decides when it is asked. Words are compared by their letters and digits alone:
// num-server-rounds, num_server_rounds and numServerRounds are one. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fedalt {

/// One word of another tool.
struct ToolWord {
  std::string_view word;
  std::string_view key;   ///< dotted, as in docs/configuration.md, or a group of keys; empty: there is no such setting here
  std::string_view note;  ///< where the meaning differs, or without a key the nearest truth; a part of a sentence
};

/// Which file somebody writes.
enum class SettingsFile { kConfiguration, kServer, kSite };

/// All words that the file's table has; of a server or site only those that stand for keys of server.yaml or site.yaml.
const std::vector<ToolWord>& ToolWords(SettingsFile file);

/// The entry of `word`, or null.
const ToolWord* FindToolWord(SettingsFile file, std::string_view word);

/// Lower-case letters and digits of `word`.
std::string PlainWord(std::string_view word);

}  // namespace fedalt
