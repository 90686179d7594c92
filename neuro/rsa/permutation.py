"""Is the similarity of two RDMs more than chance?

Under the null hypothesis the model's stimulus labels are exchangeable: rows and columns of its matrix are permuted
together, p = (1 + #{permuted >= observed}) / (1 + n), and the largest of all models' scores in each permutation
controls their number. With Z = sum_(i != j) a_ij b_pi(i)pi(j) the mean and variance over all n! permutations are known
exactly (Mantel). Whether scores differ from zero over subjects is asked by flipping the signs of whole subjects.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._gram import LINEAR
from neuro.rsa._pairs import n_from_pairs, pair_indices, to_square
from neuro.rsa._problem import Problem, problem

BLOCK = 8_000_000
ALTERNATIVES = ("greater", "less", "two-sided")


@dataclass(frozen=True, eq=False)
class PermutationResult:
    """Result of :func:`permutation_test` or :func:`sign_flip_test`.

    Parameters
    ----------
    models : tuple of str
    scores : array (n_models,)
    p : array (n_models,)
    p_max : array (n_models,)
        Corrected for the number of models by the largest score in each permutation.
    null : array (n_permutations, n_models)
    method, alternative : str
    """

    models: tuple[str, ...]
    scores: np.ndarray
    p: np.ndarray
    p_max: np.ndarray
    null: np.ndarray
    method: str
    alternative: str

    @property
    def z(self) -> np.ndarray:
        """Scores in standard deviations of their null distribution."""
        sd = self.null.std(0, ddof=1)
        top = self.scores - self.null.mean(0)
        return np.divide(top, sd, out=np.full(len(top), np.nan), where=sd > 0)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per model."""
        return pd.DataFrame(
            {
                "model": self.models,
                "score": self.scores,
                "null_mean": self.null.mean(0),
                "null_sd": self.null.std(0, ddof=1),
                "z": self.z,
                "p": self.p,
                "p_max": self.p_max,
                "method": self.method,
                "n_permutations": len(self.null),
            }
        )


def permutation_test(
    models: Any,
    rdms: Any,
    method: str = "cosine",
    *,
    n_permutations: int = 1000,
    alternative: str = "greater",
    rng: int | np.random.Generator | None = None,
    by: str | None = "subject",
) -> PermutationResult:
    """Test models against data RDMs by permuting stimulus labels.

    Parameters
    ----------
    models, rdms, method, by
        As for :func:`neuro.rsa.evaluate`; only models without weights.
    n_permutations : int
        The smallest p is 1 / (n_permutations + 1).
    alternative : "greater", "less" or "two-sided"
        Two-sided compares distances from the mean of the null distribution.
    rng : int, Generator or None

    Returns
    -------
    PermutationResult

    Raises
    ------
    ValueError
        Missing pairs, models with weights, or too few stimuli to reach p = 0.05.

    References
    ----------
    Mantel (1967), Cancer Res. 27, 209-220. Nichols & Holmes (2002), Hum. Brain Mapp. 15, 1-25.

    Examples
    --------
    >>> truth = np.random.default_rng(0).random(45)
    >>> result = permutation_test({"truth": truth}, truth + 0.1, "corr", n_permutations=99, rng=0)
    >>> result.p
    array([0.01])
    """
    check_option("alternative", alternative, ALTERNATIVES)
    check_positive_int("n_permutations", n_permutations)
    task = problem(models, rdms, method, by, None, False, False)
    flexible = [m.name for m in task.models if m.flexible]
    if flexible:
        raise ValueError(f"{flexible[0]!r} has weights to fit; permute the prediction of weights fitted to other data.")
    if not task.complete:
        raise ValueError("pairs are missing (NaN), and permuting labels would move them; select complete conditions.")
    n = len(task.stimulus_groups)
    if n < 4:
        raise EmptySelection(f"{n} stimuli have too few permutations to reach p = 0.05; at least 4 are needed.")
    generator = as_rng(rng)
    orders = np.stack([np.arange(n), *(generator.permutation(n) for _ in range(n_permutations))])
    scores = _permuted_scores(task, orders)
    return _summarised(scores[0], scores[1:], tuple(m.name for m in task.models), method, alternative)


def sign_flip_test(
    scores: Any,
    *,
    names: Any = None,
    n_permutations: int = 10_000,
    alternative: str = "greater",
    rng: int | np.random.Generator | None = None,
) -> PermutationResult:
    """Test mean scores over subjects against 0 by flipping the signs of whole subjects.

    Valid if scores are symmetric about 0 under the null hypothesis, as corr, rho-a, tau-a or differences of two models
    are. All models flip together, so that ``p_max`` holds under any dependence.

    Parameters
    ----------
    scores : array (n_models, n_subjects), or a :class:`~neuro.rsa.result.Result`
    names : sequence of str, optional
    n_permutations : int
        All 2^n_subjects sign patterns are used instead where they are not more.
    """
    check_option("alternative", alternative, ALTERNATIVES)
    check_positive_int("n_permutations", n_permutations)
    if hasattr(scores, "scores_by_subject"):
        names = scores.models if names is None else names
        scores = scores.scores_by_subject
    x = np.atleast_2d(np.asarray(scores, float))
    m, n = x.shape
    if n < 2:
        raise EmptySelection(f"flipping signs of subjects needs at least two of them, got {n}.")
    if names is not None and len(names) != m:
        raise ShapeMismatch(f"{m} rows of scores were given {len(names)} names.")
    if 2**n <= n_permutations:
        signs = np.array(list(product([1.0, -1.0], repeat=n)))
        exact = True
    else:
        signs = as_rng(rng).choice([-1.0, 1.0], (n_permutations, n))
        exact = False
    null = signs @ x.T / n
    found = tuple(str(k) for k in (names if names is not None else range(m)))
    return _summarised(x.mean(1), null, found, "sign flip", alternative, exact)


