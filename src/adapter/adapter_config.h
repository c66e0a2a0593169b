// What an adapter looks like: PEFT's words (r, lora_alpha, lora_dropout, target_modules) and how the two branches are mixed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fedalt {

/// algorithm: mixer token | layer | fixed:p | none | merged.
enum class MixerKind {
  kToken,   ///< p = softmax(G x) per token, G (2, d_in)
  kLayer,   ///< p = softmax(g), g (2), one pair of logits per adapted linear, from 0
  kFixed,   ///< p_I = fixed_p, p_R = 1 - fixed_p
  kNone,    ///< both weights 1
  kMerged,  ///< both weights 1, and the rest of world reads x without dropout, as if it were merged into W0 (an ablation)
};

struct AdapterConfig {
  int64_t r = 8;
  double lora_alpha = 32.0;
  double lora_dropout = 0.05;
  std::vector<std::string> target_modules = {"q_proj",
                                             "v_proj"};  ///< last component of a linear's name; "all-linear" takes every one
  MixerKind mixer = MixerKind::kToken;
  double fixed_p = 0.5;
  double rest_of_world_gain = 1.0;  ///< g: the rest-of-world term times g
  bool freeze_a = false;            ///< A_I is not trained

  double scale() const { return lora_alpha / static_cast<double>(r); }
};

/// Which terms of the layer take part in a forward (algorithm, "Words that must mean one thing").
enum class BranchMode {
  kBoth,
  kRestOfWorldOff,    ///< term dropped, p as computed
  kIndividualOff,     ///< term dropped, p as computed
  kIndividualAlone,   ///< individual with weight 1, as stock PEFT would apply it
  kRestOfWorldAlone,  ///< rest of world with weight 1 (gain applied)
  kBase,              ///< neither
};

}  // namespace fedalt
