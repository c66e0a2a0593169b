"""Golden data for the server and site arithmetic of src/fed: one or two rounds of each federated LoRA method, in plain float64.

Run:      python tests/golden/methods.py           (one second)
Writes:   tests/data/methods/methods.json
Needs:    numpy; the versions used are written into the file.

Written from the papers and, where named, the authors' published programs, without a look at src/fed. Matrices are flat lists in
row order; A is (r, in), B is (out, r), an adapter is {module: {"A", "B"}}, a product {module: (out, in)}. p_k = n_k / sum n
unless a case says uniform. Inputs have three decimals, so they are exact in JSON; outputs have all 17 digits. Beside each case
stands its source and what was chosen where the source is silent. Programs that are named were read; the rest is the papers'
rule as commonly stated.
"""
import json
import pathlib
import platform

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "methods"
MODULES = {"model.layers.0.self_attn.q_proj": (12, 10), "model.layers.0.self_attn.v_proj": (6, 10),
           "model.layers.0.mlp.down_proj": (10, 14)}
SAMPLES = [30, 10, 25, 40, 5]
SITES = range(len(SAMPLES))
RANK, RANKS = 3, [2, 3, 4, 3, 2]
SCALE = 2.0  # lora_alpha / r; at unequal ranks every site has lora_alpha = 2 r_k, as in the official FLoRA program
P = np.array(SAMPLES) / sum(SAMPLES)
UNIFORM = np.full(len(SAMPLES), 1 / len(SAMPLES))

rng = np.random.default_rng(20251126)


def normal(*shape):
    return np.round(rng.normal(size=shape), 3)


def adapter(rank):
    return {m: {"A": normal(rank, n_in), "B": normal(n_out, rank)} for m, (n_out, n_in) in MODULES.items()}


def map_factors(f, *adapters):
    """An adapter whose factor is f of the same factor of all given adapters."""
    return {m: {x: f(*[a[m][x] for a in adapters]) for x in "AB"} for m in MODULES}


def mean(adapters, weights):
    """sum_k w_k theta_k / sum_k w_k, factor by factor."""
    return map_factors(lambda *v: sum(w * x for w, x in zip(weights, v)) / sum(weights), *adapters)


def product(a):
    return {m: a[m]["B"] @ a[m]["A"] for m in MODULES}


def mean_product(adapters, weights):
    products = [product(a) for a in adapters]
    return {m: sum(w * p[m] for w, p in zip(weights, products)) / sum(weights) for m in MODULES}


def best_rank(dense, r):
    """Eckart-Young: the leading r singular triplets. The split into factors is free, so only the product is compared."""
    out = {}
    for m in MODULES:
        u, s, vt = np.linalg.svd(dense[m], full_matrices=False)
        out[m] = (u[:, :r] * s[:r]) @ vt[:r]
        assert np.isclose(np.linalg.norm(dense[m] - out[m]), np.sqrt((s[r:] ** 2).sum()))
    return out


def norm(a, m):
    return np.linalg.norm(a[m]["B"] @ a[m]["A"])


def same(x, y):
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(same(x[k], y[k]) for k in x)
    return np.allclose(x, y, rtol=1e-12, atol=1e-12)


def plain(x):
    """For JSON: arrays become flat lists."""
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if isinstance(x, np.ndarray):
        return [float(v) for v in x.ravel()]
    return x.item() if isinstance(x, np.generic) else x


# --- Inputs -------------------------------------------------------------------------------------------------------------------

base = {m: normal(*shape) for m, shape in MODULES.items()}  # W0
round1 = [adapter(RANK) for _ in SITES]                     # what the sites send in two rounds, all of one rank
round2 = [adapter(RANK) for _ in SITES]
previous = adapter(RANK)                                    # the global adapter before round 1
personal = [adapter(RANK) for _ in SITES]                   # a second adapter of each site that is never sent
unequal = [adapter(r) for r in RANKS]
x = {m: normal(n_in) for m, (_, n_in) in MODULES.items()}   # one input per module


