// What must happen before any library of the program is initialised: functions of .preinit_array (System V ABI), called when
// libraries are loaded and no code of theirs has run. Only calls that need no initialised library; without /proc everything goes on
// as it is.
//
// 1. OpenBLAS takes a buffer for each thread when it is initialised, and asks for it again without end where the limits of the
//    process do not allow it: such a limit is refused first, with the program's own sentence and exit code.
// 2. OpenMP's library lets threads that have nothing to do spin for some milliseconds. On a machine that others use, too, such a
//    thread keeps a core from the one that it waits for, whose own core is taken by another process. The library reads how long
//    from the environment, so the program sets the variable and executes itself once more; whoever has set it, or OMP_WAIT_POLICY,
//    is heeded.
#include <alloca.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

/// The value of a variable; null: not set.
const char* ValueOf(char** environment, const char* name) {
  const size_t length = std::strlen(name);
  for (char** entry = environment; *entry != nullptr; ++entry)
    if (std::strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
  return nullptr;
}

/// What the process has mapped, and of that its own data. False: nobody knows.
bool ReadMapped(long& mapped, long& data) {
  char text[256];
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t length = ::read(file, text, sizeof(text) - 1);
  ::close(file);
  if (length <= 0) return false;
  text[length] = '\0';
  constexpr int kFields = 6, kMapped = 0, kData = 5;
  long fields[kFields] = {};
  char* at = text;
  for (long& field : fields) field = std::strtol(at, &at, 10) * ::sysconf(_SC_PAGESIZE);
  mapped = fields[kMapped];
  data = fields[kData];
  return mapped > 0;
}

void RefuseIfTooLittle(rlim_t limit, long held, long needed, const char* name) {
  if (limit == RLIM_INFINITY || limit >= static_cast<rlim_t>(held + needed)) return;
  constexpr int kMegabyte = 1'000'000, kExitMemory = 7;  // docs/exit-codes.md
  char text[256];
  const int length = std::snprintf(text, sizeof(text),
                                   "fedalt: its libraries take %ld MB before it can begin, and %s allows %ld; raise that limit, or "
                                   "set OMP_NUM_THREADS=1, which takes less\n",
                                   (held + needed) / kMegabyte, name, static_cast<long>(limit / kMegabyte));
  if (::write(STDERR_FILENO, text, static_cast<size_t>(length)) < 0) ::_exit(kExitMemory);  // nobody reads it
  ::_exit(kExitMemory);
}

void RefuseLimitsThatLibrariesCannotBear(int, char**, char** environment) {
  constexpr long kBuffer = 134'300'000;  // of OpenBLAS 0.3.21, for each thread
  constexpr long kRest = 60'000'000;     // until main begins, which can say more
  constexpr long kMostThreads = 128;     // that Debian's OpenBLAS knows
  long mapped = 0, data = 0;
  if (!ReadMapped(mapped, data)) return;
  long threads = std::clamp(::sysconf(_SC_NPROCESSORS_ONLN), 1L, kMostThreads);
  if (const char* const asked = ValueOf(environment, "OMP_NUM_THREADS"))
    if (const long number = std::strtol(asked, nullptr, 10); number > 0) threads = std::min(threads, number);
  const long needed = threads * kBuffer + kRest;
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0) RefuseIfTooLittle(limit.rlim_cur, mapped, needed, "ulimit -v");
  if (::getrlimit(RLIMIT_DATA, &limit) == 0) RefuseIfTooLittle(limit.rlim_cur, data, needed, "ulimit -d");
}

constexpr char kVariable[] = "GOMP_SPINCOUNT=10000";  // some 200 us: longer than from one operation of a model to the next

void ShortenWaits(int, char** arguments, char** environment) {
  if (ValueOf(environment, "GOMP_SPINCOUNT") != nullptr || ValueOf(environment, "OMP_WAIT_POLICY") != nullptr) return;
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
[[gnu::section(".preinit_array"), gnu::used]] const Function kBeforeLibraries[] = {RefuseLimitsThatLibrariesCannotBear,
                                                                                   ShortenWaits};

}  // namespace
