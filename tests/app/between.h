// Between one site and its server, to each of them as the other: sees every call that passes, and holds one where a test wants it
// held. So a process is stopped at a call, however busy the machine is.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "app/cli_process.h"
#include "net/grpc_options.h"

namespace fedalt::testing {

/// The PEM files in a party's folder of keys.
struct KeysOnDisk {
  explicit KeysOnDisk(const std::filesystem::path& folder)
      : certificate(Slurp(folder / "certificate.pem")),
        private_key(Slurp(folder / "private.key")),
        authority(Slurp(folder / "authority.pem")) {}
  std::string certificate, private_key, authority;
};

class Between : private grpc::CallbackGenericService {
 public:
  enum class Moment {
    kAsked,     ///< the server has not seen the call
    kAnswered,  ///< the server has answered, the site has not seen it
  };

  /// `keys`: the folder of all keys. The server need not be there yet.
  Between(const std::filesystem::path& keys, const std::string& site, const std::string& server_port)
      : stub_(Connect(KeysOnDisk(keys / "sites" / site), server_port)) {
    SilenceGrpc();
    const KeysOnDisk mine(keys / "server");
    grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    ssl.pem_root_certs = mine.authority;
    ssl.pem_key_cert_pairs.push_back({mine.private_key, mine.certificate});
    grpc::ServerBuilder builder;
    ConfigureServer(builder);
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(ssl), &port_);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
    EXPECT_TRUE(server_ != nullptr && port_ > 0);
  }
  ~Between() override {
    LetGo();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  Between(const Between&) = delete;
  Between& operator=(const Between&) = delete;

  std::string port() const { return std::to_string(port_); }
  /// Holds the `nth` call of this method, such as "PutChunk", that comes from now on.
  void HoldAt(const std::string& method, Moment moment, size_t nth = 1) {
    const std::lock_guard<std::mutex> lock(mutex_);
    hold_method_ = method;
    hold_moment_ = moment;
    hold_number_ = asked_[method].size() + nth;
  }
  /// Waits until it is held; false if that does not happen.
  bool Held() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kLongest, [&] { return held_ != nullptr; });
  }
  /// Waits until nobody waits for the call that is held: its site is dead.
  bool Gone() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kLongest, [&] { return held_ == nullptr; });
  }
  /// The call that is held goes its way.
  void LetGo() {
    if (Call* call = TakeHeld(nullptr)) call->GoOn();
  }
  /// The requests of this method so far, as they came.
  std::vector<std::string> Asked(const std::string& method) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return asked_[method];
  }

 private:
  static constexpr std::chrono::minutes kLongest{4};  // for a test that hangs

  class Call : public grpc::ServerGenericBidiReactor {
   public:
    Call(Between& between, std::string path, std::chrono::system_clock::time_point deadline)
        : between_(between), path_(std::move(path)) {
      context_.set_deadline(deadline);
      StartRead(&request_);
    }
    void OnReadDone(bool ok) override {
      if (!ok) return Finish(grpc::Status::CANCELLED);
      std::string bytes;
      std::vector<grpc::Slice> slices;
      EXPECT_TRUE(request_.Dump(&slices).ok());
      for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      number_ = between_.Note(method(), std::move(bytes));
      if (!between_.Holds(*this)) GoOn();
    }
    void OnCancel() override {
      context_.TryCancel();
      if (between_.TakeHeld(this) != nullptr) Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override { delete this; }

    /// From one moment to the next.
    void GoOn() {
      if (moment_ == Moment::kAnswered) return Answer();
      between_.stub_.UnaryCall(&context_, path_, grpc::StubOptions(), &request_, &reply_, [this](const grpc::Status& status) {
        status_ = status;
        moment_ = Moment::kAnswered;
        if (!between_.Holds(*this)) Answer();
      });
    }
    std::string method() const { return path_.substr(path_.rfind('/') + 1); }
    Moment moment() const { return moment_; }
    size_t number() const { return number_; }

   private:
    void Answer() {
      if (!status_.ok()) return Finish(status_);
      StartWriteAndFinish(&reply_, grpc::WriteOptions(), grpc::Status::OK);
    }

    Between& between_;
    const std::string path_;
    grpc::ClientContext context_;
    grpc::ByteBuffer request_, reply_;
    grpc::Status status_;
    Moment moment_ = Moment::kAsked;
    size_t number_ = 0;
  };

  static std::shared_ptr<grpc::Channel> Connect(const KeysOnDisk& keys, const std::string& server_port) {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = keys.authority;
    ssl.pem_private_key = keys.private_key;
    ssl.pem_cert_chain = keys.certificate;
    return grpc::CreateCustomChannel("127.0.0.1:" + server_port, grpc::SslCredentials(ssl), ClientArguments());
  }
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Call(*this, context->method(), context->deadline());
  }
  size_t Note(const std::string& method, std::string request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    asked_[method].push_back(std::move(request));
    return asked_[method].size();
  }
  /// Keeps the call if it is the one to be held.
  bool Holds(Call& call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (call.method() != hold_method_ || call.moment() != hold_moment_ || call.number() != hold_number_) return false;
    hold_method_.clear();
    held_ = &call;
    changed_.notify_all();
    return true;
  }
  /// The call that is held, if there is one and it is `wanted` (null: whichever): the caller's from now on.
  Call* TakeHeld(const Call* wanted) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (wanted != nullptr && held_ != wanted) return nullptr;
    changed_.notify_all();
    return std::exchange(held_, nullptr);
  }

  grpc::GenericStub stub_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::mutex mutex_;  // what follows
  std::condition_variable changed_;
  std::map<std::string, std::vector<std::string>> asked_;
  std::string hold_method_;
  Moment hold_moment_ = Moment::kAsked;
  size_t hold_number_ = 0;
  Call* held_ = nullptr;
};

}  // namespace fedalt::testing
