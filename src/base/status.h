// Errors of the outside world (file, configuration, model, data, disk) as absl::Status.
//
// Every such error is one of the kinds below; the kind decides the exit code of the program (docs/exit-codes.md). A message says
// what was found, what was expected and what to do, in one sentence, without a trailing full stop. Our own bugs use FEDALT_CHECK.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <string>
#include <string_view>

namespace fedalt {

using absl::Status;
using absl::StatusOr;

/// Kinds of failure; the value is the process's exit code.
enum class ErrorKind : int {
  kInternal = 1,       ///< our own defect, or an error that a library did not explain
  kUsage = 2,          ///< the command line
  kConfig = 3,         ///< the YAML configuration or an override
  kModel = 4,          ///< model directory: config.json, safetensors, tokenizer, adapters
  kData = 5,           ///< training or test data
  kOutput = 6,         ///< cannot write: permissions, full disk, output directory not empty
  kMemory = 7,         ///< not enough memory; known before loading
  kTraining = 8,       ///< the numbers went wrong (a non-finite loss)
  kIntegrity = 9,      ///< a recorded fact was changed (the audit log does not verify)
  kFederation = 10,    ///< across sites: refused by the server, or the run has ended
  kNotNow = 11,        ///< may work later with nothing changed here: the server not reached, a port taken, the clock not set yet
  kInterrupted = 130,  ///< Ctrl-C; the run can be resumed
};

/// An error of the given kind. `message`: what was found, what was expected, what to do.
Status MakeError(ErrorKind kind, std::string_view message);

inline Status UsageError(std::string_view message) {
  return MakeError(ErrorKind::kUsage, message);
}
inline Status ConfigError(std::string_view message) {
  return MakeError(ErrorKind::kConfig, message);
}
inline Status ModelError(std::string_view message) {
  return MakeError(ErrorKind::kModel, message);
}
inline Status DataError(std::string_view message) {
  return MakeError(ErrorKind::kData, message);
}
inline Status OutputError(std::string_view message) {
  return MakeError(ErrorKind::kOutput, message);
}
inline Status MemoryError(std::string_view message) {
  return MakeError(ErrorKind::kMemory, message);
}
inline Status TrainingError(std::string_view message) {
  return MakeError(ErrorKind::kTraining, message);
}
inline Status IntegrityError(std::string_view message) {
  return MakeError(ErrorKind::kIntegrity, message);
}
inline Status FederationError(std::string_view message) {
  return MakeError(ErrorKind::kFederation, message);
}
inline Status InterruptedError(std::string_view message) {
  return MakeError(ErrorKind::kInterrupted, message);
}

/// The kind of a failed status; kInternal if it was not made by MakeError. Precondition: !status.ok().
ErrorKind KindOf(const Status& status);

/// The same status with `prefix` put before its message ("file.json: ..."); the kind is kept. OK stays OK.
Status Annotate(const Status& status, std::string_view prefix);

}  // namespace fedalt

#define FEDALT_CONCAT_INNER_(a, b) a##b
#define FEDALT_CONCAT_(a, b) FEDALT_CONCAT_INNER_(a, b)

/// Returns from the current function if the expression is not OK.
#define RETURN_IF_ERROR(expression)                                                             \
  do {                                                                                          \
    if (::absl::Status fedalt_status = (expression); !fedalt_status.ok()) return fedalt_status; \
  } while (false)

/// ASSIGN_OR_RETURN(auto value, Function()): assigns the value or returns the error.
#define ASSIGN_OR_RETURN(declaration, expression) \
  FEDALT_ASSIGN_OR_RETURN_(FEDALT_CONCAT_(fedalt_status_or_, __LINE__), declaration, expression)
#define FEDALT_ASSIGN_OR_RETURN_(holder, declaration, expression) \
  auto holder = (expression);                                     \
  if (!holder.ok()) return std::move(holder).status();            \
  declaration = std::move(holder).value()
