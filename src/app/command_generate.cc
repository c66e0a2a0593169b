// fedalt generate: answers of one site's personalised model, or of a bare model, token by token.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <optional>

#include "app/command.h"
#include "app/load_peft.h"
#include "app/open_run.h"
#include "app/presets.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "text/streaming_decoder.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt generate runs/mine --site site-0 --prompt \"Is this review positive?\" --input-text \"I loved it\"\n"
    "  fedalt generate runs/mine --site site-0 --input questions.txt --format json    one prompt per line\n"
    "  echo \"Who wrote Faust?\" | fedalt generate runs/mine --site site-0 --beams 4\n"
    "  fedalt generate --model path/to/model --prompt \"Once upon a time\" --temperature 0.8 --seed 7\n"
    "  fedalt generate --model path/to/model --adapter exported/individual --prompt \"Once upon a time\"";

struct GenerateArguments {
  std::string directory, site, model, adapter;
  int64_t round = 0;
  std::string prompt, input, input_text, prompt_template, alone, device;
  bool has_prompt = false;
  GenerateOptions options;
  bool has_max_new_tokens = false;
  bool json = false;
};

// What answers: a model with or without adapters.
struct Speaker {
  LoadedRun run;
  SiteModel site;                          // of a run
  std::unique_ptr<SiteAdapters> adapters;  // of --adapter
  ForwardContext context;
  std::optional<PromptTemplate> prompt_template;  // ChooseTemplate gives one
};

Status OpenSite(const GenerateArguments& arguments, Speaker& speaker) {
  ASSIGN_OR_RETURN(speaker.run, OpenRun(arguments.directory, arguments.device));
  ASSIGN_OR_RETURN(speaker.site, LoadSiteModel(speaker.run, arguments.directory, arguments.site, arguments.round));
  SiteAdapters& adapters = speaker.site.site->adapters;
  if (arguments.alone == "individual") adapters.mode().branches = BranchMode::kIndividualAlone;
  if (arguments.alone == "rest_of_world") adapters.mode().branches = BranchMode::kRestOfWorldAlone;
  speaker.context.extensions = &adapters.extensions();
  return absl::OkStatus();
}

Status OpenBare(const GenerateArguments& arguments, Speaker& speaker) {
  RunConfig config = DefaultRunConfig();
  config.model = arguments.model;
  if (!arguments.device.empty()) config.device = arguments.device;
  ASSIGN_OR_RETURN(speaker.run, LoadModel(config));
  if (arguments.adapter.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(speaker.adapters, LoadPeft(*speaker.run.model, arguments.adapter));
  speaker.context.extensions = &speaker.adapters->extensions();
  return absl::OkStatus();
}

Status ChooseTemplate(const GenerateArguments& arguments, Speaker& speaker) {
  std::string name = arguments.prompt_template;
  if (name.empty()) name = arguments.model.empty() ? speaker.run.config.prompt_template : "none";
  const StatusOr<PromptTemplate> named = PromptTemplate::Named(name);
  if (!named.ok()) return UsageError(std::string(named.status().message()));
  speaker.prompt_template = *named;
  return absl::OkStatus();
}

// One prompt per line; empty lines are left out, and so is a byte order mark.
std::vector<std::string> Lines(const std::string& text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  std::vector<std::string> lines;
  for (size_t begin = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    std::string line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

StatusOr<std::string> ReadStdin() {
  constexpr size_t kLimit = size_t{64} << 20;
  if (::isatty(STDIN_FILENO) == 1) return UsageError("no prompt is given; expected --prompt, --input, or text on stdin");
  std::string text;
  char buffer[1 << 14];
  while (std::cin.read(buffer, sizeof buffer) || std::cin.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(std::cin.gcount()));
    if (text.size() > kLimit)
      return DataError(absl::StrCat("stdin holds more than ", kLimit, " bytes; give prompts in smaller portions"));
  }
  return text;
}

StatusOr<std::vector<Example>> ReadPrompts(const GenerateArguments& arguments) {
  std::vector<std::string> lines;
  if (arguments.has_prompt) {
    lines.push_back(arguments.prompt);
  } else if (!arguments.input.empty()) {
    const fs::path path = arguments.input;
    if (path.extension() == ".json" || path.extension() == ".jsonl") {
      ReadOptions options;
      options.needs_output = false;
      if (!arguments.directory.empty()) {
        ASSIGN_OR_RETURN(const SiteFiles files, FilesOfSite(arguments.directory, arguments.site));
        options.fields = files.fields;
      }
      return ReadExamples(path, options);
    }
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kData));
    lines = Lines(text);
  } else {
    ASSIGN_OR_RETURN(const std::string text, ReadStdin());
    lines = Lines(text);
  }
  if (lines.empty()) return DataError("there is no prompt in the input; expected one per line");
  std::vector<Example> examples;
  examples.reserve(lines.size());
  for (const std::string& line : lines) {
    examples.push_back({static_cast<int64_t>(examples.size()), line, arguments.input_text, "", ""});
  }
  return examples;
}

