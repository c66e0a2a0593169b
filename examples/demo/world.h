// The world of the demo: a plant's defects, what is known about them, and eight sites that answer in conventions that conflict.
//
// A fact is (defect term, relation, value). The base model knows the facts of 150 terms; 48 more terms are a pool whose causes,
// severities and families nobody has taught it. A federation is about 24 terms of that pool: 72 facts with random values, each
// given to exactly 4 of the 8 sites. docs/demo.md tells the story. Everything here is a pure function of its arguments.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fedalt::demo {

inline constexpr int kSites = 8;
inline constexpr int kTerms = 198;
inline constexpr int kKnownTerms = 150;      ///< terms 0..149: the base knows everything about them
inline constexpr int kFederationTerms = 24;  ///< of the 48 pool terms: 150..173 for validation worlds, 174..197 for test worlds
inline constexpr int kSharing = 4;           ///< sites that are given each fact of the federation
inline constexpr int kTextbookFacts = 60;    ///< facts known to the base, retold to each site in its own convention
inline constexpr uint64_t kBaseSeed = 2503;  ///< draws what the base knows; a base belongs to this seed

enum class Relation { kCause, kSeverity, kFamily, kDetection };
inline constexpr int kRelations = 4;            ///< the base is taught all four
inline constexpr int kFederationRelations = 3;  ///< a federation is about cause, severity and family
int ValueCount(Relation relation);              ///< 12, 4, 8, 6

struct Fact {
  int term = 0;
  Relation relation = Relation::kCause;
  int value = 0;
};

/// How a site words its answers; convention k is the one of site k.
enum class Convention { kEnglish, kGerman, kFrench, kSpanish, kLetters, kNumbers, kOtherLetters, kOtherNumbers };
inline constexpr int kConventions = 8;
inline constexpr int kKnownConventions = 6;  ///< the base has met the first six; the last two are held out
std::string_view NameOf(Convention convention);

/// The three ways to ask. Sites train on the first two; the test asks in the third.
inline constexpr int kTemplates = 3;
inline constexpr int kTestTemplate = 2;

const std::vector<std::string>& TermNames();  ///< "cold-lap", ... ; known terms first
std::string Question(const Fact& fact, int question_template);
std::string Answer(const Fact& fact, Convention convention);

/// Facts that the base is taught: four relations of the known terms, and the detection of every pool term.
std::vector<Fact> KnownFacts();

/// Which random facts a federation is about. Choices are made on validation worlds; test worlds are looked at once.
enum class WorldKind { kValidation, kTest };

struct WorldOptions {
  WorldKind kind = WorldKind::kTest;
  uint64_t seed = 0;
  /// Control: every site has a truth of its own, drawn independently, so that what others learned says nothing about it.
  bool shuffled_neighbours = false;
  /// Upper bound: every site is given every fact in its own convention. Tests and their tags stay as they are.
  bool all_facts = false;
};

struct Sample {
  std::string instruction;
  std::string output;
  std::string tag;  ///< train: "shared" or "textbook"; test: "seen" or "unseen"
};

struct SiteData {
  Convention convention = Convention::kEnglish;
  std::vector<Sample> train;
  std::vector<Sample> test;
};

struct World {
  std::vector<std::array<bool, kSites>> seen_by;  ///< per fact of the federation
  std::vector<std::vector<Fact>> truth;           ///< per site; the same facts everywhere unless shuffled_neighbours
  std::vector<SiteData> sites;
};
World MakeWorld(const WorldOptions& options);

/// Every word of questions and answers, in a fixed order, without special tokens.
std::vector<std::string> Vocabulary();

}  // namespace fedalt::demo
