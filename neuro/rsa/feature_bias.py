"""Does a representation show what a system computes? How strongly each feature is represented, decoded and used.

Features that are computed equally well may take up very unequal shares of the variance: easy, linear or early-learned
ones most of it. Comparisons by RSA, CKA or regression then see those and little else. For a factor f with centred
regressors F (one-hot for categories) and projector P_f = F F^+, the share of variance is

    R2_f = ||P_f Z_c||_F^2 / ||Z_c||_F^2,

its unique share that of all factors less that of all others. Set against it: how well f is decoded from held-out
stimuli (linearly, nonlinearly), and how much the read-out changes when P_f Z is taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa.bias_network import BiasNetwork, train_bias_network

__all__ = [
    "BiasNetwork",
    "FeatureBias",
    "bias_scores",
    "equalise",
    "factor_parts",
    "feature_bias",
    "feature_use",
    "train_bias_network",
]

DECIMALS = 2  # decodabilities that agree to this many decimals share a rank


@dataclass(frozen=True, eq=False)
class FeatureBias:
    """Result of :func:`feature_bias`.

    Parameters
    ----------
    table : DataFrame
        One row per factor: factor, n_regressors, r2, r2_cv, unique, unique_cv, linear, nonlinear (decodability above
        chance, 1 = perfect), r2_rank, decodability_rank, dissociation.
    total_r2, total_r2_cv : float
        Share of variance of all factors together.
    """

    table: pd.DataFrame
    total_r2: float
    total_r2_cv: float

    @property
    def dissociation(self) -> float:
        """Mean absolute dissociation over factors: 0 if variance and decodability order them alike."""
        return float(self.table["dissociation"].abs().mean())


def feature_bias(
    Z: Any,
    factors: Any,
    *,
    n_folds: int = 5,
    decode: bool = True,
    rng: int | np.random.Generator | None = None,
) -> FeatureBias:
    """Measure how strongly each factor is represented, and how well it can be decoded.

    Parameters
    ----------
    Z : array or tensor (n_stimuli, n_units)
    factors : DataFrame or mapping name -> values (n_stimuli,) or (n_stimuli, k)
        Text, booleans and categories become one-hot, numbers stay one column (two levels are the same either way).
    n_folds : int
        Over stimuli, for the cross-validated shares and for decoding.
    decode : bool
        Decode each factor: ridge (linear) and an RBF support vector machine (nonlinear), classification if it has
        at most 10 values or is text, else regression; 1-D factors only.
    rng : int or Generator, optional
        Of the folds.

    Returns
    -------
    FeatureBias
        ``dissociation`` of a factor is its rank by decodability (the better of linear and nonlinear, rounded to two
        decimals) minus its rank by R2, over the number of factors less 1: +1 for the factor that is decoded best and
        takes up least variance, -1 for the opposite. Cross-validated shares may be negative.

    References
    ----------
    Lampinen, Chan & Hermann (2024), TMLR; Lampinen et al. (2025), arXiv 2507.22216.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.integers(0, 2, (2, 60))
    >>> Z = np.outer(a, [3.0, 0, 0]) + np.outer(b, [0, 1.0, 0]) + 0.1 * rng.normal(size=(60, 3))
    >>> table = feature_bias(Z, {"a": a, "b": b}, rng=0).table
    >>> table["r2"].round(1).tolist(), table["linear"].tolist(), table["dissociation"].tolist()
    ([0.9, 0.1], [1.0, 1.0], [-0.5, 0.5])
    """
    Z = _matrix(Z)
    columns, raw = _regressors(factors, len(Z))
    check_positive_int("n_folds", n_folds, 2)
    if n_folds > len(Z):
        raise ValueError(f"{n_folds} folds of {len(Z)} stimuli leave some empty.")
    rng = as_rng(rng)
    folds = rng.permutation(np.arange(len(Z)) % n_folds)
    seed = int(rng.integers(2**31))
    everything = np.column_stack(list(columns.values()))
    total, total_cv = _r2(everything, Z), _r2_cv(everything, Z, folds)
    rows = []
    for name, F in columns.items():
        others = [x for k, x in columns.items() if k != name]
        rest = np.column_stack(others) if others else np.zeros((len(Z), 0))
        row: dict[str, Any] = {"factor": name, "n_regressors": F.shape[1]}
        row |= {"r2": _r2(F, Z), "r2_cv": _r2_cv(F, Z, folds)}
        row |= {"unique": total - _r2(rest, Z), "unique_cv": total_cv - _r2_cv(rest, Z, folds)}
        row["linear"] = row["nonlinear"] = np.nan
        if decode and raw[name].ndim == 1:
            row["linear"], row["nonlinear"] = (_decode(Z, raw[name], n_folds, kind, seed) for kind in ("linear", "rbf"))
        rows.append(row)
    table = pd.DataFrame(rows)
    table["r2_rank"] = table["r2"].rank()
    best = np.fmax(table["linear"], table["nonlinear"]).round(DECIMALS)
    table["decodability_rank"] = best.rank()
    table["dissociation"] = (table["decodability_rank"] - table["r2_rank"]) / max(len(table) - 1, 1)
    return FeatureBias(table, total, total_cv)


def factor_parts(Z: Any, factors: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Split a centred representation into one part per factor and a residual, by one joint regression.

    Parameters
    ----------
    Z : array (n_stimuli, n_units)
    factors
        See :func:`feature_bias`.

    Returns
    -------
    dict name -> array (n_stimuli, n_units), and the residual; together they are Z minus its mean. Orthogonal where the
    factors are.
    """
    Z = _matrix(Z)
    columns, _ = _regressors(factors, len(Z))
    centred = Z - Z.mean(0)
    design = np.column_stack(list(columns.values()))
    B = np.linalg.lstsq(design, centred, rcond=None)[0]
    parts, start = {}, 0
    for name, F in columns.items():
        parts[name] = F @ B[start : start + F.shape[1]]
        start += F.shape[1]
    return parts, centred - design @ B


