#include "net/proxy.h"

#include <gtest/gtest.h>

#include <map>

#include "net/server_connection.h"

namespace fedalt {
namespace {

using Variables = std::map<std::string, std::string>;

StatusOr<std::optional<Proxy>> ProxyOf(const std::string& server, const Variables& variables) {
  return ProxyFor(*ParseHostPort(server), [&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::string() : found->second;
  });
}

/// "host:port" of the proxy, or "direct".
std::string Way(const std::string& server, const Variables& variables) {
  const auto proxy = ProxyOf(server, variables);
  EXPECT_TRUE(proxy.ok()) << proxy.status();
  return proxy.ok() && *proxy ? TextOf((*proxy)->where) : "direct";
}

TEST(HostPortTest, ReadsWhatAServerMayBeCalled) {
  EXPECT_EQ(ParseHostPort("fl.example.org:443"), (HostPort{"fl.example.org", 443}));
  EXPECT_EQ(ParseHostPort("[fd00::7]:7443"), (HostPort{"fd00::7", 7443}));
  EXPECT_EQ(TextOf({"fd00::7", 7443}), "[fd00::7]:7443");
  for (const char* wrong : {"", "host", ":1", "host:", "host:x", "host:65536", "host:-1", "fd00::7:443", "[]:1"})
    EXPECT_FALSE(ParseHostPort(wrong)) << wrong;
}

TEST(ProxyTest, TheFirstVariableThatIsSetCounts) {
  EXPECT_EQ(Way("10.1.1.1:443", {}), "direct");
  EXPECT_EQ(Way("10.1.1.1:443", {{"http_proxy", "http://p1:3128"}}), "p1:3128");
  EXPECT_EQ(Way("10.1.1.1:443", {{"http_proxy", "http://p1:3128"}, {"https_proxy", "http://p2:8080/"}}), "p2:8080");
  EXPECT_EQ(Way("10.1.1.1:443", {{"grpc_proxy", "p3:1"}, {"https_proxy", "http://p2:8080"}}), "p3:1");
  EXPECT_EQ(Way("10.1.1.1:443", {{"grpc_proxy", ""}, {"ALL_PROXY", "http://p4"}}), "p4:3128");
  EXPECT_EQ(Way("10.1.1.1:443", {{"HTTP_PROXY", "http://cgi:1"}}), "direct");  // a header of CGI scripts, never ours
}

TEST(ProxyTest, LoopbackIsNeverReachedThroughOne) {
  for (const char* server :
       {"127.0.0.1:8080", "127.8.0.1:1", "[::1]:8080", "localhost:1", "LocalHost.:1", "a.localhost:1", "[::ffff:127.0.0.1]:1"})
    EXPECT_EQ(Way(server, {{"http_proxy", "http://p:1"}}), "direct") << server;
  EXPECT_EQ(Way("128.0.0.1:8080", {{"http_proxy", "http://p:1"}}), "p:1");
}

TEST(ProxyTest, NoProxyKnowsNamesAddressesRangesAndPorts) {
  const auto way = [](const std::string& server, const std::string& no_proxy) {
    return Way(server, {{"http_proxy", "http://p:1"}, {"no_proxy", no_proxy}});
  };
  const std::map<std::string, std::vector<std::string>> direct = {
      {"10.20.30.40:7443", {"10.0.0.0/8", "a, 10.20.30.40", "10.20.30.40:7443", "*", "10.20.30.40/32", "0.0.0.0/0"}},
      {"[fd00::7]:443", {"fd00::/8", "fd00:0::7", "[fd00::7]:443", "[fd00::7]"}},
      {"fl.Example.org:443", {"example.org", ".example.org", "*.example.org", "EXAMPLE.ORG.", "x fl.example.org:443"}}};
  for (const auto& [server, entries] : direct)
    for (const std::string& entry : entries) EXPECT_EQ(way(server, entry), "direct") << server << " " << entry;
  const std::map<std::string, std::vector<std::string>> through = {
      {"10.20.30.40:7443",
       {"", "11.0.0.0/8", "10.20.30.40:80", "10.0.0.0/33", "10.0.0.0/", "0.30.40", "10.20.30.41/32", "fd00::/8"}},
      {"fl.example.org:443", {"ple.org", "fl.example.org:80", "10.0.0.0/8", ".", "l.example.org"}}};
  for (const auto& [server, entries] : through)
    for (const std::string& entry : entries) EXPECT_EQ(way(server, entry), "p:1") << server << " " << entry;
}

TEST(ProxyTest, CredentialsGoToTheProxyAndIntoNoMessage) {
  const auto proxy = ProxyOf("10.1.1.1:443", {{"http_proxy", "http://user:p%40ss@p:3128"}});
  ASSERT_TRUE(proxy.ok() && *proxy);
  EXPECT_EQ((*proxy)->where, (HostPort{"p", 3128}));
  EXPECT_EQ(ConnectRequest({"10.1.1.1", 443}, **proxy),
            "CONNECT 10.1.1.1:443 HTTP/1.1\r\nHost: 10.1.1.1:443\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n");
  const Status wrong = ProxyOf("10.1.1.1:443", {{"all_proxy", "socks5://user:secret@p:1080"}}).status();
  EXPECT_EQ(KindOf(wrong), ErrorKind::kConfig);
  EXPECT_EQ(std::string(wrong.message()).find("secret"), std::string::npos) << wrong;
  EXPECT_NE(std::string(wrong.message()).find("all_proxy"), std::string::npos) << wrong;
}

TEST(CallTimeoutTest, AChunkHasTimeOnALineOf20KilobitsPerSecond) {
  constexpr size_t kChunk = (1 << 20) + 100;
  for (const int64_t ms : {CallTimeoutMs(Rpc::kPutChunk, kChunk), CallTimeoutMs(Rpc::kGetChunk, 100)}) {
    EXPECT_GT(ms, 8 * (1 << 20) / 20);  // milliseconds at 20 bits a millisecond
    EXPECT_LT(ms, 600'000);             // and who never answers is not waited for much longer
  }
  EXPECT_GE(CallTimeoutMs(Rpc::kPoll, 100), 60'000);
}

}  // namespace
}  // namespace fedalt