# --- FedIT: Zhang et al., arXiv 2305.05644: FedAvg of both factors, weighted by samples ---------------------------------------
# Server optimiser: FedAvgM, Hsu et al., arXiv 1909.06335: v <- beta v + (theta_previous - mean); theta <- theta_previous - eta
# v. Hsu et al. have eta = 1; FedOpt (Reddi et al., arXiv 2003.00295) puts a server learning rate there. A and B are ordinary
# parameters to it, and v starts at 0. A cohort renormalises its weights over those that sent.

def fedit():
    def optimise(eta, beta):
        theta, v = previous, map_factors(np.zeros_like, previous)
        rounds = []
        for sent in (round1, round2):
            average = mean(sent, P)
            v = map_factors(lambda v, t, a: beta * v + (t - a), v, theta, average)
            theta = map_factors(lambda t, v: t - eta * v, theta, v)
            rounds.append({"global": theta, "velocity": v})
        return {"eta": eta, "beta": beta, "rounds": rounds}

    cohort = [0, 2, 3]
    plain_average = optimise(1.0, 0.0)
    assert all(same(r["global"], mean(sent, P)) for r, sent in zip(plain_average["rounds"], (round1, round2)))
    cohort_mean = mean([round1[k] for k in cohort], [SAMPLES[k] for k in cohort])
    return {"mean": mean(round1, P), "cohort": {"sites": cohort, "mean": cohort_mean},
            "server_optimizer": [optimise(0.7, 0.0), optimise(1.0, 0.9), optimise(0.7, 0.9)]}


# --- Zero padding at unequal ranks, as in HetLoRA: Cho et al., arXiv 2401.06432 -----------------------------------------------
# A gets zero rows below and B zero columns to the right up to the largest rank; a site of rank r_k takes the first r_k rows of
# A and columns of B. HetLoRA proper does two things more, which are left out: it weights site k by ||B_k A_k||_F / sum_j ||B_j
# A_j||_F instead of by samples (sparsity-weighted aggregation), and sites prune their own rank by a regularised loss (rank
# self-pruning). Padding loses nothing of one product; the mean of padded factors dilutes the ranks that few sites have.

def pad(a, r):
    return {m: {"A": np.vstack([a[m]["A"], np.zeros((r - a[m]["A"].shape[0], a[m]["A"].shape[1]))]),
                "B": np.hstack([a[m]["B"], np.zeros((a[m]["B"].shape[0], r - a[m]["B"].shape[1]))])} for m in MODULES}


def hetlora():
    padded = [pad(a, max(RANKS)) for a in unequal]
    assert all(same(product(a), product(b)) for a, b in zip(padded, unequal))
    average = mean(padded, P)
    taken = [{m: {"A": average[m]["A"][:r], "B": average[m]["B"][:, :r]} for m in MODULES} for r in RANKS]
    return {"rank": max(RANKS), "mean": average, "taken": taken}


# --- FFA-LoRA: Sun et al., arXiv 2403.12313: A frozen at one shared draw, B averaged ------------------------------------------
# A is previous's; the B are those of round 1. Weights by samples, as in FedAvg.

def ffa():
    sent = [{m: {"A": previous[m]["A"], "B": a[m]["B"]} for m in MODULES} for a in round1]
    average = mean(sent, P)
    assert all(same(average[m]["A"], previous[m]["A"]) for m in MODULES)
    assert same(product(average), mean_product(sent, P))  # mean(B) A = mean(B A)
    return {"B": {m: average[m]["B"] for m in MODULES}, "product": product(average)}


# --- FedSA-LoRA: Guo et al., arXiv 2410.01463: both are trained, only A is sent and averaged; B stays -------------------------
# Weights by samples; uniform ones beside it.

def fedsa():
    return {"A": {m: mean(round1, P)[m]["A"] for m in MODULES}, "A_uniform": {m: mean(round1, UNIFORM)[m]["A"] for m in MODULES}}


