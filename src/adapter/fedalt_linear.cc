#include "adapter/fedalt_linear.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <optional>
#include <utility>

#include "adapter/mixed_precision.h"
#include "base/check.h"

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
//   dx   = W0^T d + q (G_I - G_R) + mask (f A)
//
// Without dropout the row G_I - G_R joins the stack A (last, beside A_I), so that each direction is one product.

namespace fedalt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

enum class MixerUse { kConstant, kToken, kLayer };

/// What one forward decided; its backward follows the same decisions.
struct Recipe : torch::CustomClassHolder {
  at::ScalarType work = at::kFloat;  ///< dtype of the adapters' arithmetic
  MixerUse mixer = MixerUse::kConstant;
  double individual_factor = 0.0;     ///< s, or s p_I where p_I is constant
  double rest_of_world_factor = 0.0;  ///< s g, or s g p_R
  int64_t individual_columns = 0;     ///< r, or 0 if the term is dropped
  int64_t rest_of_world_columns = 0;
  std::optional<DropoutDraws> dropout;

  int64_t columns() const { return rest_of_world_columns + individual_columns; }
  bool mixer_in_stack() const { return mixer == MixerUse::kToken && !dropout; }
};

/// The zero matrix of the first round contributes exactly nothing. Normally the first entry decides.
bool IsZero(const at::Tensor& b_or) {
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
  if (alone || mode.mixer == MixerKind::kNone) return;
  if (UsesMixer(mode) && mode.mixer_active) {
    recipe.mixer = mode.mixer == MixerKind::kToken ? MixerUse::kToken : MixerUse::kLayer;
  } else {
    const double p = ConstantIndividualWeight(mode);
    recipe.individual_factor *= p;
    recipe.rest_of_world_factor *= 1.0 - p;
  }
}

c10::intrusive_ptr<Recipe> MakeRecipe(const LayerAdapters& adapters, const LayerMode& mode, const at::Tensor& x_ti) {
  auto recipe = c10::make_intrusive<Recipe>();
  recipe->work = x_ti.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  SetFactors(mode, *recipe);
  const BranchMode b = mode.branches;
  const bool individual = b == BranchMode::kBoth || b == BranchMode::kRestOfWorldOff || b == BranchMode::kIndividualAlone;
  const bool rest_of_world = b == BranchMode::kBoth || b == BranchMode::kIndividualOff || b == BranchMode::kRestOfWorldAlone;
  if (individual) {
    FEDALT_CHECK(adapters.individual.a_ri.scalar_type() == recipe->work,
                 "adapters are float64 where the base is, float32 otherwise");
    recipe->individual_columns = adapters.individual.a_ri.size(0);
  }
  if (rest_of_world && adapters.rest_of_world.b_or.defined() && !IsZero(adapters.rest_of_world.b_or))
    recipe->rest_of_world_columns = adapters.rest_of_world.a_ri.size(0);
  return recipe;
}

at::Tensor MixerDirection(const at::Tensor& mixer_2i) {
  return mixer_2i.narrow(0, 0, 1) - mixer_2i.narrow(0, 1, 1);
}

/// z = logit_I - logit_R: (T, 1) or, for a layer mixer, (1, 1).
at::Tensor MixerLogit(const Recipe& recipe, const at::Tensor& mixer, const at::Tensor& x_ti) {
  if (recipe.mixer == MixerUse::kLayer) return MixerDirection(mixer).view({1, 1});
  return at::mm(ToWork(x_ti, recipe.work), MixerDirection(mixer).t());
}

