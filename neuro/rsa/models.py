"""What does a model predict for every pair of stimuli, and which of its weights suit the data best?

A model spans RDMs: one (``Fixed``), one of several (``Select``), a weighted sum (``Weighted``) or a mixture of two
neighbours in a list (``Interpolate``). For cosine, corr, cosine_cov and corr_cov the weights of highest mean similarity
are exactly (non-negative) least squares of the mean normalised data vector y in the inner product of the measure,

    theta = argmin (y - M' theta)' V^-1 (y - M' theta) + ridge |theta|^2 = (M V^-1 M' + ridge I)^-1 M V^-1 y,

scaled to unit length; only their k x k Gram matrix is needed. Rank correlations have no such solution: they are
maximised from several starts with a seed, never ending below the best start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from neuro._check import as_rng, is_tensor
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch
from neuro.rsa._gram import LINEAR, cosines, gram
from neuro.rsa._least_squares import nnls_gram, solve_gram
from neuro.rsa._ranks import rho_a_tokens, spearman_tokens
from neuro.rsa._whitened import _restricted_diagonal
from neuro.rsa.container import RDMs, as_rdms, matched

STARTS = 8  # random starts of a search, besides each single RDM, their sum and the least-squares weights


class Model:
    """A prediction of dissimilarities with or without free weights.

    Parameters
    ----------
    rdms : RDMs, or array (n_rdms, n_pairs), (n_pairs,), (n, n) or (n_rdms, n, n)
        The RDMs it is made of.
    name : str, optional
        The name of a single RDM, or the names joined, by default.
    """

    flexible = True

    def __init__(self, rdms: Any, name: str | None = None):
        self.rdms = as_rdms(rdms).numpy()
        self._has_names = isinstance(rdms, RDMs)
        if name is None:
            name = " + ".join(self.rdms.names) if len(self.rdms.table.columns) else type(self).__name__.lower()
        self.name = str(name)

    @property
    def n_weights(self) -> int:
        """Number of RDMs it is made of."""
        return self.rdms.n_rdms

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.rdms.n_rdms} RDMs of {self.rdms.n_conditions} conditions)"

    def predict(self, weights: Any = None) -> np.ndarray:
        """Dissimilarities (n_pairs,) for weights (n_rdms,); equal weights by default."""
        d = self.rdms.dissimilarities
        theta = np.ones(len(d)) if weights is None else np.asarray(weights, float)
        if theta.shape != (len(d),):
            raise ShapeMismatch(f"model {self.name!r} has {len(d)} weights, got shape {theta.shape}.")
        return theta @ np.asarray(d, float)

    def fit(self, rdms: Any, method: str = "cosine", rng: Any = 0) -> np.ndarray:
        """Return the weights (n_rdms,) of highest mean similarity to data RDMs, of unit length.

        Parameters
        ----------
        rdms : RDMs or array
            Data, one RDM per subject or measurement, each of which counts the same.
        method : str
            Any measure of :func:`neuro.rsa.compare`.
        rng : int or Generator
            Only for measures that need a search.

        Returns
        -------
        array (n_rdms,); predictions are ``model.predict(weights)``
        """
        vectors = np.asarray(as_rdms(rdms).numpy().dissimilarities, float)
        return fit_vectors(self, self.aligned(rdms), vectors, method, rng)

    def aligned(self, rdms: Any) -> np.ndarray:
        """Dissimilarities (n_rdms, n_pairs) with the conditions in the order of other RDMs, matched by name."""
        mine = self.rdms if self._has_names else self.rdms.dissimilarities
        return np.asarray(matched(rdms, mine)[1].dissimilarities, float)

    def solve(self, k: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the best weights from the Gram matrix k = M V^-1 M' and y = M V^-1 (mean normalised data)."""
        raise NotImplementedError

    def search(self, score: Callable[[np.ndarray], np.ndarray], first: np.ndarray, rng: Any) -> np.ndarray:
        """Return the best weights for a score of candidates (n_candidates, k) -> (n_candidates,)."""
        raise NotImplementedError


