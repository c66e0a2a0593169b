// The figures of ./dev bench: what each is, and how it is measured. Every figure is a ratio of works that took turns in one
// process, or a size, so that it says something on a machine that others use, too; only what the server computes for each site is
// told in seconds.
#pragma once

#include <string>
#include <vector>

namespace fedalt::bench {

struct FigureDefinition {
  const char* name;
  const char* unit;
  const char* how;                ///< for the reader of bench.json: what was run and divided by what
  bool needs_bf16;                ///< stated only where the processor multiplies bfloat16
  double (*measure)(bool quick);  ///< in a process of its own; quick: the smallest sizes, to see that it works
};

/// All figures in the order of the report.
std::vector<FigureDefinition> AllFigures();

// One list per file.
std::vector<FigureDefinition> TrainingFigures();
std::vector<FigureDefinition> DecodingFigures();
std::vector<FigureDefinition> AggregationFigures();
std::vector<FigureDefinition> LargeModelFigures();
std::vector<FigureDefinition> MemoryFigures();
std::vector<FigureDefinition> BesideFigures();
#ifdef FEDALT_NET
std::vector<FigureDefinition> FederationLoadFigures();
#endif

}  // namespace fedalt::bench