# --- FedDPA: Yang et al., NeurIPS 2024, arXiv 2403.19211, and github.com/Lydia-yang/FedDPA ------------------------------------
# The global adapter is averaged by samples as in FedIT. Output of one linear: W0 x + s (a local(x) + (1 - a) global(x)); a =
# 0.5 in training (code/fed_utils/client.py). Instance-wise at inference (code/GlobalModel_generated.py, get_weight): the
# representation is the last layer's hidden state at the last token of the prompt, with the local adapter alone; 5 prompts are
# drawn from the site's training data, anew for each input; a = w * mean over them of the cosine similarity, w = 0.5 by default
# (1, or another maximum, by option). The program neither clips nor normalises, so a negative mean gives a negative a:
# "weights". "weights_clipped" is max(0, a), and the outputs here use it. The file that applies [a, 1 - a] is not among the
# published ones that we could read; that a high similarity speaks for the local adapter is the paper's idea.

def feddpa():
    dimension, samples, scale = 16, 5, 0.5
    center = rng.normal(size=dimension)
    anchors = np.round(center + 0.7 * rng.normal(size=(samples, dimension)), 3)
    inputs = np.round(np.stack([center + 0.3 * rng.normal(size=dimension), rng.normal(size=dimension), -center]), 3)
    cosines = np.array([[u @ v / np.sqrt((u @ u) * (v @ v)) for v in anchors] for u in inputs])
    weights = scale * cosines.mean(axis=1)
    assert weights[0] > 0.3 and weights[2] < 0 and (np.abs(weights) <= scale).all()
    site, average = 1, mean(round1, P)
    local = personal[site]

    def mixed(a):
        output = lambda adapter, m: adapter[m]["B"] @ (adapter[m]["A"] @ x[m])
        return {m: base[m] @ x[m] + SCALE * (a * output(local, m) + (1 - a) * output(average, m)) for m in MODULES}

    a = weights[0]  # the mixture of outputs is one matrix applied to x
    dense = {m: base[m] + SCALE * (a * product(local)[m] + (1 - a) * product(average)[m]) for m in MODULES}
    assert same({m: dense[m] @ x[m] for m in MODULES}, mixed(a))
    return {"global": average, "local_site": site, "hidden": {"dimension": dimension, "samples": anchors, "inputs": inputs},
            "scale": scale, "cosines": cosines, "weights": weights, "weights_clipped": np.maximum(weights, 0.0),
            "fixed": {"weight": 0.5, "output": mixed(0.5)},
            "instance_wise": [{"weight": max(w, 0.0), "output": mixed(max(w, 0.0))} for w in weights]}


# --- FDLoRA: Qi et al., arXiv 2406.07925, Algorithm 1 (line numbers and line 9 as quoted in github.com/ajbarea/sphragis) ------
# Stage 1: each site trains a personal adapter alone; the global one starts as their plain mean (line 7). Stage 2, round t:
# sites train copies of the global adapter; every H rounds the personal one is overwritten with the site's own trained copy,
# before aggregation (line 14; line 9 prints its condition as t % H, which holds in the wrong rounds, under a comment that says
# every H rounds: t % H == 0 with t from 1). The server takes the plain mean over sites of theta(t-1) - theta_k(t) as gradient g
# of a Nesterov step (lines 17, 18). The form of that step is DiLoCo's (Douillard et al., arXiv 2311.08105), that is
# torch.optim.SGD(nesterov=True): v <- mu v + g; theta <- theta - eta (g + mu v), v = 0 at first; eta 0.7 and mu 0.9 are
# DiLoCo's too. Means by samples stand beside the uniform ones. Stage 3, AdaFusion: (w1 A_p + w2 A_s)(w1 B_p + w2 B_s) in the
# paper's order of factors, (w1 B_p + w2 B_s)(w1 A_p + w2 A_s) in ours: the factors are fused, so products cross. w is found
# without gradients on few samples. The paper's constants were not at hand; LoRAHub (Huang et al., arXiv 2307.13269), where such
# a search comes from, adds 0.05 * mean |w_i| ("l1") to the mean loss of the few samples and searches within [-1.5, 1.5] from w
# = 0.