def equalise(Z: Any, factors: Any) -> np.ndarray:
    """Return the representation with every factor's part rescaled to their mean variance; the residual is kept.

    What RSA or CKA would see if all factors were represented equally strongly. Parts of less than 1e-6 of the largest
    norm are left alone: there is nothing to rescale but rounding.
    """
    parts, residual = factor_parts(Z, factors)
    norms = {name: np.linalg.norm(part) for name, part in parts.items()}
    real = {name: norm for name, norm in norms.items() if norm > 1e-6 * max(norms.values())}
    target = np.sqrt(np.mean(np.square(list(real.values())))) if real else 0.0
    out = residual.copy()
    for name, part in parts.items():
        out += part * (target / norms[name]) if name in real else part
    return out


def bias_scores(
    Z: Any, other: Any, factors: Any, *, metric: str = "sqeuclidean", method: str = "cka"
) -> dict[str, float]:
    """Compare two representations of the same stimuli as they are, equalised, and in parts.

    Parameters
    ----------
    Z, other : arrays (n_stimuli, n_units), (n_stimuli, n_units')
    factors
        See :func:`feature_bias`.
    metric, method
        Of :func:`~neuro.rsa.estimate.rdm` and :func:`~neuro.rsa.compare.compare`; debiased CKA by default.

    Returns
    -------
    dict
        "plain"; "equalised" (:func:`equalise` on both); "factors" (all factor parts); "residual"; and each factor's
        part alone, "part:name". NaN where a part is nothing.
    """
    from neuro.rsa.compare import compare
    from neuro.rsa.estimate import rdm

    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    a, b = _matrix(Z), _matrix(other)
    if len(a) != len(b):
        raise ShapeMismatch(f"both must represent the same stimuli, got {len(a)} and {len(b)}.")
    (parts_a, rest_a), (parts_b, rest_b) = factor_parts(a, factors), factor_parts(b, factors)
    pairs["plain"] = (a, b)
    pairs["equalised"] = (equalise(a, factors), equalise(b, factors))
    pairs["factors"] = (np.sum(list(parts_a.values()), axis=0), np.sum(list(parts_b.values()), axis=0))
    pairs["residual"] = (rest_a, rest_b)
    pairs |= {f"part:{name}": (parts_a[name], parts_b[name]) for name in parts_a}
    scales = [max(np.linalg.norm(x - x.mean(0)), 1e-300) for x in (a, b)]
    out = {}
    for name, sides in pairs.items():
        empty = any(np.linalg.norm(x - x.mean(0)) < 1e-8 * s for x, s in zip(sides, scales, strict=True))
        if empty:
            out[name] = float("nan")
            continue
        rdms = [rdm(x, metric).dissimilarities for x in sides]
        out[name] = float(compare(rdms[0], rdms[1], method)[0, 0])
    return out


