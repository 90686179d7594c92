"""Do different people's voxels share the same dimensions?

Components are found in each person separately, so their order, sign and, where eigenvalues are close, rotation are
arbitrary. They are compared as directions of one feature space, one to one or as subspaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.errors import ShapeMismatch
from neuro.stats._moments import to_numpy

METHODS = ("match", "rotate")


@dataclass(frozen=True, eq=False)
class ComponentAlignment:
    """Result of :func:`align_components`.

    Parameters
    ----------
    subjects : tuple of str
    reference : str
    transforms : dict subject -> array (n_reference, n_components)
        ``transform @ components`` are the subject's components in the reference's order, and
        ``projections @ transform.T`` the maps that go with them. Rows of zeros where a subject has fewer.
    components : array (n_subjects, n_reference, n_features)
        Of length 1, aligned.
    similarity : array (n_subjects, n_reference)
        Cosine of each with the reference's; NaN where a subject has fewer.
    overlap, chance : array (n_subjects,)
        Mean squared cosine of the principal angles between the subject's and the reference's subspace, whatever the
        order and rotation, and what random subspaces of these sizes have on average.
    method
        Setting.
    """

    subjects: tuple[str, ...]
    reference: str
    transforms: dict[str, np.ndarray]
    components: np.ndarray
    similarity: np.ndarray
    overlap: np.ndarray
    chance: np.ndarray
    method: str


def align_components(
    components: Mapping[str, Any], reference: str | None = None, *, method: str = "match"
) -> ComponentAlignment:
    """Bring the components of several subjects into the order and sign of one, and say how alike they are.

    Parameters
    ----------
    components : dict subject -> array (n_components, n_features)
        Directions in one feature space, such as ``WeightPCA.components``. Subjects may have different numbers.
    reference : str, optional
        Subject to align to, by default the first.
    method : "match" or "rotate"
        One to one with signs, such that the sum of absolute cosines is largest (Hungarian algorithm); or the rotation
        within each subject's subspace that comes nearest to the reference (orthogonal Procrustes).

    Returns
    -------
    ComponentAlignment

    Raises
    ------
    ShapeMismatch
        If there are fewer than two subjects, feature spaces differ, or a subject has no components.

    Notes
    -----
    Chance, ``max(k, k_reference) / n_features``, is that of directions without preference. Directions that all weights
    favour because features are correlated overlap more: whiten weights by ``noise_covariance`` first, or compare with
    weights of shuffled voxels.

    References
    ----------
    Kuhn (1955), Naval Research Logistics Quarterly 2, 83-97. Schonemann (1966), Psychometrika 31, 1-10. Bjorck & Golub
    (1973), Mathematics of Computation 27, 579-594 (principal angles).

    Examples
    --------
    >>> first = np.eye(3, 10)
    >>> found = align_components({"S1": first, "S2": -first[[2, 0, 1]]})
    >>> found.similarity[1], found.transforms["S2"][0]
    (array([1., 1., 1.]), array([ 0., -1.,  0.]))
    """
    check_option("method", method, METHODS)
    if not isinstance(components, Mapping) or len(components) < 2:
        raise ShapeMismatch("components must be a dict of at least 2 subjects, each (n_components, n_features).")
    given = {str(name): np.array(to_numpy(c), dtype=float) for name, c in components.items()}
    reference = next(iter(given)) if reference is None else check_option("reference", reference, given)
    width = given[reference].shape[-1]
    for name, c in given.items():
        if c.ndim != 2 or c.shape[1] != width or not 0 < len(c) <= width:
            raise ShapeMismatch(
                f"components must be (n_components, {width}), at least one and at most {width}, got {c.shape} of "
                f"{name!r}."
            )
        if not np.isfinite(c).all() or np.linalg.matrix_rank(c) < len(c):
            raise ValueError(f"the components of {name!r} must be finite and linearly independent.")
    target = given[reference] / np.linalg.norm(given[reference], axis=1, keepdims=True)
    basis = np.linalg.qr(target.T)[0]
    transforms, aligned, similarity, overlap = {}, [], [], []
    for name, c in given.items():
        unit = c / np.linalg.norm(c, axis=1, keepdims=True)
        transforms[name] = _match(target, unit) if method == "match" else _rotate(target, unit)
        moved = transforms[name] @ unit
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        aligned.append(moved / np.where(length > 0, length, 1))
        similarity.append(np.where(length[:, 0] > 0, (aligned[-1] * target).sum(1), np.nan))
        cosines = np.linalg.svd(basis.T @ np.linalg.qr(unit.T)[0], compute_uv=False)
        overlap.append((np.minimum(cosines, 1) ** 2).mean())
    chance = [max(len(c), len(target)) / width for c in given.values()]
    return ComponentAlignment(
        subjects=tuple(given),
        reference=reference,
        transforms=transforms,
        components=np.stack(aligned),
        similarity=np.stack(similarity),
        overlap=np.array(overlap),
        chance=np.array(chance),
        method=method,
    )


def _match(target: np.ndarray, unit: np.ndarray) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment

    cosine = target @ unit.T
    rows, columns = linear_sum_assignment(-np.abs(cosine))
    transform = np.zeros(cosine.shape)
    transform[rows, columns] = np.where(cosine[rows, columns] < 0, -1.0, 1.0)
    return transform


def _rotate(target: np.ndarray, unit: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(target @ unit.T, full_matrices=False)
    return u @ vt