def fdlora():
    def outer(weights, eta, mu):
        theta, v = previous, map_factors(np.zeros_like, previous)
        rounds = []
        for sent in (round1, round2):
            g = mean([map_factors(lambda t, s: t - s, theta, s) for s in sent], weights)
            v = map_factors(lambda v, g: mu * v + g, v, g)
            theta = map_factors(lambda t, g, v: t - eta * (g + mu * v), theta, g, v)
            rounds.append({"global": theta, "velocity": v})
        return {"eta": eta, "mu": mu, "rounds": rounds}

    assert same(outer(P, 1.0, 0.0)["rounds"][0]["global"], mean(round1, P))  # without momentum and at eta 1 it is FedAvg
    fused = []
    for w1, w2 in ((1.0, 0.0), (0.4, 0.9), (-0.3, 1.2)):
        a = map_factors(lambda p, s: w1 * p + w2 * s, personal[1], previous)
        cross = {m: personal[1][m]["B"] @ previous[m]["A"] + previous[m]["B"] @ personal[1][m]["A"] for m in MODULES}
        own, shared = product(personal[1]), product(previous)
        assert same(product(a), {m: w1 * w1 * own[m] + w2 * w2 * shared[m] + w1 * w2 * cross[m] for m in MODULES})
        fused.append({"w": [w1, w2], "factors": a, "product": product(a), "l1": 0.05 * (abs(w1) + abs(w2)) / 2})
    assert same(fused[0]["factors"], personal[1])
    every = 2
    return {"initial_uniform": mean(personal, UNIFORM), "initial_samples": mean(personal, P),
            "outer_uniform": outer(UNIFORM, 0.7, 0.9), "outer_samples": outer(P, 0.7, 0.9),
            "sync": {"every": every, "rounds": [t for t in range(1, 8) if t % every == 0]},
            "fusion": {"personal_site": 1, "cases": fused}}


# --- FLoRA: Wang et al., arXiv 2409.05976, and github.com/ATP-1010/FederatedLLM (fed_utils/model_aggregation.py, main.py) -----
# Only A carries p_k; the stack is in the order of sites. W0 <- W0 + s B A: the program loads the stack with lora_alpha and r
# both times the number of sites, so s stays (at unequal ranks it has lora_alpha = 2 r_k, so s = 2). Sites restart from fresh
# adapters.

def flora():
    def stack(adapters):
        stacked = {m: {"A": np.vstack([p * a[m]["A"] for p, a in zip(P, adapters)]), "B": np.hstack([a[m]["B"] for a in adapters])}
                   for m in MODULES}
        assert same(product(stacked), mean_product(adapters, P))
        fold = {m: SCALE * product(stacked)[m] for m in MODULES}
        folded = {m: base[m] + fold[m] for m in MODULES}
        return {"stacked": stacked, "product": product(stacked), "fold": fold, "folded_base": folded}
    return {"equal": stack(round1), "unequal": stack(unequal)}


# --- FlexLoRA: Bai et al., arXiv 2402.11505: weighted mean of the full-size products, then SVD cut at each site's rank --------
# A common s cancels: it multiplies the target and divides the factors again. How the product is split into factors is not
# compared.

def flexlora():
    target = mean_product(unequal, P)
    singular_values = {m: np.linalg.svd(target[m], compute_uv=False) for m in MODULES}
    return {"equal": {"rank": RANK, "product": best_rank(mean_product(round1, P), RANK)},
            "unequal": {"target": target, "singular_values": singular_values,
                        "products": [{"rank": r, "product": best_rank(target, r)} for r in sorted(set(RANKS))]}}


