// While a site trains it calls nobody, so the server could not tell it from one that is gone. This calls from a thread of its own.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "net/server_connection.h"

namespace fedalt {

/// Sends the same poll every half minute until it ends. Whether it arrives is of no matter. Borrows the connection, which must
/// allow calls from several threads.
class SignsOfLife {
 public:
  SignsOfLife(ServerConnection& connection, std::string poll);

 private:
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace fedalt
