"""Where do an in-context network's training voxels come from? From a prior over weights, or from subjects.

A synthetic voxel answers to real embeddings x (mean m, covariance C over the pool) with drawn weights w::

    y = sqrt(s) w . (x - m) / sqrt(w' C w) + sqrt((1 - s) / R) e,    e ~ N(0, 1)

which is what z-scoring single trials of signal share s and averaging R of them gives. The share of signal in the
average's variance, rho = s / (s + (1 - s) / R), is drawn from a Beta distribution: a guess of noise ceilings in cortex.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int
from neuro.data import Responses
from neuro.errors import EmptySelection, ShapeMismatch

PRIORS = ("isotropic", "clusters", "empirical")


class Draw(NamedTuple):
    """Voxels and images of one step of training."""

    X: np.ndarray
    """(n_images, n_features) float32, unit length"""
    Y: np.ndarray
    """(n_voxels, n_images) float32"""
    weights: np.ndarray | None
    """(n_voxels, n_features + 1) the true ones, intercept last, where they are known"""


class VoxelSource(Protocol):
    """Anything that training can draw voxels from."""

    n_features: int

    def draw(self, n_voxels: int, n_images: int, rng: np.random.Generator, validation: bool = False) -> Draw:
        """Draw voxels and images; with ``validation``, from those kept apart."""
        ...

    def most_images(self, validation: bool = False) -> int:
        """How many images one draw can hold."""
        ...

    def describe(self) -> dict[str, Any]:
        """What identifies the source, as plain values."""
        ...


class SyntheticVoxels:
    """Voxels with drawn weights over real embeddings.

    Parameters
    ----------
    pool : array (n_images, n_features)
        Embeddings; brought to unit length.
    prior : {"isotropic", "clusters", "empirical"}
        Of the weights' directions. "isotropic": N(0, I). "clusters": regions, each around a centroid: those of
        ``weights`` (k-means, with their pooled covariance), or random ones among the pool's leading principal axes.
        "empirical": a normal distribution with the mean and covariance of ``weights``.
    weights : array (n_voxels, n_features), optional
        Of other subjects' voxels, e.g. ``RidgeCV().fit(X, Y).coef_``.
    ceiling : (a, b)
        Of the Beta distribution of explainable variance; (1.2, 2.5) has mean .32.
    repeats : int
        Trials averaged.
    validation : float, 0 to 1
        Share of the pool that only validation sees.
    n_clusters, rank, within : int, int, float
        Of "clusters": centroids; principal axes they lie in and s.d. within a cluster relative to between (without
        ``weights``).
    seed : int
        Of the split of the pool and of the centroids.
    """

    def __init__(
        self,
        pool: Any,
        prior: str = "clusters",
        *,
        weights: Any = None,
        ceiling: tuple[float, float] = (1.2, 2.5),
        repeats: int = 1,
        validation: float = 0.1,
        n_clusters: int = 16,
        rank: int = 32,
        within: float = 0.5,
        seed: int = 0,
    ):
        self.prior = check_option("prior", prior, PRIORS)
        pool = unit(np.asarray(pool, np.float32), "pool")
        self.n_features = pool.shape[1]
        if not (len(ceiling) == 2 and min(ceiling) > 0):
            raise ValueError(f"ceiling must be two numbers above 0, those of a Beta distribution, got {ceiling!r}.")
        if not 0 < validation < 1:
            raise ValueError(f"validation must lie between 0 and 1, got {validation!r}.")
        if prior == "empirical" and weights is None:
            raise ValueError("the prior 'empirical' needs weights (n_voxels, n_features) of other subjects' voxels.")
        self.ceiling, self.repeats, self.seed = tuple(map(float, ceiling)), check_positive_int("repeats", repeats), seed
        rng = as_rng(seed)
        order = rng.permutation(len(pool))
        n_val = max(2, round(validation * len(pool)))
        self._images = (pool[order[n_val:]], pool[order[:n_val]])
        train = self._images[0].astype(np.float64)
        self._mean = train.mean(0)
        self._cov = (train - self._mean).T @ (train - self._mean) / len(train)
        self._centroids, self._factor = self._prior(weights, n_clusters, rank, within, rng)
        self._settings = {"n_clusters": n_clusters, "rank": rank, "within": within, "validation": validation}

    def _prior(self, weights: Any, k: int, rank: int, within: float, rng: np.random.Generator) -> tuple[Any, Any]:
        """Return centroids (k, n_features) and a factor whose product with white noise is added to them."""
        E = self.n_features
        if weights is not None:
            W = np.asarray(weights, np.float64)
            if W.ndim != 2 or W.shape[1] != E or len(W) < 2 or not np.isfinite(W).all():
                raise ShapeMismatch(f"weights must be finite, (n_voxels of at least 2, {E}), got shape {W.shape}.")
            W = W[np.linalg.norm(W, axis=1) > 0]
            W = W / np.linalg.norm(W, axis=1, keepdims=True)
        if self.prior == "isotropic":
            return np.zeros((1, E)), np.eye(E)
        k = check_positive_int("n_clusters", k)
        if self.prior == "empirical":
            centroids, labels = W.mean(0, keepdims=True), np.zeros(len(W), int)
        elif weights is not None:
            from sklearn.cluster import KMeans

            found = KMeans(min(k, len(W)), n_init=1, random_state=int(rng.integers(2**31))).fit(W)
            centroids, labels = found.cluster_centers_, found.labels_
        else:
            axes = np.linalg.eigh(self._cov)[1][:, ::-1][:, : min(check_positive_int("rank", rank), E)].T
            centroids = rng.standard_normal((k, len(axes))) @ axes
            return centroids, np.vstack([within * axes, 0.1 * np.eye(E)])
        R = W - centroids[labels]
        cov = R.T @ R / len(R)
        return centroids, np.linalg.cholesky(cov + 1e-6 * np.eye(E) * max(np.trace(cov), 1e-12)).T

    def sample_weights(self, n_voxels: int, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """Draw weights (n_voxels, n_features) whose noiseless responses have variance 1 over the pool."""
        rng = as_rng(rng)
        w = self._centroids[rng.integers(len(self._centroids), size=n_voxels)]
        w = w + rng.standard_normal((n_voxels, len(self._factor))) @ self._factor
        return w / np.sqrt(np.maximum(((w @ self._cov) * w).sum(1, keepdims=True), 1e-30))

    def draw(self, n_voxels: int, n_images: int, rng: np.random.Generator, validation: bool = False) -> Draw:
        """Draw voxels, and images of the training or the validation pool without replacement."""
        images = self._images[int(validation)]
        X = images[rng.choice(len(images), n_images, replace=False)]
        rho = rng.beta(*self.ceiling, size=(n_voxels, 1))
        s = rho / (rho + self.repeats * (1 - rho))  # single trials, of which `repeats` reach the ceiling rho
        w = self.sample_weights(n_voxels, rng) * np.sqrt(s)
        b = -w @ self._mean
        noise = np.sqrt((1 - s) / self.repeats) * rng.standard_normal((n_voxels, n_images))
        return Draw(X, (w @ X.T.astype(np.float64) + b[:, None] + noise).astype(np.float32), np.column_stack([w, b]))

    def most_images(self, validation: bool = False) -> int:
        """How many images one draw can hold."""
        return len(self._images[int(validation)])

    def pool(self) -> np.ndarray:
        """Return the training images' embeddings (n_images, n_features), of unit length."""
        return self._images[0]

    def describe(self) -> dict[str, Any]:
        """What identifies the source."""
        from neuro._files import fingerprint

        content = fingerprint([self._images[0], self._images[1], self._centroids, self._factor])
        settings = {"prior": self.prior, "ceiling": list(self.ceiling), "repeats": self.repeats, **self._settings}
        return {"kind": "synthetic", **settings, "seed": self.seed, "content": content}


