#include "adapter/fedalt_linear.h"

#include <cmath>
#include <optional>
#include <utility>

#include "adapter/low_rank_products.h"
#include "base/check.h"
#include "model/tensor_expressions.h"
#include "model/tensor_parallel.h"

// Legend: t token, i input feature, o output feature, c column of the stacked branches [rest of world | individual], r rank.
//
// Forward, with w_I = s p_I and w_R = s g p_R (what a branch mode drops has no columns at all):
//
//   A = [A_R; A_I]   B = [B_R B_I]   u = x' A^T   h = [w_R u_R  w_I u_I]   y = W0 x + b + h B^T
//   z = (G_I - G_R) x                p_I = sigmoid(z)   p_R = sigmoid(-z)            (the softmax of two logits)
//
// Backward, with d = dL/dy and e = d B, so that d^T v_I = e_I^T u_I for v_I = B_I A_I x' and no v is ever formed:
//
//   dB_I = d^T h_I                   f = [w_R e_R  w_I e_I]           dA_I = f_I^T x'
//   q    = p_I p_R s (e_I^T u_I - g e_R^T u_R)                        dG = [q^T x; -q^T x]   (layer mixer: [sum q; -sum q])
//   dx  += q (G_I - G_R) + mask (f A)                               (W0^T d is there already)
//
// Everything with a narrow side is done by adapter/low_rank_products.h, which reads each tall matrix once.

namespace fedalt {
namespace {

enum class MixerUse { kConstant, kToken, kLayer };

/// What one forward decided; its backward follows the same decisions.
struct Recipe {
  at::ScalarType work = at::kFloat;  ///< dtype of the adapters' arithmetic
  MixerUse mixer = MixerUse::kConstant;
  double individual_factor = 0.0;     ///< s, or s p_I where p_I is constant
  double rest_of_world_factor = 0.0;  ///< s g, or s g p_R
  int64_t individual_columns = 0;     ///< r, or 0 if the term is dropped
  int64_t rest_of_world_columns = 0;
  std::optional<DropoutBits> dropout;