/// The columns of both branches times their weights.
at::Tensor Gate(const Recipe& recipe, const at::Tensor& values_tc, const at::Tensor& z_t1) {
  at::Tensor gated = at::empty({values_tc.size(0), recipe.columns()}, values_tc.options());
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

/// Everything that the backward pass needs beside x, W0 and the recipe. All of it is small.
struct Saved {
  at::Tensor a_ci;  ///< stacked A (and the mixer's direction where it is in the stack)
  at::Tensor b_oc;  ///< stacked B
  at::Tensor u_tc;
  at::Tensor z_t1;  ///< undefined without a mixer
};

at::Tensor Compute(const Recipe& recipe, const Linear& base, const LayerAdapters& adapters, const at::Tensor& x_ti, Saved* saved) {
  at::Tensor y_to = base.BaseForward(x_ti);
  std::vector<at::Tensor> a_parts, b_parts;
  if (recipe.rest_of_world_columns > 0) {
    a_parts.push_back(adapters.rest_of_world.a_ri);
    b_parts.push_back(adapters.rest_of_world.b_or);
  }
  if (recipe.individual_columns > 0) {
    a_parts.push_back(adapters.individual.a_ri);
    b_parts.push_back(adapters.individual.b_or);
  }
  if (recipe.mixer_in_stack()) a_parts.push_back(MixerDirection(adapters.mixer));
  const at::Tensor a_ci = at::cat(a_parts, 0), b_oc = at::cat(b_parts, 1);
  const at::Tensor u_all = at::mm(recipe.dropout ? recipe.dropout->Apply(x_ti, recipe.work) : ToWork(x_ti, recipe.work), a_ci.t());
  const at::Tensor u_tc = u_all.narrow(1, 0, recipe.columns());
  at::Tensor z_t1;
  if (recipe.mixer_in_stack()) {
    z_t1 = u_all.narrow(1, recipe.columns(), 1);
  } else if (recipe.mixer != MixerUse::kConstant) {
    z_t1 = MixerLogit(recipe, adapters.mixer, x_ti);
  }
  const at::Tensor h_tc = Gate(recipe, u_tc, z_t1);
  if (y_to.scalar_type() == recipe.work) {
    y_to.addmm_(h_tc, b_oc.t());
  } else {
    AddTo(y_to, at::mm(h_tc, b_oc.t()));
  }
  if (saved != nullptr) *saved = {a_ci, b_oc, u_tc, z_t1};
  return y_to;
}

struct Wanted {
  bool x = false, a = false, b = false, mixer = false;
};
struct Gradients {
  at::Tensor x_ti, a_ri, b_or, mixer;
};

Gradients ComputeGradients(const Recipe& recipe, const Saved& saved, const at::Tensor& x_ti, const at::Tensor& weight_oi,
                           const at::Tensor& d_to, const at::Tensor& mixer, const Wanted& wanted) {
  Gradients out;
  const int64_t first = recipe.rest_of_world_columns, count = recipe.individual_columns;
  const at::Tensor d_work = ToWork(d_to, recipe.work);
  const at::Tensor e_tc = at::mm(d_work, saved.b_oc);
  if (wanted.b) out.b_or = at::mm(d_work.t(), Gate(recipe, saved.u_tc, saved.z_t1).narrow(1, first, count));
  at::Tensor f_tc = wanted.x || wanted.a ? Gate(recipe, e_tc, saved.z_t1) : at::Tensor();
  at::Tensor q_t1;
  const bool through_token_mixer = recipe.mixer == MixerUse::kToken && wanted.x;
  if (wanted.mixer || through_token_mixer) q_t1 = MixerGradient(recipe, e_tc, saved.u_tc, saved.z_t1);
  if (wanted.mixer && recipe.mixer == MixerUse::kLayer) {
    const at::Tensor total = q_t1.sum().view({1});
    out.mixer = at::cat({total, -total});
  }

  // With the mixer's direction in the stack, q is one more column: one product serves dA_I and dG, one serves all of dx.
  const bool token_mixer_gradient = wanted.mixer && recipe.mixer == MixerUse::kToken;
  const bool stacked = recipe.mixer_in_stack() && q_t1.defined() && f_tc.defined();
  const at::Tensor f_all = stacked ? at::cat({f_tc, q_t1}, 1) : f_tc;
  at::Tensor low_ti;  // what passes through A, before the mask
  if (wanted.x) low_ti = at::mm(f_all, saved.a_ci);
  at::Tensor in_ti;  // what A_I saw: x' or x
  if (recipe.dropout && wanted.x && wanted.a) {
    in_ti = recipe.dropout->ApplyBoth(x_ti, low_ti);
  } else if (recipe.dropout && wanted.x) {
    recipe.dropout->ApplyInPlace(low_ti);
  } else if (recipe.dropout && wanted.a) {
    in_ti = recipe.dropout->Apply(x_ti, recipe.work);
  } else if (wanted.a) {
    in_ti = ToWork(x_ti, recipe.work);
  }
  if (wanted.a && stacked && token_mixer_gradient) {
    const at::Tensor both = at::mm(f_all.narrow(1, first, count + 1).t(), in_ti);
    out.a_ri = both.narrow(0, 0, count);
    out.mixer = at::cat({both.narrow(0, count, 1), -both.narrow(0, count, 1)}, 0);
  } else {
    if (wanted.a) out.a_ri = at::mm(f_tc.narrow(1, first, count).t(), in_ti);
    if (token_mixer_gradient) {
      const at::Tensor row_1i = at::mm(q_t1.t(), ToWork(x_ti, recipe.work));
      out.mixer = at::cat({row_1i, -row_1i}, 0);
    }
  }
  if (wanted.x) {
    if (through_token_mixer && !recipe.mixer_in_stack()) low_ti.addmm_(q_t1, MixerDirection(mixer));
    if (d_to.scalar_type() == recipe.work) {
      out.x_ti = low_ti.addmm_(d_to, weight_oi);
    } else {
      out.x_ti = at::mm(d_to, weight_oi);
      AddTo(out.x_ti, low_ti);
    }
  }
  return out;
}

/// The autograd node. Its differentiable inputs are x, A_I, B_I and the mixer; everything else is constant.
struct FedaltFunction : torch::autograd::Function<FedaltFunction> {
  static Variable forward(AutogradContext* ctx, const Variable& x_ti, const Variable& a_ri, const Variable& b_or,
                          const Variable& mixer, const c10::intrusive_ptr<Recipe>& recipe, const Linear* base,
                          const LayerAdapters* adapters) {
    (void)a_ri;  // named as inputs so that the graph leads to them; Compute reads them from `adapters`
    (void)b_or;
    Saved saved;
    Variable y_to = Compute(*recipe, *base, *adapters, x_ti, &saved);
    ctx->save_for_backward({x_ti, mixer, base->weight(), saved.a_ci, saved.b_oc, saved.u_tc, saved.z_t1});
    ctx->saved_data["recipe"] = c10::IValue::make_capsule(recipe);
    return y_to;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grad_outputs) {
    const variable_list kept = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["recipe"].toCapsule();
    const Recipe& recipe = static_cast<const Recipe&>(*capsule);
    const bool individual = recipe.individual_columns > 0, mixer = recipe.mixer != MixerUse::kConstant;
    const Wanted wanted{ctx->needs_input_grad(0), individual && ctx->needs_input_grad(1), individual && ctx->needs_input_grad(2),
                        mixer && ctx->needs_input_grad(3)};
    const Saved saved{kept[3], kept[4], kept[5], kept[6]};
    Gradients g = ComputeGradients(recipe, saved, kept[0], kept[2], grad_outputs[0].contiguous(), kept[1], wanted);
    return {g.x_ti, g.a_ri, g.b_or, g.mixer, Variable(), Variable(), Variable()};
  }
};

bool NeedsGradient(const at::Tensor& tensor) {
  return tensor.defined() && tensor.requires_grad();
}

}  // namespace

