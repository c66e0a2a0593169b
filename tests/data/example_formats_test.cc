// The formats of instruction data, each against a small file written as its publisher documents it. The texts are ours.
#include "data/example_formats.h"

#include <gtest/gtest.h>

#include <string>

#include "data/dataset.h"

namespace fedalt {
namespace {

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

std::vector<Example> Good(const std::string& bytes, const std::string& name = "dir/x.json") {
  auto examples = ParseExamples(bytes, name);
  EXPECT_TRUE(examples.ok()) << examples.status();
  return std::move(examples).value_or(std::vector<Example>(9));
}

std::string Refusal(const std::string& bytes) {
  const auto examples = ParseExamples(bytes, "x.json");
  if (examples.ok()) return "accepted";
  EXPECT_EQ(KindOf(examples.status()), ErrorKind::kData);
  EXPECT_TRUE(std::string(examples.status().message()).starts_with("x.json: ")) << examples.status();
  return std::string(examples.status().message());
}

// github.com/tatsu-lab/stanford_alpaca, README.md, "Data Release": a list of dictionaries with instruction, input, output; the copy
// on the Hugging Face hub (datasets/tatsu-lab/alpaca) adds text, the whole prompt.
TEST(Formats, Alpaca) {
  const auto examples = Good(R"([
    {"instruction": "Name a colour.", "input": "", "output": "Blue", "text": "Below is an instruction ... Blue"},
    {"instruction": "Add.", "input": "1 2", "output": "3"}
])");
  ASSERT_EQ(examples.size(), 2u);
  EXPECT_EQ(examples[0].instruction, "Name a colour.");
  EXPECT_EQ(examples[0].output, "Blue");
  EXPECT_EQ(examples[1].input, "1 2");
  EXPECT_EQ(examples[1].tag, "");
}

// huggingface.co/datasets/databricks/databricks-dolly-15k, dataset card: one object per line with instruction, context, response,
// category; context is empty where there is none.
TEST(Formats, Dolly) {
  const auto examples =
      Good(R"({"instruction": "Where is it?", "context": "It is in Rome.", "response": "Rome", "category": "closed_qa"}
{"instruction": "Think of names", "context": "", "response": "Ada\nBob", "category": "brainstorming"}
)");
  ASSERT_EQ(examples.size(), 2u);
  EXPECT_EQ(examples[0].input, "It is in Rome.");
  EXPECT_EQ(examples[0].output, "Rome");
  EXPECT_EQ(examples[0].tag, "closed_qa");
  EXPECT_EQ(examples[1].input, "");
  EXPECT_EQ(examples[1].tag, "brainstorming");
  EXPECT_EQ(Good(R"([{"instruction": "a", "context": null, "response": "b"}])")[0].output, "b");
}

// github.com/jmbian/FedALT, README.md, "Data Preparation"; github.com/Lydia-yang/FedDPA, data/dataset1 and code/metric.py: both
// have instruction, output, task, category. The task is the finer of the two names.
TEST(Formats, FlanOfFedaltAndFeddpa) {
  const auto examples = Good(
      R"([{"instruction": "Does it follow?\nOPTIONS:\n- yes\n- no", "output": "no", "task": "snli", "category": "entailment"}])");
  EXPECT_EQ(examples[0].tag, "snli");
  EXPECT_EQ(Good(R"({"instruction": "a", "output": "b", "category": "entailment"})")[0].tag, "entailment");
}

// github.com/allenai/natural-instructions, README.md, "Task schema": one indented object per file, taskNNN_<source>_<type>.json;
// Definition is a list of one string (in older releases a string), output a list of references. The instances of the released files
// also have an id.
TEST(Formats, NaturalInstructionsTask) {
  const std::string task = R"({
    "Contributors": ["Somebody"],
    "Source": ["synthetic"],
    "URL": [""],
    "Categories": ["Text to Code"],
    "Reasoning": [""],
    "Definition": ["Say which of the words is a colour."],
    "Input_language": ["English"],
    "Output_language": ["English"],
    "Instruction_language": ["English"],
    "Domains": ["Miscellaneous"],
    "Positive Examples": [{"input": "red, sad", "output": "red", "explanation": "Instances"}],
    "Negative Examples": [{"input": "red, sad", "output": "sad", "explanation": "no \"Definition\": {"}],
    "Instances": [
        {"id": "task900-1", "input": "blue, old", "output": ["blue", "Blue."]},
        {"id": "task900-2", "input": "big, grey", "output": ["grey"]}
    ]
})";
  const auto examples = Good(task, "tasks/task900_synthetic_colour.json");
  ASSERT_EQ(examples.size(), 2u);
  EXPECT_EQ(examples[0].id, 0);
  EXPECT_EQ(examples[1].id, 1);
  EXPECT_EQ(examples[0].instruction, "Say which of the words is a colour.");
  EXPECT_EQ(examples[0].input, "blue, old");
  EXPECT_EQ(examples[0].output, "blue");
  EXPECT_EQ(examples[0].more_outputs, std::vector<std::string>{"Blue."});
  EXPECT_EQ(examples[1].output, "grey");
  EXPECT_TRUE(examples[1].more_outputs.empty());
  EXPECT_EQ(examples[1].tag, "task900_synthetic_colour");
}

