#include "app/findings.h"

#include <algorithm>

namespace fedalt {
namespace {

const char* Word(FindingLevel level) {
  switch (level) {
    case FindingLevel::kOk:
      return "ok";
    case FindingLevel::kWarning:
      return "warning";
    case FindingLevel::kProblem:
      break;
  }
  return "problem";
}

}  // namespace

void Findings::Problem(const std::string& topic, const Status& status) {
  list_.push_back({FindingLevel::kProblem, topic, std::string(status.message()), KindOf(status)});
}

Status Findings::Verdict() const {
  const auto is_problem = [](const Finding& finding) { return finding.level == FindingLevel::kProblem; };
  const auto first = std::find_if(list_.begin(), list_.end(), is_problem);
  if (first == list_.end()) return absl::OkStatus();
  const auto count = std::count_if(list_.begin(), list_.end(), is_problem);
  return MakeError(first->kind, absl::StrCat("doctor found ", count, count == 1 ? " problem" : " problems", "; the first is with ",
                                             first->topic));
}

std::string Findings::Text() const {
  std::string text;
  size_t width = 0;
  for (const Finding& finding : list_) width = std::max(width, finding.topic.size());
  for (const Finding& finding : list_) {
    absl::StrAppend(&text, absl::StrFormat("%-8s %-*s  ", Word(finding.level), static_cast<int>(width), finding.topic),
                    finding.text, "\n");
  }
  return text;
}

OrderedJson Findings::Json() const {
  OrderedJson list = OrderedJson::array();
  for (const Finding& finding : list_)
    list.push_back({{"level", Word(finding.level)}, {"topic", finding.topic}, {"text", finding.text}});
  return {{"ok", Verdict().ok()}, {"findings", list}};
}

}  // namespace fedalt
