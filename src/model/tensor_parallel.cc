#include "model/tensor_parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <vector>

#include "base/check.h"

namespace fedalt {

/// What one member shows to the others, in a cache line of its own.
struct alignas(64) Post {
  std::atomic<int64_t> gathered{0};        ///< how often the member posted
  std::array<const std::byte*, 2> rows{};  ///< what it posted last and before, by parity
};

struct Team {
  explicit Team(int64_t size) : posts(static_cast<size_t>(size)) {}
  std::vector<Post> posts;
  std::atomic<bool> failed{false};
};

namespace {

/// Thrown in a member that waits for one that failed.
struct Abandoned {};

/// Waits until `post` has gathered as often as `wanted`. A member that lost its core to another process gets one sooner if nobody
/// spins on the others.
void Await(const Post& post, int64_t wanted) {
  constexpr int64_t kTurnsOfSpinning = 2'000;  // some 100 us: longer than members wait for each other unless one lost its core
  int64_t gathered = post.gathered.load(std::memory_order_acquire);
  for (int64_t turn = 0; gathered < wanted && turn < kTurnsOfSpinning; ++turn) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    gathered = post.gathered.load(std::memory_order_acquire);
  }
  for (; gathered < wanted; gathered = post.gathered.load(std::memory_order_acquire))
    post.gathered.wait(gathered, std::memory_order_acquire);
}

}  // namespace

int64_t TeamMember::size() const {
  return static_cast<int64_t>(team_.posts.size());
}

// A member posts again what others may read only after it saw that all of them posted once more, so came here again.
at::Tensor TeamMember::AllGather(const at::Tensor& own_tn) {
  FEDALT_CHECK(own_tn.dim() == 2 && own_tn.is_contiguous(), "a member's columns are one matrix");
  const size_t parity = static_cast<size_t>(gathered_ % 2);
  ++gathered_;
  posted_[parity] = own_tn;
  Post& own = team_.posts[static_cast<size_t>(rank_)];
  own.rows[parity] = static_cast<const std::byte*>(own_tn.data_ptr());
  own.gathered.store(gathered_, std::memory_order_release);
  own.gathered.notify_all();

  const int64_t rows = own_tn.size(0), members = size();
  const size_t bytes = static_cast<size_t>(own_tn.size(1)) * own_tn.element_size();
  at::Tensor all = at::empty({rows, members * own_tn.size(1)}, own_tn.options());
  std::byte* to = static_cast<std::byte*>(all.data_ptr());
  for (const Post& post : team_.posts) {
    Await(post, gathered_);
    if (team_.failed.load(std::memory_order_relaxed)) throw Abandoned();
    const std::byte* from = post.rows[parity];
    for (int64_t r = 0; r < rows; ++r, from += bytes) std::memcpy(to + static_cast<size_t>(r * members) * bytes, from, bytes);
    to += bytes;
  }
  return all;
}

at::Tensor ByTeam(int64_t size, const std::function<at::Tensor(TeamMember&)>& function) {
#ifdef _OPENMP
  Team team(size);
  std::deque<TeamMember> members;  // outlive the threads, so that what one posted last stays until all have read it
  for (int64_t rank = 0; rank < size; ++rank) members.emplace_back(team, rank);
  std::vector<at::Tensor> results(members.size());
  std::exception_ptr failure;
#pragma omp parallel num_threads(static_cast <int>(size))
  if (omp_get_num_threads() == size) {
    const size_t rank = static_cast<size_t>(omp_get_thread_num());
    try {
      const at::NoGradGuard no_grad;
      results[rank] = function(members[rank]);
    } catch (...) {
      if (!team.failed.exchange(true)) failure = std::current_exception();
      team.posts[rank].gathered.store(INT64_MAX, std::memory_order_release);  // nobody waits for it
      team.posts[rank].gathered.notify_all();
    }
  }
  if (failure != nullptr) std::rethrow_exception(failure);
  return results.front();
#else
  (void)size, (void)function;
  return {};
#endif
}

}  // namespace fedalt
