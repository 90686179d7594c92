"""How predictions shrunk by regularisation are brought back to the scale of their targets, and who may know what.

Ridge predictions vary less than their targets, and generators expect full variance. With ``m_y, s_y`` mean and standard
deviation of the training targets per column, a prediction ``p`` of one test item becomes

    none          p
    train_fold    (p - m_h) / s_h * s_y + m_y     m_h, s_h of predictions for training items held out in folds
    transductive  (p - m_t) / s_t * s_y + m_y     m_t, s_t of the predictions for the test items: they see one another
    reference     (p - mean(p)) / sd(p) * sd_ref + mean(p)      mean and sd over the units of this one item

Only ``transductive`` lets test items influence one another. It is what some published systems did; their scores profit
from any offset shared by the test set, and a single item cannot be decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage

POLICIES = {
    "none": "as predicted",
    "train_fold": "scaled by predictions for held-out training items",
    "transductive": "LEAKS: standardised by the test items' own statistics",
    "reference": "each item scaled to the spread of a reference set over units",
}
"""What each policy means, as it is to be read beside a result."""

COLUMNS = 8192  # targets at once: 8,859 training items of them in float64 are 580 MB


@dataclass(frozen=True, eq=False)
class TargetStatistics:
    """Mean and standard deviation per column, taken from training items alone.

    Attributes
    ----------
    mean, sd : arrays, the shape of one item
    n : int
        Items.
    ddof : int
    ids : array (n,) or None
        Stimuli of the items; :meth:`require_disjoint` holds test stimuli against them.

    Examples
    --------
    >>> s = TargetStatistics.fit(np.array([[0.0, 5.0], [2.0, 5.0]]), ids=[3, 4])
    >>> s.mean, s.sd
    (array([1., 5.]), array([1., 0.]))
    """

    mean: np.ndarray
    sd: np.ndarray
    n: int
    ddof: int = 0
    ids: np.ndarray | None = None

    @classmethod
    def fit(cls, train: Any, *, ids: Any = None, ddof: int = 0) -> TargetStatistics:
        """Take the statistics of training items.

        Parameters
        ----------
        train : array or tensor (n, ...)
            Targets (or held-out predictions) of training items; a memory map is read in blocks of columns.
        ids : sequence (n,), optional
            Their stimuli.
        ddof : int
            0 divides by n, 1 by n - 1.

        Raises
        ------
        EmptySelection, ShapeMismatch
        """
        train = train.detach().cpu().numpy() if is_tensor(train) else np.asanyarray(train)
        if train.ndim < 2 or len(train) <= ddof:
            raise EmptySelection(
                f"statistics of targets need an array (n, ...) with n > {ddof}, got {train.shape}. "
                "One item has no spread."
            )
        if ids is not None and len(np.asarray(ids)) != len(train):
            raise ShapeMismatch(f"ids must name {len(train):,} items, got {len(np.asarray(ids)):,}.")
        flat = train.reshape(len(train), -1)
        mean, sd = np.empty(flat.shape[1]), np.empty(flat.shape[1])
        for start in range(0, flat.shape[1], COLUMNS):
            block = np.asarray(flat[:, start : start + COLUMNS], dtype=np.float64)
            mean[start : start + COLUMNS] = block.mean(0)
            sd[start : start + COLUMNS] = block.std(0, ddof=ddof)
        item = train.shape[1:]
        return cls(mean.reshape(item), sd.reshape(item), len(train), ddof, None if ids is None else np.array(ids))

    def __post_init__(self):
        for name in ("mean", "sd", "ids"):
            value = getattr(self, name)
            if value is not None:
                value = np.array(value)
                value.setflags(write=False)
                object.__setattr__(self, name, value)

    def require_disjoint(self, test_ids: Any) -> None:
        """Raise :class:`~neuro.errors.SplitLeakage` if a test stimulus took part in these statistics."""
        if self.ids is None:
            raise ValueError("these statistics do not know their stimuli: pass ids to TargetStatistics.fit.")
        both = np.intersect1d(self.ids, np.asarray(test_ids))
        if len(both):
            raise SplitLeakage(
                f"{len(both):,} test stimuli took part in the statistics of the targets, first {both[:3].tolist()}. "
                "Fit them on training stimuli only."
            )


def rescale_predictions(
    predictions: Any,
    policy: str = "none",
    *,
    train: TargetStatistics | Any = None,
    held_out: TargetStatistics | Any = None,
    reference_sd: Any = None,
    reference_mean: Any = None,
) -> Any:
    """Bring predictions of test items to the scale of their targets.

    Parameters
    ----------
    predictions : array or tensor (n, ...)
    policy : {"none", "train_fold", "transductive", "reference"}
        See the head of this module. Store it with what was decoded: :func:`describe_rescaling`.
    train : TargetStatistics, or array (n_train, ...)
        Targets of the training items; for "train_fold" and "transductive".
    held_out : TargetStatistics, or array (n_train, ...)
        Predictions for training items by fits that had not seen them (:func:`held_out_predictions`); for "train_fold".
    reference_sd : float
        Standard deviation over units (n - 1), averaged over the items of a reference set; for "reference". One layer of
        a network at a time.
    reference_mean : float, optional
        Mean over units to shift every item to; by default an item keeps its own.

    Returns
    -------
    The same type and shape, in floating point, always a new array. Columns without spread become the targets' mean.

    Raises
    ------
    ValueError
        If a policy lacks what it needs, or "transductive" is asked for one item.
    ShapeMismatch

    References
    ----------
    Ozcelik and VanRullen (2023), Scientific Reports 13, 15666 (transductive).
    Shen et al. (2019), PLOS Computational Biology 15, e1006633 (reference).

    Examples
    --------
    >>> p = np.array([[0.1], [0.3]])
    >>> rescale_predictions(p, "transductive", train=np.array([[0.0], [2.0], [4.0]])).round(3).tolist()
    [[0.367], [3.633]]
    >>> rescale_predictions(p, "train_fold", train=np.array([[0.0], [4.0]]), held_out=np.array([[0.0], [0.4]])).tolist()
    [[1.0], [3.0]]
    """
    check_option("policy", policy, POLICIES)
    p = predictions if is_tensor(predictions) else np.asarray(predictions)
    if not is_tensor(p) and p.dtype.kind != "f":
        p = p.astype(np.float64)
    if p.ndim < 2:
        raise ShapeMismatch(f"predictions must be (n, ...), got {tuple(p.shape)}. A single item is (1, ...).")
    if policy == "none":
        return p.clone() if is_tensor(p) else p.copy()
    if policy == "reference":
        return _to_reference(p, reference_sd, reference_mean)
    target = _statistics("train", train, policy, p)
    if policy == "train_fold":
        own = _statistics("held_out", held_out, policy, p)
        return _standardise(p, own.mean, own.sd, target)
    if len(p) < 2:
        raise ValueError(
            "policy 'transductive' standardises by the test items' own mean and spread, and one item has no spread. "
            "Use 'train_fold', which needs no other test item."
        )
    own = TargetStatistics.fit(p, ddof=target.ddof)
    return _standardise(p, own.mean, own.sd, target)


def describe_rescaling(policy: str) -> dict[str, Any]:
    """Return what belongs into the provenance of rescaled predictions.

    >>> describe_rescaling("transductive")["leaks"]
    True
    """
    check_option("policy", policy, POLICIES)
    return {"rescaling": policy, "meaning": POLICIES[policy], "leaks": policy == "transductive"}


def held_out_predictions(
    fit_predict: Callable[[Any, Any, Any], Any],
    X: Any,
    Y: Any,
    *,
    groups: Any = None,
    n_folds: int = 5,
    rng: int | np.random.Generator | None = 0,
) -> np.ndarray:
    """Predict every training item by a fit that has not seen its stimulus.

    Parameters
    ----------
    fit_predict : callable
        ``fit_predict(X_fit, Y_fit, X_held_out) -> predictions``.
    X, Y : arrays (n, ...)
        Training responses and targets.
    groups : sequence (n,), optional
        Stimulus of each row: the repeats of one stimulus stay on one side. By default every row is its own.
    n_folds : int
    rng : int, Generator or None
        Which stimuli fall into which fold.

    Returns
    -------
    (n, ...) predictions, for ``held_out`` of :func:`rescale_predictions`

    Examples
    --------
    >>> Y = np.arange(6.0)[:, None]
    >>> held_out_predictions(lambda X, Y, Z: np.full((len(Z), 1), len(Y)), Y, Y, n_folds=3).ravel().tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    """
    n_folds = check_positive_int("n_folds", n_folds, 2)
    n = len(X)
    if len(Y) != n:
        raise ShapeMismatch(f"X and Y must describe the same items: X has {n:,} rows, Y has {len(Y):,}.")
    groups = np.arange(n) if groups is None else np.asarray(groups)
    if groups.shape != (n,):
        raise ShapeMismatch(f"groups must be ({n},), got {groups.shape}.")
    names, of_row = np.unique(groups, return_inverse=True)
    if len(names) < n_folds:
        raise EmptySelection(f"{n_folds} folds need as many stimuli, got {len(names)}.")
    fold = np.empty(len(names), dtype=int)
    fold[as_rng(rng).permutation(len(names))] = np.arange(len(names)) % n_folds
    out = None
    for k in range(n_folds):
        inside = fold[of_row] == k
        predicted = np.asarray(fit_predict(X[~inside], Y[~inside], X[inside]))
        if len(predicted) != inside.sum():
            raise ShapeMismatch(f"fit_predict must return {inside.sum():,} rows, got {len(predicted):,}.")
        if out is None:
            out = np.empty((n, *predicted.shape[1:]), dtype=np.result_type(predicted, np.float32))
        out[inside] = predicted
    return np.asarray(out)


def _statistics(name: str, given: Any, policy: str, p: Any) -> TargetStatistics:
    if given is None:
        what = "targets of the training items" if name == "train" else "predictions for held-out training items"
        raise ValueError(f"policy {policy!r} needs {name}: {what}, as an array or as TargetStatistics.")
    found = given if isinstance(given, TargetStatistics) else TargetStatistics.fit(given)
    if found.mean.shape != tuple(p.shape[1:]):
        raise ShapeMismatch(f"one item of {name} is {found.mean.shape}, one prediction {tuple(p.shape[1:])}.")
    return found


def _standardise(p: Any, mean: np.ndarray, sd: np.ndarray, target: TargetStatistics) -> Any:
    """Return ``(p - mean) / sd * target.sd + target.mean``; columns whose spread is rounding become the mean."""
    flat = sd <= 1e-12 * np.maximum(1.0, np.abs(mean))
    gain = np.where(flat, 0.0, target.sd / np.where(flat, 1.0, sd))
    if is_tensor(p):
        import torch

        mean, gain, offset = (torch.tensor(v, dtype=torch.float64).to(p.device) for v in (mean, gain, target.mean))
        return ((p.double() - mean) * gain + offset).to(p.dtype)
    return ((p - mean) * gain + target.mean).astype(p.dtype)


def _to_reference(p: Any, sd: Any, mean: Any) -> Any:
    if sd is None or np.ndim(sd) or not np.isfinite(sd) or sd <= 0:
        raise ValueError(
            "policy 'reference' needs reference_sd, a positive number: the standard deviation over the units of a "
            f"layer, averaged over a reference set; got {sd!r}."
        )
    n_units = int(np.prod(p.shape[1:]))
    if n_units < 2:
        raise ShapeMismatch(f"policy 'reference' needs items of at least two units, got {tuple(p.shape)}.")
    rows = p.reshape(len(p), -1)
    if is_tensor(p):
        centre = rows.mean(1, keepdim=True)
        own = rows.std(1, correction=1, keepdim=True)
    else:
        centre = rows.mean(1, keepdims=True)
        own = rows.std(1, ddof=1, keepdims=True)
    own = own + (own == 0)
    return ((rows - centre) * (float(sd) / own) + (centre if mean is None else float(mean))).reshape(p.shape)