def feature_use(
    Z: Any,
    factors: Any,
    readout: Callable[[np.ndarray], Any],
    targets: Any = None,
    *,
    how: str = "remove",
    n_repeats: int = 10,
    rng: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Measure how much a read-out depends on what a representation holds of each factor.

    Parameters
    ----------
    Z : array (n_stimuli, n_units)
        What the read-out reads, e.g. a hidden layer.
    factors
        See :func:`feature_bias`.
    readout : function (n_stimuli, n_units) -> (n_stimuli,) or (n_stimuli, n_outputs)
        The rest of the network, or a fitted decoder.
    targets : array or DataFrame (n_stimuli, n_outputs) of 0 and 1, optional
        What each output should report (output > 0 means 1).
    how : "remove" or "swap"
        Take P_f Z away, or give each stimulus that of another, drawn at random.
    n_repeats : int
        Draws, for "swap".
    rng : int or Generator, optional

    Returns
    -------
    DataFrame
        One row per factor and output: factor, output, change (mean squared change of the output over its variance)
        and, with targets, accuracy, accuracy_ablated and use, the share of the accuracy above 1/2 that is lost (NaN if
        there was none).
    """
    check_option("how", how, ["remove", "swap"])
    Z = _matrix(Z)
    columns, _ = _regressors(factors, len(Z))
    centred = Z - Z.mean(0)
    rng = as_rng(rng)

    def outputs(z: np.ndarray) -> np.ndarray:
        out = readout(z)
        out = np.asarray(out.detach().cpu().numpy() if is_tensor(out) else out, float)
        out = out[:, None] if out.ndim == 1 else out
        if out.ndim != 2 or len(out) != len(z):
            raise ShapeMismatch(f"readout must return (n_stimuli[, n_outputs]), got {out.shape} for {len(z)} stimuli.")
        return out

    intact = outputs(Z)
    names: list[Any] = list(range(intact.shape[1]))
    wanted = None
    if targets is not None:
        names = list(targets.columns) if isinstance(targets, pd.DataFrame) else names
        wanted = np.asarray(targets, float).reshape(len(Z), -1) > 0
        if wanted.shape != intact.shape:
            raise ShapeMismatch(f"targets are {wanted.shape}, the read-out returns {intact.shape}.")
    variance = intact.var(0)
    rows = []
    for name, F in columns.items():
        part = F @ np.linalg.lstsq(F, centred, rcond=None)[0]
        ablated = [
            outputs(Z - part + (part[rng.permutation(len(Z))] if how == "swap" else 0.0))
            for _ in range(n_repeats if how == "swap" else 1)
        ]
        change = np.mean([((out - intact) ** 2).mean(0) for out in ablated], axis=0)
        for k, output in enumerate(names):
            row = {"factor": name, "output": output}
            row["change"] = change[k] / variance[k] if variance[k] > 0 else np.nan
            if wanted is not None:
                before = float(((intact[:, k] > 0) == wanted[:, k]).mean())
                after = float(np.mean([((out[:, k] > 0) == wanted[:, k]).mean() for out in ablated]))
                row |= {"accuracy": before, "accuracy_ablated": after}
                row["use"] = (before - after) / (before - 0.5) if before > 0.5 else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def _matrix(Z: Any) -> np.ndarray:
    Z = np.asarray(Z.detach().cpu().numpy() if is_tensor(Z) else Z, dtype=float)
    if Z.ndim != 2:
        raise ShapeMismatch(f"a representation is (n_stimuli, n_units), got {Z.shape}.")
    if not np.isfinite(Z).all():
        raise ValueError(f"{int((~np.isfinite(Z)).any(1).sum())} of {len(Z)} stimuli have NaN or infinite activations.")
    return Z


def _regressors(factors: Any, n: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Centred regressors (n, k) of every factor, and its raw values."""
    if not isinstance(factors, (pd.DataFrame, Mapping)) or not len(list(factors)):
        raise ValueError("factors are a DataFrame or a mapping name -> values, with at least one entry.")
    columns, raw = {}, {}
    for name in factors:
        values = np.asarray(factors[name])
        if values.shape[:1] != (n,) or values.ndim > 2:
            raise ShapeMismatch(f"factor {name!r} must have one value for each of {n} stimuli, got {values.shape}.")
        if values.dtype.kind in "OUSb":
            if values.ndim == 2:
                raise ShapeMismatch(f"factor {name!r} holds text in {values.shape[1]} columns; give one.")
            F = (values[:, None] == np.unique(values)).astype(float)
        else:
            F = values.astype(float).reshape(n, -1)
            if not np.isfinite(F).all():
                raise ValueError(f"factor {name!r} holds NaN or infinite values.")
        F = F - F.mean(0)
        if not (np.abs(F).max(initial=0.0) > 1e-12):
            raise ValueError(f"factor {name!r} is the same for all stimuli.")
        columns[str(name)], raw[str(name)] = F, values
    return columns, raw


def _r2(F: np.ndarray, Z: np.ndarray) -> float:
    """Share of the variance of Z in the span of the centred columns of F."""
    centred = Z - Z.mean(0)
    total = (centred**2).sum()
    if not F.shape[1] or total == 0:
        return 0.0 if total else float("nan")
    U, s, _ = np.linalg.svd(F, full_matrices=False)
    U = U[:, s > 1e-10 * s[0]]
    return float(((U.T @ centred) ** 2).sum() / total)


def _r2_cv(F: np.ndarray, Z: np.ndarray, folds: np.ndarray) -> float:
    """The same on held-out stimuli: 1 - error / deviation from the training mean, summed over folds."""
    error = total = 0.0
    for k in range(folds.max() + 1):
        test = folds == k
        mean = Z[~test].mean(0)
        deviation = Z[test] - mean
        total += (deviation**2).sum()
        if F.shape[1]:
            shift = F[~test].mean(0)
            B = np.linalg.lstsq(F[~test] - shift, Z[~test] - mean, rcond=None)[0]
            deviation = deviation - (F[test] - shift) @ B
        error += (deviation**2).sum()
    return float(1 - error / total) if total > 0 else float("nan")


def _decode(Z: np.ndarray, values: np.ndarray, n_folds: int, kind: str, seed: int) -> float:
    """Held-out decodability: (accuracy - chance) / (1 - chance), or R2."""
    from sklearn.linear_model import RidgeClassifierCV, RidgeCV
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    alphas = np.logspace(-3, 5, 9)
    levels, codes = np.unique(values, return_inverse=True)
    if values.dtype.kind in "OUSb" or len(levels) <= 10:
        counts = np.bincount(codes)
        if counts.min() < 2:
            return float("nan")
        model = RidgeClassifierCV(alphas) if kind == "linear" else SVC(C=10.0)
        splits = StratifiedKFold(int(min(n_folds, counts.min())), shuffle=True, random_state=seed)
        predicted = cross_val_predict(make_pipeline(StandardScaler(), model), Z, codes, cv=splits)
        accuracy = np.mean([(predicted[codes == c] == c).mean() for c in range(len(levels))])
        return float((accuracy - 1 / len(levels)) / (1 - 1 / len(levels)))
    y = (values - values.mean()) / values.std()
    model = RidgeCV(alphas) if kind == "linear" else SVR(C=10.0)
    splits = KFold(n_folds, shuffle=True, random_state=seed)
    predicted = cross_val_predict(make_pipeline(StandardScaler(), model), Z, y, cv=splits)
    return float(1 - ((predicted - y) ** 2).mean())
