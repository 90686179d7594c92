"""What shape does a task give to a representation: that of its inputs or of its labels, abstract or high-dimensional?

For hidden activity Z with kernel K_z, input kernel K_x and label kernel K_y: centred kernel alignments r, and partial
ones (r_zx - r_zy r_xy) / sqrt((1 - r_zy^2)(1 - r_xy^2)). The participation ratio tr(C)^2 / tr(C^2) counts dimensions.
For a dichotomy of conditions into + and -, the parallelism score is

    PS = max over pairings pi of mean_{i != l} cos(z_{+i} - z_{-pi(i)}, z_{+l} - z_{-pi(l)}),

the cross-condition generalisation performance (CCGP) the accuracy of a linear read-out on conditions that it was not
trained on, and the shattering dimensionality the mean decoding accuracy over all balanced dichotomies.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_positive_int, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa.task_network import TaskNetwork, train_task_network

__all__ = [
    "TaskNetwork",
    "balanced_dichotomies",
    "ccgp",
    "decoding_accuracy",
    "kernel_alignment",
    "parallelism_score",
    "participation_ratio",
    "shattering_dimensionality",
    "task_geometry",
    "train_task_network",
]

EXACT = 8  # conditions up to which all pairings are tried
RIDGE = 1e-3  # penalty of read-outs relative to the mean variance of the training stimuli


def kernel_alignment(
    Z: Any, inputs: Any, labels: Any, *, debiased: bool = True, kernels: bool = False
) -> dict[str, float]:
    """Return how a representation's geometry relates to that of inputs and labels.

    Parameters
    ----------
    Z, inputs, labels : arrays (n_stimuli, n_features)
        Linear kernels are made of them; labels of -1/1 or one-hot.
    debiased : bool
        Debiased CKA, which may be negative; else the biased form.
    kernels : bool
        ``inputs`` and ``labels`` are kernel matrices (n_stimuli, n_stimuli) already.

    Returns
    -------
    dict
        "input", "label": alignments; "input_label": of the two with each other; "input_partial", "label_partial": what
        is left without the other, NaN where the two are the same.

    References
    ----------
    Alleman, Lindsey & Fusi (2024), ICLR.
    """
    from neuro.rsa.cka import kernel_cka

    Z = _matrix("Z", Z)
    K = [Z @ Z.T]
    for name, x in (("inputs", inputs), ("labels", labels)):
        x = _matrix(name, x)
        if len(x) != len(Z) or (kernels and x.shape[1] != len(Z)):
            raise ShapeMismatch(f"{name} must describe the same {len(Z)} stimuli, got {x.shape}.")
        K.append(x if kernels else x @ x.T)
    zx, zy, xy = (float(kernel_cka(K[a], K[b], debiased)) for a, b in ((0, 1), (0, 2), (1, 2)))
    return {
        "input": zx,
        "label": zy,
        "input_label": xy,
        "input_partial": _partial(zx, zy, xy),
        "label_partial": _partial(zy, zx, xy),
    }


def participation_ratio(Z: Any) -> Any:
    """Return tr(C)^2 / tr(C^2) of the covariance of the columns of Z (n, p): 1 for a line, p for a sphere; float.

    Tensors are differentiable.
    """
    if not is_tensor(Z):
        Z = _matrix("Z", Z)
    Z = Z - Z.mean(0)
    G = Z @ Z.T if Z.shape[0] <= Z.shape[1] else Z.T @ Z
    trace = G.diagonal().sum()
    ratio = trace**2 / (G**2).sum()
    return ratio if is_tensor(Z) else float(ratio)


def balanced_dichotomies(
    n_conditions: int, limit: int | None = None, *, rng: int | np.random.Generator | None = None
) -> np.ndarray:
    """Return all splits of conditions into halves, up to swapping them, boolean (n_dichotomies, n_conditions).

    With ``limit``, that many different random ones if there are more. 3 for 4 conditions, 35 for 8.
    """
    if n_conditions < 2 or n_conditions % 2:
        raise ValueError(f"balanced dichotomies need an even number of conditions, got {n_conditions}.")
    total, half = math.comb(n_conditions, n_conditions // 2) // 2, n_conditions // 2
    if limit is None or total <= limit:
        if total > 100_000:
            raise ValueError(f"{n_conditions} conditions have {total:,} balanced dichotomies: give a limit.")
        rows = [(0, *rest) for rest in itertools.combinations(range(1, n_conditions), half - 1)]
    else:
        rng, found = as_rng(rng), set()
        while len(found) < limit:
            found.add((0, *sorted(int(x) for x in 1 + rng.permutation(n_conditions - 1)[: half - 1])))
        rows = sorted(found)
    out = np.zeros((len(rows), n_conditions), bool)
    for row, members in zip(out, rows, strict=True):
        row[list(members)] = True
    return out


def parallelism_score(
    means: Any, dichotomy: Any, *, n_starts: int = 20, rng: int | np.random.Generator | None = None
) -> float:
    """Return how parallel the vectors between the two sides of a dichotomy are, for the best pairing of conditions.

    Parameters
    ----------
    means : array (n_conditions, n_units)
        Mean activity per condition.
    dichotomy : boolean array (n_conditions,)
        Halves of equal size, at least two conditions each.
    n_starts : int
        Above 8 conditions, all pairings are too many: assignments to a common direction are alternated from this many
        random starts, then improved by swaps; a lower bound of the maximum.
    rng : int or Generator, optional
        Of the starts.

    References
    ----------
    Bernardi et al. (2020), The geometry of abstraction in the hippocampus and prefrontal cortex, Cell 183, 954-967.
    """
    means = _matrix("means", means)
    side = _dichotomy(dichotomy, len(means))
    if side.sum() < 2:
        raise ValueError("a parallelism score needs at least two conditions on each side.")
    plus, minus = means[side], means[~side]
    vectors = plus[:, None] - minus[None]
    norms = np.linalg.norm(vectors, axis=2, keepdims=True)
    units = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-12 * max(norms.max(), 1e-300))
    m = len(plus)
    rows = np.arange(m)
    if len(means) <= EXACT:
        return max(_parallel(units[rows, list(pi)]) for pi in itertools.permutations(range(m)))
    return max(_climb(units, start) for start in _starts(units, n_starts, as_rng(rng)))


def ccgp(
    Z: Any,
    conditions: Any,
    dichotomy: Any,
    *,
    n_held_out: int = 1,
    max_splits: int = 500,
    rng: int | np.random.Generator | None = None,
) -> float:
    """Return the cross-condition generalisation performance of a dichotomy, an accuracy; chance is 1/2.

    A linear read-out (ridge to -1/1, both sides weighing the same) is trained on all but ``n_held_out`` conditions of
    each side and tested on those; the mean over all choices, or over ``max_splits`` random ones.

    Parameters
    ----------
    Z : array (n, n_units)
        Trials, or one row per condition.
    conditions : array (n,)
        Condition of each row; sorted, they are the conditions of ``dichotomy``.
    dichotomy : boolean array (n_conditions,)
    n_held_out : int
        Per side.
    max_splits, rng

    References
    ----------
    Bernardi et al. (2020), Cell 183, 954-967.
    """
    Z, codes, n = _trials(Z, conditions)
    side = _dichotomy(dichotomy, n)
    check_positive_int("n_held_out", n_held_out)
    if n_held_out >= side.sum():
        raise ValueError(f"{n_held_out} of {side.sum()} conditions per side held out leave none to train on.")
    held = [list(itertools.combinations(np.flatnonzero(s), n_held_out)) for s in (side, ~side)]
    splits = list(itertools.product(*held))
    if len(splits) > max_splits:
        splits = [splits[k] for k in np.sort(as_rng(rng).choice(len(splits), max_splits, replace=False))]
    y, scores = side[codes], []
    for plus, minus in splits:
        test = np.isin(codes, [*plus, *minus])
        scores.append(_accuracy(Z[~test], y[~test], Z[test], y[test]))
    return float(np.mean(scores))


def decoding_accuracy(
    Z: Any, conditions: Any, dichotomy: Any, *, n_folds: int = 5, rng: int | np.random.Generator | None = None
) -> float:
    """Return the accuracy of a linear read-out of a dichotomy on held-out trials of the *same* conditions.

    Needs at least two trials per condition. See :func:`ccgp` for the parameters.
    """
    Z, codes, n = _trials(Z, conditions)
    side = _dichotomy(dichotomy, n)
    return _cross_validated(Z, side[codes], _trial_folds(codes, n_folds, as_rng(rng)))


def shattering_dimensionality(
    Z: Any,
    conditions: Any,
    *,
    n_folds: int = 5,
    max_dichotomies: int = 200,
    rng: int | np.random.Generator | None = None,
) -> float:
    """Return the mean held-out accuracy of linear read-outs over balanced dichotomies of the conditions, 1/2 to 1.

    Parameters
    ----------
    Z, conditions
        See :func:`ccgp`; at least two trials per condition.
    n_folds : int
    max_dichotomies : int
        Random ones are taken if there are more.
    rng : int or Generator, optional

    References
    ----------
    Rigotti et al. (2013), Nature 497, 585-590. Bernardi et al. (2020), Cell 183, 954-967.
    """
    Z, codes, n = _trials(Z, conditions)
    rng = as_rng(rng)
    folds = _trial_folds(codes, n_folds, rng)
    dichotomies = balanced_dichotomies(n, max_dichotomies, rng=rng)
    return float(np.mean([_cross_validated(Z, side[codes], folds) for side in dichotomies]))


def task_geometry(
    Z: Any,
    conditions: Any,
    variables: Any,
    *,
    n_null: int = 0,
    n_folds: int = 5,
    rng: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Return one row per variable of a task: how well it is decoded, and whether its coding is abstract.

    Parameters
    ----------
    Z : array (n, n_units)
        Trials, at least two per condition.
    conditions : array (n,)
    variables : DataFrame or mapping name -> array (n_conditions,)
        The two-valued variables, each splitting the sorted conditions into halves.
    n_null : int
        Draws of a null without geometry: the units of every condition are shuffled, each condition in its own way,
        which keeps how far and how noisy conditions are. Gives ``ccgp_p``, ``ps_p`` (one-sided). For ``decoding_p``,
        the trials of all conditions are shuffled.
    n_folds : int
    rng : int or Generator, optional

    Returns
    -------
    DataFrame
        variable, decoding, ccgp, ps (and ccgp_p, ps_p, decoding_p). ``attrs`` holds participation_ratio of the
        condition means and shattering, the same for all variables.
    """
    Z, codes, n = _trials(Z, conditions)
    if not isinstance(variables, (pd.DataFrame, Mapping)) or not len(list(variables)):
        raise ValueError("variables are a DataFrame or a mapping name -> values per condition.")
    rng = as_rng(rng)
    sides = {str(name): _two_valued(str(name), variables[name], n) for name in variables}
    null_seeds = rng.integers(2**31, size=n_null)
    folds = _trial_folds(codes, n_folds, rng)
    seed = int(rng.integers(2**31))
    means = _means(Z, codes, n)

    def measures(z: np.ndarray, side: np.ndarray) -> tuple[float, float]:
        return ccgp(z, codes, side, rng=seed), parallelism_score(_means(z, codes, n), side, rng=seed)

    rows = []
    observed = {name: measures(Z, side) for name, side in sides.items()}
    nulls: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    decoded: dict[str, list[float]] = {name: [] for name in sides}
    for s in null_seeds:
        draw = np.random.default_rng(s)
        shuffled = np.empty_like(Z)
        for c in range(n):
            shuffled[codes == c] = Z[codes == c][:, draw.permutation(Z.shape[1])]
        order = draw.permutation(len(Z))
        for name, side in sides.items():
            nulls[name].append(measures(shuffled, side))
            decoded[name].append(_cross_validated(Z, side[codes[order]], folds[order]))
    for name, side in sides.items():
        row: dict[str, Any] = {"variable": name, "decoding": _cross_validated(Z, side[codes], folds)}
        row |= dict(zip(("ccgp", "ps"), observed[name], strict=True))
        if n_null:
            null = np.array(nulls[name])
            p = (1 + (null >= np.array(observed[name]) - 1e-12).sum(0)) / (1 + n_null)
            row |= {"ccgp_p": float(p[0]), "ps_p": float(p[1])}
            row["decoding_p"] = float((1 + (np.array(decoded[name]) >= row["decoding"] - 1e-12).sum()) / (1 + n_null))
        rows.append(row)
    table = pd.DataFrame(rows)
    table.attrs = {
        "participation_ratio": participation_ratio(means),
        "shattering": shattering_dimensionality(Z, codes, n_folds=n_folds, rng=seed) if n % 2 == 0 else float("nan"),
    }
    return table