# --- FedEx-LoRA: Singhal et al., arXiv 2410.09432, and the authors' fed_agg.py ------------------------------------------------
# Residual = mean(B A) - mean(B) mean(A), added to W0 times s. Their means are uniform; by samples beside it.

def fedex():
    out = {}
    for name, weights in (("uniform", UNIFORM), ("samples", P)):
        average, exact = mean(round1, weights), mean_product(round1, weights)
        residual = {m: exact[m] - product(average)[m] for m in MODULES}
        deviations = [map_factors(lambda f, centre: f - centre, a, average) for a in round1]
        assert same(residual, mean_product(deviations, weights))  # the residual is the covariance of the factors
        folded = {m: base[m] + SCALE * residual[m] for m in MODULES}
        assert all(np.allclose(folded[m] + SCALE * product(average)[m], base[m] + SCALE * exact[m]) for m in MODULES)
        out[name] = {"mean": average, "residual": residual, "folded_base": folded}
    return out


# --- RoLoRA: Chen et al., arXiv 2502.01755 (first 2409.02346): odd rounds train and average B with A frozen, even rounds A ----
# Round 1 sends the B of round1, round 2 the A of round2. Each mean is exact, as the other factor is common. By samples.

def rolora():
    odd = [{m: {"A": previous[m]["A"], "B": a[m]["B"]} for m in MODULES} for a in round1]
    after1 = mean(odd, P)
    assert same(product(after1), mean_product(odd, P))
    even = [{m: {"A": a[m]["A"], "B": after1[m]["B"]} for m in MODULES} for a in round2]
    after2 = mean(even, P)
    assert same(product(after2), mean_product(even, P))
    return {"after_round1": {m: {"A": previous[m]["A"], "B": after1[m]["B"]} for m in MODULES},
            "after_round2": {m: {"A": after2[m]["A"], "B": after1[m]["B"]} for m in MODULES}}


# --- FedALT: Bian et al., AAAI 2026, arXiv 2503.11880: rest of world = uniform mean of the others' factors, everybody present
# Weights, the ledger of absent sites, staleness and the zero of an empty ledger are this project's.

def others_mean(ledger, weights, reader):
    """Mean over the entries of the ledger but reader's; zero if there are none. ledger: {site: adapter}; weights: {site: w}."""
    others = [j for j in ledger if j != reader]
    if not others:
        return map_factors(np.zeros_like, previous)
    others_adapter = mean([ledger[j] for j in others], [weights[j] for j in others])
    total = map_factors(lambda *v: sum(weights[j] * a for j, a in zip(ledger, v)), *ledger.values())  # the published sum S
    own = weights[reader] if reader in ledger else 0.0
    mine = ledger.get(reader, previous)  # with weight 0 it does not matter what
    assert same(others_adapter, map_factors(lambda s, a: (s - own * a) / (sum(weights[j] for j in ledger) - own), total, mine))
    return others_adapter


def fedalt():
    everyone = dict(enumerate(round1))
    uniform, samples = dict.fromkeys(SITES, 1.0), dict(enumerate(map(float, SAMPLES)))
    absent = dict(enumerate(round2)) | {3: round1[3]}        # site 3 did not send in round 2
    stale = uniform | {3: 0.5}                               # lambda 0.5, age 1
    newcomer = {k: round1[k] for k in range(4)}              # site 4 has never sent
    case = lambda ledger, weights, readers: {str(k): others_mean(ledger, weights, k) for k in readers}
    out = {"uniform": case(everyone, uniform, SITES), "samples": case(everyone, samples, SITES),
           "absent": {"site": 3, "rest_of_world": case(absent, uniform, SITES)},
           "stale": {"lambda": 0.5, "site": 3, "age": 1, "rest_of_world": case(absent, stale, SITES)},
           "newcomer": case(newcomer, uniform, [0, 4]), "newcomer_samples": case(newcomer, samples, [0, 4]),
           "alone": case({0: round1[0]}, uniform, [0, 1])}   # reader 0 has nobody: zero; reader 1 gets site 0's
    assert same(out["alone"]["0"], map_factors(np.zeros_like, previous)) and same(out["alone"]["1"], round1[0])
    return out


