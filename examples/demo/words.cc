// The words of the world: terms, values in four languages, codes, and how questions and answers are put together.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "world.h"

namespace fedalt::demo {
namespace {

constexpr std::array<const char*, 18> kPlaces = {"edge", "cold", "hot",  "flow", "gate", "weld", "core", "mold", "tool",
                                                 "seam", "rim",  "face", "bore", "pin",  "skin", "root", "fin",  "hub"};
constexpr std::array<const char*, 11> kFaults = {"chip", "lap",     "crack", "void", "streak", "dent",
                                                 "pit",  "scratch", "warp",  "burn", "sink"};
static_assert(kPlaces.size() * kFaults.size() == kTerms);

constexpr int kLanguages = 4;
using Value = std::array<const char*, kLanguages>;  // English, German, French, Spanish

const std::vector<Value>& Values(Relation relation) {
  static const std::array<std::vector<Value>, kRelations> kValues = {{
      {{"heat", "Hitze", "chaleur", "calor"},
       {"moisture", "Feuchte", "humidité", "humedad"},
       {"wear", "Verschleiß", "usure", "desgaste"},
       {"shaking", "Schwingung", "tremblement", "vibración"},
       {"overload", "Überlast", "surcharge", "sobrecarga"},
       {"dust", "Staub", "poussière", "polvo"},
       {"rust", "Rost", "rouille", "óxido"},
       {"ageing", "Alterung", "vieillissement", "envejecimiento"},
       {"misalignment", "Versatz", "décalage", "desajuste"},
       {"pressure", "Druck", "pression", "presión"},
       {"cooling", "Kühlung", "refroidissement", "enfriamiento"},
       {"operator", "Bediener", "opérateur", "operario"}},
      {{"minor", "gering", "mineur", "leve"},
       {"moderate", "mäßig", "modéré", "moderado"},
       {"serious", "ernst", "sérieux", "grave"},
       {"critical", "kritisch", "critique", "crítico"}},
      {{"surface", "Oberfläche", "aspect", "superficie"},
       {"shape", "Form", "forme", "forma"},
       {"size", "Maß", "taille", "tamaño"},
       {"joint", "Fuge", "jointure", "unión"},
       {"material", "Werkstoff", "matière", "materia"},
       {"coating", "Beschichtung", "revêtement", "recubrimiento"},
       {"wiring", "Verdrahtung", "câblage", "cableado"},
       {"packing", "Verpackung", "emballage", "embalaje"}},
      {{"camera", "Kamera", "caméra", "cámara"},
       {"x-ray", "Röntgen", "radiographie", "radiografía"},
       {"ultrasound", "Ultraschall", "ultrasons", "ultrasonido"},
       {"gauge", "Lehre", "calibre", "galga"},
       {"scale", "Waage", "balance", "báscula"},
       {"touch", "Tastung", "toucher", "tacto"}},
  }};
  return kValues[static_cast<size_t>(relation)];
}

constexpr std::array<const char*, kRelations> kRelationWords = {"cause", "severity", "family", "detection"};

// The held-out code books: for each relation a permutation of its values without a fixed point, so that they agree nowhere with
// the code books that the base knows.
std::vector<int64_t> CodeBook(Relation relation, uint64_t book) {
  const int64_t n = ValueCount(relation);
  for (uint64_t attempt = 0;; ++attempt) {
    const auto order =
        RandomStream(kBaseSeed, RandomPurpose::kData, {StableId("code book"), book, static_cast<uint64_t>(relation), attempt})
            .Permutation(n);
    bool fixed_point = false;
    for (int64_t i = 0; i < n; ++i) fixed_point |= order[static_cast<size_t>(i)] == i;
    if (!fixed_point) return order;
  }
}

int Recoded(const Fact& fact, uint64_t book) {
  return static_cast<int>(CodeBook(fact.relation, book)[static_cast<size_t>(fact.value)]);
}

std::string Letter(int value) {
  return std::string(1, static_cast<char>('A' + value));
}

void AddWords(const std::string& text, std::set<std::string>& known, std::vector<std::string>& words) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    std::string word = text.substr(begin, end - begin);
    if (known.insert(word).second) words.push_back(std::move(word));
    begin = end + 1;
  }
}

}  // namespace

int ValueCount(Relation relation) {
  return static_cast<int>(Values(relation).size());
}

std::string_view NameOf(Convention convention) {
  static constexpr std::array<std::string_view, kConventions> kNames = {"english", "german",  "french",        "spanish",
                                                                        "letters", "numbers", "other letters", "other numbers"};
  return kNames[static_cast<size_t>(convention)];
}

const std::vector<std::string>& TermNames() {
  static const std::vector<std::string> kNames = [] {
    const auto order = RandomStream(kBaseSeed, RandomPurpose::kData, {StableId("terms")}).Permutation(kTerms);
    std::vector<std::string> names;
    for (int64_t i : order) {
      const auto place = static_cast<size_t>(i) / kFaults.size(), fault = static_cast<size_t>(i) % kFaults.size();
      names.push_back(std::string(kPlaces[place]) + "-" + kFaults[fault]);
    }
    return names;
  }();
  return kNames;
}

std::string Question(const Fact& fact, int question_template) {
  const std::string& term = TermNames()[static_cast<size_t>(fact.term)];
  const std::string relation = kRelationWords[static_cast<size_t>(fact.relation)];
  switch (question_template) {
    case 0:
      return relation + " of " + term + " ?";
    case 1:
      return "what is the " + relation + " of " + term + " ?";
    case 2:
      return "for " + term + " name the " + relation + " :";
    default:
      FEDALT_CHECK(false, "there are three question templates");
  }
}

std::string Answer(const Fact& fact, Convention convention) {
  const Value& words = Values(fact.relation)[static_cast<size_t>(fact.value)];
  switch (convention) {
    case Convention::kEnglish:
      return std::string(words[0]) + " .";
    case Convention::kGerman:
      return std::string(words[1]) + " !";
    case Convention::kFrench:
      return std::string(words[2]) + " ;";
    case Convention::kSpanish:
      return std::string(words[3]) + " ...";
    case Convention::kLetters:
      return "[ " + Letter(fact.value) + " ]";
    case Convention::kNumbers:
      return "# " + std::to_string(fact.value + 1);
    case Convention::kOtherLetters:
      return "[ " + Letter(Recoded(fact, 0)) + " ]";
    case Convention::kOtherNumbers:
      return "# " + std::to_string(Recoded(fact, 1) + 1) + " pt";
  }
  FEDALT_CHECK(false, "there are eight conventions");
}

std::vector<std::string> Vocabulary() {
  std::set<std::string> known;
  std::vector<std::string> words;
  for (int t = 0; t < kTemplates; ++t)
    for (int r = 0; r < kRelations; ++r) AddWords(Question({0, static_cast<Relation>(r), 0}, t), known, words);
  for (int c = 0; c < kConventions; ++c)
    for (int r = 0; r < kRelations; ++r)
      for (int v = 0; v < ValueCount(static_cast<Relation>(r)); ++v)
        AddWords(Answer({0, static_cast<Relation>(r), v}, static_cast<Convention>(c)), known, words);
  for (const std::string& term : TermNames()) AddWords(term, known, words);
  return words;
}

}  // namespace fedalt::demo
