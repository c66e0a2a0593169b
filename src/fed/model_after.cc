#include "fed/model_after.h"

#include "fed/reading.h"

namespace fedalt {

StatusOr<std::unique_ptr<Site>> ModelAfter(const ModelSource& source, int64_t round, Moment moment, int64_t index,
                                           const SiteInfo& info) {
  ASSIGN_OR_RETURN(std::unique_ptr<Site> site, MakeSite(source.inputs, source.options, source.method, index, info));
  if (round == 0) {
    if (!source.inputs.initial_individual) return site;
    ASSIGN_OR_RETURN(const NamedTensors initial, source.inputs.initial_individual(static_cast<size_t>(index)));
    RETURN_IF_ERROR(Annotate(site->adapters.SetIndividual(initial), "initial adapter"));
    return site;
  }
  RETURN_IF_ERROR(source.journal.LoadSite(round, *site));
  if (moment == Moment::kBeforeSwap) return site;
  const bool exchange = source.method.trains() && source.method.ExchangesIn(round, source.options.rounds);
  if (exchange && site->refused_round != round) {
    ASSIGN_OR_RETURN(const Published published, source.received(round, info.name));
    RETURN_IF_ERROR(TakeIn(source.method, published, *site));
  }
  site->refused_round = 0;
  return site;
}

StatusOr<std::unique_ptr<Site>> UsedModelAfter(const ModelSource& source, int64_t round, Moment moment, int64_t index,
                                               const SiteInfo& info) {
  ASSIGN_OR_RETURN(std::unique_ptr<Site> site, ModelAfter(source, round, moment, index, info));
  source.method.BeginRound(round, *site);
  RETURN_IF_ERROR(source.method.PrepareUse(*site));
  return site;
}

Moment UnmeasuredMoment(const Method& method) {
  return method.deploy() == Deploy::kSwapped ? Moment::kAfterSwap : Moment::kBeforeSwap;
}

const char* NameOf(Moment moment) {
  return moment == Moment::kAfterSwap ? "after_swap" : "before_swap";
}

}  // namespace fedalt
