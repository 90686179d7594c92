"""Which layers of a network does a voxel need, given the layers before or after?

Layers of one network are correlated, so single layers say little. Models on growing runs of layers do: starting from
the last layer (forward, {k..L}) and from the first (backward, {1..k}), each fitted jointly, so that successive
differences are what one layer adds to those already there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro.errors import ShapeMismatch
from neuro.stats._rois import check_rois, roi_means
from neuro.stats.partition import Subset, check_names, collect, stack_scores


@dataclass(frozen=True, eq=False)
class StructuredPartition:
    """Result of :func:`structured_partition`. Rows follow the order of ``layers``.

    Parameters
    ----------
    layers : tuple of str
    forward_r2, backward_r2 : array (n_layers, n_voxels)
        Score of the model on this layer and all after it; on this layer and all before it.
    forward_increment, backward_increment : array (n_layers, n_voxels)
        What the layer adds to those after it; to those before it. Either sums to the score of all layers.
    forward_layer, backward_layer : array (n_voxels,), int
        The last layer from which, and the first layer up to which, a model reaches ``share`` of the score of all
        layers: start of the smallest suffix, end of the smallest prefix. -1 for voxels without a score above
        ``minimum``.
    rois : tuple of str
    roi_forward_increment, roi_backward_increment : array (n_layers, n_rois)
    share, minimum
        Settings.
    """

    layers: Subset
    forward_r2: np.ndarray
    backward_r2: np.ndarray
    forward_increment: np.ndarray
    backward_increment: np.ndarray
    forward_layer: np.ndarray
    backward_layer: np.ndarray
    rois: tuple[str, ...]
    roi_forward_increment: np.ndarray
    roi_backward_increment: np.ndarray
    share: float
    minimum: float


def structured_partition(
    score: Callable[[Subset], Any] | Mapping[Any, Any],
    layers: Sequence[str],
    *,
    share: float = 0.95,
    minimum: float = 0.0,
    rois: Mapping[str, Any] | None = None,
) -> StructuredPartition:
    """Divide the variance that ordered layers explain by what each adds to those after and before it.

    Parameters
    ----------
    score : callable, or dict run of layers -> array
        Takes a tuple of successive layers, fits one joint or stacked model on them with hyper-parameters of its own,
        and returns its held-out R2 (n_voxels,). Called 2 n_layers - 1 times. A dict holds the same under tuples; the
        score of a single layer cannot stand in for that of a run.
    layers : sequence of str
        From first to last, at least two.
    share : float
        Of the score of all layers that a run must reach for the assignment.
    minimum : float
        Voxels whose score of all layers is not above it are assigned to none.
    rois : dict name -> boolean mask or indices, optional
        By default one region "all".

    Returns
    -------
    StructuredPartition

    Raises
    ------
    ValueError
        If the dict lacks a run, or ``share`` is no share.
    ShapeMismatch
        If there are fewer than two layers, or results differ in shape.
    EmptySelection
        If no voxel has a score from every model.

    References
    ----------
    Lin, Naselaris, Kay & Wehbe (2024), Stacked regressions and structured variance partitioning for interpretable
    brain maps, NeuroImage (September).

    Examples
    --------
    >>> drives = np.array([[0.4, 0.0], [0.0, 0.1], [0.1, 0.5]])  # independent layers: shares of variance add up
    >>> found = structured_partition(lambda run: sum(drives[int(k)] for k in run), ["0", "1", "2"])
    >>> found.forward_layer, found.backward_layer
    (array([0, 1]), array([2, 2]))
    """
    names = check_names("layers", layers)
    n = len(names)
    if n < 2:
        raise ShapeMismatch(f"a structured partition needs at least 2 layers, got {list(names)}.")
    if not 0 < share <= 1:
        raise ValueError(f"share must lie above 0 and be at most 1, got {share!r}.")
    prefixes = [names[: k + 1] for k in range(n)]
    suffixes = [names[k:] for k in range(n)]
    runs = list(dict.fromkeys(prefixes + suffixes))
    r2 = stack_scores(collect(score, runs, names))
    roi_names, masks = check_rois(rois, r2.shape[1])
    r2 = np.where(np.isfinite(r2).all(0), r2, np.nan)
    forward, backward = (r2[[runs.index(run) for run in chosen]] for chosen in (suffixes, prefixes))
    nothing = np.zeros((1, r2.shape[1]))
    forward_increment = forward - np.concatenate([forward[1:], nothing])
    backward_increment = backward - np.concatenate([nothing, backward[:-1]])
    full = backward[-1]
    with np.errstate(invalid="ignore"):
        assigned = full > minimum
        first = (backward >= share * full).argmax(0)
        last = n - 1 - (forward >= share * full)[::-1].argmax(0)
    return StructuredPartition(
        layers=names,
        forward_r2=forward,
        backward_r2=backward,
        forward_increment=forward_increment,
        backward_increment=backward_increment,
        forward_layer=np.where(assigned, last, -1),
        backward_layer=np.where(assigned, first, -1),
        rois=roi_names,
        roi_forward_increment=np.stack([roi_means(x, masks) for x in forward_increment]),
        roi_backward_increment=np.stack([roi_means(x, masks) for x in backward_increment]),
        share=float(share),
        minimum=float(minimum),
    )