# Inside


def _partial(a: float, b: float, c: float) -> float:
    rest = (1 - b**2) * (1 - c**2)
    return (a - b * c) / math.sqrt(rest) if rest > 1e-12 else float("nan")


def _parallel(units: np.ndarray) -> float:
    """Mean cosine of pairs of unit vectors (m, p)."""
    m, total = len(units), units.sum(0)
    return float((total @ total - (units**2).sum()) / (m * (m - 1)))


def _starts(units: np.ndarray, n_starts: int, rng: np.random.Generator) -> list[np.ndarray]:
    m = len(units)
    common = units.mean((0, 1))
    return [_assign(units, common), *(rng.permutation(m) for _ in range(check_positive_int("n_starts", n_starts)))]


def _assign(units: np.ndarray, direction: np.ndarray) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(-(units @ direction))[1]


def _climb(units: np.ndarray, pairing: np.ndarray) -> float:
    """Alternate assignment and common direction, then swap pairs while that helps."""
    m = len(units)
    rows, best = np.arange(m), -np.inf
    for _ in range(100):
        score = _parallel(units[rows, pairing])
        if score <= best + 1e-12:
            break
        best, kept = score, pairing
        pairing = _assign(units, units[rows, pairing].sum(0))
    pairing, improved = kept.copy(), True
    while improved:
        improved = False
        for a, b in itertools.combinations(range(m), 2):
            pairing[[a, b]] = pairing[[b, a]]
            score = _parallel(units[rows, pairing])
            if score > best + 1e-12:
                best, improved = score, True
            else:
                pairing[[a, b]] = pairing[[b, a]]
    return best


