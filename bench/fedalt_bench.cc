// ./dev bench: every figure in processes of its own, several times, and the report.
//
//   fedalt_bench [NAME...] [--quick] [--repeats N] [--out FILE] [--commit ID] [--threads N]
//
// Without names all figures. --out keeps the figures of an earlier report that are not measured again. --quick: the smallest sizes,
// to see that it works; its values mean nothing. Files that figures need lie in a directory beside FILE, or in TMPDIR, while it
// runs (15 GB for a model of 7 B parameters); Ctrl-C removes them, too. fedalt_bench --child NAME --scratch DIR prints one value:
// what the processes of their own do.
#include <ATen/Parallel.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/machine.h"
#include "figures.h"
#include "measure.h"
#include "scratch.h"

namespace fedalt::bench {

std::vector<FigureDefinition> AllFigures() {
  std::vector<FigureDefinition> all;
  for (const auto& group :
       {TrainingFigures(), DecodingFigures(), AggregationFigures(), LargeModelFigures(), MemoryFigures(), BesideFigures()})
    all.insert(all.end(), group.begin(), group.end());
#ifdef FEDALT_NET
  const std::vector<FigureDefinition> load = FederationLoadFigures();
  all.insert(all.end(), load.begin(), load.end());
#endif
  return all;
}

namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::vector<std::string> names;
  std::string child, commit = "unknown";
  std::filesystem::path out, scratch;
  bool quick = false;
  int repeats = 3, threads = 0;
};

void PrintUsage(FILE* to) {
  std::fprintf(to, "usage: fedalt_bench [NAME...] [--quick] [--repeats N] [--threads N] [--out FILE] [--commit ID]\nnames:");
  for (const FigureDefinition& figure : AllFigures()) std::fprintf(to, " %s", figure.name);
  std::fprintf(to, "\n");
}

int Usage(const std::string& problem) {
  std::fprintf(stderr, "fedalt_bench: %s\n", problem.c_str());
  PrintUsage(stderr);
  return static_cast<int>(ErrorKind::kUsage);
}

/// One value, measured by a process of its own; nothing if it failed (it said why on stderr).
std::optional<double> InChild(const FigureDefinition& figure, const Arguments& arguments) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) return std::nullopt;
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(pipe_ends[1], STDOUT_FILENO);
    ::close(pipe_ends[0]);
    const std::string threads = std::to_string(arguments.threads);
    ::execl("/proc/self/exe", "fedalt_bench", "--child", figure.name, "--threads", threads.c_str(), "--scratch",
            arguments.scratch.c_str(), arguments.quick ? "--quick" : static_cast<char*>(nullptr), static_cast<char*>(nullptr));
    ::_exit(99);
  }
  ::close(pipe_ends[1]);
  pollfd ready{pipe_ends[0], POLLIN, 0};
  constexpr int kLookAgainMs = 200;
  while (::poll(&ready, 1, kLookAgainMs) <= 0)
    if (InterruptRequested()) ::kill(child, SIGTERM);
  FILE* const answer = ::fdopen(pipe_ends[0], "r");
  double value = 0.0;
  const bool read = answer != nullptr && std::fscanf(answer, "%lf", &value) == 1;
  if (answer != nullptr) std::fclose(answer);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!read || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return value;
}

Json MachineJson() {
  const Machine machine = DescribeMachine();
  return {{"cpu", machine.cpu_model},
          {"architecture", machine.architecture},
          {"system", machine.system},
          {"kernel", machine.kernel},
          {"cores", machine.cores},
          {"avx2", machine.avx2},
          {"avx512", machine.avx512},
          {"avx512_bf16", machine.avx512_bf16},
          {"memory_bytes", machine.memory_total_bytes}};
}

Json Earlier(const std::filesystem::path& path) {
  const auto text = ReadFile(path, ErrorKind::kOutput);
  if (!text.ok()) return Json::array();
  const Json report = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  return report.is_object() && report.contains("figures") ? report["figures"] : Json::array();
}

