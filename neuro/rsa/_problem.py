"""Models, data, measure and units of one evaluation, aligned and checked once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from neuro.rsa._gram import LINEAR
from neuro.rsa._resample import RANKS
from neuro.rsa._whitened import check_sigma, sigma_whiten
from neuro.rsa.ceiling import check_method, subject_groups
from neuro.rsa.container import as_rdms
from neuro.rsa.models import Model, as_models


@dataclass(frozen=True, eq=False)
class Problem:
    """What :func:`neuro.rsa.evaluate` works on.

    Parameters
    ----------
    models : list of Model
    bases : list of array (k_m, n_pairs)
        Their RDMs, conditions in the order of the data.
    data : array (R, n_pairs)
    method : str
    strict : bool
    groups : int array (R,)
        Subject of each RDM.
    subjects : tuple
    stimulus_groups : int array (n_stimuli,)
        Stimuli with one number are drawn and folded together.
    """

    models: list[Model]
    bases: list[np.ndarray]
    data: np.ndarray
    method: str
    strict: bool
    groups: np.ndarray
    subjects: tuple[Any, ...]
    stimulus_groups: np.ndarray

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.models)

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.subjects)

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli or groups of them that are drawn as one."""
        return int(self.stimulus_groups.max()) + 1

    @property
    def member(self) -> np.ndarray:
        """(R, S), columns that average the RDMs of each subject."""
        indicator = (self.groups[:, None] == np.arange(self.n_subjects)).astype(float)
        return indicator / indicator.sum(0)

    @property
    def complete(self) -> bool:
        """Whether no pair is missing anywhere."""
        return all(np.isfinite(x).all() for x in (self.data, *self.bases))

    @property
    def linear(self) -> bool:
        """Whether inner products are all that is needed."""
        return self.method in LINEAR and self.complete

    @property
    def ranked(self) -> bool:
        """Whether weighted mid-ranks are all that is needed."""
        return self.method in ("spearman", "rho-a") and self.complete


def problem(
    models: Any, rdms: Any, method: str, by: str | None, stimuli_by: str | None, strict: bool, resampled: bool
) -> Problem:
    """Check and align."""
    check_method(method)
    data = as_rdms(rdms)
    found = as_models(models)
    bases = [m.aligned(rdms) for m in found]
    vectors = np.asarray(data.numpy().dissimilarities, float)
    if data.n_conditions < 3:
        raise ValueError(f"RSA needs at least 3 stimuli, got {data.n_conditions}.")
    for what, x in [("data", vectors), *((f"model {m.name!r}", b) for m, b in zip(found, bases, strict=True))]:
        if np.isinf(x).any():
            raise ValueError(f"{what} has infinite dissimilarities.")
    constant = [m.name for m, b in zip(found, bases, strict=True) if _constant(b).all()]
    if constant and method not in ("cosine", "cosine_cov"):
        warnings.warn(f"{len(constant)} models are constant and score 0, first {constant[0]!r}.", stacklevel=3)
    groups, subjects = subject_groups(data, by)
    if resampled and method not in (*LINEAR, *RANKS):
        raise ValueError(
            f"stimuli cannot be resampled for {method!r}: copies of a stimulus leave pairs without a dissimilarity. "
            f"Use one of {', '.join((*LINEAR, *RANKS))}, or resample='subject'."
        )
    return Problem(found, bases, vectors, method, strict, groups, subjects, _stimulus_groups(data, stimuli_by))


def whitened(task: Problem, sigma_k: Any) -> Problem:
    """Return the problem in coordinates in which the whitened measure is a plain cosine."""
    if task.method not in ("cosine_cov", "corr_cov"):
        raise ValueError(f"method {task.method!r} has no use for sigma_k; 'cosine_cov' and 'corr_cov' take it.")
    if not task.complete:
        raise ValueError("sigma_k needs RDMs without NaN: leave out the stimuli whose dissimilarities are unknown.")
    sigma = check_sigma(sigma_k, len(task.stimulus_groups))

    def turn(x: np.ndarray) -> np.ndarray:
        return sigma_whiten(x, sigma, task.method == "corr_cov")

    return replace(task, bases=[turn(b) for b in task.bases], data=turn(task.data), method="cosine")


def _stimulus_groups(data: Any, by: str | None) -> np.ndarray:
    if by is None:
        return np.arange(data.n_conditions)
    table = data.condition_table
    if by not in table:
        raise ValueError(f"no column {by!r} in the table of conditions; it has {list(table.columns)}.")
    return np.asarray(pd.factorize(table[by], use_na_sentinel=False)[0])


def _constant(x: np.ndarray) -> np.ndarray:
    return np.nanmax(x, axis=1) == np.nanmin(x, axis=1)
