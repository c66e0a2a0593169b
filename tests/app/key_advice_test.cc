// Unknown keys are answered in the words of the tool that they come from. What those tools know was read from their packages
// (tests/golden/tool_words.py); what their words mean here was written down from their documentation.
#include "app/key_advice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/config_keys.h"

namespace fedalt {
namespace {

std::map<std::string, std::vector<std::string>> WordsOfTools() {
  std::ifstream file(std::filesystem::path(FEDALT_TEST_DATA) / "tools" / "words.json");
  const auto json = nlohmann::json::parse(file, nullptr, false);
  EXPECT_TRUE(json.is_object());
  return json.value("words", std::map<std::string, std::vector<std::string>>());
}

std::string Advice(const std::string& name) {
  return KeyAdvice(name, SettingsFile::kConfiguration, KnownKeyNames());
}

bool Names(const std::string& advice, const std::string& key) {
  return advice.find("\"" + key + "\"") != std::string::npos;
}

// What a user of each tool means.
const std::map<std::string, std::map<std::string, std::string>>& Meanings() {
  static const std::map<std::string, std::map<std::string, std::string>> meanings = {
      {"transformers",
       {{"learning_rate", "train.lr"},
        {"num_train_epochs", "train.local_epochs"},
        {"per_device_train_batch_size", "train.batch_size"},
        {"per_device_eval_batch_size", "eval.batch_size"},
        {"gradient_accumulation_steps", "train.accumulate"},
        {"max_steps", "train.steps"},
        {"weight_decay", "train.weight_decay"},
        {"adam_beta1", "train.betas"},
        {"adam_beta2", "train.betas"},
        {"adam_epsilon", "train.eps"},
        {"max_grad_norm", "train.max_grad_norm"},
        {"lr_scheduler_type", "train.schedule"},
        {"bf16", "train.dtype"},
        {"use_cpu", "device"},
        {"eval_strategy", "eval.every"},
        {"eval_steps", "eval.every"},
        {"save_total_limit", "keep.rounds"},
        {"data_seed", "seed"},
        {"generation_num_beams", "eval.beams"},
        {"generation_max_length", "eval.max_new_tokens"},
        {"predict_with_generate", "eval.generate"}}},
      {"peft",
       {{"base_model_name_or_path", "model"},
        {"r", "adapter.r"},
        {"lora_alpha", "adapter.lora_alpha"},
        {"lora_dropout", "adapter.lora_dropout"},
        {"target_modules", "adapter.target_modules"}}},
      {"trl",
       {{"model_name_or_path", "model"},
        {"dataset_name", "data.train"},
        {"max_length", "train.max_length"},
        {"dtype", "train.dtype"},
        {"learning_rate", "train.lr"},
        {"lora_r", "adapter.r"},
        {"lora_alpha", "adapter.lora_alpha"},
        {"lora_dropout", "adapter.lora_dropout"},
        {"lora_target_modules", "adapter.target_modules"}}},
      {"axolotl",
       {{"base_model", "model"},
        {"datasets", "data.train"},
        {"test_datasets", "data.test"},
        {"val_set_size", "validation"},
        {"sequence_len", "train.max_length"},
        {"micro_batch_size", "train.batch_size"},
        {"eval_batch_size", "eval.batch_size"},
        {"gradient_accumulation_steps", "train.accumulate"},
        {"num_epochs", "train.local_epochs"},
        {"learning_rate", "train.lr"},
        {"lr_scheduler", "train.schedule"},
        {"lora_r", "adapter.r"},
        {"lora_alpha", "adapter.lora_alpha"},
        {"lora_dropout", "adapter.lora_dropout"},
        {"lora_target_modules", "adapter.target_modules"},
        {"lora_target_linear", "adapter.target_modules"},
        {"lora_model_dir", "adapter.init_from"},
        {"chat_template", "data.template"},
        {"evals_per_epoch", "eval.every"},
        {"eval_max_new_tokens", "eval.max_new_tokens"}}},
      {"llama_factory",
       {{"model_name_or_path", "model"},
        {"adapter_name_or_path", "adapter.init_from"},
        {"dataset", "data.train"},
        {"dataset_dir", "data.train"},
        {"eval_dataset", "data.test"},
        {"val_size", "validation"},
        {"cutoff_len", "train.max_length"},
        {"model_max_length", "train.max_length"},
        {"template", "data.template"},
        {"lora_rank", "adapter.r"},
        {"lora_target", "adapter.target_modules"},
        {"pure_bf16", "train.dtype"},
        {"num_beams", "eval.beams"},
        {"max_new_tokens", "eval.max_new_tokens"},
        {"compute_accuracy", "eval.metrics"}}},
      {"torchtune",
       {{"epochs", "train.local_epochs"},
        {"batch_size", "train.batch_size"},
        {"gradient_accumulation_steps", "train.accumulate"},
        {"lr", "train.lr"},
        {"lr_scheduler", "train.schedule"},
        {"clip_grad_norm", "train.max_grad_norm"},
        {"max_seq_len", "train.max_length"},
        {"max_steps_per_epoch", "train.steps"},
        {"lora_rank", "adapter.r"},
        {"lora_attn_modules", "adapter.target_modules"},
        {"apply_lora_to_mlp", "adapter.target_modules"},
        {"checkpoint_dir", "model"}}},
      {"flower",
       {{"num_rounds", "train.rounds"},
        {"fraction_fit", "participation"},
        {"fraction_train", "participation"},
        {"server_learning_rate", "average.server_lr"},
        {"server_momentum", "average.server_momentum"},
        {"weighted_by_key", "average.weights"}}}};
  return meanings;
}

TEST(KeyAdvice, KnowsWhatTheWordsOfOtherToolsMean) {
  const auto words = WordsOfTools();
  for (const auto& [tool, meanings] : Meanings()) {
    const std::vector<std::string>& of_tool = words.at(tool);
    for (const auto& [word, key] : meanings) {
      EXPECT_NE(std::find(of_tool.begin(), of_tool.end(), word), of_tool.end()) << tool << " has no " << word;
      EXPECT_TRUE(Names(Advice(word), key)) << tool << ": " << word << ": " << Advice(word);
    }
  }
}

TEST(KeyAdvice, SaysWhatThereIsNotAndWhatIsNearest) {
  const std::map<std::string, std::string> truths = {{"warmup_ratio", "train.schedule"},
                                                     {"warmup_steps", "train.schedule"},
                                                     {"fp16", "train.dtype"},
                                                     {"load_in_4bit", "not quantized"},
                                                     {"load_in_8bit", "not quantized"},
                                                     {"quantization_bit", "not quantized"},
                                                     {"use_rslora", "square root of r"},
                                                     {"use_dora", "plain LoRA"},
                                                     {"packing", "packed"},
                                                     {"sample_packing", "packed"},
                                                     {"optim", "AdamW"},
                                                     {"optimizer", "AdamW"},
                                                     {"output_dir", "--out DIR"},
                                                     {"push_to_hub", "hub"},
                                                     {"resume_from_checkpoint", "--resume DIR"},
                                                     {"report_to", "TensorBoard"},
                                                     {"train_on_inputs", "answer"},
                                                     {"flash_attention", "attention kernel"},
                                                     {"min_fit_clients", "server.yaml"},
                                                     {"round_timeout", "server.yaml"},
                                                     {"temperature", "fedalt generate"},
                                                     {"gradient_checkpointing", "memory"},
                                                     {"modules_to_save", "only adapters"}};
  for (const auto& [word, truth] : truths) EXPECT_NE(Advice(word).find(truth), std::string::npos) << word << ": " << Advice(word);
}

// A suggestion that was not meant would be worse than none: of the thousand words that these tools know, hardly one that is not in
// the table is taken for a key that it is not.
TEST(KeyAdvice, NoWordOfAnotherToolIsTakenForAKeyThatItIsNot) {
  const std::set<std::string> one_letter_away = {
      "beta", "field", "mode", "type", "ds_type", "target_modules_bd_a", "target_modules_bd_b"};
  size_t looked_at = 0;
  for (const auto& [tool, words] : WordsOfTools())
    for (const std::string& word : words) {
      ++looked_at;
      const auto advice = FindKeyAdvice(word, SettingsFile::kConfiguration, KnownKeyNames());
      if (FindToolWord(SettingsFile::kConfiguration, word) != nullptr || !advice || one_letter_away.count(word) > 0) continue;
      const std::string key = advice->substr(advice->find('"') + 1, advice->rfind('"') - advice->find('"') - 1);
      EXPECT_EQ(PlainWord(key.substr(key.rfind('.') + 1)), PlainWord(word)) << tool << ": " << word << ": " << *advice;
    }
  EXPECT_GT(looked_at, 1000u);
}

TEST(KeyAdvice, EveryWordNamesAKeyOrSaysWhyThereIsNone) {
  for (const SettingsFile file : {SettingsFile::kConfiguration, SettingsFile::kServer, SettingsFile::kSite}) {
    std::set<std::string> words;
    for (const ToolWord& entry : ToolWords(file)) {
      EXPECT_TRUE(words.insert(PlainWord(entry.word)).second) << entry.word << " is there twice";
      EXPECT_FALSE(entry.key.empty() && entry.note.empty()) << entry.word;
      if (file != SettingsFile::kConfiguration || entry.key.empty()) continue;
      const auto is_key = [&](const std::string& known) {
        return known == entry.key || known.starts_with(std::string(entry.key) + ".");
      };
      EXPECT_TRUE(std::any_of(KnownKeyNames().begin(), KnownKeyNames().end(), is_key)) << entry.word << " -> " << entry.key;
    }
  }
}

TEST(KeyAdvice, SlipsAreNamedAndFarWordsAreNot) {
  for (const auto& [name, key] : std::map<std::string, std::string>{{"train.round", "train.rounds"},
                                                                    {"rest_of_world.gian", "rest_of_world.gain"},
                                                                    {"wieght_decay", "train.weight_decay"},
                                                                    {"train.maxLength", "train.max_length"},
                                                                    {"train.batch-size", "train.batch_size"},
                                                                    {"train_lr", "train.lr"},
                                                                    {"num-server-rounds", "train.rounds"},
                                                                    {"Learning-Rate", "train.lr"},
                                                                    {"options.trainer.learning_rate", "train.lr"},
                                                                    {"sede", "seed"}})
    EXPECT_TRUE(Names(Advice(name), key)) << name << ": " << Advice(name);
  for (const char* name : {"frobnicate", "x", "", ".", "...", "train.zzz", "adapter.color", "tain.\n\n"})
    EXPECT_EQ(FindKeyAdvice(name, SettingsFile::kConfiguration, KnownKeyNames()), std::nullopt) << name;
  EXPECT_NE(Advice("feddpa.zzz").find("feddpa.inference, feddpa.weight, feddpa.samples"), std::string::npos)
      << Advice("feddpa.zzz");
  EXPECT_EQ(CloseName("rnu", {"run", "report"}), "run");
  EXPECT_EQ(CloseName("frobnicate", {"run", "report"}), "");
}

TEST(KeyAdvice, PartiesAreToldInWhichFileAKeyBelongs) {
  const std::vector<std::string> server = {"federation", "keys", "directory", "listen", "minimum_cohort", "deadline_s"};
  const std::vector<std::string> site = {"federation", "keys", "directory", "server", "site", "data.train", "patience_s"};
  const auto of_server = [&](const char* name) { return KeyAdvice(name, SettingsFile::kServer, server); };
  const auto of_site = [&](const char* name) { return KeyAdvice(name, SettingsFile::kSite, site); };
  EXPECT_TRUE(Names(of_server("min_available_clients"), "minimum_cohort"));
  EXPECT_TRUE(Names(of_server("round-timeout"), "deadline_s"));
  EXPECT_TRUE(Names(of_server("fleet-api-address"), "listen"));
  EXPECT_TRUE(Names(of_server("minimum_cohrot"), "minimum_cohort"));
  EXPECT_TRUE(Names(of_site("superlink"), "server"));
  EXPECT_TRUE(Names(of_site("root-certificates"), "keys"));
  for (const auto& advice : {of_server("num-server-rounds"), of_site("num-server-rounds"), of_server("train.rounds")}) {
    EXPECT_TRUE(Names(advice, "train.rounds")) << advice;
    EXPECT_NE(advice.find("configuration that federation names"), std::string::npos) << advice;
  }
}

}  // namespace
}  // namespace fedalt
