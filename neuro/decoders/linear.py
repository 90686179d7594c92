"""Ridge regression from responses to any number of features at once: tokens, latents, embeddings.

For target ``t`` with training mean ``m_t`` and penalty ``alpha_t``

    minimise |y_t - m_t - Xc w_t|^2 + alpha_t |w_t|^2,        prediction  (x - mean(X)) w_t + m_t.

All targets share one decomposition of the responses (:mod:`neuro.decoders._ridge_factor`), whatever their number: the
197,376 numbers of 257 x 768 tokens cost one decomposition and two products, not 257 regressions. Instead of weights
(n_voxels per target) a fitted decoder keeps at most n - 1 numbers per target, or, where the training targets lie on
disk, nothing but where they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro._check import check_option
from neuro.decoders._linear_base import LinearDecoder
from neuro.decoders._linear_files import load_ridge, save_ridge
from neuro.decoders._linear_targets import TargetTable
from neuro.decoders._ridge_factor import FORMS, KernelFactor, factorise
from neuro.decoders._ridge_model import RidgeModel, RidgeTarget, centred_columns, chunk_size
from neuro.errors import ShapeMismatch, nearest
from neuro.linear import AlphaAtBoundaryWarning, RidgeCV
from neuro.linear._alphas import EDGE_SHARE, positive
from neuro.linear._arrays import as_tensor
from neuro.linear._cv import resolve_form

FEW = 4  # given penalties up to which their Cholesky factors cost less than one eigendecomposition
KEEP = ("auto", "coordinates", "targets")


class RidgeDecoder(LinearDecoder):
    """Ridge regression from the responses of one or several people to named features.

    Parameters
    ----------
    alpha : float, "auto", sequence of float, or dict of target name -> one of these
        A number is the penalty. A sequence is a grid from which each column takes its own by cross-validation, and
        "auto" the grid of :class:`~neuro.linear.RidgeCV`.
    standardize : bool
        Divide voxels by their training standard deviation (ddof 1) after centring. Penalties of published systems
        belong to responses that were z-scored so.
    penalize_intercept : bool
        Treat the intercept as one more weight under the penalty: predictions start from ``mean(Y) n / (n + alpha)``
        instead of ``mean(Y)``. Only to reproduce results that were made so.
    average_repeats : {"voxels", "outputs"}
        Rows of ``predict`` that share a stimulus are averaged before, or decoded one by one and averaged after. For a
        linear decoder the results are equal up to rounding.
    rescaling : {"none", "train_fold", "transductive", "reference"}
        What brings predictions to the scale of the targets, see :mod:`neuro.decoders.rescaling`. "train_fold" fits five
        more times.
    reference_sd : float or dict of target name -> float, optional
        For ``rescaling="reference"``.
    keep : {"auto", "coordinates", "targets"}
        What a fitted decoder holds of each target: at most n - 1 numbers per column, or the training targets (memory
        map or store), which must then stay where they are; :meth:`save` copies them. "auto" takes the targets where
        they are on disk.
    form : {"auto", "primal", "dual"}
        Decompose the voxels' Gram matrix or the items' kernel; "auto" takes the smaller. They agree.
    cv, random_state
        Folds where penalties are chosen; see :class:`~neuro.linear.RidgeCV`. Repeats of a stimulus stay together.
    device : str, torch.device or None
        Where products run.
    memory_limit : int
        Bytes for chunks of targets, beside responses, decomposition and results; see :func:`plan_ridge`.

    Attributes
    ----------
    models_ : dict of subject -> fitted model
    alpha_ : dict of subject -> dict of name -> array () or (n_targets,)
    train_ids_ : dict of subject -> ids or None
    target_statistics_ : dict of subject -> dict of name -> TargetStatistics
    provenance_ : dict

    Warns
    -----
    AlphaAtBoundaryWarning
        If the best penalty of more than 5% of a target's predictable columns is on the edge of its grid.

    Notes
    -----
    float32 unless responses and targets are both float64; decompositions are in float64.

    References
    ----------
    Ozcelik and VanRullen (2023), Scientific Reports 13, 15666; Takagi and Nishimoto (2023), CVPR.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((60, 8)), rng.standard_normal((8, 2 * 3))
    >>> tokens = (X @ W).reshape(60, 2, 3)
    >>> decoder = RidgeDecoder(alpha=1e-3).fit(X[:50], {"image_tokens": tokens[:50]})
    >>> decoded = decoder.predict(X[50:])
    >>> decoded["image_tokens"].shape, bool(np.allclose(decoded["image_tokens"], tokens[50:], atol=1e-3))
    ((10, 2, 3), True)
    """

    models_: dict[Hashable, RidgeModel]

    def __init__(
        self,
        alpha: Any = 1e4,
        *,
        standardize: bool = False,
        penalize_intercept: bool = False,
        average_repeats: str = "voxels",
        rescaling: str = "none",
        reference_sd: Any = None,
        keep: str = "auto",
        form: str = "auto",
        cv: Any = 5,
        random_state: int | None = 0,
        device: Any = None,
        memory_limit: int = 2**30,
    ):
        self.alpha = alpha
        self.standardize = standardize
        self.penalize_intercept = penalize_intercept
        self.average_repeats = average_repeats
        self.rescaling = rescaling
        self.reference_sd = reference_sd
        self.keep = keep
        self.form = form
        self.cv = cv
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit

    def _check(self) -> None:
        super()._check()
        check_option("keep", self.keep, KEEP)
        check_option("form", self.form, FORMS)
        for value in self.alpha.values() if isinstance(self.alpha, Mapping) else [self.alpha]:
            if not (isinstance(value, str) and value == "auto"):
                positive("alpha", value)

    def _describe(self) -> dict[str, Any]:
        names = ("alpha", "standardize", "penalize_intercept")
        return {name: getattr(self, name) for name in names}

    def _alpha_of(self, name: str) -> Any:
        if not isinstance(self.alpha, Mapping):
            return self.alpha
        if name not in self.alpha:
            raise ShapeMismatch(
                f"alpha names no penalty for target {name!r}{nearest(name, self.alpha)} "
                f"(there are: {', '.join(self.alpha)})"
            )
        return self.alpha[name]

    def _fit_subject(self, X: np.ndarray, tables: dict[str, TargetTable], moments: Any, groups: Any) -> RidgeModel:
        wanted = {name: self._alpha_of(name) for name in tables}
        alpha = {name: self._penalties(X, tables[name], wanted[name], groups) for name in tables}
        double = X.dtype == np.float64 and all(t.dtype == np.float64 for t in tables.values())
        factor = factorise(
            X,
            standardize=self.standardize,
            form=self.form,
            alpha_min=min(float(a.min()) for a in alpha.values()),
            given=all(a.ndim == 0 for a in alpha.values()) and len({float(a) for a in alpha.values()}) <= FEW,
            double=double,
            device=self.device,
        )
        k, n = factor.width, len(X)
        targets = {}
        for name, table in tables.items():
            mean = moments[name][0]
            start = mean * (n / (n + alpha[name])) if self.penalize_intercept else mean
            coordinates = None
            if self.keep == "coordinates" or (self.keep == "auto" and not table.on_disk):
                coordinates = np.empty((table.n_targets, k), np.float64 if double else np.float32)
                for columns in table.chunks(chunk_size(n, k, 0, self.memory_limit, coordinates.dtype.name)):
                    Y = centred_columns(table, columns, mean, factor.right)
                    coordinates[columns] = factor.solve(Y, alpha[name]).cpu().numpy()
            kept = table if coordinates is None else None
            targets[name] = RidgeTarget(table.shape, mean, start, alpha[name], coordinates, kept)
        if isinstance(factor, KernelFactor) and all(t.coordinates is not None for t in targets.values()):
            factor = factor.slim()
        return RidgeModel(factor.to("cpu"), targets, n)

    def _penalties(self, X: np.ndarray, table: TargetTable, alpha: Any, groups: Any) -> np.ndarray:
        """Return one penalty, or one per column by cross-validation, a block of columns at a time."""
        if not isinstance(alpha, str) and np.ndim(alpha) == 0:
            return np.array(float(alpha))
        chosen = np.empty(table.n_targets)
        if self.standardize:
            X = (X - X.mean(0)) / np.maximum(X.std(0, ddof=1), 1e-6 * np.abs(X.mean(0)) + np.finfo(X.dtype).tiny)
        size = max(1, self.memory_limit // (8 * len(X)))
        counts = np.zeros(3, dtype=int)
        for start in range(0, table.n_targets, size):
            columns = slice(start, min(start + size, table.n_targets))
            search = RidgeCV(
                alpha,
                self.cv,
                form=self.form,
                random_state=self.random_state,
                device=self.device,
                memory_limit=self.memory_limit,
            )
            with warnings.catch_warnings():  # said once for all columns below
                warnings.simplefilter("ignore", AlphaAtBoundaryWarning)
                chosen[columns] = search.fit(X, table.read(columns), groups).alpha_
            edge = search.boundary_
            counts += edge.n_above_baseline, edge.n_at_lower, edge.n_at_upper
        _warn_of_edges(table.name, *counts)
        return chosen

    @property
    def alpha_(self) -> dict[Hashable, dict[str, np.ndarray]]:
        """Penalties by subject and target."""
        return {s: {name: t.alpha.copy() for name, t in m.targets.items()} for s, m in self.models_.items()}

    def respond(self, patterns: Any, subject: Hashable = None, *, names: Any = None) -> dict[str, np.ndarray]:
        """Return the change of the decoded features for a change of activity: patterns through the weights alone.

        Parameters
        ----------
        patterns : array (n, n_voxels)
            As a mask of a region: 1 inside, 0 outside. In the units of X, or with ``standardize`` in standard
            deviations.
        subject : optional
        names : sequence of str, optional

        Returns
        -------
        dict of name -> array (n, ...)
        """
        patterns = np.asarray(patterns)
        patterns = patterns.astype(patterns.dtype if patterns.dtype.kind == "f" else np.float32)
        rows, model, _ = self._rows(patterns, None, subject)
        coordinates = model.factor.directions(as_tensor(rows.X))
        predict = model.from_coordinates(coordinates, self.device, self.memory_limit, intercept=False)
        step = model.chunk(len(rows.X), self.memory_limit)
        out = {}
        for name, shape in self._chosen(model, names).items():
            n_targets = int(np.prod(shape))
            flat = [predict(name, slice(i, min(i + step, n_targets))) for i in range(0, n_targets, step)]
            out[name] = np.concatenate(flat, axis=1).reshape(-1, *shape)
        return out

    def intercepts(self, subject: Hashable = None) -> dict[str, np.ndarray]:
        """Return what each decoded feature is for the mean response, name -> (...)."""
        if subject is None and len(self.models_) == 1:
            subject = next(iter(self.models_))
        return {name: t.intercept.reshape(t.shape) for name, t in self.models_[subject].targets.items()}

    def save(self, folder: str | Path) -> Path:
        """Write ``decoder.json``, safetensors and one npy per target; the folder appears whole or not at all."""
        return save_ridge(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> RidgeDecoder:
        """Read what :meth:`save` wrote; targets and coordinates stay on disk as memory maps.

        Raises
        ------
        CorruptFile
            If a file is missing, cut short, or of another version.
        """
        return load_ridge(cls, Path(folder))


def _warn_of_edges(name: str, n: int, n_lower: int, n_upper: int) -> None:
    """Emit one warning if the best penalty of many predictable columns lies on an edge of the grid."""
    parts = [
        f"the {edge} is the best for {100 * count / n:.0f}%"
        for edge, count in (("smallest", n_lower), ("largest", n_upper))
        if n and count / n > EDGE_SHARE
    ]
    if parts:
        warnings.warn(
            f"The grid of penalties for {name!r} is too narrow: of the {n:,} columns that beat their mean, "
            f"{' and '.join(parts)}. Widen alpha.",
            AlphaAtBoundaryWarning,
            stacklevel=5,
        )


@dataclass(frozen=True)
class RidgePlan:
    """Memory, in bytes, that a fit and a prediction will need.

    Attributes
    ----------
    form : str
        "primal" or "dual".
    responses : int
        X as given.
    decomposition : int
        The symmetric matrix in float64, and at most what factorising it takes.
    factors : int
        What is kept of both.
    kept : int
        Coordinates of all targets; 0 where the targets stay on disk.
    working : int
        Chunks of targets, and the smoother from training to test items.
    predictions : int
        Of all test items; 0 where they go to a file.
    columns : int
        Targets worked on at once.
    weights : int
        What explicit weights would take, for comparison.
    """

    form: str
    responses: int
    decomposition: int
    factors: int
    kept: int
    working: int
    predictions: int
    columns: int
    weights: int

    @property
    def peak(self) -> int:
        """Largest sum that is held at one time."""
        return self.responses + self.factors + max(self.decomposition, self.kept + self.working + self.predictions)

    def __str__(self) -> str:
        parts = ("responses", "decomposition", "factors", "kept", "working", "predictions", "weights", "peak")
        size = {name: f"{getattr(self, name) / 1e9:.2f} GB" for name in parts}
        return (
            f"{self.form} form: responses {size['responses']}, decomposition {size['decomposition']} (while it runs), "
            f"factors {size['factors']}, kept of the targets {size['kept']}, working memory {size['working']} "
            f"({self.columns:,} targets at once), predictions {size['predictions']}; peak {size['peak']}. "
            f"Explicit weights would take {size['weights']}."
        )


def plan_ridge(
    n: int,
    n_voxels: int,
    n_targets: int,
    *,
    n_test: int = 0,
    on_disk: bool = False,
    to_file: bool = False,
    form: str = "auto",
    memory_limit: int = 2**30,
) -> RidgePlan:
    """Say before a fit in float32 with given penalties how much memory it takes.

    Parameters
    ----------
    n, n_voxels, n_targets : int
        Training items, voxels, and columns of all targets together.
    n_test : int
        Items to decode at once.
    on_disk, to_file : bool
        Whether training targets are memory maps or a store, and predictions go to a folder.
    form, memory_limit
        As in :class:`RidgeDecoder`.

    Examples
    --------
    >>> plan = plan_ridge(8859, 15724, 257 * 768, n_test=982, on_disk=True)
    >>> plan.form, plan.columns, round(plan.peak / 1e9, 1), round(plan.weights / 1e9, 1)
    ('dual', 6993, 4.3, 12.4)
    """
    form = resolve_form(check_option("form", form, FORMS), torch.empty(n, n_voxels, device="meta"))
    primal = form == "primal"
    side, k = (n_voxels, min(n - 1, n_voxels)) if primal else (n, n)
    columns = min(n_targets, chunk_size(n, k, n_test, memory_limit))
    return RidgePlan(
        form=form,
        responses=4 * n * n_voxels,
        decomposition=4 * 8 * side * side + 4 * n * n_voxels * primal,
        factors=4 * k * (n + n_voxels) if primal else 4 * n * n_voxels + 8 * n * n * on_disk,
        kept=0 if on_disk else 4 * k * n_targets,
        working=4 * (columns * (2 * n + 2 * k + 3 * n_test) + n * n_test * on_disk),
        predictions=0 if to_file else 4 * n_test * n_targets,
        columns=columns,
        weights=4 * n_voxels * n_targets,
    )
