#include "federation_load.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/check.h"
#include "federation_parties.h"
#include "measure.h"

namespace fedalt::bench {
namespace {

/// A party in a process of its own.
class Party {
 public:
  /// `files`: how many it may open at first, as a service has them (it may ask for more).
  explicit Party(const std::function<void(const Lines&)>& be, rlim_t files = 1024) {
    int down[2], up[2];
    FEDALT_CHECK(::pipe(down) == 0 && ::pipe(up) == 0, "there are pipes");
    process_ = ::fork();
    if (process_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(down[1]);
      ::close(up[0]);
      rlimit limit{};
      ::getrlimit(RLIMIT_NOFILE, &limit);
      limit.rlim_cur = std::min(files, limit.rlim_max);
      ::setrlimit(RLIMIT_NOFILE, &limit);
      be({::fdopen(down[0], "r"), ::fdopen(up[1], "w")});
      ::_exit(0);
    }
    ::close(down[0]);
    ::close(up[1]);
    lines_ = {::fdopen(up[0], "r"), ::fdopen(down[1], "w")};
  }
  ~Party() {
    std::fclose(lines_.to);
    std::fclose(lines_.from);
    ::kill(process_, SIGKILL);  // it has told everything
    ::waitpid(process_, nullptr, 0);
  }
  Party(const Party&) = delete;
  Party& operator=(const Party&) = delete;

  void Tell(const std::string& line) const { lines_.Write(line); }
  std::string Hear() const {
    std::string line = lines_.Read();
    FEDALT_CHECK(!line.empty(), "a process of the load ended too early");
    return line;
  }
  std::vector<double> HearNumbers() const {
    std::istringstream line(Hear());
    std::vector<double> numbers;
    for (double number = 0.0; line >> number;) numbers.push_back(number);
    return numbers;
  }
  /// A size in kB of /proc/PID/status.
  double Kilobytes(const std::string& name) const {
    std::ifstream status(absl::StrCat("/proc/", process_, "/status"));
    for (std::string line; std::getline(status, line);)
      if (line.starts_with(name + ":")) return std::atof(line.c_str() + name.size() + 1);
    FEDALT_CHECK(false, "the kernel tells of a process's memory");
  }
  /// Of all its threads so far.
  double ProcessorSeconds() const {
    std::ifstream file(absl::StrCat("/proc/", process_, "/stat"));
    std::string word;
    double ticks = 0.0;
    constexpr int kUser = 14, kSystem = 15;
    for (int i = 1; i <= kSystem && file >> word; ++i)
      if (i == kUser || i == kSystem) ticks += std::atof(word.c_str());
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }

 private:
  pid_t process_ = -1;
  Lines lines_;
};

constexpr rlim_t kManyFiles = 1 << 20;

void MeasureRound(const Load& load, const std::filesystem::path& directory, LoadResult& result) {
  const Keys keys = MakeKeys(load.sites + load.idle);
  const Party server([&](const Lines& lines) { BeServer(load, keys, directory, lines); });
  const Party idle([&](const Lines& lines) { BeIdle(load, keys, lines); }, kManyFiles);
  const Party prober([&](const Lines& lines) { BeProber(keys, lines); });
  // Many sites in one process would share its two threads of gRPC.
  constexpr size_t kProcesses = 4;
  std::vector<std::vector<int64_t>> places(kProcesses);
  const std::vector<int64_t> all = Uploaders(load);
  for (size_t i = 0; i < all.size(); ++i) places[i % kProcesses].push_back(all[i]);
  std::vector<std::unique_ptr<Party>> uploaders;
  for (const auto& some : places)
    uploaders.push_back(std::make_unique<Party>([&](const Lines& lines) { BeUploaders(load, keys, some, lines); }, kManyFiles));

  const std::string port = server.Hear();
  result.empty_mb = server.Kilobytes("VmRSS") / 1e3;
  result.connect_s = SecondsOf([&] {
    idle.Tell(port);
    idle.Hear();
  });
  constexpr int kSettle_s = 2;
  ::sleep(kSettle_s);
  result.kb_per_connection = (server.Kilobytes("VmRSS") - result.empty_mb * 1e3) / static_cast<double>(load.idle);
  const double before_s = server.ProcessorSeconds();
  prober.Tell(port);
  for (const auto& uploader : uploaders) uploader->Tell(port);
  const std::vector<double> round = server.HearNumbers();
  result.server_cpu_s = server.ProcessorSeconds() - before_s;
  result.round_s = round.at(0);
  result.aggregation_s = round.at(1);
  result.read_s = SecondsOf([&] {
    for (const auto& uploader : uploaders) {
      const std::vector<double> counts = uploader->HearNumbers();
      result.failed_uploads += counts.at(0);
      result.repeated_calls += counts.at(1);
    }
  });
  result.failed_idle = idle.HearNumbers().at(0);
  const std::vector<double> ms = prober.HearNumbers();
  result.median_poll_ms = ms.at(0);
  result.slowest_poll_ms = ms.at(1);
  result.peak_mb = server.Kilobytes("VmHWM") / 1e3;
}

}  // namespace

LoadResult MeasureLoad(const Load& load, const std::filesystem::path& directory) {
  LoadResult result;
  std::filesystem::remove_all(directory);
  MeasureRound(load, directory / "server", result);
  std::filesystem::remove_all(directory);
  {
    const Party copy([&](const Lines& lines) { BeCopy(load, directory / "copy", lines); });
    const std::vector<double> seconds = copy.HearNumbers();
    result.copy_s = seconds.at(0);
    result.copy_cpu_s = seconds.at(1);
  }
  result.share = result.copy_s / result.round_s;
  std::filesystem::remove_all(directory);
  return result;
}

}  // namespace fedalt::bench
