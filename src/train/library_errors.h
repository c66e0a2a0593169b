// The one place where exceptions of libtorch (and of the allocator) become a Status. A user never sees a libtorch stack trace.
#pragma once

#include <functional>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// Runs `body`. What it throws becomes a status: out of memory and threads that cannot be started kMemory (says what to reduce),
/// Interrupted (base/interrupt.h) kInterrupted, anything else kInternal with the first line of the library's message. `what`: the
/// activity, for the message ("training").
Status CatchLibraryErrors(std::string_view what, const std::function<Status()>& body);

}  // namespace fedalt