StatusOr<std::vector<PromptTokens>> Encode(const Speaker& speaker, const std::vector<Example>& prompts) {
  std::vector<PromptTokens> tokens;
  for (const Example& prompt : prompts) {
    const std::string text = speaker.prompt_template->Render(prompt.instruction, prompt.input);
    StatusOr<PromptTokens> encoded = EncodePrompt(*speaker.run.tokenizer, text);
    if (!encoded.ok()) return Annotate(encoded.status(), absl::StrCat("prompt ", prompt.id + 1));
    tokens.push_back(*std::move(encoded));
  }
  return tokens;
}

std::vector<std::vector<int32_t>> IdsOf(const std::vector<PromptTokens>& prompts) {
  std::vector<std::vector<int32_t>> ids;
  ids.reserve(prompts.size());
  for (const PromptTokens& prompt : prompts) ids.push_back(prompt.ids);
  return ids;
}

// Answers to all prompts; where the method weighs each prompt by itself, one by one.
StatusOr<std::vector<std::vector<int32_t>>> Answer(const Speaker& speaker, const std::vector<std::vector<int32_t>>& ids,
                                                   const GenerateOptions& options) {
  const SiteModel& of = speaker.site;
  std::vector<double> weights;
  if (of.method != nullptr && of.site->adapters.mode().branches == of.method->branches()) {
    ASSIGN_OR_RETURN(weights, of.method->InstanceWeights(*speaker.run.model, ids, *of.site));
  }
  if (weights.empty()) return Generate(*speaker.run.model, ids, options, speaker.context);
  std::vector<std::vector<int32_t>> answers;
  for (size_t i = 0; i < ids.size(); ++i) {
    of.site->adapters.mode().fixed_p = weights[i];
    ASSIGN_OR_RETURN(auto answer, Generate(*speaker.run.model, {ids[i]}, options, speaker.context));
    answers.push_back(std::move(answer.front()));
  }
  return answers;
}

// One prompt, shown while it is written.
Status Stream(const Speaker& speaker, const PromptTokens& tokens, GenerateOptions options) {
  StreamingDecoder decoder(*speaker.run.tokenizer, tokens);
  Status written = absl::OkStatus();
  options.on_token = [&](int32_t id) {
    const std::string text = decoder.Push(id);
    if (written.ok() && !text.empty()) written = WriteResult(text);
  };
  const auto answers = Answer(speaker, {tokens.ids}, options);
  RETURN_IF_ERROR(answers.status());
  RETURN_IF_ERROR(written);
  return WriteResult(decoder.Finish() + "\n");
}

