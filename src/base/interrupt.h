// Ctrl-C (SIGINT) and SIGTERM ask for a clean stop: they set a flag that the work looks at between steps. A second one ends the
// process at once.
//
// Every loop that can take longer than a second looks: code that returns a Status with CheckInterrupt, computations with tensors,
// which have no Status to return, with ThrowIfInterrupted.
//
// InstallInterruptHandler is called once, from main, before threads start; all others from any thread.
#pragma once

#include <exception>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// From now on the first SIGINT or SIGTERM only sets the flag (and says so on stderr); the second has its usual effect.
void InstallInterruptHandler();

/// Whether a stop was asked for. Cheap enough for every step.
bool InterruptRequested();

/// Asks for a stop as Ctrl-C does, without a word; false takes the wish back. For tests.
void SetInterruptRequested(bool requested);

/// kInterrupted if a stop was asked for. `what`: the activity, for the message ("hashing the model").
Status CheckInterrupt(std::string_view what);

/// What ThrowIfInterrupted throws. Caught where exceptions of libtorch are (train/library_errors.h): it leaves the middle of a
/// computation in the same way.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "stopped"; }
};
/// For the middle of a computation with tensors: between the layers of a model, the rows of a head, the linears of a decomposition.
inline void ThrowIfInterrupted() {
  if (InterruptRequested()) throw Interrupted();
}

}  // namespace fedalt
