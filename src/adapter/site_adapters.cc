#include "adapter/site_adapters.h"

#include <absl/strings/match.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "model/finite.h"

namespace fedalt {
namespace {

/// What is drawn for one module; part of the stream's path, so never renumber.
enum class Drawn : uint64_t { kIndividualA = 1, kRestOfWorldA = 2, kMixer = 3 };

/// Stands for "every site" in a stream's path.
constexpr uint64_t kEverySite = ~uint64_t{0};

std::string_view LastComponent(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

/// PEFT's rule: the whole name, or its end after a dot.
bool Matches(const std::string& name, const std::string& target) {
  return target == "all-linear" || name == target || absl::EndsWith(name, absl::StrCat(".", target));
}

void FillUniform(at::Tensor& tensor, double bound, const RandomStream& stream) {
  FEDALT_CHECK(tensor.is_contiguous(), "adapters are contiguous");
  at::Tensor drawn = tensor.is_cpu() ? tensor : at::empty_like(tensor, at::kCPU);
  const auto fill = [&](auto* values) {
    using Value = std::remove_pointer_t<decltype(values)>;
    for (int64_t i = 0; i < tensor.numel(); ++i)
      values[i] = static_cast<Value>(bound * (2.0 * stream.Uniform(static_cast<uint64_t>(i)) - 1.0));
  };
  if (tensor.scalar_type() == at::kDouble) {
    fill(drawn.data_ptr<double>());
  } else {
    fill(drawn.data_ptr<float>());
  }
  if (!tensor.is_cpu()) tensor.copy_(drawn);
}

std::string Shape(at::IntArrayRef sizes) {
  return absl::StrCat("(", absl::StrJoin(sizes, ", "), ")");
}

/// Checks everything before the first value is copied, so that an error leaves the layers as they were.
Status CopyInto(const NamedTensors& targets, const NamedTensors& sources, std::string_view what) {
  std::map<std::string_view, const at::Tensor*> by_name;
  for (const auto& [name, tensor] : sources)
    if (!by_name.emplace(name, &tensor).second) return ModelError(absl::StrFormat("%s: \"%s\" was given twice", what, name));
  std::vector<const at::Tensor*> found;
  for (const auto& [name, target] : targets) {
    const auto it = by_name.find(name);
    if (it == by_name.end())
      return ModelError(
          absl::StrFormat("%s: \"%s\" is missing; it belongs to other target_modules, another mixer or another model", what, name));
    if (it->second->sizes() != target.sizes())
      return ModelError(absl::StrFormat("%s: \"%s\" has shape %s, expected %s; check r and the base model", what, name,
                                        Shape(it->second->sizes()), Shape(target.sizes())));
    if (const Status finite = CheckFinite(name, *it->second); !finite.ok()) return Annotate(finite, what);
    found.push_back(it->second);
    by_name.erase(it);
  }
  if (!by_name.empty())
    return ModelError(
        absl::StrFormat("%s: there is no place for \"%s\"; it belongs to other target_modules, another mixer or another "
                        "model",
                        what, by_name.begin()->first));
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < targets.size(); ++i) at::Tensor(targets[i].second).copy_(*found[i]);
  return absl::OkStatus();
}

}  // namespace

StatusOr<std::vector<AdaptedModule>> FindAdaptedModules(const Transformer& model, const AdapterConfig& config) {
  std::vector<AdaptedModule> modules;
  std::set<std::string> available;
  std::vector<bool> used(config.target_modules.size(), false);
  for (const Linear* linear : model.linears()) {
    available.insert(std::string(LastComponent(linear->name())));
    bool wanted = false;
    for (size_t i = 0; i < config.target_modules.size(); ++i) {
      if (!Matches(linear->name(), config.target_modules[i])) continue;
      wanted = used[i] = true;
    }
    if (wanted) modules.push_back({linear->name(), linear->index(), linear->in_features(), linear->out_features()});
  }
  const std::string choices = absl::StrCat(absl::StrJoin(available, ", "), ", all-linear");
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i])
      return ConfigError(absl::StrFormat("adapter.target_modules: no linear layer of this %s model is called \"%s\"; it has %s",
                                         model.config().model_type, config.target_modules[i], choices));
  }
  if (modules.empty()) return ConfigError(absl::StrCat("adapter.target_modules is empty; name at least one of ", choices));
  return modules;
}

SiteAdapters::SiteAdapters(std::vector<AdaptedModule> modules, const AdapterConfig& config, at::ScalarType dtype, at::Device device)
    : modules_(std::move(modules)), config_(config) {
  FEDALT_CHECK(config.r > 0, "the configuration was checked");
  mode_.scale = config.scale();
  mode_.gain = config.rest_of_world_gain;
  mode_.dropout = config.lora_dropout;
  mode_.mixer = config.mixer;
  mode_.fixed_p = config.fixed_p;
  const auto options = at::device(device).dtype(dtype);
  for (const AdaptedModule& module : modules_) {
    LayerAdapters adapters;
    adapters.individual = {at::zeros({config.r, module.in_features}, options), at::zeros({module.out_features, config.r}, options)};
    adapters.rest_of_world = {at::zeros({config.r, module.in_features}, options),
                              at::zeros({module.out_features, config.r}, options)};
    if (config.mixer == MixerKind::kToken) adapters.mixer = at::zeros({2, module.in_features}, options);
    if (config.mixer == MixerKind::kLayer) adapters.mixer = at::zeros({2}, options);
    layers_.push_back(std::make_unique<FedaltLinear>(std::move(adapters), &mode_, StableId(module.name)));
    const size_t index = static_cast<size_t>(module.linear_index);
    if (extensions_.size() <= index) extensions_.resize(index + 1, nullptr);
    extensions_[index] = layers_.back().get();
  }
}