  int64_t columns() const { return rest_of_world_columns + individual_columns; }
  const DropoutBits* mask() const { return dropout ? &*dropout : nullptr; }
};

/// The zero matrix of the first round contributes exactly nothing. Normally the first entry decides.
bool IsZero(const at::Tensor& b_or) {
  if (!b_or.is_cpu()) return false;  // looking would wait for the device; products with zeros are as exact
  if (!b_or.is_contiguous() || b_or.scalar_type() != at::kFloat) return !b_or.any().item<bool>();
  const float* values = b_or.data_ptr<float>();
  for (int64_t i = 0; i < b_or.numel(); ++i)
    if (values[i] != 0.0f) return false;
  return true;
}

bool UsesMixer(const LayerMode& mode) {
  return mode.mixer == MixerKind::kToken || mode.mixer == MixerKind::kLayer;
}

/// p_I where it is the same for every token and not learned.
double ConstantIndividualWeight(const LayerMode& mode) {
  return mode.mixer == MixerKind::kFixed ? mode.fixed_p : 0.5;
}

void SetFactors(const LayerMode& mode, Recipe& recipe) {
  const bool alone = mode.branches == BranchMode::kIndividualAlone || mode.branches == BranchMode::kRestOfWorldAlone;
  recipe.individual_factor = mode.scale;
  recipe.rest_of_world_factor = mode.scale * mode.gain;
  if (alone || mode.mixer == MixerKind::kNone || mode.mixer == MixerKind::kMerged) return;
  if (UsesMixer(mode) && mode.mixer_active) {
    recipe.mixer = mode.mixer == MixerKind::kToken ? MixerUse::kToken : MixerUse::kLayer;
  } else {
    const double p = ConstantIndividualWeight(mode);
    recipe.individual_factor *= p;
    recipe.rest_of_world_factor *= 1.0 - p;
  }
}

/// Without columns there is no term: it is absent, and the mixer weighs nothing.
Recipe MakeRecipe(const LayerAdapters& adapters, const LayerMode& mode, at::ScalarType x_type) {
  Recipe recipe;
  recipe.work = x_type == at::kDouble ? at::kDouble : at::kFloat;
  SetFactors(mode, recipe);
  const BranchMode b = mode.branches;
  const bool individual = b == BranchMode::kBoth || b == BranchMode::kRestOfWorldOff || b == BranchMode::kIndividualAlone;
  const bool rest_of_world = b == BranchMode::kBoth || b == BranchMode::kIndividualOff || b == BranchMode::kRestOfWorldAlone;
  if (individual) {
    FEDALT_CHECK(adapters.individual.a_ri.scalar_type() == recipe.work,
                 "adapters are float64 where the base is, float32 otherwise");
    recipe.individual_columns = adapters.individual.a_ri.size(0);
  }
  if (rest_of_world && adapters.rest_of_world.b_or.defined() && !IsZero(adapters.rest_of_world.b_or))
    recipe.rest_of_world_columns = adapters.rest_of_world.a_ri.size(0);
  return recipe;
}

at::Tensor MixerDirection(const at::Tensor& mixer_2i) {
  return mixer_2i.narrow(0, 0, 1) - mixer_2i.narrow(0, 1, 1);
}

/// Gate on the CPU. z: one per token, one for all, or null for constant weights.
template <typename T>
void GateRows(const Recipe& recipe, const T* values, int64_t values_row, const T* z, int64_t z_row, int64_t tokens, T* gated) {
  const int64_t others = recipe.rest_of_world_columns, all = recipe.columns();
  for (int64_t t = 0; t < tokens; ++t, values += values_row, gated += all) {
    T rest_of_world = static_cast<T>(recipe.rest_of_world_factor), individual = static_cast<T>(recipe.individual_factor);
    if (z != nullptr) {
      rest_of_world /= 1 + std::exp(z[t * z_row]);
      individual /= 1 + std::exp(-z[t * z_row]);
    }
    for (int64_t c = 0; c < others; ++c) gated[c] = values[c] * rest_of_world;
    for (int64_t c = others; c < all; ++c) gated[c] = values[c] * individual;
  }
}

/// The columns of both branches times their weights.
at::Tensor Gate(const Recipe& recipe, const at::Tensor& values_tc, const at::Tensor& z_t1) {
  at::Tensor gated = at::empty({values_tc.size(0), recipe.columns()}, values_tc.options());
  if (!ByExpressions(values_tc)) {
    const auto run = [&](auto zero) {
      using T = decltype(zero);
      const T* const z = recipe.mixer == MixerUse::kConstant ? nullptr : z_t1.data_ptr<T>();
      GateRows<T>(recipe, values_tc.data_ptr<T>(), values_tc.stride(0), z, recipe.mixer == MixerUse::kToken ? 1 : 0,
                  values_tc.size(0), gated.data_ptr<T>());
    };
    recipe.work == at::kDouble ? run(0.0) : run(0.0f);
    return gated;
  }
  const auto branch = [&](int64_t begin, int64_t count, double factor, double sign) {
    if (count == 0) return;
    at::Tensor out = gated.narrow(1, begin, count);
    const at::Tensor in = values_tc.narrow(1, begin, count);
    if (recipe.mixer == MixerUse::kConstant) {
      at::mul_out(out, in, at::scalar_tensor(factor, in.options()));
    } else {
      at::mul_out(out, in, at::sigmoid(z_t1 * sign) * factor);
    }
  };
  branch(0, recipe.rest_of_world_columns, recipe.rest_of_world_factor, -1.0);
  branch(recipe.rest_of_world_columns, recipe.individual_columns, recipe.individual_factor, 1.0);
  return gated;
}

/// q = dL/dz_I = -dL/dz_R per token (T, 1).
at::Tensor MixerGradient(const Recipe& recipe, const at::Tensor& e_tc, const at::Tensor& u_tc, const at::Tensor& z_t1) {
  const at::Tensor products = e_tc * u_tc;
  const auto term = [&](int64_t begin, int64_t count, double factor) {
    return products.narrow(1, begin, count).sum(1, /*keepdim=*/true) * factor;
  };
  at::Tensor difference = term(recipe.rest_of_world_columns, recipe.individual_columns, recipe.individual_factor);
  if (recipe.rest_of_world_columns > 0) difference.sub_(term(0, recipe.rest_of_world_columns, recipe.rest_of_world_factor));
  return difference.mul_(at::sigmoid(z_t1) * at::sigmoid(-z_t1));
}

/// The stacked branches, laid out as the forward's products read them.
struct Factors {
  at::Tensor a_ci;          ///< its transpose is contiguous
  at::Tensor b_oc;          ///< likewise
  at::Tensor direction_1i;  ///< of the mixer: G_I - G_R for a token mixer, (1, 1) for a layer's, undefined without one
};

Factors Stack(const Recipe& recipe, const LayerAdapters& adapters) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> a_parts, b_parts;
  const auto add = [&](const LoraFactors& branch) {
    a_parts.push_back(branch.a_ri.t());
    b_parts.push_back(branch.b_or.t());
  };
  if (recipe.rest_of_world_columns > 0) add(adapters.rest_of_world);
  if (recipe.individual_columns > 0) add(adapters.individual);
  Factors factors{at::cat(a_parts, 1).contiguous().t(), at::cat(b_parts, 0).contiguous().t(), {}};
  if (recipe.mixer == MixerUse::kToken) factors.direction_1i = MixerDirection(adapters.mixer);
  if (recipe.mixer == MixerUse::kLayer) factors.direction_1i = MixerDirection(adapters.mixer.view({2, 1})).contiguous();
  return factors;
}

/// What passes through the factors.
struct Activations {
  at::Tensor u_tc;
  at::Tensor z_t1;  ///< undefined without a mixer
};

/// Of rows that stand for outputs those that are computed.
at::Tensor OwnOutputs(const at::Tensor& rows_o, const TeamMember* member) {
  if (member == nullptr) return rows_o;
  return rows_o.narrow(0, member->First(rows_o.size(0)), member->Count(rows_o.size(0)));
}

/// y += the term.
Activations AddTerm(const Recipe& recipe, const Factors& factors, const at::Tensor& x_ti, at::Tensor& y_to,
                    const TeamMember* member) {
  const at::Tensor direction_1i = recipe.mixer == MixerUse::kToken ? factors.direction_1i : at::Tensor();
  const Projection down = ProjectRows(x_ti, factors.a_ci, recipe.mask(), direction_1i);
  Activations passing{down.u_tc, recipe.mixer == MixerUse::kLayer ? factors.direction_1i : down.z_t1};
  AddRankUpdate(y_to, Gate(recipe, passing.u_tc, passing.z_t1), OwnOutputs(factors.b_oc, member).t(), nullptr);
  return passing;
}

/// Whose gradients are asked for.
struct Wanted {
  bool a = false, b = false, mixer = false;
};

/// All that the backward pass needs beside x and d. It is small.
class SavedTerm final : public LinearExtension::Saved {
 public:
  SavedTerm(Recipe recipe, Factors factors, Activations activations, const Wanted& wanted, bool has_mixer)
      : recipe_(std::move(recipe)),
        factors_(std::move(factors)),
        activations_(std::move(activations)),
        wanted_(wanted),
        has_mixer_(has_mixer) {}