def _accuracy(Z: np.ndarray, y: np.ndarray, Z_test: np.ndarray, y_test: np.ndarray) -> float:
    """Mean over both sides of the accuracy of a ridge read-out; a tie is half right."""
    weight = np.where(y, 0.5 / max(y.sum(), 1), 0.5 / max((~y).sum(), 1))
    mean = weight @ Z
    x = (Z - mean) * np.sqrt(weight)[:, None]
    t = np.where(y, 1.0, -1.0) * np.sqrt(weight)
    if len(x) <= x.shape[1]:
        K = x @ x.T
        w = x.T @ np.linalg.solve(K + (RIDGE * np.trace(K) / len(K) + 1e-12) * np.eye(len(K)), t)
    else:
        C = x.T @ x
        w = np.linalg.solve(C + (RIDGE * np.trace(C) / len(C) + 1e-12) * np.eye(len(C)), x.T @ t)
    out = (Z_test - mean) @ w
    right = np.where(np.abs(out) < 1e-12, 0.5, (out > 0) == y_test)
    return float(np.mean([right[y_test == s].mean() for s in (True, False) if (y_test == s).any()]))


def _cross_validated(Z: np.ndarray, y: np.ndarray, folds: np.ndarray) -> float:
    scores = [_accuracy(Z[folds != k], y[folds != k], Z[folds == k], y[folds == k]) for k in range(folds.max() + 1)]
    return float(np.mean(scores))


