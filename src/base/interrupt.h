// Ctrl-C (SIGINT) and SIGTERM ask for a clean stop: they set a flag that the work looks at between steps. A second one ends the
// process at once.
//
// Called once, from main, before threads start; InterruptRequested may be called from any thread.
#pragma once

namespace fedalt {

/// From now on the first SIGINT or SIGTERM only sets the flag (and says so on stderr); the second has its usual effect.
void InstallInterruptHandler();

/// Whether a stop was asked for. Cheap enough for every step.
bool InterruptRequested();

}  // namespace fedalt