  std::vector<at::Tensor> Backward(const at::Tensor& x_ti, const at::Tensor& d_to, at::Tensor* dx_ti) const override {
    const at::Tensor &u_tc = activations_.u_tc, &z_t1 = activations_.z_t1;
    const int64_t first = recipe_.rest_of_world_columns, count = recipe_.individual_columns;
    const bool token_mixer = recipe_.mixer == MixerUse::kToken;
    at::Tensor da_ri, db_or, d_mixer;
    const at::Tensor e_tc = ProjectRows(d_to, factors_.b_oc.t(), nullptr).u_tc;
    if (wanted_.b) db_or = SumOverTokens(d_to, Gate(recipe_, u_tc, z_t1).narrow(1, first, count), nullptr).sums_fc;
    const at::Tensor f_tc = dx_ti != nullptr || wanted_.a ? Gate(recipe_, e_tc, z_t1) : at::Tensor();
    const at::Tensor q_t1 =
        wanted_.mixer || (token_mixer && dx_ti != nullptr) ? MixerGradient(recipe_, e_tc, u_tc, z_t1) : at::Tensor();
    const at::Tensor token_q_t1 = token_mixer ? q_t1 : at::Tensor();
    if (wanted_.a) {
      const ColumnSums sums =
          SumOverTokens(x_ti, f_tc.narrow(1, first, count), recipe_.mask(), wanted_.mixer ? token_q_t1 : at::Tensor());
      da_ri = sums.sums_fc.t();
      if (sums.plain_1f.defined()) d_mixer = at::cat({sums.plain_1f, -sums.plain_1f}, 0);
    } else if (wanted_.mixer && token_mixer) {
      const at::Tensor row_1i = SumOverTokens(x_ti, q_t1, nullptr).sums_fc.t();
      d_mixer = at::cat({row_1i, -row_1i}, 0);
    }
    if (wanted_.mixer && recipe_.mixer == MixerUse::kLayer) {
      const at::Tensor total = q_t1.sum().view({1});
      d_mixer = at::cat({total, -total});
    }
    if (dx_ti != nullptr) {
      const PlainColumn through_mixer = {token_q_t1, token_mixer ? factors_.direction_1i : at::Tensor()};
      AddRankUpdate(*dx_ti, f_tc, factors_.a_ci, recipe_.mask(), through_mixer);
    }
    std::vector<at::Tensor> gradients = {da_ri, db_or};
    if (has_mixer_) gradients.push_back(d_mixer);
    return gradients;
  }