def _trial_folds(codes: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Folds that each hold trials of all conditions."""
    fewest = int(np.bincount(codes).min())
    if fewest < 2:
        raise ShapeMismatch("decoding within conditions needs at least two trials of each; ccgp does not.")
    k = min(check_positive_int("n_folds", n_folds, 2), fewest)
    folds = np.empty(len(codes), int)
    for c in range(codes.max() + 1):
        rows = np.flatnonzero(codes == c)
        folds[rng.permutation(rows)] = np.arange(len(rows)) % k
    return folds


def _means(Z: np.ndarray, codes: np.ndarray, n: int) -> np.ndarray:
    return np.stack([Z[codes == c].mean(0) for c in range(n)])


def _trials(Z: Any, conditions: Any) -> tuple[np.ndarray, np.ndarray, int]:
    Z = _matrix("Z", Z)
    conditions = np.asarray(conditions)
    if conditions.shape != (len(Z),):
        raise ShapeMismatch(f"conditions must name each of {len(Z)} rows of Z, got shape {conditions.shape}.")
    names, codes = np.unique(conditions, return_inverse=True)
    if len(names) < 2:
        raise EmptySelection("a geometry needs at least two conditions, got one.")
    return Z, codes.reshape(-1), len(names)


def _dichotomy(dichotomy: Any, n: int) -> np.ndarray:
    side = np.asarray(dichotomy)
    if side.shape != (n,) or side.dtype != bool:
        raise ShapeMismatch(f"a dichotomy is boolean over {n} conditions, got {side.dtype} {side.shape}.")
    if 2 * side.sum() != n:
        raise ValueError(f"a dichotomy has halves of equal size, got {side.sum()} and {n - side.sum()} conditions.")
    return side


def _two_valued(name: str, values: Any, n: int) -> np.ndarray:
    values = np.asarray(values)
    levels = np.unique(values)
    if values.shape != (n,) or len(levels) != 2:
        raise ShapeMismatch(f"variable {name!r} must have two values over {n} conditions, got {values.shape}.")
    return _dichotomy(values == levels[1], n)


def _matrix(name: str, x: Any) -> np.ndarray:
    x = np.asarray(x.detach().cpu().numpy() if is_tensor(x) else x, dtype=float)
    x = x[:, None] if x.ndim == 1 and name != "Z" else x
    if x.ndim != 2:
        raise ShapeMismatch(f"{name} must be (n, n_features), got shape {x.shape}.")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or infinite values.")
    return x
