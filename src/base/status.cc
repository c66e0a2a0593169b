#include "base/status.h"

#include <absl/strings/cord.h>
#include <absl/strings/numbers.h>

namespace fedalt {
namespace {

constexpr char kKindUrl[] = "fedalt/kind";

absl::StatusCode CodeOf(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInternal:
      return absl::StatusCode::kInternal;
    case ErrorKind::kOutput:
      return absl::StatusCode::kUnavailable;
    case ErrorKind::kMemory:
      return absl::StatusCode::kResourceExhausted;
    case ErrorKind::kTraining:
      return absl::StatusCode::kOutOfRange;
    case ErrorKind::kIntegrity:
      return absl::StatusCode::kDataLoss;
    case ErrorKind::kInterrupted:
      return absl::StatusCode::kCancelled;
    default:
      return absl::StatusCode::kInvalidArgument;
  }
}

}  // namespace

Status MakeError(ErrorKind kind, std::string_view message) {
  Status status(CodeOf(kind), absl::string_view(message.data(), message.size()));
  status.SetPayload(kKindUrl, absl::Cord(std::to_string(static_cast<int>(kind))));
  return status;
}

ErrorKind KindOf(const Status& status) {
  int kind = static_cast<int>(ErrorKind::kInternal);
  if (auto payload = status.GetPayload(kKindUrl)) (void)absl::SimpleAtoi(std::string(*payload), &kind);
  return static_cast<ErrorKind>(kind);
}

Status Annotate(const Status& status, std::string_view prefix) {
  if (status.ok()) return status;
  return MakeError(KindOf(status), absl::StrCat(std::string(prefix), ": ", status.message()));
}

}  // namespace fedalt