FedaltLinear::FedaltLinear(LayerAdapters adapters, const LayerMode* mode, uint64_t module_id)
    : adapters_(std::move(adapters)), mode_(mode), module_id_(module_id) {}

at::Tensor FedaltLinear::Forward(const Linear& base, const at::Tensor& x_ti, const ForwardContext& context) const {
  const LayerMode& mode = *mode_;
  if (mode.branches == BranchMode::kBase) return base.BaseForward(x_ti);
  const c10::intrusive_ptr<Recipe> recipe = MakeRecipe(adapters_, mode, x_ti);
  if (recipe->columns() == 0) return base.BaseForward(x_ti);  // the only term is absent, and the mixer weighs nothing
  if (context.rows != nullptr && mode.dropout > 0.0)
    recipe->dropout.emplace(*context.rows, mode.dropout, context.dropout_key, module_id_);
  const LoraFactors& own = adapters_.individual;
  const bool differentiable = at::GradMode::is_enabled() && (NeedsGradient(x_ti) || NeedsGradient(own.a_ri) ||
                                                             NeedsGradient(own.b_or) || NeedsGradient(adapters_.mixer));
  if (!differentiable) return Compute(*recipe, base, adapters_, x_ti, nullptr);
  // The graph does not take undefined inputs; an empty tensor stands for "no mixer".
  const at::Tensor mixer = adapters_.mixer.defined() ? adapters_.mixer : at::empty({0}, own.a_ri.options().requires_grad(false));
  return FedaltFunction::apply(x_ti, own.a_ri, own.b_or, mixer, recipe, &base, &adapters_);
}

at::Tensor FedaltLinear::IndividualWeight(const at::Tensor& x_ti) const {
  const at::NoGradGuard no_grad;
  const LayerMode& mode = *mode_;
  const auto constant = [&](double p) { return at::full({x_ti.size(0)}, p, x_ti.options().dtype(at::kFloat)); };
  if (mode.mixer == MixerKind::kNone) return constant(1.0);
  if (!UsesMixer(mode) || !mode.mixer_active) return constant(ConstantIndividualWeight(mode));
  Recipe recipe;
  recipe.work = x_ti.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  recipe.mixer = mode.mixer == MixerKind::kToken ? MixerUse::kToken : MixerUse::kLayer;
  return at::sigmoid(MixerLogit(recipe, adapters_.mixer, x_ti)).to(at::kFloat).view({-1}).expand({x_ti.size(0)}).contiguous();
}

}  // namespace fedalt
