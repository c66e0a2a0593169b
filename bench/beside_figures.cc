// What is left of a run's speed while another process is busy, too: `fedalt run` with its defaults, quiet and beside one in turn.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>

#include "base/check.h"
#include "figures.h"
#include "real_run.h"

namespace fedalt::bench {
namespace {

/// A process that does nothing but compute, while this lives.
class BusyProcess {
 public:
  BusyProcess() : child_(::fork()) {
    FEDALT_CHECK(child_ >= 0, "a process can be started");
    if (child_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::atomic<uint64_t> count{0};
    for (;;) ++count;
  }
  ~BusyProcess() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  BusyProcess(const BusyProcess&) = delete;
  BusyProcess& operator=(const BusyProcess&) = delete;

 private:
  const pid_t child_;
};

constexpr char kOptions[] =
    "adapter: {r: 8, target_modules: all-linear}\n"
    "train: {rounds: 1, steps: 6, batch_size: 8, max_length: 512}\n"
    "eval: {generate: false, batch_size: 4, ablations: 'off'}\n";

double ShareBesideOne(int64_t sites, bool quick) {
  const RealRun run{
      sites == 1 ? "beside-1" : "beside", quick ? kGeometryQuick : kGeometrySmol, at::kBFloat16, sites, 16, 120, kOptions};
  const std::filesystem::path folder = PrepareRealRun(run);
  constexpr int kTurns = 3;
  double quiet = 0.0, beside = 0.0;
  for (int turn = 0; turn < kTurns; ++turn) {
    quiet += ExecuteRealRun(folder, run.dtype).train_seconds;
    const BusyProcess busy;
    beside += ExecuteRealRun(folder, run.dtype).train_seconds;
  }
  std::fprintf(stderr, "%lld sites: %.2f s of training quiet, %.2f s beside one busy process\n", static_cast<long long>(sites),
               quiet / kTurns, beside / kTurns);
  std::filesystem::remove_all(folder);
  return quiet / beside;
}

}  // namespace

std::vector<FigureDefinition> BesideFigures() {
  return {
      {"train_share_beside_one_process", "share",
       "seconds of training of `fedalt run` with its defaults (four sites, geometry of SmolLM2-135M, FedALT r 8 on all linears, "
       "six steps of 8 examples of 100 to 200 tokens each), quiet, over the same beside one process that only computes; three "
       "times in turn",
       true, [](bool quick) { return ShareBesideOne(4, quick); }},
      {"train_share_beside_one_process_1_site", "share", "the same with one site, which has all threads", true,
       [](bool quick) { return ShareBesideOne(1, quick); }}};
}

}  // namespace fedalt::bench
