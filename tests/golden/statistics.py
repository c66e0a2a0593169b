"""Golden data for tests/run/bootstrap_test.cc: what NumPy, SciPy and statsmodels say about small tables of scores.

Run:      python tests/golden/statistics.py        (ten seconds)
Writes:   tests/data/statistics/statistics.json
Needs:    numpy, scipy, statsmodels; the versions used are written into the file.

"sites": scores of two variants on the test examples of some sites, one seed. scipy.stats.bootstrap with one sample per site resamples
examples within each site; of the difference it gets the differences per example, which is what resampling both alike means.
"seeds": one number per site and seed. Only seeds are drawn, jointly for all sites: scipy.stats.bootstrap over the mean of each seed.
"crossed": examples and seeds. No library has it; NumPy's generator draws both, in the shortest way of writing it.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
if sys.path and pathlib.Path(sys.path[0]).resolve() == HERE:
    del sys.path[0]  # scripts beside this one, this one included, are called as modules that the libraries import

import numpy as np
import scipy
import scipy.stats
import statsmodels
from statsmodels.stats.multitest import multipletests

DATA = HERE.parent / "data" / "statistics"
RESAMPLES = 100_000


def interval(result):
    return [float(result.confidence_interval.low), float(result.confidence_interval.high)]


def bootstrap(samples, statistic, level):
    return interval(scipy.stats.bootstrap(samples, statistic, n_resamples=RESAMPLES, batch=2000, confidence_level=level,
                                          method="percentile", rng=np.random.default_rng(1)))


def mean_of_means(*samples, axis):
    return sum(np.mean(sample, axis=axis) for sample in samples) / len(samples)


def rounded(values):
    return [round(float(v), 4) for v in values]


def scores(rng, n, mean):
    """Between 0 and 1 with many zeros and ones, like ROUGE of short answers."""
    return rounded(np.clip(rng.normal(mean, 0.35, n), 0, 1))


def make_sites(rng):
    a = [scores(rng, n, m) for n, m in ((40, 0.3), (25, 0.6), (90, 0.45))]
    b = [rounded(np.clip(np.array(x) + rng.normal(-0.05, 0.2, len(x)), 0, 1)) for x in a]
    differences = [np.array(x) - np.array(y) for x, y in zip(a, b)]
    level = 0.9
    return {"a": a, "b": b, "confidence": level, "a_mean": bootstrap(a, mean_of_means, level),
            "a_sites": [bootstrap((x,), np.mean, level) for x in a], "difference": bootstrap(differences, mean_of_means, level)}


def make_seeds(rng):
    table = rng.normal(1.5, 0.2, (7, 3)) + rng.normal(0, 0.3, (7, 1))  # [seed][site]
    table = np.round(table, 4)
    level = 0.95
    return {"values": table.tolist(), "confidence": level, "mean": bootstrap((table.mean(axis=1),), np.mean, level),
            "site_0": bootstrap((table[:, 0],), np.mean, level)}


def make_crossed(rng):
    a, b = [], []  # [seed][site][example]
    easy = [rng.normal(0, 0.2, n) for n in (30, 50)]
    for _ in range(5):
        shift = rng.normal(0, 0.05)
        a.append([rounded(np.clip(0.5 + e + shift + rng.normal(0, 0.1, len(e)), 0, 1)) for e in easy])
        b.append([rounded(np.clip(0.46 + e + shift + rng.normal(0, 0.1, len(e)), 0, 1)) for e in easy])
    draws = np.random.default_rng(2)
    means, differences = np.empty(RESAMPLES), np.empty(RESAMPLES)
    tables = [np.stack([[run[k] for run in runs] for runs in (a, b)]) for k in range(2)]  # [variant, seed, example] per site
    for i in range(RESAMPLES):
        seeds = draws.integers(0, 5, 5)
        both = sum(t[:, seeds][:, :, draws.integers(0, t.shape[2], t.shape[2])].mean(axis=(1, 2)) for t in tables) / 2
        means[i], differences[i] = both[0], both[0] - both[1]
    tails = [float(np.mean(differences <= 0)), float(np.mean(differences >= 0))]
    return {"a": a, "b": b, "confidence": 0.95, "mean": np.percentile(means, [2.5, 97.5]).tolist(),
            "difference": np.percentile(differences, [2.5, 97.5]).tolist(), "p": min(1.0, 2 * min(tails))}


def make_quantiles(rng):
    cases = []
    for n in (1, 2, 5, 40):
        values = sorted(rounded(rng.normal(0, 1, n)))
        q = [0.0, 0.025, 0.1, 0.5, 0.9, 0.975, 1.0]
        cases.append({"values": values, "q": q, "quantiles": np.quantile(values, q).tolist()})
    return cases


def make_holm(rng):
    cases = [[0.01, 0.04, 0.03, 0.005], [0.5], [1.0, 1.0, 0.2], [0.02, 0.02, 0.02], [0.001, 0.9, 0.0009995, 0.3, 0.049, 0.05]]
    cases += [rounded(rng.uniform(0, 1, 9) ** 3) for _ in range(4)]
    return [{"p": p, "holm": multipletests(p, method="holm")[1].tolist()} for p in cases]


def main():
    rng = np.random.default_rng(20240607)
    data = {"versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__},
            "resamples": RESAMPLES, "sites": make_sites(rng), "seeds": make_seeds(rng), "crossed": make_crossed(rng),
            "quantiles": make_quantiles(rng), "holm": make_holm(rng)}
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "statistics.json").write_text(json.dumps(data) + "\n")


if __name__ == "__main__":
    main()