TEST(Formats, NaturalInstructionsInOtherShapes) {
  const auto one_line = Good(R"({"Name": "colours", "Definition": "Say it.", "Instances": [{"input": "a", "output": "b"}]})"
                             "\n");
  ASSERT_EQ(one_line.size(), 1u);
  EXPECT_EQ(one_line[0].tag, "colours");
  EXPECT_EQ(one_line[0].output, "b");
  EXPECT_EQ(Good("\xef\xbb\xbf\n"
                 R"({"Instances": [{"input": "a", "output": "b"}], "Definition": ["d"]})")[0]
                .instruction,
            "d");
  EXPECT_SAYS(Refusal(R"({"Definition": "d"})"), "has no field \"Instances\" (it has \"Definition\")");
  EXPECT_SAYS(Refusal("{\n\"Instances\": []\n}"),
              "has no field \"Definition\" (it has \"Instances\"); expected \"Definition\" and");
  EXPECT_SAYS(Refusal(R"({"Definition": "d", "Instances": []})"), "has no instances");
  EXPECT_SAYS(Refusal(R"({"Definition": [], "Instances": []})"), "field \"Definition\" is \"[]\", expected a string or a list");
  EXPECT_SAYS(Refusal(R"({"Definition": "d", "Instances": {}})"), "field \"Instances\" is \"{}\", expected a list");
  EXPECT_SAYS(Refusal(R"({"Definition": "d", "Instances": [{"input": "a", "output": "b"}, {"input": "a"}]})"),
              "instance 1 has no field \"output\" (it has \"input\"); expected \"input\" and \"output\"");
  EXPECT_SAYS(Refusal(R"({"Definition": "d", "Instances": [{"input": "a", "output": []}]})"),
              "instance 0 field \"output\" is \"[]\", expected a string or a list of at least one string");
  EXPECT_SAYS(Refusal(R"({"Definition": "d", "Instances": [7]})"), "instance 0 is not a JSON object");
  EXPECT_SAYS(Refusal("{\"Definition\": \"d\",\n \"Instances\": [{\"input\": \"a\","), "line 2, column");
  EXPECT_SAYS(Refusal("{\"Definition\": \"d\", \"Instances\": []}\n{\"Definition\": \"d\"}"), "line 2, column 1");
}

TEST(Formats, OneOutputOrSeveralThatAreRight) {
  const auto examples = Good(R"([{"instruction": "a", "output": ["b", "c", "d"]}, {"instruction": "a", "output": "b"}])");
  EXPECT_EQ(examples[0].output, "b");
  EXPECT_EQ(examples[0].more_outputs, (std::vector<std::string>{"c", "d"}));
  EXPECT_TRUE(examples[1].more_outputs.empty());
  EXPECT_SAYS(Refusal(R"([{"instruction": "a", "output": ["b", 1]}])"),
              "field \"output\" is \"[\"b\",1]\", expected a string or a list");
}

