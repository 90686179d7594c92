"""What does a feature space explain that the others cannot? Unique variance, per voxel and region, with a test.

``U_k = R2(all spaces) - R2(all but k)``, both cross-validated and refitted with hyper-parameters of their own; or the
product measure ``sum(2 y yhat_k - yhat_k yhat) / sum(y^2)`` of one joint fit, which shares R2 among the spaces without
leaving any out. Negative values are kept: clipping them would bias means upwards.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.data import Responses
from neuro.encoders._bands import check_weights, gathered_warnings, is_named, take_bands
from neuro.encoders.split_scores import split_scores
from neuro.errors import ShapeMismatch
from neuro.linear._splits import check_groups, make_splits

METHODS = ("refit", "product")


@dataclass(frozen=True, eq=False)
class UniqueVariance:
    """Unique variance of feature spaces.

    Attributes
    ----------
    names : tuple of str
        Spaces, in the order of the rows below.
    r2 : (n_voxels,)
        Of all spaces together, on held-out rows.
    unique : (n_bands, n_voxels)
    shared : (n_voxels,)
        ``r2`` minus the sum of ``unique``: what more than one space could explain (0 for the product measure).
    p : (n_bands, n_voxels) or None
        Share of permutations, the data included, whose value is at least as large.
    rois : tuple of str
    roi_r2 : (n_rois,)
    roi_unique, roi_p : (n_bands, n_rois)
        Of the mean over the voxels of a region.
    method : str
    n_permutations : int
    seed : int or None
    """

    names: tuple[str, ...]
    r2: np.ndarray
    unique: np.ndarray
    shared: np.ndarray
    p: np.ndarray | None
    rois: tuple[str, ...]
    roi_r2: np.ndarray
    roi_unique: np.ndarray
    roi_p: np.ndarray | None
    method: str
    n_permutations: int
    seed: int | None = None

    def of(self, name: str) -> np.ndarray:
        """Return the unique variance (n_voxels,) of one space."""
        check_option("name", name, self.names)
        return self.unique[self.names.index(name)]


def unique_variance(
    encoder: Any,
    X: Any,
    y: Any,
    *,
    bands: Any = None,
    test: tuple[Any, Any] | None = None,
    cv: Any = 5,
    groups: Any = None,
    method: str = "refit",
    rois: Mapping[str, Any] | None = None,
    n_permutations: int = 0,
    rng: int | np.random.Generator | None = 0,
) -> UniqueVariance:
    """Unique variance of every feature space.

    Parameters
    ----------
    encoder : estimator
        Unfitted; cloned for every fit. Those with feature spaces (``BandedRidgeCV``, ``MultipleKernelRidgeCV``,
        ``StackedRidgeCV``) get a mapping, others (``RidgeCV``) the spaces side by side. Candidates ``band_weights``
        lose the column of a space that is left out.
    X : mapping of name to array or tensor (n_stimuli, n_features), or one array with ``bands``
    y : array, tensor or Responses (n_stimuli, n_voxels)
    bands : mapping of name to slice, indices or mask, optional
        By default those of the encoder.
    test : (X, y), optional
        Held-out stimuli. Without, rows are held out in turn by ``cv``, and R2 is over all of them together.
    cv : int, splitter or iterable
        Outer splits, where there is no ``test``.
    groups : array (n_stimuli,), optional
        What stays together in outer and inner splits and in permutations: the stimulus of each row, or its run.
    method : {"refit", "product"}
        "product" needs an encoder with ``predict(X, split=True)``.
    rois : mapping of name to mask or indices of voxels, optional
    n_permutations : int
        Fits with the rows of one space shuffled (stimuli against the responses and the other spaces, in training and
        test alike), for every space: the cost is ``n_bands`` fits each.
    rng : int, Generator or None
        For splits and permutations.

    Returns
    -------
    UniqueVariance

    Raises
    ------
    ValueError
        If the encoder cannot split its prediction but ``method`` is "product".

    Notes
    -----
    A shuffled space keeps the number of features, so the null distribution holds what it costs to fit them; unique
    variance without any effect is therefore slightly below 0, not 0.

    References
    ----------
    Borcard, Legendre & Drapeau (1992), Ecology 73, 1045-1055; de Heer, Huth, Griffiths, Gallant & Theunissen (2017),
    Journal of Neuroscience 37, 6539-6557; Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9, 39 (p values).

    Examples
    --------
    >>> from neuro.encoders import Ridge
    >>> r = np.random.default_rng(0)
    >>> X = {"shape": r.standard_normal((100, 3)), "colour": r.standard_normal((100, 3))}
    >>> Y = X["shape"] @ r.standard_normal((3, 2)) + r.standard_normal((100, 2))
    >>> found = unique_variance(Ridge(1.0), X, Y)
    >>> bool((found.of("shape") > 0.3).all()), bool((abs(found.of("colour")) < 0.1).all())
    (True, True)
    """
    check_option("method", method, METHODS)
    check_positive_int("n_permutations", n_permutations, 0)
    if method == "product" and not _splits_predictions(encoder):
        raise ValueError(f"method='product' needs an encoder with feature spaces, got {type(encoder).__name__}.")
    bands = getattr(encoder, "bands", None) if bands is None and not is_named(X) else bands
    seed = rng if isinstance(rng, int) else None
    generator = as_rng(rng)
    spaces, names = _spaces(X, bands)
    Y = _responses(y, spaces)
    codes = check_groups(groups, len(Y), y)
    if test is None:
        splits = make_splits(cv, len(Y), codes, int(generator.integers(2**31)))
        data = _Data(spaces, Y, codes, splits, None)
    else:
        others, test_names = _spaces(test[0], bands)
        if test_names != names:
            raise ValueError(f"test must have the bands {list(names)}, got {list(test_names)}.")
        data = _Data(spaces, Y, codes, None, (others, _responses(test[1], others)))
    with gathered_warnings("fits"):
        full, parts = data.predict(encoder, names, method == "product")
        r2 = data.r2(full)
        left: dict[str, np.ndarray] = {}
        if method == "product":
            unique = np.stack([data.product(parts)[name] for name in names])
        else:
            left = {name: data.r2(data.predict(encoder, _without(names, name), False)[0]) for name in names}
            unique = np.stack([r2 - left[name] for name in names])
        shared = r2 - unique.sum(0)
        region_names, masks = _regions(rois, Y.shape[1])
        p = roi_p = None
        if n_permutations:
            above, roi_above = np.zeros(unique.shape, int), np.zeros((len(names), len(region_names)), int)
            observed = _means(unique, masks)
            for _ in range(n_permutations):
                for k, name in enumerate(names):
                    shuffled = data.shuffled(name, generator)
                    guess, terms = shuffled.predict(encoder, names, method == "product")
                    value = shuffled.product(terms)[name] if method == "product" else shuffled.r2(guess) - left[name]
                    above[k] += value >= unique[k]
                    roi_above[k] += _means(value[None], masks)[0] >= observed[k]
            p, roi_p = (above + 1) / (n_permutations + 1), (roi_above + 1) / (n_permutations + 1)
    return UniqueVariance(
        names,
        r2,
        unique,
        shared,
        p,
        region_names,
        _means(r2[None], masks)[0],
        _means(unique, masks),
        roi_p,
        method,
        n_permutations,
        seed,
    )


@dataclass
class _Data:
    """Spaces and responses, and how rows are held out."""

    spaces: dict[str, Any]
    Y: Any
    codes: np.ndarray | None
    splits: Any
    test: tuple[dict[str, Any], Any] | None

    @property
    def held_out(self) -> Any:
        """Responses (n_out, n_voxels) that predictions are compared with."""
        if self.test is not None:
            return self.test[1]
        assert self.splits is not None
        return self.Y[np.concatenate([val for _, val in self.splits])]

    def predict(self, encoder: Any, names: tuple[str, ...], split: bool) -> tuple[Any, dict[str, Any]]:
        """Return held-out predictions, and with ``split`` the spaces' parts, of the spaces ``names``."""
        if not names:  # nothing left: the training mean
            if self.test is not None:
                return np.broadcast_to(_numpy(self.Y).mean(0), self.test[1].shape), {}
            means = [np.broadcast_to(_numpy(self.Y)[t].mean(0), (len(f), self.Y.shape[1])) for t, f in self.splits]
            return np.concatenate(means), {}
        whole: list[Any] = []
        pieces: dict[str, list[Any]] = {name: [] for name in names}
        folds = [(slice(None), None)] if self.test is not None else self.splits
        for train, val in folds:
            model = _clone(encoder, tuple(self.spaces), names)
            takes_groups = self.codes is not None and "groups" in inspect.signature(model.fit).parameters
            codes = {"groups": self.codes[train]} if takes_groups and self.codes is not None else {}
            model.fit(_pick(encoder, self.spaces, names, train), self.Y[train], **codes)
            source = self.spaces if self.test is None else self.test[0]
            rows = _pick(encoder, source, names, slice(None) if val is None else val)
            whole.append(_numpy(model.predict(rows)))
            if split:
                for name, part in model.predict(rows, split=True).items():
                    pieces[name].append(_numpy(part))
        return np.concatenate(whole), {name: np.concatenate(p) for name, p in pieces.items() if p}

    def r2(self, prediction: Any) -> np.ndarray:
        """Return R2 (n_voxels,); 0 for a constant voxel."""
        y = _numpy(self.held_out).astype(float)
        total = ((y - y.mean(0)) ** 2).sum(0)
        varies = total > 0
        return np.where(varies, 1 - ((y - _numpy(prediction)) ** 2).sum(0) / np.where(varies, total, 1), 0.0)

    def product(self, parts: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the product measure of every space."""
        return split_scores(_numpy(self.held_out), parts, "product")

    def shuffled(self, name: str, rng: np.random.Generator) -> _Data:
        """Return the data with the rows of one space in another order, repeats of a stimulus together."""
        spaces = {**self.spaces, name: self.spaces[name][_permutation(len(self.Y), self.codes, rng)]}
        test = self.test
        if test is not None:
            test = ({**test[0], name: test[0][name][rng.permutation(len(test[1]))]}, test[1])
        return _Data(spaces, self.Y, self.codes, self.splits, test)


def _permutation(n: int, codes: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    if codes is None:
        return rng.permutation(n)
    members = [np.flatnonzero(codes == c) for c in range(codes.max() + 1)]
    order = np.empty(n, np.int64)
    for here, source in zip(members, rng.permutation(len(members)), strict=True):
        order[here] = np.resize(members[source], len(here))
    return order


def _splits_predictions(encoder: Any) -> bool:
    """Whether the encoder has feature spaces of its own: a mapping as X, contributions as predictions."""
    return "bands" in encoder.get_params(deep=False) and "split" in inspect.signature(encoder.predict).parameters


def _spaces(X: Any, bands: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    joined, bands_of = take_bands(X, bands)
    if len(np.shape(joined)) != 2:
        raise ShapeMismatch(f"X must be (n_stimuli, n_features); its shape is {np.shape(joined)}.")
    joined = joined if is_tensor(joined) else np.asarray(joined)
    owned = bands_of(joined.shape[1])
    return {name: joined[:, c] for name, c in zip(owned.names, owned.columns, strict=True)}, owned.names


def _responses(y: Any, spaces: dict[str, Any]) -> Any:
    first = next(iter(spaces.values()))
    if isinstance(y, Responses):
        y = y.to_torch() if is_tensor(first) else y.to_numpy()
    y = y if is_tensor(y) else np.asarray(y)
    y = y[:, None] if y.ndim == 1 else y
    if len(y) != len(first):
        raise ShapeMismatch(f"X and y must describe the same stimuli: X has {len(first):,} rows, y has {len(y):,}.")
    return y


def _pick(encoder: Any, spaces: dict[str, Any], names: tuple[str, ...], rows: Any) -> Any:
    chosen = {name: spaces[name][rows] for name in names}
    return chosen if _splits_predictions(encoder) else take_bands(chosen, None)[0]


def _clone(encoder: Any, everything: tuple[str, ...], names: tuple[str, ...]) -> Any:
    """Return an unfitted copy for some of the spaces."""
    from sklearn.base import clone

    model = clone(encoder)
    changes: dict[str, Any] = {}
    given = model.get_params(deep=False)
    if given.get("bands") is not None:
        changes["bands"] = None
    if given.get("band_weights") is not None:
        weights = check_weights(given["band_weights"], len(everything))[:, [everything.index(n) for n in names]]
        changes["band_weights"] = np.unique(weights[weights.any(1)], axis=0)
    for name in ("kernels", "kernel_params"):
        if isinstance(given.get(name), Mapping) and "kernels" in given:
            changes[name] = {n: given[name][n] for n in names if n in given[name]}
    return model.set_params(**changes) if changes else model


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(n for n in names if n != name)


def _regions(rois: Mapping[str, Any] | None, n_voxels: int) -> tuple[tuple[str, ...], np.ndarray]:
    if rois is None:
        return (), np.zeros((0, n_voxels), bool)
    from neuro.stats._rois import check_rois

    return check_rois(rois, n_voxels)


def _means(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Means (n, n_rois) over regions; NaN for a region without voxels."""
    size = masks.sum(1)
    return np.where(size > 0, values @ masks.T.astype(float) / np.maximum(size, 1), np.nan)


def _numpy(a: Any) -> np.ndarray:
    return a.detach().cpu().numpy() if is_tensor(a) else np.asarray(a)
