"""How many dimensions do voxels share, and which?

PCA of encoder weights with voxels as samples: the covariance of features over voxels. Estimated weights are signal plus
noise, and noise alone has large eigenvalues too; only those above the edge of the noise count as shared dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats._moments import to_numpy
from neuro.stats._weight_noise import (
    check_noise,
    check_samples,
    median_noise,
    principal,
    random_edge,
    sampled_edge,
    whitening,
)
from neuro.stats.marchenko_pastur import largest_noise_eigenvalue

EDGES = ("marchenko-pastur", "permutation", "sign-flip", "noise-weights")


@dataclass(frozen=True, eq=False)
class WeightPCA:
    """Result of :func:`weight_pca`.

    Parameters
    ----------
    eigenvalues : array (min(n_used, n_features),)
        Variance over voxels along each component, in descending order; in units of whitened weights with
        ``noise_covariance``.
    n_components : int
        Shared dimensions: eigenvalues above ``edge``, counted from the largest.
    edge : float
    noise_variance : float
        Of one weight as given (whitened), mean over voxels; NaN for edges by randomisation.
    explained : array (min(n_used, n_features),)
        Share of the variance of all weights.
    mean : array (n_features,)
        What was subtracted.
    components : array (n_kept, n_features)
        Directions in feature space: weights = mean + projections @ components, up to what was not kept. Orthonormal
        without ``noise_covariance``. The largest entry of each is positive.
    projections : array (n_voxels, n_kept)
        Maps: how much of each component a voxel has. NaN for voxels that were left out.
    n_voxels_used : int
    edge_kind, level, n_effective, normalised, centred, seed
        Settings.
    """

    eigenvalues: np.ndarray
    n_components: int
    edge: float
    noise_variance: float
    explained: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    projections: np.ndarray
    n_voxels_used: int
    edge_kind: str
    level: float
    n_effective: float
    normalised: bool
    centred: bool
    seed: Any


def weight_pca(
    coef: Any,
    *,
    normalise: bool = False,
    centre: bool = True,
    edge: str = "marchenko-pastur",
    noise: Any = "median",
    n_effective: float | None = None,
    noise_covariance: Any = None,
    noise_weights: Any = None,
    level: float = 0.05,
    keep: int | None = None,
    n_permutations: int = 100,
    seed: int | np.random.Generator = 0,
) -> WeightPCA:
    """Return principal components of encoder weights over voxels, and how many exceed noise.

    Parameters
    ----------
    coef : array or tensor (n_voxels, n_features)
        Weights (``coef_``). Voxels with NaN, or all zero, are left out.
    normalise : bool
        Give every voxel's weights length 1, so that well-predicted voxels do not decide alone.
    centre : bool
        Subtract the mean voxel. Without, what all voxels have in common is a component too.
    edge : "marchenko-pastur", "permutation", "sign-flip" or "noise-weights"
        The first takes the noise of weights to be independent between features (after ``noise_covariance``) and
        voxels (see ``n_effective``). "permutation" shuffles every feature's weights over voxels, where features may
        differ in noise but voxels may not; "sign-flip" gives every weight a random sign, where both may. Both remove
        the components found and start again, until no more are found, and take voxels to be independent.
        "noise-weights" assumes none of this, but needs samples of the noise; give ``noise_covariance`` too, or the
        direction with the most noise hides signal in the others.
    noise : "median", float or array (n_voxels,)
        Variance of the noise of one weight of ``coef`` (whitened, with ``noise_covariance``). "median": one for all
        voxels, such that the median of the eigenvalues that are no shared dimensions is that of Marchenko and Pastur.
    n_effective : float, optional
        Independent voxels, where neighbours share their noise: fMRI resolution elements, for instance. By default
        the number of voxels. Exact where voxels come in identical copies, an approximation where they are smooth.
    noise_covariance : array (n_features, n_features), optional
        Of the noise of one voxel's weights, up to a factor: ``inv(X'X)`` for least squares, ``A X'X A`` with
        ``A = inv(X'X + alpha I)`` for ridge. Weights are whitened by it; without, correlated features look like shared
        dimensions.
    noise_weights : array (n_voxels, n_features) or (n_samples, n_voxels, n_features), optional
        Noise such as that of ``coef``: half the difference of the weights fitted to two random halves of the images,
        in which what is signal cancels, where ``coef`` is half their sum. The largest of n samples is exceeded by noise
        with probability 1 / (n + 1), so 19 splits allow a ``level`` of 0.05.
    level : float
        Probability that pure noise shows a shared dimension (Tracy-Widom, or the quantile of randomised weights). With
        noise from the median of few eigenvalues it is higher: 0.07-0.08 instead of 0.05 for 30 to 300 features.
    keep : int, optional
        Number of components and projections to return; by default ``n_components``.
    n_permutations : int
    seed : int or Generator

    Returns
    -------
    WeightPCA

    Raises
    ------
    ShapeMismatch
        If ``coef`` is not two-dimensional, or ``noise_covariance`` does not fit.
    EmptySelection
        If fewer than three voxels or two features have weights.
    ValueError
        If an option does not exist or go with the others.

    References
    ----------
    Huth, Nishimoto, Vu & Gallant (2012), Neuron 76, 1210-1224 (PCA of voxel weights). Marchenko & Pastur (1967),
    Mathematics of the USSR-Sbornik 1, 457-483. Johnstone (2001), Annals of Statistics 29, 295-327. Gavish & Donoho
    (2014), IEEE Trans. Inf. Theory 60, 5040-5053 (noise from the median). Dobriban & Owen (2019), J. R. Stat. Soc. B
    81, 163-183 (permutations with components removed).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.standard_normal((600, 3)) @ rng.standard_normal((3, 100))
    >>> found = weight_pca(shared + rng.standard_normal((600, 100)))
    >>> found.n_components, found.components.shape, found.projections.shape, round(found.noise_variance, 1)
    (3, (3, 100), (600, 3), 1.0)
    """
    check_option("edge", edge, EDGES)
    if not 0 < level < 1:
        raise ValueError(f"level is a probability between 0 and 1 such as 0.05, got {level!r}.")
    check_positive_int("n_permutations", n_permutations)
    W = np.array(to_numpy(coef), dtype=float)
    if W.ndim != 2:
        raise ShapeMismatch(f"coef must be (n_voxels, n_features), got shape {W.shape}.")
    noise = check_noise(noise, len(W), edge)
    samples = check_samples(noise_weights, W.shape, edge)
    if normalise and edge == "permutation":
        raise ValueError(
            "weights of length 1 have more noise the weaker they were, so they cannot change places between voxels: "
            "use edge='sign-flip' with normalise=True."
        )
    used = np.isfinite(W).all(1) & (W != 0).any(1)
    if samples is not None:
        used &= np.isfinite(samples).all((0, 2))
    v, p = int(used.sum()), W.shape[1]
    if v < 3 or p < 2:
        raise EmptySelection(
            f"a PCA of weights needs at least 3 voxels and 2 features, got {p} features and {v:,} of {len(W):,} voxels "
            "with finite weights that are not all zero."
        )
    if n_effective is None:
        effective = float(v)
    elif not 2 < n_effective <= v:
        raise ValueError(f"n_effective must lie between 2 and the {v:,} voxels that are used, got {n_effective!r}.")
    else:
        effective = float(n_effective)
    if keep is not None and check_positive_int("keep", keep, 0) > min(v, p):
        raise ValueError(f"keep must be at most {min(v, p)}, the number of components there are, got {keep}.")

    whiten, colour = whitening(noise_covariance, p)
    rows = W[used] if whiten is None else W[used] @ whiten
    length = np.linalg.norm(rows, axis=1, keepdims=True) if normalise else np.ones((v, 1))
    dof = effective - centre
    scale = effective / (v * dof)  # sums of squares -> variances as if of `effective` voxels
    variance: Any = float("nan")
    if edge == "marchenko-pastur":
        variance = noise[used] if isinstance(noise, np.ndarray) else noise
        if isinstance(noise, str):
            raw = rows - rows.mean(0) if centre else rows
            variance = median_noise(principal(raw)[0] * scale, dof, p, level)
    rows = rows / length
    mean = rows.mean(0) if centre else np.zeros(p)
    rows = rows - mean
    values, directions = principal(rows)
    if edge == "marchenko-pastur":
        limit = largest_noise_eigenvalue(dof, p, variance / length[:, 0] ** 2, level)
        k = int((values * scale > limit).sum())
    elif samples is not None:
        rest = [s[used] if whiten is None else s[used] @ whiten for s in samples]
        limit = sampled_edge([s / length for s in rest], centre, level) * scale
        k = int((values * scale > limit).sum())
    else:
        limit, k = random_edge(rows, directions, level, n_permutations, as_rng(seed), edge == "permutation")
        limit *= scale
    values = values * scale
    kept = k if keep is None else keep
    axes = directions[:, :kept]
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(0)[None], axis=0))
    projections = np.full((len(W), kept), np.nan)
    projections[used] = rows @ axes
    return WeightPCA(
        eigenvalues=values,
        n_components=k,
        edge=limit,
        noise_variance=float(np.mean(variance)),
        explained=values / values.sum(),
        mean=mean if colour is None else mean @ colour,
        components=axes.T if colour is None else axes.T @ colour,
        projections=projections,
        n_voxels_used=v,
        edge_kind=edge,
        level=level,
        n_effective=effective,
        normalised=normalise,
        centred=centre,
        seed=seed,
    )