# --- FedALT's options (this project's own, no paper) --------------------------------------------------------------------------

def similarity_weights(adapters, reader):
    """Cosines of the flattened B of all modules; negative ones count as 0; normalised over the others; all 0: uniform."""
    flat = [np.concatenate([a[m]["B"].ravel() for m in MODULES]) for a in adapters]
    cosine = [max(0.0, flat[reader] @ f / (np.linalg.norm(flat[reader]) * np.linalg.norm(f))) for f in flat]
    cosine[reader] = 0.0
    if sum(cosine) == 0.0:
        cosine = [0.0 if j == reader else 1.0 for j in range(len(adapters))]
    return np.array(cosine) / sum(cosine)


def kindred_weights(adapters, reader):
    """The same cosines, the greatest of them 1; if none is above 0.05: everybody 1."""
    flat = [np.concatenate([a[m]["B"].ravel() for m in MODULES]) for a in adapters]
    cosine = [flat[reader] @ f / np.sqrt((flat[reader] @ flat[reader]) * (f @ f)) for f in flat]
    del cosine[reader]
    weights = [1.0] * len(cosine) if max(cosine) <= 0.05 else [max(c, 0.0) / max(cosine) for c in cosine]
    return np.insert(np.array(weights), reader, 0.0)


def kindred_sum(adapters, weights):
    """B a sum, A the mean by the same weights."""
    factor = lambda part: {m: sum(w * a[m][part] for w, a in zip(weights, adapters)) for m in MODULES}
    a, b = factor("A"), factor("B")
    return {m: {"A": a[m] / sum(weights), "B": b[m]} for m in MODULES}


def rescale_factors(ledger, others):
    """Per module: median_j ||B_j A_j||_F / ||B_R A_R||_F, over all of the ledger, the reader too."""
    return {m: np.median([norm(a, m) for a in ledger]) / norm(others, m) for m in MODULES}


def rescaled(others, factors):
    return {m: {"A": others[m]["A"], "B": factors[m] * others[m]["B"]} for m in MODULES}