void SiteAdapters::Initialize(const InitOptions& options) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < modules_.size(); ++i) {
    const AdaptedModule& module = modules_[i];
    LayerAdapters& adapters = layers_[i]->adapters();
    const double bound = 1.0 / std::sqrt(static_cast<double>(module.in_features));
    const auto stream = [&](uint64_t site, Drawn drawn) {
      const uint64_t name = StableId(module.name), what = static_cast<uint64_t>(drawn);
      return options.draw == 0 ? RandomStream(options.seed, RandomPurpose::kInit, {site, name, what})
                               : RandomStream(options.seed, RandomPurpose::kInit, {site, name, what, options.draw});
    };
    const uint64_t a_site = options.shared_a ? kEverySite : options.site;
    FillUniform(adapters.individual.a_ri, bound, stream(a_site, Drawn::kIndividualA));
    FillUniform(adapters.rest_of_world.a_ri, bound, stream(a_site, Drawn::kRestOfWorldA));
    adapters.individual.b_or.zero_();
    adapters.rest_of_world.b_or.zero_();
    if (config_.mixer == MixerKind::kToken) FillUniform(adapters.mixer, bound, stream(options.site, Drawn::kMixer));
    if (config_.mixer == MixerKind::kLayer) adapters.mixer.zero_();
  }
}

NamedTensors SiteAdapters::Individual() const {
  NamedTensors out;
  for (size_t i = 0; i < modules_.size(); ++i) {
    out.emplace_back(modules_[i].name + ".lora_A.weight", layers_[i]->adapters().individual.a_ri);
    out.emplace_back(modules_[i].name + ".lora_B.weight", layers_[i]->adapters().individual.b_or);
  }
  return out;
}

NamedTensors SiteAdapters::RestOfWorld() const {
  NamedTensors out;
  for (size_t i = 0; i < modules_.size(); ++i) {
    out.emplace_back(modules_[i].name + ".lora_A.weight", layers_[i]->adapters().rest_of_world.a_ri);
    out.emplace_back(modules_[i].name + ".lora_B.weight", layers_[i]->adapters().rest_of_world.b_or);
  }
  return out;
}

NamedTensors SiteAdapters::Mixer() const {
  NamedTensors out;
  for (size_t i = 0; i < modules_.size(); ++i)
    if (layers_[i]->adapters().mixer.defined()) out.emplace_back(modules_[i].name + ".mixer.weight", layers_[i]->adapters().mixer);
  return out;
}

Status SiteAdapters::SetIndividual(const NamedTensors& tensors) {
  return CopyInto(Individual(), tensors, "individual adapter");
}
Status SiteAdapters::SetRestOfWorld(const NamedTensors& tensors) {
  std::vector<LoraFactors> before;
  for (const auto& layer : layers_) before.push_back(layer->adapters().rest_of_world);
  FitRestOfWorld(tensors);
  Status status = CopyInto(RestOfWorld(), tensors, "rest-of-world adapter");
  if (!status.ok())
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->adapters().rest_of_world = before[i];
  return status;
}

/// Gives each rest-of-world pair the rank that `tensors` has for it; what does not fit in another way is left to CopyInto.
void SiteAdapters::FitRestOfWorld(const NamedTensors& tensors) {
  std::map<std::string_view, const at::Tensor*> by_name;
  for (const auto& [name, tensor] : tensors) by_name.emplace(name, &tensor);
  for (size_t i = 0; i < modules_.size(); ++i) {
    const auto a = by_name.find(modules_[i].name + ".lora_A.weight"), b = by_name.find(modules_[i].name + ".lora_B.weight");
    if (a == by_name.end() || b == by_name.end() || a->second->dim() != 2 || b->second->dim() != 2) continue;
    const int64_t r = a->second->size(0);
    LoraFactors& factors = layers_[i]->adapters().rest_of_world;
    if (r == factors.a_ri.size(0) || r == 0 || b->second->size(1) != r) continue;
    factors = {at::zeros({r, modules_[i].in_features}, factors.a_ri.options()),
               at::zeros({modules_[i].out_features, r}, factors.b_or.options())};
  }
}

NamedTensors SiteAdapters::Folds() const {
  NamedTensors out;
  for (size_t i = 0; i < modules_.size(); ++i)
    if (layers_[i]->adapters().fold_oi.defined())
      out.emplace_back(modules_[i].name + ".fold.weight", layers_[i]->adapters().fold_oi);
  return out;
}

Status SiteAdapters::SetFolds(const NamedTensors& tensors) {
  std::vector<at::Tensor> before;
  for (size_t i = 0; i < modules_.size(); ++i) {
    at::Tensor& fold_oi = layers_[i]->adapters().fold_oi;
    before.push_back(fold_oi);
    fold_oi = tensors.empty() ? at::Tensor()
                              : at::zeros({modules_[i].out_features, modules_[i].in_features},
                                          layers_[i]->adapters().individual.a_ri.options());
  }
  Status status = CopyInto(Folds(), tensors, "fold");
  if (!status.ok())
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->adapters().fold_oi = before[i];
  return status;
}

void SiteAdapters::Fold(size_t i, const at::Tensor& delta_oi) {
  at::Tensor& fold_oi = layers_[i]->adapters().fold_oi;
  const at::Tensor delta = delta_oi.to(layers_[i]->adapters().individual.a_ri.options());
  fold_oi = fold_oi.defined() ? fold_oi + delta : delta.clone();
}

void SiteAdapters::SwapBranches() {
  for (auto& layer : layers_) std::swap(layer->adapters().individual, layer->adapters().rest_of_world);
}
Status SiteAdapters::SetMixer(const NamedTensors& tensors) {
  return CopyInto(Mixer(), tensors, "mixer");
}

}  // namespace fedalt
