"""Where in the brain does the geometry of responses look like a model's?

Around every centre, the responses of its neighbourhood make one representational dissimilarity matrix, which is
compared with every model: a map of scores per model. Centres are streamed in blocks; only the scores of each remain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.data.responses import Responses
from neuro.data.voxels import Surface, Volume, Voxels
from neuro.errors import ShapeMismatch, SpaceMismatch, UnknownStimulus, nearest
from neuro.rsa import _searchlight as inside
from neuro.rsa._neighbours import (
    Neighbourhoods,
    as_neighbourhoods,
    disc_neighbours,
    mask_fingerprint,
    product_neighbours,
    sphere_neighbours,
    window_neighbours,
)
from neuro.rsa._settings import HasSettings
from neuro.rsa.container import RDMs, as_rdms
from neuro.rsa.group_maps import count_at_least

if TYPE_CHECKING:
    from nibabel.gifti import GiftiImage
    from nibabel.nifti1 import Nifti1Image

NOISE = ("diag", "full", "shrinkage_eye", "shrinkage_diag")


class Searchlight(HasSettings):
    """Maps of how well model RDMs match the RDM of the responses around each centre.

    Parameters
    ----------
    models : RDMs, array (n_models, n_pairs) or square, or mapping name -> RDM
        :class:`RDMs` with named conditions are matched to the data's conditions by name; arrays are taken in the order
        of the data's conditions: of first appearance, ascending for :class:`~neuro.data.Responses`, as
        :func:`~neuro.rsa.rdm` has it.
    radius : float
        Channels nearer than this belong to the neighbourhood: in voxels times ``voxel_size``, or mm on a surface.
    metric : str or callable
        "correlation", "cosine", "sqeuclidean" (per channel), "euclidean" (its root), "mahalanobis", "crossnobis", or
        f(patterns (n_conditions, n_channels)) -> (n_pairs,).
    method : str or callable
        A method of :func:`neuro.rsa.compare.compare`; "inner", the inner product of RDM and model, or "regression", the
        coefficients of the RDM on all models and a constant, both of which need no RDM where distances are squared
        (milliseconds for a whole brain); or f(rdms (n_centres, n_pairs), models (n_models, n_pairs)) -> (n_centres,
        n_models).
    conditions, folds : array (n_observations,) or column of the trials table, optional
        What each observation shows (observations alike are averaged; each its own by default, the stimulus for
        :class:`~neuro.data.Responses`), and its fold (run, session) for crossnobis.
    noise : None, str or array (n_channels,), optional
        For mahalanobis and crossnobis: noise variance of every channel, or "diag", or the estimator of a precision
        for each sphere: "full", "shrinkage_eye", "shrinkage_diag". Mahalanobis and crossnobis without noise are plain
        and cross-validated squared Euclidean distances.
    threshold : float, 0 to 1
        Keep centres with at least this share of their sphere inside the mask; 0 keeps all.
    voxel_size : float or three floats
    window : float, optional
        Seconds, for responses with a time axis: each centre is a channel at a time.
    n_permutations : int
        Shuffles of the conditions of the models; gives ``p_`` and ``p_fwe_``. All shuffled models are held in memory.
    n_jobs : int
        Processes (joblib). Scores are the same, bit for bit, for any ``n_jobs`` and ``chunk``.
    chunk : int
        Centres per job.
    out : path, optional
        Write the scores to this ``.npy`` file and keep ``scores_`` as a memory map of it.
    rng : int or Generator, optional

    Attributes
    ----------
    scores_ : array (n_models, n_centres)
        NaN where the neighbourhood holds NaN, a channel without noise variance where noise is asked for, or a pattern
        without variance under "correlation".
    centres_ : array (n_centres,)
        Channel of each centre.
    p_, p_fwe_ : array (n_models, n_centres)
        One-sided p values, for each centre alone and against the largest score of all centres per permutation.
    neighbourhoods_, conditions_, model_names_, voxels_

    References
    ----------
    Kriegeskorte, Goebel & Bandettini (2006), PNAS 103, 3863-3868. Walther et al. (2016), NeuroImage 137, 188-200.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mask = np.ones((5, 5, 5), bool)
    >>> light = Searchlight([[0, 1, 1, 1, 1, 0]], radius=2, metric="sqeuclidean", method="inner")
    >>> light.fit(rng.normal(size=(4, 125)), mask).scores_.shape
    (1, 125)
    """

    def __init__(
        self,
        models: Any,
        radius: float = 3.0,
        metric: str | Callable[[np.ndarray], np.ndarray] = "correlation",
        method: str | Callable[[np.ndarray, np.ndarray], np.ndarray] = "corr",
        *,
        conditions: Any = None,
        folds: Any = None,
        noise: Any = None,
        threshold: float = 0.0,
        voxel_size: Any = 1.0,
        window: float | None = None,
        n_permutations: int = 0,
        n_jobs: int = 1,
        chunk: int = 4096,
        out: str | Path | None = None,
        rng: int | np.random.Generator | None = None,
    ):
        self.models = models
        self.radius = radius
        self.metric = metric
        self.method = method
        self.conditions = conditions
        self.folds = folds
        self.noise = noise
        self.threshold = threshold
        self.voxel_size = voxel_size
        self.window = window
        self.n_permutations = n_permutations
        self.n_jobs = n_jobs
        self.chunk = chunk
        self.out = out
        self.rng = rng

    def fit(self, data: Any, where: Any = None, *, residuals: Any = None, meshes: Any = None) -> Searchlight:
        """Compute the maps.

        Parameters
        ----------
        data : array (n_observations, n_channels[, n_times]), or Responses
        where : mask (X, Y, Z), NIfTI mask, Voxels, Neighbourhoods or sparse matrix (n_centres, n_channels)
            What the channels are; Responses know it themselves. With a time axis, channel v at time t is number
            v * n_times + t.
        residuals : array (n, n_channels), optional
            Of the GLM, for ``noise``. By default, observations minus the mean of their condition.
        meshes : pair of (vertices (n, 3), faces (m, 3)), optional
            Left and right mesh, for voxels on a surface.

        Returns
        -------
        Searchlight
            Itself.
        """
        self._check_settings()
        values, conditions, folds, times, where = self._read(data, where)
        neighbourhoods = self._neighbourhoods(where, values.shape[1], times, meshes)
        patterns, names = self._patterns(values, conditions, folds, residuals, isinstance(data, Responses))
        models = self._models(names, conditions is not None)
        n_models, n = len(models), len(neighbourhoods)
        n_perm = check_positive_int("n_permutations", self.n_permutations, 0)
        every = inside.permuted_models(models, n_perm, as_rng(self.rng))
        scorer = inside.Scorer(every, self.method)
        scores = self._output(n_models, n)
        if scorer.weights is not None and patterns.linear and not n_perm:
            scores[:] = inside.linear_scores(patterns, neighbourhoods, scorer.weights)
        else:
            counts, largest = self._stream(patterns, neighbourhoods, scorer, scores)
            if n_perm:
                known = ~np.isnan(scores)
                self.p_ = np.where(known, (1 + counts) / (1 + n_perm), np.nan)
                self.null_max_ = largest
                beaten = np.stack(
                    [count_at_least(null, x - inside.TIE) for null, x in zip(largest.T, scores, strict=True)]
                )
                self.p_fwe_ = np.where(known, (1 + beaten) / (1 + n_perm), np.nan)
        if isinstance(scores, np.memmap):
            scores.flush()
        self.scores_ = scores
        self.centres_ = neighbourhoods.centres
        self.neighbourhoods_ = neighbourhoods
        self.conditions_ = names
        return self

    # Results

    def maps(self, values: Any = None) -> np.ndarray:
        """Return scores (or ``values`` (..., n_centres)) of all channels, (..., n_channels); NaN where no centre is."""
        values = np.asarray(self._fitted() if values is None else values)
        if values.shape[-1] != len(self.centres_):
            raise ShapeMismatch(f"expected one value for each of {len(self.centres_):,} centres, got {values.shape}.")
        out = np.full((*values.shape[:-1], self.neighbourhoods_.n_channels), np.nan)
        out[..., self.centres_] = values
        return out

    def to_nifti(self, values: Any = None) -> Nifti1Image:
        """Return the maps as a 4-D image (X, Y, Z, n_models); ``values`` (..., n_centres) such as ``p_`` instead."""
        return self._voxels("to_nifti").to_nifti(self.maps(values))

    def to_surface(self, values: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the maps on all vertices of the left and the right mesh, (n_models, n_vertices) each."""
        return self._voxels("to_surface").to_surface(self.maps(values))

    def to_gifti(self, values: Any = None) -> tuple[GiftiImage, GiftiImage]:
        """Return the maps as GIFTI images, left and right."""
        return self._voxels("to_gifti").to_gifti(self.maps(values))

    def __repr__(self) -> str:
        metric = self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "callable")
        method = self.method if isinstance(self.method, str) else getattr(self.method, "__name__", "callable")
        return f"Searchlight(radius={self.radius:g}, metric={metric!r}, method={method!r}, noise={self.noise!r})"

    # Inside

    def _check_settings(self) -> None:
        if not callable(self.metric):
            check_option("metric", self.metric, inside.METRICS)
        if not callable(self.method):
            from neuro.rsa.compare import METHODS

            check_option("method", self.method, [*METHODS, *inside.LINEAR])
        if isinstance(self.noise, str):
            check_option("noise", self.noise, NOISE)
        if self.noise is not None and self.metric not in ("mahalanobis", "crossnobis"):
            raise ValueError(f"metric {self.metric!r} uses no noise; use 'mahalanobis' or 'crossnobis', or noise=None.")
        if (self.folds is None) == (self.metric == "crossnobis"):
            raise ValueError(
                f"metric {self.metric!r} "
                + ("needs folds: name the runs or sessions." if self.folds is None else "uses no folds.")
            )
        check_positive_int("chunk", self.chunk)

    def _read(self, data: Any, where: Any) -> tuple[np.ndarray, Any, Any, Any, Any]:
        times = None
        conditions, folds = self.conditions, self.folds
        if isinstance(data, Responses):
            if conditions is None:
                conditions = data.stimulus
            table = data.trials
            conditions, folds = (_column(table, x) for x in (conditions, folds))
            where = data.voxels if where is None else where
            times = data.times
            values = data.to_numpy()
        else:
            values = data.detach().cpu().numpy() if is_tensor(data) else np.asarray(data)
            for name, given in (("conditions", conditions), ("folds", folds)):
                if isinstance(given, str):
                    raise ValueError(f"{name}={given!r} names a column, but the data are a plain array: give values.")
        if values.ndim not in (2, 3) or values.dtype.kind not in "fiub":
            raise ShapeMismatch(
                f"data are numbers (n_observations, n_channels[, n_times]), got {values.dtype} {values.shape}."
            )
        if where is None:
            raise ValueError("where are the channels? Give a mask, Voxels or Neighbourhoods.")
        return values.reshape(len(values), -1), conditions, folds, times, where

    def _neighbourhoods(self, where: Any, n_channels: int, times: Any, meshes: Any) -> Neighbourhoods:
        """Those of the last fit if nothing changed."""
        if isinstance(where, (str, Path)) or hasattr(where, "dataobj"):
            where = Voxels.from_mask(where)
        self.voxels_: Voxels | None = None
        if isinstance(where, Neighbourhoods) or hasattr(where, "tocsr"):
            found = as_neighbourhoods(where)
        elif isinstance(where, Voxels):
            if times is None:
                self.voxels_ = where
            found = self._around(where, meshes)
        else:
            mask = np.asarray(where) > 0
            if mask.ndim != 3:
                raise ShapeMismatch(f"a mask has three axes, got shape {mask.shape}.")
            if times is None:
                self.voxels_ = Voxels(int(mask.sum()), Volume(mask.shape, np.eye(4), np.argwhere(mask)))
            found = self._spheres(mask)
        if times is not None and found.n_channels != n_channels:
            window = 0.0 if self.window is None else self.window
            found = product_neighbours(found, window_neighbours(times, window))
        elif self.window is not None and times is None:
            raise ValueError("window is for responses with a time axis.")
        if found.n_channels != n_channels:
            raise ShapeMismatch(f"the data have {n_channels:,} channels, the neighbourhoods {found.n_channels:,}.")
        return found

    def _around(self, voxels: Voxels, meshes: Any) -> Neighbourhoods:
        geometry = voxels.geometry
        if isinstance(geometry, Volume):
            mask = np.zeros(geometry.shape, bool)
            mask[tuple(geometry.ijk.T)] = True
            spheres = self._spheres(mask)
            rank = np.empty(mask.shape, int)
            rank[mask] = np.arange(mask.sum())
            return _renumbered(spheres, rank[tuple(geometry.ijk.T)])
        if isinstance(geometry, Surface):
            if meshes is None:
                raise ValueError("voxels on a surface need `meshes`: (vertices, faces) of the left and the right one.")
            return surface_neighbours(geometry, meshes, self.radius, threshold=self.threshold)
        raise SpaceMismatch("these voxels have no geometry: give Neighbourhoods, or voxels of a mask or a surface.")

    def _spheres(self, mask: np.ndarray) -> Neighbourhoods:
        size = tuple(np.broadcast_to(np.asarray(self.voxel_size, float), (3,)))
        key = (mask_fingerprint(mask), float(self.radius), float(self.threshold), size)
        cached = getattr(self, "_cached", None)
        if cached is None or cached[0] != key:
            self._cached = (
                key,
                sphere_neighbours(mask, self.radius, threshold=self.threshold, voxel_size=self.voxel_size),
            )
        return self._cached[1]

    def _patterns(
        self, values: np.ndarray, conditions: Any, folds: Any, residuals: Any, in_order: bool
    ) -> tuple[inside.Patterns, np.ndarray]:
        names, codes = _codes("conditions", conditions, len(values), in_order)
        fold_codes = None
        if folds is not None:
            fold_names, fold_codes = _codes("folds", folds, len(values), True)
            if len(fold_names) < 2:
                raise ValueError("crossnobis needs at least two folds, got one.")
        if len(names) < 3:
            raise ShapeMismatch(f"scores of RDMs need at least three conditions, got {len(names)}.")
        rows = inside.cell_means(values, codes, fold_codes)
        if self.metric in ("sqeuclidean", "euclidean", "mahalanobis", "crossnobis"):
            rows = rows - rows.mean(2, keepdims=True)  # leaves differences alone, keeps digits
        if self.noise is None:
            return inside.Patterns(rows, self.metric), names
        if not isinstance(self.noise, str):
            variance = np.asarray(self.noise, float)
            if variance.shape != (values.shape[1],) or not (variance > 0).all():
                raise ShapeMismatch(f"noise must be {values.shape[1]:,} positive variances, got {variance.shape}.")
            return inside.Patterns(rows / np.sqrt(variance)[:, None, None], self.metric), names
        noise, dof = _residuals(values, codes, residuals)
        if self.noise == "diag":
            with np.errstate(invalid="ignore", divide="ignore"):
                scale = 1 / np.sqrt((noise**2).sum(0) / dof)
            scale[~np.isfinite(scale)] = np.nan
            return inside.Patterns(rows * scale[:, None, None], self.metric), names
        return inside.Patterns(rows, self.metric, self.noise, np.ascontiguousarray(noise.T), dof), names

    def _models(self, names: np.ndarray, named: bool) -> np.ndarray:
        models = self.models
        if isinstance(models, Mapping):
            parts = {str(k): as_rdms(v) for k, v in models.items()}
            labels = [k if r.n_rdms == 1 else f"{k} {i}" for k, r in parts.items() for i in range(r.n_rdms)]
            first, *others = parts.values()
            models = first.concat(*others).with_table(name=labels)
        by_name = isinstance(models, RDMs) and named
        models = as_rdms(models).numpy()
        if models.n_conditions != len(names):
            raise ShapeMismatch(f"the models have {models.n_conditions} conditions, the data {len(names)}.")
        if by_name:
            mine = {str(x): x for x in models.conditions}
            missing = [str(x) for x in names if str(x) not in mine]
            if missing:
                raise UnknownStimulus(
                    f"the models have no condition {missing[0]!r}{nearest(missing[0], mine)} ({len(missing)} of "
                    f"{len(names)} are missing). Name theirs as the data's: RDMs(..., conditions=...)."
                )
            models = models.select(conditions=[mine[str(x)] for x in names])
        self.model_names_ = models.names
        d = np.asarray(models.dissimilarities, dtype=float)
        if not np.isfinite(d).all():
            raise ValueError(f"{int((~np.isfinite(d)).any(1).sum())} of {len(d)} models hold NaN or infinite pairs.")
        return d

    def _output(self, n_models: int, n_centres: int) -> np.ndarray:
        if self.out is None:
            return np.full((n_models, n_centres), np.nan)
        return np.lib.format.open_memmap(self.out, "w+", np.float64, (n_models, n_centres))

    def _stream(
        self, patterns: inside.Patterns, neighbourhoods: Neighbourhoods, scorer: inside.Scorer, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        n_models, n = scores.shape
        step = inside.block_size(patterns.n_conditions)
        chunk = -(-self.chunk // step) * step
        counts = np.zeros((n_models, n), int)
        largest = np.full((len(scorer.models) // n_models - 1, n_models), -np.inf)
        starts = range(0, n, chunk)
        jobs = ((patterns, neighbourhoods, scorer, s, min(s + chunk, n), n_models) for s in starts)
        results: Any
        if self.n_jobs == 1 or len(starts) == 1:
            results = (inside.score_chunk(*job) for job in jobs)
        else:
            from joblib import Parallel, delayed

            results = Parallel(self.n_jobs, return_as="generator")(delayed(inside.score_chunk)(*job) for job in jobs)
        for start, block, count, highest in results:
            scores[:, start : start + block.shape[1]] = block
            counts[:, start : start + block.shape[1]] = count
            np.maximum(largest, highest, out=largest)
        return counts, largest

    def _fitted(self) -> np.ndarray:
        if not hasattr(self, "scores_"):
            raise ValueError("this searchlight has no maps yet: call fit first.")
        return self.scores_

    def _voxels(self, method: str) -> Voxels:
        self._fitted()
        if self.voxels_ is None:
            raise SpaceMismatch(f"{method} needs to know where the channels are: fit with a mask or Voxels.")
        return self.voxels_


def surface_neighbours(surface: Surface, meshes: Any, radius: float, *, threshold: float = 0.0) -> Neighbourhoods:
    """Return geodesic discs of the vertices of a :class:`~neuro.data.voxels.Surface`, each hemisphere on its own mesh.

    Parameters
    ----------
    surface : Surface
    meshes : pair of (vertices (n, 3), faces (m, 3))
        Left and right.
    radius : float
        mm.
    threshold : float
        See :func:`~neuro.rsa._neighbours.disc_neighbours`.
    """
    indptr, indices, centres = [np.zeros(1, int)], [], []
    for side, (vertices, faces), size in zip("LR", meshes, surface.n_vertices, strict=True):
        if len(vertices) != size:
            raise ShapeMismatch(f"the {side} mesh has {len(vertices):,} vertices, the voxels are of one with {size:,}.")
        channels = np.flatnonzero(surface.hemi == side)
        if not len(channels):
            continue
        channels = channels[np.argsort(surface.vertex[channels])]
        keep = np.sort(surface.vertex[channels])
        discs = disc_neighbours(vertices, faces, radius, keep=keep, threshold=threshold)
        indptr.append(discs.indptr[1:] + indptr[-1][-1])
        indices.append(channels[discs.indices])
        centres.append(channels[discs.centres])
    return Neighbourhoods(np.concatenate(indptr), np.concatenate(indices), np.concatenate(centres), len(surface))


def _column(table: Any, x: Any) -> Any:
    if not isinstance(x, str):
        return x
    if x not in table:
        raise ValueError(f"no column {x!r} in the trials table{nearest(x, table.columns)}")
    return table[x].to_numpy()


def _codes(name: str, labels: Any, n: int, in_order: bool) -> tuple[np.ndarray, np.ndarray]:
    """Names, ascending or by first appearance, and the number of each observation's."""
    if labels is None:
        return np.arange(n), np.arange(n)
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ShapeMismatch(f"{name} must name each of {n:,} observations, got shape {labels.shape}.")
    names, first, codes = np.unique(labels, return_index=True, return_inverse=True)
    codes = codes.reshape(-1)
    if in_order:
        return names, codes
    order = np.argsort(first)
    return names[order], np.argsort(order)[codes]


def _residuals(values: np.ndarray, codes: np.ndarray, residuals: Any) -> tuple[np.ndarray, float]:
    """Residuals (n, n_channels) and their degrees of freedom."""
    if residuals is not None:
        noise = np.asarray(residuals, dtype=float)
        if noise.ndim != 2 or noise.shape[1] != values.shape[1] or len(noise) < 2:
            raise ShapeMismatch(f"residuals must be (n, {values.shape[1]:,}), got {noise.shape}.")
        return noise - noise.mean(0), len(noise) - 1
    n_conditions = int(codes.max()) + 1
    if len(values) <= n_conditions:
        raise ValueError("noise needs several observations per condition, or residuals=...")
    means = inside.cell_means(values, codes, None)[:, 0].T
    return values - means[codes], len(values) - n_conditions


def _renumbered(found: Neighbourhoods, rank: np.ndarray) -> Neighbourhoods:
    """Bring neighbourhoods in the C order of a mask into the order of the channels; channel k is voxel rank[k]."""
    if np.array_equal(rank, np.arange(len(rank))):
        return found
    channel = np.argsort(rank)
    return Neighbourhoods(found.indptr, channel[found.indices], channel[found.centres], found.n_channels)
