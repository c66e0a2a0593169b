// Threads that do one kind of work in the order in which it came, so that work which waits for the disk keeps nobody else waiting.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fedalt {

/// Thread-safe.
class WorkQueue {
 public:
  explicit WorkQueue(int threads);
  /// Does what was added before.
  ~WorkQueue();
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  void Add(std::function<void()> work);

 private:
  void Run();

  std::mutex mutex_;  // the next three
  std::condition_variable added_;
  std::deque<std::function<void()>> waiting_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fedalt
