// What `fedalt doctor` finds, in order, each with a weight: the first problem decides the exit code.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "run/results_json.h"

namespace fedalt {

enum class FindingLevel { kOk, kWarning, kProblem };

struct Finding {
  FindingLevel level = FindingLevel::kOk;
  std::string topic;  ///< machine, blas, memory, model, site-0, ...
  std::string text;
  ErrorKind kind = ErrorKind::kInternal;  ///< of a problem
};

class Findings {
 public:
  void Ok(const std::string& topic, const std::string& text) { list_.push_back({FindingLevel::kOk, topic, text}); }
  void Warn(const std::string& topic, const std::string& text) { list_.push_back({FindingLevel::kWarning, topic, text}); }
  /// Precondition: !status.ok().
  void Problem(const std::string& topic, const Status& status);

  /// OK, or an error of the first problem's kind that counts the problems.
  Status Verdict() const;
  std::string Text() const;
  OrderedJson Json() const;

 private:
  std::vector<Finding> list_;
};

}  // namespace fedalt
