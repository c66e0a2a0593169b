// Tensor parallelism (Megatron-LM, arXiv 1909.08053) between threads: each member of a team computes its share of every linear's
// outputs and of the attention's heads, and what the next linear needs whole is gathered.
//
// A forward of few rows is over in some milliseconds and takes hundreds of small operations. Shared out one by one, each forks and
// joins, and its results lie with the wrong thread for the next one. A team forks once and meets four times in a layer.
#pragma once

#include <ATen/ATen.h>

#include <functional>

namespace fedalt {

struct Team;

/// One thread's part in one call of ByTeam. Not thread-safe.
class TeamMember {
 public:
  TeamMember(Team& team, int64_t rank) : team_(team), rank_(rank) {}
  TeamMember(const TeamMember&) = delete;
  TeamMember& operator=(const TeamMember&) = delete;

  int64_t size() const;

  /// Of n things this member's are First(n) and the following, Count(n) of them. n is a multiple of size().
  int64_t Count(int64_t n) const { return n / size(); }
  int64_t First(int64_t n) const { return rank_ * Count(n); }

  /// Every member's (T, n) side by side: (T, size() n). Waits until all members are here.
  at::Tensor AllGather(const at::Tensor& own_tn);

 private:
  Team& team_;
  const int64_t rank_;
  int64_t gathered_ = 0;  // calls of AllGather
  at::Tensor posted_[2];  // by their parity: what others may still read
};

/// Without a team the whole is here already.
inline at::Tensor AllGather(TeamMember* member, const at::Tensor& own_tn) {
  return member == nullptr ? own_tn : member->AllGather(own_tn);
}

/// function(member) on `size` threads at once, without gradients; all return the same, which is the result. Undefined if there are
/// fewer threads; then nothing was called. An exception of a member ends the call.
at::Tensor ByTeam(int64_t size, const std::function<at::Tensor(TeamMember&)>& function);

}  // namespace fedalt
