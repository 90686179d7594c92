"""Do RSA tests keep their 5 %, intervals their 95 %, and do noise ceilings bracket the true model?

python benchmarks/rsa_calibration.py --out FOLDER [--simulations 1000] [--quick]

Simulated patterns with known truth. A test must be asked the question whose null hypothesis is true:

unrelated subjects   every subject has a geometry of its own, the model another: nothing over subjects, nor over stimuli
shared geometry      subjects share a geometry and stimuli are drawn anew; the model's features are independent of it:
                     no similarity over stimuli, though one over subjects for the stimuli at hand
equal models         two models that lie equally far from the truth, for these stimuli (over subjects) or on average
                     over stimuli
true model           coverage of its expected score, and its place between the ceilings

Writes calibration.tsv and calibration.png.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from scipy.stats import binom

from neuro.rsa.evaluate import evaluate
from neuro.rsa.permutation import permutation_test, sign_flip_test

LEVEL = 0.05
NOISE = 1.5  # standard deviation of a subject's own pattern and noise, relative to the shared pattern


def rdm(x: np.ndarray) -> np.ndarray:
    """Mean squared difference of patterns (n_stimuli, n_channels)."""
    return pdist(x, "sqeuclidean") / x.shape[1]


def subjects(shared: np.ndarray | None, n: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """RDMs of n subjects around a shared pattern, or of their own only."""
    centre = np.zeros(shape) if shared is None else shared
    return np.stack([rdm(centre + NOISE * rng.standard_normal(shape)) for _ in range(n)])


def unrelated(rng: np.random.Generator, n_subjects: int, shape: tuple[int, int], n_boot: int, method: str) -> dict:
    """Rejections where there is nothing over subjects."""
    data = subjects(None, n_subjects, shape, rng)
    models = np.stack([rdm(rng.standard_normal(shape)) for _ in range(3)])
    seed = int(rng.integers(2**31))
    fixed = evaluate(models, data, method, resample=None)
    boot = evaluate(models, data, method, resample="subject", n_boot=n_boot, rng=seed)
    permuted = permutation_test(models, data, method, n_permutations=n_boot, rng=seed)
    flipped = sign_flip_test(fixed, n_permutations=n_boot, rng=seed)
    return {
        "zero: t over subjects": fixed.test_zero()["p"][0],
        "zero: Wilcoxon over subjects": fixed.test_zero("wilcoxon")["p"][0],
        "zero: t, bootstrap of subjects": boot.test_zero()["p"][0],
        "zero: counted, bootstrap of subjects": boot.test_zero("bootstrap")["p"][0],
        "zero: sign flip": flipped.p[0],
        "any of 3: sign flip, largest": flipped.p_max.min(),
        "any of 3: bootstrap, largest": boot.test_zero(correction="max")["p_corrected"].min(),
        "zero: permutation, unrelated subjects": permuted.p[0],
        "any of 3: permutation, largest": permuted.p_max.min(),
        "model against ceiling, both nothing: t": fixed.test_ceiling()["p"][0],
        "model against ceiling, both nothing: bootstrap": boot.test_ceiling()["p"][0],
        "lower ceiling against zero: t": fixed.test_ceiling_zero()["p"][0],
    }


def shared(rng: np.random.Generator, n_subjects: int, shape: tuple[int, int], n_boot: int, method: str) -> dict:
    """Rejections where there is nothing over stimuli."""
    data = subjects(rng.standard_normal(shape), n_subjects, shape, rng)
    model = rdm(rng.standard_normal(shape))
    seed = int(rng.integers(2**31))
    stimulus = evaluate(model, data, method, resample="stimulus", n_boot=n_boot, rng=seed)
    dual = evaluate(model, data, method, resample="dual", n_boot=n_boot, rng=seed)
    return {
        "zero: t, bootstrap of stimuli": stimulus.test_zero()["p"][0],
        "zero: counted, bootstrap of stimuli": stimulus.test_zero("bootstrap")["p"][0],
        "zero: t, dual bootstrap": dual.test_zero()["p"][0],
        "zero: permutation, shared geometry": permutation_test(model, data, method, n_permutations=n_boot, rng=seed).p[
            0
        ],
    }


def equal(rng: np.random.Generator, n_subjects: int, shape: tuple[int, int], n_boot: int, method: str) -> dict:
    """Rejections where two models are equally good."""
    pattern = rng.standard_normal(shape)
    models = np.stack([rdm(pattern + rng.standard_normal(shape)) for _ in range(2)])
    seed = int(rng.integers(2**31))
    data = subjects(pattern, n_subjects, shape, rng)
    stimulus = evaluate(models, data, method, resample="stimulus", n_boot=n_boot, rng=seed)
    dual = evaluate(models, data, method, resample="dual", n_boot=n_boot, rng=seed)
    z = (models - models.mean(1, keepdims=True)) / models.std(1, keepdims=True)
    mixed = z.sum(0) + 3 * rng.standard_normal((n_subjects, z.shape[1]))
    fixed = evaluate(z, mixed, "corr", resample=None)
    boot = evaluate(z, mixed, "corr", resample="subject", n_boot=n_boot, rng=seed)
    flipped = sign_flip_test(fixed.scores_by_subject[0] - fixed.scores_by_subject[1], alternative="two-sided",
                             n_permutations=n_boot, rng=seed)  # fmt: skip
    return {
        "pair: t over subjects": fixed.test_pairs()["p"][0],
        "pair: t, bootstrap of subjects": boot.test_pairs()["p"][0],
        "pair: counted, bootstrap of subjects": boot.test_pairs("bootstrap")["p"][0],
        "pair: sign flip": flipped.p[0],
        "pair: t, bootstrap of stimuli": stimulus.test_pairs()["p"][0],
        "pair: t, dual bootstrap": dual.test_pairs()["p"][0],
    }


def truth(
    rng: np.random.Generator, n_subjects: int, shape: tuple[int, int], n_boot: int, method: str, fixed: dict
) -> tuple[dict, dict]:
    """Coverage of the true model's expected score, and its place between the ceilings."""
    seed = int(rng.integers(2**31))
    data = subjects(fixed["pattern"], n_subjects, shape, rng)
    over_subjects = {
        "interval: t over subjects": evaluate(fixed["rdm"], data, method, resample=None),
        "interval: bootstrap of subjects": evaluate(
            fixed["rdm"], data, method, resample="subject", n_boot=n_boot, rng=seed
        ),
    }
    pattern = rng.standard_normal(shape)
    data, model = subjects(pattern, n_subjects, shape, rng), rdm(pattern)
    over_stimuli = {
        "interval: dual bootstrap": evaluate(model, data, method, resample="dual", n_boot=n_boot, rng=seed),
        "interval: joint bootstrap": evaluate(model, data, method, resample="both", n_boot=n_boot, rng=seed),
    }
    missed = {}
    for results, target in ((over_subjects, fixed["given"]), (over_stimuli, fixed["average"])):
        for name, result in results.items():
            low, high = result.ci()[0]
            missed[name] = 0.0 if not low <= target <= high else 1.0
    t_fixed = over_subjects["interval: t over subjects"]
    below = t_fixed.test_ceiling(alternative="less")["p"][0]
    missed["true model below lower ceiling: t"] = below
    dual = over_stimuli["interval: dual bootstrap"]
    missed["true model below lower ceiling: dual"] = dual.test_ceiling(alternative="less")["p"][0]
    places = {"score": t_fixed.scores[0], "lower": t_fixed.ceiling.lower, "upper": t_fixed.ceiling.upper}
    return missed, places


