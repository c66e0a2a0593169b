// What site.yaml and the shared configuration say, and what of it all parties must have in common.
#include "app/federation_files.h"

#include <gtest/gtest.h>

#include "app/cli_process.h"

namespace fedalt {
namespace {

TEST(FederationFields, FieldsAreASitesOwnAndTheTemplateIsEverybodys) {
  const testing::TestFolder folder;
  testing::WriteTinyRun(folder);
  folder.Write("federation.yaml", "model: model\ndata: {template: \"Q: {instruction}\\nA:\"}\n");
  const std::string common = "federation: federation.yaml\nkeys: keys\n";
  folder.Write("server.yaml", common + "directory: at-server\nlisten: localhost:1\n");
  folder.Write("site.yaml", common +
                                "directory: at-site\nserver: localhost:1\nsite: osaka\n"
                                "data: {train: a.jsonl, test: b.jsonl, fields: {instruction: question, output: answer}}\n");
  Roster roster;
  roster.federation = "trial";
  for (const char* name : {"kyoto", "osaka"}) roster.sites.push_back({name, {}, false});

  const auto load = [&](const char* file, Party party) {
    const auto files = LoadPartyConfig(folder.path() / file, party);
    EXPECT_TRUE(files.ok()) << files.status();
    auto config = LoadSharedConfig(files.value(), roster);
    EXPECT_TRUE(config.ok()) << config.status();
    return config.value();
  };
  const RunConfig server = load("server.yaml", Party::kServer), site = load("site.yaml", Party::kSite);
  ASSERT_EQ(site.sites.size(), 1u);
  EXPECT_EQ(site.sites[0].fields, (FieldNames{"question", "", "answer", ""}));
  EXPECT_EQ(site.prompt_template, "Q: {instruction}\nA:");
  const auto of_server = AgreementOf(server, roster), of_site = AgreementOf(site, roster);
  ASSERT_TRUE(of_server.ok() && of_site.ok()) << of_server.status() << of_site.status();
  EXPECT_EQ(*of_server, *of_site);
  RunConfig other = site;
  other.prompt_template = "Q: {instruction} A:";
  EXPECT_NE(AgreementOf(other, roster).value(), *of_server);
}

}  // namespace
}  // namespace fedalt
