#include "net/sign_of_life.h"

#include <chrono>

namespace fedalt {
namespace {

constexpr auto kEvery = std::chrono::seconds(30);  // a quarter of budget::kProcessSilentMs
constexpr int64_t kCallMs = 10'000;

}  // namespace

SignsOfLife::SignsOfLife(ServerConnection& connection, std::string poll)
    : thread_([this, &connection, poll = std::move(poll)](const std::stop_token& stop) {
        std::unique_lock<std::mutex> lock(mutex_);
        while (!stopped_.wait_for(lock, stop, kEvery, [&] { return stop.stop_requested(); })) {
          if (stop.stop_requested()) return;
          (void)connection.Call(Rpc::kPoll, poll, kCallMs);
        }
      }) {}

}  // namespace fedalt
