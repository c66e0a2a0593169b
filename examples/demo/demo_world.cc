// demo_world: writes the data of one federation, or the demo's tokenizer.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "tokenizer_files.h"
#include "world.h"

namespace fedalt::demo {
namespace {

using Json = nlohmann::ordered_json;

Status WriteSamples(const std::filesystem::path& path, const std::vector<Sample>& samples) {
  std::string lines;
  for (const Sample& sample : samples)
    lines += Json{{"instruction", sample.instruction}, {"input", ""}, {"output", sample.output}, {"tag", sample.tag}}.dump() + "\n";
  return WriteFileAtomic(path, lines);
}

Status WriteWorld(const std::filesystem::path& out, const WorldOptions& options) {
  const World world = MakeWorld(options);
  RETURN_IF_ERROR(MakeDirectories(out / "data" / "train"));
  RETURN_IF_ERROR(MakeDirectories(out / "data" / "test"));
  Json sites = Json::array();
  for (int site = 0; site < kSites; ++site) {
    const SiteData& data = world.sites[static_cast<size_t>(site)];
    const std::string name = "site_" + std::to_string(site) + ".jsonl";
    RETURN_IF_ERROR(WriteSamples(out / "data" / "train" / name, data.train));
    RETURN_IF_ERROR(WriteSamples(out / "data" / "test" / name, data.test));
    sites.push_back(
        {{"site", site}, {"convention", NameOf(data.convention)}, {"train", data.train.size()}, {"test", data.test.size()}});
  }
  const Json about = {{"world", options.kind == WorldKind::kTest ? "test" : "validation"},
                      {"seed", options.seed},
                      {"shuffled_neighbours", options.shuffled_neighbours},
                      {"all_facts", options.all_facts},
                      {"sites", sites}};
  return WriteFileAtomic(out / "world.json", about.dump(1) + "\n");
}

// Everything that the base is taught: each known fact in every known convention and every template. The tag is the convention.
Status WriteKnownFacts(const std::filesystem::path& out) {
  std::vector<Sample> samples;
  for (const Fact& fact : KnownFacts())
    for (int c = 0; c < kKnownConventions; ++c)
      for (int t = 0; t < kTemplates; ++t) {
        const auto convention = static_cast<Convention>(c);
        samples.push_back({Question(fact, t), Answer(fact, convention), std::string(NameOf(convention))});
      }
  RETURN_IF_ERROR(MakeDirectories(out));
  return WriteSamples(out / "known_facts.jsonl", samples);
}

int Main(int argc, char** argv) {
  CLI::App app{
      "Writes the demo's federation: OUT/data/train/site_K.jsonl and OUT/data/test/site_K.jsonl for eight sites.\n"
      "Example: demo_world --out build/demo/world --seed 1"};
  std::string out, kind = "test";
  WorldOptions options;
  bool tokenizer = false, known_facts = false;
  app.add_option("--out", out, "folder to write to")->required();
  app.add_option("--seed", options.seed, "draws the facts, who is given which, and the textbooks")->capture_default_str();
  app.add_option("--world", kind, "which half of the unknown terms: choose methods on 'validation', report 'test'")
      ->check(CLI::IsMember({"validation", "test"}))
      ->capture_default_str();
  app.add_flag("--shuffled-neighbours", options.shuffled_neighbours, "control: every site has its own, independently drawn truth");
  app.add_flag("--all-facts", options.all_facts, "upper bound: every site is given every fact in its own convention");
  app.add_flag("--tokenizer", tokenizer, "write the tokenizer's files instead of data");
  app.add_flag("--known-facts", known_facts, "write what the base is taught instead of data");
  CLI11_PARSE(app, argc, argv);
  options.kind = kind == "test" ? WorldKind::kTest : WorldKind::kValidation;
  const Status status = tokenizer ? WriteTokenizerFiles(out) : known_facts ? WriteKnownFacts(out) : WriteWorld(out, options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "demo_world: %s\n", std::string(status.message()).c_str());
  return static_cast<int>(KindOf(status));
}

}  // namespace
}  // namespace fedalt::demo

int main(int argc, char** argv) {
  return fedalt::demo::Main(argc, argv);
}