class MantelMoments(NamedTuple):
    """Mean and variance over all permutations of stimulus labels."""

    mean: Any
    variance: Any


def mantel_moments(a: Any, b: Any) -> MantelMoments:
    """Exact mean and variance of the sum of products sum_(i < j) a_ij b_pi(i)pi(j) over all n! permutations.

    With sums over i != j, A0 = (sum a)^2, A1 = sum a^2, A2 = sum of squared row sums, and the same for b::

        E = sum a sum b / (n (n - 1))
        Var = 2 A1 B1 / (n (n-1)) + 4 (A2 - A1)(B2 - B1) / (n (n-1)(n-2))
              + (A0 - 4 A2 + 2 A1)(B0 - 4 B2 + 2 B1) / (n (n-1)(n-2)(n-3)) - A0 B0 / (n (n-1))^2.

    Parameters
    ----------
    a, b : array (n_pairs,) or (n_rdms, n_pairs)

    Returns
    -------
    MantelMoments of arrays (n_a, n_b), or of floats for two vectors

    References
    ----------
    Mantel (1967), Cancer Res. 27, 209-220.
    """
    x, y = (np.asarray(v, float) for v in (a, b))
    single = x.ndim == 1 and y.ndim == 1
    x, y = np.atleast_2d(x), np.atleast_2d(y)
    if x.shape[1] != y.shape[1]:
        raise ShapeMismatch(f"RDMs of {x.shape[1]} and of {y.shape[1]} pairs cannot be compared.")
    n = n_from_pairs(x.shape[1])
    if n < 4:
        raise EmptySelection(f"the variance over permutations needs at least 4 stimuli, got {n}.")
    shift_x, shift_y = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    mean = x.shape[1] * shift_x @ shift_y.T
    # A constant added to either changes the sum by a constant: the variance is that of centred entries, where A0 = 0.
    (a1, a2), (b1, b2) = _mantel_sums(x - shift_x), _mantel_sums(y - shift_y)
    variance = (
        2 * np.outer(a1, b1) / (n * (n - 1))
        + 4 * np.outer(a2 - a1, b2 - b1) / (n * (n - 1) * (n - 2))
        + 4 * np.outer(a1 - 2 * a2, b1 - 2 * b2) / (n * (n - 1) * (n - 2) * (n - 3))
    ) / 4
    return MantelMoments(float(mean[0, 0]), float(variance[0, 0])) if single else MantelMoments(mean, variance)


def _mantel_sums(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 2 * (x**2).sum(1), (to_square(x).sum(2) ** 2).sum(1)


def _permuted_scores(task: Problem, orders: np.ndarray) -> np.ndarray:
    """Mean scores of every permutation, (n_orders, M)."""
    from neuro.rsa.compare import compare, tokens

    models = np.concatenate(task.bases)
    n_pairs = models.shape[1]
    subject_mean = task.member.mean(1)
    out = np.empty((len(orders), len(models)))
    step = max(1, BLOCK // n_pairs)
    fast = task.method in (*LINEAR, "spearman", "rho-a")
    if fast:
        left = np.asarray(tokens(models, task.method), float)
        right = np.asarray(tokens(task.data, task.method), float)
        fast = left.shape[1] == n_pairs
    for start in range(0, len(orders), step):
        rows = slice(start, start + step)
        index = _pair_orders(orders[rows])
        if fast:  # tokens of a permuted RDM are the permuted tokens
            target = subject_mean @ right
            for m, token in enumerate(left):
                out[rows, m] = token[index] @ target
        else:
            for m, x in enumerate(models):
                out[rows, m] = np.asarray(compare(x[index], task.data, task.method)) @ subject_mean
    return out


def _pair_orders(orders: np.ndarray) -> np.ndarray:
    """Index of each pair of permuted stimuli, (n_orders, n_pairs)."""
    n = orders.shape[1]
    i, j = pair_indices(n)
    a, b = orders[:, i], orders[:, j]
    low, high = np.minimum(a, b), np.maximum(a, b)
    return low * n - low * (low + 1) // 2 + high - low - 1


def _summarised(
    observed: np.ndarray, null: np.ndarray, names: tuple, method: str, alternative: str, exact: bool = False
) -> PermutationResult:
    """P with the observed labelling counted once; an exact null distribution contains it already."""
    centre = null.mean(0) if alternative == "two-sided" else 0.0
    change = {"greater": lambda x: x, "less": lambda x: -x, "two-sided": lambda x: np.abs(x - centre)}[alternative]
    seen, drawn = change(observed), change(null)
    slack = 1e-12 * np.maximum(np.abs(seen), np.abs(drawn).max(0))
    extra = 0 if exact else 1
    p = (extra + (drawn >= seen - slack).sum(0)) / (extra + len(null))
    largest = drawn.max(1)
    p_max = (extra + (largest[:, None] >= seen - slack).sum(0)) / (extra + len(null))
    return PermutationResult(names, observed, p, p_max, null, method, alternative)
