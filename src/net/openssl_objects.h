// Owners of OpenSSL's objects, and its errors as a Status. For the sources of this layer alone.
#pragma once

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt::openssl {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>>;
using HostNames = std::unique_ptr<GENERAL_NAMES, Free<GENERAL_NAMES_free>>;
using HostName = std::unique_ptr<GENERAL_NAME, Free<GENERAL_NAME_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Memory = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Number = std::unique_ptr<BIGNUM, Free<BN_free>>;
using Stream = std::unique_ptr<SSL, Free<SSL_free>>;
using String = std::unique_ptr<ASN1_STRING, Free<ASN1_STRING_free>>;
using Time = std::unique_ptr<ASN1_TIME, Free<ASN1_TIME_free>>;
using Trusted = std::unique_ptr<X509_STORE, Free<X509_STORE_free>>;
using Verification = std::unique_ptr<X509_STORE_CTX, Free<X509_STORE_CTX_free>>;

/// kInternal: what OpenSSL could not do, and its reason; its queue of errors is empty afterwards.
inline Status Failure(std::string_view what) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return MakeError(ErrorKind::kInternal,
                   absl::StrCat("OpenSSL cannot ", std::string(what), " (", reason == nullptr ? "no reason given" : reason, ")"));
}

/// Never asks a person for a password.
inline int NoPassword(char*, int, int, void*) {
  return -1;
}

inline Memory MemoryOf(std::string_view bytes) {
  return Memory(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

inline std::string TextOf(BIO* memory) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory, &bytes);
  return size > 0 ? std::string(bytes, static_cast<size_t>(size)) : std::string();
}

/// The only certificate in the text. Errors: kConfig.
StatusOr<Certificate> ReadCertificate(std::string_view pem);
/// Errors: kConfig.
StatusOr<Key> ReadPrivateKey(std::string_view pem);

}  // namespace fedalt::openssl
