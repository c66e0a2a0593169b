// The rest of world of fedalt and its options against numpy (tests/golden/methods.py), in float64. The data's "stale" weights
// belong to an option that there is not.
#include "fed/methods_golden.h"

namespace fedalt {
namespace {

using testing::Adapter;
using testing::Case;
using testing::ExpectNear;
using testing::ExpectProducts;
using testing::GoldenFederation;
using testing::GoldenModules;
using testing::Input;
using testing::json;
using testing::Matrix;
using testing::Named;

MethodOptions Fedalt(SiteWeights weights = SiteWeights::kUniform, RestOfWorldAggregate aggregate = RestOfWorldAggregate::kFactors,
                     bool rescale = false) {
  MethodOptions options = Named("fedalt");
  options.rest_of_world.weights = weights;
  options.rest_of_world.aggregate = aggregate;
  options.rest_of_world.rescale = rescale;
  return options;
}

void ExpectReaders(GoldenFederation& federation, const json& want, const std::string& what) {
  for (const auto& [reader, adapter] : want.items())
    ExpectNear(federation.site(std::stoul(reader)).adapters.RestOfWorld(), Adapter(adapter), what + ", reader " + reader);
}

TEST(FedaltGolden, ReadsTheMeanOfTheOthers) {
  for (const auto& [weights, name] : {std::pair{SiteWeights::kUniform, "uniform"}, {SiteWeights::kSamples, "samples"}}) {
    GoldenFederation federation(Fedalt(weights));
    EXPECT_EQ(federation.method().needs(), TransportNeed::kSum);
    federation.TrainAndSendAll(1, Input("round1"));
    federation.Exchange(1);
    ExpectReaders(federation, Case("fedalt")[name], name);
    for (size_t k = 0; k < federation.size(); ++k)
      ExpectNear(federation.site(k).adapters.Individual(), Adapter(Input("round1")[k]), "individual");
  }
}

TEST(FedaltGolden, TheAbsentStayInTheLedger) {
  const json& want = Case("fedalt")["absent"];
  GoldenFederation federation(Fedalt());
  federation.TrainAndSendAll(1, Input("round1"));
  federation.Exchange(1);
  for (size_t k = 0; k < federation.size(); ++k)
    if (k != want["site"]) federation.TrainAndSend(2, k, Adapter(Input("round2")[k]));
  federation.Exchange(2);
  ExpectReaders(federation, want["rest_of_world"], "absent");
}

TEST(FedaltGolden, NewcomersReadEverybodyAndOneAloneReadsNothing) {
  for (const auto& [weights, name, senders] : {std::tuple{SiteWeights::kUniform, "newcomer", 4},
                                               {SiteWeights::kSamples, "newcomer_samples", 4},
                                               {SiteWeights::kUniform, "alone", 1}}) {
    GoldenFederation federation(Fedalt(weights));
    for (size_t k = 0; k < static_cast<size_t>(senders); ++k) federation.TrainAndSend(1, k, Adapter(Input("round1")[k]));
    federation.Exchange(1);
    ExpectReaders(federation, Case("fedalt")[name], name);
  }
}

// The same cases where the server computes each site's rest of world: similarity of B that are all alike weighs uniformly.
TEST(FedaltGolden, TheServersMeanIsTheSumsMean) {
  for (const auto& [name, senders] : {std::pair{"uniform", 5}, {"newcomer", 4}, {"alone", 1}}) {
    GoldenFederation federation(Fedalt());
    for (size_t k = 0; k < static_cast<size_t>(senders); ++k) federation.TrainAndSend(1, k, Adapter(Input("round1")[k]));
    const auto at_server = RestOfWorldAtServer(federation.Uploads(1), {});
    for (const auto& [reader, adapter] : Case("fedalt")[name].items())
      ExpectNear(at_server(std::stoll(reader)), Flatten(Adapter(adapter)), std::string(name) + ", reader " + reader);
  }
}

TEST(FedaltGolden, ExactAndSvdReadTheMeanProduct) {
  for (const auto& aggregate : {RestOfWorldAggregate::kExact, RestOfWorldAggregate::kSvd}) {
    const bool exact = aggregate == RestOfWorldAggregate::kExact;
    GoldenFederation federation(Fedalt(SiteWeights::kUniform, aggregate));
    federation.TrainAndSendAll(1, Input("round1"));
    federation.Exchange(1);
    const json& want = exact ? Case("fedalt_options")["exact"] : Case("fedalt_options")["svd"]["products"];
    for (size_t k = 0; k < federation.size(); ++k) {
      const NamedTensors read = federation.site(k).adapters.RestOfWorld();
      EXPECT_EQ(read[0].second.size(0), exact ? 12 : 3) << "rank";
      ExpectProducts(read, want[k], absl::StrCat(exact ? "exact" : "svd", ", reader ", k));
    }
  }
}

TEST(FedaltGolden, RescaleGivesEachModuleTheMedianNorm) {
  const json& want = Case("fedalt_options")["rescale"];
  GoldenFederation all(Fedalt(SiteWeights::kUniform, RestOfWorldAggregate::kFactors, true));
  all.TrainAndSendAll(1, Input("round1"));
  all.Exchange(1);
  for (size_t k = 0; k < all.size(); ++k)
    ExpectNear(all.site(k).adapters.RestOfWorld(), Adapter(want["rest_of_world"][k]), absl::StrCat("reader ", k));

  GoldenFederation even(Fedalt()), rescaled(Fedalt(SiteWeights::kUniform, RestOfWorldAggregate::kFactors, true));
  for (const size_t k : want["even"]["ledger"])
    for (GoldenFederation* federation : {&even, &rescaled}) federation->TrainAndSend(1, k, Adapter(Input("round1")[k]));
  even.Exchange(1);
  rescaled.Exchange(1);
  for (const size_t k : want["even"]["ledger"]) {
    NamedTensors expected = even.site(k).adapters.RestOfWorld();
    for (size_t i = 0; i < GoldenModules().size(); ++i)
      expected[2 * i + 1].second = expected[2 * i + 1].second * want["even"]["factors"][k][GoldenModules()[i].name].get<double>();
    ExpectNear(rescaled.site(k).adapters.RestOfWorld(), expected, "an even number of norms");
  }
}

/// Sites 1 and 2 send minus the B of site 0, and all three receive.
void ExchangeOpposed(GoldenFederation& federation) {
  const NamedTensors first = Adapter(Input("round1")[0]);
  for (size_t k = 0; k < 3; ++k) {
    NamedTensors adapter = Adapter(Input("round1")[k]);
    for (size_t i = 1; k > 0 && i < adapter.size(); i += 2) adapter[i].second = -first[i].second;
    federation.TrainAndSend(1, k, adapter);
  }
  federation.Exchange(1);
}

TEST(FedaltGolden, SimilarityWeighsByTheCosineOfB) {
  const json& want = Case("fedalt_options")["similarity"];
  GoldenFederation federation(Fedalt(SiteWeights::kSimilarity));
  federation.TrainAndSendAll(1, Input("round1"));
  const RoundUploads uploads = federation.Uploads(1);
  for (int64_t k = 0; k < 5; ++k)
    ExpectNear(at::tensor(ReadingWeights(uploads, federation.method().options().rest_of_world).For(k), at::kDouble),
               Matrix(want["weights"][static_cast<size_t>(k)], 1).view({-1}), "weights");
  federation.Exchange(1);
  for (size_t k = 0; k < federation.size(); ++k)
    ExpectNear(federation.site(k).adapters.RestOfWorld(), Adapter(want["rest_of_world"][k]), "rest of world");

  // Sites 1 and 2 have minus the B of site 0: nobody is like site 0, so it reads all; the two read each other.
  GoldenFederation opposed(Fedalt(SiteWeights::kSimilarity));
  ExchangeOpposed(opposed);
  for (size_t k = 0; k < 3; ++k)
    ExpectNear(opposed.site(k).adapters.RestOfWorld(), Adapter(want["opposed"]["rest_of_world"][k]), "opposed");
}

TEST(FedaltGolden, KindredReadsASumInWhichTheMostSimilarCountsInFull) {
  const json& want = Case("fedalt_options")["kindred"];
  GoldenFederation factors(Fedalt(SiteWeights::kKindred)), exact(Fedalt(SiteWeights::kKindred, RestOfWorldAggregate::kExact));
  for (GoldenFederation* federation : {&factors, &exact}) {
    for (size_t k = 0; k < federation->size(); ++k) federation->TrainAndSend(1, k, Adapter(want["adapters"][k]));
    const RoundUploads uploads = federation->Uploads(1);
    for (size_t k = 0; k < federation->size(); ++k)
      ExpectNear(at::tensor(ReadingWeights(uploads, federation->method().options().rest_of_world).For(static_cast<int64_t>(k)),
                            at::kDouble),
                 Matrix(want["weights"][k], 1).view({-1}), "weights");
    federation->Exchange(1);
  }
  for (size_t k = 0; k < factors.size(); ++k) {
    ExpectNear(factors.site(k).adapters.RestOfWorld(), Adapter(want["rest_of_world"][k]), absl::StrCat("factors, reader ", k));
    ExpectProducts(exact.site(k).adapters.RestOfWorld(), want["products"][k], absl::StrCat("exact, reader ", k));
  }

  // Nobody is like site 0: it reads everybody in full.
  GoldenFederation opposed(Fedalt(SiteWeights::kKindred));
  ExchangeOpposed(opposed);
  ExpectNear(opposed.site(0).adapters.RestOfWorld(), Adapter(want["opposed"]["rest_of_world"]), "opposed");
}

TEST(FedaltGolden, DampingMixesFactorsAfterRescale) {
  const json& want = Case("fedalt_options")["damping"];
  for (const bool rescale : {false, true}) {
    MethodOptions options = Fedalt(SiteWeights::kUniform, RestOfWorldAggregate::kFactors, rescale);
    options.rest_of_world.damping = want["b"];
    GoldenFederation federation(options);
    federation.TrainAndSendAll(2, Input("round2"));
    for (size_t k = 0; k < federation.size(); ++k)
      ASSERT_TRUE(federation.site(k).adapters.SetRestOfWorld(Adapter(Case("fedalt")["uniform"][std::to_string(k)])).ok());
    federation.Exchange(2);
    for (size_t k = 0; k < federation.size(); ++k)
      ExpectNear(federation.site(k).adapters.RestOfWorld(), Adapter(want[rescale ? "rescaled" : "plain"][k]),
                 rescale ? "rescaled" : "plain");
  }
}

// Factors of a decomposition have no common basis, so with svd the products are mixed: the best of rank 3 of b new + (1 - b) old.
TEST(FedaltGolden, DampingMixesProductsOfDecompositions) {
  const double b = Case("fedalt_options")["damping"]["b"];
  MethodOptions options = Fedalt(SiteWeights::kUniform, RestOfWorldAggregate::kSvd);
  options.rest_of_world.damping = b;
  GoldenFederation federation(options);
  federation.TrainAndSendAll(1, Input("round1"));
  const json& fresh = Case("fedalt_options")["svd"]["products"];
  for (size_t k = 0; k < federation.size(); ++k)
    ASSERT_TRUE(federation.site(k).adapters.SetRestOfWorld(Adapter(Input("previous"))).ok());
  federation.Exchange(1);
  const NamedTensors before = Adapter(Input("previous"));
  for (size_t k = 0; k < federation.size(); ++k) {
    const NamedTensors read = federation.site(k).adapters.RestOfWorld();
    for (size_t i = 0; i < GoldenModules().size(); ++i) {
      const AdaptedModule module = GoldenModules()[i];
      const at::Tensor mixed = Matrix(fresh[k][module.name], module.out_features) * b +
                               at::mm(before[2 * i + 1].second, before[2 * i].second) * (1.0 - b);
      const auto [u, s, vt] = at::linalg_svd(mixed, /*full_matrices=*/false);
      const at::Tensor best = at::mm(u.narrow(1, 0, 3) * s.narrow(0, 0, 3), vt.narrow(0, 0, 3));
      ExpectNear(at::mm(read[2 * i + 1].second, read[2 * i].second), best, module.name);
    }
  }
}

TEST(FedaltGolden, IncludeSelfReadsTheMeanOfAll) {
  for (const auto& [weights, name] : {std::pair{SiteWeights::kUniform, "uniform"}, {SiteWeights::kSamples, "samples"}}) {
    MethodOptions options = Fedalt(weights);
    options.rest_of_world.include_self = true;
    GoldenFederation federation(options);
    federation.TrainAndSendAll(1, Input("round1"));
    const auto at_server = RestOfWorldAtServer(federation.Uploads(1), options.rest_of_world);
    federation.Exchange(1);
    for (size_t k = 0; k < federation.size(); ++k) {
      const NamedTensors want = Adapter(Case("fedalt_options")["include_self"][name]);
      ExpectNear(federation.site(k).adapters.RestOfWorld(), want, name);
      ExpectNear(at_server(static_cast<int64_t>(k)), Flatten(want), name);
    }
  }
}

TEST(FedaltGolden, InfluenceIsEachOnesShareOfWhatIsRead) {
  for (const auto& [weights, name] : {std::pair{SiteWeights::kUniform, "uniform"}, {SiteWeights::kSamples, "samples"}}) {
    GoldenFederation federation(Fedalt(weights));
    federation.TrainAndSendAll(1, Input("round1"));
    const RoundUploads uploads = federation.Uploads(1);
    std::vector<std::vector<double>> reading;
    for (int64_t k = 0; k < 5; ++k) reading.push_back(ReadingWeights(uploads, federation.method().options().rest_of_world).For(k));
    const auto load = [&](size_t i) -> StatusOr<at::Tensor> { return uploads.uploads[i].values; };
    const auto products = ContributionProducts(uploads.uploads.size(), load, uploads.modules, uploads.r);
    ASSERT_TRUE(products.ok()) << products.status();
    const std::vector<std::vector<double>> shares = Influence(*products, reading);
    ASSERT_EQ(shares.size(), 5u);
    for (size_t k = 0; k < shares.size(); ++k)
      ExpectNear(at::tensor(shares[k], at::kDouble), Matrix(Case("influence")[name][k], 1).view({-1}), name);
  }
}

}  // namespace
}  // namespace fedalt
