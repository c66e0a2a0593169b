#include "figures.h"
namespace fedalt::bench {
std::vector<FigureDefinition> LargeModelFigures() {
  return {};
}
}  // namespace fedalt::bench