def fedalt_options():
    uniform = dict.fromkeys(SITES, 1.0)
    everyone, later = dict(enumerate(round1)), dict(enumerate(round2))
    first = [others_mean(everyone, uniform, k) for k in SITES]
    second = [others_mean(later, uniform, k) for k in SITES]
    exact = [mean_product([round1[j] for j in SITES if j != k], [1.0] * 4) for k in SITES]
    out = {"exact": exact, "svd": {"rank": RANK, "products": [best_rank(e, RANK) for e in exact]}}

    factors = [rescale_factors(round1, others) for others in first]
    for others, f in zip(first, factors):
        for m in MODULES:
            assert np.isclose(norm(rescaled(others, f), m), np.median([norm(a, m) for a in round1]))
    four = {k: round1[k] for k in range(4)}  # an even number: the median is the mean of the two in the middle
    even = [others_mean(four, uniform, k) for k in range(4)]
    out["rescale"] = {"norms": {m: [norm(a, m) for a in round1] for m in MODULES}, "factors": factors,
                      "rest_of_world": [rescaled(others, f) for others, f in zip(first, factors)],
                      "even": {"ledger": list(four), "factors": [rescale_factors(four.values(), others) for others in even]}}

    weights = [similarity_weights(round1, k) for k in SITES]
    assert any(w[j] == 0 for k, w in enumerate(weights) for j in SITES if j != k), "the data must show a negative cosine"
    opposed = [round1[0]] + [{m: {"A": a[m]["A"], "B": -round1[0][m]["B"]} for m in MODULES} for a in round1[1:3]]
    opposed_weights = [similarity_weights(opposed, k) for k in range(3)]
    assert same(opposed_weights[0], [0, 0.5, 0.5]) and same(opposed_weights[1], [0, 0, 1])
    out["similarity"] = {"weights": weights, "rest_of_world": [mean(round1, w) for w in weights], "opposed": {
        "sites": "0 is round1[0]; 1 and 2 have the A of round1 and minus the B of round1[0]", "weights": opposed_weights,
        "rest_of_world": [mean(opposed, w) for w in opposed_weights]}}

    # Sites 1 and 4 lean on site 0, site 3 away from it.
    lean = {0: 0.0, 1: 0.6, 2: 0.0, 3: -0.5, 4: 0.3}
    kin = [{m: {"A": a[m]["A"], "B": np.round(a[m]["B"] + lean[k] * round1[0][m]["B"], 3)} for m in MODULES}
           for k, a in enumerate(round1)]
    kindred = [kindred_weights(kin, k) for k in SITES]
    assert any(0 < w < 1 for k in kindred for w in k) and all(max(w) == 1 for w in kindred)
    alone = kindred_weights(opposed, 0)
    assert same(alone, [0, 1, 1])
    out["kindred"] = {"adapters": kin, "weights": kindred, "rest_of_world": [kindred_sum(kin, w) for w in kindred],
                      "products": [{m: sum(w) * p for m, p in mean_product(kin, w).items()} for w in kindred],
                      "opposed": {"weights": alone, "rest_of_world": kindred_sum(opposed, alone)}}

    b = 0.3  # rest of world <- b new + (1 - b) old, on the factors, after rescale; old is round 1's plain one
    damp = lambda new, old: map_factors(lambda n, o: b * n + (1 - b) * o, new, old)
    out["damping"] = {"b": b, "plain": [damp(new, old) for new, old in zip(second, first)],
                      "rescaled": [damp(rescaled(new, rescale_factors(round2, new)), old) for new, old in zip(second, first)]}
    out["include_self"] = {"uniform": mean(round1, UNIFORM), "samples": mean(round1, P)}
    return out


# --- Influence: how much of what a reader reads comes from whom ---------------------------------------------------------------
# share_k(j) = <w_j B_j A_j, M_k> / <M_k, M_k>, M_k = sum over i != k of w_i B_i A_i; inner products summed over modules. The
# scale of w cancels.

def influence():
    out = {}
    for name, weights in (("uniform", [1.0] * len(SAMPLES)), ("samples", SAMPLES)):
        shares = np.zeros((len(SAMPLES), len(SAMPLES)))
        for k in SITES:
            parts = {j: {m: weights[j] * product(round1[j])[m] for m in MODULES} for j in SITES if j != k}
            total = {m: sum(part[m] for part in parts.values()) for m in MODULES}
            square = sum((total[m] * total[m]).sum() for m in MODULES)
            for j, part in parts.items():
                shares[k, j] = sum((part[m] * total[m]).sum() for m in MODULES) / square
            assert np.isclose(shares[k].sum(), 1.0)
        out[name] = list(shares)
    return out


OUT.mkdir(parents=True, exist_ok=True)
METHODS = (fedit, hetlora, ffa, fedsa, feddpa, fdlora, flora, flexlora, fedex, rolora, fedalt, fedalt_options, influence)
cases = {method.__name__: method() for method in METHODS}
result = {"versions": {"python": platform.python_version(), "numpy": np.__version__},
          "modules": [{"name": m, "out": shape[0], "in": shape[1]} for m, shape in MODULES.items()],
          "samples": SAMPLES, "rank": RANK, "ranks": RANKS, "scale": SCALE,
          "inputs": {"base": base, "previous": previous, "round1": round1, "round2": round2, "personal": personal,
                     "unequal": unequal, "x": x},
          "cases": cases}
(OUT / "methods.json").write_text(json.dumps(plain(result), separators=(",", ":")) + "\n")
print(f"{OUT / 'methods.json'}: {(OUT / 'methods.json').stat().st_size} bytes")