 private:
  Recipe recipe_;
  Factors factors_;
  Activations activations_;
  Wanted wanted_;
  bool has_mixer_;
};

/// y += D x.
void AddFold(const at::Tensor& fold_oi, const at::Tensor& x_ti, at::Tensor& y_to) {
  const at::NoGradGuard no_grad;
  y_to.add_(at::mm(x_ti.to(fold_oi.scalar_type()), fold_oi.t()).to(y_to.scalar_type()));
}

/// What is beside the individual adapter's term: a rest of world that is merged, a fold. Each may be absent.
class SavedTerms final : public LinearExtension::Saved {
 public:
  SavedTerms(std::unique_ptr<Saved> individual, std::unique_ptr<Saved> merged, at::Tensor fold_oi, size_t parameters)
      : individual_(std::move(individual)), merged_(std::move(merged)), fold_oi_(std::move(fold_oi)), parameters_(parameters) {}

  std::vector<at::Tensor> Backward(const at::Tensor& x_ti, const at::Tensor& d_to, at::Tensor* dx_ti) const override {
    if (dx_ti != nullptr && merged_ != nullptr) merged_->Backward(x_ti, d_to, dx_ti);
    if (dx_ti != nullptr && fold_oi_.defined())
      dx_ti->add_(at::mm(d_to.to(fold_oi_.scalar_type()), fold_oi_).to(dx_ti->scalar_type()));
    return individual_ != nullptr ? individual_->Backward(x_ti, d_to, dx_ti) : std::vector<at::Tensor>(parameters_);
  }

 private:
  std::unique_ptr<Saved> individual_, merged_;
  at::Tensor fold_oi_;
  size_t parameters_;
};

/// FedaltLinear::Prepared. Without columns nothing is added but the fold.
class PreparedLinear final : public LinearExtension {
 public:
  PreparedLinear(Recipe recipe, Factors factors, at::Tensor fold_oi)
      : recipe_(std::move(recipe)), factors_(std::move(factors)), fold_oi_(std::move(fold_oi)) {
    if (recipe_.columns() > 0 && recipe_.work == at::kFloat)
      laid_out_ =
          LayOut(factors_.a_ci, factors_.b_oc.t(), recipe_.mixer == MixerUse::kToken ? factors_.direction_1i : at::Tensor());
  }

  std::vector<at::Tensor> Parameters() const override { return {}; }
  std::unique_ptr<Saved> Add(const at::Tensor& x_ti, at::Tensor& y_to, const ForwardContext& context,
                             bool differentiable) const override {
    FEDALT_CHECK(context.rows == nullptr && !differentiable, "a prepared layer neither trains nor drops out");
    if (fold_oi_.defined()) AddFold(OwnOutputs(fold_oi_, context.member), x_ti, y_to);
    if (recipe_.columns() == 0) return nullptr;
    context.member == nullptr ? void(AddTerm(recipe_, factors_, x_ti, y_to, nullptr)) : AddShare(x_ti, y_to, *context.member);
    return nullptr;
  }

 private:
  /// AddTerm for few rows, as a member's.
  void AddShare(const at::Tensor& x_ti, at::Tensor& y_to, const TeamMember& member) const {
    const float* const shared_z = recipe_.mixer == MixerUse::kLayer ? factors_.direction_1i.data_ptr<float>() : nullptr;
    const auto gate = [&](const float* u, int64_t row, const float* z, float* h) {
      GateRows(recipe_, u, row, shared_z != nullptr ? shared_z : z, shared_z != nullptr ? 0 : 1, x_ti.size(0), h);
    };
    AddFewRows(x_ti, laid_out_, member.First(factors_.b_oc.size(0)), gate, y_to);
  }

