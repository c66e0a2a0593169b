// Threads that have nothing to do wait shortly and then sleep.
//
// OpenMP's library lets them spin for some milliseconds. On a machine that others use, too, such a thread keeps a core from the one
// that it waits for, whose own core is taken by another process. The library reads how long from the environment, before any
// code of a program runs but this: a function of .preinit_array (System V ABI), called when libraries are loaded and not yet
// initialised. So the program sets the variable and executes itself once more; whoever has set it, or OMP_WAIT_POLICY, is heeded.
#include <alloca.h>
#include <unistd.h>

#include <climits>
#include <cstddef>
#include <cstring>

namespace {

constexpr char kVariable[] = "GOMP_SPINCOUNT=10000";  // some 200 us: longer than from one operation of a model to the next

bool IsSet(char** environment, const char* name) {
  const size_t length = std::strlen(name);
  for (char** entry = environment; *entry != nullptr; ++entry)
    if (std::strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return true;
  return false;
}

// Only calls that need no initialised library. Without /proc everything goes on as it is.
void ShortenWaits(int, char** arguments, char** environment) {
  if (IsSet(environment, "GOMP_SPINCOUNT") || IsSet(environment, "OMP_WAIT_POLICY")) return;
  char program[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", program, sizeof(program) - 1);
  if (length <= 0) return;
  program[length] = '\0';
  size_t count = 0;
  while (environment[count] != nullptr) ++count;
  auto** const with_it = static_cast<char**>(::alloca((count + 2) * sizeof(char*)));
  std::memcpy(with_it, environment, count * sizeof(char*));
  char variable[sizeof(kVariable)];
  std::memcpy(variable, kVariable, sizeof(kVariable));
  with_it[count] = variable;
  with_it[count + 1] = nullptr;
  ::execve(program, arguments, with_it);
}

using Function = void (*)(int, char**, char**);
[[gnu::section(".preinit_array"), gnu::used]] const Function kBeforeLibraries = ShortenWaits;

}  // namespace