class SubjectVoxels:
    """Voxels that were measured.

    Parameters
    ----------
    subjects : mapping or sequence of (X, Y)
        Embeddings (n_images, n_features), brought to unit length, and responses (n_images, n_voxels), arrays or
        ``Responses``, z-scored per voxel.
    validation : the same, optional
        Other subjects to validate on. By default a tenth of every subject's images is kept for it; an image that
        several subjects saw may be kept for one and trained with in another, with that one's own responses.
    held_out : float
        That share.
    seed : int
        Of the choice of those images.
    """

    def __init__(self, subjects: Any, validation: Any = None, *, held_out: float = 0.1, seed: int = 0):
        train = _pairs(subjects, "subjects")
        if validation is None:
            rng = as_rng(seed)
            if not 0 < held_out < 1:
                raise ValueError(f"held_out must lie between 0 and 1, got {held_out!r}.")
            orders = [rng.permutation(len(X)) for X, _ in train]
            cuts = [max(2, round(held_out * len(o))) for o in orders]
            apart = [(X[o[:c]], Y[o[:c]]) for (X, Y), o, c in zip(train, orders, cuts, strict=True)]
            train = [(X[o[c:]], Y[o[c:]]) for (X, Y), o, c in zip(train, orders, cuts, strict=True)]
        else:
            apart = _pairs(validation, "validation")
        widths = {X.shape[1] for X, _ in [*train, *apart]}
        if len(widths) > 1:
            raise ShapeMismatch(f"all subjects must share one embedding, got {sorted(widths)} features.")
        self.n_features = widths.pop()
        self._sides = (train, apart)

    def draw(self, n_voxels: int, n_images: int, rng: np.random.Generator, validation: bool = False) -> Draw:
        """Draw a subject, and voxels and images of it; voxels repeat only if there are fewer than asked for."""
        side = self._sides[int(validation)]
        X, Y = side[int(rng.integers(len(side)))]
        rows = rng.choice(len(X), n_images, replace=False)
        voxels = rng.choice(Y.shape[1], n_voxels, replace=n_voxels > Y.shape[1])
        return Draw(X[rows], np.ascontiguousarray(Y[np.ix_(rows, voxels)].T), None)

    def most_images(self, validation: bool = False) -> int:
        """How many images one draw can hold."""
        return min(len(X) for X, _ in self._sides[int(validation)])

    def pool(self) -> np.ndarray:
        """Return the training images' embeddings, every row once (n_images, n_features)."""
        return np.unique(np.concatenate([X for X, _ in self._sides[0]]), axis=0)

    def ridge_weights(self, **settings: Any) -> np.ndarray:
        """Return weights (n_voxels, n_features) that ``RidgeCV`` gives the training voxels it can predict."""
        from neuro.linear._alphas import AlphaAtBoundaryWarning
        from neuro.linear.ridge import RidgeCV

        kept = []
        for X, Y in self._sides[0]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AlphaAtBoundaryWarning)  # a prior needs no exact penalty
                model = RidgeCV(**{"scoring": "r2", **settings}).fit(X, Y)
            kept.append(model.coef_[model.best_score_ > 0])
        if sum(map(len, kept)) < 2:
            raise EmptySelection("ridge regression predicts none of the subjects' voxels; use the prior 'isotropic'.")
        return np.concatenate(kept)

    def describe(self) -> dict[str, Any]:
        """What identifies the source."""
        from neuro._files import fingerprint

        return {"kind": "subjects", "content": fingerprint([a for side in self._sides for pair in side for a in pair])}


