// fedalt status, list, show, pull, stop, pause, resume, erase, the real program, on a directory that the library wrote.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/cli_process.h"
#include "model/safetensors.h"
#include "store/server_folder.h"
#include "store/server_now.h"

namespace fedalt {
namespace {

using nlohmann::json;
using testing::ProcessResult;
using testing::RunFedalt;

void ExpectRefusal(const ProcessResult& result, int code, const std::string& part) {
  EXPECT_EQ(result.code, code) << result.err;
  EXPECT_NE(result.err.find(part), std::string::npos) << result.err << "lacks: " << part;
  EXPECT_EQ(result.err.find("fedalt: "), 0u) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(result.out, "");
}

class Operator : public ::testing::Test {
 protected:
  Operator() { testing::RecordRun(server()); }
  std::filesystem::path server() const { return folder_.path() / "server"; }
  ProcessResult Run(const std::vector<std::string>& arguments) { return testing::RunInProcess(folder_, arguments); }
  json Json(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--format", "json"});
    const ProcessResult result = Run(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return json::parse(result.out, nullptr, false);
  }
  /// A server that does nothing but answer requests, each with `outcome`, while `use` runs.
  void BesideAServer(const std::string& outcome, const std::function<void()>& use) {
    const auto store = testing::OpenServer(server());
    std::atomic<bool> over = false;
    std::thread serves([&] {
      while (!over) {
        const auto requests = store->OperatorRequests();
        for (const OperatorRequest& request : requests.value_or(std::vector<OperatorRequest>()))
          EXPECT_TRUE(store->FinishRequest(request.id, outcome).ok());
        std::this_thread::yield();
      }
    });
    use();
    over = true;
    serves.join();
  }
  testing::TestFolder folder_;
};

TEST_F(Operator, StatusTellsWhereTheRunIs) {
  const ProcessResult text = RunFedalt(folder_, {"status", "server"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(text.err, "");
  for (const char* part :
       {"run         run-7\n", "server      not at work, start 2 at ", ", fedalt 1\n",
        "phase       collecting, round 3, attempt 1; since 2023-11-14T22:14:00", "waits for   the contributions of graz\n",
        "left        osaka: the site leaves\n", "published   round 2, ", " entries, the first ", "has contributed           -"})
    EXPECT_NE(text.out.find(part), std::string::npos) << text.out << "lacks: " << part;
  const json object = Json({"status", "server"});
  EXPECT_EQ(object["phase"], "collecting");
  EXPECT_EQ(object["round"], 3);
  EXPECT_EQ(object["server_at_work"], false);
  EXPECT_EQ(object["starts"], 2);
  EXPECT_EQ(object["deadline_ms"], nullptr) << "no time passes while there is no server";
  EXPECT_EQ(object["waits_for"], "contributions");
  EXPECT_EQ(object["waiting_text"], "the contributions of graz");
  EXPECT_EQ(object["program"], "fedalt 1");
  EXPECT_EQ(object["roster_sha256"], "digest two");
  EXPECT_EQ(object["sites"][0]["awaited"], true);
  EXPECT_EQ(object["sites"][0]["state"], "awaited");
  EXPECT_EQ(object["sites"][0]["heard_ms"], nullptr);
  EXPECT_EQ(object["sites"][1]["state"], "has contributed");
  EXPECT_EQ(object["sites"][2]["state"], "has left");
  EXPECT_EQ(object["sites"][2]["left"], "the site leaves");
  const auto store = testing::OpenServer(server());
  EXPECT_EQ(Json({"status", "server"})["server_at_work"], true);
}

TEST_F(Operator, StatusTellsWhomTheServerHeardAndWhenCertificatesEnd) {
  const int64_t now_s = std::time(nullptr), day_s = 86'400;
  ASSERT_TRUE(WriteServerNow(server(), {2,
                                        0,
                                        {{"graz", (now_s - 3 * day_s) * 1000}},
                                        {{"this server", now_s + 700 * day_s}, {"site lyon", now_s + 12 * day_s + 3600}}})
                  .ok());
  const std::string text = Run({"status", "server"}).out;
  for (const char* part : {"(3 d ago)", "certificate this server until 20", "warning     the certificate of site lyon ends on ",
                           ", in 12 days; renew it by fedalt keys with --renew"})
    EXPECT_NE(text.find(part), std::string::npos) << text << "lacks: " << part;
  const json object = Json({"status", "server"});
  EXPECT_EQ(object["sites"][0]["heard_ms"], (now_s - 3 * day_s) * 1000);
  EXPECT_EQ(object["sites"][1]["certificate_not_after_s"], now_s + 12 * day_s + 3600);
  EXPECT_EQ(object["certificate_not_after_s"], now_s + 700 * day_s);
  EXPECT_EQ(object["authority_not_after_s"], nullptr);
  EXPECT_EQ(object["warnings"].size(), 1u);
  EXPECT_NE(Run({"list", "server", "--what", "sites"}).out.find("(3 d ago)"), std::string::npos);
}

TEST_F(Operator, StatusTellsRevokedSitesAndThoseOutsideTheCohort) {
  {
    const auto store = testing::OpenServer(server());
    ASSERT_TRUE(store->AbandonAttempt(3, 1, "only one came").ok());
    ASSERT_TRUE(store->OpenAttempt(3, 2, testing::kBegin, {0}).ok());
    ASSERT_TRUE(store->SaveStart({"third", "fedalt 1", "digest three", {0}}).ok());
  }
  const json object = Json({"status", "server"});
  EXPECT_EQ(object["waits_for"], "next_step") << "graz cannot come, and lyon was not drawn";
  EXPECT_EQ(object["sites"][0]["state"], "revoked");
  EXPECT_EQ(object["sites"][1]["state"], "outside the cohort");
  EXPECT_EQ(object["sites"][0]["awaited"], false);
}

TEST_F(Operator, StatusObeysNothingThatTheDatabaseHolds) {
  testing::RawSql(server() / "store.db", "UPDATE departure SET cause = char(27) || '[2J' || char(10) || 'x'");
  EXPECT_NE(Run({"status", "server"}).out.find("left        osaka: ?[2J?x\n"), std::string::npos);
}

TEST_F(Operator, ListsTables) {
  const std::string versions = Run({"list", "server"}).out;
  EXPECT_EQ(std::count(versions.begin(), versions.end(), '\n'), 3) << versions;
  EXPECT_EQ(Json({"list", "server"})["versions"][1]["of_this_round"], 2);
  EXPECT_EQ(Json({"list", "server", "--what", "rounds"})["rounds"][0]["reason"], "only one came");
  EXPECT_EQ(Json({"list", "server", "--what", "sites"})["sites"][1]["last_round"], 2);
  EXPECT_EQ(Json({"list", "server", "--what", "contributions"})["contributions"][0]["state"], "abandoned");
  EXPECT_EQ(Json({"list", "server", "--what", "requests"})["requests"][0]["outcome"], "done");
  EXPECT_EQ(Json({"list", "server", "--what", "metrics"})["metrics"][0]["value"], 0.25);
  for (const char* what : {"rounds", "sites", "contributions", "requests", "metrics"}) {
    const ProcessResult text = Run({"list", "server", "--what", what});
    EXPECT_EQ(text.code, 0) << text.err;
    EXPECT_GT(std::count(text.out.begin(), text.out.end(), '\n'), 1) << text.out;
  }
  ExpectRefusal(Run({"list", "server", "--what", "secrets"}), 2, "--what");
}

TEST_F(Operator, ShowsAVersion) {
  const ProcessResult text = Run({"show", "server", "latest"});
  EXPECT_EQ(text.code, 0) << text.err;
  for (const char* part : {"round 2 of run-7, published 2023-", ", after round 1\n", "75.0 %", "countersigned by nobody"})
    EXPECT_NE(text.out.find(part), std::string::npos) << text.out << "lacks: " << part;
  const json object = Json({"show", "server", "2"});
  EXPECT_EQ(object["parent"], 1);
  EXPECT_EQ(object["content_sha256"], ContentHash({3, {Sha256(std::string(12, 'T'))}}));
  EXPECT_EQ(object["contributors"][1], (json{{"site", "lyon"},
                                             {"of_round", 2},
                                             {"age_rounds", 0},
                                             {"weight", 2.0},
                                             {"moved", 1.5},
                                             {"moved_share", 0.75},
                                             {"replaced_round", 1}}));
  EXPECT_EQ(object["contributors"][2]["age_rounds"], 1);
  EXPECT_EQ(object["contributors"][2]["replaced_round"], nullptr);
  const json first = Json({"show", "server", "1"});
  EXPECT_EQ(first["adopted"], json({"osaka"}));
  EXPECT_EQ(first["refused"], (json{{"lyon", "pinned to round 0"}}));
  ExpectRefusal(Run({"show", "server", "3"}), 2, "there is no version \"3\"; expected latest or one of 1, 2");
  ExpectRefusal(Run({"show", "server", "newest"}), 2, "there is no version \"newest\"");
}

TEST_F(Operator, PullsAVersion) {
  const ProcessResult text = Run({"pull", "server", "latest", "--out", "s.safetensors"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(text.out, "round 2, 3 values, is in s.safetensors\n");
  const auto file = TensorFiles::OpenFile(folder_.path() / "s.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto values = (*file)->Get("values");
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(HexOf(Sha256(ChunkOf(values->contiguous(), 0))), HexOf(Sha256(std::string(12, 'T'))));
  const auto& metadata = (*file)->metadata();
  EXPECT_EQ(metadata.at("run"), "run-7");
  EXPECT_EQ(metadata.at("round"), "2");
  EXPECT_EQ(metadata.at("total_weight"), "6");
  EXPECT_EQ(metadata.at("contributors"), "graz@2,lyon@2,osaka@1");
  EXPECT_EQ(metadata.at("content_sha256"), ContentHash({3, {Sha256(std::string(12, 'T'))}}));
  ExpectRefusal(Run({"pull", "server", "1", "--out", "s.safetensors"}), 6, "s.safetensors: is there already");
  ExpectRefusal(Run({"pull", "server", "1", "--site", "graz", "--out", "x"}), 2, "leave --site out");
  ExpectRefusal(Run({"pull", "server", "7", "--out", "x"}), 2, "there is no version \"7\"");
  std::filesystem::remove_all(server() / "objects");
  ExpectRefusal(Run({"pull", "server", "1", "--out", "x"}), 6, "objects");
  testing::RawSql(server() / "store.db", "UPDATE published SET pieces = zeroblob(32)");
  ExpectRefusal(Run({"pull", "server", "1", "--out", "x"}), 9, "the database names the content");
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "x"));
}

TEST_F(Operator, PullsWhatOneSiteReads) {
  {
    const auto store = testing::OpenServer(server());
    PublishedObject published;
    published.round = 3;
    published.total_weight = 3.0;
    published.per_site = {{0, testing::PutTensor(*store, 'U')}, {1, testing::PutTensor(*store, 'V')}};
    published.contributors = {{0, 2}, {1, 3}};
    testing::Close(*store, published, {{0, 2, 'e'}, {1, 3, 'g'}});
  }
  EXPECT_EQ(Json({"pull", "server", "3", "--site", "lyon", "--out", "v"})["content_sha256"],
            ContentHash({3, {Sha256(std::string(12, 'V'))}}));
  EXPECT_EQ((*TensorFiles::OpenFile(folder_.path() / "v"))->metadata().at("site"), "lyon");
  ExpectRefusal(Run({"pull", "server", "3", "--out", "x"}), 2, "choose one by --site: graz, lyon");
  ExpectRefusal(Run({"pull", "server", "3", "--site", "osaka", "--out", "x"}), 2, "choose one by --site: graz, lyon");
  EXPECT_EQ(Json({"show", "server", "3"})["no_longer"], json({"osaka"}));
}

TEST_F(Operator, WithoutAServerARequestWaits) {
  const ProcessResult text = Run({"pause", "server", "--cause", "night"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(text.out, "no server is at work in server: it will be done when the server is started again\n");
  EXPECT_EQ(Json({"resume", "server"})["done"], false) << "after the pause that waits";
  EXPECT_EQ(Json({"erase", "server", "--site", "lyon"})["request"], 4);
  const json requests = Json({"list", "server", "--what", "requests"})["requests"];
  EXPECT_EQ(requests[1]["cause"], "night");
  EXPECT_EQ(requests[3]["site"], "lyon");
  EXPECT_EQ(requests[3]["outcome"], nullptr);
  EXPECT_EQ(Json({"status", "server"})["requests_waiting"], 3);
}

TEST_F(Operator, AServerAnswers) {
  BesideAServer("done", [&] {
    EXPECT_EQ(Run({"pause", "server", "--wait", "600"}).out, "the run is paused; go on with fedalt resume\n");
    EXPECT_EQ(Json({"stop", "server", "--wait", "600"}),
              (json{{"request", 3}, {"kind", "stop"}, {"site", ""}, {"cause", ""}, {"server_at_work", true}, {"done", true}}));
  });
  BesideAServer("the run has ended", [&] {
    ExpectRefusal(Run({"stop", "server", "--wait", "600"}), 10, "the server did not do it: the run has ended");
  });
}

TEST_F(Operator, ABusyServerIsNotWaitedForWithoutEnd) {
  const auto store = testing::OpenServer(server());
  EXPECT_EQ(Run({"pause", "server", "--wait", "0"}).out, "asked for as request 2\n");
  ExpectRefusal(Run({"pause", "server", "--wait", "1"}), 10, "has not done it within 1 s");
}

TEST_F(Operator, WhatMakesNoSenseIsRefused) {
  ExpectRefusal(Run({"erase", "server", "--site", "oslo"}), 2, "the run has no site \"oslo\"; expected one of graz, lyon, osaka");
  ExpectRefusal(Run({"erase", "server"}), 2, "--site");
  ExpectRefusal(Run({"resume", "server"}), 2, "the run is not paused");
  ASSERT_TRUE(testing::OpenServer(server())->SaveEnd("good enough").ok());
  for (const char* command : {"stop", "pause", "resume"})
    ExpectRefusal(Run({command, "server"}), 10,
                  "the run has ended already (good enough); there is nothing to " + std::string(command));
  EXPECT_EQ(Json({"status", "server"})["phase"], "ended");
  EXPECT_EQ(Json({"list", "server", "--what", "requests"})["requests"].size(), 1u) << "nothing was asked";
}

TEST_F(Operator, OnlyAServersDirectoryWillDo) {
  folder_.Write("broken/store.db", std::string(10'000, 'x'));
  ASSERT_TRUE(Database::Open(folder_.path() / "site.db", SiteMigrations()).ok());
  folder_.Write("site/store.db", testing::Slurp(folder_.path() / "site.db"));
  const std::vector<std::vector<std::string>> commands = {{"status"}, {"list"},  {"show", "1"}, {"pull", "1", "--out", "x"},
                                                          {"stop"},   {"pause"}, {"resume"},    {"erase", "--site", "graz"}};
  for (const std::vector<std::string>& command : commands) {
    const auto with = [&](const std::string& directory) {
      std::vector<std::string> line = command;
      line.insert(line.begin() + 1, directory);
      return Run(line);
    };
    ExpectRefusal(with("absent"), 2, "absent: there is no such directory");
    ExpectRefusal(with("."), 2, ".: holds no store.db");
    ExpectRefusal(with("broken"), 6, "broken/store.db: is not a database");
    ExpectRefusal(with("site"), 2, "site: is not a server's directory, perhaps a site's");
    ExpectRefusal(Run({command.front()}), 2, "dir is required");
  }
}

TEST_F(Operator, ResumeTellsTheTwoApart) {
  EXPECT_NE(Run({"resume", "--help"}).out.find("fedalt run --resume DIR"), std::string::npos);
}

}  // namespace
}  // namespace fedalt