TEST(Formats, MixedRecordsAreRefused) {
  for (const std::string record :
       {R"({"instruction": "a", "output": "b", "response": "c"})", R"({"instruction": "a", "context": "b", "output": "c"})",
        R"({"instruction": "a", "input": "", "context": "b", "response": "c"})",
        R"({"instruction": "a", "output": "b", "Definition": "d", "Instances": []})"}) {
    EXPECT_SAYS(Refusal("[{\"instruction\":\"a\",\"output\":\"b\"},\n" + record + "]"),
                "line 2: example 1 mixes the fields of two formats (it has ");
    EXPECT_SAYS(Refusal("[" + record + "]"), "expected \"instruction\" and \"output\" (alpaca, FLAN;");
  }
  EXPECT_SAYS(Refusal(R"({"instruction": "a", "output": "b", "Definition": "d", "Instances": []})"),
              "mixes the fields of two formats");
  EXPECT_SAYS(
      Refusal(R"([{"Definition": "d", "Instances": []}])"),
      "line 1: example 0 is a task of natural-instructions (it has \"Definition\", \"Instances\"), expected alone in its file");
  // A null column is no field: that is how tables of two formats are united.
  EXPECT_EQ(Good(R"([{"instruction": "a", "output": null, "input": null, "response": "c", "context": "x"}])")[0].output, "c");
}

TEST(Formats, FieldsAreShownInFewWords) {
  std::string record = "{";
  for (int i = 0; i < 30; ++i) record += (i ? ",\"" : "\"") + std::string(2, 'a') + std::to_string(i) + "\":1";
  const std::string refusal = Refusal(record + "}");
  EXPECT_SAYS(refusal, ", ...)");
  EXPECT_LT(refusal.size(), 500u);
}

// Names in the order instruction, input, output, tag.
StatusOr<std::vector<Example>> Mapped(const std::string& bytes, const FieldNames& fields, ReadReport* report = nullptr) {
  return ParseExamples(bytes, "x.jsonl", {fields, true}, report);
}

// Open-Orca's names (huggingface.co/datasets/Open-Orca/OpenOrca, dataset card): id, system_prompt, question, response.
TEST(Fields, AFileMayHaveItsOwnNames) {
  const auto examples = Mapped(R"({"id": 1, "system_prompt": "Be brief.", "question": "Why?", "response": "So.", "kind": "x"}
{"id": 2, "system_prompt": null, "question": "How?", "response": ["Thus.", "So."], "kind": null})",
                               {"question", "system_prompt", "response", "kind"});
  ASSERT_TRUE(examples.ok()) << examples.status();
  EXPECT_EQ((*examples)[0].instruction, "Why?");
  EXPECT_EQ((*examples)[0].input, "Be brief.");
  EXPECT_EQ((*examples)[0].output, "So.");
  EXPECT_EQ((*examples)[0].tag, "x");
  EXPECT_EQ((*examples)[1].input, "");
  EXPECT_EQ((*examples)[1].more_outputs, std::vector<std::string>{"So."});
}

TEST(Fields, WhatIsNotNamedIsAsTheFormatSays) {
  const auto examples =
      Mapped(R"([{"question": "Where?", "context": "In Rome.", "response": "Rome", "category": "qa"}])", {"question", "", "", ""});
  ASSERT_TRUE(examples.ok()) << examples.status();
  EXPECT_EQ((*examples)[0].input, "In Rome.");
  EXPECT_EQ((*examples)[0].tag, "qa");
  // A name chooses between two formats that would else be mixed.
  const auto chosen = Mapped(R"([{"instruction": "Where?", "context": "In Rome.", "output": "Rome"}])", {"", "context", "", ""});
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ((*chosen)[0].input, "In Rome.");
  EXPECT_EQ((*chosen)[0].output, "Rome");
  // And a field of the schema of natural-instructions may be any field.
  EXPECT_TRUE(Mapped(R"({"Definition": "Where?", "output": "Rome"})", {"Definition", "", "", ""}).ok());
}