int Report(const Arguments& arguments, const std::vector<FigureDefinition>& wanted) {
  const bool bf16 = DescribeMachine().avx512_bf16;
  Json figures = arguments.out.empty() ? Json::array() : Earlier(arguments.out);
  bool failed = false;
  for (const FigureDefinition& figure : wanted) {
    Json entry = {{"name", figure.name}, {"unit", figure.unit}};
    if (figure.needs_bf16 && !bf16) {
      entry["value"] = nullptr;
      entry["why"] = "this processor has no bfloat16 products";
    } else {
      std::vector<double> values;
      for (int i = 0; i < arguments.repeats; ++i) {
        const std::optional<double> value = InChild(figure, arguments);
        if (!value) break;
        values.push_back(*value);
      }
      if (InterruptRequested()) return static_cast<int>(ErrorKind::kInterrupted);
      failed = failed || static_cast<int>(values.size()) < arguments.repeats;
      entry["value"] = values.empty() ? Json(nullptr) : Json(Median(values));
      entry["values"] = values;
    }
    entry["how"] = figure.how;
    entry["commit"] = arguments.commit;
    entry["quick"] = arguments.quick;
    std::printf("%-36s %s %s\n", figure.name, entry["value"].dump().substr(0, 7).c_str(), figure.unit);
    std::fflush(stdout);
    figures.erase(std::remove_if(figures.begin(), figures.end(), [&](const Json& old) { return old["name"] == figure.name; }),
                  figures.end());
    figures.push_back(std::move(entry));
    const Json report = {{"commit", arguments.commit},
                         {"machine", MachineJson()},
                         {"threads", arguments.threads > 0 ? arguments.threads : DescribeMachine().cores},
                         {"figures", figures}};
    if (arguments.out.empty()) continue;
    if (const Status status = WriteFileAtomic(arguments.out, report.dump(1) + "\n"); !status.ok()) {
      std::fprintf(stderr, "fedalt_bench: %s\n", std::string(status.message()).c_str());
      return static_cast<int>(KindOf(status));
    }
  }
  return failed ? 1 : 0;
}

int Main(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool more = i + 1 < argc;
    if (argument == "--help") {
      PrintUsage(stdout);
      return 0;
    } else if (argument == "--quick") {
      arguments.quick = true;
    } else if (argument == "--out" && more) {
      arguments.out = argv[++i];
    } else if (argument == "--commit" && more) {
      arguments.commit = argv[++i];
    } else if (argument == "--child" && more) {
      arguments.child = argv[++i];
    } else if (argument == "--repeats" && more) {
      arguments.repeats = std::max(1, std::atoi(argv[++i]));
    } else if (argument == "--scratch" && more) {
      arguments.scratch = argv[++i];
    } else if (argument == "--threads" && more) {
      arguments.threads = std::max(0, std::atoi(argv[++i]));
    } else if (argument.starts_with("-")) {
      return Usage("no option " + argument);
    } else {
      arguments.names.push_back(argument);
    }
  }
  const std::vector<FigureDefinition> all = AllFigures();
  const auto find = [&](const std::string& name) {
    return std::find_if(all.begin(), all.end(), [&](const FigureDefinition& figure) { return figure.name == name; });
  };
  if (!arguments.child.empty()) {
    const auto figure = find(arguments.child);
    if (figure == all.end()) return Usage("no figure " + arguments.child);
    at::set_num_threads(arguments.threads > 0 ? arguments.threads : DescribeMachine().cores);
    SetScratch(arguments.scratch);
    std::printf("%.6g\n", figure->measure(arguments.quick));
    return 0;
  }
  std::vector<FigureDefinition> wanted;
  for (const std::string& name : arguments.names) {
    if (find(name) == all.end()) return Usage("no figure " + name);
    wanted.push_back(*find(name));
  }
  InstallInterruptHandler();
  const auto scratch = ScratchDirectory::Make(arguments.out.empty()             ? std::filesystem::temp_directory_path()
                                              : arguments.out.has_parent_path() ? arguments.out.parent_path()
                                                                                : ".");
  if (!scratch.ok()) return Usage(std::string(scratch.status().message()));
  arguments.scratch = scratch->path();
  return Report(arguments, wanted.empty() ? all : wanted);
}

}  // namespace
}  // namespace fedalt::bench

int main(int argc, char** argv) {
  const int code = fedalt::bench::Main(argc, argv);
  std::fflush(nullptr);
  std::_Exit(code);  // as fedalt itself (src/app/main.cc)
}