  Recipe recipe_;
  Factors factors_;
  FewRowsFactors laid_out_;
  at::Tensor fold_oi_;
};

bool NeedsGradient(const at::Tensor& tensor) {
  return tensor.defined() && tensor.requires_grad();
}

Wanted WantedOf(const Recipe& recipe, const LayerAdapters& adapters) {
  const bool individual = recipe.individual_columns > 0, mixer = recipe.mixer != MixerUse::kConstant;
  return {individual && NeedsGradient(adapters.individual.a_ri), individual && NeedsGradient(adapters.individual.b_or),
          mixer && NeedsGradient(adapters.mixer)};
}

/// D, or undefined where there is none or the plain base is asked for.
at::Tensor FoldOf(const LayerAdapters& adapters, const LayerMode& mode) {
  return mode.branches == BranchMode::kBase ? at::Tensor() : adapters.fold_oi;
}

}  // namespace

FedaltLinear::FedaltLinear(LayerAdapters adapters, const LayerMode* mode, uint64_t module_id)
    : adapters_(std::move(adapters)), mode_(mode), module_id_(module_id) {}

std::vector<at::Tensor> FedaltLinear::Parameters() const {
  std::vector<at::Tensor> parameters = {adapters_.individual.a_ri, adapters_.individual.b_or};
  if (adapters_.mixer.defined()) parameters.push_back(adapters_.mixer);
  return parameters;
}

std::unique_ptr<LinearExtension::Saved> FedaltLinear::Add(const at::Tensor& x_ti, at::Tensor& y_to, const ForwardContext& context,
                                                          bool differentiable) const {
  Recipe recipe = MakeRecipe(adapters_, *mode_, x_ti.scalar_type());
  const at::Tensor fold_oi = FoldOf(adapters_, *mode_);
  if (fold_oi.defined()) AddFold(OwnOutputs(fold_oi, context.member), x_ti, y_to);
  const auto add = [&](const Recipe& part) -> std::unique_ptr<Saved> {
    if (part.columns() == 0) return nullptr;
    Factors factors = Stack(part, adapters_);
    Activations activations = AddTerm(part, factors, x_ti, y_to, context.member);
    if (!differentiable) return nullptr;
    return std::make_unique<SavedTerm>(part, std::move(factors), std::move(activations), WantedOf(part, adapters_),
                                       adapters_.mixer.defined());
  };
  std::unique_ptr<Saved> merged;
  if (mode_->mixer == MixerKind::kMerged) {
    Recipe others = recipe;
    others.individual_columns = 0;
    merged = add(others);
    recipe.rest_of_world_columns = 0;
  }
  if (recipe.columns() > 0 && context.rows != nullptr && mode_->dropout > 0.0) {
    recipe.dropout = DrawDropout(*context.rows, x_ti.size(1), mode_->dropout, context.dropout_key, module_id_);
    recipe.dropout->words = recipe.dropout->words.to(x_ti.device());
  }
  std::unique_ptr<Saved> saved = add(recipe);
  if (!differentiable || (merged == nullptr && !fold_oi.defined())) return saved;
  return std::make_unique<SavedTerms>(std::move(saved), std::move(merged), fold_oi, Parameters().size());
}

std::unique_ptr<LinearExtension> FedaltLinear::Prepared() const {
  Recipe recipe = MakeRecipe(adapters_, *mode_, adapters_.individual.a_ri.scalar_type());
  Factors factors = recipe.columns() > 0 ? Stack(recipe, adapters_) : Factors{};
  return std::make_unique<PreparedLinear>(std::move(recipe), std::move(factors), FoldOf(adapters_, *mode_));
}

at::Tensor FedaltLinear::IndividualWeight(const at::Tensor& x_ti) const {
  const at::NoGradGuard no_grad;
  const LayerMode& mode = *mode_;
  const auto constant = [&](double p) { return at::full({x_ti.size(0)}, p, x_ti.options().dtype(at::kFloat)); };
  if (mode.mixer == MixerKind::kNone || mode.mixer == MixerKind::kMerged) return constant(1.0);
  if (!UsesMixer(mode) || !mode.mixer_active) return constant(ConstantIndividualWeight(mode));
  const at::Tensor direction = MixerDirection(adapters_.mixer);
  const at::Tensor logit = mode.mixer == MixerKind::kToken ? at::mm(x_ti.to(direction.scalar_type()), direction.t()) : direction;
  return at::sigmoid(logit).to(at::kFloat).view({-1}).expand({x_ti.size(0)}).contiguous();
}

}  // namespace fedalt
