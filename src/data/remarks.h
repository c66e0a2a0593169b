// What somebody should know about data before a long run, one sentence each: doctor and run say the same about the same files.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"

namespace fedalt {

/// Fields that nothing uses (one line for the file), and empty outputs. `what`: training, validation or test.
std::vector<std::string> FileRemarks(const std::filesystem::path& file, const std::string& what,
                                     const std::vector<Example>& examples, const ReadReport& report);

/// What the tokenizer cannot write, and what was cut or skipped.
std::vector<std::string> TokenRemarks(const std::string& what, const TokenizeReport& report, const TokenizeOptions& options);

/// Examples whose prompts are also training prompts; none: empty.
std::vector<std::string> OverlapRemarks(const std::string& what, const std::vector<Example>& held_out,
                                        const std::vector<Example>& train);

}  // namespace fedalt