def unit(X: np.ndarray, name: str) -> np.ndarray:
    """Return rows of unit length, or say which have no direction."""
    if X.ndim != 2:
        raise ShapeMismatch(f"{name} must be (n_images, n_features), got shape {X.shape}.")
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise ValueError(f"{name} has rows that are zero or not finite; leave them out.")
    return X / lengths


def _pairs(given: Any, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    items = list(given.items()) if isinstance(given, Mapping) else list(enumerate(given))
    if not items:
        raise ValueError(f"{name} must hold at least one pair (X, Y), got none.")
    pairs = []
    for key, pair in items:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"{name}[{key!r}] must be a pair (X, Y), got {type(pair).__name__}.")
        X, Y = pair
        Y = np.asarray(Y.to_numpy() if isinstance(Y, Responses) else Y, np.float32)
        X = unit(np.asarray(X, np.float32), f"X of {name}[{key!r}]")
        if Y.ndim != 2 or len(X) != len(Y):
            raise ShapeMismatch(
                f"{name}[{key!r}]: X has shape {X.shape} and Y {Y.shape}; rows must be the same images."
            )
        if not np.isfinite(Y).all():
            raise ValueError(f"Y of {name}[{key!r}] contains NaN or infinity; leave those voxels out.")
        pairs.append((X, Y))
    return pairs