TEST(Fields, ANamedFieldThatIsMissingIsAnErrorWithItsLine) {
  const std::string bytes = "{\"question\": \"a\", \"answer\": \"b\"}\n\n{\"question\": \"a\", \"anser\": \"b\"}\n";
  const auto examples = Mapped(bytes, {"question", "", "answer", ""});
  EXPECT_EQ(KindOf(examples.status()), ErrorKind::kData);
  for (const char* part : {"x.jsonl: line 3", "\"answer\"", "\"anser\"", "data.fields"})
    EXPECT_SAYS(examples.status().message(), part);
  EXPECT_SAYS(Mapped(bytes, {"question", "context", "answer", ""}).status().message(), "\"context\"");
  EXPECT_SAYS(Mapped(bytes, {"question", "", "", ""}).status().message(), "data.fields");
  EXPECT_SAYS(Mapped(R"({"question": 7, "answer": "b"})", {"question", "", "answer", ""}).status().message(),
              "\"question\" is \"7\"");
}

TEST(Fields, WhatNothingUsesIsCounted) {
  ReadReport report;
  const auto examples =
      ParseExamples(R"([{"instruction": "a", "output": "b", "system": "Be brief.", "id": 1, "task": "t", "category": "c"},
    {"instruction": "a", "output": "b", "system": "", "id": 2, "input": null},
    {"instruction": "a", "output": "b", "system": null, "id": 0}])",
                    "x.json", {}, &report);
  ASSERT_TRUE(examples.ok()) << examples.status();
  EXPECT_EQ(report.records, 3);
  EXPECT_EQ(report.unused, (std::map<std::string, int64_t>{{"system", 1}, {"id", 3}}));
  report = {};
  const auto mapped =
      Mapped(R"({"instruction": "old", "question": "a", "output": "b", "answer": "c"})", {"question", "", "answer", ""}, &report);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  EXPECT_EQ(report.unused, (std::map<std::string, int64_t>{{"instruction", 1}, {"output", 1}}));
  report = {};
  ASSERT_TRUE(ParseExamples(R"({"Definition": "d", "Source": ["x"], "Instances": [{"id": "1", "input": "a", "output": "b"},
                        {"id": "2", "input": "a", "output": "b"}]})",
                            "t.json", {}, &report)
                  .ok());
  EXPECT_EQ(report.records, 2);
  EXPECT_EQ(report.unused, (std::map<std::string, int64_t>{{"id", 2}, {"Source", 1}}));
}

TEST(Prompts, NeedNoOutput) {
  const ReadOptions prompts = {{}, false};
  const auto lines =
      ParseExamples("\xef\xbb\xbf{\"instruction\": \"a\"}\n{\"instruction\": \"b\", \"input\": \"c\"}\n", "x", prompts);
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_EQ((*lines)[0].instruction, "a");
  EXPECT_EQ((*lines)[1].input, "c");
  EXPECT_TRUE(ParseExamples(R"([{"instruction": "a", "context": "c"}])", "x", prompts).ok());
  EXPECT_TRUE(ParseExamples(R"({"Definition": "d", "Instances": [{"input": "a"}]})", "x", prompts).ok());
  EXPECT_TRUE(ParseExamples(R"({"question": "a"})", "x", {{"question", "", "answer", ""}, false}).ok());
  EXPECT_FALSE(ParseExamples(R"([{"input": "a"}])", "x", prompts).ok());
  EXPECT_FALSE(ParseExamples(R"([{"instruction": "a"}])", "x").ok());
}

}  // namespace
}  // namespace fedalt