def expected(rng: np.random.Generator, shape: tuple[int, int], method: str, n: int) -> dict[str, Any]:
    """The true model's expected score, for one set of stimuli and on average over stimuli."""
    pattern = rng.standard_normal(shape)
    model = rdm(pattern)
    given = evaluate(model, subjects(pattern, n, shape, rng), method, resample=None).scores[0]
    scores = []
    for _ in range(n // 4):
        other = rng.standard_normal(shape)
        scores.append(evaluate(rdm(other), subjects(other, 4, shape, rng), method, resample=None).scores[0])
    return {"pattern": pattern, "rdm": model, "given": given, "average": float(np.mean(scores))}


def run(
    n_simulations: int = 1000,
    n_boot: int = 200,
    n_subjects: int = 10,
    n_stimuli: int = 20,
    n_channels: int = 30,
    method: str = "corr",
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return one row per test with its rate of rejections, and mean ceilings with the true model's mean score.

    ``verdict`` is "as promised" if the rate lies within the central 99 % of a binomial with probability 0.05,
    "conservative" below and "LIBERAL" above. For intervals a rejection is a miss.
    """
    shape = (n_stimuli, n_channels)
    rng = np.random.default_rng(seed)
    fixed = expected(rng, shape, method, 4000)
    found: dict[str, list[float]] = defaultdict(list)
    places: dict[str, list[float]] = defaultdict(list)
    for _ in range(n_simulations):
        for scheme in (unrelated, shared, equal):
            for name, p in scheme(rng, n_subjects, shape, n_boot, method).items():
                found[name].append(float(p <= LEVEL))
        missed, place = truth(rng, n_subjects, shape, n_boot, method, fixed)
        for name, value in missed.items():
            found[name].append(float(value <= LEVEL))
        for name, value in place.items():
            places[name].append(value)
    low, high = binom.ppf([0.005, 0.995], n_simulations, LEVEL) / n_simulations
    rows = []
    for name, hits in found.items():
        rate = float(np.mean(hits))
        verdict = "conservative" if rate < low else "LIBERAL" if rate > high else "as promised"
        rows.append({"test": name, "rate": rate, "low": low, "high": high, "verdict": verdict})
    frame = pd.DataFrame(rows).assign(
        nominal=LEVEL, n_simulations=n_simulations, n_subjects=n_subjects, n_stimuli=n_stimuli, method=method
    )
    means = {k: float(np.mean(v)) for k, v in places.items()} | {"expected": float(fixed["given"])}
    return frame, means


def figure(frame: pd.DataFrame, means: dict[str, float], path: Path) -> None:
    """Rates against the band that binomial error allows, and the ceilings."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(
        1, 2, figsize=(10, 0.28 * len(frame) + 1.4), width_ratios=[3, 1], layout="constrained"
    )
    y = np.arange(len(frame))[::-1]
    left.axvspan(100 * frame["low"][0], 100 * frame["high"][0], color="0.9", label="99 % of exact 5 % tests")
    left.axvline(100 * LEVEL, color="0.5", lw=1)
    colours = {"as promised": "#1b6ca8", "conservative": "#7a9e3f", "LIBERAL": "#c0392b"}
    for verdict, part in frame.groupby("verdict"):
        left.plot(100 * part["rate"], y[part.index], "o", color=colours[str(verdict)], label=verdict)
    left.set_yticks(y, frame["test"])
    left.set_xlim(0, max(12, 110 * frame["rate"].max()))
    left.set_xlabel("rejections of a true null hypothesis, or intervals that miss (%)")
    left.legend(frameon=False, fontsize=8)
    right.axhspan(means["lower"], means["upper"], color="0.85", label="mean noise ceiling")
    right.plot([0], [means["expected"]], "o", color="#1b6ca8", label="true model, expected")
    right.set_xticks([])
    right.set_ylabel("score")
    right.set_ylim(0, 1.15 * means["upper"])
    right.legend(frameon=False, fontsize=8, loc="lower left")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--boots", type=int, default=200)
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--stimuli", type=int, default=20)
    parser.add_argument("--method", default="corr")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    n, boots = (20, 50) if args.quick else (args.simulations, args.boots)
    frame, means = run(n, boots, args.subjects, args.stimuli, method=args.method, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(args.out / "calibration.tsv", sep="\t", index=False)
    figure(frame, means, args.out / "calibration.png")
    print(frame[["test", "rate", "low", "high", "verdict"]].to_string(index=False))
    print("\n" + ", ".join(f"{k} {v:.4f}" for k, v in means.items()))


if __name__ == "__main__":
    main()