class Fixed(Model):
    """One RDM, nothing to fit.

    Examples
    --------
    >>> Fixed([1.0, 2.0, 3.0], "line").predict()
    array([1., 2., 3.])
    """

    flexible = False

    def __init__(self, rdms: Any, name: str | None = None):
        super().__init__(rdms, name)
        if self.rdms.n_rdms != 1:
            raise ShapeMismatch(
                f"Fixed is one RDM, got {self.rdms.n_rdms}: give each its own Fixed, or use Select or Weighted."
            )

    def solve(self, k: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Nothing to choose."""
        return np.ones(1)

    def search(self, score: Callable[[np.ndarray], np.ndarray], first: np.ndarray, rng: Any) -> np.ndarray:
        """Nothing to choose."""
        return np.ones(1)


class Select(Model):
    """The one of several RDMs that is most similar to the data on average."""

    def solve(self, k: np.ndarray, y: np.ndarray) -> np.ndarray:
        """One weight of 1 at the highest y_i / sqrt(k_ii)."""
        return np.eye(len(y))[int(np.argmax(cosines(y, np.sqrt(np.maximum(np.diagonal(k), 0.0)))))]

    def search(self, score: Callable[[np.ndarray], np.ndarray], first: np.ndarray, rng: Any) -> np.ndarray:
        """One weight of 1 at the best RDM."""
        choices = np.eye(self.n_weights)
        return choices[int(np.argmax(score(choices)))]


class Weighted(Model):
    """A weighted sum of RDMs.

    Parameters
    ----------
    rdms, name
        As for :class:`Model`.
    nonnegative : bool
        Keep weights >= 0, as for RDMs of independent feature spaces whose squared distances add.
    ridge : float, >= 0
        Penalty on squared weights, in units of the mean squared length of the RDMs. For collinear RDMs.
    """

    def __init__(self, rdms: Any, name: str | None = None, *, nonnegative: bool = True, ridge: float = 0.0):
        super().__init__(rdms, name)
        if not (np.isfinite(ridge) and ridge >= 0):
            raise ValueError(f"ridge must be finite and not negative, got {ridge!r}.")
        self.nonnegative = bool(nonnegative)
        self.ridge = float(ridge)

    def solve(self, k: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Least squares, non-negative if so asked, scaled to unit length."""
        penalty = self.ridge * float(np.trace(k)) / len(k)
        theta = nnls_gram(k, y, penalty) if self.nonnegative else solve_gram(k, y, penalty)
        return _unit(theta)

    def search(self, score: Callable[[np.ndarray], np.ndarray], first: np.ndarray, rng: Any) -> np.ndarray:
        """Nelder-Mead from the three best of many starts; a ridge cannot act on a rank correlation."""
        from scipy.optimize import minimize

        k = self.n_weights
        if k == 1:
            return np.ones(1)
        random = as_rng(rng).dirichlet(np.ones(k), STARTS)
        if not self.nonnegative:
            random = random * as_rng(rng).choice([-1.0, 1.0], random.shape)
        starts = np.concatenate([_unit(first)[None], np.eye(k), np.full((1, k), k**-0.5), random])
        values = score(starts)
        best, best_value = starts[int(np.argmax(values))], float(np.max(values))

        def bound(theta: np.ndarray) -> np.ndarray:
            return np.abs(theta) if self.nonnegative else theta

        for start in starts[np.argsort(-values, kind="stable")[:3]]:
            options = {"maxfev": 60 * k, "xatol": 1e-4, "fatol": 1e-7}
            found = minimize(lambda t: -float(score(bound(t)[None])[0]), start, method="Nelder-Mead", options=options)
            if -found.fun > best_value:
                best, best_value = bound(found.x), -float(found.fun)
        return _unit(best)


class Interpolate(Model):
    """A mixture w d_i + (1 - w) d_(i+1), 0 <= w <= 1, of two neighbours in an ordered list of RDMs."""

    def __init__(self, rdms: Any, name: str | None = None):
        super().__init__(rdms, name)
        if self.rdms.n_rdms < 2:
            raise ShapeMismatch("Interpolate needs at least two RDMs to mix, got 1; use Fixed.")

    def solve(self, k: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the best of the two-column non-negative fits, weights summing to 1."""
        best, best_value = Select.solve(self, k, y), -np.inf
        for i in range(len(y) - 1):
            pair = slice(i, i + 2)
            theta = np.zeros(len(y))
            theta[pair] = nnls_gram(k[pair, pair], y[pair])
            length = float(np.sqrt(max(theta @ k @ theta, 0.0)))
            if length > 0 and theta @ y / length > best_value:
                best, best_value = theta / theta.sum(), float(theta @ y / length)
        return best

    def search(self, score: Callable[[np.ndarray], np.ndarray], first: np.ndarray, rng: Any) -> np.ndarray:
        """Grid of 21 mixtures per neighbouring pair, refined once around the best."""
        m = self.n_weights
        position = np.linspace(0, m - 1, 20 * (m - 1) + 1)
        best = position[int(np.argmax(score(_mixtures(position, m))))]
        position = np.clip(best + np.linspace(-0.05, 0.05, 21), 0, m - 1)
        return _mixtures(position, m)[int(np.argmax(score(_mixtures(position, m))))]


def model_family(rdms: Any, kind: Callable[..., Model] = Weighted, max_size: int | None = None) -> list[Model]:
    """Return one model for every non-empty subset of RDMs, 2^k - 1 in all; single RDMs become :class:`Fixed`.

    Examples
    --------
    >>> parts = RDMs([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]], table={"name": ["shape", "colour"]})
    >>> [m.name for m in model_family(parts)]
    ['shape', 'colour', 'shape + colour']
    """
    if isinstance(rdms, Mapping):
        rdms = _stack(rdms)
    rdms = as_rdms(rdms)
    if not len(rdms.table.columns):
        rdms = rdms.with_table(name=[str(i) for i in range(rdms.n_rdms)])
    k = rdms.n_rdms
    largest = k if max_size is None else min(max_size, k)
    if k > 12 and largest > 3:
        raise ValueError(f"{k} RDMs have {2**k - 1:,} subsets; give max_size of at most 3, or fewer RDMs.")
    names = rdms.names
    out: list[Model] = []
    for size in range(1, largest + 1):
        for rows in combinations(range(k), size):
            part, name = rdms.select(list(rows)), " + ".join(names[r] for r in rows)
            out.append(Fixed(part, name) if size == 1 else kind(part, name))
    return out


def as_models(models: Any) -> list[Model]:
    """Return models from RDMs (one model each), arrays, a dict of name -> RDM or array, model objects, or a list."""
    if isinstance(models, Model):
        out: list[Model] = [models]
    elif isinstance(models, Mapping):
        out = [_named(m, name) for name, m in models.items()]
    elif isinstance(models, RDMs) or is_tensor(models) or isinstance(models, np.ndarray):
        stack = as_rdms(models)
        out = [Fixed(stack[i], name) for i, name in enumerate(_names(stack))]
    elif isinstance(models, Sequence) and any(isinstance(m, (Model, RDMs)) for m in models):
        kinds = (Model, RDMs)
        parts = [as_models(m) if isinstance(m, kinds) else [Fixed(m, f"model {k}")] for k, m in enumerate(models)]
        out = [m for part in parts for m in part]
    else:
        out = as_models(np.asarray(models, float)) if len(models) else []
    if not out:
        raise EmptySelection("there is no model to evaluate.")
    names = [m.name for m in out]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise DuplicateIds(f"model names must be unique: {twice!r} stands more than once. Give a dict, or name=...")
    return out


def fit_vectors(model: Model, basis: np.ndarray, data: np.ndarray, method: str, rng: Any = 0) -> np.ndarray:
    """Weights for basis (k, n_pairs) and data (R, n_pairs); pairs missing anywhere are left out."""
    from neuro.rsa.compare import compare

    if not model.flexible:
        return np.ones(len(basis))
    complete = np.isfinite(basis).all() and np.isfinite(data).all()
    if method in LINEAR and complete:
        return fit_gram(model, gram(np.concatenate([basis, data]), method).inner[0], len(basis))
    known = np.isfinite(basis).all(0) & np.isfinite(data).all(0)
    if known.sum() < 3:
        return np.full(len(basis), np.nan)
    if method in LINEAR:
        x = np.concatenate([basis, data])[:, known]
        x = x - x.mean(1, keepdims=True) if method.startswith("corr") else x
        y = _restricted_diagonal(known, None)(x) if method.endswith("_cov") else x
        return fit_gram(model, x @ y.T, len(basis))
    start = np.ones(len(basis)) / np.sqrt(len(basis))
    if complete:
        start = fit_gram(model, gram(np.concatenate([basis, data]), "corr").inner[0], len(basis))

    if method in ("spearman", "rho-a"):
        token = spearman_tokens if method == "spearman" else rho_a_tokens
        target, basis = token(data[:, known]).mean(0), basis[:, known]

        def score(theta: np.ndarray) -> np.ndarray:
            return token(theta @ basis) @ target

    else:

        def score(theta: np.ndarray) -> np.ndarray:
            return np.nan_to_num(np.asarray(compare(theta @ basis, data, method)).mean(1), nan=-np.inf)

    return model.search(score, start, rng)


def fit_gram(model: Model, inner: np.ndarray, k: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Weights from the Gram matrix of k basis RDMs followed by data RDMs, which may have weights."""
    length = np.sqrt(np.maximum(np.diagonal(inner)[k:], 0.0))
    return model.solve(inner[:k, :k], np.average(cosines(inner[:k, k:], length[None]), axis=1, weights=weights))


def _unit(theta: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(theta))
    return theta / length if length > 0 else theta


def _mixtures(position: np.ndarray, m: int) -> np.ndarray:
    """Weights of mixtures at positions 0 to m - 1."""
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(m)[None]))


def _names(stack: RDMs) -> list[str]:
    names = stack.names
    return [f"model {n}" for n in names] if not len(stack.table.columns) else names


def _named(model: Any, name: str) -> Model:
    if isinstance(model, Model):
        import copy

        model = copy.copy(model)
        model.name = str(name)
        return model
    return Fixed(model, name)


def _stack(parts: Mapping[str, Any]) -> RDMs:
    stacks = [as_rdms(p) for p in parts.values()]
    for name, stack in zip(parts, stacks, strict=True):
        if stack.n_rdms != 1:
            raise ShapeMismatch(f"{name!r} must be one RDM, got {stack.n_rdms}.")
    first = stacks[0]
    vectors = [matched(first, s)[1].numpy().dissimilarities for s in stacks]
    return RDMs(np.concatenate(vectors), first.condition_table, {"name": list(parts)})