Status AnswerAll(const Speaker& speaker, const std::vector<Example>& prompts, const std::vector<PromptTokens>& tokens,
                 GenerateOptions options, bool json) {
  const std::vector<std::vector<int32_t>> ids = IdsOf(tokens);
  Progress progress(static_cast<int64_t>(ids.size()), "generation");
  bool stopped = false;
  options.progress = [&](int64_t done) {
    progress.Update(done);
    stopped = InterruptRequested();
    return !stopped;
  };
  ASSIGN_OR_RETURN(const auto answers, Answer(speaker, ids, options));
  if (stopped) return InterruptedError("stopped before every prompt was answered");
  if (ids.size() > 1) progress.Finish();
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::string text = AnswerText(*speaker.run.tokenizer, tokens[i], answers[i]);
    if (!json) RETURN_IF_ERROR(WriteResult(text + "\n"));
    list.push_back({{"prompt", prompts[i].instruction},
                    {"answer", text},
                    {"prompt_tokens", ids[i].size()},
                    {"new_tokens", answers[i].size()}});
  }
  if (!json) return absl::OkStatus();
  return WriteResult(OrderedJson{{"answers", list}}.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

Status CheckArguments(const GenerateArguments& arguments) {
  if (arguments.directory.empty() == arguments.model.empty())
    return UsageError("expected either RUN_DIR with --site, or --model DIR");
  if (!arguments.directory.empty() && arguments.site.empty())
    return UsageError("--site is missing; expected the name of a site, such as --site site-0");
  if (!arguments.directory.empty() && !arguments.adapter.empty())
    return UsageError("--adapter belongs to --model; a run has its own adapters");
  if (arguments.directory.empty() && (!arguments.site.empty() || !arguments.alone.empty() || arguments.round > 0)) {
    return UsageError("--site, --round and --alone belong to a run; expected RUN_DIR");
  }
  if (arguments.has_prompt && !arguments.input.empty()) return UsageError("expected one of --prompt and --input");
  if (arguments.options.beams > 1 && arguments.options.temperature > 0.0)
    return UsageError("--temperature samples and --beams searches; expected one of the two");
  return absl::OkStatus();
}

Status Execute(const GenerateArguments& arguments) {
  RETURN_IF_ERROR(CheckArguments(arguments));
  ASSIGN_OR_RETURN(const std::vector<Example> prompts, ReadPrompts(arguments));
  Speaker speaker;
  RETURN_IF_ERROR(arguments.model.empty() ? OpenSite(arguments, speaker) : OpenBare(arguments, speaker));
  RETURN_IF_ERROR(ChooseTemplate(arguments, speaker));
  ASSIGN_OR_RETURN(const std::vector<PromptTokens> tokens, Encode(speaker, prompts));
  const GenerateOptions& of_run = speaker.run.config.federation.eval.options.generate;
  GenerateOptions options = arguments.options;
  options.eos_ids = of_run.eos_ids;
  if (!arguments.has_max_new_tokens) options.max_new_tokens = of_run.max_new_tokens;
  if (tokens.size() == 1 && options.beams == 1 && !arguments.json) return Stream(speaker, tokens.front(), options);
  return AnswerAll(speaker, prompts, tokens, options, arguments.json);
}

void AddOptions(CLI::App& app, GenerateArguments& arguments) {
  GenerateOptions& options = arguments.options;
  app.add_option("run_dir", arguments.directory, "Directory of the run")->type_name("RUN_DIR");
  app.add_option("--site", arguments.site, "Site whose model answers")->type_name("NAME");
  app.add_option("--round", arguments.round, "Round whose model answers (default: the last)")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--alone", arguments.alone, "Only this adapter, with weight 1")
      ->check(CLI::IsMember({"individual", "rest_of_world"}))
      ->type_name("individual|rest_of_world");
  app.add_option("--model", arguments.model, "A bare model instead of a run")->type_name("DIR");
  app.add_option("--adapter", arguments.adapter, "A PEFT LoRA for --model")->type_name("DIR");
  app.add_option("--prompt", arguments.prompt, "The instruction")->type_name("TEXT");
  app.add_option("--input", arguments.input, "File with one instruction per line, or examples as json or jsonl (default: stdin)")
      ->type_name("FILE");
  app.add_option("--input-text", arguments.input_text, "The input that the instruction is about")->type_name("TEXT");
  app.add_option("--template", arguments.prompt_template,
                 "Prompt template: a name, or a text with {instruction} (default: the run's; none with --model)")
      ->type_name("NAME|TEXT");
  app.add_option("--beams", options.beams, "Beams of the search (default: 1, greedy)")->type_name("N")->check(CLI::Range(1, 64));
  app.add_option("--max-new-tokens", options.max_new_tokens, "Tokens at most (default: the run's; 80 with --model)")
      ->type_name("N")
      ->check(CLI::Range(1, 100000));
  app.add_option("--length-penalty", options.length_penalty, "Of the beam search (default: 1)")->type_name("X");
  app.add_option("--temperature", options.temperature, "Above 0: sample (default: 0)")
      ->type_name("X")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--top-p", options.top_p, "Sample from the likeliest tokens of this total probability (default: 1)")
      ->type_name("X")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--top-k", options.top_k, "Sample from this many tokens (default: all)")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--seed", options.seed, "Seed of the sampling (default: 0)")->type_name("N");
}

}  // namespace

void AddGenerateCommand(CLI::App& program, Command& command) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* app = program.add_subcommand("generate", "Let a site's personalised model, or a bare model, answer");
  AddOptions(*app, *arguments);
  AddDeviceOption(*app, arguments->device);
  AddFormatOption(*app, arguments->json);
  app->footer(kExamples);
  app->callback([arguments, app, &command] {
    arguments->has_prompt = app->count("--prompt") > 0;
    arguments->has_max_new_tokens = app->count("--max-new-tokens") > 0;
    command.run = [arguments] { return Execute(*arguments); };
  });
}

}  // namespace fedalt
